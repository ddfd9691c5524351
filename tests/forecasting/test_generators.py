"""Generated load: documented shapes, by seed."""

import numpy as np
import pytest

from forecasting.forecast import FloatArray
from forecasting.generators import SHAPES, generated, intermittent, scheduled, steady, windows
from forecasting.series import DAY_S

WEEK_T_S = 1.7e9 // DAY_S * DAY_S + 60.0 * np.arange(1, 7 * 1440 + 1)


def drawn(shape, seed: int) -> FloatArray:
    return np.asarray(shape(WEEK_T_S, np.random.default_rng(seed)))


@pytest.mark.parametrize("shape", [*SHAPES, generated], ids=lambda shape: shape.__name__)
def test_a_shape_is_a_load_and_a_function_of_its_seed(shape):
    for seed in range(8):
        load = drawn(shape, seed)
        assert load.shape == WEEK_T_S.shape
        assert np.isfinite(load).all()
        assert load.min() >= 0
        assert load.tobytes() == drawn(shape, seed).tobytes()
    assert len({drawn(shape, seed).tobytes() for seed in range(8)}) > 3


def test_mixed_loads_have_a_mean_near_one():
    means = [drawn(generated, seed).mean() for seed in range(40)]
    assert 0.9 < np.median(means) < 1.5


def test_a_steady_load_is_often_constant():
    constant = [np.ptp(drawn(steady, seed)) == 0 for seed in range(60)]
    assert 0.3 < np.mean(constant) < 0.7


def test_scheduled_spikes_come_again():
    """At the lag of some schedule the load looks more like itself than an hour and a bit away."""
    alike = []
    for seed in range(20):
        logs = np.log(drawn(scheduled, seed))
        logs = logs - logs.mean()
        day = [float((logs[k:] * logs[:-k]).mean()) for k in (1440, 1440 + 67)]
        alike.append(day[0] > day[1])
    assert np.mean(alike) > 0.8


def test_windows_are_nearly_off_for_most_of_the_day():
    quiet = [np.mean(load < 0.5 * load.max()) for load in (drawn(windows, seed) for seed in range(20))]
    assert np.median(quiet) > 0.7


def test_intermittent_loads_rest():
    resting = [np.mean(drawn(intermittent, seed) == 0) for seed in range(20)]
    assert np.median(resting) > 0.3
