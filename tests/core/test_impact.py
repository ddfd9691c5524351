"""What prediction changed is known in simulated weeks: the interval covers it, or none is given."""

import os
from dataclasses import replace

import numpy as np
import pytest

from scaler.core import impact
from scaler.core.domain import UNKNOWN
from scaler.core.impact import Arm, Effect, Impact, Logged
from scaler.core.simulator.score import Interval
from tests.core.weeks import Truth, Weeks, lived

EVIDENCE = os.environ.get("FORESAIL_EVIDENCE") == "1"
RUNS, DAYS = (100, 7.0) if EVIDENCE else (3, 2.6)


@pytest.fixture(scope="module")
def weeks() -> Truth:
    return lived(Weeks(RUNS, DAYS))


def odd(logged: Logged) -> list[Logged]:
    """The same week with a gap, with other replicas than were decided, and with replicas that nobody saw."""
    load = logged.load.copy()
    load[5000:9000] = np.nan
    unseen = np.full_like(logged.ran, UNKNOWN)
    return [replace(logged, load=load), replace(logged, ran=2 * logged.ran), replace(logged, ran=unseen)]


@pytest.fixture(scope="module")
def found(weeks: Truth) -> list[Impact]:
    """Of all weeks, then of the odd ones."""
    return impact.impacts([*weeks.logged, *odd(weeks.logged[0])])


def covered(effects: list[Effect], found: list[Impact]) -> tuple[int, int]:
    """In how many runs the intervals hold what is true: of the replica-hours, of the short load."""
    both = [(true, one.against_rule) for true, one in zip(effects, found, strict=True)]
    assert all(said.saved is not None and said.less is not None for _, said in both)
    return (
        sum(said.saved.low <= true.saved_pct <= said.saved.high for true, said in both if said.saved),
        sum(said.less.low <= true.less_short <= said.less.high for true, said in both if said.less),
    )


def test_the_intervals_cover_what_is_true_in_85_of_100_weeks(weeks: Truth, found: list[Impact]) -> None:
    assert min(covered(weeks.effects, found[:RUNS])) >= 0.85 * RUNS
    if EVIDENCE:
        saved = float(np.mean([one.saved_pct for one in weeks.effects]))
        less = float(np.mean([one.less_short for one in weeks.effects]))
        in_the_long_run = replace(weeks.effects[0], saved_pct=saved, less_short=less)
        assert min(covered([in_the_long_run] * RUNS, found[:RUNS])) >= 0.85 * RUNS


def test_what_ran_is_recognised_and_a_start_up_is_fitted(weeks: Truth, found: list[Impact]) -> None:
    assert {one.resembles for one in found[:RUNS]} == {Arm.DECIDED}
    for one, logged in zip(found[:RUNS], weeks.logged, strict=True):
        assert one.ran_hours == pytest.approx(float(one.figures.replica_hours[Arm.DECIDED]), rel=0.02)
        # Median 138 s, one pod in ten three times as slow: a mean of 174 s, less those that were given up.
        assert 110.0 <= logged.workload.lead_s <= 200.0


def test_gaps_are_not_scored_and_what_resembles_nothing_is_said_to(found: list[Impact]) -> None:
    whole, (holed, elsewhere, unseen) = found[0], found[RUNS:]
    assert whole.days - holed.days == pytest.approx(4000 * 15.0 / 86_400.0)
    assert elsewhere.resembles is None
    assert unseen.resembles is Arm.DECIDED
    assert np.isnan(unseen.ran_hours)


def test_under_ten_blocks_there_is_no_interval(weeks: Truth) -> None:
    n = round(0.6 * 86_400.0 / 15.0)
    names = ("t_s", "load", "forecast", "decided", "agent", "price", "ran")
    short = replace(weeks.logged[0], **{name: getattr(weeks.logged[0], name)[:n] for name in names})
    (few,) = impact.impacts([short])
    assert few.blocks == 3
    assert (few.against_rule.saved, few.against_rule.less) == (None, None)
    assert np.isfinite(few.against_rule.saved_pct)


def test_too_few_pods_or_unread_counts_fit_no_start_up() -> None:
    up = np.repeat(np.arange(1, 30), 10)
    assert impact.mean_start_up_s(up, np.concatenate([up[:4], up[:-4]]), 15.0) == pytest.approx(60.0, rel=0.05)
    assert impact.mean_start_up_s(up, up, 15.0) is None
    assert impact.mean_start_up_s(up[:50], up[:50] - 1, 15.0) is None
    assert impact.mean_start_up_s(np.full(99, UNKNOWN), np.full(99, UNKNOWN), 15.0) is None


def test_the_interval_of_the_short_load_holds_for_either_capacity() -> None:
    thought, smaller = (
        Effect(20.0, Interval(18.0, 22.0), less, Interval(less - 0.2, less + 0.1)) for less in (-0.2, -2.1)
    )
    told = impact.either([thought, smaller])
    assert (told.saved, told.less_short) == (thought.saved, -0.2)
    assert told.less == Interval(pytest.approx(-2.3), pytest.approx(-0.1))
    assert impact.either([replace(thought, less=None), smaller]).less is None
