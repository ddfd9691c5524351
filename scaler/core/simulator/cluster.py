"""B clusters advancing together, one sync period at a time.

    cluster = Cluster(world, setup)
    for step in range(len(world.load.t_s)):
        seen = cluster.serve(step)           # pods move on, the load is served, monitoring reports
        cluster.scale(step, answer(seen))    # the HPA and KEDA act on a controller's answer

`run` is that loop with a record.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from forecasting.forecast import BoolArray, FloatArray, IntArray
from scaler.core import hpa
from scaler.core.simulator import keda, service
from scaler.core.simulator.constants import SIGNAL_NOISE
from scaler.core.simulator.load import Load
from scaler.core.simulator.pods import Pods, StartUp
from scaler.core.simulator.service import Service

Record = NDArray[np.int32]
PROGRESS_STEPS = 256
"""How often a run reports that it is alive."""


@dataclass(frozen=True, slots=True)
class World:
    """What happens to the clusters, whatever their controllers do."""

    load: Load
    step_s: float
    start_up: StartUp
    drift: FloatArray | None = None
    """True capacity as a share of the stated one, (T, 1) or (T, B)."""
    scatter: FloatArray | None = None
    """Relative noise of CPU, memory and latency, (T, 3)."""
    served_by: Service | None = None
    """None: latency, CPU, memory and backlogs are not modelled and their observations are missing."""
    warm_steps: int = 0
    drain_steps: int = 0
    queue: bool = False
    """The load is arrivals of a queue; what is scaled on is its depth."""
    latency_target_s: float | None = None
    """For a queue the wanted age of its oldest message; None: what the service model calls capacity."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What B clusters are configured to do."""

    capacity: FloatArray
    """Load that one replica serves within its latency target, (B,)."""
    initial: IntArray
    """Ready replicas at the start, (B,)."""
    rules: hpa.HpaRules
    keda_rules: keda.KedaRules | None = None
    """None: never below one replica."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What can be known at the end of a step."""

    step: int
    t_s: float
    metric: FloatArray
    """What a metric query reports, (B,), NaN where it fails; for a queue its depth."""
    sample: FloatArray
    """The newest sample, (B,); for a queue its depth."""
    arrivals: FloatArray
    """For a queue, messages that arrive per second, (B,); NaN for rates."""
    replicas: IntArray
    ready: IntArray
    feedback: FloatArray
    """CPU, memory, latency, queue depth, (B, 4); NaN where not modelled."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a controller reports to the HPA and to KEDA."""

    value: FloatArray
    """The external metric, (B,); NaN: the query fails."""
    active: BoolArray
    """Whether the workload should run at all, (B,)."""


class Controller(Protocol):
    """One or more policies, each with its own clusters; may remember."""

    def answer(self, seen: Seen) -> Answer:
        """Answer for all clusters."""
        ...


@dataclass(frozen=True, slots=True)
class Run:
    """What B clusters did in T steps, (T, B)."""

    replicas: Record
    """status.replicas during the step."""
    ready: Record
    billed: Record
    """Pods that cost money; the same array where nothing drains."""
    late: NDArray[np.bool_] | None
    """Whether the latency target was missed; None where latency is not modelled."""
    queue: bool = False
    """Whether missing that target is the shortage: for a queue it is the age of its oldest message that counts."""


def scatter(n_steps: int, rng: np.random.Generator) -> FloatArray:
    """Relative noise of scraped signals, (T, 3)."""
    return np.asarray(np.maximum(1.0 + SIGNAL_NOISE.value * rng.standard_normal((n_steps, 3)), 0.0))


class Cluster:
    """B clusters; mutable."""

    def __init__(self, world: World, setup: Setup) -> None:
        self.world = world
        self._setup = setup
        n = len(setup.capacity)
        self.pods = Pods(setup.initial, world.start_up, world.warm_steps, world.drain_steps)
        self._rule_state = hpa.initial_state((n,), world.step_s)
        self._keda_state = keda.initial_state(n, float(world.load.t_s[0]))
        self.served = service.idle(n)
        self._all = np.ones(n)
        self._arriving = np.nan_to_num(world.load.value)  # a gap brings nothing
        self._unmodelled = np.full((n, 4), np.nan)
        self._missing = np.full(n, np.nan)

    def serve(self, step: int) -> Seen:
        """Let time pass and serve the step's load."""
        world = self.world
        self.pods.begin_step()
        if world.served_by is not None:
            able = self.pods.serving * self._setup.capacity
            if world.drift is not None:
                able = able * world.drift[step]
            arriving = self._arriving[step] * self._all
            self.served = world.served_by.serve(arriving, self.pods.ready, able, self.served, world.step_s)
        return self._seen(step)

    def _seen(self, step: int) -> Seen:
        load = self.world.load
        metric, sample = load.metric[step] * self._all, load.sample[step] * self._all
        arrivals = self._missing
        if self.world.queue:
            # A failed query hides the depth as it hides the arrivals.
            arrivals, metric = sample, np.where(np.isnan(metric), np.nan, self.served.backlog)
            sample = np.where(np.isnan(sample), np.nan, self.served.backlog)
        reported = self._unmodelled
        if self.world.scatter is not None:
            reported = service.feedback(self.served, self.served.backlog, self.world.scatter[step])
        return Seen(
            step, float(load.t_s[step]), metric, sample, arrivals, self.pods.replicas, self.pods.ready, reported
        )

    def scale(self, step: int, answer: Answer) -> None:
        """Let the HPA sync and KEDA poll on what the controller answers."""
        wanted, self._rule_state = hpa.step(
            answer.value, self.pods.replicas, self._setup.rules, self._rule_state, self.world.step_s
        )
        if self._setup.keda_rules is not None:
            wanted, self._keda_state = keda.step(
                wanted,
                answer.active,
                ~np.isnan(answer.value),
                float(self.world.load.t_s[step]),
                self._setup.keda_rules,
                self._keda_state,
            )
        self.pods.scale(wanted, step)


def run(world: World, setup: Setup, controller: Controller, progress: Callable[[int], None] | None = None) -> Run:
    """Run all steps; `progress` is told every PROGRESS_STEPS how many have been done since."""
    n_steps, n = len(world.load.t_s), len(setup.capacity)
    replicas, ready = np.empty((2, n_steps, n), np.int32)
    billed = np.empty((n_steps, n), np.int32) if world.drain_steps else replicas
    late = np.empty((n_steps, n), np.bool_) if world.served_by is not None else None
    target_s = service.latency_target_s() if world.latency_target_s is None else world.latency_target_s
    cluster = Cluster(world, setup)
    for step in range(n_steps):
        seen = cluster.serve(step)
        replicas[step], ready[step] = cluster.pods.replicas, cluster.pods.ready
        if world.drain_steps:
            billed[step] = cluster.pods.billed
        if late is not None:
            late[step] = cluster.served.latency_s > target_s
        cluster.scale(step, controller.answer(seen))
        if progress is not None and step % PROGRESS_STEPS == PROGRESS_STEPS - 1:
            progress(PROGRESS_STEPS)
    return Run(replicas, ready, billed, late, world.queue)
