r"""What people ask by hand where there is no cluster: `steering.json` under var, the same annotations by workload.

    {"shop/web": {"foresail.dev/override": "{\"replicas\": 12, …}", "foresail.dev/shadow": "true"}}

Written whole and put in place at once; read again when it changes.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import structlog

from scaler.core import steering
from scaler.core.steering import Steering
from scaler.errors import StoreError
from scaler.files import replace_file
from scaler.roster import Key

log = structlog.get_logger("foresail.steering")

FILE = "steering.json"


class SteeringFile:
    """The file, read when it changes; one that cannot be used any more is logged and what was in force stays."""

    def __init__(self, var: Path) -> None:
        self._var, self._path = var, var / FILE
        self._stamp: tuple[int, int] | None = None
        self._asked: dict[str, dict[str, str]] = {}
        self._looked_s = -float("inf")

    def steering(self, key: Key, t_s: float) -> Steering:
        """What is asked of a workload at `t_s`."""
        if t_s != self._looked_s:
            self._looked_s = t_s
            self._follow()
        return steering.read(self._asked.get(str(key), {}), t_s)

    async def annotate(self, key: Key, changes: Mapping[str, str | None]) -> None:
        """Set or remove a workload's annotations; they are read at the next tick. Raises StoreError."""
        annotate(self._var, str(key), changes)

    def _follow(self) -> None:
        try:
            stat = self._path.stat()
            stamp = stat.st_mtime_ns, stat.st_size
        except OSError:
            stamp = None
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._asked = read(self._path)
        except StoreError as error:
            log.warning("what was asked by hand stays as it was", reason=str(error))


def read(path: Path) -> dict[str, dict[str, str]]:
    """Annotations by workload; none where there is no file. Raises StoreError for one that cannot be understood."""
    try:
        asked = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: {error}") from error
    if not isinstance(asked, dict) or not all(isinstance(one, dict) for one in asked.values()):
        raise StoreError(f"{path}: must be workloads (namespace/name), each with its annotations")
    return {str(name): {str(k): str(v) for k, v in one.items()} for name, one in asked.items()}


def annotate(var: Path, workload: str, changes: Mapping[str, str | None]) -> None:
    """Set a workload's annotations in the file, or remove those that are None. Raises StoreError."""
    path = var / FILE
    asked = read(path)
    kept = {**asked.get(workload, {}), **changes}
    asked[workload] = {key: value for key, value in kept.items() if value is not None}
    try:
        var.mkdir(parents=True, exist_ok=True)
        replace_file(path, f"{json.dumps(asked, indent=2)}\n".encode())
    except OSError as error:
        raise StoreError(f"{path}: {error}") from error
