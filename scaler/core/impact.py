"""What prediction has changed: a workload's logged load once more, through clusters that differ only in who decides.

    logged load → the HPA's rule alone | the forecast alone | what was decided | the agent, each with pods and an HPA
    → replica-hours and short load in blocks of six hours → differences, with paired bootstrap intervals

All are simulated, what really ran too: what the simulator simplifies then weighs on both sides of a difference.
What really ran is the check: where no cluster resembles it, nothing can be said about differences between them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np

from forecasting.forecast import BoolArray, FloatArray, IntArray
from scaler.core import dead_band
from scaler.core.domain import UNKNOWN, Workload, Workloads, columns_of
from scaler.core.hpa import DEFAULT_DOWN, HpaRules
from scaler.core.learning import stacked
from scaler.core.simulator.cluster import Answer, Controller, Run, Seen, Setup, World, run
from scaler.core.simulator.constants import SYNC_S
from scaler.core.simulator.controllers import Limits, Reactive, Together, shipped_rules, trigger_rules
from scaler.core.simulator.load import Load
from scaler.core.simulator.pods import FixedStartUp
from scaler.core.simulator.scene import BLOCK_S, SETTLING_S, known_hpa
from scaler.core.simulator.score import LEAST_BLOCKS, Figures, Interval, Tally, figures, tally

STEP_S = SYNC_S.value
FEWEST_PODS = 10.0
"""Pods that must have come before their start-up is fitted."""
DRAWS = 2000
"""Samples of the bootstrap."""
RUN = 4
"""Blocks of six hours that are drawn at once, a day: hours resemble their neighbours. In 100 simulated weeks the
interval of the replica-hours held what is so in the long run in 85 with single blocks, 89 with two, 94 with four."""
UNSURE = 0.05
"""Share by which a replica may bear less or more than was thought, in the interval of the short load. Whoever runs
close to the capacity is short at once where it is smaller: else 0 of 60 intervals held the truth at 5 % less."""
Z95 = 1.96
ALIKE, ALIKE_STEP = 0.1, 0.2
"""Replica-hours, and mean distance per step, by which a cluster may differ from what ran and still resembles it."""


class Arm(IntEnum):
    """Who decides."""

    REACTIVE = 0
    """The HPA's rule on the load."""
    FORECAST = 1
    """The forecast alone; where there is none, the rule."""
    DECIDED = 2
    """What was decided, with trust and guardrails."""
    AGENT = 3
    """What the agent would have kept; where it had no word, the forecast."""


@dataclass(frozen=True, slots=True)
class Logged:
    """One workload on an even grid of STEP_S, T steps, with what its simulator is fitted to."""

    t_s: FloatArray
    load: FloatArray
    """NaN where nothing is known: never scored, (T,)."""
    forecast: IntArray
    """Replicas that the forecast alone wanted, else the rule, (T,)."""
    decided: IntArray
    """(T,)"""
    agent: IntArray
    """Replicas that the agent would have kept, else the forecast's, (T,)."""
    price: FloatArray
    """Of a short replica, (T,)."""
    ran: IntArray
    """Replicas that ran, UNKNOWN where nobody could tell, (T,)."""
    workload: Workload
    """With threshold, capacity, tolerance and bounds; its lead time is that of a pod."""
    tolerance_down: float


@dataclass(frozen=True, slots=True)
class Effect:
    """What one arm changes against another."""

    saved_pct: float
    """Replica-hours saved, in percent of the other's; negative: more are spent."""
    saved: Interval | None
    """95 % interval, None where there are too few blocks."""
    less_short: float
    """Percentage points of the load less that met too few replicas; negative: more."""
    less: Interval | None


@dataclass(frozen=True, slots=True)
class Impact:
    """What came of them."""

    figures: Figures
    """By `Arm`, (4,)."""
    against_rule: Effect
    """What was decided, against the HPA's rule alone."""
    against_forecast: Effect
    """The same against the forecast alone."""
    agent: Effect | None
    """What the agent changes against the forecast alone, None where it never had a word of its own."""
    days: float
    """Scored."""
    blocks: int
    resembles: Arm | None
    """The arm that what really ran resembles; None where it resembles neither the rule nor what was decided."""
    ran_hours: float
    """Replica-hours that really ran, NaN where nobody could tell."""


