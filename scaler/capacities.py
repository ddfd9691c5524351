"""What was learnt of capacities, kept over restarts: in the cluster's ConfigMap, else in `capacities.json` under var.

No history of a source holds what CPU did to which number of ready replicas, so this cannot be learnt again from it.
"""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

import structlog

from scaler.core import capacity
from scaler.core.domain import put, take
from scaler.engine import Engine
from scaler.files import replace_file
from scaler.roster import Key

log = structlog.get_logger("foresail.capacities")

PREFIX = "capacity."
"""What the keys of a ConfigMap begin with that hold a capacity."""
LARGEST_KEPT = 200_000
"""Characters of all that is kept: a ConfigMap holds a MiB, and start-up times have the most of it."""
FILE = "capacities.json"


class Capacities:
    """What is kept, and handed to each workload that has learnt nothing yet: after a restart, or when it returns."""

    def __init__(self, engine: Engine, var: Path | None = None) -> None:
        """`var` is where the file lies, None where a cluster keeps it."""
        self._engine, self._path = engine, None if var is None else var / FILE
        self._kept: dict[str, str] = {}
        self._read = self._path is None

    def remember(self, kept: Mapping[str, str]) -> None:
        """Take over what an earlier run has learnt."""
        self._kept = {name: text for name, text in kept.items() if name.startswith(PREFIX)}

    def hand_over(self) -> None:
        """Give the workloads that are tracked by now what is kept of them; what cannot be understood is dropped."""
        if not self._read:
            self._read_file()
        for key in list(self._engine.roster.entries) if self._kept else ():
            fleet, row = self._engine.row_of(key)
            text = self._kept.get(_name(key))
            if text is None or fleet.capacity.sums.w[row].any():
                continue
            at = slice(row, row + 1)
            try:
                put(fleet.capacity, at, capacity.recalled(text, take(fleet.columns, at)))
            except (ValueError, TypeError) as error:
                log.warning("what was kept of a capacity is dropped", workload=str(key), error=str(error))
                del self._kept[_name(key)]
                continue
            fleet.use_capacity(at)

    def kept(self) -> dict[str, str]:
        """What is worth keeping, workloads that are tracked first: one that is forgotten may return."""
        learnt = {}
        for key in sorted(self._engine.roster.entries):
            fleet, row = self._engine.row_of(key)
            text = capacity.as_text(fleet.capacity, row)
            if text is not None:
                learnt[_name(key)] = text
        room, kept = LARGEST_KEPT, {}
        for name, text in {**learnt, **{name: text for name, text in self._kept.items() if name not in learnt}}.items():
            room -= len(name) + len(text)
            if room >= 0:
                kept[name] = text
        self._kept = kept
        return dict(kept)

    def _read_file(self) -> None:
        self._read = True
        try:
            kept = json.loads((self._path or Path()).read_text(encoding="utf-8"))
            self.remember({str(name): str(text) for name, text in kept.items()})
        except FileNotFoundError:
            return
        except (OSError, ValueError, AttributeError) as error:
            log.warning("capacities are learnt anew", error=f"{self._path}: {error}")

    async def save(self) -> None:
        """Write the file in one move, where there is one and anything to keep."""
        kept = self.kept()
        if self._path is not None and kept:
            await asyncio.to_thread(_write, self._path, kept)


def _write(path: Path, kept: Mapping[str, str]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, f"{json.dumps(kept)}\n".encode())
    except OSError as error:
        log.warning("capacities are not kept", error=f"{path}: {error.strerror or error}")


def _name(key: Key) -> str:
    return PREFIX + ".".join(key)
