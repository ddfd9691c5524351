"""Drift: what must be found, how soon, and what is none."""

import numpy as np
import pytest

from forecasting import drift
from forecasting.drift import ALARM, Errors, Part

DAY, BLOCK_S = 288, 300.0
SEEDS = range(5)


def days(n=16, seed=0, noise=0.05, weekly=0.0) -> np.ndarray:
    """Load in blocks of five minutes: a day's wave, noise, and weekends lower by `weekly`."""
    t = np.arange(n * DAY) / DAY
    rng = np.random.default_rng(seed)
    weekend = np.clip(np.minimum(t % 7 - 5.0, 7.0 - t % 7) * 8, 0.0, 1.0)  # comes and goes over three hours
    wave = 1.0 - 0.5 * np.cos(2 * np.pi * (t - 4 / 24))
    return 200.0 * wave * (1.0 - weekly * weekend) * np.exp(noise * rng.standard_normal(len(t)))


def parts_of(load) -> np.ndarray:
    return drift.data_parts(drift.logs_of(load, 1.0), BLOCK_S)


def first_alarm(load, part, start, every=1) -> int | None:
    """Blocks after `start` at which a part first alarms."""
    for at in range(start + 1, len(load) + 1, every):
        if parts_of(load[:at])[part] >= ALARM:
            return at - start
    return None


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("weekly", [0.0, 0.5])
def test_what_repeats_does_not_alarm(seed, weekly):
    load = days(23, seed, weekly=weekly)
    assert max(parts_of(load[:at]).max() for at in range(15 * DAY, 23 * DAY, 12)) < ALARM


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("factor", [2.0, 0.5, 1000.0])
def test_a_new_level_is_found_within_a_quarter_of_an_hour(seed, factor):
    load, at = days(14, seed), 13 * DAY + 60 + 40 * seed
    load[at:] *= factor
    assert first_alarm(load, Part.LEVEL, at) <= 3


@pytest.mark.parametrize("hour", range(0, 24, 3))
def test_a_holiday_that_begins_at_any_hour_leaves_the_season(hour):
    load, at = days(17, hour), 14 * DAY + 12 * hour
    day = np.arange(DAY) / DAY
    load[at : at + DAY] *= 1.0 - 0.4 * np.clip(np.minimum(day, 1.0 - day) * 8, 0.0, 1.0)
    seen = [parts_of(load[:end])[Part.SEASON] for end in range(at, at + 2 * DAY, 12)]
    assert max(seen) < ALARM


def test_a_workload_that_rests_and_comes_back_has_not_drifted():
    load = days(14)
    load[13 * DAY + 100 : 13 * DAY + 120] = 0.0
    assert max(parts_of(load[:at]).max() for at in range(13 * DAY + 90, 14 * DAY)) < ALARM


def test_a_shift_that_comes_every_day_is_usual():
    load = days(14)
    load[np.arange(len(load)) % DAY >= 200] *= 3.0
    assert max(parts_of(load[:at])[Part.LEVEL] for at in range(13 * DAY, 14 * DAY)) < ALARM


def test_the_echo_of_a_shift_a_day_ago_is_none():
    load = days(14)
    load[12 * DAY + 100 : 12 * DAY + 130] *= 4.0
    assert max(parts_of(load[:at])[Part.LEVEL] for at in range(13 * DAY + 80, 13 * DAY + 150)) < ALARM


@pytest.mark.parametrize("seed", SEEDS)
def test_a_lost_season_is_found_within_one(seed):
    load, at = days(14, seed), 12 * DAY + 50 * seed
    rng = np.random.default_rng(seed)
    load[at:] = load[at - 1] * np.exp(0.05 * rng.standard_normal(len(load) - at))
    assert first_alarm(load, Part.SEASON, at, every=12) <= DAY


@pytest.mark.parametrize("per_day", [0.04, -0.04, 0.06])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_slow_drift_is_found_before_a_fifth_has_accumulated(seed, per_day):
    load, at = days(18, seed, weekly=0.3), 11 * DAY
    t = np.maximum(np.arange(len(load)) - at, 0) / DAY
    load *= np.exp(per_day * t)
    found = first_alarm(load, Part.TREND, at, every=12)
    assert found is not None
    assert abs(per_day) * found / DAY < np.log(1.2)


def test_a_level_that_rose_too_slowly_for_a_step_is_found_by_its_distribution():
    load, at = days(14), 11 * DAY
    load[at:] *= np.minimum(1.0 + np.arange(len(load) - at) / 72 * 0.5, 1.5)
    assert first_alarm(load, Part.LEVEL, at, every=6) is None
    assert first_alarm(load, Part.SPREAD, at, every=12) <= 1.6 * DAY


@pytest.mark.parametrize("seed", SEEDS)
def test_a_holiday_is_no_drift(seed):
    load = days(18, seed, weekly=0.4)
    holiday = slice(16 * DAY, 17 * DAY)
    t = np.arange(DAY) / DAY
    load[holiday] *= 1.0 - 0.4 * np.clip(np.minimum(t, 1.0 - t) * 8, 0.0, 1.0)
    assert max(parts_of(load[:at]).max() for at in range(16 * DAY, 18 * DAY, 6)) < ALARM


@pytest.mark.parametrize("hours", [1, -1])
def test_a_change_of_the_clock_is_no_drift(hours):
    load, shift = days(23, weekly=0.3), 12 * hours
    moved = np.concatenate([load[: 16 * DAY], days(23, 1, weekly=0.3)[16 * DAY + shift :]])[: 22 * DAY]
    assert max(parts_of(moved[:at]).max() for at in range(16 * DAY, 22 * DAY, 12)) < ALARM


