"""One batch run: read all histories, fit what is due, judge it, and put what passed into the registry.

    declare → introduce (history, champion of the registry) → lessons, most urgent first → gate → registry

The same engine as the service's, without doors and without a loop: one code judges both. A service with
`fit_workers: 0` takes the new champions over within a minute.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from scaler.archive import Archive
from scaler.config import File
from scaler.core.learning import FIT_BUDGET_S
from scaler.engine import Engine
from scaler.lessons import Worker
from scaler.lookout import LoadSource
from scaler.model_place import opened
from scaler.roster import Key
from scaler.settings import Settings
from scaler.sources import NoCluster

AT_ONCE = 8
"""Histories read at the same time."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is."""

    workloads: int
    waiting: int
    fitted: int
    failed: int
    promoted: int
    refused: int
    unread: int
    """Workloads whose history could not be read."""
    unwritten: int
    """Readings and writings of the registry that failed."""

    def __str__(self) -> str:
        return (
            f"{self.workloads} workloads: {self.waiting} wait, {self.fitted} fitted, {self.failed} failed, "
            f"{self.promoted} promoted, {self.refused} refused, {self.unread} without history"
        )


async def run(
    settings: Settings,
    file: File,
    source: LoadSource,
    worker: Callable[[], Worker] | None = None,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[Progress]:
    """Fit all workloads of a file that are due; says how far it is once a second, and at the end.

    `worker` makes each of `settings.fit_workers` workers; None: processes of this machine.

    Raises:
        SettingsError, StoreError: the file or the registry cannot be used.
    """
    archive = Archive(opened(settings.registry, settings.var))
    engine = Engine(settings, source, NoCluster(), clock, archive=archive)
    engine.lessons.replays, engine.lessons.worker = False, worker or engine.lessons.worker
    engine.schedule(file.agendas())
    keys = [engine.declare(workload) for workload in file.declared()]
    async for progress in fit(engine, keys):
        yield progress


async def fit(engine: Engine, keys: list[Key]) -> AsyncIterator[Progress]:
    """Introduce some workloads to an engine that does not run, and fit those that are due."""
    writing = asyncio.create_task(engine.archive.run())
    reading = asyncio.create_task(_introduced(engine, keys))
    teaching = [asyncio.create_task(engine.lessons.teach()) for _ in range(max(engine.settings.fit_workers, 1))]
    try:
        while not (reading.done() and not engine.lessons.waiting and not engine.lessons.fitting):
            await asyncio.wait([reading], timeout=1.0) if not reading.done() else await asyncio.sleep(0.2)
            for task in teaching:
                if task.done():  # teachers end by nothing but a defect: what they held would wait for ever
                    task.result()
            yield _progress(engine, keys)
        await reading
        # Nobody serves by these models here: those that a service would adopt in a minute count as well.
        engine.lessons.adopt_until(engine.clock() + FIT_BUDGET_S)
        await engine.archive.drained()
        yield _progress(engine, keys)
    finally:
        for task in (*teaching, writing, reading):
            task.cancel()
        await asyncio.gather(*teaching, writing, reading, return_exceptions=True)


async def _introduced(engine: Engine, keys: list[Key]) -> None:
    turns = asyncio.Semaphore(AT_ONCE)

    async def introduced(key: Key) -> None:
        async with turns:
            await engine.introduce(key)

    async with asyncio.TaskGroup() as tasks:
        for key in keys:
            tasks.create_task(introduced(key))


def _progress(engine: Engine, keys: list[Key]) -> Progress:
    lessons, became = engine.lessons, engine.succession.counters
    return Progress(
        workloads=len(keys),
        waiting=lessons.waiting + len(lessons.fitting),
        fitted=engine.counters.fits,
        failed=engine.counters.fit_failures,
        promoted=became.promotions,
        refused=became.refusals,
        unread=len(engine.lookout.troubles),
        unwritten=engine.archive.failures,
    )
