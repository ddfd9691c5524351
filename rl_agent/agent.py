"""A trained policy, served: observations in, one discrete action each out. NumPy only.

The likeliest action is taken, without chance, so that replicas of the service agree.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from rl_agent.environment import FloatArray, IntArray
from rl_agent.errors import AgentArraysError

TILE = 64
"""Rows of a matrix product: always as many, so that a row's bits do not depend on its neighbours."""


@dataclass(frozen=True, slots=True)
class Agent:
    """Linear layers with tanh between them."""

    weights: tuple[FloatArray, ...]
    """(inputs, outputs) each."""
    biases: tuple[FloatArray, ...]
    """(outputs,) each."""

    @property
    def n_observed(self) -> int:
        """Length of an observation."""
        return int(self.weights[0].shape[0])

    @property
    def n_actions(self) -> int:
        """Number of actions."""
        return len(self.biases[-1])

    def logits(self, observation: FloatArray) -> FloatArray:
        """Of each action, (B, A)."""
        n = len(observation)
        padded = np.zeros((-(-n // TILE) * TILE, self.n_observed))
        padded[:n] = observation
        tiles = [self._layers(padded[at : at + TILE]) for at in range(0, len(padded), TILE)]
        return np.concatenate(tiles)[:n] if tiles else np.zeros((0, self.n_actions))

    def _layers(self, rows: FloatArray) -> FloatArray:
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            rows = np.tanh(rows @ weight + bias)
        return np.asarray(rows @ self.weights[-1] + self.biases[-1])

    def act(self, observation: FloatArray) -> IntArray:
        """The likeliest action of each row, (B,)."""
        return np.asarray(self.logits(observation).argmax(axis=1))

    def probabilities(self, observation: FloatArray) -> FloatArray:
        """Of each action, (B, A)."""
        logits = self.logits(observation)
        odds = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
        return np.asarray(odds / odds.sum(axis=1, keepdims=True))

    def arrays(self) -> dict[str, FloatArray]:
        """What is written to a file."""
        named = {f"weight.{index}": weight for index, weight in enumerate(self.weights)}
        return named | {f"bias.{index}": bias for index, bias in enumerate(self.biases)}


def agent_from(arrays: Mapping[str, NDArray[np.float64]]) -> Agent:
    """The agent that was written.

    Raises:
        AgentArraysError: the arrays are no agent.
    """
    n = sum(name.startswith("weight.") for name in arrays)
    try:
        weights = tuple(np.asarray(arrays[f"weight.{index}"], np.float64) for index in range(n))
        biases = tuple(np.asarray(arrays[f"bias.{index}"], np.float64) for index in range(n))
    except (KeyError, ValueError) as error:
        raise AgentArraysError(f"no agent: {error}") from error
    shapes = [weight.shape for weight in weights]
    joined = all(shape[1:] == bias.shape for shape, bias in zip(shapes, biases, strict=True))
    chained = all(before[-1] == after[0] for before, after in pairwise(shapes))
    finite = all(np.isfinite(array).all() for array in (*weights, *biases))
    if not n or not joined or not chained or not finite:
        raise AgentArraysError(
            f"no agent: layers of shapes {shapes} do not follow each other, or hold what is no number"
        )
    return Agent(weights, biases)
