"""The card of an agent: what it learnt from, how it did, where it loses, and where it may be used.

FOLDER/agent.npz   arrays of the policy
FOLDER/card.json   the card; the service reads `passed` and nothing else of it
"""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import rl_agent
from rl_agent.agent import Agent, agent_from
from rl_agent.errors import AgentError
from scaler.core.audition import InForce
from scaler.core.learned import CONDITIONS, MEMORY, MOVES, OBSERVATION, Licence
from scaler.errors import AgentFolderError
from scaler.files import replace_file

ARRAYS, CARD = "agent.npz", "card.json"
SHIPPED = Path(rl_agent.__file__).parent / "trained"
"""Folders of the agents that come with the package, by family."""
FAMILIES = ("rate", "queue")
"""Of workloads: one agent serves one family."""


@dataclass(frozen=True, slots=True)
class Shipped:
    """An agent, and where it may be used."""

    agent: Agent
    licence: Licence
    card: Mapping[str, Any]


def write(folder: Path, agent: Agent, card: Mapping[str, Any]) -> None:
    """Keep an agent with its card; the card comes last, so that a folder without one is no agent."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = io.BytesIO()
    np.savez(arrays, **agent.arrays())  # type: ignore[arg-type] # every name is an array's
    replace_file(folder / ARRAYS, arrays.getvalue())
    replace_file(folder / CARD, f"{json.dumps(card, indent=1, allow_nan=False)}\n".encode())


def read(folder: Path) -> Shipped:
    """The agent of a folder.

    Raises:
        AgentFolderError: it holds no agent, or one of other observations or moves.
    """
    try:
        card = json.loads((folder / CARD).read_text())
        with np.load(folder / ARRAYS, allow_pickle=False) as arrays:
            agent = agent_from(dict(arrays))
        told = tuple(card["observation"]), tuple(card["moves"])
        passed = frozenset((str(family), str(condition)) for family, condition in card["passed"])
        known = card["family"] in FAMILIES
    except (OSError, ValueError, KeyError, TypeError, AgentError) as error:
        raise AgentFolderError(f"{folder}: no agent: {error}") from error
    if told != (OBSERVATION, tuple(move.label for move in MOVES)):
        raise AgentFolderError(f"{folder}: this agent was trained on other observations or moves: train it again")
    if not known or (agent.n_observed, agent.n_memory, agent.n_actions) != (len(OBSERVATION), MEMORY, len(MOVES)):
        raise AgentFolderError(f"{folder}: its arrays are not those of its card")
    return Shipped(agent, licence_of(passed), card)


def in_force(folder: Path, *, acts: bool) -> InForce:
    """The agent of a folder, or those of its folders `rate` and `queue`; `shipped` are those of the package.

    Raises:
        AgentFolderError: it holds no agent, or one that cannot be used.
    """
    folder = SHIPPED if folder == Path("shipped") else folder
    places = [folder] if (folder / CARD).exists() else [folder / family for family in FAMILIES]
    kept = {one.card["family"]: one for one in map(read, filter(Path.is_dir, places))}
    if not kept:
        raise AgentFolderError(f"{folder}: no agent: neither {CARD} nor a folder {' or '.join(FAMILIES)}")
    rate, queue = (kept[family].agent if family in kept else None for family in FAMILIES)
    nowhere = np.zeros(len(CONDITIONS), np.bool_)
    passed = [kept[one].licence.passed[row] if one in kept else nowhere for row, one in enumerate(FAMILIES)]
    return InForce((rate, queue), Licence(np.array(passed)), acts)


def licence_of(passed: frozenset[tuple[str, str]]) -> Licence:
    """Families and conditions as the core asks for them."""
    rows = [[(family, condition) in passed for condition in CONDITIONS] for family in FAMILIES]
    return Licence(np.array(rows, dtype=np.bool_))
