"""What many results say together: geometric means with intervals, the worst history, and every case in a table.

A change of policy, guardrail, forecaster or reward is shown by two summaries, before and after.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.table import Table

from forecasting.forecast import FloatArray
from scaler.core.simulator import score
from scaler.core.simulator.contest import LIMIT, OURS
from scaler.result import HINDSIGHT, ORDER, cell

RESAMPLES = 400
"""Draws of the bootstrap, as for one history."""
TARGET_PCT = 1.0
"""Short share at which intervals are stated."""
NO_INTERVAL = "no interval"
COMPARED = (HINDSIGHT, OURS, "foresail_shipped", LIMIT)
"""Controllers that a summary rests on, whatever is asked for."""


@dataclass(frozen=True, slots=True)
class Answered:
    """One case that was judged."""

    result: dict[str, Any]
    """As result.json holds it."""
    sums: Mapping[str, score.Tally]
    """Of each controller, over the same blocks."""

    @property
    def name(self) -> str:
        """History and lead time."""
        return f"{self.result['trace']}-{self.result['lead_s']:g}s"


def summary(answered: Sequence[Answered]) -> dict[str, Any]:
    """Geometric means of costs relative to the hindsight HPA at equal shortage, and the worst case, per controller."""
    names = [name for name in ORDER if all(name in one.result["controllers"] for one in answered)]
    costs = _costs(answered, names)
    table = {}
    for name in names:
        row = {f"iso_{target}pct": _stated(answered, name, f"iso_{target}pct") for target in (1, 2, 5)}
        row["iso_1pct"]["interval"] = _interval(answered, name, costs)
        table[name] = row
    verdicts = [
        {"case": one.name, **{key: one.result["verdict"][key] for key in ("pays", "saving_pct", "interval_pct")}}
        for one in answered
    ]
    return {"against": HINDSIGHT, "controllers": table, "verdicts": verdicts}


def _stated(answered: Sequence[Answered], name: str, key: str) -> dict[str, Any]:
    ratios = dict(_ratios(answered, name, key))
    worst = max(ratios, key=ratios.__getitem__, default=None)
    return {
        "geometric_mean": round(score.geometric_mean(list(ratios.values())), 4) if ratios else None,
        "cases": len(ratios),
        "worst": worst,
        "worst_ratio": None if worst is None else round(ratios[worst], 4),
    }


def _ratios(answered: Sequence[Answered], name: str, key: str) -> Iterator[tuple[str, float]]:
    for one in answered:
        own, best = (one.result["controllers"][which][key] for which in (name, HINDSIGHT))
        if own is not None and best is not None:
            yield one.name, own / best


def _costs(answered: Sequence[Answered], names: Sequence[str]) -> dict[tuple[str, str], FloatArray]:
    """Costs of every case and controller that are read under resampled blocks, (RESAMPLES,).

    Controllers of a case, and lead times of one history, meet the same draws: they saw the same load.
    """
    found = {}
    for one in answered:
        n_blocks = _blocks(one)
        weights = score.draws(n_blocks, RESAMPLES, np.random.default_rng(n_blocks))
        for name in names:
            if one.result["controllers"][name]["iso_1pct"] is not None:
                found[one.name, name] = score.resampled_costs(one.sums[name], weights, TARGET_PCT)
    return found


def _interval(
    answered: Sequence[Answered], name: str, costs: Mapping[tuple[str, str], FloatArray]
) -> tuple[float, float] | None:
    """Interval of a geometric mean: histories are drawn with all their lead times, and blocks within them."""
    compared = {case for case, _ in _ratios(answered, name, "iso_1pct")}
    traces: dict[str, list[FloatArray]] = {}
    n_blocks = {}
    for one in answered:
        if one.name in compared:
            trace = str(one.result["trace"])
            traces.setdefault(trace, []).append(costs[one.name, name] / costs[one.name, HINDSIGHT])
            n_blocks[trace] = _blocks(one)
    ratios = [np.stack(cases) for cases in traces.values()]
    found = score.mean_interval(ratios, sum(n_blocks.values()), RESAMPLES, np.random.default_rng(0))
    return None if found is None else (round(found.low, 4), round(found.high, 4))


def _blocks(one: Answered) -> int:
    return len(one.sums[HINDSIGHT].load)


def tables_of(summed: dict[str, Any], answered: Sequence[Answered]) -> tuple[Table, Table]:
    """The summary, and every case at 1 % short load."""
    return _means(summed), _each(answered)


def _means(summed: dict[str, Any]) -> Table:
    means = Table(title=f"cost against {summed['against']} at equal shortage, geometric mean")
    for heading in ("controller", "1 %", "95 % interval", "cases", "worst", "2 %", "cases", "5 %", "cases"):
        means.add_column(heading, justify="left" if heading == "controller" else "right")
    for name, row in summed["controllers"].items():
        first, second, fifth = (row[f"iso_{target}pct"] for target in (1, 2, 5))
        worst = "–" if first["worst"] is None else f"{first['worst_ratio']:.3f} {first['worst']}"
        means.add_row(
            name,
            *(cell(first["geometric_mean"], 3), between(first["interval"], 3), str(first["cases"]), worst),
            *(cell(second["geometric_mean"], 3), str(second["cases"])),
            *(cell(fifth["geometric_mean"], 3), str(fifth["cases"])),
        )
    return means


def _each(answered: Sequence[Answered]) -> Table:
    each = Table(title="cost at 1 % short load, and short load at equal cost")
    names = [name for name in (HINDSIGHT, "max_reactive_forecast", OURS, LIMIT) if name in _rows(answered[0])]
    shipped_names = ("shipped: short %", "cost", "saving %", "95 % interval")
    for heading in ("case", *names, "short % at equal cost", *shipped_names):
        each.add_column(heading, justify="left" if heading == "case" else "right")
    for one in answered:
        rows, verdict = _rows(one), one.result["verdict"]
        shipped = rows["foresail_shipped"]["shown"]
        each.add_row(
            one.name,
            *(cell(rows[name]["iso_1pct"], 3) for name in names),
            cell(rows[OURS]["short_at_equal_cost_pct"], 2),
            cell(shipped["short_pct"], 2),
            cell(shipped["cost_ratio"], 3),
            cell(verdict["saving_pct"], 1),
            between(verdict["interval_pct"], 0),
        )
    return each


def _rows(one: Answered) -> dict[str, Any]:
    rows: dict[str, Any] = one.result["controllers"]
    return rows


def between(interval: Sequence[float] | None, digits: int) -> str:
    """An interval in a table, or that there is none."""
    return NO_INTERVAL if interval is None else f"{interval[0]:.{digits}f} … {interval[1]:.{digits}f}"
