"""Actor and critic: two small networks, of which only the actor is served.

The critic also sees what is hidden from the actor (Pinto et al. 2017, arXiv:1710.06542): a return that a deploy or
a burst has spoilt is then no news about the action.

The actor's last layer begins with zero weights and a bias towards the first action, so that an untrained agent does
what it stands on (it holds) four times in five, whatever it sees, and still tries everything.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn


class ActorCritic(nn.Module):
    """Logits of the actions, (N, A), and the value, (N,), of what is observed (N, O) and hidden (N, H)."""

    def __init__(self, widths: tuple[int, int, int], layers: tuple[int, ...], hold: float) -> None:
        """`widths` are O, H and A; `hold` is the probability that the untrained actor gives to action 0."""
        super().__init__()
        n_observed, n_hidden, n_actions = widths
        self.actor = _layers((n_observed, *layers, n_actions))
        self.critic = _layers((n_observed + n_hidden, *layers, 1))
        last = self.actor[-1]
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        with torch.no_grad():
            last.bias[0] = math.log(hold * (n_actions - 1) / (1.0 - hold))

    def forward(self, observed: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and values."""
        return self.actor(observed), self.critic(torch.cat([observed, hidden], dim=-1)).squeeze(-1)


def _layers(widths: tuple[int, ...]) -> nn.Sequential:
    """Linear layers with tanh between them, orthogonal as usual for PPO (gain √2, and 1 for the last)."""
    parts: list[nn.Module] = []
    for index, (inputs, outputs) in enumerate(pairwise(widths)):
        linear = nn.Linear(inputs, outputs)
        last = index == len(widths) - 2
        nn.init.orthogonal_(linear.weight, 1.0 if last else math.sqrt(2.0))
        nn.init.zeros_(linear.bias)
        parts += [linear] if last else [linear, nn.Tanh()]
    return nn.Sequential(*parts)
