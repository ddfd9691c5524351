"""From histories to an agent with its card, to one that goes on, and to refusals."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from scaler import agent_card, agent_training, command_train_agent
from scaler.agent_training import Plan, judged, mean_ratio, passes, usable
from scaler.cli import main
from scaler.core.learned import CONDITIONS, HOLD, MEMORY, MOVES, OBSERVATION
from scaler.core.simulator import trial
from scaler.core.simulator.draws import Foretold, Ranges
from scaler.core.simulator.imagined import imagined
from scaler.core.simulator.trial import AGE_EDGES, Found, cost_of, oldest, setting_at
from scaler.errors import AgentFolderError, HistoryError
from scaler.journal import Journal
from scaler.record import LAYOUT
from scaler.roster import Key
from tests.fakes import always

LESS = next(index for index, move in enumerate(MOVES) if move.log_factor < 0)
SMALL = Plan(episodes=2, seeds=1, worlds=8, episode_steps=240, trial_steps=480, settling=30, variants=2)


def told(n: int = 3) -> list[Foretold]:
    rng = np.random.default_rng(0)
    return [imagined(f"load {i}", 2.0, rng, queue=False) for i in range(n)]


@pytest.fixture(autouse=True, scope="module")
def _few_settings() -> Iterator[None]:
    """Trials that are only looked at need no fine frontiers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trial, "PRICES", trial.PRICES[::6])
        patch.setattr(trial, "MARGINS", trial.MARGINS[::8])
        yield


@pytest.fixture(scope="module")
def held() -> dict[str, Any]:
    return judged(told(), agent_training.TEST, {"agent": always(HOLD)}, SMALL)["agent"]


def test_an_agent_that_holds_is_all_but_forecast_only_where_nothing_is_hidden(held: dict[str, Any]) -> None:
    # It raises a forecast that lies below the load, and there are few of them.
    usual = held["blind"]["usual_price"]
    assert usual["agent"]["cost"] == pytest.approx(usual["forecast only"]["cost"], rel=0.01)
    assert usual["agent"]["short_pct"] <= usual["forecast only"]["short_pct"]


def test_who_knows_the_capacity_leaves_less_short(held: dict[str, Any]) -> None:
    usual = held["cpu and latency"]["usual_price"]
    assert usual["capacity known"]["short_pct"] < 0.7 * usual["forecast only"]["short_pct"]


def test_an_agent_that_is_not_surely_cheaper_does_not_pass(held: dict[str, Any]) -> None:
    assert not passes(held["blind"])
    fair = {name: {**one, "ratio": 0.9} for name, one in held["blind"]["by_history"].items()}
    better = {"ratio": 0.8, "ratio_95": [0.75, 0.85], "worlds": 20, "by_history": fair}
    assert passes(better)
    assert not passes({**better, "ratio_95": [0.75, 1.01]})
    assert not passes({**better, "worlds": 5})
    assert not passes({**better, "ratio_95": [None, None]})
    assert not passes({**better, "by_history": {**fair, "load 0": {"ratio": 1.06}}})


def test_a_seed_is_judged_by_the_mean_of_its_ratios() -> None:
    figures: dict[str, dict[str, Any]] = {condition: {"ratio": 0.9} for condition in CONDITIONS}
    assert mean_ratio(figures) == pytest.approx(0.9)
    assert mean_ratio({**figures, "cpu": {"ratio": 0.8}}) == pytest.approx(0.9 * (0.8 / 0.9) ** (1 / 3))
    assert mean_ratio({**figures, "cpu": {"ratio": None}}) == float("inf")


def test_a_history_too_short_for_an_episode_or_with_a_part_without_load_is_left_out() -> None:
    short, idle, good = told()
    idle.value[int(0.45 * len(idle.value)) : int(0.6 * len(idle.value))] = 0.0
    kept, why = usable([short.part(0.0, 0.2), idle, good], SMALL)
    assert kept == [good]
    assert [reason.partition(":")[0] for reason in why] == ["load 0", "load 1"]
    with pytest.raises(HistoryError, match=r"load 0: .* days of load are needed; load 1: no load"):
        usable([short.part(0.0, 0.2), idle], SMALL)


