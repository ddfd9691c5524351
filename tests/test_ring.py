"""The ring against a reference that forgets nothing and is obviously right."""

import math
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.core.signals import Samples
from scaler.ring import BUCKETS_S, COARSE_S, LoadRing
from tests.fakes import DAY_S, WEDNESDAY_S

EVERY = slice(None)


@dataclass
class Reference:
    """Every sample of each row by its stamp."""

    step_s: float
    end_s: float
    samples: list[dict[float, float]]
    oldest_s: list[float] = field(default_factory=list)

    def fine(self, row: int, width: int) -> list[float]:
        stamps_s = self.end_s - self.step_s * np.arange(width)[::-1]
        return [self.samples[row].get(t_s, math.nan) for t_s in stamps_s]

    def bucket(self, row: int, end_s: float, bucket_s: float) -> list[float]:
        inside = np.arange(round(bucket_s / self.step_s)) * self.step_s
        return [self.samples[row][end_s - back_s] for back_s in inside if end_s - back_s in self.samples[row]]


values = st.one_of(st.just(math.nan), st.floats(0, 1e6, width=32))
puts = st.tuples(st.just("put"), st.integers(1, 3), st.lists(values, min_size=2, max_size=2))
jumps = st.tuples(st.just("put"), st.integers(1, 900), st.lists(values, min_size=2, max_size=2))
backfills = st.tuples(st.just("backfill"), st.integers(0, 1), st.lists(values, min_size=1, max_size=40))
clears = st.tuples(st.just("clear"), st.integers(0, 1), st.just([]))


@given(
    step_s=st.sampled_from([1.0, 15.0, 60.0, 300.0]),
    operations=st.lists(st.one_of(puts, puts, jumps, backfills, clears), min_size=1, max_size=60),
)
def test_the_ring_holds_what_a_naive_memory_holds(step_s, operations):
    ring = LoadRing(2, step_s, WEDNESDAY_S)
    memory = Reference(step_s, WEDNESDAY_S, [{}, {}])
    for what, n, given_values in operations:
        if what == "put":
            memory.end_s += n * step_s
            ring.advance(memory.end_s)
            ring.put(EVERY, np.array(given_values))
            for row, value in enumerate(given_values):
                _remember(memory, row, memory.end_s, value)
        elif what == "backfill":
            _backfill(ring, memory, n, given_values)
        else:
            ring.clear(n)
            memory.samples[n].clear()
    _assert_same(ring, memory)


def _remember(memory: Reference, row: int, t_s: float, value: float) -> None:
    if not math.isnan(value):
        memory.samples[row][t_s] = value


def _backfill(ring: LoadRing, memory: Reference, row: int, given_values: list[float]) -> None:
    """Whole buckets up to the newest complete one: what a source's history gives."""
    k = round(ring.bucket_s / ring.step_s)
    values = np.repeat(given_values, k) + np.arange(k * len(given_values))
    stamps_s = ring.bucket_end_s - ring.step_s * np.arange(len(values))[::-1]
    ring.backfill(row, stamps_s, values, ring.step_s)
    for t_s, value in zip(stamps_s.tolist(), values.tolist(), strict=True):
        _remember(memory, row, t_s, value)


def _assert_same(ring: LoadRing, memory: Reference) -> None:
    held = ring.history(EVERY)
    assert held.end_s == memory.end_s
    assert held.bucket_end_s == memory.end_s // held.bucket_s * held.bucket_s
    for row in range(2):
        assert held.fine.shape[1] >= 180
        assert np.array_equal(held.fine[row, -400:], memory.fine(row, min(400, held.fine.shape[1])), equal_nan=True)
        n_checked = min(60, held.mean.shape[1])
        for back in range(n_checked):
            samples = memory.bucket(row, held.bucket_end_s - back * held.bucket_s, held.bucket_s)
            mean = np.mean(samples) if samples else math.nan
            assert held.mean[row, -1 - back] == pytest.approx(mean, rel=1e-6, abs=1e-6, nan_ok=True), back
            largest = max(samples) if samples else math.nan
            assert held.maximum[row, -1 - back] == pytest.approx(largest, rel=1e-6, nan_ok=True), back