class AsWanted:
    """Replicas that were wanted at each step, sent as the service would send them."""

    def __init__(self, wanted: IntArray, price: FloatArray, fleet: Workloads) -> None:
        """`wanted` and `price` are (T, B)."""
        self._wanted, self._price, self._fleet = wanted, price, fleet
        self._band = dead_band.initial_state(wanted.shape[1])
        self._active = np.ones(wanted.shape[1], np.bool_)

    def answer(self, seen: Seen) -> Answer:
        """Send what was wanted."""
        value, self._band = dead_band.encode(
            self._wanted[seen.step], seen.replicas, self._active, self._price[seen.step], self._fleet, self._band
        )
        return Answer(value, self._active)


def mean_start_up_s(replicas: IntArray, ready: IntArray, step_s: float) -> float | None:
    """Mean time from asking for a replica to its serving, by Little's law: pods that start, over pods that came.

    None where too few came, or where nobody told how many were ready. Counts are (T,), UNKNOWN where not read.
    """
    told = (replicas[1:] >= 0) & (replicas[:-1] >= 0) & (ready[1:] >= 0)
    came = float(np.maximum(np.diff(replicas), 0)[told].sum())
    starting = float(np.maximum(replicas - ready, 0)[1:][told].sum())
    return starting / came * step_s if came >= FEWEST_PODS and starting > 0 else None


def impacts(logged: Sequence[Logged]) -> list[Impact]:
    """What prediction has changed for each of several workloads of as many steps."""
    record = replayed(logged)
    return [judged(one, _columns(record, slice(place, None, len(logged)))) for place, one in enumerate(logged)]


def replayed(logged: Sequence[Logged]) -> Run:
    """Run the arms of each workload, (T, 4·B): all rules, all forecasts, all that was decided, all agents."""
    n, fleets = len(logged), [_fleet(one) for one in logged]
    fleet = stacked(fleets)
    counts = [np.stack(part, axis=1) for part in zip(*((w.forecast, w.decided, w.agent) for w in logged), strict=True)]
    price = np.stack([one.price for one in logged], axis=1)
    wanted = [AsWanted(one, price, fleet) for one in counts]
    arms: list[tuple[Controller, int]] = [(Reactive(), n), *((controller, n) for controller in wanted)]
    load = np.tile(np.stack([one.load for one in logged], axis=1), (1, len(Arm)))
    lead_s = np.tile([one.workload.lead_s for one in logged], len(Arm))
    world = World(Load(logged[0].t_s, load, load, load), STEP_S, FixedStartUp.of(lead_s, STEP_S))
    ours = [shipped_rules(1, _limits(one)) for one in fleets]
    setup = Setup(
        capacity=np.tile(fleet.capacity, len(Arm)),
        initial=np.tile(_initial(logged, fleet), len(Arm)),
        rules=stacked([*(_rule(one) for one in fleets), *ours, *ours, *ours]),
    )
    return run(world, setup, Together(arms))


def _rule(fleet: Workloads) -> HpaRules:
    """The HPA's own rule with its defaults, as `reactive_alone` has it."""
    return trigger_rules(fleet.threshold, np.array([DEFAULT_DOWN[3]]), _limits(fleet))


def _limits(fleet: Workloads) -> Limits:
    return float(fleet.tolerance[0]), int(fleet.minimum[0]), int(fleet.maximum[0])


def judged(logged: Logged, record: Run) -> Impact:
    """What the arms of one workload, (T, 4), have come to."""
    scored: BoolArray = (np.arange(len(logged.load)) >= round(SETTLING_S / STEP_S)) & ~np.isnan(logged.load)
    block, capacity = round(BLOCK_S / STEP_S), np.full(len(Arm), _fleet(logged).capacity[0])
    shares = (1.0, 1.0 - UNSURE, 1.0 + UNSURE)
    sums, less, more = (tally(record, logged.load, share * capacity, scored, block, STEP_S) for share in shares)
    return Impact(
        figures=figures(sums, STEP_S),
        against_rule=either([effect(one, Arm.DECIDED, Arm.REACTIVE) for one in (sums, less, more)]),
        against_forecast=either([effect(one, Arm.DECIDED, Arm.FORECAST) for one in (sums, less, more)]),
        agent=effect(sums, Arm.AGENT, Arm.FORECAST) if (logged.agent != logged.forecast).any() else None,
        days=float(scored.sum()) * STEP_S / 86_400.0,
        blocks=_known(sums).sum(),
        resembles=_resembled(logged, record, scored),
        ran_hours=_hours(logged.ran, scored),
    )


