"""The command `foresail train agent`: histories in, an agent with its card out, or a refusal with its reasons."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

from rl_agent.agent import Agent
from rl_agent.environment import FloatArray
from rl_agent.errors import CheckpointError
from scaler import agent_card
from scaler.agent_training import (
    TEST,
    VALIDATION,
    Plan,
    card_of,
    judged,
    kept_checkpoint,
    mean_ratio,
    school,
    usable,
)
from scaler.command_impact import opened
from scaler.core.domain import HPA_SYNC_S
from scaler.core.simulator.draws import Foretold
from scaler.errors import HistoryError, RequestError
from scaler.foretold import Wanted, all_foretold
from scaler.trace import Trace, evenly_spaced

CURVE = "episode,steps,reward,held,policy_loss,value_loss,entropy,divergence"
Tell = Callable[[str], None]


def answer(options: Mapping[str, Any], tell: Tell = click.echo) -> None:
    """Train and judge; what is done is kept under --out, so an interrupted run goes on.

    Raises:
        ForesailError: a history cannot be used, or PyTorch is missing.
    """
    plan = Plan(options["family"], options["seeds"], options["episodes"])
    out: Path = options["out"]
    told, why = usable(_told(options, out, tell), plan)
    for reason in why:
        tell(f"left out: {reason}")
    agents = {f"seed {seed}": _trained(told, plan, seed, out, tell) for seed in range(plan.seeds)}
    tell("validation: every seed against forecast-only, condition by condition")
    table = judged(told, VALIDATION, agents, plan)
    chosen = min(table, key=lambda name: mean_ratio(table[name]))
    tell(f"{chosen} did best; test: all of them, for their spread")
    card = card_of(told, plan, chosen, table, judged(told, TEST, agents, plan))
    agent_card.write(out, agents[chosen], card)
    for line in lines_of(card):
        tell(line)
    tell(f"{out / agent_card.CARD} says the rest.")


def _told(options: Mapping[str, Any], out: Path, tell: Tell) -> list[Foretold]:
    queue = options["family"] == "queue"
    paths = sorted(path for folder in options["histories"] for path in folder.glob("*.csv"))
    known = [Wanted.csv(path, lead_s, queue=queue) for path in paths for lead_s in options["lead"]]
    known += [] if options["journal"] is None else journalled(options["journal"], queue=queue)
    names = set(options["only"])
    missing = names - {one.name for one in known}
    if missing:
        raise RequestError(f"--only {', '.join(sorted(missing))}: no such history")
    wanted = [one for one in known if not names or one.name in names]
    if not wanted:
        raise HistoryError("no history to train on: name folders of CSV files (timestamp,value), or a --journal")
    tell(f"{len(wanted)} histories: forecasting what was not forecast yet")
    told: list[Foretold] = []
    for one in wanted:
        try:
            told += all_foretold([one], out / "foretold")
        except HistoryError as error:
            tell(f"left out: {error}")
    return told


def journalled(path: Path, *, queue: bool) -> list[Wanted]:
    """Loads that a journal keeps, each with its own lead time; of queues their arrivals.

    Raises:
        StoreError: the journal cannot be read.
    """
    journal, wanted = opened(path), []
    try:
        tracked = journal.keys()
        for key in tracked:
            kept = journal.read(key, 0.0, time.time())
            if len(kept.t_s) < 2 or np.isnan(kept.arrivals).all() == queue:
                continue
            name = f"{key.namespace}.{key.name}.{key.fingerprint}"
            values = kept.arrivals if queue else kept.raw_load
            lead_s = float(kept.h[-1] * kept.step_s[-1]) - HPA_SYNC_S
            wanted.append(Wanted(name, lead_s, queue, partial(_trace, name, kept.t_s, values)))
    finally:
        journal.close()
    return wanted


def _trace(name: str, t_s: FloatArray, values: FloatArray) -> Trace:
    # A stamp in a journal marks the end of its step, one in a history the beginning: nobody here minds.
    return evenly_spaced(name, t_s, values, range(1, len(t_s) + 1))


def _trained(told: list[Foretold], plan: Plan, seed: int, out: Path, tell: Tell) -> Agent:
    try:
        from rl_agent.ppo import PpoConfig  # noqa: PLC0415 - only training needs torch
        from rl_agent.train import agent_of, train  # noqa: PLC0415
    except ImportError as error:
        raise RequestError("training needs PyTorch: pip install 'foresail[train]'") from error
    folder = out / f"seed-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "checkpoint.npz"
    checkpoint, began = kept_checkpoint(kept), time.perf_counter()
    steps = 0.0 if checkpoint is None else float(checkpoint["progress"][1])
    try:
        for progress in train(school(told, plan), seed, plan.episodes, PpoConfig(), checkpoint):
            checkpoint = progress.checkpoint
            partial = kept.with_suffix(".part.npz")
            np.savez(partial, **checkpoint)  # type: ignore[arg-type] # names are the network's
            partial.replace(kept)
            losses = progress.losses
            row = (progress.reward, progress.held, losses.policy, losses.value, losses.entropy, losses.divergence)
            _append(folder / "curve.csv", f"{progress.episode},{progress.steps}," + ",".join(f"{x:.5g}" for x in row))
            rate = (progress.steps - steps) / (time.perf_counter() - began)
            tell(
                f"seed {seed}: episode {progress.episode} of {plan.episodes}, {progress.steps / 1e6:.1f} M steps at "
                f"{rate / 1e3:.0f} k/s, reward {progress.reward:.3f}, held {progress.held:.0%}"
            )
    except CheckpointError as error:
        raise HistoryError(f"{kept}: {error}; remove it to begin this seed again") from error
    if checkpoint is None:
        raise RequestError("--episodes: at least one")
    return agent_of(checkpoint)


def _append(path: Path, line: str) -> None:
    new = not path.exists()
    with path.open("a") as file:
        file.write(f"{CURVE}\n{line}\n" if new else f"{line}\n")


def lines_of(card: Mapping[str, Any]) -> list[str]:
    """What a person reads of a card, losses first."""
    lines = []
    for condition, figures in card["test"].items():
        worst_name, worst = max(figures["by_history"].items(), key=lambda item: item[1]["ratio"])
        ratio, (low, high) = figures["ratio"], figures["ratio_95"]
        said = "never leaves as little short" if ratio is None else f"costs {ratio:.3f} of {figures['rival']}"
        interval = "" if low is None else f" (95 %: {low:.3f} to {high:.3f})"
        lines.append(f"{card['family']}, {condition}: {said}{interval}; worst on {worst_name}: {worst['ratio']:.3f}")
    passed = ", ".join(condition for _, condition in card["passed"])
    lines.append(f"May be used: {passed}." if passed else "Refused everywhere: forecast-only stays.")
    return lines
