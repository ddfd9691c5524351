"""What every forecaster owes its callers, run over all of them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting import boosting, catalog, harmonic, regression
from forecasting.errors import NegativeLoad, NotEnoughHistory
from forecasting.forecast import LEVELS, FloatArray, Quantiles
from forecasting.series import History, Rows, bucket_spacing
from scaler.core.domain import take
from scaler.core.learning import stacked
from tests.fakes import DAY_S, WEDNESDAY_S, few, history_of, history_rows, seasonal_load

FORECASTERS = [*catalog.FORECASTERS, catalog]


@dataclass(frozen=True)
class Series:
    """A load as a function of time, callable with stamps."""

    name: str

    def __call__(self, t_s: FloatArray) -> FloatArray:
        noise = np.random.default_rng(5).standard_normal(len(t_s))
        n = np.rint(t_s)
        return np.asarray(
            {
                "constant": np.full(len(t_s), 70.0),
                "all zero": np.zeros(len(t_s)),
                "two-point": np.where(n // 3600 % 2 == 0, 5.0, 500.0),
                "all missing": np.full(len(t_s), np.nan),
                "one sample": np.where(np.arange(len(t_s)) == len(t_s) - 1, 10.0, np.nan),
                "mostly zero": np.where(noise > 2.5, 40.0, 0.0),
                "with gaps": np.where(n // 1800 % 3 == 0, np.nan, 100 + 10 * noise),
                "huge": 1e12 * (100 + 10 * noise),
                "tiny": 1e-9 * (100 + 10 * noise),
                "explosive": np.exp((t_s - WEDNESDAY_S) / DAY_S * 6),
                "one spike": np.where(np.arange(len(t_s)) == len(t_s) - 7, 1e9, 1.0),
                "starts late": np.where(t_s > WEDNESDAY_S - 4 * 3600, 50 + noise, np.nan),
                "just stopped": np.where(t_s > WEDNESDAY_S - 1200, np.nan, 50 + noise),
            }[self.name]
        )


SERIES = [
    "constant",
    "all zero",
    "two-point",
    "all missing",
    "one sample",
    "mostly zero",
    "with gaps",
    "huge",
    "tiny",
    "explosive",
    "one spike",
    "starts late",
    "just stopped",
]


@pytest.fixture(params=FORECASTERS, ids=lambda module: module.__name__)
def forecaster(request: pytest.FixtureRequest) -> Any:
    return request.param


def live(history: History, h: int) -> Rows:
    return Rows.live(history, np.full(len(history.mean), h))


def fitted_rows(forecaster: Any, history: History, h: int) -> Any:
    """One parameter row per workload of the history."""
    rows = [take(history, slice(row, row + 1)) for row in range(len(history.mean))]
    return stacked([forecaster.fit(row, h, averaged=False) for row in rows])


def assert_sound(said: Quantiles) -> None:
    for quantiles in (said.peak, said.path):
        assert quantiles.shape[1] == len(LEVELS)
        assert np.isfinite(quantiles).all()
        assert (quantiles >= 0).all()
        assert (np.diff(quantiles, axis=1) >= 0).all()


@pytest.mark.parametrize("averaged", [False, True])
@pytest.mark.parametrize("name", SERIES)
def test_a_forecast_is_finite_and_ordered_or_the_history_is_too_short(forecaster, name, averaged):
    history = history_of(Series(name), 2 * DAY_S)
    try:
        params = forecaster.fit(history, 8, averaged=averaged)
    except NotEnoughHistory:
        assert name in {"all missing", "one sample", "starts late"}
        return
    assert_sound(forecaster.predict(params, history, live(history, 8)))
    assert_sound(forecaster.predict(params, history, live(history, 80)))


@pytest.mark.parametrize("offset", [-50.0, 5.0])
def test_a_negative_load_is_refused_by_name(forecaster, offset):
    history = history_of(lambda t_s: offset + 20 * np.sin(t_s / 6000.0), 2 * DAY_S)
    with pytest.raises(NegativeLoad, match=r"load must not be negative, not -\d+"):
        forecaster.fit(history, 8, averaged=False)


@pytest.mark.parametrize("step_s", [1.0, 5.0, 15.0, 60.0, 300.0, 3600.0])
def test_every_step_from_a_second_to_an_hour_is_served(forecaster, step_s):
    history = history_of(seasonal_load(), 2 * DAY_S if step_s < 60 else 8 * DAY_S, step_s)
    h = max(round(300 / step_s), 1)
    try:
        params = forecaster.fit(history, h, averaged=False)
    except NotEnoughHistory:
        assert step_s == 3600.0
        assert forecaster in {regression, harmonic, boosting}
        return
    said = forecaster.predict(params, history, live(history, h))
    assert_sound(said)
    assert 50 < said.peak[0, 0] < 800


@pytest.mark.parametrize("value", [70.0, 0.0])
def test_a_constant_load_is_forecast_as_it_is(forecaster, value):
    history = history_of(lambda t_s: np.full(len(t_s), value), 2 * DAY_S)
    said = forecaster.predict(forecaster.fit(history, 8, averaged=False), history, live(history, 8))
    # Smoothing the pinball loss lifts the extreme levels by up to a tenth where there is no spread at all.
    assert said.peak[0, :3] == pytest.approx(np.full(3, value), rel=0.02, abs=1e-6)
    assert said.peak[0, 3:] == pytest.approx(np.full(2, value), rel=0.11, abs=1e-6)


@pytest.mark.parametrize("exponent", [40, -30])
def test_a_load_in_other_units_gets_the_same_forecast_in_them(forecaster, exponent):
    scale = 2.0**exponent
    said = []
    for times in (1.0, scale):
        history = history_of(lambda t_s, times=times: times * seasonal_load()(t_s), 2 * DAY_S)
        said.append(forecaster.predict(forecaster.fit(history, 8, averaged=False), history, live(history, 8)))
    assert said[1].peak == pytest.approx(scale * said[0].peak, rel=1e-6)
    assert said[1].path == pytest.approx(scale * said[0].path, rel=1e-6)


def test_fitting_is_deterministic(forecaster):
    history = history_of(seasonal_load(), DAY_S)
    said = [forecaster.predict(forecaster.fit(history, 8, averaged=False), history, live(history, 8)) for _ in range(2)]
    assert said[0].peak.tobytes() == said[1].peak.tobytes()


@pytest.fixture(scope="module")
def some_history() -> History:
    """A dozen workloads of two days, no two alike."""
    loads = [
        lambda t_s, seed=seed: np.where(
            np.random.default_rng(seed).random(len(t_s)) < 0.02 * (seed % 3), np.nan, seasonal_load(seed, 0.05)(t_s)
        )
        for seed in range(12)
    ]
    return history_rows(loads, 2 * DAY_S)


_FITTED: dict[str, Any] = {}


def fitted_once(forecaster: Any, history: History) -> Any:
    if forecaster.__name__ not in _FITTED:
        _FITTED[forecaster.__name__] = fitted_rows(forecaster, history, 8)
    return _FITTED[forecaster.__name__]


def test_a_workload_alone_and_among_others_gets_the_same_forecast(forecaster, some_history):
    params = fitted_once(forecaster, some_history)
    together = forecaster.predict(params, some_history, live(some_history, 8))
    for row in range(len(some_history.mean)):
        at = slice(row, row + 1)
        alone = forecaster.predict(take(params, at), take(some_history, at), live(take(some_history, at), 8))
        assert alone.peak.tobytes() == together.peak[at].tobytes()
        assert alone.path.tobytes() == together.path[at].tobytes()


@given(seed=st.integers(0, 2**32))
@few(8)
@pytest.mark.parametrize("module", FORECASTERS, ids=lambda module: module.__name__)
def test_a_question_gets_the_same_answer_whatever_else_is_asked(module, some_history, seed):
    rng = np.random.default_rng(seed)
    params = fitted_once(module, some_history)
    n = 40
    origin_s = some_history.end_s - np.where(
        rng.random(n) < 0.5, 15.0 * rng.integers(0, 400, n), 60.0 * rng.integers(0, 2880, n)
    )
    rows = Rows(rng.integers(0, 12, n), origin_s, rng.integers(1, 60, n), origin_s)
    together = module.predict(params, some_history, rows)
    for r in range(0, n, 7):
        alone = module.predict(params, some_history, take(rows, slice(r, r + 1)))
        assert alone.peak.tobytes() == together.peak[r : r + 1].tobytes()
        assert alone.path.tobytes() == together.path[r : r + 1].tobytes()


@pytest.mark.parametrize("step_s", [15.0, 300.0])
def test_no_sample_after_the_origin_is_used(forecaster, step_s):
    bucket_s = bucket_spacing(step_s)
    history = history_of(seasonal_load(), 4 * DAY_S, step_s)
    params = forecaster.fit(history, 8, averaged=False)
    for back_s in (0.0, bucket_s, 1200.0, 3 * 3600.0, DAY_S, 2 * DAY_S):
        origin_s = WEDNESDAY_S - back_s

        def spoilt(t_s, origin_s=origin_s):
            return np.where(t_s > origin_s + 1e-6, 1e7, seasonal_load()(t_s))

        rows = Rows(np.zeros(1, np.int64), np.array([origin_s]), np.array([8]), np.array([origin_s]))
        honest = forecaster.predict(params, history, rows)
        blind = forecaster.predict(params, history_of(spoilt, 4 * DAY_S, step_s), rows)
        assert honest.peak.tobytes() == blind.peak.tobytes(), back_s
        assert honest.path.tobytes() == blind.path.tobytes(), back_s


def test_a_question_about_the_past_is_answered_as_it_was_then(forecaster):
    history = history_of(seasonal_load(), 4 * DAY_S)
    params = forecaster.fit(history, 8, averaged=False)
    then = history.until(WEDNESDAY_S - 7200.0)
    origin_s = np.array([then.end_s])
    rows = Rows(np.zeros(1, np.int64), origin_s, np.array([8]), origin_s)
    asked_now, asked_then = forecaster.predict(params, history, rows), forecaster.predict(params, then, rows)
    assert asked_now.peak.tobytes() == asked_then.peak.tobytes()


def test_the_quantiles_cover_what_they_say(forecaster):
    history = history_of(seasonal_load(), 8 * DAY_S)
    params = forecaster.fit(history.until(WEDNESDAY_S - 2 * DAY_S), 20, averaged=False)
    back = np.arange(30, 2 * 1440, 10)
    origin_s = WEDNESDAY_S - 60.0 * back
    n = len(back)
    said = forecaster.predict(params, history, Rows(np.zeros(n, np.int64), origin_s, np.full(n, 20), origin_s))
    last = history.mean.shape[1]
    peak = np.array([history.maximum[0, last - b : last - b + 5].max() for b in back])
    covered = (peak[:, None] <= said.peak).mean(axis=0)
    assert covered[0] == pytest.approx(0.5, abs=0.25)
    assert covered[2] > 0.9
    assert (np.diff(covered) >= 0).all()
