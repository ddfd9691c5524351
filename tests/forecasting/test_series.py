"""Cutting windows out of a history: small series with numbers worked out by hand."""

import numpy as np
import pytest

from forecasting.features import newest
from forecasting.series import (
    RECENT,
    History,
    Rows,
    bucket_index,
    bucket_spacing,
    gather,
    lead_buckets,
    recent_windows,
    windows_around,
)
from forecasting.training import mean_load, training_rows, window_targets
from tests.fakes import DAY_S, WEDNESDAY_S, history_of, history_rows

M = 10.0


def minutes(*mean: float, end_s: float = 6000.0) -> History:
    """A history of one-minute steps: fine samples, means and maxima are the same numbers."""
    values = np.array([mean])
    return History(60.0, end_s, values, end_s, values, values, end_s, values[:, :0], values[:, :0])


def around(history: History, first: int, n_before: int, n: int) -> tuple[float, float, float]:
    before, after = windows_around(history, np.array([0]), np.array([first]), n_before, np.array([n]))
    return float(before[0]), float(after.mean[0]), float(after.maximum[0])


@pytest.mark.parametrize(("step_s", "bucket_s", "k"), [(1, 60, 60), (15, 60, 4), (60, 60, 1), (300, 300, 1)])
def test_a_bucket_is_a_minute_or_a_wider_step(step_s, bucket_s, k):
    assert bucket_spacing(step_s) == bucket_s
    assert history_of(np.zeros_like, 0.0, float(step_s)).samples_per_bucket == k


def test_means_before_and_means_and_maxima_after():
    history = minutes(1, 2, 3, 4, 5, 6, 7, 8)
    assert around(history, first=4, n_before=2, n=3) == (3.5, 6.0, 7.0)
    assert around(history, first=4, n_before=4, n=1) == (2.5, 5.0, 5.0)


def test_missing_buckets_do_not_count_as_zero():
    history = minutes(1, np.nan, 3, np.nan, 5, np.nan, 9)
    assert around(history, first=4, n_before=4, n=3) == (2.0, 7.0, 9.0)


def test_a_window_with_fewer_than_half_of_its_buckets_is_missing():
    history = minutes(1, np.nan, np.nan, np.nan, 5, np.nan, np.nan)
    before, mean, largest = around(history, first=4, n_before=3, n=3)
    assert np.isnan([before, mean, largest]).all()
    assert around(history, first=4, n_before=1, n=2)[1:] == (5.0, 5.0)


def test_what_lies_outside_of_the_history_is_missing():
    history = minutes(1, 2, 3, 4)
    assert around(history, first=1, n_before=2, n=6)[0] == 1.0
    assert np.isnan(around(history, first=1, n_before=2, n=7)[1])
    assert np.isnan(around(history, first=-9, n_before=2, n=3)).all()
    assert np.isnan(around(history, first=50, n_before=2, n=3)).all()


def test_a_rows_window_does_not_depend_on_the_longest_beside_it():
    rng = np.random.default_rng(0)
    history = minutes(*rng.exponential(5.0, 60))
    first, n = np.array([10, 20, 30]), np.array([1, 7, 23])
    _, together = windows_around(history, np.zeros(3, np.int64), first, 5, n)
    for r in range(3):
        _, alone = windows_around(history, np.array([0]), first[r : r + 1], 5, n[r : r + 1])
        assert alone.mean.tobytes() == together.mean[r : r + 1].tobytes()
        assert alone.maximum.tobytes() == together.maximum[r : r + 1].tobytes()


def test_the_last_complete_bucket_of_a_stamp():
    history = minutes(1, 2, 3, 4, end_s=6000.0)
    stamps_s = np.array([6000.0, 5999.0, 5940.0, 5820.0, 6060.0])
    assert bucket_index(history, stamps_s).tolist() == [3, 2, 2, 0, 4]


def test_gathered_columns_are_missing_outside():
    history = minutes(1, 2, 3)
    picked = gather(history.mean, np.zeros(5, np.int64), np.array([-1, 0, 2, 3, 99]))
    assert picked == pytest.approx([np.nan, 1, 3, np.nan, np.nan], nan_ok=True)


def test_a_lead_window_touches_whole_buckets():
    history = history_of(np.zeros_like, 0.0, 15.0)
    assert lead_buckets(np.array([1, 4, 5, 8, 9]), history.step_s).tolist() == [1, 1, 2, 2, 3]


