"""The policies that are compared. Each answers for its own clusters, one per setting of its knob.

Baselines are what a person would configure today: a KEDA trigger whose query reports a load, with a threshold. Ours is
the service's own decision, tick by tick, on forecasts that were made in advance (they do not depend on actions).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from forecasting.forecast import BoolArray, FloatArray, IntArray
from scaler.core import dead_band, decision, hpa, plausibility
from scaler.core.domain import UNKNOWN, Forecasts, Mode, Observations, Workloads, take
from scaler.core.learning import stacked
from scaler.core.plausibility import Accepted, Situation, accept, corroborated
from scaler.core.price import PriceState
from scaler.core.simulator.cluster import Answer, Controller, Seen
from scaler.core.trust import TrustRules, TrustState

SHIPPED_UP = (100, 1000.0, 15.0, 0.0)
"""pods, percent, period and window of scaleUp in our manifests: the decision is rate-limited already."""
SHIPPED_DOWN = (0, 100.0, 15.0, 0.0)
"""The same of scaleDown: the decision is stabilized already."""


Limits = tuple[float, int, int]
"""Tolerance, minimum and maximum of an HPA."""
Behavior = tuple[int, float, float, float]
"""pods, percent, period and window of one direction."""


def trigger_rules(target: FloatArray, window_s: FloatArray, limits: Limits) -> hpa.HpaRules:
    """HPAs with a `behavior` that states nothing but scaleDown.stabilizationWindowSeconds, (B,)."""
    down = replace(_policy(len(target), hpa.DEFAULT_DOWN), window_s=window_s)
    return _rules(target, _policy(len(target), hpa.DEFAULT_UP), down, limits)


def shipped_rules(n: int, limits: Limits) -> hpa.HpaRules:
    """HPAs as our manifests configure them: a target of 1 and no brakes of their own, (n,)."""
    return _rules(np.ones(n), _policy(n, SHIPPED_UP), _policy(n, SHIPPED_DOWN), limits)


def _rules(target: FloatArray, up: hpa.ScalingPolicy, down: hpa.ScalingPolicy, limits: Limits) -> hpa.HpaRules:
    n = len(target)
    tolerance, minimum, maximum = limits
    return hpa.HpaRules(
        target=target,
        tolerance_up=np.full(n, tolerance),
        tolerance_down=np.full(n, tolerance),
        minimum=np.full(n, max(minimum, 1)),
        maximum=np.full(n, maximum),
        up=up,
        down=down,
        with_behavior=np.ones(n, np.bool_),
    )


def _policy(n: int, numbers: Behavior) -> hpa.ScalingPolicy:
    pods, percent, period_s, window_s = numbers
    return hpa.ScalingPolicy(np.full(n, pods), np.full(n, percent), np.full(n, period_s), np.full(n, window_s))


@dataclass(frozen=True, slots=True)
class Reactive:
    """The HPA on the metric as it is."""

    activation: float = 0.0

    def answer(self, seen: Seen) -> Answer:
        """Report the metric."""
        return Answer(seen.metric, seen.metric > self.activation)


@dataclass(frozen=True, slots=True)
class LastValue:
    """The forecast that nothing changes: the newest sample."""

    activation: float = 0.0

    def answer(self, seen: Seen) -> Answer:
        """Report the sample."""
        return Answer(seen.sample, seen.sample > self.activation)


@dataclass(frozen=True, slots=True)
class AtLeast:
    """Two triggers of one ScaledObject, of which the HPA takes the larger: the metric, and a forecast of it.

    What the clouds do (never scale in on a forecast), and Grafana Mimir's rule with the same time last week.
    """

    forecast: FloatArray
    """Forecast load at each step, (T,); NaN where there is none."""
    activation: float = 0.0

    def answer(self, seen: Seen) -> Answer:
        """Report the larger; a metric that cannot be read fails the query."""
        value = np.where(np.isnan(seen.metric), np.nan, np.fmax(seen.metric, self.forecast[seen.step]))
        return Answer(value, value > self.activation)


class Clairvoyant:
    """Knows the future load, works through the same HPA: the limit of what prediction can do.

    For each cluster ceil(peak of the lead window / (capacity · knob)), through the same encoding as ours.
    """

    def __init__(self, peak: FloatArray, utilisation: FloatArray, fleet: Workloads) -> None:
        need = np.maximum(np.ceil(peak[:, None] / (fleet.capacity * utilisation) - 1e-9), 1.0)
        # Where nothing is known to come, what was wanted last stays wanted.
        known = np.maximum.accumulate(np.where(np.isnan(peak), 0, np.arange(len(peak))))
        self._wanted = np.nan_to_num(need[known], nan=1.0).astype(np.int64)
        self._fleet = fleet
        # It keeps no surplus that the band forced: it knows when that is needed again.
        self._band = dead_band.initial_state(len(utilisation))
        # An overshoot costs little against a peak that is certain to come.
        self._price = np.full(len(utilisation), 100.0)
        self._active = np.ones(len(utilisation), np.bool_)

    def answer(self, seen: Seen) -> Answer:
        """Report what will be needed."""
        value, _ = dead_band.encode(
            self._wanted[seen.step], seen.replicas, self._active, self._price, self._fleet, self._band
        )
        return Answer(value, self._active)


@dataclass(frozen=True, slots=True)
class Foreseen:
    """Forecasts for each step, made with what was known by then."""

    peak: FloatArray
    """(T, Q)"""
    path: FloatArray
    """(T, Q)"""
    ceiling: FloatArray
    """Largest load worth believing, (T,)."""
    version: IntArray
    """(T,)"""
    validated: BoolArray
    """(T,)"""
    stale_s: FloatArray
    """Age of the newest good sample, (T,)."""
    history_s: FloatArray
    """Span of the history known, (T,)."""
    drift: FloatArray
    """Parts of the drift, (T, P)."""
    adopted: Mapping[int, tuple[PriceState, TrustState]]
    """What was learnt with the fit that serves from a step on, (1,) each, by step."""


class Ours:
    """The service's decision, for each setting of the price of a short replica."""

    def __init__(
        self, foreseen: Foreseen, fleet: Workloads, state: decision.State, pinned: FloatArray, step_s: float
    ) -> None:
        """`pinned` is the price of each cluster, (B,), NaN where it follows its own feedback."""
        self._foreseen, self._fleet, self._state = foreseen, fleet, state
        self._rules = TrustRules()
        self._free = np.isnan(pinned)
        self._log_price = np.where(self._free, 0.0, np.log(np.where(self._free, 1.0, pinned)))
        self._n, self._step_s = len(pinned), step_s
        self.mode = np.zeros(len(foreseen.stale_s), np.int8)
        """Mode of the first cluster at each step; modes follow the data, not the knob."""
        self._plausible = plausibility.initial_state(len(pinned))
        self._pin()

    def _pin(self) -> None:
        state = self._state.price
        log_price = np.where(self._free, state.log_price, self._log_price)
        self._state = replace(self._state, price=replace(state, log_price=log_price))

    def answer(self, seen: Seen) -> Answer:
        """Decide; a failed mode fails the query, as the service answers UNAVAILABLE."""
        learnt = self._foreseen.adopted.get(seen.step)
        if learnt is not None:
            worth, earned = stacked([learnt[0]] * self._n), stacked([learnt[1]] * self._n)
            self._state = replace(self._state, price=worth, trust=earned)
            self._pin()
        observations, forecasts = self._asked(seen)
        made, self._state = decision.decide(observations, forecasts, self._fleet, self._state, self._rules)
        self._pin()
        self.mode[seen.step] = made.mode[0]
        return Answer(np.where(made.mode == Mode.FAILED, np.nan, made.value), made.active)

    def _asked(self, seen: Seen) -> tuple[Observations, Forecasts]:
        foreseen, step, n = self._foreseen, seen.step, self._n
        accepted = self._accepted(seen)
        observations = Observations(
            t_s=seen.t_s,
            step_s=self._step_s,
            load=accepted.load,
            arrivals=seen.arrivals,
            stale_s=np.full(n, foreseen.stale_s[step]),
            history_s=np.full(n, foreseen.history_s[step]),
            replicas=seen.replicas,
            ready=seen.ready,
            feedback=seen.feedback,
            doubt=accepted.doubt,
        )
        width = foreseen.peak.shape[1]
        forecasts = Forecasts(
            np.broadcast_to(foreseen.peak[step], (n, width)),
            np.broadcast_to(foreseen.path[step], (n, width)),
            np.full(n, foreseen.ceiling[step]),
            np.full(n, foreseen.version[step]),
            np.full(n, foreseen.validated[step]),
            np.broadcast_to(foreseen.drift[step], (n, foreseen.drift.shape[1])),
        )
        return observations, forecasts

    def _accepted(self, seen: Seen) -> Accepted:
        situation = Situation(
            np.where(seen.replicas == UNKNOWN, self._state.decided, seen.replicas),
            np.full(self._n, self._foreseen.history_s[seen.step]),
            corroborated(seen.feedback, self._fleet),
        )
        accepted, self._plausible = accept(seen.sample, situation, self._fleet, self._plausible, self._step_s)
        return accepted


