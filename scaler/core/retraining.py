"""One retraining, as it runs in a worker: fit, replay, and judge before anything is served.

What a fit depends on beside the history is hashed: where two hashes are alike, two fits to the same history are.
"""

import hashlib
from dataclasses import dataclass

from forecasting.boosting import BoostingConfig
from forecasting.catalog import Models
from forecasting.forecast import LEVELS, BoolArray, FloatArray
from forecasting.naive import NaiveConfig
from forecasting.series import History
from scaler.core import gate
from scaler.core.domain import Workloads
from scaler.core.gate import Contest
from scaler.core.learning import Learnt, learn

CONFIGURATION = hashlib.sha256(repr((BoostingConfig(), NaiveConfig(), LEVELS.tolist())).encode()).hexdigest()[:12]
"""Of the forecasters as they are configured here."""


@dataclass(frozen=True, slots=True)
class Defence:
    """Who serves B workloads now."""

    champion: Models
    alike: BoolArray
    """Whether it was fitted by this configuration, (B,)."""


@dataclass(frozen=True, slots=True)
class Retrained:
    """What B workloads have learnt, and whether that is better than what serves."""

    learnt: Learnt
    contest: Contest


def retrain(history: History, fleet: Workloads, cutoff_s: FloatArray, defence: Defence) -> Retrained:
    """Fit B workloads up to `cutoff_s`, (B,), replay, and compare with who serves them."""
    learnt = learn(history, fleet, cutoff_s)
    challenger = learnt.models, learnt.rolled
    return Retrained(learnt, gate.judge(history, fleet, challenger, defence.champion, defence.alike))


def replay(history: History, fleet: Workloads, cutoff_s: FloatArray, fitted: tuple[Models, Models]) -> Retrained:
    """Replay B workloads with models that were fitted, and judged, before."""
    return Retrained(learn(history, fleet, cutoff_s, fitted), gate.unjudged(len(fleet.h)))
