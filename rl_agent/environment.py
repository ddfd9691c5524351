"""The contract of a batched world: what a policy is trained in and judged by.

Functional, after Gymnasium's FuncEnv: a world's state is a value that goes in and comes out, chance is an argument.
"""

from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
State = TypeVar("State")


class World(Protocol[State]):
    """B independent worlds that advance together; a state that was advanced is used up."""

    @property
    def n(self) -> int:
        """B."""
        ...

    @property
    def n_actions(self) -> int:
        """Number of discrete actions; action 0 changes nothing."""
        ...

    def initial(self, rng: np.random.Generator) -> State:
        """Begin an episode in each world."""
        ...

    def observe(self, state: State) -> FloatArray:
        """What a live controller could see, (B, O); absent signals are 0 beside their `present` flag."""
        ...

    def hidden(self, state: State) -> FloatArray:
        """What only a judge can know, (B, H): the critic learns from it in training, and nobody is served by it."""
        ...

    def advance(self, state: State, action: IntArray, rng: np.random.Generator) -> tuple[State, FloatArray, BoolArray]:
        """Take one discrete action per world, (B,): the next state, the reward (B,) and which episodes ended (B,)."""
        ...
