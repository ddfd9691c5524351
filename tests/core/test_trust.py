"""The ladder: every line of its table, what each fact leads to, and how w is lost and earned again."""

from dataclasses import replace

import numpy as np
import pytest

from forecasting import drift
from scaler.core.domain import Mode
from scaler.core.plausibility import Doubt
from scaler.core.trust import (
    DOUBTS,
    DRIFT,
    LABELS,
    NEXT_MODE,
    TRANSITIONS,
    Cause,
    Evidence,
    Facts,
    TrustRules,
    initial_state,
    refit_due_s,
    step,
)
from tests.fakes import DAY_S, WEDNESDAY_S

HOUR_S, STEP_S = 3600.0, 60.0
RULES = TrustRules()
CALM = Facts(
    t_s=WEDNESDAY_S,
    step_s=STEP_S,
    elapsed_s=STEP_S,
    stale_s=np.zeros(1),
    history_s=np.full(1, 8 * DAY_S),
    available=np.array([True]),
    validated=np.array([True]),
    fitted_s=np.array([int(WEDNESDAY_S - HOUR_S)]),
    drift=drift.no_drift(1),
    doubt=np.zeros(1, np.int64),
)


def facts(**changes) -> Facts:
    return replace(CALM, **{name: np.array([v]) if name != "step_s" else v for name, v in changes.items()})


def drifted(part: drift.Part, score: float = 0.5):
    parts = drift.no_drift(1)[0]
    parts[part] = score
    return {"drift": parts}


class Ladder:
    """One workload, tick by tick; a model is refitted whenever one is due."""

    def __init__(self, refits=True):
        self.t_s, self.state, self.refits = WEDNESDAY_S, initial_state(1), refits
        self.fitted_s, self.earned = int(WEDNESDAY_S - HOUR_S), 0.0
        self.path: list[tuple[Mode, Cause]] = []

    def live(self, seconds=0.0, **changes):
        for _ in range(max(round(seconds / STEP_S), 1)):
            due_s = float(refit_due_s(self.state, RULES)[0])
            if self.refits and (self.t_s - self.fitted_s > DAY_S or self.fitted_s < due_s <= self.t_s):
                self.fitted_s = int(self.t_s)
            seen = replace(facts(**{"fitted_s": self.fitted_s, **changes}), t_s=self.t_s)
            earned, self.state = step(seen, self.state, RULES)
            self.earned = float(earned[0])
            if not self.path or self.path[-1][0] != self.mode:
                self.path.append((self.mode, Cause(self.state.cause[0])))
            self.t_s += STEP_S
        return self

    @property
    def mode(self) -> Mode:
        return Mode(self.state.mode[0])

    @property
    def evidence(self) -> Evidence:
        return Evidence(self.state.evidence[0])

    @property
    def modes(self) -> list[Mode]:
        return [mode for mode, _ in self.path]


def normal() -> Ladder:
    ladder = Ladder().live(120)
    assert ladder.mode is Mode.NORMAL
    ladder.path.clear()
    return ladder


def test_each_line_of_the_table_is_reached_and_no_two_disagree():
    seen = {}
    for move in TRANSITIONS:
        for cause in move.causes:
            for mode in move.entered_from:
                assert (mode, cause) not in seen
                seen[mode, cause] = move.to
    assert set(LABELS) == set(Cause)
    assert {cause for _, cause in seen} == set(Cause) - {Cause.NONE, Cause.PINNED}
    assert all(NEXT_MODE[mode, cause] == to for (mode, cause), to in seen.items())


def test_every_drift_and_doubt_has_its_cause():
    assert [DRIFT[part] for part in drift.Part] == list(range(Cause.LEVEL, Cause.CHANGE + 1))
    assert [DOUBTS[doubt] for doubt in (Doubt.JUMP, Doubt.UNIT)] == [Cause.JUMP, Cause.UNIT]


def test_only_what_was_earned_reaches_normal():
    into_normal = {mode for mode in Mode for cause in Cause if NEXT_MODE[mode, cause] == Mode.NORMAL} - {Mode.NORMAL}
    assert into_normal == {Mode.RECOVERY, Mode.HOLDING}


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
    ladder = Ladder().live(120, history_s=hours * HOUR_S)
    assert (ladder.mode, ladder.earned) == (mode, earned)


def test_without_a_forecast_it_keeps_learning():
    assert Ladder().live(120, available=False).modes == [Mode.LEARNING]


def test_the_naive_forecast_never_earns_a_scale_down():
    ladder = Ladder().live(DAY_S, validated=False, fitted_s=0)
    assert (ladder.mode, ladder.earned) == (Mode.RECOVERY, 0.0)


@pytest.mark.parametrize(
    ("stale_s", "step_s", "mode"),
    [
        (59, 15.0, Mode.NORMAL),
        (60, 15.0, Mode.HOLDING),
        (599, 15.0, Mode.HOLDING),
        (600, 15.0, Mode.FAILED),
        (179, 60.0, Mode.NORMAL),
        (180, 60.0, Mode.HOLDING),
        (899, 300.0, Mode.NORMAL),
        (900, 300.0, Mode.HOLDING),
        (1800, 300.0, Mode.FAILED),
    ],
)
def test_silence_is_held_and_then_failed(stale_s, step_s, mode):
    assert normal().live(stale_s=stale_s, step_s=step_s).mode is mode


def test_what_never_had_a_sample_has_failed_and_lost_nothing():
    ladder = Ladder().live(stale_s=np.inf, history_s=0.0, available=False)
    assert ladder.mode is Mode.FAILED
    assert ladder.live(180).modes == [Mode.FAILED, Mode.RECOVERY, Mode.NORMAL]