def test_until_is_the_history_as_it_stood():
    def load(t_s):
        return t_s - WEDNESDAY_S + 1e6

    history = history_of(load, 2 * DAY_S)
    then = history.until(WEDNESDAY_S - 600.0)
    assert then.end_s == then.bucket_end_s == WEDNESDAY_S - 600.0
    assert then.mean.shape == history.mean.shape
    assert np.array_equal(then.mean[0, -100:], history.mean[0, -110:-10])
    assert np.isnan(then.mean[0, :10]).all()
    assert np.array_equal(then.maximum[0, -100:], history.maximum[0, -110:-10])


def test_until_does_not_depend_on_when_it_is_asked():
    now, later = (history_rows([np.sqrt], 2 * DAY_S, end_s=end_s) for end_s in (WEDNESDAY_S, WEDNESDAY_S + 7200))
    then = [
        recent_windows(h.until(WEDNESDAY_S - 60), Rows.live(h.until(WEDNESDAY_S - 60), np.array([4])))
        for h in (now, later)
    ]
    assert then[0].mean.tobytes() == then[1].mean.tobytes()
    assert not np.isnan(then[0].mean).any()


def test_until_now_changes_nothing_and_before_all_is_empty():
    history = history_of(np.ones_like, DAY_S)
    assert history.until(WEDNESDAY_S).mean is history.mean
    assert np.isnan(history.until(WEDNESDAY_S - 30 * DAY_S).mean).all()


def test_recent_windows_end_exactly_at_the_newest_sample():
    history = history_of(lambda t_s: (WEDNESDAY_S - t_s) / 15.0, DAY_S)
    recent = recent_windows(history, Rows.live(history, np.array([4])))
    assert recent.mean.shape == (1, RECENT)
    assert recent.mean[0, -1] == pytest.approx(1.5)  # the samples 0, 1, 2, 3
    assert recent.maximum[0, -1] == 3.0
    assert recent.mean[0, 0] == pytest.approx(89 * 4 + 1.5)


def test_recent_windows_of_a_fine_origin_shift_by_the_step():
    history = history_of(lambda t_s: (WEDNESDAY_S - t_s) / 15.0, DAY_S)
    origin_s = np.array([WEDNESDAY_S - 15.0])
    recent = recent_windows(history, Rows(np.array([0]), origin_s, np.array([4]), origin_s))
    assert recent.mean[0, -1] == pytest.approx(2.5)


def test_recent_windows_of_an_old_origin_come_from_the_buckets():
    history = history_of(lambda t_s: (WEDNESDAY_S - t_s) / 15.0, 2 * DAY_S)
    origin_s = np.array([WEDNESDAY_S - DAY_S])
    recent = recent_windows(history, Rows(np.array([0]), origin_s, np.array([4]), origin_s))
    assert recent.mean[0, -1] == pytest.approx(DAY_S / 15 + 1.5)


def test_a_missing_sample_leaves_the_rest_of_its_bucket():
    history = history_of(lambda t_s: np.where(t_s == WEDNESDAY_S, np.nan, (WEDNESDAY_S - t_s) / 15.0), DAY_S)
    recent = recent_windows(history, Rows.live(history, np.array([4])))
    assert recent.mean[0, -1] == pytest.approx(2.0)  # the samples 1, 2, 3


def test_the_newest_that_is_not_missing():
    nan = np.nan
    assert newest(np.array([[nan, 2.0, 3.0], [1.0, nan, 3.0], [nan, nan, nan]])) == pytest.approx(
        [2.0, 1.0, nan], nan_ok=True
    )


def test_targets_are_the_peak_and_the_last_of_what_came_after():
    history = minutes(*range(1, 41))
    rows = training_rows(history, 3, max_rows=100)
    peak, last = window_targets(history, rows, averaged=False)
    mean, _ = window_targets(history, rows, averaged=True)
    index = bucket_index(history, rows.origin_s)
    # The value of column i is i + 1; the window after it is columns i + 1 … i + 3.
    assert peak.tolist() == last.tolist() == (index + 4.0).tolist()
    assert mean.tolist() == (index + 3.0).tolist()
    assert index[-1] == 36


def test_training_origins_are_thinned_by_an_odd_stride():
    rows = training_rows(minutes(*np.ones(1000)), 3, max_rows=240)
    strides = set(np.diff(rows.origin_s) / 60)
    assert strides == {5.0}
    assert np.diff(training_rows(minutes(*np.ones(1000)), 3, max_rows=5000).origin_s).max() == 60


def test_the_mean_load_is_that_of_known_buckets():
    assert mean_load(minutes(1, np.nan, 3)) == 2.0
    assert mean_load(minutes(np.nan, np.nan)) == 0.0
