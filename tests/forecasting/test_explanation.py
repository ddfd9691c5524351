"""What a forecast rests on: the parts sum to the number, and each is what it says."""

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from forecasting import boosting, catalog, naive, neural, regression
from forecasting.explanation import PARTS, Predict, Question, explain
from forecasting.forecast import FloatArray, Quantiles, at_level
from forecasting.series import History, Rows
from tests.fakes import DAY_S, WEDNESDAY_S, history_of, seasonal_load
from tests.forecasting.test_conformance import Series
from tests.forecasting.test_occasions import THIRD_S, calendar_of, declared, until, weekly

SMALL = boosting.BoostingConfig(rounds=30, max_rows=2880, sample=1000)
"""A fit that takes a fraction of a second."""
N = 1000 if os.environ.get("FORESAIL_EVIDENCE") == "1" else 60
H = 21


def read(level: float, offset: float = 1.0) -> Callable[[Quantiles], FloatArray]:
    return lambda said: at_level(said.peak, np.full(len(said.level), level), np.full(len(said.level), offset))


def asked(
    history: History, predict: Predict, expected: Quantiles | None = None, h: int = H, **more: Any
) -> tuple[dict[str, float], float]:
    """Parts of the number that is read at 0.97, unless something else is said, and the number."""
    rows = Rows.live(history, np.array([h]))
    said = predict(history, rows) if expected is None else expected
    total = more.pop("total", float(read(0.97)(said)[0]))
    question = Question(history, rows, predict, said, read(0.97), total, **more)
    return dict(zip(PARTS, explain(question).tolist(), strict=True)), total


@pytest.fixture(scope="module")
def fitted() -> list[tuple[History, Predict]]:
    """Every forecaster on several loads, as far as each can be fitted."""
    found: list[tuple[History, Predict]] = []
    for load in (seasonal_load(), Series("mostly zero")):
        history = history_of(load, 3 * DAY_S)
        found += [
            (history, partial(naive.predict, naive.fit(history, H, averaged=False))),
            (history, partial(neural.predict, neural.fit(history, H, averaged=False))),
            (history, partial(boosting.predict, boosting.fit(history, H, averaged=False, config=SMALL))),
        ]
    return found


def test_the_parts_of_random_forecasts_sum_to_the_number(fitted: list[tuple[History, Predict]]) -> None:
    rng = np.random.default_rng(17)
    for number in range(N):
        history, predict = fitted[number % len(fitted)]
        bucket = float(rng.integers(0, 2 * 24 * 60))
        rows = Rows(
            np.zeros(1, np.int64),
            np.array([WEDNESDAY_S - 60.0 * bucket]),
            rng.integers(1, 120, 1),
            np.array([WEDNESDAY_S - 60.0 * bucket]),
        )
        said = predict(history, rows)
        reading = read(float(rng.uniform(0.5, 0.999)), float(rng.uniform(0.1, 10.0)))
        total = float(reading(said)[0] * rng.uniform(0.7, 1.4))
        parts = explain(Question(history, rows, predict, said, reading, total, heard=bool(rng.integers(4))))
        assert not np.isnan(parts).any()
        assert abs(parts.sum() - total) <= 1e-6 * max(abs(total), float(said.level[0]), 1e-9)
        corrected = total - float(reading(said)[0])
        assert np.isclose(parts[-1], corrected) or parts[1:5].tolist() == [0.0] * 4


@pytest.mark.parametrize(("forecaster", "config"), [(naive, {}), (regression, {}), (boosting, {"config": SMALL})])
def test_a_constant_load_rests_on_its_level_alone(forecaster: Any, config: dict[str, Any]) -> None:
    history = history_of(lambda t_s: np.full(len(t_s), 70.0), DAY_S)
    params = forecaster.fit(history, H, averaged=False, **config)
    parts, total = asked(history, partial(forecaster.predict, params))
    assert parts["level"] == pytest.approx(70.0)
    assert total == pytest.approx(70.0, rel=0.02)
    assert all(abs(parts[name]) < 0.02 * total for name in PARTS if name != "level")


def test_noise_is_chance_and_neither_trend_nor_season() -> None:
    def noisy(t_s: FloatArray) -> FloatArray:
        return np.asarray(70.0 * np.exp(0.1 * np.random.default_rng(2).standard_normal(len(t_s))))

    history = history_of(noisy, 6 * DAY_S)
    parts, total = asked(history, partial(boosting.predict, boosting.fit(history, H, averaged=False, config=SMALL)))
    assert parts["chance"] > 0.05 * total
    assert all(abs(parts[name]) < 0.05 * total for name in ("trend", "day", "week", "event"))