def found(short: list[float], cost: list[float], ages: list[list[float]]) -> Found:
    n = len(short)
    return Found(
        "x",
        np.ones(n),
        np.zeros(n),
        np.array(short)[:, None],
        np.array(cost)[:, None],
        np.zeros((n, 1)),
        np.array(ages)[:, None, :],
        np.ones(n),
    )


def test_a_cost_is_read_between_the_settings_around_a_short_share() -> None:
    frontier = found([0.02, 0.01, 0.005], [1.1, 1.2, 1.3], [[1.0, 0.0]] * 3)
    assert cost_of(frontier, np.ones(1), 1.0) == pytest.approx(1.2)
    assert 1.1 < cost_of(frontier, np.ones(1), 1.5) < 1.2
    assert np.isnan(cost_of(frontier, np.ones(1), 0.1))
    assert setting_at(frontier, np.ones(1), 1.0) == 1


def test_the_oldest_age_is_what_95_of_100_messages_stay_below() -> None:
    ages = np.zeros(186)
    ages[0], ages[10], ages[20] = 0.9, 0.06, 0.04
    young = np.zeros(186)
    young[0] = 1.0
    both = oldest(found([0.0, 0.0], [1.0, 1.0], [list(ages), list(young)]))
    assert both[0] == AGE_EDGES[11]
    assert both[1] == AGE_EDGES[1]


def card() -> dict[str, Any]:
    return {
        "family": "rate",
        "observation": list(OBSERVATION),
        "moves": [move.label for move in MOVES],
        "passed": [["rate", "cpu and latency"]],
    }


def test_a_folder_gives_back_the_agent_and_where_it_may_be_used(tmp_path: Path) -> None:
    agent_card.write(tmp_path, always(HOLD), card())
    kept = agent_card.read(tmp_path)
    assert kept.agent.act(np.zeros((2, len(OBSERVATION))), np.zeros((2, MEMORY)))[0].tolist() == [0, 0]
    assert kept.licence.passed.tolist() == [[False, False, True], [False, False, False]]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["agent.npz", "card.json"]


def test_a_service_has_an_agent_for_each_family_that_was_trained(tmp_path: Path) -> None:
    both = {"rate": LESS, "queue": HOLD}
    for family, move in both.items():
        agent_card.write(tmp_path / family, always(move), {**card(), "family": family, "passed": [[family, "cpu"]]})
    found = agent_card.in_force(tmp_path, acts=True)
    seen = np.zeros((1, len(OBSERVATION))), np.zeros((1, MEMORY))
    assert [None if one is None else int(one.act(*seen)[0][0]) for one in found.agents] == [LESS, HOLD]
    assert found.licence.passed.tolist() == [[False, True, False]] * 2
    alone = agent_card.in_force(tmp_path / "queue", acts=False)
    assert alone.agents[0] is None
    assert alone.licence.passed.tolist() == [[False] * 3, [False, True, False]]
    with pytest.raises(AgentFolderError, match=r"neither card\.json nor a folder rate or queue"):
        agent_card.in_force(tmp_path / "nowhere", acts=False)


SHIPPED = sorted(agent_card.SHIPPED.iterdir())


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
def test_a_shipped_agent_is_used_where_its_card_says_that_it_passed(folder: Path) -> None:
    kept = agent_card.read(folder)
    passed = [[folder.name, one] for one in CONDITIONS if passes(kept.card["validation"][one])]
    assert passed == kept.card["passed"] != []
    assert kept.licence.passed.tolist() == [
        [[family, one] in passed for one in CONDITIONS] for family in agent_card.FAMILIES
    ]


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
def test_a_shipped_agent_is_the_best_of_its_seeds_on_validation(folder: Path) -> None:
    card = agent_card.read(folder).card
    by_seed = {name: mean_ratio(one["validation"]) for name, one in card["seeds"].items()}
    assert len(by_seed) == 5
    assert min(by_seed, key=lambda name: by_seed[name]) == card["seed"]


