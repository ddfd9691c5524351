"""A service in small: an engine over fake load on a clock that tests move."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from typing import Protocol, TypeVar

import numpy as np

from forecasting.forecast import FloatArray
from scaler.core.domain import Running, Workload
from scaler.core.signals import FEEDBACK, Samples, Signal
from scaler.core.trigger import parse_workload
from scaler.engine import Engine
from scaler.errors import SourceError, TriggerError
from scaler.roster import Key
from scaler.settings import Settings
from scaler.sources import NoCluster
from tests.fakes import WEDNESDAY_S


class _Part(Protocol):
    async def run(self) -> None: ...


Runs = TypeVar("Runs", bound=_Part)
METADATA = {"threshold": "50", "capacity": "70", "leadTime": "60s"}


class Clock:
    """Time that stands still until it is told."""

    def __init__(self, now_s: float = WEDNESDAY_S) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


class FakeSource:
    """Load by workload name: a function of time, or an error to raise."""

    def __init__(self, load: Callable[[FloatArray], FloatArray]) -> None:
        self.load = load
        self.broken: set[str] = set()
        self.refused: set[str] = set()
        self.reads: list[tuple[str, Signal, int]] = []
        """Of everything but feedback."""
        self.feedback: dict[tuple[str, Signal], float] = {}

    def admit(self, workload: Workload) -> None:
        if workload.name in self.refused:
            raise TriggerError(f"{workload.name} is refused")

    async def read(self, workload: Workload, signal: Signal, end_s: float, n: int, spacing_s: float) -> Samples:
        if signal in FEEDBACK:
            if (workload.name, signal) not in self.feedback:
                raise SourceError(f"nobody measures {signal.value}")
            return Samples(np.full(n, self.feedback[workload.name, signal]), np.full(n, np.nan))
        self.reads.append((workload.name, signal, n))
        if workload.name in self.broken:
            raise SourceError(f"{workload.name} is broken")
        values = self.load(end_s - spacing_s * np.arange(n - 1, -1, -1.0))
        return Samples(values, values)


class FakeCluster:
    """The same replicas for every workload."""

    def __init__(self, running: Running | None) -> None:
        self.answer = running

    def running(self, key: Key, t_s: float) -> Running | None:
        del key, t_s
        return self.answer


def daily(t_s: FloatArray) -> FloatArray:
    """A load with one season and a ripple, 300 to 700."""
    return 500.0 + 200.0 * np.sin(2 * np.pi * t_s / 86_400.0) + 5.0 * np.sin(t_s)


def declared(name: str, **metadata: str) -> Workload:
    """A workload of METADATA in namespace shop."""
    return parse_workload({**METADATA, "name": name, "namespace": "shop", **metadata})


def some_engine(
    load: Callable[[FloatArray], FloatArray] = daily, running: Running | None = None, **settings: object
) -> tuple[Engine, FakeSource, Clock]:
    """An engine over `load`, its source and its clock."""
    clock, source = Clock(), FakeSource(load)
    cluster = NoCluster() if running is None else FakeCluster(running)
    return Engine(Settings.model_validate(settings), source, cluster, clock), source, clock


@contextlib.asynccontextmanager
async def loop_of(part: Runs) -> AsyncIterator[Runs]:
    """Run the engine's loop; its own ticks wait for real time, so tests tick by themselves. Or another part's."""
    task = asyncio.create_task(part.run())
    try:
        yield part
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def tick(engine: Engine, clock: Clock, steps: int = 1, step_s: float = 15.0) -> None:
    """Move the clock on and tick."""
    for _ in range(steps):
        clock.now_s += step_s
        await engine.tick(step_s, clock.now_s)


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