def effect(sums: Tally, arm: Arm, other: Arm) -> Effect:
    """What an arm changes against another, with intervals by blocks that are drawn for both at once."""
    known = _known(sums)
    everything = np.ones((1, int(known.sum())), np.int64)
    saved, less = (float(part[0]) for part in _differences(sums, known, (arm, other), everything))
    n = int(known.sum())
    if n < LEAST_BLOCKS:
        return Effect(saved, None, less, None)
    drawn = _differences(sums, known, (arm, other), runs(n, DRAWS, np.random.default_rng(0)))
    return Effect(saved, _interval(saved, drawn[0], n), less, _interval(less, drawn[1], n))


def either(effects: Sequence[Effect]) -> Effect:
    """The first of some effects, with an interval of the short load that holds those of all."""
    intervals = [one.less for one in effects if one.less is not None]
    if len(intervals) < len(effects):
        return effects[0]
    return replace(effects[0], less=Interval(min(one.low for one in intervals), max(one.high for one in intervals)))


def runs(n_blocks: int, n_samples: int, rng: np.random.Generator) -> IntArray:
    """How often each block is drawn in each sample of a circular moving-block bootstrap, (n_samples, n_blocks).

    RUN blocks that follow each other are drawn at once, since hours that do may be alike (H. R. Künsch, The jackknife
    and the bootstrap for general stationary observations, 1989; D. N. Politis, J. P. Romano, circular, 1992).
    """
    starts = rng.integers(n_blocks, size=(n_samples, -(-n_blocks // RUN)))
    drawn = (starts[:, :, None] + np.arange(RUN)).reshape(n_samples, -1) % n_blocks
    return np.stack([np.bincount(one, minlength=n_blocks) for one in drawn])


def _interval(found: float, drawn: FloatArray, n_blocks: int) -> Interval:
    """95 % interval about what was found, widened for few runs as Student's t is, t ≈ z·(1 + (z² + 1) / 4(m − 1))."""
    m = n_blocks / RUN
    wider = (1.0 + (Z95**2 + 1.0) / (4.0 * (m - 1.0))) * np.sqrt(m / (m - 1.0))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(found - wider * float(found - low), found + wider * float(high - found))


def _differences(
    sums: Tally, known: BoolArray, arms: tuple[Arm, Arm], weights: IntArray
) -> tuple[FloatArray, FloatArray]:
    """Percent of replica-hours saved and percentage points of the load less short, by the weights of blocks, (N, K)."""
    arm, other = arms
    billed, short = weights @ sums.billed[known], weights @ sums.short[known]
    load = np.maximum((weights @ sums.load[known])[:, other], 1e-300)
    return (
        100.0 * (1.0 - billed[:, arm] / np.maximum(billed[:, other], 1e-300)),
        100.0 * (short[:, other] - short[:, arm]) / load,
    )


def _known(sums: Tally) -> BoolArray:
    """Blocks in which anything was scored, (N,)."""
    return np.asarray(sums.steps[:, 0] > 0)


def _resembled(logged: Logged, record: Run, scored: BoolArray) -> Arm | None:
    told = scored & (logged.ran != UNKNOWN)
    for arm in (Arm.DECIDED, Arm.REACTIVE):
        simulated, ran = record.replicas[told, arm].astype(np.float64), logged.ran[told].astype(np.float64)
        apart, total = np.abs(simulated - ran).sum(), max(float(ran.sum()), 1.0)
        if not told.any() or (abs(simulated.sum() / total - 1.0) <= ALIKE and apart / total <= ALIKE_STEP):
            return arm
    return None


def _hours(ran: IntArray, scored: BoolArray) -> float:
    told = scored & (ran != UNKNOWN)
    # As if what is not known had been as what is.
    return float(ran[told].mean() * scored.sum() * STEP_S / 3600.0) if told.any() else float("nan")


def _fleet(logged: Logged) -> Workloads:
    return replace(known_hpa(columns_of([logged.workload])), tolerance_down=np.array([logged.tolerance_down]))


def _initial(logged: Sequence[Logged], fleet: Workloads) -> IntArray:
    first = np.array([one.ran[0] if one.ran[0] > 0 else one.decided[0] for one in logged], dtype=np.int64)
    return np.minimum(np.maximum(first, np.maximum(fleet.minimum, 1)), fleet.maximum)


def _columns(record: Run, columns: slice) -> Run:
    part = [np.ascontiguousarray(array[:, columns]) for array in (record.replicas, record.ready, record.billed)]
    return Run(part[0], part[1], part[2], None)
