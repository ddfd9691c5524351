"""A fleet's rows: given, forgotten and reused, and blind for their neighbours."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting import catalog
from scaler.core.agenda import Agenda, Event, moment_of
from scaler.core.domain import NOTHING_RUNNING, UNBOUNDED, UNKNOWN, Kind, Mode, Running, Workload
from scaler.core.learning import Learnt, learn
from scaler.core.signals import Samples
from scaler.core.trust import TrustRules
from scaler.fleet import Fleet
from scaler.sightings import Sightings
from tests.core.test_decision import assert_same
from tests.fakes import DAY_S, WEDNESDAY_S, few, seasonal_load

STEP_S = 15.0


def workload(number: int = 0, **changes) -> Workload:
    stated = {"threshold": 10.0, "capacity": 12.0, "lead_s": 60.0, "max_replicas": 100} | changes
    return Workload("shop", f"web{number}", f"{number:08x}", **stated)


def some_fleet(n: int = 1, n_rows: int = 4) -> Fleet:
    fleet = Fleet(STEP_S, WEDNESDAY_S, TrustRules(), n_rows=n_rows)
    for number in range(n):
        fleet.add(workload(number))
    return fleet


def ticked(fleet: Fleet, rows: slice, load, **columns):
    """One tick with this load; returns the decisions."""
    fleet.ring.advance(fleet.ring.end_s + STEP_S)
    seen = Sightings.nothing(rows.stop - rows.start)
    seen.load[:] = load
    for name, value in columns.items():
        getattr(seen, name)[:] = value
    return fleet.decide(rows, fleet.see(rows, seen))


def backfilled(fleet: Fleet, row: int, load, span_s: float = 2 * DAY_S) -> None:
    stamps_s = WEDNESDAY_S - 60.0 * np.arange(round(span_s / 60.0))[::-1]
    fleet.backfill_at(row, stamps_s, load(stamps_s), 60.0)


LESSONS: dict[tuple[bytes, int, bool, float], Learnt] = {}
"""The same lesson is learnt once for all tests; that learning is deterministic is shown in test_learning.py."""


def taught(fleet: Fleet, row: int, cutoff_s: float = WEDNESDAY_S) -> None:
    history, columns = fleet.lesson([row])
    key = (history.mean.tobytes(), int(columns.h[0]), bool(columns.queue[0]), cutoff_s)
    if key not in LESSONS:
        LESSONS[key] = learn(history, columns, np.array([cutoff_s]))
    fleet.adopt(row, LESSONS[key], 0, cutoff_s)


def test_rows_are_given_in_order_and_reused():
    fleet = some_fleet(3)
    fleet.remove(1)
    assert [w and w.name for w in fleet.workloads] == ["web0", None, "web2", None]
    assert fleet.add(workload(9)) == 1
    assert fleet.columns.capacity[1] == 12.0


def test_a_full_fleet_grows_and_keeps_what_it_knows():
    fleet = some_fleet(4)
    backfilled(fleet, 2, seasonal_load())
    before = fleet.ring.history(slice(2, 3)).mean.copy()
    assert fleet.add(workload(4, max_replicas=7)) == 4
    assert len(fleet.workloads) == 8
    assert np.array_equal(fleet.ring.history(slice(2, 3)).mean, before, equal_nan=True)
    assert fleet.columns.maximum[[3, 4]].tolist() == [100, 7]
    assert ticked(fleet, slice(0, 8), 50.0).predicted_replicas.shape == (8,)


def test_a_reused_row_knows_nothing_of_the_one_before():
    fleet, fresh = some_fleet(), some_fleet()
    backfilled(fleet, 0, seasonal_load())
    taught(fleet, 0)
    for _ in range(5):
        ticked(fleet, slice(0, 1), 900.0)
        ticked(fresh, slice(0, 1), np.nan)
    for some in (fleet, fresh):
        some.remove(0)
        assert some.add(workload(1)) == 0
    for load in (50.0, 70.0, np.nan, 20.0):
        assert_same(ticked(fleet, slice(0, 1), load), ticked(fresh, slice(0, 1), load))


def test_the_same_workload_taught_again_decides_as_before():
    fleet, returned = some_fleet(), some_fleet()
    for some in (fleet, returned):
        backfilled(some, 0, seasonal_load())
        taught(some, 0)
    returned.remove(0)
    returned.add(workload())
    backfilled(returned, 0, seasonal_load())
    taught(returned, 0)
    assert_same(ticked(fleet, slice(0, 1), 150.0), ticked(returned, slice(0, 1), 150.0))


@given(seed=st.integers(0, 2**32))
@few(2)
def test_a_workload_alone_and_among_five_hundred_gets_the_same_decision(seed):
    rng = np.random.default_rng(seed)
    n, at = 501, int(rng.integers(501))
    alone, crowd = Fleet(STEP_S, WEDNESDAY_S, TrustRules(), 1), Fleet(STEP_S, WEDNESDAY_S, TrustRules(), n)
    subject = workload(at, kind=rng.choice([Kind.RATE, Kind.QUEUE]), lead_s=float(rng.integers(0, 600)))
    for number in range(n):
        crowd.add(subject if number == at else workload(number, lead_s=float(rng.integers(0, 900))))
    alone.add(subject)
    for row, fleet in ((0, alone), (at, crowd), ((at + 1) % n, crowd)):
        backfilled(fleet, row, seasonal_load(row if row != at else 0), DAY_S / 2)
        taught(fleet, row)
    for _ in range(6):
        load = np.where(rng.random(n) < 0.2, np.nan, rng.exponential(200.0, n))
        replicas = rng.integers(-1, 30, n)
        of_all = ticked(crowd, slice(0, n), load, replicas=replicas, ready=replicas)
        of_one = ticked(alone, slice(0, 1), load[at], replicas=replicas[at], ready=replicas[at])
        assert of_one.predicted_replicas[0] == of_all.predicted_replicas[at]
        for name in ("value", "peak", "path", "level", "price", "guarded", "reactive_alone", "predictive", "mode"):
            assert getattr(of_one, name)[0].tobytes() == getattr(of_all, name)[at].tobytes(), name


def test_slices_of_a_fleet_decide_what_the_whole_decides():
    whole, parts = some_fleet(4), some_fleet(4)
    for some in (whole, parts):
        backfilled(some, 1, seasonal_load())
        taught(some, 1)
    for load in (120.0, np.nan, 150.0):
        of_all = ticked(whole, slice(0, 4), load)
        parts.ring.advance(parts.ring.end_s + STEP_S)
        for rows in (slice(0, 2), slice(2, 4)):
            seen = Sightings.nothing(2)
            seen.load[:] = load
            made = parts.decide(rows, parts.see(rows, seen))
            assert made.value.tobytes() == of_all.value[rows].tobytes()
            assert made.peak.tobytes() == of_all.peak[rows].tobytes()


def test_the_live_hpas_bounds_are_taken_over_and_tighter_ones_stay():
    fleet = Fleet(STEP_S, WEDNESDAY_S, TrustRules(), 2)
    wide = fleet.add(workload(0, min_replicas=None, max_replicas=None))
    tight = fleet.add(workload(1, min_replicas=5, max_replicas=20, tolerance=0.0))
    assert fleet.columns.maximum[wide] == UNBOUNDED
    for row in (wide, tight):
        fleet.follow(row, Running(4, 4, 2, 50, math.nan))
    assert (fleet.columns.minimum[wide], fleet.columns.maximum[wide], fleet.columns.tolerance[wide]) == (2, 50, 0.1)
    assert (fleet.columns.minimum[tight], fleet.columns.maximum[tight], fleet.columns.tolerance[tight]) == (5, 20, 0.0)
    assert fleet.columns.hpa_maximum.tolist() == [50, 50]


def test_what_the_live_hpa_states_of_its_tolerance_counts_and_each_way_by_itself():
    fleet = Fleet(STEP_S, WEDNESDAY_S, TrustRules(), 2)
    for row in (fleet.add(workload(0, tolerance=0.2)), fleet.add(workload(1))):
        for stated, wanted in (
            ((0.05, math.nan), (0.05, 0.05)),
            ((0.05, 0.0), (0.05, 0.0)),
            ((math.nan, 0.03), ((0.2, 0.1)[row], 0.03)),
        ):
            fleet.follow(row, Running(4, 4, 2, 50, stated[0], tolerance_down=stated[1]))
            assert (fleet.columns.tolerance[row], fleet.columns.tolerance_down[row]) == wanted


def test_the_lead_window_follows_what_is_measured_unless_it_was_stated():
    fleet = Fleet(STEP_S, WEDNESDAY_S, TrustRules(), 2)
    free, stated = fleet.add(workload(0)), fleet.add(workload(1, lead_s=60.0, lead_stated=True))
    for row in (free, stated):
        fleet.follow(row, Running(4, 4, 2, 50, 0.1, lead_s=285.0))
    assert fleet.columns.lead_s.tolist() == [300.0, 75.0]
    assert fleet.columns.h.tolist() == [20, 5]


def test_shadow_by_hand_beats_the_trigger_and_ends_with_the_annotation():
    fleet = Fleet(STEP_S, WEDNESDAY_S, TrustRules(), 1)
    row = fleet.add(workload(0, shadow=True))
    for said, wanted in ((None, True), (False, False), (None, True)):
        fleet.follow(row, Running(4, 4, 2, 50, 0.1, shadow=said))
        assert fleet.columns.shadow[row] == wanted


def test_without_news_of_a_cluster_what_was_stated_stays_and_what_was_asked_by_hand_ends():
    fleet = Fleet(STEP_S, WEDNESDAY_S, TrustRules(), 1)
    row = fleet.add(workload(0, tolerance=0.0, lead_s=60.0))
    fleet.follow(row, Running(4, 4, 2, 50, 0.1, shadow=True, lead_s=100.0))
    fleet.follow(row, NOTHING_RUNNING)
    columns = fleet.columns
    assert (columns.tolerance[row], columns.shadow[row], columns.lead_s[row]) == (0.0, False, 115.0)
    assert (columns.hpa_minimum[row], columns.hpa_maximum[row]) == (2, 50)


def test_a_rollback_drops_the_model_and_fits_none_with_such_a_cutoff_again():
    fleet = some_fleet(1)
    backfilled(fleet, 0, seasonal_load())
    cutoff_s = fleet.ring.end_s - 7200.0
    fleet.models.cutoff_s[0] = int(cutoff_s)
    fleet.follow(0, Running(4, 4, 2, 50, 0.1, rollback_s=cutoff_s - 1.0))
    assert fleet.models.cutoff_s[0] == cutoff_s
    fleet.follow(0, Running(4, 4, 2, 50, 0.1, rollback_s=fleet.ring.end_s))
    assert fleet.models.cutoff_s[0] == 0
    assert fleet.due_cutoff_s(0, fleet.ring.end_s) == -math.inf
    assert fleet.due_cutoff_s(0, fleet.ring.end_s + 25 * 3600.0) > fleet.ring.end_s


def test_a_row_that_is_not_taken_has_no_hpa_and_no_fit():
    fleet = some_fleet(1)
    fleet.follow(3, Running(4, 4, 2, 50, 0.05))
    assert fleet.columns.hpa_maximum[3] == UNKNOWN
    assert fleet.due_cutoff_s(3, WEDNESDAY_S) == -np.inf


def test_the_naive_forecaster_speaks_until_a_fit_is_adopted():
    fleet = some_fleet(2)
    backfilled(fleet, 0, seasonal_load())
    for row in (0, 1):
        fleet.speak_naively(row)
    made = ticked(fleet, slice(0, 2), 150.0)
    assert [Mode(mode) for mode in made.mode] == [Mode.RECOVERY, Mode.LEARNING]
    assert made.predictive[0] > 0
    assert (made.predictive[1], made.version[0]) == (UNKNOWN, 0)
    taught(fleet, 0)
    made = ticked(fleet, slice(0, 2), 150.0)
    assert made.version.tolist() == [WEDNESDAY_S, 0]


def test_a_fit_is_due_until_it_is_adopted():
    fleet = some_fleet(1)
    backfilled(fleet, 0, seasonal_load())
    due_s = fleet.due_cutoff_s(0, WEDNESDAY_S)
    assert due_s <= WEDNESDAY_S - 60
    taught(fleet, 0, due_s)
    assert fleet.due_cutoff_s(0, WEDNESDAY_S) == -np.inf
    assert fleet.due_cutoff_s(0, WEDNESDAY_S + 7 * 3600) > due_s


@pytest.mark.parametrize(("lead_s", "anew"), [(75.0, False), (90.0, True), (300.0, True), (30.0, True)])
def test_a_model_for_another_lead_window_is_fitted_anew_within_the_hour(lead_s, anew):
    fleet = some_fleet(1)
    backfilled(fleet, 0, seasonal_load())
    taught(fleet, 0, fleet.due_cutoff_s(0, WEDNESDAY_S))
    fitted_s = int(fleet.models.cutoff_s[0])
    fleet.follow(0, Running(4, 4, 2, 50, 0.1, lead_s=lead_s))
    due_s = fleet.due_cutoff_s(0, fitted_s + 3700.0)
    assert due_s == (fitted_s + 3600.0 if anew else -np.inf)
    if anew:
        taught(fleet, 0, due_s)
        assert fleet.models.h[0] == fleet.columns.h[0]
        assert fleet.due_cutoff_s(0, due_s + 3700.0) == -np.inf


def test_a_workload_that_could_not_be_fitted_is_not_tried_again_at_once():
    fleet = some_fleet(1)
    backfilled(fleet, 0, lambda t_s: np.where(t_s > WEDNESDAY_S - 1800, 50.0, np.nan))
    taught(fleet, 0, WEDNESDAY_S - 600.0)
    assert fleet.due_cutoff_s(0, WEDNESDAY_S) == -np.inf
    made = ticked(fleet, slice(0, 1), 50.0)
    assert made.predictive[0] == UNKNOWN


def test_what_was_lent_for_a_lesson_is_a_copy():
    fleet = some_fleet(2)
    backfilled(fleet, 0, seasonal_load())
    history, columns = fleet.lesson([0])
    history.mean[:] = 0.0
    columns.capacity[:] = 0.0
    assert np.nanmax(fleet.ring.history(slice(0, 1)).mean) > 0
    assert fleet.columns.capacity[0] == 12.0


def test_staleness_counts_from_the_newest_good_sample():
    fleet = some_fleet(2)
    ticked(fleet, slice(0, 2), np.array([50.0, np.nan]))
    modes = [Mode(ticked(fleet, slice(0, 2), np.nan).mode[0]) for _ in range(41)]
    assert modes == [Mode.LEARNING] * 3 + [Mode.HOLDING] * 36 + [Mode.FAILED] * 2


def test_history_counts_as_a_good_sample():
    fleet = some_fleet(2)
    backfilled(fleet, 0, seasonal_load())
    made = ticked(fleet, slice(0, 2), np.nan)
    assert [Mode(mode) for mode in made.mode] == [Mode.LEARNING, Mode.FAILED]


def test_a_stale_row_is_forecast_from_its_newest_good_sample():
    fleet, fresh = some_fleet(1), some_fleet(1)
    for some in (fleet, fresh):
        backfilled(some, 0, seasonal_load())
        taught(some, 0)
        ticked(some, slice(0, 1), 150.0)
    first = ticked(fleet, slice(0, 1), np.nan)
    assert np.isfinite(first.peak).all()
    for _ in range(20):
        made = ticked(fleet, slice(0, 1), np.nan)
    assert np.isfinite(made.peak).all()
    assert (made.peak[0, 1:] >= first.peak[0, 1:] * 0.9).all()


def test_a_row_stale_for_days_does_not_break_or_slow_the_batch():
    fleet = some_fleet(2)
    for row in (0, 1):
        backfilled(fleet, row, seasonal_load())
        taught(fleet, row)
    for _ in range(3):
        fleet.ring.advance(fleet.ring.end_s + DAY_S)
        made = ticked(fleet, slice(0, 2), np.array([np.nan, 150.0]))
    assert Mode(made.mode[0]) is Mode.FAILED
    assert made.predicted_replicas[1] >= 13


def test_a_queue_keeps_its_arrivals_in_its_history():
    fleet = Fleet(STEP_S, WEDNESDAY_S, TrustRules(), 1)
    fleet.add(workload(0, kind=Kind.QUEUE, threshold=100.0, capacity=2.0))
    rows = slice(0, 1)
    ticked(fleet, rows, 100.0, replicas=5, ready=5)
    ticked(fleet, rows, 250.0, replicas=5, ready=5)
    # 150 more in 15 s, and five replicas cleared 2 a second each.
    assert fleet.ring.history(rows).fine[0, -2:] == pytest.approx([np.nan, 20.0], nan_ok=True)
    ticked(fleet, rows, 250.0, arrivals=33.0, replicas=5, ready=5)
    assert fleet.ring.history(rows).fine[0, -1] == 33.0


def test_ready_replicas_are_taken_to_be_all_where_they_are_not_read():
    fleet = some_fleet(1)
    assert ticked(fleet, slice(0, 1), 50.0, replicas=4).ready[0] == 4
    assert ticked(fleet, slice(0, 1), 50.0, replicas=4, ready=1).ready[0] == 1
    assert ticked(fleet, slice(0, 1), 50.0).ready[0] == UNKNOWN


def test_nobody_speaks_for_a_new_workload():
    fleet = some_fleet(1)
    made = ticked(fleet, slice(0, 1), 150.0)
    assert (Mode(made.mode[0]), made.predictive[0]) == (Mode.LEARNING, UNKNOWN)
    assert np.isnan(made.peak).all()
    assert catalog.unfitted(1).validated.tolist() == [False]


@pytest.mark.parametrize("seed", [2, 5])
def test_a_restarted_instance_decides_like_one_that_never_stopped(seed):
    load = seasonal_load(seed)
    stamps_s = WEDNESDAY_S - 5 * DAY_S + STEP_S * np.arange(1, round(5 * DAY_S / STEP_S) + 1)
    known = load(stamps_s)
    live_s = 3 * 3600.0
    first = len(known) - round(live_s / STEP_S)

    def begun(until: int) -> Fleet:
        fleet = Fleet(STEP_S, float(stamps_s[until - 1]), TrustRules(), n_rows=1)
        fleet.add(workload())
        fleet.backfill(0, float(stamps_s[until - 1]), Samples(known[:until], known[:until]), STEP_S)
        fitted(fleet, float(stamps_s[until - 1]))
        return fleet

    def fitted(fleet: Fleet, now_s: float) -> None:
        cutoff_s = fleet.due_cutoff_s(0, now_s)
        if np.isfinite(cutoff_s):
            history, columns = fleet.lesson([0])
            fleet.adopt(0, learn(history, columns, np.array([cutoff_s])), 0, cutoff_s)

    steady, restarted, served = begun(first), None, []
    for step in range(first, len(known)):
        if step == first + round(3600 / STEP_S):
            restarted = begun(step)
        pair = []
        for fleet in (steady, restarted):
            if fleet is not None:
                made = ticked(fleet, slice(0, 1), known[step], replicas=served[-1][0] if served else 10)
                fitted(fleet, float(stamps_s[step]))
                pair.append(int(made.predicted_replicas[0]))
        served.append(pair)
    compared = np.array(served[-round(3600 / STEP_S) :])
    apart = np.abs(compared[:, 0] - compared[:, 1])
    assert (apart > 0).mean() <= 0.01
    assert (apart <= np.maximum(1, 0.1 * compared[:, 0])).all()


def test_a_calendar_of_the_settings_is_in_force_at_once_and_only_where_it_is_named():
    fleet = Fleet(STEP_S, WEDNESDAY_S, TrustRules(), n_rows=2)
    for number, calendar in enumerate((None, "sales")):
        fleet.add(workload(number, calendar=calendar, timezone="Europe/Berlin"))
        backfilled(fleet, number, seasonal_load())
        fleet.speak_naively(number)
    both = slice(0, 2)
    quiet = ticked(fleet, both, 200.0)
    # Two hours ahead of UTC, a minute from now.
    sale = Event("sale", moment_of("wednesday 02:01"), 3600.0, 4.0)
    fleet.schedule({"sales": Agenda(events=(sale,))})
    raised = ticked(fleet, both, 200.0)
    assert raised.peak[0] == pytest.approx(quiet.peak[0], rel=0.1)
    assert raised.peak[1] == pytest.approx(4.0 * raised.peak[0], rel=0.01)
    fleet.configure(0, workload(0, calendar="sales", timezone="Europe/Berlin"))
    fleet.configure(1, workload(1, timezone="Europe/Berlin"))
    swapped = ticked(fleet, both, 200.0)
    assert swapped.peak[0] == pytest.approx(4.0 * swapped.peak[1], rel=0.01)
    fleet.schedule({})
    assert ticked(fleet, both, 200.0).peak == pytest.approx(quiet.peak, rel=0.1)


def test_calendars_are_laid_out_anew_as_weeks_go_by():
    fleet = Fleet(STEP_S, WEDNESDAY_S, TrustRules(), n_rows=1)
    fleet.schedule({"sales": Agenda(events=(Event("sale", moment_of("daily 08:00"), 3600.0, 4.0),))})
    fleet.add(workload(0, calendar="sales"))
    for weeks in (0, 1, 10):
        fleet.ring.advance(WEDNESDAY_S + weeks * 7 * DAY_S)
        places = fleet.history(slice(0, 1)).places
        assert places is not None
        begin_s = places.calendars[0].begin_s
        assert begin_s[0] < fleet.ring.end_s - 28 * DAY_S < fleet.ring.end_s + 7 * DAY_S < begin_s[-1]
    fleet.configure(0, workload(0))
    assert fleet.history(slice(0, 1)).places is None
