"""What each rule wants, and what a mode serves of both."""

from dataclasses import replace

import numpy as np
import pytest

from scaler.core import hpa
from scaler.core.domain import UNKNOWN, Mode
from scaler.core.hpa import reactive_rules
from scaler.core.policies import clearing_rate, predictive_need, predictive_range, reactive, serve, worth
from tests.fakes import counts, loads, some_fleet, some_forecasts, some_observations

SURE = np.full((1, 5), 200.0)


def need(peak=SURE, level=0.97, clearing=0.0, **columns) -> int:
    said = some_forecasts(peak=peak)
    return int(predictive_need(said, loads(level), loads(clearing), some_fleet(**columns))[0])


def served(mode, earned, r, p, last=UNKNOWN, alone=0) -> int:
    return int(serve(counts(mode), loads(earned), (counts(r), counts(alone)), counts(p), counts(last))[0])


def test_the_forecast_wants_its_level_over_the_capacity():
    assert need() == 20
    assert need(capacity=11.0) == 19  # 18.2
    spread = np.exp(np.array([[0.7, 2.3, 3.5, 4.6, 5.3]]) / 4) * 100.0
    assert [need(spread, level) for level in (0.5, 0.9, 0.97, 0.99)] == [12, 18, 24, 32]


def test_no_more_is_wanted_than_the_largest_load_worth_believing():
    said = replace(some_forecasts(peak=np.array([[10.0, 100.0, 200.0, 300.0, 400.0]])), ceiling=loads(250.0))
    assert predictive_need(said, loads(0.995), loads(0.0), some_fleet())[0] == 25


def test_a_replica_is_kept_at_a_higher_level_than_it_is_bought_at():
    spread = np.array([[100.0, 150.0, 200.0, 250.0, 300.0]])
    low, high = predictive_range(some_forecasts(peak=spread), loads(32.0), loads(0.0), some_fleet())
    assert (low[0], high[0]) == (need(spread, 32 / 35), need(spread, 32 / 33))
    assert low[0] < high[0]


def test_without_a_forecast_nothing_is_wanted():
    assert need(np.full((1, 5), np.nan)) == UNKNOWN


def test_a_queue_without_a_stated_capacity_is_reactive_only():
    assert need(queue=True, capacity_known=False) == UNKNOWN


def test_a_backlog_is_cleared_beside_the_arrivals():
    assert need(clearing=55.0) == 26  # 255 / 10


def test_the_clearing_rate_is_the_backlog_expected_when_ready_over_most_of_the_latency_target():
    # 600 waiting; in 60 s 200/s come and 10 · 10/s are cleared: 6,600 in three quarters of 30 s.
    seen = some_observations(load=600.0, ready=10)
    fleet = some_fleet(queue=True, lead_s=60.0, latency_target_s=30.0)
    assert clearing_rate(SURE, seen, fleet)[0] == pytest.approx(6600.0 / 22.5)


@pytest.mark.parametrize("ready", [20, 40, 400])
def test_no_backlog_is_believed_to_go_by_itself(ready):
    seen = some_observations(load=600.0, ready=ready)
    fleet = some_fleet(queue=True, lead_s=60.0, latency_target_s=30.0)
    assert clearing_rate(SURE, seen, fleet)[0] == pytest.approx(600.0 / 22.5)


def test_without_a_latency_target_the_backlog_may_take_most_of_a_lead():
    seen = some_observations(load=600.0, ready=20)
    assert clearing_rate(SURE, seen, some_fleet(queue=True, lead_s=60.0))[0] == pytest.approx(600.0 / 45.0)


def test_a_rate_has_no_backlog():
    assert clearing_rate(SURE, some_observations(load=1e6), some_fleet())[0] == 0.0


@pytest.mark.parametrize(
    ("wanted_s", "price", "level"),
    [(240.0, 32.0, 0.5), (80.0, 32.0, 0.5), (40.0, 32.0, 0.75), (8.0, 32.0, 0.95), (0.001, 32.0, 32 / 33)],
)
def test_a_queue_reads_its_arrivals_at_the_level_that_its_wanted_age_asks_for(wanted_s, price, level):
    fleet = some_fleet(queue=True, lead_s=60.0, latency_target_s=wanted_s)
    asked = worth(loads(price), fleet)[0]
    assert asked / (1.0 + asked) == pytest.approx(level)
    assert worth(loads(price), some_fleet(latency_target_s=wanted_s))[0] == price


