"""Actor and critic: two small networks, of which only the actor is served.

The actor remembers: what a replica bears is hidden, and shows only over many minutes. Its memory is a gated recurrent
unit (Cho et al. 2014, arXiv:1406.1078). The critic also sees what is hidden from the actor (Pinto et al. 2017,
arXiv:1710.06542), so it needs no memory: a return that a deploy or a burst has spoilt is then no news about the action.

The actor's last layer begins with zero weights and a bias towards the first action, so that an untrained agent does
what it stands on (it holds) four times in five, whatever it sees, and still tries everything.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn


class Actor(nn.Module):
    """Logits of the actions, (T, B, A), and the memory after them, (B, M), of T observations in a row, (T, B, O)."""

    def __init__(self, n_observed: int, n_actions: int, memory: int, hold: float) -> None:
        """`hold` is the probability that the untrained actor gives to action 0."""
        super().__init__()
        self.first = _linear(n_observed, memory, math.sqrt(2.0))
        self.gates = nn.GRU(memory, memory)
        self.last = nn.Linear(memory, n_actions)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)
        with torch.no_grad():
            self.last.bias[0] = math.log(hold * (n_actions - 1) / (1.0 - hold))

    def forward(self, observed: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and memory."""
        remembered, after = self.gates(torch.tanh(self.first(observed)), memory[None])
        return self.last(remembered), after[0]


class ActorCritic(nn.Module):
    """An actor, and a critic that tells the value, (…), of what is observed, (…, O), and hidden, (…, H)."""

    def __init__(self, widths: tuple[int, int, int], memory: int, layers: tuple[int, ...], hold: float) -> None:
        """`widths` are O, H and A; `layers` are the critic's."""
        super().__init__()
        n_observed, n_hidden, n_actions = widths
        self.actor = Actor(n_observed, n_actions, memory, hold)
        self.critic = _layers((n_observed + n_hidden, *layers, 1))

    def value(self, observed: Tensor, hidden: Tensor) -> Tensor:
        """Discounted rewards to come."""
        value: Tensor = self.critic(torch.cat([observed, hidden], dim=-1)).squeeze(-1)
        return value


def _layers(widths: tuple[int, ...]) -> nn.Sequential:
    """Linear layers with tanh between them, orthogonal as usual for PPO (gain √2, and 1 for the last)."""
    parts: list[nn.Module] = []
    for inputs, outputs in pairwise(widths[:-1]):
        parts += [_linear(inputs, outputs, math.sqrt(2.0)), nn.Tanh()]
    return nn.Sequential(*parts, _linear(widths[-2], widths[-1], 1.0))


def _linear(inputs: int, outputs: int, gain: float) -> nn.Linear:
    linear = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(linear.weight, gain)
    nn.init.zeros_(linear.bias)
    return linear
