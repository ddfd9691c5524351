"""The demo's past: what it would have decided in the hours before it was started, so that there is something to show.

Decided by the engine itself on a clock of its own, in a process beside the service, from models that knew no more than
the history of then; the journal takes it in like any other decision.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence

import numpy as np
import structlog

from scaler.core.domain import Workload
from scaler.core.learning import learn
from scaler.demo import STEP_S, DemoCluster, demo_source, demo_workloads
from scaler.engine import Engine
from scaler.errors import FitFailed
from scaler.fitting import FitWorker
from scaler.journal import Journal
from scaler.push import PushedLoad
from scaler.record import Records
from scaler.roster import Key
from scaler.settings import Settings
from scaler.sources import Sources

log = structlog.get_logger("foresail.demo")

SPAN_S = 6 * 3600.0
"""How far back: enough for the page's usual ranges and for a coverage."""
TIME_S = 300.0
"""Longest that it may take; the demo goes on without a past then."""
FIRST_S = 20.0
"""The service's own first fits go first."""

Batch = tuple[int, tuple[Key, ...], Records]


class Rehearsal:
    """Fills the journal of a demo that has none yet."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def run(self) -> None:
        """Fill it, then rest until cancelled."""
        worker, now_s = FitWorker(TIME_S), self._engine.clock() // STEP_S * STEP_S
        try:
            if not self._kept(now_s):
                await asyncio.sleep(FIRST_S)
                for tile, keys, records in await worker.run(quietly, now_s):
                    self._engine.journal.post(tile, keys, records)
        except FitFailed as error:
            log.warning("the demo has no past", reason=str(error))
        finally:
            worker.close()
        await asyncio.Event().wait()

    def _kept(self, now_s: float) -> bool:
        """Whether decisions of before the start are kept already."""
        key = next(iter(self._engine.roster.entries))
        return bool(len(self._engine.journal.read(key, now_s - SPAN_S, now_s - 300.0).t_s))


class _Kept(Journal):
    """A journal that only collects."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock=clock)
        self.batches: list[Batch] = []

    def post(self, tile: int, keys: Sequence[Key], records: Records) -> None:
        self.batches.append((tile, tuple(keys), records))


def quietly(end_s: float) -> list[Batch]:
    """The same for all of the demo in a process of its own, whose log nobody wants."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    return rehearsed(end_s)


def rehearsed(end_s: float, span_s: float = SPAN_S, workloads: Sequence[Workload] | None = None) -> list[Batch]:
    """Decisions of the demo's workloads, or of these, in the `span_s` up to `end_s`, both multiples of the step."""
    return asyncio.run(_rehearsed(end_s, span_s, demo_workloads() if workloads is None else list(workloads)))


async def _rehearsed(end_s: float, span_s: float, workloads: Sequence[Workload]) -> list[Batch]:
    now_s = end_s - span_s
    kept, cluster = _Kept(lambda: now_s), DemoCluster(list(workloads))
    engine = Engine(Settings(), Sources(PushedLoad(None), demo_source()), cluster, lambda: now_s, kept)
    cluster.board = engine.board
    for workload in workloads:
        key = engine.declare(workload)
        await engine.introduce(key)
        fleet, row = engine.row_of(key)
        history, columns = fleet.lesson([row])
        fleet.adopt(row, learn(history, columns, np.array([now_s])), 0, now_s)
    while now_s < end_s:
        now_s += STEP_S
        await engine.tick(STEP_S, now_s)
    return kept.batches
