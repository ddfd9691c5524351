"""Objects of one kind as they are now: listed once, then followed by one watch.

    list → watch → (ended by the server) → watch from there → … → (410: the past is forgotten) → list

A broken connection costs a wait that grows to seconds; what may not be read is tried again every few minutes, since
rights can be granted while the service runs. While nothing is heard what was known stays.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import structlog

from scaler.cluster import Object, Resource
from scaler.errors import ClusterError, Gone

log = structlog.get_logger("foresail.cluster")

Name = tuple[str, str]
"""Namespace and name."""
Seen = TypeVar("Seen")


class Api(Protocol):
    """What a reflector asks of the API server."""

    def pages(self, resource: Resource) -> AsyncIterator[tuple[list[Object], str]]:
        """As `KubernetesApi.pages`."""
        ...

    def watch(self, resource: Resource, version: str) -> AsyncIterator[Object]:
        """As `KubernetesApi.watch`."""
        ...


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a reflector waits, in seconds."""

    first_s: float = 0.5
    """After the first failure; doubled after each that follows."""
    most_s: float = 4.0
    """Longest wait for a server that does not answer: after its restart all is known again within seconds."""
    refused_s: float = 300.0
    """Until what may not be read, or is not there, is tried again."""
    relist_s: float = 3600.0
    """Between lists of all: what a watch might have lost comes back with the next."""


class Reflector(Generic[Seen]):
    """Objects of one kind, each reduced to what is needed of it."""

    def __init__(
        self,
        api: Api,
        resource: Resource,
        understand: Callable[[Object], Seen | None],
        changed: Callable[[Name, Seen | None, Seen | None], None] = lambda *_: None,
        patience: Patience = Patience(),
    ) -> None:
        self.resource = resource
        self.seen: dict[Name, Seen] = {}
        self.trouble: str | None = "not read yet"
        """Why it is not followed at the moment, None while it is."""
        self.listed = asyncio.Event()
        """Whether it was ever known as a whole."""
        self.tried = asyncio.Event()
        """Whether the first list was read or refused."""
        self.heard_s = -float("inf")
        """Monotonic time of the newest word."""
        self._api, self._understand, self._changed, self._patience = api, understand, changed, patience
        self._version = ""
        self._listed_s = -float("inf")

    def silent_s(self) -> float:
        """Time since the newest word, inf before the first."""
        return time.monotonic() - self.heard_s

    async def run(self) -> None:
        """Follow until cancelled."""
        failures = outdated = 0
        while True:
            try:
                if not self._version or time.monotonic() - self._listed_s > self._patience.relist_s:
                    await self._list()
                await self._watch()
                failures = outdated = 0
                await asyncio.sleep(self._patience.first_s)
            except Gone as error:
                log.info("listing again", resource=self.resource.plural, reason=str(error))
                self._version = ""
                failures, outdated = 0, outdated + 1
                await asyncio.sleep(self._wait_s(outdated, error))
            except ClusterError as error:
                failures = 1 if self.trouble is None else failures + 1
                self._troubled(str(error))
                await asyncio.sleep(self._wait_s(failures, error))

    def _wait_s(self, failures: int, error: ClusterError) -> float:
        if error.status in {401, 403, 404}:
            return self._patience.refused_s
        wait_s: float = min(self._patience.first_s * 2.0 ** min(failures - 1, 10), self._patience.most_s)
        return max(wait_s * random.uniform(0.7, 1.0), error.retry_after_s)  # noqa: S311 - spreads load

    def _troubled(self, reason: str) -> None:
        if self.trouble != reason:
            log.warning("not followed", resource=self.resource.plural, reason=reason)
        self.trouble = reason
        self.tried.set()

    def _heard(self) -> None:
        self.heard_s = time.monotonic()
        if self.trouble is not None:
            log.info("followed", resource=self.resource.plural, objects=len(self.seen))
        self.trouble = None
        self.tried.set()

    async def _list(self) -> None:
        before, now, version = self.seen, dict[Name, Seen](), ""
        async for items, stated in self._api.pages(self.resource):
            version = stated
            for item in items:
                name, seen = self._understood(item)
                if seen is not None:
                    now[name] = seen
        self.seen, self._version, self._listed_s = now, version, time.monotonic()
        self.listed.set()
        for name in before.keys() | now.keys():
            if before.get(name) != now.get(name):
                self._changed(name, before.get(name), now.get(name))
        self._heard()

    async def _watch(self) -> None:
        async for event in self._api.watch(self.resource, self._version):
            kind, item = event.get("type"), event["object"]
            version = (item.get("metadata") or {}).get("resourceVersion")
            if kind in {"ADDED", "MODIFIED", "DELETED"}:
                self._take(str(kind), item)
            if version:
                self._version = version
            self._heard()

    def _take(self, kind: str, item: Object) -> None:
        name, now = self._understood(item)
        before = self.seen.pop(name, None)
        if kind == "DELETED":
            self._changed(name, now if before is None else before, None)
            return
        if now is not None:
            self.seen[name] = now
        if before != now:
            self._changed(name, before, now)

    def _understood(self, item: Object) -> tuple[Name, Seen | None]:
        """Name and meaning of an object; one that cannot be understood is as one that is not there."""
        metadata: dict[str, Any] = item.get("metadata") or {}
        name = str(metadata.get("namespace", "")), str(metadata.get("name", ""))
        try:
            return name, self._understand(item)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            log.warning("not understood", resource=self.resource.plural, object="/".join(name), reason=repr(error))
            return name, None
