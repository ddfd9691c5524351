"""What an owner must know, as Kubernetes Events on the ScaledObject: once per fact, never a flood.

The same fact is told again after an hour at the earliest; all facts together are told at a rate that an API server does
not notice, and what is beyond it is counted and told later, if it is still so.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

import structlog

from scaler.cluster import EVENTS, KubernetesApi, Object
from scaler.errors import ClusterError
from scaler.kinds import Scaled
from scaler.roster import Key

log = structlog.get_logger("foresail.cluster")

AGAIN_S = 3600.0
"""Between two tellings of the same fact."""
BURST, PER_S = 20.0, 1.0 / 15.0
"""Events at once, and per second from then on: four a minute."""
LONGEST = 1000
"""Characters of a message: the API allows 1,024."""
CHATTY_S = 600.0
"""Least time between two Events of one reason on one object, whatever they say."""


class Fact(NamedTuple):
    """Something to be told of one workload."""

    reason: str
    """CamelCase, as in `kubectl get events`."""
    message: str
    warning: bool = True


class Announcer:
    """Events of one replica; `tell` is called by the one that is elected."""

    def __init__(self, api: KubernetesApi, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._api, self._monotonic = api, monotonic
        self._told: dict[tuple[Key, str], tuple[str, float]] = {}
        self._tokens, self._refilled_s = BURST, monotonic()
        self.trouble: str | None = None
        """Why Events cannot be written."""
        self.told = self.held_back = 0

    async def tell(self, key: Key, scaled: Scaled, fact: Fact) -> None:
        """Write an Event, unless it was told lately or too much was."""
        now_s = self._monotonic()
        last = self._told.get((key, fact.reason))
        if last is not None and now_s - last[1] < (AGAIN_S if last[0] == fact.message else CHATTY_S):
            return
        if not self._allowed(now_s):
            self.held_back += 1
            return
        self._told[key, fact.reason] = fact.message, now_s
        try:
            await self._api.create(EVENTS, key.namespace, event_of(key, scaled, fact))
            self.told, self.trouble = self.told + 1, None
        except ClusterError as error:
            if self.trouble is None:
                log.warning("events not written", reason=str(error))
            self.trouble = str(error)

    def forget(self, keys: set[Key]) -> None:
        """Keep only what was told of these workloads."""
        self._told = {told: last for told, last in self._told.items() if told[0] in keys}

    def _allowed(self, now_s: float) -> bool:
        self._tokens = min(self._tokens + (now_s - self._refilled_s) * PER_S, BURST)
        self._refilled_s = now_s
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


def event_of(key: Key, scaled: Scaled, fact: Fact) -> Object:
    """The Event's body."""
    now = datetime.now(UTC)
    stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "metadata": {"namespace": key.namespace, "generateName": f"{key.name[:200]}."},
        "involvedObject": {
            "apiVersion": scaled.api_version,
            "kind": "ScaledObject",
            "namespace": key.namespace,
            "name": key.name,
            "uid": scaled.uid,
        },
        "reason": fact.reason,
        "message": fact.message[:LONGEST],
        "type": "Warning" if fact.warning else "Normal",
        "source": {"component": "foresail"},
        "reportingComponent": "foresail",
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
    }
