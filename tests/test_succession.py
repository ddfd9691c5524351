"""A model's reign: chosen, on trial beside its predecessor, taken back, aged; in simulated time."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from forecasting import catalog, ensemble
from forecasting.catalog import Models
from forecasting.forecast import FloatArray
from scaler import __version__
from scaler.archive import Archive, Fitted, name_of
from scaler.core import gate
from scaler.core.domain import Mode
from scaler.core.gate import Losses
from scaler.core.retraining import CONFIGURATION
from scaler.core.steering import CHAMPION, Choice
from scaler.core.trust import Cause, Evidence
from scaler.engine import Engine
from scaler.model_folder import ModelFolder
from scaler.push import PushedLoad
from scaler.registry import Change, Origin, Stage, champion, flattened, promote
from scaler.settings import Settings
from scaler.sources import NoCluster, Replicas
from scaler.steering_file import SteeringFile, annotate
from scaler.succession import GLARING
from tests.fakes import DAY_S, WEDNESDAY_S, history_of, some_fleet
from tests.service import Clock, FakeSource, daily, declared, loop_of, tick

HOUR_S = 3600.0
OLD_S, NEW_S = WEDNESDAY_S - 14 * HOUR_S, WEDNESDAY_S - 2 * HOUR_S
STEPS = 5
"""Of 15 s: how h = 75 s comes from a lead of 60 s."""


def unit_changed(t_s: FloatArray) -> FloatArray:
    """The same load in another unit every other half hour."""
    return daily(t_s) * np.where(t_s // 1800.0 % 2 == 0, 1000.0, 1.0)


def fitted(load: Callable[[FloatArray], FloatArray], cutoff_s: float) -> Models:
    return catalog.fit(history_of(load, 2 * DAY_S).until(cutoff_s), STEPS, averaged=False)


@pytest.fixture(scope="module")
def good() -> Models:
    return fitted(daily, OLD_S)


@pytest.fixture(scope="module")
def poisoned() -> Models:
    return fitted(unit_changed, NEW_S)


def origin(cutoff_s: float) -> Origin:
    return Origin("forecaster", WEDNESDAY_S - 2 * DAY_S, cutoff_s, CONFIGURATION, __version__, {})


class Service:
    """An engine with a registry and what is asked by hand in a folder."""

    def __init__(self, var: Path, *models: Models, **settings: object) -> None:
        self.var, self.clock, self.registry = var, Clock(), ModelFolder(var / "models")
        replicas = Replicas(NoCluster(), PushedLoad(None), SteeringFile(var))
        self.engine = Engine(
            Settings.model_validate({"fit_workers": 0, **settings}),
            FakeSource(daily),
            replicas,
            self.clock,
            archive=Archive(self.registry),
        )
        self.key = self.engine.declare(declared("web"))
        for one in models:
            given = Change(float(one.cutoff_s[0]), Stage.CHALLENGER, Evidence.VALIDATED, "given")
            both = flattened(Fitted(one, catalog.unfitted(1)))
            self.registry.register(name_of(self.key), both, origin(float(one.cutoff_s[0])), given)
        if models:
            change = Change(OLD_S, Stage.CHAMPION, Evidence.ACTIVE, "serves")
            promote(self.registry, name_of(self.key), 1, change)

    async def begin(self, first: Models) -> None:
        """Introduce the workload, and let `first` serve it."""
        await self.engine.introduce(self.key)
        fleet, row = self.engine.row_of(self.key)
        fleet.reinstate(row, (first, ensemble.initial_state(1)))
        fleet.refuse(row, WEDNESDAY_S)

    async def tick(self, steps: int = 1) -> None:
        for _ in range(steps):
            await tick(self.engine, self.clock)

    def choose(self, cutoff_s: float) -> None:
        """Force a model in by hand."""
        choice = Choice(cutoff_s, self.clock(), "because", "ann")
        annotate(self.var, str(self.key), {CHAMPION: choice.as_annotation()})

    async def settled(self) -> None:
        await self.engine.archive.drained()
        while self.engine.succession._wanted:
            await self.engine.archive.fetch(self.key, 0.0)

    @property
    def serving_s(self) -> float:
        fleet, row = self.engine.row_of(self.key)
        return float(fleet.models.cutoff_s[row])


async def test_a_poisoned_model_that_was_forced_in_is_taken_back_within_half_an_hour(
    tmp_path: Path, good: Models, poisoned: Models
) -> None:
    service = Service(tmp_path, good, poisoned)
    async with loop_of(service.engine):
        await service.begin(good)
        await service.tick(4)
        service.choose(NEW_S)
        await service.tick()
        await service.settled()
        assert service.serving_s == NEW_S
        forced_s = service.clock()
        while service.serving_s == NEW_S and service.clock() < forced_s + HOUR_S:
            await service.tick()
        assert service.serving_s == OLD_S
        assert service.clock() - forced_s <= 1800.0
        assert service.engine.succession.counters.rollbacks == 1
        await service.settled()
        facts = service.engine.succession.facts(service.key)
        # It was chosen before it failed: that choice is in force no more.
        await service.tick(8)
        assert service.serving_s == OLD_S
    versions = service.registry.versions(name_of(service.key))
    assert [(one.stage, one.evidence) for one in versions] == [
        (Stage.CHAMPION, Evidence.ACTIVE),
        (Stage.RETIRED, Evidence.ROLLED_BACK),
    ]
    assert "its predecessor's" in versions[1].changes[-1].why
    assert [fact.reason for fact in facts] == ["ModelPromoted", "ModelRolledBack"]


async def test_what_was_rolled_back_is_not_fitted_or_chosen_again_after_a_restart(
    tmp_path: Path, good: Models, poisoned: Models
) -> None:
    service = Service(tmp_path, good, poisoned)
    name = name_of(service.key)
    service.choose(NEW_S)
    failed = Change(WEDNESDAY_S, Stage.RETIRED, Evidence.ROLLED_BACK, "worse")
    service.registry.move(name, {2: failed})
    async with loop_of(service.engine):
        await service.engine.introduce(service.key)
        await service.tick(3)
        await service.settled()
        fleet, row = service.engine.row_of(service.key)
        assert service.serving_s != NEW_S
        assert fleet.due_cutoff_s(row, NEW_S + 120.0) != NEW_S


async def test_a_rollback_by_hand_takes_effect_at_the_next_tick(tmp_path: Path, good: Models) -> None:
    newer = replace(good, cutoff_s=np.array([int(NEW_S)]))
    service = Service(tmp_path, good)
    async with loop_of(service.engine):
        await service.begin(good)
        await service.tick(2)
        fleet, row = service.engine.row_of(service.key)
        before = fleet.voice(row)
        fleet.reinstate(row, (newer, ensemble.initial_state(1)))
        service.engine.succession.crowned(service.key, before, service.clock())
        await service.tick(4)
        assert service.serving_s == NEW_S
        service.choose(OLD_S)
        await service.tick()
        posted = service.engine.board.answer(service.key)
        assert posted.decisions.version[posted.row] == OLD_S


async def test_a_choice_that_is_not_kept_changes_nothing_and_is_told(tmp_path: Path, good: Models) -> None:
    service = Service(tmp_path, good)
    async with loop_of(service.engine):
        await service.begin(good)
        await service.tick(2)
        service.choose(OLD_S - 7200.0)
        await service.tick()
        await service.settled()
        await service.tick()
        assert service.serving_s == OLD_S
        told = service.engine.succession.facts(service.key)
    assert any("is kept: what serves stays" in fact.message for fact in told)


async def test_a_model_as_good_as_its_predecessor_stays_and_becomes_active(tmp_path: Path, good: Models) -> None:
    newer = replace(good, cutoff_s=np.array([int(NEW_S)]))
    service = Service(tmp_path, good, newer, canary_ratio=0.2)
    async with loop_of(service.engine):
        await service.begin(good)
        service.choose(NEW_S)
        await service.tick(2)
        await service.settled()
        fleet, row = service.engine.row_of(service.key)
        assert service.engine.succession.on_trial(service.key)
        assert fleet.columns.canary[row] == 0.2
        await service.tick(4 * 330)
        assert not service.engine.succession.on_trial(service.key)
        assert np.isinf(fleet.columns.canary[row])
        assert service.serving_s == NEW_S
        await service.settled()
    serving = champion(service.registry.versions(name_of(service.key)))
    assert serving is not None
    assert [change.evidence for change in serving.changes] == [
        Evidence.VALIDATED,
        Evidence.VALIDATED,
        Evidence.ACTIVE,
    ]


async def test_an_expired_model_serves_degraded_until_it_is_replaced(tmp_path: Path, good: Models) -> None:
    old_s = WEDNESDAY_S - 73 * HOUR_S
    service = Service(tmp_path, replace(good, cutoff_s=np.array([int(old_s)])))
    async with loop_of(service.engine):
        await service.begin(replace(good, cutoff_s=np.array([int(old_s)])))
        await service.tick(4)
        posted = service.engine.board.answer(service.key)
        made, row = posted.decisions, posted.row
        assert posted.mode is Mode.DEGRADED
        assert Cause(made.cause[row]) is Cause.EXPIRED
        assert made.proposal[row] == made.reactive[row]
        service.engine.succession.age(service.key, service.clock(), service.engine.settings.trust)
        fleet, at = service.engine.row_of(service.key)
        fleet.reinstate(at, (replace(good, cutoff_s=np.array([int(NEW_S)])), ensemble.initial_state(1)))
        await service.tick()
        assert service.engine.board.answer(service.key).mode is not Mode.DEGRADED
        await service.settled()
    kept = service.registry.versions(name_of(service.key))
    assert kept[0].evidence is Evidence.EXPIRED


def unrolled() -> Losses:
    """Nothing known of replayed days."""
    return Losses(*np.full((3, 1), np.nan), np.zeros(1, np.int64))


def test_the_gate_refuses_a_challenger_that_does_worse_and_says_by_how_much(good: Models, poisoned: Models) -> None:
    history, fleet = history_of(daily, 2 * DAY_S), some_fleet(h=STEPS, lead_s=60.0, capacity=70.0)
    contest = gate.judge(history, fleet, (poisoned, unrolled()), good, np.array([True]))
    assert gate.Verdict(int(contest.verdict[0])) is gate.Verdict.WORSE_THAN_CHAMPION
    assert not contest.passed[0]
    assert contest.challenger[0] > GLARING * contest.champion[0]
    assert contest.shared[0] > gate.LEAST
    # The champion as its own challenger is no worse than itself.
    assert gate.judge(history, fleet, (good, unrolled()), good, np.array([True])).passed[0]


def test_a_challenger_of_another_kind_is_fitted_up_to_the_champions_cutoff(good: Models) -> None:
    history, fleet = history_of(daily, 2 * DAY_S), some_fleet(h=STEPS, lead_s=60.0, capacity=70.0)
    contest = gate.judge(history, fleet, (good, unrolled()), good, np.array([False]))
    # Its kind fitted so far is the champion itself.
    assert contest.challenger[0] == contest.champion[0]
    assert contest.passed[0]


def test_a_forecaster_that_seasonal_naive_beats_is_refused(good: Models) -> None:
    history, fleet = history_of(daily, 2 * DAY_S), some_fleet(h=STEPS, lead_s=60.0, capacity=70.0)
    moment_s = OLD_S + 60.0 * np.arange(1, 14 * 60 + 1)
    for factor, verdict in ((1.01, gate.Verdict.PASSED), (3.0, gate.Verdict.WORSE_THAN_NAIVE)):
        said = factor * np.repeat(daily(moment_s + 60.0)[:, None], 5, axis=1)
        days = gate.rolled(history, fleet, good, moment_s, said)
        assert days.windows[0] > 200
        contest = gate.judge(history, fleet, (good, days), catalog.unfitted(1), np.array([True]))
        assert gate.Verdict(int(contest.verdict[0])) is verdict
    assert days.one[0] > days.other[0]


def test_a_champion_whose_cutoff_is_now_cannot_be_judged_and_keeps_nobody_out(good: Models) -> None:
    history, fleet = history_of(daily, 2 * DAY_S), some_fleet(h=STEPS, lead_s=60.0, capacity=70.0)
    newest = replace(good, cutoff_s=np.array([int(WEDNESDAY_S)]))
    contest = gate.judge(history, fleet, (good, unrolled()), newest, np.array([True]))
    assert contest.passed[0]
    assert contest.shared[0] == 0
    days = gate.rolled(history, fleet, newest, np.array([WEDNESDAY_S]), np.full((1, 5), 1.0))
    assert days.windows[0] == 0


def test_a_loss_that_one_bad_hour_makes_refuses_nobody(good: Models) -> None:
    history, fleet = history_of(daily, 2 * DAY_S), some_fleet(h=STEPS, lead_s=60.0, capacity=70.0)
    moment_s = OLD_S + 60.0 * np.arange(1, 14 * 60 + 1)
    said = 1.01 * np.repeat(daily(moment_s + 60.0)[:, None], 5, axis=1)
    said[300:360] *= 6.0
    days = gate.rolled(history, fleet, good, moment_s, said)
    assert days.one[0] > 1.1 * days.other[0]
    assert gate.judge(history, fleet, (good, days), catalog.unfitted(1), np.array([True])).passed[0]
