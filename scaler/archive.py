"""The registry beside the loop: it may block on a disk or a network, and the loop never waits for it.

What is to be written stands in a queue and is written in its order, one thing at a time, in a thread. What fails is
logged and counted: decisions do not depend on it.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import structlog

from forecasting import catalog
from forecasting.catalog import Models
from scaler.core.trust import Evidence
from scaler.errors import StoreError
from scaler.registry import (
    Change,
    Origin,
    Registry,
    Stage,
    Version,
    champion,
    flattened,
    promote,
    restored,
    serving,
)
from scaler.roster import Key

log = structlog.get_logger("foresail.models")

Answer = TypeVar("Answer")
LATE = 1000
"""Writings that may wait; beyond that the oldest is dropped: a registry that hangs must not fill the memory."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """What is kept of a workload's fit: with both, all that was learnt can be replayed from the history."""

    models: Models
    before: Models


def unfitted() -> Fitted:
    """Nobody, with the shapes that are kept."""
    return Fitted(catalog.unfitted(1), catalog.unfitted(1))


@dataclass(frozen=True, slots=True)
class Recalled:
    """What a registry knows of a workload at a start."""

    version: Version | None
    """The champion that can be read, None where there is none."""
    fitted: Fitted
    failed: dict[float, float]
    """When each cutoff that was rolled back was."""


def name_of(key: Key) -> str:
    """Name of a workload's forecaster in the registry."""
    return f"{key.namespace}/{key.name}~{key.fingerprint}"


class Archive:
    """A registry, or none; used by one event loop."""

    def __init__(self, registry: Registry | None) -> None:
        self.registry = registry
        self.failures = 0
        """Writings and readings that failed."""
        self._queue: asyncio.Queue[Callable[[Registry], object]] = asyncio.Queue()

    def register(self, key: Key, fitted: Fitted, origin: Origin, change: Change) -> None:
        """Keep a fit."""
        arrays = flattened(fitted)
        self._put(lambda registry: registry.register(name_of(key), arrays, origin, change))

    def crown(self, key: Key, cutoff_s: float, change: Change) -> None:
        """Make the fit with this cutoff the champion."""

        def crowned(registry: Registry) -> None:
            version = with_cutoff(registry.versions(name_of(key)), cutoff_s)
            if version is not None and version.stage is not Stage.CHAMPION:
                promote(registry, name_of(key), version.number, change)

        self._put(crowned)

    def told(self, key: Key, cutoff_s: float, stage: Stage, change: Change) -> None:
        """Write a change into the history of the fit with this cutoff; none where its evidence is that already."""

        def changed(registry: Registry) -> None:
            version = with_cutoff(registry.versions(name_of(key)), cutoff_s)
            if version is not None and version.evidence is not change.evidence:
                moved = Change(change.at_s, stage, change.evidence, change.why)
                registry.move(name_of(key), {version.number: moved})

        self._put(changed)

    async def recall(self, key: Key) -> Recalled:
        """Champion of a workload and what was rolled back; nobody where the registry cannot be read."""
        if self.registry is None:
            return Recalled(None, unfitted(), {})
        try:
            return await asyncio.to_thread(_recalled, self.registry, name_of(key))
        except StoreError as error:
            self._failed(error)
            return Recalled(None, unfitted(), {})

    async def fetch(self, key: Key, cutoff_s: float) -> tuple[Version, Fitted] | None:
        """The fit of a workload with this cutoff, None where there is none that can be read."""
        registry = self.registry
        if registry is None:
            return None

        def fetched() -> tuple[Version, Fitted] | None:
            version = with_cutoff(registry.versions(name_of(key)), cutoff_s)
            return None if version is None else (version, restored(unfitted(), registry.load(version)))

        try:
            return await asyncio.to_thread(fetched)
        except StoreError as error:
            self._failed(error)
            return None

    async def versions(self, key: Key) -> tuple[Version, ...]:
        """All versions of a workload that are kept, oldest first. Raises StoreError."""
        registry = self.registry
        return () if registry is None else await asyncio.to_thread(lambda: registry.versions(name_of(key)))

    async def champions(self, keys: Iterable[Key]) -> dict[Key, float]:
        """Cutoffs of the champions of some workloads, as far as there are any that can be read."""
        found = {}
        for key in keys:
            try:
                serving = champion(await self.versions(key))
            except StoreError as error:
                self._failed(error)
                continue
            if serving is not None:
                found[key] = serving.origin.cutoff_s
        return found

    async def run(self) -> None:
        """Write what is to be written, until cancelled."""
        while True:
            await self._write(await self._queue.get())
            self._queue.task_done()

    async def drained(self) -> None:
        """Wait until all is written, while `run` runs."""
        await self._queue.join()

    async def _write(self, writing: Callable[[Registry], object]) -> None:
        try:
            await asyncio.to_thread(writing, self.registry)  # type: ignore[arg-type] # nothing is queued without one
        except StoreError as error:
            self._failed(error)
        except Exception as error:  # a defect of the registry: the loop goes on without it
            log.exception("not written")
            self._failed(StoreError(repr(error)))

    def _failed(self, error: StoreError) -> None:
        self.failures += 1
        log.warning("registry", reason=str(error))

    def _put(self, writing: Callable[[Registry], object]) -> None:
        if self.registry is None:
            return
        if self._queue.qsize() >= LATE:
            self._queue.get_nowait()
            self._queue.task_done()
            self._failed(StoreError(f"{LATE} writings wait: the oldest is dropped"))
        self._queue.put_nowait(writing)


def with_cutoff(versions: tuple[Version, ...], cutoff_s: float) -> Version | None:
    """The newest version with this cutoff, in whole seconds."""
    return next((one for one in reversed(versions) if int(one.origin.cutoff_s) == int(cutoff_s)), None)


def _recalled(registry: Registry, name: str) -> Recalled:
    version, fitted, refused = serving(registry, name, unfitted())
    for reason in refused:
        log.warning("model refused; the one before it serves", reason=reason)
    failed = {
        one.origin.cutoff_s: one.changes[-1].at_s
        for one in registry.versions(name)
        if one.evidence is Evidence.ROLLED_BACK
    }
    return Recalled(version, fitted, failed)
