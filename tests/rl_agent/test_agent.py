"""What serves a policy: NumPy, row by row the same, without chance."""

import numpy as np
import pytest

from rl_agent.agent import Agent, agent_from
from rl_agent.environment import FloatArray
from rl_agent.errors import AgentArraysError

N, M, A = 6, 8, 4


def some_agent(seed: int = 0) -> Agent:
    rng = np.random.default_rng(seed)
    layers = [(N, M), (M, 3 * M), (M, 3 * M), (M, A)]
    return Agent(*(rng.standard_normal(shape) for layer in layers for shape in (layer, layer[1:])))


def some_rows(n: int, seed: int = 1) -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, N)), np.tanh(rng.standard_normal((n, M)))


def test_a_row_is_the_same_alone_and_among_many_bit_for_bit() -> None:
    agent, (observed, memory) = some_agent(), some_rows(500)
    together = agent.logits(observed, memory)
    for row in (0, 63, 64, 499):
        alone = agent.logits(observed[row : row + 1], memory[row : row + 1])
        assert all(np.array_equal(one[0], all_[row]) for one, all_ in zip(alone, together, strict=True))


def test_memory_and_logits_are_those_of_the_gates_by_hand() -> None:
    def row(*values: float) -> FloatArray:
        return np.array([values])

    def sigmoid(x: float) -> float:
        return float(1.0 / (1.0 + np.exp(-x)))

    seen, kept = row(1.0, -1.0, 2.0), row(0.5, 1.5, -1.0)
    agent = Agent(
        row(1.0), np.array([0.5]), seen, np.array([0.1, 0.2, 0.3]), kept, np.zeros(3), row(0.0, 2.0), row(0.0, -1.0)[0]
    )
    logits, after = agent.logits(row(2.0), row(0.4))
    looked = np.tanh(2.0 + 0.5)
    reset, update = sigmoid(looked + 0.1 + 0.5 * 0.4), sigmoid(-looked + 0.2 + 1.5 * 0.4)
    news = np.tanh(2.0 * looked + 0.3 + reset * -1.0 * 0.4)
    assert after[0, 0] == pytest.approx((1.0 - update) * news + update * 0.4)
    assert logits[0] == pytest.approx([0.0, 2.0 * after[0, 0] - 1.0])


def test_the_likeliest_action_is_taken() -> None:
    agent, (observed, memory) = some_agent(), some_rows(70)
    action, after = agent.act(observed, memory)
    logits, same = agent.logits(observed, memory)
    assert np.array_equal(action, logits.argmax(axis=1))
    assert np.array_equal(after, same)


def test_nobody_asks_and_nobody_is_answered() -> None:
    action, after = some_agent().act(*some_rows(0))
    assert (action.shape, after.shape) == ((0,), (0, M))


def test_arrays_make_the_same_agent() -> None:
    agent, rows = some_agent(), some_rows(3)
    assert np.array_equal(agent_from(agent.arrays()).logits(*rows)[0], agent.logits(*rows)[0])


@pytest.mark.parametrize("spoil", ["missing", "shape", "nan", "empty", "number"])
def test_arrays_that_are_no_agent_are_refused(spoil: str) -> None:
    arrays = some_agent().arrays()
    if spoil == "missing":
        del arrays["kept_bias"]
    elif spoil == "shape":
        arrays["kept"] = np.zeros((3, 8))
    elif spoil == "nan":
        arrays["first"][0, 0] = np.nan
    elif spoil == "number":
        arrays["first"] = np.array(1.0)
    else:
        arrays = {}
    with pytest.raises(AgentArraysError, match="no agent"):
        agent_from(arrays)