def test_a_gap_that_was_bridged_costs_nothing():
    ladder = normal().live(300, stale_s=240).live()
    assert ladder.path == [(Mode.HOLDING, Cause.STALE), (Mode.NORMAL, Cause.EARNED)]
    assert ladder.earned == 1.0


def test_after_an_outage_it_is_normal_again_within_two_hours():
    ladder = normal().live(600, stale_s=300).live(6600, stale_s=3600).live(60)
    assert (ladder.mode, ladder.earned) == (Mode.RECOVERY, 0.0)
    ladder.live(1200)
    assert ladder.earned == 0.25
    ladder.live(3600)
    assert ladder.modes == [Mode.HOLDING, Mode.FAILED, Mode.RECOVERY, Mode.NORMAL]


@pytest.mark.parametrize("part", drift.Part)
def test_a_drift_degrades_at_once_and_is_forgiven_within_two_days(part):
    ladder = normal().live(**drifted(part))
    assert ladder.path == [(Mode.DEGRADED, DRIFT[part])]
    assert ladder.earned == 0.0
    assert ladder.evidence is Evidence.ROLLED_BACK
    ladder.live(2 * DAY_S)
    assert ladder.modes == [Mode.DEGRADED, Mode.RECOVERY, Mode.NORMAL]
    assert ladder.evidence is Evidence.ACTIVE


def test_a_score_below_the_alarm_changes_nothing():
    assert normal().live(**drifted(drift.Part.SEASON, 0.299)).modes == [Mode.NORMAL]


def test_w_is_earned_again_by_steps_of_three_hours():
    ladder = normal().live(**drifted(drift.Part.LEVEL)).live(3 * HOUR_S + 120)
    assert ladder.mode is Mode.RECOVERY
    steps = []
    for _ in range(4):
        ladder.live(3 * HOUR_S)
        steps.append(ladder.earned)
    assert steps == [0.25, 0.5, 0.75, 1.0]


def test_until_a_new_model_is_there_it_is_retraining():
    ladder = normal()
    ladder.refits = False
    ladder.live(**drifted(drift.Part.SEASON)).live(7 * HOUR_S)
    assert ladder.path == [(Mode.DEGRADED, Cause.SEASON), (Mode.RETRAINING, Cause.REFIT)]
    assert ladder.evidence is Evidence.GENERATED
    ladder.fitted_s = int(ladder.t_s)
    assert ladder.live().path[-1] == (Mode.RECOVERY, Cause.TRIAL)
    assert ladder.evidence is Evidence.VALIDATED


def test_an_outage_does_not_make_a_drift_forgotten():
    ladder = normal().live(**drifted(drift.Part.LEVEL)).live(HOUR_S, stale_s=900).live()
    assert ladder.path[-1] == (Mode.DEGRADED, Cause.UNSETTLED)
    ladder.live(6 * HOUR_S).live(HOUR_S, stale_s=900).live(2 * HOUR_S)
    assert (ladder.mode, ladder.earned) == (Mode.RECOVERY, 0.0)


@pytest.mark.parametrize(("doubt", "cause"), DOUBTS.items())
def test_a_doubt_degrades_while_it_lasts(doubt, cause):
    ladder = normal().live(300, doubt=int(doubt)).live(2 * HOUR_S)
    assert ladder.path == [(Mode.DEGRADED, cause), (Mode.RECOVERY, Cause.TRIAL), (Mode.NORMAL, Cause.EARNED)]


def test_a_frozen_sensor_is_held_however_long():
    ladder = normal().live(3 * HOUR_S, doubt=int(Doubt.FROZEN), stale_s=3600).live()
    assert ladder.path == [(Mode.HOLDING, Cause.FROZEN), (Mode.NORMAL, Cause.EARNED)]


def test_a_model_that_nobody_refits_ages_and_expires():
    ladder = normal()
    ladder.refits = False
    ladder.live(36 * HOUR_S)
    assert (ladder.mode, ladder.evidence) == (Mode.NORMAL, Evidence.EXPIRING)
    ladder.live(36 * HOUR_S)
    assert ladder.path[-1] == (Mode.DEGRADED, Cause.EXPIRED)
    assert ladder.evidence is Evidence.EXPIRED


def test_of_several_events_the_most_urgent_counts():
    everything = {**drifted(drift.Part.LEVEL), "doubt": int(Doubt.UNIT)}
    assert normal().live(**everything).path == [(Mode.DEGRADED, Cause.UNIT)]
    assert normal().live(**everything, stale_s=200).path == [(Mode.HOLDING, Cause.STALE)]
    assert normal().live(**everything, stale_s=600).path == [(Mode.FAILED, Cause.SILENT)]


def test_workloads_side_by_side_stand_where_they_would_alone():
    rng = np.random.default_rng(0)
    n, state, alone = 40, initial_state(40), initial_state(1)
    for tick in range(300):
        seen = Facts(
            WEDNESDAY_S + tick * STEP_S,
            STEP_S,
            STEP_S,
            rng.choice([0.0, 0.0, 0.0, 300.0, 900.0], n),
            np.full(n, 8 * DAY_S),
            rng.random(n) < 0.95,
            rng.random(n) < 0.95,
            rng.choice([0, int(WEDNESDAY_S), int(WEDNESDAY_S + tick * STEP_S)], n),
            rng.random((n, len(drift.Part))) ** 20,
            rng.choice([0, 0, 0, 0, 1, 2, 3], n),
        )
        one = Facts(seen.t_s, STEP_S, STEP_S, *(getattr(seen, name)[7:8] for name in Facts.__slots__[3:]))
        earned, state = step(seen, state, RULES)
        by_itself, alone = step(one, alone, RULES)
        assert earned[7] == by_itself[0]
        for name in type(state).__slots__:
            assert getattr(state, name)[7:8].tobytes() == getattr(alone, name).tobytes(), name


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