def filled(n_ticks: int, step_s: float = 15.0, n_rows: int = 1) -> LoadRing:
    ring = LoadRing(n_rows, step_s, WEDNESDAY_S)
    for tick in range(1, n_ticks + 1):
        ring.advance(WEDNESDAY_S + tick * step_s)
        ring.put(EVERY, np.full(n_rows, float(tick)))
    return ring


def test_a_new_ring_knows_nothing():
    ring = LoadRing(2, 15.0, WEDNESDAY_S)
    held = ring.history(EVERY)
    assert np.isnan(held.fine).all()
    assert np.isnan(held.mean).all()
    assert ring.span_s(EVERY).tolist() == [0.0, 0.0]


def test_a_bucket_appears_when_it_is_complete():
    assert np.isnan(filled(3).history(EVERY).mean).all()
    assert filled(4).history(EVERY).mean[0, -1] == 2.5
    assert filled(4).history(EVERY).maximum[0, -1] == 4.0
    assert filled(7).history(EVERY).mean[0, -1] == 2.5


def test_a_bucket_whose_end_was_missed_keeps_its_samples():
    ring = filled(3)
    ring.advance(WEDNESDAY_S + 300.0)
    ring.put(EVERY, np.array([9.0]))
    held = ring.history(EVERY)
    assert held.mean[0, -5] == 2.0
    assert np.isnan(held.mean[0, -4:-1]).all()
    assert held.mean[0, -1] == 9.0


@pytest.mark.parametrize("gap", [1, 89, 90, 91, 400, 719, 720, 10_000])
def test_after_a_gap_of_any_length_the_old_samples_stand_where_they_were(gap):
    ring = filled(60)
    ring.advance(ring.end_s + 15.0 * gap)
    fine = ring.history(EVERY).fine[0]
    assert len(fine) == 720
    assert np.isnan(fine[max(720 - gap, 0) :]).all()
    if gap < 720:
        assert fine[720 - gap - 1] == 60.0


def test_the_oldest_samples_leave():
    ring = filled(800)
    assert ring.history(EVERY).fine[0, 0] == 81.0


def test_views_are_contiguous_along_the_rows():
    held = filled(10, n_rows=4).history(slice(1, 3))
    assert held.fine.shape[0] == 2
    assert held.fine.strides[-1] == held.fine.itemsize


def test_the_span_counts_from_the_oldest_sample_and_at_most_what_is_kept():
    assert filled(4).span_s(EVERY)[0] == 60.0
    ring = LoadRing(1, 15.0, WEDNESDAY_S)
    ring.backfill(0, WEDNESDAY_S - DAY_S * np.array([30, 24, 18, 12, 6, 0]), np.ones(6), 15.0)
    assert ring.span_s(EVERY)[0] == BUCKETS_S


def test_a_history_begins_with_its_first_load():
    ring = LoadRing(1, 15.0, WEDNESDAY_S)
    for minute in range(30):
        ring.advance(WEDNESDAY_S + 60.0 * minute)
        ring.put(EVERY, np.array([0.0 if minute < 20 else 5.0]))
        assert ring.span_s(EVERY)[0] == (0.0 if minute < 20 else 60.0 * (minute - 20) + 15.0)
    assert ring.history(slice(None)).fine[0, -1] == 5.0


@pytest.mark.parametrize(("days", "span_s"), [(7.0, BUCKETS_S), (9.0, 15.0)])
def test_after_a_pause_as_long_as_buckets_are_kept_a_history_begins_anew(days, span_s):
    stamps_s = WEDNESDAY_S - DAY_S * np.array([days + 2.0, days, days - 1.0, 1.0])
    told, seen = LoadRing(1, 15.0, WEDNESDAY_S), LoadRing(1, 15.0, stamps_s[0])
    told.backfill(0, np.append(stamps_s, WEDNESDAY_S), np.array([1.0, 1.0, 0.0, 0.0, 1.0]), 15.0)
    for t_s, load in zip([*stamps_s, WEDNESDAY_S], [1.0, 1.0, 0.0, 0.0, 1.0], strict=True):
        seen.advance(t_s)
        seen.put(EVERY, np.array([load]))
    assert told.span_s(EVERY)[0] == seen.span_s(EVERY)[0] == span_s


