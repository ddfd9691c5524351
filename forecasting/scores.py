"""Losses of quantile forecasts."""

import numpy as np

from forecasting.forecast import LEVELS, FloatArray


def pinball(actual: FloatArray, quantiles: FloatArray) -> FloatArray:
    """Pinball loss of (R, Q) quantiles at LEVELS against (R,) actual values, (R, Q), in their unit.

    Koenker and Bassett 1978: τ·max(y − q, 0) + (1 − τ)·max(q − y, 0).
    """
    error = actual[:, None] - quantiles
    return np.maximum(LEVELS * error, (LEVELS - 1.0) * error)
