"""A suite: many histories × lead times, in a process pool, resumable, with one summary.

A change of policy, guardrail, forecaster or reward is shown by two summaries, before and after.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from scaler import __version__
from scaler.backtest import Assumptions, bar, judge_here, question_of, replace_file
from scaler.core.simulator.contest import steps_of
from scaler.core.simulator.scene import Question, Scene
from scaler.core.simulator.score import geometric_mean
from scaler.errors import HistoryError
from scaler.heats import processes, tell
from scaler.result import HINDSIGHT, ORDER, cell
from scaler.trace import first_days, judgeable, read_csv, scalable

POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class Case:
    """One history at one lead time."""

    name: str
    question: Question

    @property
    def digest(self) -> str:
        """Tells whether a result that is there answers this very question."""
        asked = self.question
        said = (__version__, asked.workload, asked.noise, asked.seed, asked.net, asked.start_s, asked.spacing_s)
        return hashlib.sha256(repr(said).encode() + asked.values.tobytes()).hexdigest()[:16]


def cases(
    folder: Path, leads_s: Sequence[float], assumed: Assumptions, days: float | None, console: Console
) -> list[Case]:
    """Every CSV file of a folder at every lead time; files that cannot be judged are named and left out.

    Raises:
        HistoryError: no file is left.
    """
    found = []
    for path in sorted(folder.glob("*.csv")):
        try:
            trace = read_csv(path)
            trace = judgeable(trace if days is None else first_days(trace, days))
            for lead_s in leads_s:
                question = question_of(trace, None, replace(assumed, lead_s=lead_s))
                scalable(trace, question.workload)
                found.append(Case(f"{trace.name}-{lead_s:g}s", question))
        except HistoryError as error:
            console.print(f"left out: {error}", style="yellow", highlight=False)
    if not found:
        raise HistoryError(f"{folder}: no CSV file in it can be judged")
    return found


def _run(case: Case, path: Path) -> None:
    result = judge_here(case.question, tell=tell).result
    replace_file(path, json.dumps({"digest": case.digest, **result}, indent=1, allow_nan=False) + "\n")


def run(found: Sequence[Case], out: Path, console: Console) -> list[dict[str, Any]]:
    """Judge what has not been judged yet; all results in order."""
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / f"{case.name}.json" for case in found]
    missing = [(case, path) for case, path in zip(found, paths, strict=True) if not _answers(case, path)]
    if missing:
        total = sum(steps_of(Scene.of(case.question)) for case, _ in missing)
        with processes(os.cpu_count() or 1) as (pool, done), bar(console, total) as moved:
            running = [pool.apply_async(_run, (case, path)) for case, path in missing]
            for one in running:
                while not one.ready():
                    moved(done.value)
                    one.wait(POLL_S)
                one.get()
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def _answers(case: Case, path: Path) -> bool:
    try:
        return bool(json.loads(path.read_text(encoding="utf-8"))["digest"] == case.digest)
    except (OSError, ValueError, KeyError):
        return False


def summary(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Geometric means of costs relative to the hindsight HPA at equal shortage, and the worst case, per controller."""
    table = {}
    for name in ORDER:
        row: dict[str, Any] = {}
        for target in (1, 2, 5):
            ratios = dict(_ratios(results, name, f"iso_{target}pct"))
            worst = max(ratios, key=ratios.__getitem__, default=None)
            row[f"iso_{target}pct"] = {
                "geometric_mean": round(geometric_mean(list(ratios.values())), 4) if ratios else None,
                "cases": len(ratios),
                "worst": worst,
                "worst_ratio": None if worst is None else round(ratios[worst], 4),
            }
        table[name] = row
    verdicts = [
        {"case": _case_name(result), **{key: result["verdict"][key] for key in ("pays", "saving_pct", "interval_pct")}}
        for result in results
    ]
    return {"against": HINDSIGHT, "controllers": table, "verdicts": verdicts}


def _ratios(results: Sequence[dict[str, Any]], name: str, key: str) -> Iterator[tuple[str, float]]:
    for result in results:
        own, best = (result["controllers"][one][key] for one in (name, HINDSIGHT))
        if own is not None and best is not None:
            yield _case_name(result), own / best


def _case_name(result: dict[str, Any]) -> str:
    return f"{result['trace']}-{result['lead_s']:g}s"


def table_of(summed: dict[str, Any], results: Sequence[dict[str, Any]]) -> tuple[Table, Table]:
    """The summary, and every case at 1 % short load."""
    means = Table(title=f"cost against {summed['against']} at equal shortage, geometric mean")
    for heading in ("controller", "1 %", "cases", "worst", "2 %", "cases", "5 %", "cases"):
        means.add_column(heading, justify="left" if heading == "controller" else "right")
    for name, row in summed["controllers"].items():
        at = [row[f"iso_{target}pct"] for target in (1, 2, 5)]
        worst = "–" if at[0]["worst"] is None else f"{at[0]['worst_ratio']:.3f} {at[0]['worst']}"
        numbers = [(cell(one["geometric_mean"], 3), str(one["cases"])) for one in at]
        means.add_row(name, *numbers[0], worst, *numbers[1], *numbers[2])
    each = Table(title="cost at 1 % short load")
    names = (HINDSIGHT, "max_reactive_forecast", "foresail", "clairvoyant")
    for heading in ("case", *names, "shipped: short %", "cost", "saving %", "interval"):
        each.add_column(heading, justify="left" if heading == "case" else "right")
    for result in results:
        rows, verdict = result["controllers"], result["verdict"]
        shipped, interval = rows["foresail_shipped"]["shown"], verdict["interval_pct"]
        each.add_row(
            _case_name(result),
            *(cell(rows[name]["iso_1pct"], 3) for name in names),
            cell(shipped["short_pct"], 2),
            cell(shipped["cost_ratio"], 3),
            cell(verdict["saving_pct"], 1),
            "–" if interval is None else f"{interval[0]:.0f} … {interval[1]:.0f}",
        )
    return means, each