@pytest.mark.parametrize("phase", range(7))
def test_the_course_of_a_week_is_no_drift_although_only_one_was_seen(phase):
    load = days(9) * (1.0 + 0.15 * np.sin(2 * np.pi * (np.arange(9 * DAY) / DAY + phase) / 7))
    assert max(parts_of(load[:at]).max() for at in range(6 * DAY, 9 * DAY, 12)) < ALARM


def test_gaps_and_short_histories_are_no_drift():
    rng = np.random.default_rng(0)
    load = days(14)
    load[rng.random(len(load)) < 0.1] = np.nan
    load[13 * DAY : 13 * DAY + 30] = np.nan
    assert max(parts_of(load[:at]).max() for at in range(12 * DAY, 14 * DAY, 12)) < ALARM
    for n in (0, 1, 5, 100, DAY + 1, 3 * DAY):
        assert parts_of(days()[:n] if n else np.array([np.nan])).max() < ALARM
    assert parts_of(np.full(14 * DAY, np.nan)).max() == 0.0


def test_shifts_of_many_workloads_are_those_of_each():
    logs = np.stack([drift.logs_of(days(9, seed), 1.0) for seed in range(4)])
    together = drift.shifts(logs, BLOCK_S)
    for row in range(4):
        assert together[row].tobytes() == drift.shifts(logs[row], BLOCK_S).tobytes()


def test_ks_and_psi_by_hand():
    one, other = np.arange(10.0), np.arange(10.0) + 5
    assert drift.ks_distance(one, other) == pytest.approx(0.5)
    assert drift.ks_distance(one, one + 100) == 1.0
    assert drift.ks_distance(one, one) == 0.0
    before = np.arange(1000.0)
    assert drift.stability_index(before, before) == pytest.approx(0.0, abs=1e-3)
    # Half of now in each of the two top deciles: 2·(0.5 − 0.1)·ln 5 + 8·(1e-4 − 0.1)·ln(1e-4 / 0.1)
    expected = 2 * 0.4 * np.log(5) + 8 * (1e-4 - 0.1) * np.log(1e-3)
    assert drift.stability_index(before, np.arange(800.0, 1000.0)) == pytest.approx(expected, rel=0.02)


def errors_of(actual, said=None, n=200, yesterday=None) -> Errors:
    """Windows of three minutes; the forecast is the standard normal unless said otherwise."""
    quantiles = np.array([0.0, 1.2816, 1.8808, 2.3263, 2.5758]) if said is None else said
    return Errors(
        180.0 * np.arange(n)[::-1],
        np.broadcast_to(quantiles, (n, 5)),
        actual,
        np.full(n, np.nan) if yesterday is None else yesterday,
    )


def test_honest_errors_do_not_alarm():
    for seed in range(20):
        actual = np.random.default_rng(seed).standard_normal(200)
        assert drift.error_parts(errors_of(actual)).max() < ALARM


def test_what_exceeds_its_bound_too_often_has_lost_its_coverage():
    actual = np.random.default_rng(0).standard_normal(200)
    actual[::2] = 2.0
    parts = drift.error_parts(errors_of(actual))
    assert parts[Part.COVERAGE - 4] >= ALARM


def test_errors_that_lean_are_biased_and_then_a_change():
    actual = np.random.default_rng(0).standard_normal(200)
    actual[-60:] -= 2.5
    parts = drift.error_parts(errors_of(actual))
    assert parts[Part.CHANGE - 4] >= ALARM
    assert parts[Part.COVERAGE - 4] == 0.0
    actual[:] = np.random.default_rng(1).standard_normal(200) - 1.8
    assert drift.error_parts(errors_of(actual))[Part.BIAS - 4] >= ALARM


def test_yesterday_forecasting_better_is_a_lack_of_skill():
    rng = np.random.default_rng(0)
    actual = rng.standard_normal(200)
    better, worse = actual + 0.3 * rng.standard_normal(200), actual + 2 * rng.standard_normal(200)
    assert drift.error_parts(errors_of(actual, yesterday=better))[Part.SKILL - 4] >= ALARM
    assert drift.error_parts(errors_of(actual, yesterday=worse))[Part.SKILL - 4] == 0.0


def test_few_errors_say_nothing():
    assert drift.error_parts(errors_of(np.full(39, 100.0), n=39)).max() == 0.0


def test_page_hinkley_by_hand():
    assert drift.page_hinkley(np.array([])) == 0.0
    assert drift.page_hinkley(np.array([3.0, 3.0, 0.0])) == pytest.approx(2.0 + 2.0 - 1.0)
    assert drift.page_hinkley(np.array([-3.0, -3.0])) == pytest.approx(4.0)


def test_the_worst_part_is_named():
    parts = drift.no_drift(2)
    parts[1, Part.TREND] = 0.4
    score, named = drift.worst(parts)
    assert score.tolist() == [0.0, 0.4]
    assert Part(named[1]) is Part.TREND


def test_the_newest_shift_of_many_is_the_last_of_each():
    load = np.stack([days(9, seed) for seed in range(3)])
    load[1, -3:] *= 2.0
    load[2, -2:] *= 0.4
    load[2, 400:440] = np.nan
    windows = [drift.logs_of(part, 1.0) for part in drift.level_windows(load, BLOCK_S)]
    found = drift.newest_shift(windows, BLOCK_S)
    assert found == pytest.approx(drift.shifts(drift.logs_of(load, 1.0), BLOCK_S)[:, -1])
    assert found[1] > 0.5
    assert found[2] < -0.5