@pytest.mark.parametrize("spoil", ["nothing", "observation", "json", "passed", "arrays"])
def test_a_folder_without_a_usable_agent_is_refused(tmp_path: Path, spoil: str) -> None:
    told_of = card()
    if spoil == "observation":
        told_of["observation"] = told_of["observation"][:-1]
    if spoil == "passed":
        told_of["passed"] = "rate"
    if spoil != "nothing":
        agent_card.write(tmp_path, always(HOLD), told_of)
    if spoil == "json":
        (tmp_path / "card.json").write_text("{")
    if spoil == "arrays":
        np.savez(
            tmp_path / "agent.npz", **replace(always(HOLD), last=np.zeros((MEMORY, 2)), last_bias=np.zeros(2)).arrays()
        )  # type: ignore[arg-type]
    with pytest.raises(AgentFolderError, match=str(tmp_path)):
        agent_card.read(tmp_path)


def test_training_goes_on_ends_with_a_card_and_says_where_it_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="torch trains the agent; nothing else needs it")
    monkeypatch.setattr(
        command_train_agent, "Plan", lambda *given: replace(SMALL, episodes=given[2], variants=1, trial_steps=240)
    )
    monkeypatch.setattr(command_train_agent, "_told", lambda *_: told(1))
    monkeypatch.setattr(agent_training, "IMAGINED", 1)
    out, lines = tmp_path / "agent", []
    options = {"family": "rate", "seeds": 1, "episodes": 1, "out": out}
    command_train_agent.answer(options, lines.append)
    command_train_agent.answer({**options, "episodes": 2}, lines.append)
    curve = (out / "seed-0" / "curve.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in curve] == ["episode", "1", "2"]
    kept = agent_card.read(out)
    assert set(kept.card["test"]) == {"blind", "cpu", "cpu and latency", "faulty forecasts"}
    assert kept.card["passed"] + kept.card["refused"] != []
    assert list(kept.card["seeds"]) == ["seed 0"]
    ratio = kept.card["validation"]["blind"]["ratio"]
    assert kept.card["seeds"]["seed 0"]["validation"]["blind"]["ratio"] == ratio
    assert any("worst on load" in line for line in lines)
    assert json.loads((out / "card.json").read_text())["worlds"]["wrong"] == Ranges().wrong


def test_a_journal_gives_the_loads_of_its_rates_with_their_lead_times(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite")
    journal.open()
    keys = [Key("shop", "web", "0a"), Key("shop", "mail", "0b")]
    for tick in range(1, 5):
        rows = np.zeros(2, LAYOUT)
        rows["t"], rows["step"], rows["h"] = 15.0 * tick, 15.0, 9
        rows["raw_load"], rows["arrivals"] = [10.0 * tick, 7.0], [np.nan, 3.0]
        journal.post(0, keys, rows)
    journal.flush()
    journal.close()
    (web,) = command_train_agent.journalled(tmp_path / "journal.sqlite", queue=False)
    assert (web.name, web.lead_s) == ("shop.web.0a", 120.0)
    assert web.load().values.tolist() == [10.0, 20.0, 30.0, 40.0]
    (mail,) = command_train_agent.journalled(tmp_path / "journal.sqlite", queue=True)
    assert mail.load().values.tolist() == [3.0] * 4


def test_without_histories_or_pytorch_the_command_says_what_is_needed(tmp_path: Path) -> None:
    runner = CliRunner()
    empty = runner.invoke(main, ["train", "agent", str(tmp_path), "--out", str(tmp_path / "out")])
    assert empty.exit_code == 2
    assert "no history to train on" in empty.output
    unknown = runner.invoke(main, ["train", "agent", str(tmp_path), "--only", "web", "--out", str(tmp_path / "out")])
    assert "no such history" in unknown.output
