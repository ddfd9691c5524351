"""The benchmarks of the shipped agent, in small: bad forecasts, and days with a hidden capacity.

A hundredth of the bad forecasts: six generated loads instead of a hundred recorded ones, and three hours instead of a
day.
"""

import numpy as np
import pytest

from benchmarks import agent_long
from benchmarks.agent_adversary import (
    CHANGES,
    EVILS,
    FIRST_HOUR,
    SHORT,
    Lived,
    Suffered,
    failures,
    interval,
    lines_of,
    suffered,
)
from scaler import agent_card
from scaler.core.simulator.draws import Foretold
from scaler.core.simulator.imagined import imagined

NO_PEAKS = next(at for at, evil in enumerate(EVILS) if evil.name == "no peaks")
TOO_LOW = next(at for at, evil in enumerate(EVILS) if evil.name == "a third too low")


@pytest.fixture(scope="module")
def told() -> list[Foretold]:
    rng = np.random.default_rng(5)
    return [imagined(f"load {index}", 2.0, rng, queue=False) for index in range(6)]


@pytest.fixture(scope="module")
def found(told: list[Foretold]) -> Suffered:
    return suffered(told, agent_card.read(agent_card.SHIPPED / "rate").agent, seeds=1, day=3 * 60)


def test_the_agent_leaves_hardly_more_short_than_the_rule_whatever_is_forecast(found: Suffered) -> None:
    assert not list(failures(found))


def test_bad_forecasts_hurt_those_that_believe_them(found: Suffered) -> None:
    believes = found.day.short_pct[1]
    assert believes[TOO_LOW].mean() > believes[0].mean() + 1.0
    assert np.array_equal(found.day.short_pct[2, 0], found.day.short_pct[2, NO_PEAKS])


def test_the_table_has_a_row_for_every_evil(found: Suffered) -> None:
    rows = list(lines_of(found))[2:]
    assert [row.split("|")[1].strip() for row in rows] == [evil.name for evil in EVILS]


def test_an_agent_that_leaves_too_much_short_is_named() -> None:
    fine = np.zeros((3, len(EVILS), 4))
    short, early = fine.copy(), fine.copy()
    short[0, TOO_LOW] = SHORT + 0.1
    early[0, NO_PEAKS] = FIRST_HOUR + 0.1
    named = list(failures(Suffered(Lived(early, fine, fine), Lived(short, fine, fine))))
    assert [text.split(":")[0] for text in named] == ["a third too low", "no peaks"]


def test_an_agent_that_changes_the_count_more_often_than_forecasts_alone_is_named() -> None:
    fine = np.zeros((3, len(EVILS), 4))
    restless = fine.copy()
    restless[:2, TOO_LOW] = 5.0
    restless[0, NO_PEAKS] = CHANGES + 0.1
    named = list(failures(Suffered(Lived(fine, fine, fine), Lived(fine, fine, restless))))
    assert named == ["no peaks: 0.20 changes per hour, 0.00 by forecasts alone"]


def test_an_interval_holds_the_mean() -> None:
    low, high = interval(np.arange(50.0))
    assert low < 24.5 < high
    assert high - low == pytest.approx(2 * 1.96 * np.arange(50.0).std() / np.sqrt(50), rel=0.1)


def test_who_learns_or_is_told_the_capacity_stands_beside_the_agent(
    told: list[Foretold], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_long, "PRICES", agent_long.PRICES[::4])
    short = imagined("too short", 0.2, np.random.default_rng(1), queue=False)
    names, found = agent_long.compared([*told[:2], short], agent_card.read(agent_card.SHIPPED / "rate").agent, day=60)
    assert names == ["load 0", "load 1"]
    learnt, _, known, agent = found
    assert [one.cost.shape for one in (learnt, known, agent)] == [(4, 4)] * 3
    assert not np.array_equal(agent.cost, learnt.cost)
    assert not np.array_equal(known.cost, learnt.cost)
    assert sum(line.startswith("| ") for line in agent_long.lines_of(names, found)) == 5
