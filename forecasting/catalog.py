"""Which forecasters there are, and which one speaks for a workload.

The booster, which corrects the global network for one workload, where it could be fitted; else the network alone, from
an hour of history on; until the first fit has come the naive forecaster, else nobody. The regression and the harmonic
forecaster speak for none: while the booster asks for more history they do worse than the naive one, and from then on
worse than it (docs/decisions/0005). They are named here so that this is asked again of every change.
"""

from dataclasses import dataclass, replace
from types import ModuleType

import numpy as np

from forecasting import boosting, harmonic, naive, neural, occasions, regression
from forecasting.calendar import EVENTS
from forecasting.cleaning import cleaned, launched
from forecasting.errors import NotEnoughHistory
from forecasting.forecast import LEVELS, BoolArray, FloatArray, IntArray, Quantiles, nothing_said
from forecasting.series import History, Rows

NOBODY, NAIVE, BOOSTING, NEURAL = 0, 1, 2, 3
FORECASTERS: tuple[ModuleType, ...] = (naive, regression, harmonic, neural, boosting)
"""All that keep the contract: `fit(history, h, averaged=…)` and `predict(params, history, rows)`."""


@dataclass(frozen=True, slots=True)
class Models:
    """Fitted forecasters of B workloads."""

    speaker: IntArray
    """NOBODY, NAIVE, NEURAL or BOOSTING, (B,)."""
    cutoff_s: IntArray
    """Newest sample that the fit may have seen, Unix seconds, (B,); 0 where nothing was fitted."""
    h: IntArray
    """Steps of the lead window that was fitted, 0 where nothing was, (B,)."""
    naive: naive.NaiveParams
    neural: neural.NeuralParams
    boosting: boosting.BoostingParams
    multiplier: FloatArray
    """What each event of its calendar multiplies a workload's load by, (B, EVENTS); NaN where unknown."""

    @property
    def epsilon(self) -> FloatArray:
        """Load that is added before the speaker's forecasts are compared by their logarithms, (B,)."""
        other = np.where(self.speaker == NEURAL, self.neural.epsilon, self.naive.epsilon)
        return np.where(self.speaker == BOOSTING, self.boosting.epsilon, other)

    @property
    def validated(self) -> BoolArray:
        """Whether more than the naive forecaster speaks, (B,)."""
        return np.asarray((self.speaker == BOOSTING) | (self.speaker == NEURAL))


def unfitted(n: int) -> Models:
    """Nobody speaks for any of n workloads."""
    q = len(LEVELS)
    return Models(
        np.full(n, NOBODY),
        np.zeros(n, np.int64),
        np.zeros(n, np.int64),
        naive.NaiveParams(np.full(n, -1), np.zeros((n, 2, q)), np.ones(n), np.zeros(n, np.bool_)),
        neural.unfitted(n),
        boosting.unfitted(n),
        np.full((n, EVENTS), np.nan),
    )


def fit_naive(history: History, h: int, *, averaged: bool) -> Models:
    """Fit only what takes milliseconds to the one workload of `history`.

    Raises:
        NotEnoughHistory: not even that can be fitted.
    """
    nobody = unfitted(1)
    fitted = naive.fit(launched(history), h, averaged=averaged)
    multiplier = occasions.learnt(history, float(fitted.epsilon[0]))
    return replace(nobody, speaker=np.array([NAIVE]), h=np.array([h]), naive=fitted, multiplier=multiplier)


def fit(history: History, h: int, *, averaged: bool) -> Models:
    """Fit all forecasters to the one workload of `history` as far as its length allows.

    Raises:
        NotEnoughHistory: not even the naive forecaster can be fitted.
    """
    models = fit_naive(history, h, averaged=averaged)
    history = cleaned(history, float(models.naive.epsilon[0]))
    try:
        measured = neural.fit(history, h, averaged=averaged)
    except NotEnoughHistory:
        return models
    cutoff_s = np.array([int(history.bucket_end_s)])
    models = replace(models, speaker=np.array([NEURAL]), cutoff_s=cutoff_s, neural=measured)
    try:
        fitted = boosting.fit(history, h, averaged=averaged)
    except NotEnoughHistory:
        return models
    return replace(models, speaker=np.array([BOOSTING]), boosting=fitted)


def predict(models: Models, history: History, rows: Rows) -> Quantiles:
    """Forecast R rows by whoever speaks for their workload, with what is known to come; NaN where nobody does."""
    said = spoken(models, history, rows)
    return occasions.expected(said, history, rows, models.multiplier, models.epsilon, models.naive.averaged)


def spoken(models: Models, history: History, rows: Rows) -> Quantiles:
    """The same as if nothing were known of what is to come."""
    speaker = models.speaker[rows.workload]
    together = nothing_said(len(rows.h))
    for number, forecast in ((BOOSTING, _boosting), (NEURAL, _neural), (NAIVE, _naive)):
        chosen = np.flatnonzero(speaker == number)
        if len(chosen) == len(rows.h):
            return forecast(models, history, rows)
        if len(chosen):
            said = forecast(models, history, rows.some(chosen))
            for name in Quantiles.__slots__:
                getattr(together, name)[chosen] = getattr(said, name)
    return together


def _boosting(models: Models, history: History, rows: Rows) -> Quantiles:
    return boosting.predict(models.boosting, history, rows)


def _neural(models: Models, history: History, rows: Rows) -> Quantiles:
    return neural.predict(models.neural, history, rows)


def _naive(models: Models, history: History, rows: Rows) -> Quantiles:
    return naive.predict(models.naive, history, rows)
