"""Proximal policy optimisation over a batch of worlds.

collect (T steps of B worlds) → advantages → epochs of minibatches, until the policy has moved far enough
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic

import numpy as np
import torch
from torch import Tensor, nn

from rl_agent.environment import State, World
from rl_agent.losses import advantages, divergence, entropy, normalised, policy_loss, value_loss
from rl_agent.network import ActorCritic


@dataclass(frozen=True, slots=True)
class PpoConfig:
    """How an agent learns."""

    rollout: int = 60
    """Steps of every world between two updates; as far back goes what an update learns to remember."""
    minibatch: int = 2048
    """Steps, of whole rollouts."""
    epochs: int = 4
    """Most passes over a rollout."""
    learning_rate: float = 2.5e-3
    """Of Adam at the beginning; falls to 0 on a straight line."""
    clip: float = 0.2
    """How far the probability of an action may move in one update, as a share."""
    discount: float = 0.97
    """Per step: with a step of a minute what comes in half an hour still counts 0.4."""
    decay: float = 0.92
    """λ of the advantage estimates."""
    entropy: float = 0.001
    """Weight of the entropy at the beginning; falls with the learning rate."""
    value: float = 0.5
    """Weight of the value loss."""
    most_gradient: float = 0.5
    """Largest norm of a gradient, of the actor's and of the critic's."""
    most_advantage: float = 4.0
    """In deviations: rare disasters would drown what all other steps teach."""
    divergence: float = 0.02
    """Divergence from the policy that collected at which an update ends."""
    memory: int = 64
    """Numbers that the actor remembers."""
    layers: tuple[int, ...] = (64, 64)
    """Widths of the critic's hidden layers."""
    hold: float = 0.8
    """Probability of action 0 before training."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """What T steps of B worlds gave."""

    observed: Tensor
    """(T, B, O)"""
    hidden: Tensor
    """(T, B, H)"""
    memory: Tensor
    """Of the actor before the first step, (B, M)."""
    action: Tensor
    """(T, B)"""
    log_p: Tensor
    """Of the action under the policy that took it, (T, B)."""
    advantage: Tensor
    """(T, B)"""
    target: Tensor
    """What the critic should have said, (T, B)."""
    reward: float
    """Mean per step."""

    @property
    def held(self) -> float:
        """Share of actions that were 0."""
        return float((self.action == 0).float().mean())


@dataclass(frozen=True, slots=True)
class Losses:
    """Means over an update."""

    policy: float
    value: float
    entropy: float
    divergence: float
    """When the update ended."""


@dataclass(slots=True)
class Running(Generic[State]):
    """Worlds under way."""

    state: State
    memory: Tensor
    """Of the actor, (B, M)."""
    ended: bool = False


def collect(
    world: World[State], running: Running[State], network: ActorCritic, config: PpoConfig, rng: np.random.Generator
) -> Rollout:
    """Let the policy act for one rollout."""
    observed, hidden, actions, log_ps, rewards, values = [], [], [], [], [], []
    began = running.memory
    for _ in range(config.rollout):
        seen, unseen = _looked(world, running.state)
        with torch.no_grad():
            (logits,), running.memory = network.actor(seen[None], running.memory)
            value = network.value(seen, unseen)
        action = chosen(logits, rng)
        running.state, reward, ended = world.advance(running.state, action.numpy(), rng)
        running.ended = bool(ended.all())
        observed.append(seen)
        hidden.append(unseen)
        actions.append(action)
        log_ps.append(log_p_of(logits, action))
        rewards.append(torch.from_numpy(reward.astype(np.float32)))
        values.append(value)
    with torch.no_grad():
        values.append(network.value(*_looked(world, running.state)))
    value, reward_t = torch.stack(values), torch.stack(rewards)
    # A time limit is no end of the world: what would have come is worth what the critic says.
    gained = advantages(reward_t, value, torch.zeros_like(reward_t), config.discount, config.decay)
    return Rollout(
        torch.stack(observed),
        torch.stack(hidden),
        began,
        torch.stack(actions),
        torch.stack(log_ps),
        gained,
        gained + value[:-1],
        float(reward_t.mean()),
    )


def _looked(world: World[State], state: State) -> tuple[Tensor, Tensor]:
    observed, hidden = world.observe(state), world.hidden(state)
    return torch.from_numpy(observed.astype(np.float32)), torch.from_numpy(hidden.astype(np.float32))


def chosen(logits: Tensor, rng: np.random.Generator) -> Tensor:
    """One action per row by its probability, (B,): Gumbel's trick, so that all chance is the generator's."""
    noise = rng.gumbel(size=tuple(logits.shape)).astype(np.float32)
    return (logits + torch.from_numpy(noise)).argmax(dim=-1)


def log_p_of(logits: Tensor, action: Tensor) -> Tensor:
    """Logarithm of the probability of each action, of its shape."""
    return torch.log_softmax(logits, dim=-1).gather(-1, action[..., None]).squeeze(-1)


def update(
    network: ActorCritic,
    optimizer: torch.optim.Optimizer,
    rollout: Rollout,
    config: PpoConfig,
    left: float,
    rng: np.random.Generator,
) -> Losses:
    """Improve on one rollout; `left` is the share of the training that is left."""
    for group in optimizer.param_groups:
        group["lr"] = config.learning_rate * left
    advantage = normalised(rollout.advantage).clamp(-config.most_advantage, config.most_advantage)
    sums, n = np.zeros(3), 0
    diverged = 0.0
    for worlds in _minibatches(advantage, config, rng):
        logits, _ = network.actor(rollout.observed[:, worlds], rollout.memory[worlds])
        value = network.value(rollout.observed[:, worlds], rollout.hidden[:, worlds])
        log_ratio = log_p_of(logits, rollout.action[:, worlds]) - rollout.log_p[:, worlds]
        diverged = float(divergence(log_ratio.detach()))
        if diverged > config.divergence:
            break
        parts = (
            policy_loss(log_ratio, advantage[:, worlds], config.clip),
            value_loss(value, rollout.target[:, worlds]),
            entropy(logits),
        )
        optimizer.zero_grad()
        (parts[0] + config.value * parts[1] - config.entropy * left * parts[2]).backward()
        for part in (network.actor, network.critic):
            nn.utils.clip_grad_norm_(part.parameters(), config.most_gradient)
        optimizer.step()
        sums += [float(part.detach()) for part in parts]
        n += 1
    policy, value, spread = (sums / max(n, 1)).tolist()
    return Losses(policy, value, spread, diverged)


def _minibatches(steps: Tensor, config: PpoConfig, rng: np.random.Generator) -> Iterator[Tensor]:
    """Which worlds of (T, B) are learnt from together."""
    length, n = steps.shape
    for _ in range(config.epochs):
        order = torch.from_numpy(rng.permutation(n))
        yield from torch.split(order, max(config.minibatch // length, 1))
