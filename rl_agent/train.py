"""A training run: episodes of rollouts and updates, as a generator of progress that can be stopped and gone on with.

Chance is drawn anew from (seed, episode), and a checkpoint is handed out where an episode ends: a run that goes on from
one comes to the same numbers as one that was never stopped.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from rl_agent.agent import ARRAYS, Agent, agent_from
from rl_agent.environment import State, World
from rl_agent.errors import CheckpointError
from rl_agent.network import ActorCritic
from rl_agent.ppo import Losses, PpoConfig, Running, collect, update

Arrays = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is."""

    episode: int
    """Episodes that are over."""
    steps: int
    """Steps that all worlds have taken together."""
    reward: float
    """Mean reward per step in the newest episode."""
    held: float
    """Share of its actions that were 0."""
    losses: Losses
    """Of its last update."""
    checkpoint: Arrays
    """What a run goes on from."""


def train(
    world: World[State], seed: int, episodes: int, config: PpoConfig, checkpoint: Arrays | None = None
) -> Iterator[Progress]:
    """Train for so many episodes in all, from a checkpoint or from nothing; progress comes after each.

    Raises:
        CheckpointError: it is of another network or another run.
    """
    torch.set_num_threads(1)  # the worlds take most of the time, and these networks are too small to share
    torch.manual_seed(seed)
    first = world.initial(np.random.default_rng([seed, 0]))
    widths = world.observe(first).shape[1], world.hidden(first).shape[1], world.n_actions
    network = ActorCritic(widths, config.memory, config.layers, config.hold)
    optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate, eps=1e-5)
    episode, steps = (0, 0) if checkpoint is None else _restored(network, optimizer, checkpoint)
    while episode < episodes:
        rng = np.random.default_rng([seed, episode + 1])
        running = Running(world.initial(rng), torch.zeros(world.n, config.memory))
        rewards, held, losses = [], [], Losses(0.0, 0.0, 0.0, 0.0)
        while not running.ended:
            rollout = collect(world, running, network, config, rng)
            losses = update(network, optimizer, rollout, config, 1.0 - episode / episodes, rng)
            rewards.append(rollout.reward)
            held.append(rollout.held)
            steps += rollout.action.numel()
        episode += 1
        kept = _checkpoint(network, optimizer, episode, steps)
        yield Progress(episode, steps, float(np.mean(rewards)), float(np.mean(held)), losses, kept)


def agent_of(checkpoint: Arrays) -> Agent:
    """The actor of a checkpoint, to be served."""
    return agent_from({served: checkpoint[f"actor.{name}"].T for served, name in ARRAYS.items()})


def _checkpoint(network: ActorCritic, optimizer: torch.optim.Adam, episode: int, steps: int) -> Arrays:
    kept = {name: array.detach().numpy().astype(np.float64) for name, array in network.named_parameters()}
    for name, parameter in network.named_parameters():
        moments = optimizer.state[parameter]
        kept[f"adam.{name}.first"] = moments["exp_avg"].numpy().astype(np.float64)
        kept[f"adam.{name}.second"] = moments["exp_avg_sq"].numpy().astype(np.float64)
        kept[f"adam.{name}.step"] = np.array(float(moments["step"]))
    return {**kept, "progress": np.array([float(episode), float(steps)])}


def _restored(network: ActorCritic, optimizer: torch.optim.Adam, checkpoint: Arrays) -> tuple[int, int]:
    try:
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                parameter.copy_(torch.from_numpy(checkpoint[name]).float())
                optimizer.state[parameter] = {
                    "step": torch.tensor(float(checkpoint[f"adam.{name}.step"])),
                    "exp_avg": torch.from_numpy(checkpoint[f"adam.{name}.first"]).float(),
                    "exp_avg_sq": torch.from_numpy(checkpoint[f"adam.{name}.second"]).float(),
                }
        episode, steps = checkpoint["progress"]
    except (KeyError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"the checkpoint is not of this network: {error}") from error
    return int(episode), int(steps)