def test_a_daily_rise_that_comes_again_is_the_days() -> None:
    """A load that quadruples at midnight every day, asked five minutes before."""

    def nightly(t_s: FloatArray) -> FloatArray:
        noise = np.exp(0.02 * np.random.default_rng(3).standard_normal(len(t_s)))
        return np.asarray(np.where((t_s - 200.0) % DAY_S < 6 * 3600.0, 400.0, 100.0) * noise)

    history = history_of(nightly, 7 * DAY_S)
    parts, total = asked(history, partial(boosting.predict, boosting.fit(history, H, averaged=False, config=SMALL)))
    assert total > 200.0
    assert parts["level"] == pytest.approx(100.0, rel=0.05)
    assert parts["day"] + parts["week"] > 0.5 * (total - parts["level"])
    assert parts["day"] > abs(parts["trend"])


def test_a_way_up_or_down_that_goes_on_is_the_trend() -> None:
    """A load whose slope lasts for half an hour or so, and no two days are alike."""

    def wandering(t_s: FloatArray) -> FloatArray:
        rng = np.random.default_rng(4)
        slope, place, values = 0.0, 0.0, np.zeros(len(t_s))
        for at, step in enumerate(rng.standard_normal(len(t_s)).tolist()):
            slope = 0.992 * slope + 0.0006 * step
            place = 0.999 * place + slope
            values[at] = place
        return np.asarray(100.0 * np.exp(values))

    history = history_of(wandering, 4 * DAY_S)
    predict = partial(boosting.predict, boosting.fit(history, H, averaged=False, config=SMALL))
    moved, found = [], []
    for back_s in np.arange(0.0, 2 * DAY_S, 7200.0):
        at_s = np.array([WEDNESDAY_S - back_s])
        rows = Rows(np.zeros(1, np.int64), at_s, np.array([H]), at_s)
        said = predict(history, rows)
        parts = explain(Question(history, rows, predict, said, read(0.5), float(read(0.5)(said)[0])))
        newest = len(history.mean[0]) - 1 - round(back_s / 60.0)
        moved.append(np.log(history.mean[0, newest] / history.mean[0, newest - 10]))
        found.append(parts[2] / parts[0])
    assert np.corrcoef(moved, found)[0, 1] > 0.6


def test_a_known_event_is_the_events() -> None:
    history = until(weekly, THIRD_S - 60.0)
    models = catalog.fit_naive(history, H, averaged=False)
    models.multiplier[0, 0] = 5.0
    known = declared(history, calendar_of(THIRD_S))
    rows = Rows.live(known, np.array([H]))
    expected = catalog.predict(models, known, rows)
    parts, total = asked(known, partial(catalog.spoken, models), expected)
    assert parts["event"] == pytest.approx(total * 4 / 5, rel=0.01)
    assert sum(parts.values()) == pytest.approx(total)


def test_what_was_changed_after_the_forecast_is_the_correction() -> None:
    history = history_of(seasonal_load(), 6 * DAY_S)
    predict = partial(catalog.spoken, catalog.fit_naive(history, H, averaged=False))
    plain, total = asked(history, predict)
    shifted, _ = asked(history, predict, total=total + 33.0)
    assert plain["correction"] == pytest.approx(0.0, abs=1e-9)
    assert shifted == {**plain, "correction": pytest.approx(33.0)}


def test_persistence_rests_on_the_load_now_and_its_correction() -> None:
    history = history_of(seasonal_load(), 6 * DAY_S)
    predict = partial(catalog.spoken, catalog.fit_naive(history, H, averaged=False))
    parts, total = asked(history, predict, heard=False)
    level = float(predict(history, Rows.live(history, np.array([H]))).level[0])
    assert parts == {
        "level": level, "chance": 0.0, "trend": 0.0, "day": 0.0, "week": 0.0, "event": 0.0,
        "correction": pytest.approx(total - level),
    }  # fmt: skip


def test_without_a_forecast_there_is_nothing_to_explain() -> None:
    history = history_of(lambda t_s: np.where(t_s > WEDNESDAY_S - 7200.0, np.nan, 50.0), 6 * DAY_S)
    params = naive.fit(history, H, averaged=False)
    parts, _ = asked(history, partial(naive.predict, params))
    assert np.isnan(list(parts.values())).all()
