"""How far the forecast is trusted: the ladder of modes.

So far its causes are simple: how long the known history is and how old its newest sample. A fall takes effect at once,
a rise comes by steps of w, the share of a scale-down that the forecast has earned.
"""

from dataclasses import dataclass

import numpy as np

from forecasting.forecast import BoolArray, FloatArray, IntArray
from scaler.core.domain import Mode, Observations


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


def assess(
    seen: Observations, available: BoolArray, validated: BoolArray, rules: TrustRules
) -> tuple[IntArray, FloatArray]:
    """Mode (B,) and w (B,) of each row.

    `available`: there is a forecast; `validated`: a fitted model stands behind it.
    """
    grown = np.floor((seen.history_s - rules.trial_start_s) / rules.trial_s * rules.steps) / rules.steps
    earned = np.where(validated, np.minimum(np.maximum(grown, 0.0), 1.0), 0.0)
    learnt = available & (seen.history_s >= rules.learning_s)
    mode = np.where(learnt, np.where(earned >= 1.0, Mode.NORMAL, Mode.RECOVERY), Mode.LEARNING)
    stale_after = max(rules.stale_steps * seen.step_s, rules.stale_s)
    mode = np.where(seen.stale_s >= stale_after, Mode.HOLDING, mode)
    mode = np.where(seen.stale_s >= max(rules.failed_s, 2 * stale_after), Mode.FAILED, mode)
    return mode.astype(np.int64), np.where(learnt, earned, 0.0)
