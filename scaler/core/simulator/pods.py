"""The life of a pod: starting, ready, warming up, draining. Cohorts by remaining steps; nobody has a name.

A pod asked for at the end of step k with a start-up of s steps serves from step k + s + 1 on: start-up ends within the
step, and a pod counts for a step only if it serves all of it. The newest go first when a count falls, as the
ReplicaSet controller deletes them (pod phase, readiness, then time since ready: pkg/controller ActivePodsWithRanks).
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from forecasting.forecast import BoolArray, FloatArray, IntArray
from scaler.core.simulator.constants import WARM_SHARE


class StartUp(Protocol):
    """How long pods take from being asked for to serving."""

    @property
    def longest(self) -> int:
        """In steps."""
        ...

    def placed(self, n: IntArray, step: int) -> IntArray:
        """How many of n new pods (B,) take 0 … longest steps, (longest + 1, B)."""
        ...


@dataclass(frozen=True, slots=True)
class FixedStartUp:
    """All pods of a cluster take the same time."""

    steps: IntArray
    """(B,)"""
    longest: int

    @staticmethod
    def of(lead_s: FloatArray, step_s: float) -> "FixedStartUp":
        """Start-up times in seconds, (B,), in whole steps."""
        steps = np.ceil(lead_s / step_s - 1e-9).astype(np.int64)
        return FixedStartUp(steps, int(steps.max()))

    def placed(self, n: IntArray, step: int) -> IntArray:
        """All in one row per cluster."""
        del step
        return np.asarray(np.where(np.arange(self.longest + 1)[:, None] == self.steps, n, 0))


@dataclass(frozen=True, slots=True)
class RandomStartUp:
    """Start-up times drawn in advance: the j-th pod asked for at a step takes the same time under every controller."""

    counts: IntArray
    """How many of the first j pods of a draw take s steps, (draws, J + 1, longest + 1)."""
    pick: IntArray
    """Which draw a step uses, (T,)."""
    longest: int

    @staticmethod
    def lognormal(
        median_s: float,
        spread: "Spread",
        step_s: float,
        n_steps: int,
        rng: np.random.Generator,
    ) -> "RandomStartUp":
        """Lognormal around the median; a share of cold starts takes several times as long."""
        draws, pods = 64, 64
        factor = np.exp(spread.sigma * rng.standard_normal((draws, pods)))
        cold = rng.random((draws, pods)) < spread.cold_share
        steps = np.ceil(median_s * factor * np.where(cold, spread.cold_factor, 1.0) / step_s - 1e-9).astype(np.int64)
        steps = np.minimum(steps, round(spread.longest_s / step_s))
        longest = int(steps.max())
        hot = steps[:, :, None] == np.arange(longest + 1)
        counts = np.concatenate([np.zeros((draws, 1, longest + 1), np.int64), np.cumsum(hot, axis=1)], axis=1)
        return RandomStartUp(counts, rng.integers(draws, size=n_steps), longest)

    def placed(self, n: IntArray, step: int) -> IntArray:
        """The draw of this step, repeated where more pods come than were drawn."""
        counts = self.counts[self.pick[step]]
        drawn = len(counts) - 1
        placed = counts[n % drawn]
        if n.max(initial=0) >= drawn:
            placed = placed + (n // drawn)[:, None] * counts[drawn]
        return np.asarray(placed.T)


@dataclass(frozen=True, slots=True)
class Spread:
    """How much start-up times differ."""

    sigma: float = 0.4
    """Standard deviation of the logarithm, 0.2–0.8."""
    cold_share: float = 0.1
    """Share of pods that need an image or a node first."""
    cold_factor: float = 3.0
    """How many times as long those take."""
    longest_s: float = 3600.0


class Ring:
    """Cohorts by remaining steps, (L, B); mutable, read from the slot that is due next."""

    def __init__(self, length: int, n: int) -> None:
        self.slots = np.zeros((max(length, 1), n), np.int64)
        self.head = 0
        self.total = np.zeros(n, np.int64)

    def pop(self) -> IntArray:
        """Pods whose time is up, (B,)."""
        due: IntArray = self.slots[self.head].copy()
        self.slots[self.head] = 0
        self.head = (self.head + 1) % len(self.slots)
        self.total -= due
        return due

    def put_last(self, n: IntArray) -> None:
        """Add n pods that have the longest time before them, (B,)."""
        self.slots[self.head - 1] += n
        self.total += n

    def put(self, placed: IntArray) -> None:
        """Add pods by remaining steps, (L, B)."""
        split = len(self.slots) - self.head
        self.slots[self.head :] += placed[:split]
        self.slots[: self.head] += placed[split:]
        self.total += placed.sum(axis=0)

    def cancel(self, n: IntArray) -> IntArray:
        """Remove up to n pods, those with the longest time before them first; how many were removed, (B,)."""
        columns = np.flatnonzero((n > 0) & (self.total > 0))
        removed = np.zeros_like(n)
        if not len(columns):
            return removed
        order = (self.head - 1 - np.arange(len(self.slots))) % len(self.slots)
        there = self.slots[order[:, None], columns]
        before = np.cumsum(there, axis=0) - there
        taken = np.minimum(np.maximum(n[columns] - before, 0), there)
        self.slots[order[:, None], columns] = there - taken
        removed[columns] = taken.sum(axis=0)
        self.total -= removed
        return removed


class Pods:
    """The pods of B clusters; mutable."""

    def __init__(self, ready: IntArray, start_up: StartUp, warm_steps: int, drain_steps: int) -> None:
        n = len(ready)
        self.ready = ready.copy()
        self.replicas = ready.copy()
        """What status.replicas counts: starting and ready ones, not those that drain."""
        self._start_up = start_up
        self._fixed = isinstance(start_up, FixedStartUp) and bool((start_up.steps == start_up.longest).all())
        self._starting = Ring(start_up.longest + 1, n)
        self._warming = Ring(warm_steps, n) if warm_steps else None
        self._draining = Ring(drain_steps + 1, n) if drain_steps else None

    def begin_step(self) -> None:
        """Let time pass: starting pods become ready, warm ones warm, drained ones go."""
        due = self._starting.pop()
        self.ready += due
        if self._warming is not None:
            self._warming.pop()
            self._warming.put_last(due)
        if self._draining is not None:
            self._draining.pop()

    @property
    def billed(self) -> IntArray:
        """Pods that cost money now, (B,)."""
        return self.replicas if self._draining is None else self.replicas + self._draining.total

    @property
    def warming(self) -> IntArray:
        """Ready pods that are not warm yet, (B,)."""
        return np.zeros_like(self.ready) if self._warming is None else self._warming.total

    @property
    def serving(self) -> FloatArray:
        """Ready pods in units of a warm one, (B,)."""
        return np.asarray(self.ready - (1.0 - WARM_SHARE.value) * self.warming)

    def scale(self, wanted: IntArray, step: int) -> BoolArray:
        """Ask for or let go of pods at the end of `step`; which counts changed, (B,)."""
        change = wanted - self.replicas
        changed: BoolArray = change != 0
        if not changed.any():
            return changed
        added = np.maximum(change, 0)
        if self._fixed:
            self._starting.put_last(added)
        else:
            self._starting.put(self._start_up.placed(added, step))
        surplus = np.maximum(-change, 0)
        let_go = surplus - self._starting.cancel(surplus)
        self.ready -= let_go
        if self._warming is not None:
            self._warming.cancel(let_go)
        if self._draining is not None:
            self._draining.put_last(let_go)
        self.replicas = wanted.copy()
        return changed