def test_wider_samples_hold_for_their_spacing():
    ring = LoadRing(1, 15.0, WEDNESDAY_S)
    stamps_s = WEDNESDAY_S - 300.0 * np.arange(3)[::-1]
    ring.backfill(0, stamps_s, np.array([10.0, 20.0, 30.0]), 300.0)
    held = ring.history(EVERY)
    assert held.fine[0, -60:].tolist() == [10.0] * 20 + [20.0] * 20 + [30.0] * 20
    assert held.mean[0, -15:].tolist() == [10.0] * 5 + [20.0] * 5 + [30.0] * 5
    assert np.isnan(held.mean[0, -16])


def test_finer_samples_are_averaged_in_their_bucket():
    ring = LoadRing(1, 15.0, WEDNESDAY_S)
    stamps_s = WEDNESDAY_S - np.arange(120.0)[::-1]
    ring.backfill(0, stamps_s, np.arange(120.0), 1.0)
    held = ring.history(EVERY)
    assert held.mean[0, -2:] == pytest.approx([29.5, 89.5])
    assert held.maximum[0, -2:].tolist() == [59.0, 119.0]


def test_missing_and_future_samples_of_a_backfill_are_ignored():
    ring = filled(4)
    before = ring.history(EVERY).fine.copy()
    ring.backfill(0, np.array([WEDNESDAY_S + 120.0, WEDNESDAY_S + 30.0]), np.array([9.0, np.nan]), 15.0)
    assert np.array_equal(ring.history(EVERY).fine, before, equal_nan=True)


def test_a_cleared_row_is_empty_and_its_neighbour_is_not():
    ring = filled(8, n_rows=2)
    ring.clear(0)
    assert np.isnan(ring.history(EVERY).fine[0]).all()
    assert np.isnan(ring.history(EVERY).mean[0]).all()
    assert ring.span_s(EVERY).tolist() == [0.0, 120.0]


def test_grown_rows_are_empty_and_the_others_stay():
    ring = filled(8)
    ring.grow(3)
    assert ring.history(EVERY).fine[0, -1] == 8.0
    assert np.isnan(ring.history(EVERY).fine[1:]).all()
    ring.put(slice(1, 3), np.array([5.0, 6.0]))
    assert ring.history(EVERY).fine[:, -1].tolist() == [8.0, 5.0, 6.0]


def test_weeks_before_the_buckets_add_blocks_and_change_nothing_that_the_buckets_know():
    ring = LoadRing(2, 15.0, WEDNESDAY_S + 120.0)
    stamps_s = ring.end_s - 15.0 * np.arange(8 * 5760)[::-1]
    ring.backfill(0, stamps_s, np.full(len(stamps_s), 7.0), 15.0)
    before = ring.history(slice(0, 1))
    days, old = before.mean.copy(), before.coarse_mean.copy()
    end_s = ring.coarse_end_s - BUCKETS_S + ring.coarse_s
    n = round((COARSE_S - BUCKETS_S) / ring.coarse_s) + 1
    block_s = end_s - ring.coarse_s * np.arange(n)[::-1]
    mean = np.where(np.arange(n) % 10 == 3, np.nan, 100.0 + np.arange(n))
    ring.backfill_blocks(0, block_s, Samples(mean, 2.0 * mean))
    after = ring.history(slice(0, 1))
    assert np.array_equal(after.mean, days)
    assert np.array_equal(after.coarse_mean[0, n:], old[0, n:])
    assert (old[0, n - 1], after.coarse_mean[0, n - 1]) == (7.0, mean[-1]), "half a block is replaced by the whole"
    assert np.array_equal(after.coarse_mean[0, : n - 1], mean[:-1].astype(np.float32), equal_nan=True)
    assert np.array_equal(after.coarse_maximum[0, : n - 1], (2.0 * mean[:-1]).astype(np.float32), equal_nan=True)
    assert np.isnan(after.coarse_mean).sum() == np.isnan(mean).sum(), "no block is left out between weeks and days"
    assert np.isnan(ring.history(slice(1, 2)).coarse_mean).all()
    assert ring.span_s(slice(0, 1))[0] == BUCKETS_S
