"""One workload's history as a contest sees it: its load, its parts, the clusters that meet it."""

from dataclasses import dataclass, field, replace

import numpy as np

from forecasting.forecast import BoolArray, FloatArray, IntArray
from scaler.core.agenda import Agenda
from scaler.core.domain import Workload, Workloads, columns_of, take
from scaler.core.hpa import HpaRules
from scaler.core.simulator.cluster import Setup, World, scatter
from scaler.core.simulator.constants import SYNC_S
from scaler.core.simulator.load import Load, Monitoring, Noise, arrivals, seen_through
from scaler.core.simulator.pods import FixedStartUp, RandomStartUp, Spread, StartUp
from scaler.core.simulator.service import Messages, Requests

TRAINING, TEST = 0.45, 0.4
"""Shares of the history: the first for calibrating, the last for judging; validation lies between."""
SETTLING_S = 3600.0
"""Run before a part is scored, so that no controller is judged by where it started."""
BLOCK_S = 6 * 3600.0
"""Blocks of the bootstrap: longer than any window or cool-down, short enough for four per day."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a contest."""

    name: str
    start_s: float
    """Where the first sample begins, Unix seconds."""
    values: FloatArray
    """Recorded load, (n,); NaN inside gaps."""
    spacing_s: float
    """A multiple of the step."""
    workload: Workload
    """With a stated capacity; its lead time is the pods' own."""
    noise: Noise = Noise.MULTIPLICATIVE
    seed: int = 0
    monitoring: Monitoring = field(default_factory=Monitoring)
    spread: Spread | None = None
    """None: every pod takes the lead time."""
    warm_up_s: float = 0.0
    drain_s: float = 0.0
    net: float | None = None
    """CPU utilisation of a second trigger beside every controller, None without one."""
    limit_pct: float = 1.0
    """Short share that a setting must keep to be shown by itself."""
    controllers: tuple[str, ...] = ()
    """Names of those that are asked for, empty for all; what the verdict rests on competes in any case."""
    agenda: Agenda = field(default_factory=Agenda)
    """Holidays and events that are known."""

    def asks(self, name: str) -> bool:
        """Whether a controller is asked for."""
        return not self.controllers or name in self.controllers


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of the history that is run and scored."""

    first: int
    """First step that is run."""
    scored_from: int
    """First step that is scored."""
    last: int
    """One beyond the last."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A question made ready."""

    question: Question
    step_s: float
    load: Load
    fleet: Workloads
    """The one workload."""
    training: Part
    test: Part

    @staticmethod
    def of(question: Question) -> "Scene":
        """Draw the noise and cut the parts; deterministic in the question."""
        step_s = SYNC_S.value
        rng = np.random.default_rng(question.seed)
        value = arrivals(question.values, question.spacing_s, step_s, question.noise, rng)
        t_s: FloatArray = question.start_s + step_s * np.arange(1, len(value) + 1, dtype=np.float64)
        load = seen_through(question.monitoring, value, t_s, step_s, rng)
        settling, n = round(SETTLING_S / step_s), len(value)
        tested = int(n * (1.0 - TEST))
        return Scene(
            question=question,
            step_s=step_s,
            load=load,
            fleet=known_hpa(columns_of([question.workload])),
            training=Part(0, min(settling, n // 10), int(n * TRAINING)),
            test=Part(max(tested - settling, 0), tested, n),
        )

    @property
    def capacity(self) -> float:
        """Load of one replica."""
        return float(self.fleet.capacity[0])

    @property
    def age_target_s(self) -> float:
        """Wanted age of the oldest message of a queue; as the policy does, the lead time where none is stated."""
        stated_s = self.question.workload.latency_target_s
        return float(self.fleet.lead_s[0]) if stated_s is None else stated_s

    def world(self, part: Part, *, latency: bool) -> World:
        """What happens in a part."""
        asked, n = self.question, part.last - part.first
        rng = np.random.default_rng(asked.seed + 1)
        queue = bool(self.fleet.queue[0])
        modelled = latency or queue or asked.net is not None
        return World(
            load=cut(self.load, part),
            step_s=self.step_s,
            start_up=self._start_up(n, rng),
            scatter=scatter(n, rng) if asked.net is not None else None,
            served_by=(Messages() if queue else Requests()) if modelled else None,
            warm_steps=round(asked.warm_up_s / self.step_s),
            drain_steps=round(asked.drain_s / self.step_s),
            queue=queue,
            latency_target_s=self.age_target_s if queue else asked.workload.latency_target_s,
        )

    def _start_up(self, n_steps: int, rng: np.random.Generator) -> StartUp:
        lead_s, spread = self.question.workload.lead_s, self.question.spread
        if spread is None:
            return FixedStartUp.of(np.array([lead_s]), self.step_s)
        return RandomStartUp.lognormal(lead_s, spread, self.step_s, n_steps, rng)

    def setup(self, part: Part, rules: HpaRules) -> Setup:
        """Clusters that start with what the HPA's target asks of the load then, (B,) by `rules`."""
        known = self.load.metric[part.first : part.last]
        first = float(known[~np.isnan(known)][0]) if not np.isnan(known).all() else 0.0
        by_load = (rules.target != 1.0) & ~self.fleet.queue[0]
        per_replica = np.where(by_load, rules.target, self.capacity)
        initial = np.maximum(np.ceil(first / per_replica), rules.minimum).astype(np.int64)
        n = len(rules.target)
        return Setup(np.full(n, self.capacity), np.minimum(initial, rules.maximum), rules)

    def columns(self, n: int) -> Workloads:
        """The workload n times."""
        index: IntArray = np.zeros(n, np.int64)
        return take(self.fleet, index)

    def scored(self, part: Part) -> BoolArray:
        """Which steps of the part count, (T,)."""
        return np.asarray(np.arange(part.first, part.last) >= part.scored_from)

    @property
    def block(self) -> int:
        """Steps per block of the bootstrap."""
        return round(BLOCK_S / self.step_s)


def cut(load: Load, part: Part) -> Load:
    """Views on a part of the load."""
    rows = slice(part.first, part.last)
    return Load(load.t_s[rows], load.value[rows], load.metric[rows], load.sample[rows])


def known_hpa(fleet: Workloads) -> Workloads:
    """The same workloads with HPAs that have their bounds, as a service with access to the cluster would read them."""
    return replace(
        fleet,
        minimum=np.maximum(fleet.minimum, 1),
        hpa_minimum=np.maximum(fleet.minimum, 1),
        hpa_maximum=fleet.maximum,
    )
