"""What is learnt from a history: when, from what, and that it is a function of nothing else."""

import math

import numpy as np
import pytest

from forecasting import catalog, ensemble
from forecasting.series import Rows
from scaler.core import price
from scaler.core.domain import take
from scaler.core.learning import due_cutoff_s, learn, stacked
from tests.core.test_decision import assert_same
from tests.fakes import DAY_S, WEDNESDAY_S, history_of, history_rows, seasonal_load, some_fleet
from tests.forecasting.test_conformance import SERIES, Series, assert_sound

HOUR_S = 3600.0
LEAD = {"h": 9, "lead_s": 135.0}


@pytest.mark.parametrize(
    ("after_s", "history_s", "cutoff_s"),
    [
        (0.0, 5 * DAY_S, -DAY_S),  # midnight is a cutoff, but its fit is adopted a minute later
        (59.0, 5 * DAY_S, -DAY_S),
        (60.0, 5 * DAY_S, 0.0),
        (DAY_S + 60, 5 * DAY_S, DAY_S),
        (DAY_S + 59, 5 * DAY_S, 0.0),
        (HOUR_S + 60, DAY_S, HOUR_S),  # a young history is learnt from each hour
        (HOUR_S + 59, DAY_S, 0.0),
        (HOUR_S + 60, 30.0, -math.inf),  # nothing was known at the cutoff
        (HOUR_S + 60, 0.0, -math.inf),
    ],
)
def test_a_fit_is_due_at_its_cutoff_plus_the_budget(after_s, history_s, cutoff_s):
    due_s = due_cutoff_s(WEDNESDAY_S + after_s, history_s, "00000000", 60.0)
    assert due_s == (WEDNESDAY_S + cutoff_s if math.isfinite(cutoff_s) else -math.inf)


def test_cutoffs_are_spread_over_the_period_and_stay_on_the_buckets():
    fingerprints = [f"{n * 2654435761 % 2**32:08x}" for n in range(200)]
    due = {due_cutoff_s(WEDNESDAY_S, 5 * DAY_S, f, 60.0) for f in fingerprints}
    assert all(cutoff_s % 60 == 0 for cutoff_s in due)
    assert all(WEDNESDAY_S - DAY_S - 60 <= cutoff_s <= WEDNESDAY_S - 60 for cutoff_s in due)
    assert len(due) > 100


def test_a_cutoff_stays_until_the_next_one_is_due():
    due = [due_cutoff_s(WEDNESDAY_S + 15 * tick, 5 * DAY_S, "0badcafe", 60.0) for tick in range(4 * 60 * 24)]
    assert due == sorted(due)
    assert len(set(due)) in {1, 2}


def learnt_from(load, span_s=3 * DAY_S, **columns):
    history = history_of(load, span_s)
    return learn(history, some_fleet(**LEAD, **columns), np.array([WEDNESDAY_S]))


def test_a_history_of_days_teaches_the_booster_and_a_price():
    learnt = learnt_from(seasonal_load(), capacity=20.0)
    assert learnt.models.speaker[0] == catalog.BOOSTING
    assert learnt.models.cutoff_s[0] == WEDNESDAY_S
    assert learnt.price.log_price[0] != price.INITIAL
    assert learnt.price.reactive_load[0] > 0


def test_learning_is_deterministic():
    assert_same(*(learnt_from(seasonal_load(), span_s=DAY_S) for _ in range(2)))


def test_a_replay_leaves_the_forecasts_of_two_days_and_what_they_lacked():
    learnt = learnt_from(seasonal_load(), span_s=5 * DAY_S)
    assert (learnt.record.number[0] >= 0).all()
    assert np.isfinite(learnt.record.peak).all()
    assert np.isfinite(learnt.ensemble.shift).all()
    assert (learnt.ensemble.shift != 0).any()


def test_without_history_nothing_is_learnt():
    learnt = learnt_from(np.zeros_like, span_s=0.0)
    assert learnt.models.speaker[0] == catalog.NOBODY
    assert learnt.price.log_price[0] == price.INITIAL


def test_what_came_after_the_cutoff_does_not_reach_the_fit():
    def exploding(t_s):
        return np.where(t_s <= WEDNESDAY_S - 6 * HOUR_S, seasonal_load()(t_s), 1e6)

    fleet, cutoff_s = some_fleet(**LEAD), np.array([WEDNESDAY_S - 6 * HOUR_S])
    calm = learn(history_of(seasonal_load(), 2 * DAY_S), fleet, cutoff_s)
    torn = learn(history_of(exploding, 2 * DAY_S), fleet, cutoff_s)
    assert_same(calm.models, torn.models)
    assert calm.price.log_price[0] != torn.price.log_price[0]


