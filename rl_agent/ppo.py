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
    """Steps of every world between two updates."""
    minibatch: int = 2048
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
    layers: tuple[int, ...] = (64, 64)
    """Widths of the hidden layers."""
    hold: float = 0.8
    """Probability of action 0 before training."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """What T steps of B worlds gave, flattened to N = T·B rows."""

    observed: Tensor
    """(N, O)"""
    hidden: Tensor
    """(N, H)"""
    action: Tensor
    """(N,)"""
    log_p: Tensor
    """Of the action under the policy that took it, (N,)."""
    advantage: Tensor
    target: Tensor
    """What the critic should have said, (N,)."""
    reward: float
    """Mean per step."""
    held: float
    """Share of actions that were 0."""


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
    ended: bool = False


def collect(
    world: World[State], running: Running[State], network: ActorCritic, config: PpoConfig, rng: np.random.Generator
) -> Rollout:
    """Let the policy act for one rollout."""
    observed, hidden, actions, log_ps, rewards, values = [], [], [], [], [], []
    for _ in range(config.rollout):
        seen, unseen = _looked(world, running.state)
        with torch.no_grad():
            logits, value = network(seen, unseen)
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
        values.append(network(*_looked(world, running.state))[1])
    value, reward_t = torch.stack(values), torch.stack(rewards)
    # A time limit is no end of the world: what would have come is worth what the critic says.
    gained = advantages(reward_t, value, torch.zeros_like(reward_t), config.discount, config.decay)
    action = torch.cat(actions)
    return Rollout(
        torch.cat(observed),
        torch.cat(hidden),
        action,
        torch.cat(log_ps),
        gained.flatten(),
        (gained + value[:-1]).flatten(),
        float(reward_t.mean()),
        float((action == 0).float().mean()),
    )


def _looked(world: World[State], state: State) -> tuple[Tensor, Tensor]:
    observed, hidden = world.observe(state), world.hidden(state)
    return torch.from_numpy(observed.astype(np.float32)), torch.from_numpy(hidden.astype(np.float32))


def chosen(logits: Tensor, rng: np.random.Generator) -> Tensor:
    """One action per row by its probability, (N,): Gumbel's trick, so that all chance is the generator's."""
    noise = rng.gumbel(size=tuple(logits.shape)).astype(np.float32)
    return (logits + torch.from_numpy(noise)).argmax(dim=-1)


def log_p_of(logits: Tensor, action: Tensor) -> Tensor:
    """Logarithm of the probability of each row's action, (N,)."""
    return torch.log_softmax(logits, dim=-1).gather(-1, action[:, None]).squeeze(-1)


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
    for rows in _minibatches(len(advantage), config, rng):
        logits, value = network(rollout.observed[rows], rollout.hidden[rows])
        log_ratio = log_p_of(logits, rollout.action[rows]) - rollout.log_p[rows]
        diverged = float(divergence(log_ratio.detach()))
        if diverged > config.divergence:
            break
        parts = (
            policy_loss(log_ratio, advantage[rows], config.clip),
            value_loss(value, rollout.target[rows]),
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


def _minibatches(n: int, config: PpoConfig, rng: np.random.Generator) -> Iterator[Tensor]:
    for _ in range(config.epochs):
        order = torch.from_numpy(rng.permutation(n))
        yield from torch.split(order, config.minibatch)
