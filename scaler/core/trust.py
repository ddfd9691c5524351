"""How far the forecast is trusted: the ladder of modes and the model's evidence, as one table of transitions.

    facts of a tick → the most urgent event of each row → TABLE[mode, event] → the next mode, evidence and cause

A fall takes effect at once. A rise comes by steps of w, the share of a scale-down that the forecast has earned: it is
limited by the length of the known history, and after a loss of trust it is earned again step by step, soon after a
silence, slowly after a drift. Nothing but the data and the time enters, so a replay over history ends where it ended.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from forecasting import drift
from forecasting.forecast import BoolArray, FloatArray, IntArray
from scaler.core.domain import UNKNOWN, Mode
from scaler.core.plausibility import Doubt


class Evidence(IntEnum):
    """What speaks for the model that forecasts."""

    NONE = 0
    GENERATED = 1
    """Fitted, or being fitted anew, and not yet heard."""
    VALIDATED = 2
    """Heard, on trial."""
    ACTIVE = 3
    """It has held for the whole trial."""
    EXPIRING = 4
    """Older than a fit should become."""
    EXPIRED = 5
    ROLLED_BACK = 6
    """Heard no more, because the world or its errors have drifted."""

    @property
    def label(self) -> str:
        """The words users read: rolled back, …"""
        return self.name.lower().replace("_", " ")


class Cause(IntEnum):
    """Events, by rising urgency: of several the last one counts. The cause of a move is the event that made it."""

    NONE = 0
    TRIAL = 1
    EARNED = 2
    AGING = 3
    UNSETTLED = 4
    REFIT = 5
    EXPIRED = 6
    LEVEL = 7
    SEASON = 8
    TREND = 9
    SPREAD = 10
    COVERAGE = 11
    SKILL = 12
    BIAS = 13
    CHANGE = 14
    JUMP = 15
    UNIT = 16
    YOUNG = 17
    STALE = 18
    SILENT = 19
    FROZEN = 20
    PINNED = 21
    """Not an event: what a fixed mode is recorded with."""

    @property
    def label(self) -> str:
        """What users read."""
        return LABELS[self]


LABELS = {
    Cause.NONE: "nothing yet",
    Cause.TRIAL: "a validated model is on trial",
    Cause.EARNED: "coverage and skill held for the trial",
    Cause.AGING: "no newer fit than one and a half days",
    Cause.UNSETTLED: "a drift is too recent to learn from",
    Cause.REFIT: "a new model is being fitted because of drift or age",
    Cause.EXPIRED: "the model is older than three days",
    Cause.LEVEL: "the level of the load has shifted",
    Cause.SEASON: "the load has lost its season",
    Cause.TREND: "the load drifts from day to day",
    Cause.SPREAD: "the load is distributed unlike before",
    Cause.COVERAGE: "more peaks than promised lie above the bound",
    Cause.SKILL: "yesterday's load forecasts better",
    Cause.BIAS: "the forecast's errors lean to one side",
    Cause.CHANGE: "the forecast's errors have changed",
    Cause.JUMP: "an implausible jump of the load",
    Cause.UNIT: "the load jumped like a change of its unit",
    Cause.YOUNG: "too little history, or no forecast",
    Cause.STALE: "no fresh sample of the load",
    Cause.SILENT: "no sample of the load for too long",
    Cause.FROZEN: "the load repeats itself: a frozen sensor",
    Cause.PINNED: "fixed by hand",
}
DRIFT = {part: Cause[part.name] for part in drift.Part}
"""Event of each part that may drift."""
DOUBTS = {Doubt.JUMP: Cause.JUMP, Doubt.UNIT: Cause.UNIT}


@dataclass(frozen=True, slots=True)
class Move:
    """One line of the table."""

    causes: tuple[Cause, ...]
    entered_from: tuple[Mode, ...]
    to: Mode
    evidence: Evidence | None = None
    """What it makes of the model; None: what it was."""


EVERYWHERE = tuple(Mode)
SUSPECTED = (Mode.DEGRADED, Mode.RETRAINING)
SILENCED = (Mode.HOLDING, Mode.FAILED)
TRANSITIONS: tuple[Move, ...] = (
    Move((Cause.SILENT,), EVERYWHERE, Mode.FAILED),
    Move((Cause.STALE, Cause.FROZEN), EVERYWHERE, Mode.HOLDING),
    Move((Cause.YOUNG,), EVERYWHERE, Mode.LEARNING, Evidence.GENERATED),
    Move((*DRIFT.values(), *DOUBTS.values()), EVERYWHERE, Mode.DEGRADED, Evidence.ROLLED_BACK),
    Move((Cause.EXPIRED,), EVERYWHERE, Mode.DEGRADED, Evidence.EXPIRED),
    Move((Cause.UNSETTLED,), (*SUSPECTED, *SILENCED, Mode.LEARNING), Mode.DEGRADED, Evidence.ROLLED_BACK),
    Move((Cause.REFIT,), (*SUSPECTED, *SILENCED, Mode.LEARNING), Mode.RETRAINING, Evidence.GENERATED),
    Move((Cause.TRIAL,), EVERYWHERE, Mode.RECOVERY, Evidence.VALIDATED),
    Move((Cause.EARNED,), (Mode.RECOVERY, Mode.HOLDING, Mode.NORMAL), Mode.NORMAL, Evidence.ACTIVE),
    Move((Cause.EARNED,), (*SUSPECTED, Mode.LEARNING, Mode.FAILED), Mode.RECOVERY, Evidence.VALIDATED),
    Move((Cause.AGING,), (Mode.RECOVERY, Mode.HOLDING, Mode.NORMAL), Mode.NORMAL, Evidence.EXPIRING),
    Move((Cause.AGING,), (*SUSPECTED, Mode.LEARNING, Mode.FAILED), Mode.RECOVERY, Evidence.EXPIRING),
)
"""All moves; an event without a line for a mode leaves the mode as it is."""


def _table(moves: Iterable[Move]) -> tuple[IntArray, IntArray]:
    """Next mode and evidence by mode and event, (M, E) each; −1 where the evidence stays."""
    modes = np.repeat(np.arange(len(Mode))[:, None], len(Cause), axis=1)
    evidence = np.full(modes.shape, -1)
    for move in moves:
        for cause in move.causes:
            for mode in move.entered_from:
                modes[mode, cause] = move.to
                evidence[mode, cause] = -1 if move.evidence is None else move.evidence
    return modes, evidence


NEXT_MODE, NEXT_EVIDENCE = _table(TRANSITIONS)


@dataclass(frozen=True, slots=True)
class TrustRules:
    """When a mode is entered."""

    learning_s: float = 6 * 3600.0
    """Shortest history for any prediction to be served."""
    trial_start_s: float = 24 * 3600.0
    """History after which scale-downs begin to be earned: one whole day was seen."""
    trial_s: float = 24 * 3600.0
    """History over which w grows from 0 to 1."""
    steps: int = 4
    """Steps in which w grows."""
    stale_steps: float = 3.0
    """Missing steps after which the answer is held …"""
    stale_s: float = 60.0
    """… but not before this many seconds."""
    failed_s: float = 600.0
    """Age of the newest sample at which no answer is given any more, and at least twice the age that holds it."""
    regained_s: float = 80 * 60.0
    """Over which w grows again after a silence or a doubt, which say nothing against the model."""
    proven_s: float = 12 * 3600.0
    """Over which w grows again after a drift, by a model that has learnt of it."""
    refit_after_s: float = 3 * 3600.0
    """After the last alarm of a drift, until a new model can learn from what came of it."""
    aging_s: float = 36 * 3600.0
    """Age of a fit at which the next one is overdue."""
    expired_s: float = 72 * 3600.0
    """Age of a fit at which it is heard no more."""


@dataclass(frozen=True, slots=True)
class TrustState:
    """What is remembered of B workloads, (B,)."""

    mode: IntArray
    cause: IntArray
    """`Cause` of the last move."""
    evidence: IntArray
    alarmed_s: FloatArray
    """When a drift was last seen, −inf where never."""
    steps: IntArray
    """Steps of w that were earned, or never lost."""
    pace_s: FloatArray
    """How long a step takes."""
    held_s: FloatArray
    """How much of the next step is done."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a tick knows, (B,)."""

    t_s: float
    step_s: float
    """Spacing of the samples."""
    elapsed_s: float
    """Time since the last tick."""
    stale_s: FloatArray
    history_s: FloatArray
    available: BoolArray
    """There is a forecast."""
    validated: BoolArray
    """A fitted model stands behind it."""
    fitted_s: IntArray
    """Cutoff of that model, 0 for the naive forecaster."""
    drift: FloatArray
    """Parts of the drift, (B, P)."""
    doubt: IntArray
    """`Doubt` about the sample."""


