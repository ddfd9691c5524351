"""`make agent-eval`: the trial of the agent that is shipped, once more, against the figures of its card.

Histories are read from FORESAIL_TRACES; their forecasts are made once, by networks that saw nothing of their source,
and kept under var/agent, where `foresail train agent … --out var/agent` finds them.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.unseen import unseen
from scaler import agent_card
from scaler.agent_training import TEST, Plan, judged
from scaler.command_train_agent import lines_of
from scaler.core.simulator.draws import Foretold
from scaler.foretold import Wanted, all_foretold

VAR = Path("var/agent/foretold")
SAME = 0.005
"""Difference of a ratio that another machine's arithmetic may make."""


def run() -> Iterator[str]:
    """The trial of every agent that is shipped; ends with an error where a card says something else."""
    folder = os.environ.get("FORESAIL_TRACES")
    if folder is None:
        sys.exit("FORESAIL_TRACES names no folder of histories (CSV: timestamp,value)")
    wrong = []
    for place in sorted(agent_card.SHIPPED.iterdir()):
        kept = agent_card.read(place)
        found = again(kept, Path(folder))
        yield from lines_of({**kept.card, "test": found})
        wrong += [f"{place.name}: {text}" for text in differences(kept.card["test"], found)]
    if wrong:
        sys.exit("\n".join(wrong))
    yield "the cards say the same"


def again(kept: agent_card.Shipped, folder: Path) -> dict[str, Any]:
    """The test of a card, repeated."""
    return judged(told_of(kept, folder), TEST, {"agent": kept.agent}, Plan(**kept.card["plan"]))["agent"]


def told_of(kept: agent_card.Shipped, folder: Path) -> list[Foretold]:
    """The histories of a card with their forecasts."""
    queue = kept.card["family"] == "queue"
    named = kept.card["histories"]
    return foretold([Wanted.csv(folder / f"{one['name']}.csv", one["lead_s"], queue=queue) for one in named])


def foretold(wanted: Sequence[Wanted]) -> list[Foretold]:
    """Histories with forecasts by networks that saw nothing of their source."""
    told: list[Foretold] = []
    for one in wanted:
        unseen(one.name)
        told += all_foretold([one], VAR)
    return told


def differences(card: dict[str, Any], found: dict[str, Any]) -> Iterator[str]:
    """Ratios of a card that did not come out again."""
    for condition, figures in card.items():
        for rival, said in figures["against"].items():
            now = found[condition]["against"][rival]["ratio"]
            if (said["ratio"] is None) != (now is None) or (now is not None and abs(said["ratio"] - now) > SAME):
                yield f"{condition} against {rival}: {now}, the card says {said['ratio']}"
