"""The losses of PPO as pure functions (Schulman et al. 2017, arXiv:1707.06347), each with a hand-computed test."""

import torch
from torch import Tensor


def advantages(reward: Tensor, value: Tensor, ended: Tensor, discount: float, decay: float) -> Tensor:
    """Generalised advantage estimates, (T, B), of rewards (T, B) and values (T + 1, B) (arXiv:1506.02438).

    A_t = δ_t + discount·decay·A_{t+1}, δ_t = r_t + discount·V_{t+1} − V_t; nothing counts beyond an end.
    """
    going = 1.0 - ended
    delta = reward + discount * going * value[1:] - value[:-1]
    found = torch.empty_like(delta)
    after = torch.zeros_like(delta[0])
    for step in range(len(delta) - 1, -1, -1):
        after = delta[step] + discount * decay * going[step] * after
        found[step] = after
    return found


def normalised(advantage: Tensor) -> Tensor:
    """Mean 0 and deviation 1."""
    return (advantage - advantage.mean()) / (advantage.std(correction=0) + 1e-8)


def policy_loss(log_ratio: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """The clipped surrogate: −mean min(ρ·A, clip(ρ, 1 − clip, 1 + clip)·A), ρ = exp(log_ratio)."""
    ratio = torch.exp(log_ratio)
    clipped = torch.clamp(ratio, 1.0 - clip, 1.0 + clip)
    return -torch.minimum(ratio * advantage, clipped * advantage).mean()


def value_loss(value: Tensor, target: Tensor) -> Tensor:
    """Half the mean squared error."""
    return 0.5 * (value - target).square().mean()


def entropy(logits: Tensor) -> Tensor:
    """Mean entropy of the policies, in nats."""
    log_p = torch.log_softmax(logits, dim=-1)
    return -(log_p.exp() * log_p).sum(dim=-1).mean()


def divergence(log_ratio: Tensor) -> Tensor:
    """Estimate of KL(old ‖ new) from actions of the old policy: mean (ρ − 1) − log ρ, never negative."""
    return (torch.expm1(log_ratio) - log_ratio).mean()
