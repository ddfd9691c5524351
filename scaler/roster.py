"""Who is tracked: from a KEDA request, a name or a declaration to one workload.

A workload is identified by its namespace, its ScaledObject and a fingerprint of what is measured, since two triggers of
one ScaledObject share a name. People use `name`, or `name~fingerprint` where a name alone would be ambiguous.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from scaler.core.domain import Workload
from scaler.core.trigger import KEDA_KEYS, parse_workload
from scaler.errors import AmbiguousWorkload, TooManyWorkloads, TriggerError, UnknownWorkload


class Key(NamedTuple):
    """Identity of a workload."""

    namespace: str
    name: str
    fingerprint: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def key_of(workload: Workload) -> Key:
    """Identity of an understood workload."""
    return Key(workload.namespace, workload.name, workload.fingerprint)


Request = tuple[str, str, frozenset[tuple[str, str]]]
"""Namespace, name and metadata of a KEDA call."""
LONGEST_REMEMBERED = 4096
"""Characters of metadata up to which their meaning is remembered; longer ones are understood anew each time."""

LONGEST_UNDERSTOOD = 65_536
"""Characters of metadata, all names and values together; a query has hundreds."""


def _length(metadata: Iterable[tuple[str, str]]) -> int:
    return sum(len(name) + len(value) for name, value in metadata)


@dataclass(slots=True)
class Entry:
    """A tracked workload."""

    workload: Workload
    declared: bool
    """Declared in settings: tracked without requests, never forgotten."""
    asked_s: float
    """Time of the newest request."""


@dataclass(slots=True)
class Roster:
    """All tracked workloads, capped in total and per namespace."""

    max_total: int
    max_per_namespace: int
    admit: Callable[[Workload], None]
    """Raises TriggerError for a workload whose load may never be read."""
    entries: dict[Key, Entry] = field(default_factory=dict)
    _by_request: dict[Request, tuple[Key, Workload]] = field(default_factory=dict)
    _by_name: dict[str, list[Key]] = field(default_factory=dict)

    def declare(self, workload: Workload, now_s: float) -> Key:
        """Track a workload that was declared in the settings.

        Raises:
            TriggerError: its load may not be read.
            TooManyWorkloads: a cap is reached.
        """
        return self._enter(workload, declared=True, now_s=now_s)

    def resolve(self, namespace: str, name: str, metadata: Mapping[str, str], now_s: float) -> Key:
        """Workload that a KEDA request speaks of; tracked from its first request on.

        Metadata that name no query speak of the declared workload of that name, if there is one.

        Raises:
            TriggerError: metadata that are too long or cannot be understood, or a load that may not be read.
            TooManyWorkloads: a cap is reached.
        """
        request = (namespace, name, frozenset(metadata.items()))
        remembered = self._by_request.get(request)
        if remembered is None or remembered[0] not in self.entries:
            key = self._understand(namespace, name, metadata, now_s)
            self._remember(request, key)
        else:
            # The newest request counts: metadata that were changed and changed back mean what they say.
            key, self.entries[remembered[0]].workload = remembered
        self.entries[key].asked_s = now_s
        return key

    def renew(self, key: Key, now_s: float) -> bool:
        """Note that a tracked workload is still asked for; False where it is not tracked."""
        if key in self.entries:
            self.entries[key].asked_s = now_s
        return key in self.entries

    def _remember(self, request: Request, key: Key) -> None:
        """Keep what a request means, if it is of ordinary length: unknown callers must not fill the memory."""
        if _length(request[2]) > LONGEST_REMEMBERED:
            return
        if len(self._by_request) > 4 * self.max_total:
            self._by_request.clear()
        self._by_request[request] = (key, self.entries[key].workload)

    def _understand(self, namespace: str, name: str, metadata: Mapping[str, str], now_s: float) -> Key:
        if _length(metadata.items()) > LONGEST_UNDERSTOOD:
            raise TriggerError(
                f"the metadata have {_length(metadata.items())} characters, more than {LONGEST_UNDERSTOOD}"
            )
        declared = [k for k in self._named(namespace, name) if self.entries[k].declared]
        spoken = {key: value for key, value in metadata.items() if key not in KEDA_KEYS}
        if len(declared) == 1 and "query" not in spoken:
            parse_workload({"threshold": "1", **spoken}, name=name, namespace=namespace)
            return declared[0]
        return self._enter(parse_workload(metadata, name=name, namespace=namespace), declared=False, now_s=now_s)

    def _enter(self, workload: Workload, *, declared: bool, now_s: float) -> Key:
        key = key_of(workload)
        known = self.entries.get(key)
        if known is None:
            self.admit(workload)
            self._check_room(workload.namespace)
            self._by_name.setdefault(key.name, []).append(key)
        self.entries[key] = Entry(workload, declared or (known is not None and known.declared), now_s)
        return key

    def _check_room(self, namespace: str) -> None:
        if len(self.entries) >= self.max_total:
            raise TooManyWorkloads(f"{self.max_total} workloads are tracked already (max_workloads)")
        if sum(key.namespace == namespace for key in self.entries) >= self.max_per_namespace:
            raise TooManyWorkloads(
                f"{self.max_per_namespace} workloads are tracked in namespace {namespace} already "
                "(max_workloads_per_namespace)"
            )

    def declared_no_more(self) -> set[Key]:
        """Take all declarations back; which they were."""
        self._by_request.clear()
        declared = {key for key, entry in self.entries.items() if entry.declared}
        for key in declared:
            self.entries[key].declared = False
        return declared

    def check_room_for(self, workloads: Sequence[Workload]) -> None:
        """Raise TooManyWorkloads if these could not all be declared beside what is asked for."""
        keys = {key_of(workload) for workload in workloads}
        keys |= {key for key, entry in self.entries.items() if not entry.declared}
        fullest, most = max(Counter(key.namespace for key in keys).items(), key=lambda item: item[1], default=("", 0))
        if len(keys) > self.max_total or most > self.max_per_namespace:
            raise TooManyWorkloads(
                f"{len(keys)} workloads, {most} of them in namespace {fullest}: at most {self.max_total} and "
                f"{self.max_per_namespace} (max_workloads, max_workloads_per_namespace)"
            )

    def forget(self, key: Key) -> None:
        """Track a workload no longer."""
        del self.entries[key]
        self._by_name[key.name].remove(key)
        if not self._by_name[key.name]:
            del self._by_name[key.name]

    def unasked(self, since_s: float) -> list[Key]:
        """Workloads that were not declared and not asked for since `since_s`."""
        return [key for key, entry in self.entries.items() if not entry.declared and entry.asked_s < since_s]

    def identifier(self, key: Key) -> str:
        """What people call the workload: `name`, or `name~fingerprint` where the name means several."""
        alone = len(self._named(key.namespace, key.name)) <= 1
        return key.name if alone else f"{key.name}~{key.fingerprint}"

    def find(self, identifier: str, namespace: str | None = None) -> Key:
        """Workload by identifier, in one namespace or in all.

        Raises:
            UnknownWorkload: there is none.
            AmbiguousWorkload: there are several; the message lists them.
        """
        name, _, fingerprint = identifier.partition("~")
        found = [
            key
            for key in self._by_name.get(name, [])
            if (namespace is None or key.namespace == namespace) and (not fingerprint or key.fingerprint == fingerprint)
        ]
        if not found:
            where = f" in namespace {namespace!r}" if namespace is not None else ""
            raise UnknownWorkload(f"no workload {identifier!r}{where} is tracked")
        if len(found) > 1:
            raise AmbiguousWorkload(f"{identifier!r} means several workloads: {', '.join(self._listed(found))}")
        return found[0]

    def _named(self, namespace: str, name: str) -> list[Key]:
        return [key for key in self._by_name.get(name, []) if key.namespace == namespace]

    def _listed(self, keys: Iterable[Key]) -> list[str]:
        return sorted(f"{key.namespace}/{self.identifier(key)}" for key in keys)