def initial_state(n: int) -> TrustState:
    """Nothing known of n workloads, and nothing against them."""
    rules = TrustRules()
    return TrustState(
        mode=np.full(n, int(Mode.LEARNING)),
        cause=np.full(n, int(Cause.YOUNG)),
        evidence=np.full(n, int(Evidence.NONE)),
        alarmed_s=np.full(n, -np.inf),
        steps=np.full(n, rules.steps),
        pace_s=np.full(n, rules.proven_s / rules.steps),
        held_s=np.zeros(n),
    )


def step(facts: Facts, state: TrustState, rules: TrustRules) -> tuple[FloatArray, TrustState]:
    """w of each row, (B,), and where it stands now."""
    steps, held_s = _grown(facts, state, rules)
    grown = np.floor((facts.history_s - rules.trial_start_s) / rules.trial_s * rules.steps)
    limit = np.where(facts.validated, np.minimum(np.maximum(grown, 0.0), rules.steps), 0.0)
    earned = np.minimum(limit, steps) / rules.steps
    event, alarmed_s = _events(facts, state, earned, rules)
    mode, evidence = NEXT_MODE[state.mode, event], NEXT_EVIDENCE[state.mode, event]
    # What never had a sample has lost nothing.
    lost = (mode == Mode.DEGRADED) | ((mode == Mode.FAILED) & np.isfinite(facts.stale_s))
    quick_s, slow_s = rules.regained_s / rules.steps, rules.proven_s / rules.steps
    # A silence within the trial after a drift does not shorten it.
    on_trial = (state.steps < rules.steps) & (state.pace_s > quick_s)
    quick = (mode == Mode.FAILED) | (event == Cause.JUMP) | (event == Cause.UNIT)
    learnt = (mode != Mode.LEARNING) & ~lost
    return np.where(learnt, earned, 0.0), TrustState(
        mode=mode,
        cause=np.where(mode != state.mode, event, state.cause),
        evidence=np.where(evidence >= 0, evidence, state.evidence),
        alarmed_s=alarmed_s,
        steps=np.where(lost, 0, steps),
        pace_s=np.where(lost, np.where(quick & ~on_trial, quick_s, slow_s), state.pace_s),
        held_s=np.where(lost, 0.0, held_s),
    )


