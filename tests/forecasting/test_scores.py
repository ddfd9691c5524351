"""Pinball losses worked out by hand."""

import numpy as np
import pytest

from forecasting.forecast import LEVELS
from forecasting.scores import pinball


def test_below_the_actual_a_quantile_pays_its_level_above_it_the_rest():
    low, high = pinball(np.array([10.0]), np.full((1, 5), 6.0))[0], pinball(np.array([10.0]), np.full((1, 5), 14.0))[0]
    assert low == pytest.approx(4 * LEVELS)
    assert high == pytest.approx(4 * (1 - LEVELS))


def test_a_hit_costs_nothing():
    assert pinball(np.array([10.0]), np.full((1, 5), 10.0)).tolist() == [[0.0] * 5]


def test_a_missing_actual_has_no_loss():
    assert np.isnan(pinball(np.array([np.nan]), np.full((1, 5), 10.0))).all()


def test_the_true_quantile_costs_least():
    actual = np.arange(1.0, 1001.0)
    losses = [
        pinball(actual, np.full((1000, 5), guess)).mean(axis=0)[1] for guess in (850.0, 890.0, 900.0, 910.0, 950.0)
    ]
    assert min(losses) == losses[2]
