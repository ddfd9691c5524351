"""What is asked by hand is in force, or named and without effect."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.core.domain import UNKNOWN, Mode
from scaler.core.steering import NOTHING, OVERRIDE, ROLLBACK, SHADOW, Override, moment, override_of, read, stamp_of

NOON_S = moment("2026-09-16T12:00:00Z")


def override(**changes: Any) -> str:
    asked = {
        "replicas": 12,
        "from": "2026-09-16T11:00:00Z",
        "until": "2026-09-16T13:00:00Z",
        "reason": "sale",
        "by": "ann",
    }
    return json.dumps({k: v for k, v in {**asked, **changes}.items() if v != "absent"})


def test_an_override_is_in_force_until_it_ends() -> None:
    for now_s, replicas in ((NOON_S, 12), (NOON_S + 3599, 12), (NOON_S + 3600, UNKNOWN), (NOON_S - 3900, 12)):
        assert read({OVERRIDE: override()}, now_s).replicas == replicas
    assert "expired at 2026-09-16T13:00:00Z" in read({OVERRIDE: override()}, NOON_S + 3600).refused[0]


def test_a_mode_may_be_fixed_instead_of_replicas() -> None:
    said = read({OVERRIDE: override(replicas="absent", mode="Degraded")}, NOON_S)
    assert (said.mode, said.replicas) == (Mode.DEGRADED, UNKNOWN)
    assert str(said.override) == "mode Degraded until 2026-09-16T13:00:00Z by ann: sale"
    assert read({OVERRIDE: override()}, NOON_S).mode == UNKNOWN


def test_an_override_from_a_clock_that_is_far_ahead_waits_and_says_so() -> None:
    said = read({OVERRIDE: override()}, NOON_S - 3901)
    assert said.override is None
    assert "the clock that wrote it is ahead" in said.refused[0]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"replicas": -1}, "replicas must be a whole number"),
        ({"replicas": "12"}, "replicas must be a whole number"),
        ({"replicas": True}, "replicas must be a whole number"),
        ({"replicas": 1e9}, "replicas must be a whole number"),
        ({"until": "absent"}, "look at until"),
        ({"mode": "Normal"}, "replicas or mode: look at replicas, mode"),
        ({"replicas": "absent"}, "replicas or mode: look at replicas, mode"),
        ({"replicas": "absent", "mode": "Holding"}, "mode must be Normal or Degraded, not 'Holding'"),
        ({"replicas": "absent", "mode": 5}, "mode must be Normal or Degraded, not '5'"),
        ({"pods": 5}, "look at pods"),
        ({"reason": " "}, "the reason must be given"),
        ({"until": "2026-09-16T11:00:00Z"}, "must end after it begins"),
        ({"until": "2027-09-16T11:00:00Z"}, "within 30 days"),
        ({"until": "tomorrow"}, "must be a time such as"),
        ({"until": "2026-09-16T13:00:00"}, "must say its zone"),
        ({"until": None}, "must be a time such as"),
    ],
)
def test_an_override_that_is_none_changes_nothing_and_is_named(changes: dict[str, Any], named: str) -> None:
    said = read({OVERRIDE: override(**changes)}, NOON_S)
    assert said.override is None
    assert named in said.refused[0]


def test_other_annotations_are_understood_or_named() -> None:
    said = read({SHADOW: "true", ROLLBACK: "2026-09-16T11:00:00Z", "foresail.dev/overide": "1"}, NOON_S)
    assert (said.shadow, said.rollback_s) == (True, NOON_S - 3600)
    assert said.refused == ("foresail.dev/overide: unknown; did you mean foresail.dev/override?",)
    said = read({SHADOW: "yes", ROLLBACK: "2026-09-17T11:00:00Z"}, NOON_S)
    assert (said.shadow, said.rollback_s) == (None, -math.inf)
    assert ["is ahead" in said.refused[0], "must be" in said.refused[1]] == [True, True]
    assert read({"team": "shop"}, NOON_S) == NOTHING


def test_what_is_written_is_what_is_read() -> None:
    for fixed in (12, Mode.NORMAL):
        wanted = Override(fixed, NOON_S, NOON_S + 60, 'a "reason"', "ann")
        assert override_of(wanted.as_annotation()) == wanted
    assert stamp_of(NOON_S) == "2026-09-16T12:00:00Z"


@given(st.dictionaries(st.sampled_from([OVERRIDE, SHADOW, ROLLBACK, "foresail.dev/x"]), st.text()))
def test_no_text_breaks_anything(annotations: dict[str, str]) -> None:
    said = read(annotations, NOON_S)
    assert said.override is None
    in_force = (said.shadow is not None) + math.isfinite(said.rollback_s)
    assert len(said.refused) == len(annotations) - in_force
