"""Whose forecast is served, and how far it is shifted: one hourly look at what was forecast and what came.

The members are the fitted forecaster, shifted by `conformal`, and *persistence*: the load now, times what the load grew
by within a lead window over the last two days. Persistence is hard to beat after a launch or a change of level, when
a fitted model knows a world that is gone. The member with the smaller pinball loss at the levels that are served,
in load units, decayed over half a day, is heard; the other takes over only when it is clearly better.
"""

from dataclasses import dataclass

import numpy as np

from forecasting import conformal
from forecasting.conformal import Joined, Track
from forecasting.forecast import LEVELS, BoolArray, FloatArray, IntArray, Quantiles, ordered
from forecasting.scores import pinball

REFRESH_S = 3600.0
"""Between two looks."""
DECAY_S = 12 * 3600.0
"""Age at which a loss counts 1/e."""
JUDGED = slice(1, 4)
"""Levels whose losses count: 0.9, 0.97 and 0.99; 0.995 has too few exceedances in two days, 0.5 is never served."""
BETTER = 0.97
"""A member takes over when its loss is below this share of the other's."""


@dataclass(frozen=True, slots=True)
class EnsembleState:
    """What the last look found, (B,) and (B, Q)."""

    looked_s: FloatArray
    """When the last look was due, −inf before the first."""
    shift: FloatArray
    """Added to the logarithm of each level of the fitted forecaster, (B, Q)."""
    growth: FloatArray
    """Quantiles of log(peak / load now), (B, Q): what persistence adds."""
    persistent: BoolArray
    """Whether persistence is heard."""


def initial_state(n: int) -> EnsembleState:
    """Nothing shifted, the fitted forecaster heard."""
    q = len(LEVELS)
    return EnsembleState(np.full(n, -np.inf), np.zeros((n, q)), np.zeros((n, q)), np.zeros(n, np.bool_))


def due_s(now_s: FloatArray | float, phase_s: FloatArray | float) -> FloatArray:
    """When the newest look at or before `now_s` was due; `phase_s` spreads the looks of many workloads."""
    return np.asarray((np.asarray(now_s) - phase_s) // REFRESH_S * REFRESH_S + phase_s)


def looks(moment_s: FloatArray, phase_s: float) -> tuple[IntArray, IntArray]:
    """Which of rising `moment_s` (T,) look anew, (L,), and how many moments each look serves, (L,)."""
    firsts = np.flatnonzero(np.diff(due_s(moment_s, phase_s), prepend=-np.inf))
    return firsts, np.diff(firsts, append=len(moment_s))


def looked(state: EnsembleState, track: Track, epsilon: float, at_s: float, bucket_s: float) -> EnsembleState:
    """State of one workload after a look at its track; unchanged where too little is known."""
    due = np.array([at_s])
    if not conformal.enough(track, bucket_s):
        return EnsembleState(due, state.shift, state.growth, state.persistent)
    level = np.maximum(track.level, 0.0)[:, None]
    shift = conformal.shift(track, track.peak, epsilon)
    growth = conformal.shift(track, level, epsilon)
    weight = np.exp(-track.age_s / DECAY_S)
    fitted, persistent = (
        _loss(track, _shifted(said, by, epsilon), weight) for said, by in ((track.peak, shift), (level, growth))
    )
    was = bool(state.persistent[0])
    heard = not fitted < BETTER * persistent if was else persistent < BETTER * fitted
    return EnsembleState(due, shift[None], growth[None], np.array([heard]))


def _loss(track: Track, said: FloatArray, weight: FloatArray) -> float:
    loss = pinball(track.actual, said)[:, JUDGED].mean(axis=1)
    return float((weight * loss).sum() / weight.sum())


def applied(state: EnsembleState, said: Quantiles, epsilon: FloatArray) -> Quantiles:
    """What is served of R forecasts, one row of the state each; the path is left as it was said."""
    offset = epsilon[:, None]
    base = np.where(state.persistent[:, None], np.maximum(said.level, 0.0)[:, None], said.peak)
    shifted = _shifted(base, np.where(state.persistent[:, None], state.growth, state.shift), offset)
    ceiling = np.fmax(said.ceiling, said.peak[:, 0])[:, None]
    return Quantiles(np.fmin(shifted, ceiling), said.path, said.level, said.ceiling)


def _shifted(said: FloatArray, by: FloatArray, offset: FloatArray | float) -> FloatArray:
    """Quantiles, (R, Q), with `by` added to their logarithms.

    A product, not a sum of logarithms: without a shift nothing changes, and no load stays exactly no load.
    """
    return ordered((said + offset) * np.exp(by) - offset)


def replayed(
    state: EnsembleState, past: Joined, moment_s: FloatArray, context: tuple[float, float, float]
) -> tuple[EnsembleState, EnsembleState]:
    """One workload's state at each of `moment_s` (T,), rising, and after the last of them.

    `context` is epsilon, the phase of the looks and the bucket spacing.
    """
    epsilon, phase_s, bucket_s = context
    firsts, repeats = looks(moment_s, phase_s)
    states = []
    for at_s, due in zip(moment_s[firsts].tolist(), due_s(moment_s[firsts], phase_s).tolist(), strict=True):
        state = looked(state, past.until(at_s), epsilon, due, bucket_s)
        states.append(state)
    parts = (np.concatenate([getattr(one, name) for one in states]) for name in EnsembleState.__slots__)
    return EnsembleState(*(np.repeat(part, repeats, axis=0) for part in parts)), state
