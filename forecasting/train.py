"""Training of the global network with torch; nothing that serves imports this.

    rows drawn anew each round → pinball losses of all heads and levels → Adam, rate along a half cosine
    → a running mean of the weights is what is kept, and judged on parts of the loads that no round sees

Training is a generator of one `Progress` per round. Its state is plain arrays: whoever writes them down can resume, and
gets bit for bit what an uninterrupted run gets.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from forecasting.corpus import CorpusConfig, Examples, Recorded, drawn
from forecasting.forecast import LEVELS
from forecasting.neural import HEADS, INPUTS, Small

HEAD_WEIGHTS = (1.0, 0.4, 0.4)
"""The peak counts most: it is what replicas are asked for by."""


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """How the network is trained."""

    rounds: int = 30
    """Each on rows of its own."""
    histories: int = 120
    """Drawn per round."""
    width: int = 160
    """Of both hidden layers."""
    batch: int = 512
    rate: float = 2e-3
    """Of Adam at the start."""
    averaged: float = 0.998
    """How much of the running mean of the weights a step leaves."""
    trained: float = 0.85
    """Share of each recorded load that rounds draw from; the rest is judged on."""
    judged: int = 80
    """Histories of the held-out parts."""
    seed: int = 0
    corpus: CorpusConfig = field(default_factory=CorpusConfig)

    @property
    def digest(self) -> str:
        """First eight hex digits of the hash of everything above."""
        return hashlib.sha256(repr(sorted(asdict(self).items())).encode()).hexdigest()[:8]


@dataclass(frozen=True, slots=True)
class TrainState:
    """Where training stands: one array per weight and bias, input side first."""

    done: int
    """Rounds."""
    steps: int
    """Of Adam."""
    network: tuple[Small, ...]
    running: tuple[Small, ...]
    """Running means of the network's arrays: what is shipped."""
    first: tuple[Small, ...]
    """Adam's first moments."""
    second: tuple[Small, ...]
    scale: tuple[Small, ...]
    """Mean and deviation of each input, folded into the first layer when it is shipped."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What one round did."""

    done: int
    rounds: int
    rows: int
    loss: float
    """On the rows of this round."""
    judged_loss: float
    """Of the running mean, on the held-out parts."""
    state: TrainState


def train(
    recorded: Sequence[Recorded], config: TrainConfig, state: TrainState | None = None, device: str = "cpu"
) -> Iterator[Progress]:
    """Train on recorded loads and generated ones, from `state` on where there is one."""
    shares = ((0.0, config.trained), (config.trained, 1.0))
    seen, unseen = ([one.share(*share) for one in recorded] for share in shares)
    held_out = drawn(unseen, config.judged, _chance(config, 0), config.corpus)
    state = state or _beginning(config, drawn(seen, config.histories, _chance(config, 1), config.corpus))
    network, optimizer = _restored(state, config, device)
    running = [torch.from_numpy(part.copy()).to(device) for part in state.running]
    scale = [torch.from_numpy(part).to(device) for part in state.scale]
    steps = state.steps
    for done in range(state.done, config.rounds):
        rows = drawn(seen, config.histories, _chance(config, 2 + done), config.corpus)
        given, target, weight = _tensors(rows, scale, device)
        order = torch.from_numpy(_chance(config, 2 + done).permutation(len(target))).to(device)
        losses: list[float] = []
        for chosen in order.split(config.batch):
            at = (done + len(losses) * config.batch / len(order)) / config.rounds
            for group in optimizer.param_groups:
                group["lr"] = config.rate * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * at)))
            loss = _loss(network(given[chosen]), target[chosen], weight[chosen])
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            steps += 1
            keep = min(config.averaged, (1.0 + steps) / (10.0 + steps))
            with torch.no_grad():
                for mean, part in zip(running, network.parameters(), strict=True):
                    mean.mul_(keep).add_(part, alpha=1.0 - keep)
            losses.append(loss.item())
        state = _noted(done + 1, steps, (network, running, optimizer), state.scale)
        judged = _judged(running, held_out, scale, device)
        yield Progress(done + 1, config.rounds, len(order), float(np.mean(losses)), judged, state)


def device_named(name: str) -> str:
    """Torch device of "auto", "cpu" or "cuda": a GPU where there is one, and "auto" or "cuda" asks for it."""
    return "cuda" if name != "cpu" and torch.cuda.is_available() else "cpu"


