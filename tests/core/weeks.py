"""Simulated weeks in which the truth is known: the service, and the HPA's rule alone, in one and the same world."""

from dataclasses import dataclass

import numpy as np

from forecasting.drift import no_drift
from forecasting.forecast import LEVELS, FloatArray, IntArray
from scaler.core import decision, impact
from scaler.core.domain import Forecasts, Workload, Workloads, columns_of
from scaler.core.impact import Arm, Effect, Logged
from scaler.core.learning import stacked
from scaler.core.simulator.cluster import Answer, Seen, Setup, World, run
from scaler.core.simulator.controllers import Reactive, Together, shipped_rules, trigger_rules
from scaler.core.simulator.load import Load, peak_ahead
from scaler.core.simulator.pods import RandomStartUp, Spread
from scaler.core.simulator.scene import known_hpa
from scaler.core.simulator.score import tally
from scaler.core.trust import TrustRules
from tests.fakes import DAY_S, WEDNESDAY_S, changed, some_observations

STEP_S = 15.0
LEAD_S = 180.0
"""As stated: near the 95 % quantile of what pods take."""
SPREAD = Spread(sigma=0.3, cold_share=0.1)
SCORES = np.array([0.0, 1.2816, 1.8808, 2.3263, 2.8782])
"""Normal scores of five levels."""


def configured(lead_s: float) -> Workload:
    """What the service is told of all of them."""
    return Workload("shop", "web", "0", threshold=7.0, capacity=10.0, lead_s=lead_s, min_replicas=1, max_replicas=100)


@dataclass(frozen=True)
class Weeks:
    """B weeks of one kind of service, each with a load and a forecaster of its own."""

    n: int
    days: float = 7.0
    seed: int = 0
    true_capacity: float = 10.0
    """What a replica really bears: what is stated or learnt may be off."""
    shadow: bool = False
    error: float = 0.08
    """Of the forecasts, as a logarithm."""


class Service:
    """Our decision on forecasts that are as good as `error` says; keeps what a journal keeps."""

    def __init__(self, peak: FloatArray, fleet: Workloads) -> None:
        """`peak` is (T, B, Q)."""
        self._peak, self._fleet = peak, fleet
        n = len(fleet.capacity)
        self._state, self._n = decision.initial_state(n, STEP_S), n
        self.decided, self.predictive, self.alone = np.zeros((3, len(peak), n), np.int64)
        self.price = np.zeros((len(peak), n))

    def answer(self, seen: Seen) -> Answer:
        now = some_observations(
            self._n, t_s=seen.t_s, load=seen.sample.copy(), replicas=seen.replicas.copy(), ready=seen.ready.copy()
        )
        peak, fitted_s = self._peak[seen.step], np.full(self._n, int(seen.t_s - 3600))
        nothing = np.full(self._n, np.inf)
        said = Forecasts(peak, peak, nothing, fitted_s, np.full(self._n, True), no_drift(self._n))
        made, self._state = decision.decide(now, said, self._fleet, self._state, TrustRules())
        k = seen.step
        self.decided[k], self.predictive[k], self.alone[k] = (
            made.predicted_replicas,
            made.predictive,
            made.reactive_alone,
        )
        self.price[k] = made.price
        return Answer(made.value, made.active)


def loads(weeks: Weeks) -> FloatArray:
    """One daily shape, days unlike each other, bursts, and noise, (T, B)."""
    rng = np.random.default_rng(weeks.seed)
    t_s = np.arange(round(weeks.days * DAY_S / STEP_S))[:, None] * STEP_S
    day = 1.0 - 0.45 * np.cos(2 * np.pi * t_s / DAY_S)
    wander = _wandering(rng, t_s.shape[0], weeks.n, 4 * 3600.0, 0.15)
    bursts = np.zeros(wander.shape)
    for column in range(weeks.n):
        for start in rng.integers(0, len(t_s), rng.poisson(1.5 * weeks.days)):
            bursts[start : start + 80, column] += rng.uniform(0.2, 0.8)
    noise = 1.0 + 0.05 * rng.standard_normal(wander.shape)
    return np.asarray(100.0 * day * np.exp(wander) * (1.0 + bursts) * noise)