def bursting(per_day: int):
    def load(t_s):
        calm = seasonal_load()(t_s)
        rng = np.random.default_rng(3)
        for at_s in WEDNESDAY_S - rng.uniform(0, 8 * DAY_S, 8 * per_day):
            calm = np.where((t_s > at_s) & (t_s <= at_s + 300), calm * 6, calm)
        return calm

    return load


def test_the_replayed_price_rises_with_bursts_that_the_forecast_missed():
    calm, torn = (learnt_from(load, capacity=20.0, slo=0.999) for load in (bursting(0), bursting(12)))
    assert torn.price.log_price[0] > calm.price.log_price[0]
    assert torn.price.log_price[0] > price.INITIAL


def test_workloads_learn_beside_each_other_what_they_learn_alone():
    days = [seasonal_load(1), lambda t_s: np.where(t_s > WEDNESDAY_S - HOUR_S, 50.0, np.nan), seasonal_load(2, 0.1)]
    history, fleet = history_rows(days, 4 * DAY_S), some_fleet(3, **LEAD)
    cutoffs_s = WEDNESDAY_S - np.array([0.0, 1800.0, 6 * HOUR_S])
    together = learn(history, fleet, cutoffs_s)
    for row in range(3):
        at = slice(row, row + 1)
        alone = learn(take(history, at), take(fleet, at), cutoffs_s[at])
        assert_same(take(together.models, at), alone.models)
        assert_same(take(together.price, at), alone.price)


def test_a_queue_learns_the_mean_of_its_arrivals():
    learnt = learnt_from(seasonal_load(), span_s=DAY_S, queue=True)
    assert learnt.models.naive.averaged[0]


def test_columns_are_stacked_nested_ones_included():
    both = stacked([catalog.unfitted(2), catalog.unfitted(3)])
    assert both.speaker.shape == (5,)
    assert both.naive.offsets.shape[0] == both.boosting.feature.shape[0] == 5


def served_of(history, h: int):
    """Forecast of the single workload as the service would serve it: fitted, shifted, the better member heard."""
    columns = some_fleet(h=h, lead_s=max(h * history.step_s - 15.0, 0.0))
    learnt = learn(history, columns, np.array([history.bucket_end_s]))
    said = catalog.predict(learnt.models, history, Rows.live(history, np.array([h])))
    return learnt, ensemble.applied(learnt.ensemble, said, learnt.models.epsilon)


@pytest.mark.parametrize("name", SERIES)
def test_what_is_served_of_any_load_is_finite_and_ordered_or_nothing(name):
    learnt, said = served_of(history_of(Series(name), 2 * DAY_S), 8)
    if learnt.models.speaker[0] == catalog.NOBODY:
        assert name in {"all missing", "one sample"}
        assert np.isnan(said.peak).all()
        return
    assert_sound(said)
    assert np.isfinite(learnt.price.log_price).all()
    if name == "all zero":
        assert (said.peak == 0).all()
    if name in {"huge", "tiny"}:
        scale = {"huge": 1e12, "tiny": 1e-9}[name]
        assert 100 * scale < said.peak[0, 1] < said.peak[0, 4] < 200 * scale


@pytest.mark.parametrize("step_s", [1.0, 60.0, 300.0, 3600.0])
def test_what_is_served_is_sound_at_every_step(step_s):
    history = history_of(seasonal_load(), 2 * DAY_S if step_s < 60 else 8 * DAY_S, step_s)
    learnt, said = served_of(history, max(round(300 / step_s), 1))
    assert learnt.models.speaker[0] != catalog.NOBODY
    assert_sound(said)
    assert 50 < said.peak[0, 0] < said.peak[0, 4] < 800


def test_a_clock_that_jumped_ahead_leaves_a_hole_and_a_sound_forecast():
    jump_s = 3 * DAY_S

    def jumped(t_s):
        return np.where(
            (t_s > WEDNESDAY_S - jump_s - 3600.0) & (t_s <= WEDNESDAY_S - 3600.0), np.nan, seasonal_load()(t_s)
        )

    _, said = served_of(history_of(jumped, 8 * DAY_S), 8)
    assert_sound(said)
    usual = seasonal_load()(np.array([WEDNESDAY_S]))[0]
    assert 0.8 * usual < said.peak[0, 0] < said.peak[0, 4] < 2 * usual
