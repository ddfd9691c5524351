"""KEDA's part: between 0 and 1 replica. Everything above 1 is the HPA's.

Source: pkg/scaling/executor/scale_scaledobjects.go. Polls come every polling interval; 0 → max(1, minimum) as soon as a
poll finds the trigger active; down to the minimum of 0 once it has been inactive for the cool-down. A trigger that
cannot be read keeps what there is.
"""

from dataclasses import dataclass

import numpy as np

from forecasting.forecast import BoolArray, FloatArray, IntArray
from scaler.core.simulator.constants import COOLDOWN_S, POLLING_S


@dataclass(frozen=True, slots=True)
class KedaRules:
    """What B ScaledObjects say."""

    minimum: IntArray
    """minReplicaCount; the HPA's own minimum is at least 1."""
    polling_s: float = POLLING_S.value
    cooldown_s: float = COOLDOWN_S.value


@dataclass(frozen=True, slots=True)
class KedaState:
    """What KEDA remembers."""

    last_active_s: FloatArray
    """Time of the last poll that found the trigger active, (B,)."""


def initial_state(n: int, now_s: float) -> KedaState:
    """Active just now: a cool-down begins when the first poll finds otherwise."""
    return KedaState(np.full(n, now_s))


def step(
    replicas: IntArray, active: BoolArray, known: BoolArray, t_s: float, rules: KedaRules, state: KedaState
) -> tuple[IntArray, KedaState]:
    """One poll of B ScaledObjects: the replica count after it, (B,). Between polls nothing happens."""
    if t_s % rules.polling_s:
        return replicas, state
    last_s = np.where(active & known, t_s, state.last_active_s)
    woken = (replicas == 0) & active & known
    asleep = (rules.minimum == 0) & ~active & known & (t_s > last_s + rules.cooldown_s)
    after = np.where(woken, np.maximum(rules.minimum, 1), np.where(asleep, 0, replicas))
    return after, KedaState(last_s)