def _wandering(rng: np.random.Generator, n_steps: int, n: int, memory_s: float, deviation: float) -> FloatArray:
    """Slow noise: a value an hour, joined by lines, (T, B)."""
    hours = np.arange(0, n_steps + 240, 240)
    keep = np.exp(-3600.0 / memory_s)
    values = np.zeros((len(hours), n))
    for k in range(1, len(hours)):
        values[k] = keep * values[k - 1] + np.sqrt(1 - keep**2) * deviation * rng.standard_normal(n)
    return np.stack([np.interp(np.arange(n_steps), hours, values[:, b]) for b in range(n)], axis=1)


def foreseen(weeks: Weeks, load: FloatArray, h: int) -> FloatArray:
    """Quantiles of the coming peaks by a forecaster that errs, (T, B, Q)."""
    rng = np.random.default_rng(weeks.seed + 1)
    peak = np.stack([peak_ahead(load[:, b], h) for b in range(weeks.n)], axis=1)
    peak = np.where(np.isnan(peak), load, peak)
    centre = peak * np.exp(_wandering(rng, len(load), weeks.n, 3600.0, weeks.error))
    assert len(LEVELS) == len(SCORES)
    return np.asarray(centre[..., None] * np.exp(weeks.error * SCORES))


@dataclass(frozen=True)
class Truth:
    """What was logged of each week, and what both would really have done in it."""

    logged: list[Logged]
    ready: list[IntArray]
    effects: list[Effect]
    """What was decided against the rule alone."""


def lived(weeks: Weeks) -> Truth:
    """Live through the weeks."""
    n, load = weeks.n, loads(weeks)
    t_s = WEDNESDAY_S + STEP_S * np.arange(1, len(load) + 1)
    fleet = known_hpa(columns_of([configured(LEAD_S)] * n))
    fleet = changed(fleet, n, {"shadow": weeks.shadow})
    service = Service(foreseen(weeks, load, int(fleet.h[0])), fleet)
    limits = (0.1, 1, 100)
    alone = trigger_rules(fleet.threshold, np.full(n, 300.0), limits)
    both = np.tile(load, (1, 2))
    draws = RandomStartUp.lognormal(LEAD_S / 1.3, SPREAD, STEP_S, len(load), np.random.default_rng(weeks.seed + 2))
    world = World(Load(t_s, both, both, both), STEP_S, draws)
    initial = np.tile(np.ceil(load[0] / 7.0).astype(np.int64), 2)
    setup = Setup(np.full(2 * n, weeks.true_capacity), initial, stacked([alone, shipped_rules(n, limits)]))
    record = run(world, setup, Together([(Reactive(), n), (service, n)]))
    logged, served, effects = [], [], []
    for b in range(n):
        ready, ran = record.ready[:, n + b].astype(np.int64), record.replicas[:, n + b].astype(np.int64)
        served.append(ready)
        logged.append(_logged(t_s, load[:, b], service, (ran, ready), b))
        mine = impact._columns(record, slice(b, None, n))
        scored = np.arange(len(load)) >= 240
        sums = tally(mine, load[:, b], np.full(2, weeks.true_capacity), scored, 1440, STEP_S)
        effects.append(impact.effect(sums, 1, 0))  # type: ignore[arg-type]
    return Truth(logged, served, effects)


def _logged(t_s: FloatArray, load: FloatArray, service: Service, counts: tuple[IntArray, IntArray], b: int) -> Logged:
    ran, ready = counts
    start_up_s = impact.mean_start_up_s(ran, ready, STEP_S)
    assert start_up_s is not None
    known = service.predictive[:, b] >= 0
    return Logged(
        t_s=t_s,
        load=load,
        forecast=np.where(known, service.predictive[:, b], service.alone[:, b]),
        decided=service.decided[:, b],
        agent=np.where(known, service.predictive[:, b], service.alone[:, b]),
        price=service.price[:, b],
        ran=ran,
        workload=configured(start_up_s),
        tolerance_down=0.1,
    )


__all__ = ["Arm", "Truth", "Weeks", "lived"]