def test_a_queue_buys_when_less_than_half_runs_of_what_is_worth_keeping():
    low, high = predictive_range(
        some_forecasts(peak=np.full((1, 5), 170.0)), loads(1.0), loads(0.0), some_fleet(queue=True)
    )
    assert (low[0], high[0]) == (5, 9)
    nobody = predictive_range(
        some_forecasts(peak=np.full((1, 5), np.nan)), loads(1.0), loads(0.0), some_fleet(queue=True)
    )
    assert [need[0] for need in nobody] == [UNKNOWN, UNKNOWN]


@pytest.mark.parametrize(
    ("mode", "earned", "r", "p", "served_replicas"),
    [
        (Mode.LEARNING, 0.0, 10, 30, 10),
        (Mode.RECOVERY, 0.0, 10, 30, 30),  # above r at once
        (Mode.RECOVERY, 0.0, 10, 4, 10),  # below r nothing was earned yet
        (Mode.RECOVERY, 0.5, 10, 4, 7),
        (Mode.RECOVERY, 0.5, 10, 5, 8),  # half of five, cut off towards more replicas
        (Mode.RECOVERY, 0.25, 10, 4, 9),
        (Mode.NORMAL, 1.0, 10, 4, 4),
        (Mode.NORMAL, 1.0, 10, 30, 30),
        (Mode.NORMAL, 1.0, 10, UNKNOWN, 10),
    ],
)
def test_what_a_mode_serves(mode, earned, r, p, served_replicas):
    assert served(mode, earned, r, p) == served_replicas


@pytest.mark.parametrize("mode", [Mode.HOLDING, Mode.FAILED])
def test_a_stale_workload_keeps_its_last_count_or_follows_the_continued_forecast(mode):
    assert served(mode, 1.0, 3, 8, last=12) == 12
    assert served(mode, 1.0, 3, 20, last=12) == 20
    assert served(mode, 1.0, 3, UNKNOWN, last=12) == 12


def test_a_workload_that_is_stale_from_the_start_is_served_the_rule():
    assert served(Mode.HOLDING, 0.0, 3, UNKNOWN) == 3


def ruled(load, replicas, n_steps=1, step_s=15.0, **columns) -> list[int]:
    rules, state = reactive_rules(some_fleet(**columns)), hpa.initial_state((1, 1), min(step_s, 15.0))
    n, trace = counts(replicas)[:, None], []
    for _ in range(n_steps):
        n, state = reactive(loads(load), n, rules, state, step_s)
        trace.append(int(n[0, 0]))
    return trace


def test_the_reactive_rule_is_the_hpa_on_the_load_itself():
    assert ruled(400.0, 30, threshold=10.0) == [40]
    assert ruled(320.0, 30, threshold=10.0) == [30]  # inside the dead band
    assert ruled(100.0, 30, n_steps=21, threshold=10.0) == [30] * 20 + [10]


def test_a_wide_step_holds_several_syncs():
    assert ruled(1000.0, 1, step_s=15.0) == [5]
    assert ruled(1000.0, 1, step_s=30.0) == [10]
    assert ruled(1000.0, 1, step_s=60.0) == [40]


def test_from_zero_it_starts_at_one_as_keda_would():
    assert ruled(1000.0, 0) == [5]


def test_several_counts_of_one_workload_follow_the_same_rule():
    rules = reactive_rules(some_fleet())
    both, _ = reactive(loads(400.0), np.array([[30, 10]]), rules, hpa.initial_state((1, 2)), 15.0)
    assert both.tolist() == [[40, 20]]


def test_a_missing_sample_changes_nothing():
    assert ruled(np.nan, 30) == [30]


@pytest.mark.parametrize("mode", [Mode.HOLDING, Mode.FAILED])
def test_what_is_held_covers_what_the_rule_alone_would_have_left_running(mode):
    assert served(mode, 1.0, 10, 6, last=6, alone=9) == 9
    assert served(mode, 1.0, 10, 12, last=6, alone=9) == 12


@pytest.mark.parametrize("mode", [Mode.DEGRADED, Mode.RETRAINING])
def test_a_forecast_that_is_not_trusted_is_not_served(mode):
    assert served(mode, 0.0, 10, 30) == served(mode, 0.0, 10, 4) == 10
