"""A trained policy, served: observations and memories in, one discrete action each and new memories out. NumPy only.

The likeliest action is taken, without chance, so that replicas of the service agree.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from rl_agent.environment import FloatArray, IntArray
from rl_agent.errors import AgentArraysError

TILE = 64
"""Rows of a matrix product: always as many, so that a row's bits do not depend on its neighbours."""


@dataclass(frozen=True, slots=True)
class Agent:
    """A layer, a gated recurrent unit (arXiv:1406.1078) whose state is the memory, and a layer on it.

    The gates' columns are those of reset, update and news, M each.
    """

    first: FloatArray
    """(O, M)"""
    first_bias: FloatArray
    """(M,)"""
    seen: FloatArray
    """Gates of what is seen, (M, 3·M)."""
    seen_bias: FloatArray
    """(3·M,)"""
    kept: FloatArray
    """Gates of what is remembered, (M, 3·M)."""
    kept_bias: FloatArray
    """(3·M,)"""
    last: FloatArray
    """(M, A)"""
    last_bias: FloatArray
    """(A,)"""

    @property
    def n_observed(self) -> int:
        """Length of an observation."""
        return int(self.first.shape[0])

    @property
    def n_memory(self) -> int:
        """Length of a memory."""
        return int(self.first.shape[1])

    @property
    def n_actions(self) -> int:
        """Number of actions."""
        return len(self.last_bias)

    def act(self, observation: FloatArray, memory: FloatArray) -> tuple[IntArray, FloatArray]:
        """The likeliest action of each row, (B,), and what is remembered, (B, M), after what was, (B, M)."""
        logits, after = self.logits(observation, memory)
        return np.asarray(logits.argmax(axis=1)), after

    def logits(self, observation: FloatArray, memory: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Of each action, (B, A), and what is remembered."""
        n = len(observation)
        rows = np.zeros((-(-n // TILE) * TILE, self.n_observed + self.n_memory))
        rows[:n, : self.n_observed], rows[:n, self.n_observed :] = observation, memory
        tiles = [self._remembered(rows[at : at + TILE]) for at in range(0, len(rows), TILE)]
        logits = [tile @ self.last + self.last_bias for tile in tiles]
        empty = np.zeros((0, self.n_actions)), np.zeros((0, self.n_memory))
        return np.concatenate([empty[0], *logits])[:n], np.concatenate([empty[1], *tiles])[:n]

    def _remembered(self, rows: FloatArray) -> FloatArray:
        memory = rows[:, self.n_observed :]
        seen = np.tanh(rows[:, : self.n_observed] @ self.first + self.first_bias) @ self.seen + self.seen_bias
        kept = memory @ self.kept + self.kept_bias
        m = self.n_memory
        gates = 1.0 / (1.0 + np.exp(-(seen[:, : 2 * m] + kept[:, : 2 * m])))
        news = np.tanh(seen[:, 2 * m :] + gates[:, :m] * kept[:, 2 * m :])
        return np.asarray(news + gates[:, m:] * (memory - news))

    def arrays(self) -> dict[str, FloatArray]:
        """What is written to a file."""
        return {one.name: getattr(self, one.name) for one in fields(self)}


ARRAYS: Mapping[str, str] = {
    "first": "first.weight",
    "first_bias": "first.bias",
    "seen": "gates.weight_ih_l0",
    "seen_bias": "gates.bias_ih_l0",
    "kept": "gates.weight_hh_l0",
    "kept_bias": "gates.bias_hh_l0",
    "last": "last.weight",
    "last_bias": "last.bias",
}
"""Names that arrays have in training, where matrices are the other way round."""


def agent_from(arrays: Mapping[str, NDArray[np.float64]]) -> Agent:
    """The agent that was written.

    Raises:
        AgentArraysError: the arrays are no agent.
    """
    try:
        agent = Agent(**{name: np.asarray(arrays[name], np.float64).copy() for name in ARRAYS})
    except (KeyError, ValueError) as error:
        raise AgentArraysError(f"no agent: {error}") from error
    shapes = {name: array.shape for name, array in agent.arrays().items()}
    o, m, a = (agent.first.shape[0], agent.first.shape[-1], agent.last_bias.size) if agent.first.ndim else (0, 0, 0)
    wanted = dict(zip(ARRAYS, [(o, m), (m,), (m, 3 * m), (3 * m,), (m, 3 * m), (3 * m,), (m, a), (a,)], strict=True))
    if shapes != wanted or not all(np.isfinite(array).all() for array in agent.arrays().values()):
        raise AgentArraysError(f"no agent: arrays of shapes {shapes} do not fit each other, or hold what is no number")
    return agent