class Together:
    """Several controllers in one batch, side by side."""

    def __init__(self, parts: Sequence[tuple[Controller, int]]) -> None:
        """Each controller with the number of its clusters, in the order of the batch."""
        self._parts = []
        start = 0
        for controller, n in parts:
            self._parts.append((controller, slice(start, start + n)))
            start += n

    def answer(self, seen: Seen) -> Answer:
        """Let each answer for its own."""
        answers = [controller.answer(take(seen, rows)) for controller, rows in self._parts]
        return Answer(
            np.concatenate([answer.value for answer in answers]), np.concatenate([answer.active for answer in answers])
        )


class WithNet:
    """A second trigger on CPU utilisation beside another controller: the HPA takes the larger proposal.

    GetResourceReplicas: ceil(ready · utilisation / target) where the ratio leaves the tolerance.
    """

    def __init__(self, inner: Controller, utilisation: float, rules: hpa.HpaRules) -> None:
        self._inner, self._utilisation, self._rules = inner, utilisation, rules

    def answer(self, seen: Seen) -> Answer:
        """Report what makes the HPA propose the larger of both."""
        answer = self._inner.answer(seen)
        ratio = seen.feedback[:, 0] / self._utilisation
        wanted = np.ceil(seen.ready * ratio - 1e-9) * self._rules.target
        return Answer(
            np.where(ratio > 1.0 + self._rules.tolerance_up, np.fmax(answer.value, wanted), answer.value), answer.active
        )
