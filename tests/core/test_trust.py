"""The ladder of modes: what is entered when, and how w grows."""

import numpy as np
import pytest

from scaler.core.domain import Mode
from scaler.core.trust import TrustRules, assess
from tests.fakes import some_observations

HOUR_S = 3600.0


def assessed(available=True, validated=True, **columns) -> tuple[Mode, float]:
    seen = some_observations(**columns)
    mode, earned = assess(seen, np.array([available]), np.array([validated]), TrustRules())
    return Mode(mode[0]), float(earned[0])


@pytest.mark.parametrize(
    ("hours", "mode", "earned"),
    [
        (0, Mode.LEARNING, 0.0),
        (5.9, Mode.LEARNING, 0.0),
        (6, Mode.RECOVERY, 0.0),
        (24, Mode.RECOVERY, 0.0),
        (29.9, Mode.RECOVERY, 0.0),
        (30, Mode.RECOVERY, 0.25),
        (36, Mode.RECOVERY, 0.5),
        (42, Mode.RECOVERY, 0.75),
        (47.9, Mode.RECOVERY, 0.75),
        (48, Mode.NORMAL, 1.0),
        (1000, Mode.NORMAL, 1.0),
    ],
)
def test_trust_grows_with_the_history_by_steps(hours, mode, earned):
    assert assessed(history_s=hours * HOUR_S) == (mode, earned)


def test_without_a_forecast_it_keeps_learning():
    assert assessed(available=False) == (Mode.LEARNING, 0.0)


def test_the_naive_forecast_never_earns_a_scale_down():
    assert assessed(validated=False) == (Mode.RECOVERY, 0.0)


@pytest.mark.parametrize(
    ("stale_s", "mode"),
    [(0, Mode.NORMAL), (59, Mode.NORMAL), (60, Mode.HOLDING), (599, Mode.HOLDING), (600, Mode.FAILED)],
)
def test_it_holds_after_a_minute_and_fails_after_ten(stale_s, mode):
    assert assessed(stale_s=stale_s)[0] is mode


@pytest.mark.parametrize(("stale_s", "mode"), [(120, Mode.NORMAL), (179, Mode.NORMAL), (180, Mode.HOLDING)])
def test_wider_steps_hold_after_three_of_them(stale_s, mode):
    assert assessed(stale_s=stale_s, step_s=60.0)[0] is mode


@pytest.mark.parametrize(("stale_s", "mode"), [(600, Mode.NORMAL), (900, Mode.HOLDING), (1800, Mode.FAILED)])
def test_steps_too_wide_for_ten_minutes_hold_before_they_fail(stale_s, mode):
    assert assessed(stale_s=stale_s, step_s=300.0)[0] is mode


def test_what_never_had_a_sample_has_failed():
    assert assessed(stale_s=np.inf, history_s=0.0, available=False)[0] is Mode.FAILED


def test_staleness_counts_before_learning_too():
    assert assessed(stale_s=90, history_s=60.0, available=False)[0] is Mode.HOLDING


def test_each_mode_has_the_word_users_read():
    assert [mode.label for mode in Mode] == [
        "Learning",
        "Recovery",
        "Normal",
        "Degraded",
        "Retraining",
        "Holding",
        "Failed",
    ]
