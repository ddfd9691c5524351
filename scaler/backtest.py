"""`foresail backtest`: replay a history, let controllers compete on it, write down who did what.

    history, workload → question → heats in processes → result.json and report.html

Nothing is written before everything is known, and then in one move per file: an interrupted run leaves nothing.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from scaler.core.domain import Workload
from scaler.core.simulator.constants import FLEET, FLEET_UTILISATION
from scaler.core.simulator.contest import HEATS, LIMIT, Heat, heats_of, steps_of
from scaler.core.simulator.load import Noise
from scaler.core.simulator.scene import Question, Scene
from scaler.errors import RequestError
from scaler.files import replace_file
from scaler.heats import processes, run_heat
from scaler.report import render
from scaler.result import ORDER, cell, result_of
from scaler.trace import Trace

POLL_S = 0.2
"""How often the progress bar looks at what the processes have done."""
Tell = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What a person stated beside the history."""

    lead_s: float | None = None
    capacity: float | None = None
    mean_replicas: float | None = None
    """Mean fleet that the capacity follows from where none is stated; None: the usual one."""
    tolerance: float | None = None
    slo: float | None = None
    net: float | None = None
    controllers: tuple[str, ...] = ()
    """Those that are asked for, empty for all."""
    price_per_hour: float | None = None
    """Of a replica."""
    noise: Noise = Noise.MULTIPLICATIVE
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Judged:
    """A contest that is over."""

    scene: Scene
    heats: Mapping[str, Heat]
    result: dict[str, Any]


def question_of(trace: Trace, stated: Workload | None, assumed: Assumptions) -> Question:
    """What is asked: the workload as declared, with what was stated beside it and a capacity in any case."""
    known = float(np.nanmean(trace.values))
    capacity = assumed.capacity
    if capacity is None and assumed.mean_replicas is None and stated is not None:
        capacity = stated.capacity or stated.threshold
    capacity = capacity or known / (FLEET_UTILISATION.value * (assumed.mean_replicas or FLEET.value))
    base = stated or Workload("default", trace.name, "0", threshold=FLEET_UTILISATION.value * capacity)
    workload = _replaced(
        base,
        capacity=capacity,
        lead_s=base.lead_s if assumed.lead_s is None else assumed.lead_s,
        tolerance=base.tolerance if assumed.tolerance is None else assumed.tolerance,
        slo=base.slo if assumed.slo is None else assumed.slo,
    )
    return Question(
        name=trace.name,
        start_s=trace.start_s,
        values=trace.values,
        spacing_s=trace.spacing_s,
        workload=workload,
        noise=assumed.noise,
        seed=assumed.seed,
        net=assumed.net,
        limit_pct=1.0 if workload.slo is None else round(100.0 * (1.0 - workload.slo), 6),
        controllers=assumed.controllers,
    )


def _replaced(workload: Workload, **values: Any) -> Workload:
    return type(workload)(**{name: values.get(name, getattr(workload, name)) for name in Workload.__slots__})


def judge(question: Question, price_per_hour: float | None, console: Console) -> Judged:
    """Run all heats and sum them up, with a progress bar on `console`."""
    scene = Scene.of(question)
    names = heats_of(question)
    with processes(min(os.cpu_count() or 1, len(names))) as (pool, done), bar(console, steps_of(scene)) as moved:
        running = {name: pool.apply_async(run_heat, (question, name)) for name in names}
        while not all(one.ready() for one in running.values()):
            moved(done.value)
            time.sleep(POLL_S)
            _ = [one.get() for one in running.values() if one.ready()]  # raises what a heat raised, at once
        heats = {name: one.get() for name, one in running.items()}
    return Judged(scene, heats, result_of(scene, heats, price_per_hour))


def judge_here(question: Question, price_per_hour: float | None = None, tell: Tell | None = None) -> Judged:
    """The same in this process."""
    scene = Scene.of(question)
    heats = {name: HEATS[name](scene, tell) for name in heats_of(question)}
    return Judged(scene, heats, result_of(scene, heats, price_per_hour))


@contextmanager
def bar(console: Console, total: int) -> Iterator[Tell]:
    """A progress bar over `total` steps; gone when the block is left."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("backtest", total=total)
        yield lambda done: progress.update(task, completed=min(done, total))


def write(judged: Judged, folder: Path, beside: Mapping[str, Any] | None = None) -> None:
    """Write report.html and result.json, or nothing; `beside` goes into result.json before everything else."""
    result = chosen(judged.result, judged.scene.question.controllers)
    texts = {
        "report.html": render(judged.scene, judged.heats, result),
        "result.json": json.dumps({**(beside or {}), **result}, indent=1, allow_nan=False) + "\n",
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        replace_file(folder / name, text.encode())


def writable(path: Path) -> None:
    """Refuse a folder that cannot be made or written: before the work, not after it.

    Raises:
        RequestError: it cannot be.
    """
    nearest = next(one for one in (path, *path.absolute().parents) if one.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise RequestError(f"--out {path}: {nearest} is not a folder that can be written")


def chosen(result: dict[str, Any], controllers: tuple[str, ...]) -> dict[str, Any]:
    """The result with some of its controllers; none named means all, and the clairvoyant always stays."""
    rows = result["controllers"]
    names = [name for name in ORDER if not controllers or name in controllers or name == LIMIT]
    return {**result, "controllers": {name: rows[name] for name in names}}


def table_of(result: dict[str, Any]) -> Table:
    """What a terminal shows."""
    table = Table(title=f"{result['trace']}, {result['test_days']:.1f} days judged, lead time {result['lead_s']:g} s")
    table.add_column("controller")
    for heading in (
        "cost at 1 %",
        "2 %",
        "5 %",
        "short % at equal cost",
        "short %",
        "cost",
        "replica-hours",
        "latency SLO %",
        "events/h",
        "reversals",
    ):
        table.add_column(heading, justify="right")
    for name, row in result["controllers"].items():
        shown = row["shown"]
        table.add_row(
            name,
            *(cell(row[f"iso_{target}pct"], 3) for target in (1, 2, 5)),
            cell(row["short_at_equal_cost_pct"], 2),
            cell(shown["short_pct"], 2),
            cell(shown["cost_ratio"], 3),
            cell(row["replica_hours"], 0),
            cell(row["latency_slo_pct"], 2),
            cell(row["scale_events_per_hour"], 1),
            cell(row["reversals"], 0),
        )
    return table