def arrays(state: TrainState) -> tuple[tuple[Small, ...], tuple[Small, ...]]:
    """Weights (in, out) and biases (out,) to ship: the running means, with the inputs' scale in the first layer."""
    weights, biases = [part.T for part in state.running[::2]], list(state.running[1::2])
    mean, deviation = state.scale
    weights[0] = weights[0] / deviation[:, None]
    biases[0] = biases[0] - mean @ weights[0]
    return (
        tuple(np.ascontiguousarray(part, np.float32) for part in weights),
        tuple(np.ascontiguousarray(part, np.float32) for part in biases),
    )


def _chance(config: TrainConfig, number: int) -> np.random.Generator:
    return np.random.default_rng([config.seed, number])


def _layers(config: TrainConfig) -> nn.Sequential:
    width = config.width
    return nn.Sequential(
        nn.Linear(INPUTS, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, HEADS * len(LEVELS)),
    )


def _beginning(config: TrainConfig, rows: Examples) -> TrainState:
    """A network drawn by the seed, and the scale of its inputs."""
    torch.manual_seed(config.seed)
    parts = tuple(part.detach().numpy().copy() for part in _layers(config).parameters())
    nothing = tuple(np.zeros_like(part) for part in parts)
    scale = (rows.inputs.mean(axis=0), np.maximum(rows.inputs.std(axis=0), np.float32(0.05)))
    return TrainState(0, 0, parts, parts, nothing, nothing, scale)


def _restored(state: TrainState, config: TrainConfig, device: str) -> tuple[nn.Sequential, torch.optim.Adam]:
    network = _layers(config)
    with torch.no_grad():
        for part, value in zip(network.parameters(), state.network, strict=True):
            part.copy_(torch.from_numpy(value))
    network.to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=config.rate)
    for part, first, second in zip(network.parameters(), state.first, state.second, strict=True):
        optimizer.state[part] = {
            "step": torch.tensor(float(state.steps)),
            "exp_avg": torch.from_numpy(first.copy()).to(device),
            "exp_avg_sq": torch.from_numpy(second.copy()).to(device),
        }
    return network, optimizer


def _noted(done: int, steps: int, parts: tuple[nn.Sequential, list[Any], Any], scale: tuple[Small, ...]) -> TrainState:
    network, running, optimizer = parts
    moments = [optimizer.state[part] for part in network.parameters()]
    return TrainState(
        done,
        steps,
        tuple(_noted_part(part) for part in network.parameters()),
        tuple(_noted_part(part) for part in running),
        tuple(_noted_part(one["exp_avg"]) for one in moments),
        tuple(_noted_part(one["exp_avg_sq"]) for one in moments),
        scale,
    )


def _noted_part(part: torch.Tensor) -> Small:
    return np.array(part.detach().cpu().numpy(), np.float32)


def _tensors(rows: Examples, scale: list[torch.Tensor], device: str) -> tuple[torch.Tensor, ...]:
    given, target, weight = (torch.from_numpy(part).to(device) for part in (rows.inputs, rows.target, rows.weight))
    return (given - scale[0]) / scale[1], target, weight


def _loss(raw: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Pinball loss over its scale at each level, of all heads, weighted by the load."""
    raw = raw.reshape(-1, HEADS, len(LEVELS))
    said = torch.cat([raw[:, :, :1], raw[:, :, :1] + torch.cumsum(nn.functional.softplus(raw[:, :, 1:]), 2)], 2)
    levels = torch.tensor(LEVELS, dtype=torch.float32, device=raw.device)
    error = target[:, :, None] - said
    lost = torch.maximum(levels * error, (levels - 1.0) * error) / torch.sqrt(levels * (1.0 - levels))
    heads = torch.tensor(HEAD_WEIGHTS, device=raw.device)
    return (lost.mean(dim=2) * heads).sum(dim=1).mul(weight).mean()


def _judged(running: list[torch.Tensor], rows: Examples, scale: list[torch.Tensor], device: str) -> float:
    with torch.no_grad():
        given, target, weight = _tensors(rows, scale, device)
        for k in range(0, len(running), 2):
            given = nn.functional.linear(given, running[k], running[k + 1])
            if k < len(running) - 2:
                given = torch.relu(given)
        return float(_loss(given, target, weight))
