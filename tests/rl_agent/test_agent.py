"""What serves a policy: NumPy, row by row the same, without chance."""

import numpy as np
import pytest

from rl_agent.agent import Agent, agent_from
from rl_agent.errors import AgentArraysError


def some_agent(seed: int = 0) -> Agent:
    rng = np.random.default_rng(seed)
    widths = [(6, 8), (8, 8), (8, 4)]
    return Agent(
        tuple(rng.standard_normal(width) for width in widths), tuple(rng.standard_normal(width[1]) for width in widths)
    )


def test_a_row_is_the_same_alone_and_among_many_bit_for_bit() -> None:
    agent, observed = some_agent(), np.random.default_rng(1).standard_normal((500, 6))
    together = agent.probabilities(observed)
    for row in (0, 63, 64, 499):
        assert np.array_equal(agent.probabilities(observed[row : row + 1])[0], together[row])


def test_probabilities_are_those_of_the_layers_by_hand() -> None:
    agent = Agent((np.array([[1.0]]), np.array([[0.0, 2.0]])), (np.array([0.5]), np.array([0.0, -1.0])))
    odds = np.exp([0.0, 2.0 * np.tanh(2.0 + 0.5) - 1.0])
    assert agent.probabilities(np.array([[2.0]]))[0] == pytest.approx(odds / odds.sum())


def test_the_likeliest_action_is_taken() -> None:
    agent, observed = some_agent(), np.random.default_rng(2).standard_normal((70, 6))
    assert np.array_equal(agent.act(observed), agent.probabilities(observed).argmax(axis=1))


def test_nobody_asks_and_nobody_is_answered() -> None:
    assert some_agent().act(np.zeros((0, 6))).shape == (0,)


def test_arrays_make_the_same_agent() -> None:
    agent, observed = some_agent(), np.ones((3, 6))
    assert np.array_equal(agent_from(agent.arrays()).probabilities(observed), agent.probabilities(observed))


@pytest.mark.parametrize("spoil", ["missing", "shape", "nan", "empty"])
def test_arrays_that_are_no_agent_are_refused(spoil: str) -> None:
    arrays = some_agent().arrays()
    if spoil == "missing":
        del arrays["bias.1"]
    elif spoil == "shape":
        arrays["weight.1"] = np.zeros((3, 8))
    elif spoil == "nan":
        arrays["weight.0"][0, 0] = np.nan
    else:
        arrays = {}
    with pytest.raises(AgentArraysError, match="no agent"):
        agent_from(arrays)
