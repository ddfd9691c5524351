"""A suite: many histories × lead times, in a process pool, resumable.

folder, lead times → cases → one folder each: blocks.npz, report.html, and result.json, which says that it is done
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from scaler import __version__
from scaler.backtest import Assumptions, bar, judge_here, question_of, write
from scaler.core.simulator.contest import steps_of
from scaler.core.simulator.scene import Question, Scene
from scaler.core.simulator.score import Tally
from scaler.errors import HistoryError
from scaler.files import replace_file
from scaler.heats import processes, tell
from scaler.result import contenders
from scaler.summary import COMPARED, Answered
from scaler.trace import first_days, judgeable, read_csv, scalable

POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class Case:
    """One history at one lead time."""

    name: str
    question: Question
    price_per_hour: float | None = None

    @property
    def digest(self) -> str:
        """Tells whether a result that is there answers this very question."""
        asked = self.question
        said = (
            (__version__, asked.workload, asked.noise, asked.seed),
            (asked.net, asked.controllers, asked.start_s, asked.spacing_s, self.price_per_hour),
        )
        return hashlib.sha256(repr(said).encode() + asked.values.tobytes()).hexdigest()[:16]


def cases(
    folder: Path, leads_s: Sequence[float], assumed: Assumptions, days: float | None, console: Console
) -> list[Case]:
    """Every CSV file of a folder at every lead time; files that cannot be judged are named and left out.

    Raises:
        HistoryError: no file is left.
    """
    if assumed.controllers:
        assumed = replace(assumed, controllers=(*assumed.controllers, *COMPARED))
    found = []
    for path in sorted(folder.glob("*.csv")):
        try:
            trace = read_csv(path)
            trace = judgeable(trace if days is None else first_days(trace, days))
            for lead_s in leads_s:
                question = question_of(trace, None, replace(assumed, lead_s=lead_s))
                scalable(trace, question.workload)
                found.append(Case(f"{trace.name}-{lead_s:g}s", question, assumed.price_per_hour))
        except HistoryError as error:
            console.print(f"left out: {error}", style="yellow", highlight=False)
    if not found:
        raise HistoryError(f"{folder}: no CSV file in it can be judged")
    return found


def _run(case: Case, folder: Path) -> None:
    judged = judge_here(case.question, case.price_per_hour, tell)
    folder.mkdir(parents=True, exist_ok=True)
    sums = {name: one.sums for name, one in contenders(judged.scene, judged.heats).items()}
    replace_file(folder / "blocks.npz", packed(sums))
    write(judged, folder, {"digest": case.digest})


def packed(sums: Mapping[str, Tally]) -> bytes:
    """Sums per block of all controllers as an npz file: what intervals across histories are drawn from."""
    file = BytesIO()
    columns = {f"{name}.{key}": getattr(one, key) for name, one in sums.items() for key in Tally.__slots__}
    np.savez_compressed(file, **columns)
    return file.getvalue()


def unpacked(path: Path) -> dict[str, Tally]:
    """What `packed` packed."""
    with np.load(path, allow_pickle=False) as file:
        names = dict.fromkeys(key.partition(".")[0] for key in file)
        return {name: Tally(*(file[f"{name}.{key}"] for key in Tally.__slots__)) for name in names}


def run(found: Sequence[Case], out: Path, console: Console) -> list[Answered]:
    """Judge what has not been judged yet; all answers in order."""
    out.mkdir(parents=True, exist_ok=True)
    folders = [out / case.name for case in found]
    missing = [(case, at) for case, at in zip(found, folders, strict=True) if not _answers(case, at)]
    if missing:
        total = sum(steps_of(Scene.of(case.question)) for case, _ in missing)
        with processes(os.cpu_count() or 1) as (pool, done), bar(console, total) as moved:
            running = [pool.apply_async(_run, (case, at)) for case, at in missing]
            for one in running:
                while not one.ready():
                    moved(done.value)
                    one.wait(POLL_S)
                one.get()
    return [Answered(_read(at), unpacked(at / "blocks.npz")) for at in folders]


def _read(folder: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return result


def _answers(case: Case, folder: Path) -> bool:
    try:
        return bool(_read(folder)["digest"] == case.digest)
    except (OSError, ValueError, KeyError):
        return False