def _grown(facts: Facts, state: TrustState, rules: TrustRules) -> tuple[IntArray, FloatArray]:
    """Steps of w after this tick, and what is done of the next: only a model that is heard earns any."""
    heard = (state.mode == Mode.RECOVERY) & (state.steps < rules.steps)
    held_s = np.where(heard, state.held_s + facts.elapsed_s, state.held_s)
    earns = held_s >= state.pace_s
    return state.steps + earns, np.where(earns, 0.0, held_s)


def _events(facts: Facts, state: TrustState, earned: FloatArray, rules: TrustRules) -> tuple[IntArray, FloatArray]:
    """The most urgent event of each row, and when a drift was last seen, (B,)."""
    stale_after_s = max(rules.stale_steps * facts.step_s, rules.stale_s)
    stale = facts.stale_s >= stale_after_s
    young = ~facts.available | (facts.history_s < rules.learning_s)
    # One event alarms once: what still looks back on it is deaf to it.
    since_s = facts.t_s - state.alarmed_s
    score, part = drift.worst(np.where(since_s[:, None] >= drift.LOOKS_BACK_S, facts.drift, 0.0))
    alarmed = (score >= drift.ALARM) & facts.validated & ~stale & ~young
    alarmed_s = np.where(alarmed, facts.t_s, state.alarmed_s)
    age_s = np.where(facts.fitted_s > 0, facts.t_s - facts.fitted_s, 0.0)
    refit_s = alarmed_s + rules.refit_after_s
    jumped = (facts.doubt == Doubt.JUMP) | (facts.doubt == Doubt.UNIT)
    event = np.where(earned >= 1.0, int(Cause.EARNED), int(Cause.TRIAL))
    # By rising urgency: what comes later wins.
    for cause, holds in (
        (int(Cause.AGING), (earned >= 1.0) & (age_s >= rules.aging_s)),
        (int(Cause.REFIT), facts.fitted_s < refit_s),
        (int(Cause.UNSETTLED), facts.t_s < refit_s),
        (int(Cause.EXPIRED), age_s >= rules.expired_s),
        (int(Cause.LEVEL) + part, alarmed),
        (int(Cause.JUMP) - int(Doubt.JUMP) + facts.doubt, jumped),
        (int(Cause.YOUNG), young),
        (int(Cause.STALE), stale),
        (int(Cause.SILENT), facts.stale_s >= max(rules.failed_s, 2 * stale_after_s)),
        (int(Cause.FROZEN), facts.doubt == Doubt.FROZEN),
    ):
        event = np.where(holds, cause, event)
    return event, alarmed_s


def pinned(
    wanted: IntArray, available: BoolArray, earned: FloatArray, state: TrustState
) -> tuple[IntArray, IntArray, FloatArray]:
    """Mode, cause and w that count, (B,) each, where somebody has fixed the mode; UNKNOWN is nobody.

    The ladder goes on beneath, so that the end of it finds the state that history gives. A silence stays a silence, and
    without a forecast there is none to serve.
    """
    silenced = (state.mode == Mode.HOLDING) | (state.mode == Mode.FAILED)
    forecast = wanted == Mode.NORMAL
    counts = (wanted != UNKNOWN) & ~silenced & (available | ~forecast)
    return (
        np.where(counts, wanted, state.mode),
        np.where(counts, int(Cause.PINNED), state.cause),
        np.where(counts, forecast.astype(np.float64), earned),
    )


def refit_due_s(state: TrustState, rules: TrustRules) -> FloatArray:
    """From when on a new model is wanted because of a drift, (B,); −inf where none is."""
    return np.asarray(state.alarmed_s + rules.refit_after_s)
