"""Figures, frontiers and intervals, computed by hand."""

import numpy as np
import pytest

from scaler.core.simulator.cluster import Run
from scaler.core.simulator.score import (
    Tally,
    cost_at,
    envelope,
    figures,
    geometric_mean,
    mean_interval,
    paired_interval,
    short_at,
    tally,
)


def record(replicas: list[int], ready: list[int]) -> Run:
    counts, serving = (np.array(values, np.int32)[:, None] for values in (replicas, ready))
    return Run(counts, serving, counts, None)


def test_short_load_and_cost_follow_their_definitions() -> None:
    # Capacity 10: the third step needs 3 and has 2, the fourth lies in a gap.
    load = np.array([10.0, 20.0, 30.0, np.nan, 0.0])
    run = record([2, 2, 3, 3, 1], [2, 2, 2, 3, 1])
    found = figures(tally(run, load, np.array([10.0]), np.ones(5, np.bool_), 5, 15.0), 15.0)
    assert found.short_pct[0] == pytest.approx(100 * 30 / 60)
    assert found.excess_pct[0] == pytest.approx(100 * 10 / 60)
    assert found.cost_ratio[0] == pytest.approx((2 + 2 + 3 + 1) / (1 + 2 + 3 + 1))
    assert found.replica_hours[0] == pytest.approx(8 * 15 / 3600)


def test_a_gap_and_what_lies_before_the_scored_part_count_for_nothing() -> None:
    load = np.array([99.0, np.nan, 10.0])
    sums = tally(record([1, 1, 1], [1, 1, 1]), load, np.array([10.0]), np.array([False, True, True]), 2, 15.0)
    assert sums.steps.sum() == 1
    assert sums.short.sum() == 0


def test_a_reversal_undoes_a_change_of_the_last_ten_minutes() -> None:
    counts = [5] * 3 + [6] * 10 + [5] * 50 + [6] * 3 + [7] * 3
    run = record(counts, counts)
    n = len(counts)
    found = figures(tally(run, np.ones(n), np.array([1.0]), np.ones(n, np.bool_), n, 15.0), 15.0)
    # Up, down 10 steps later (a reversal), up 50 steps = 12.5 min later (none), up again (same direction).
    assert found.reversals[0] == 1
    assert found.events_per_hour[0] == pytest.approx(4 / (n * 15 / 3600))


def test_a_cost_is_read_log_linearly_between_close_neighbours_only() -> None:
    short, cost = np.array([2.0, 1.25, 0.8, 0.1]), np.array([1.1, 1.2, 1.4, 3.0])
    share = np.log(1.0 / 1.25) / np.log(0.8 / 1.25)
    assert cost_at(short, cost, 1.0) == pytest.approx(1.2 + share * 0.2)
    assert cost_at(short, cost, 2.0) == pytest.approx(1.1)
    assert cost_at(short, cost, 0.5) is None  # 0.8 and 0.1 lie more than a factor of 2 apart
    assert cost_at(short, cost, 5.0) is None
    assert cost_at(np.array([1.5, 0.0]), np.array([1.0, 2.0]), 1.0) is None


def test_the_cheapest_crossing_counts() -> None:
    short, cost = np.array([1.2, 0.9, 1.1, 0.95]), np.array([2.0, 2.2, 1.5, 1.6])
    assert cost_at(short, cost, 1.0) == pytest.approx(1.5 + 0.1 * np.log(1 / 1.1) / np.log(0.95 / 1.1))


def test_a_short_share_is_read_at_equal_cost() -> None:
    short, cost = np.array([2.0, 1.25, 0.8, 0.1]), np.array([1.1, 1.2, 1.4, 3.0])
    assert short_at(short, cost, 1.2) == pytest.approx(1.25)
    assert short_at(short, cost, 1.3) == pytest.approx(np.sqrt(1.25 * 0.8))
    assert short_at(short, cost, 2.0) == pytest.approx(0.8)  # 0.8 and 0.1 are not joined: what was run counts
    assert short_at(short, cost, 9.0) == pytest.approx(0.1)
    assert short_at(short, cost, 1.0) is None
    assert short_at(np.array([0.0, 0.5]), np.array([1.2, 1.1]), 1.15) == pytest.approx(0.5)
    assert short_at(np.array([0.5]), np.array([1.0]), 2.0) is None


def test_the_envelope_leaves_out_what_another_setting_beats() -> None:
    short, cost = np.array([1.0, 2.0, 0.5, 1.5]), np.array([1.5, 1.2, 2.0, 1.6])
    assert envelope(short, cost).tolist() == [2, 0, 1]


def sums(n_blocks: int, factor: float) -> Tally:
    rng = np.random.default_rng(0)
    load = np.repeat(100.0 * (1 + rng.random((n_blocks, 1))), 3, axis=1)
    short = load * np.array([0.008, 0.012, 0.018])
    billed = factor * load * np.array([1.3, 1.2, 1.1])
    nothing = np.zeros_like(load)
    return Tally(load, short, nothing, nothing, billed, load, nothing, nothing, nothing + 1)


def test_a_paired_interval_encloses_the_ratio_and_needs_ten_blocks() -> None:
    rng = np.random.default_rng(1)
    interval = paired_interval((sums(20, 1.0), sums(20, 0.9)), 1.0, 100, rng)
    assert interval is not None
    assert interval.low <= 0.9 + 1e-9
    assert interval.high >= 0.9 - 1e-9
    assert paired_interval((sums(9, 1.0), sums(9, 0.9)), 1.0, 100, rng) is None


def test_an_interval_across_traces_needs_blocks_and_ratios() -> None:
    rng = np.random.default_rng(1)
    known, unknown = np.full((2, 50), 0.9), np.full((1, 50), np.nan)
    interval = mean_interval([known, known], 10, 100, rng)
    assert interval is not None
    assert (interval.low, interval.high) == (pytest.approx(0.9), pytest.approx(0.9))
    assert mean_interval([known, known], 9, 100, rng) is None
    assert mean_interval([known, unknown], 20, 100, rng) is None
    assert mean_interval([], 0, 100, rng) is None


def test_geometric_mean() -> None:
    assert geometric_mean([0.5, 2.0]) == pytest.approx(1.0)
