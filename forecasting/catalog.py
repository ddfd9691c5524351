"""Which forecasters there are, and which one speaks for a workload.

The regression where it could be fitted, the naive forecaster where at least that could be, else nobody.
"""

from dataclasses import dataclass

import numpy as np

from forecasting import naive, regression
from forecasting.errors import NotEnoughHistory
from forecasting.features import FEATURES
from forecasting.forecast import LEVELS, BoolArray, IntArray, Quantiles
from forecasting.series import History, Rows

NOBODY, NAIVE, REGRESSION = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Models:
    """Fitted forecasters of B workloads."""

    speaker: IntArray
    """NOBODY, NAIVE or REGRESSION, (B,)."""
    cutoff_s: IntArray
    """Newest sample that the fit may have seen, Unix seconds, (B,); 0 where nothing was fitted."""
    naive: naive.NaiveParams
    regression: regression.RegressionParams

    @property
    def validated(self) -> BoolArray:
        """Whether more than the naive forecaster speaks, (B,)."""
        return np.asarray(self.speaker == REGRESSION)


def unfitted(n: int) -> Models:
    """Nobody speaks for any of n workloads."""
    q, f = len(LEVELS), FEATURES + 2
    return Models(
        np.full(n, NOBODY),
        np.zeros(n, np.int64),
        naive.NaiveParams(np.full(n, -1), np.zeros((n, 2, q)), np.ones(n), np.zeros(n, np.bool_)),
        regression.RegressionParams(
            np.zeros((n, 2, q, f)), np.ones(n), np.ones(n), np.ones(n), np.zeros((n, f)), np.zeros((n, f))
        ),
    )


def fit_naive(history: History, h: int, *, averaged: bool) -> Models:
    """Fit only what takes milliseconds to the one workload of `history`.

    Raises:
        NotEnoughHistory: not even that can be fitted.
    """
    nobody = unfitted(1)
    fitted = naive.fit(history, h, averaged=averaged)
    return Models(np.array([NAIVE]), np.zeros(1, np.int64), fitted, nobody.regression)


def fit(history: History, h: int, *, averaged: bool) -> Models:
    """Fit all forecasters to the one workload of `history` as far as its length allows.

    Raises:
        NotEnoughHistory: not even the naive forecaster can be fitted.
    """
    models = fit_naive(history, h, averaged=averaged)
    try:
        fitted = regression.fit(history, h, averaged=averaged)
    except NotEnoughHistory:
        return models
    return Models(np.array([REGRESSION]), np.array([int(history.bucket_end_s)]), models.naive, fitted)


def predict(models: Models, history: History, rows: Rows) -> Quantiles:
    """Forecast R rows by whoever speaks for their workload; NaN where nobody does."""
    speaker = models.speaker[rows.workload]
    if (speaker == REGRESSION).all():
        return _regression(models, history, rows)
    peak, path = np.full((2, len(rows.h), len(LEVELS)), np.nan)
    for number, forecast in ((REGRESSION, _regression), (NAIVE, _naive)):
        chosen = np.flatnonzero(speaker == number)
        if len(chosen):
            said = forecast(models, history, rows if len(chosen) == len(rows.h) else rows.some(chosen))
            peak[chosen], path[chosen] = said.peak, said.path
    return Quantiles(peak, path)


def _regression(models: Models, history: History, rows: Rows) -> Quantiles:
    return regression.predict(models.regression, history, rows)


def _naive(models: Models, history: History, rows: Rows) -> Quantiles:
    return naive.predict(models.naive, history, rows)
