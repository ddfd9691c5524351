"""Fitted models, kept: versions of every workload's forecaster, which of them is the champion, and what became of each.

    fitted columns → arrays by name → one version, never changed again     (register)
    stages and evidence of the versions → moved together, or not at all    (move)

Numbers and JSON only, no code. A version is known by its number here and by its cutoff on every replica of the
service. Which model serves is decided by the history and by what is asked by hand; this keeps it over a restart.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from scaler.core.domain import Columns
from scaler.core.trust import Evidence
from scaler.errors import StoreError

Arrays = Mapping[str, NDArray[Any]]


class Stage(Enum):
    """What a version is to its workload."""

    CHALLENGER = "challenger"
    CHAMPION = "champion"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class Change:
    """One line of a version's history."""

    at_s: float
    stage: Stage
    evidence: Evidence
    why: str


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a version comes from."""

    kind: str
    """"forecaster" or "agent"."""
    first_s: float
    """Oldest sample that it was fitted to, Unix seconds."""
    cutoff_s: float
    """Newest sample that it may have seen."""
    configuration: str
    """Hash of all that a fit depends on beside the history."""
    code: str
    """Version of Foresail that fitted it."""
    scores: Mapping[str, float]
    """What the gate found; losses are in replicas."""


@dataclass(frozen=True, slots=True)
class Version:
    """One registered model, without its arrays."""

    name: str
    """"namespace/name~fingerprint" of its workload, "global/…" where it serves all."""
    number: int
    """From 1, never given twice."""
    origin: Origin
    digest: str
    """SHA-256 of its arrays."""
    changes: tuple[Change, ...]
    """What became of it, oldest first; never empty."""

    @property
    def stage(self) -> Stage:
        """What it is now."""
        return self.changes[-1].stage

    @property
    def evidence(self) -> Evidence:
        """What speaks for it now."""
        return self.changes[-1].evidence


class Registry(Protocol):
    """Where versions are kept. Every call may block on a disk or a network, and raises StoreError."""

    def names(self) -> list[str]:
        """Names with at least one version, sorted."""
        ...

    def versions(self, name: str) -> tuple[Version, ...]:
        """All versions of a name that are kept, oldest first; none of an unknown name."""
        ...

    def load(self, version: Version) -> Arrays:
        """Arrays of a version, whole: what is damaged or not ours is refused by name."""
        ...

    def register(self, name: str, arrays: Arrays, origin: Origin, change: Change) -> Version:
        """Keep a new version; the one that is there already, where its arrays and its cutoff are the same."""
        ...

    def move(self, name: str, changes: Mapping[int, Change]) -> None:
        """Change versions of a name, by number. Whoever reads sees the champion before or the one after."""
        ...


def champion(versions: Iterable[Version]) -> Version | None:
    """The version that serves, None where none does."""
    return next((one for one in versions if one.stage is Stage.CHAMPION), None)


def predecessor(versions: Sequence[Version]) -> Version | None:
    """Who was champion before the champion, and was not rolled back; None where nobody was."""
    serving = champion(versions)
    before = [
        (max(one.at_s for one in version.changes if one.stage is Stage.CHAMPION), version.number, version)
        for version in versions
        if version is not serving
        and version.evidence is not Evidence.ROLLED_BACK
        and any(change.stage is Stage.CHAMPION for change in version.changes)
    ]
    return max(before, key=lambda one: one[:2])[2] if before else None


def serving(registry: Registry, name: str, template: Columns) -> tuple[Version | None, Columns, list[str]]:
    """The champion and its columns; where it is damaged, the newest champion before it that is not.

    Also why those that come before it cannot serve. None and the template where there is nobody.

    Raises:
        StoreError: not even the list of versions can be read.
    """
    refused: list[str] = []
    versions = registry.versions(name)
    while (version := champion(versions) or predecessor(versions)) is not None:
        try:
            return version, restored(template, registry.load(version)), refused
        except StoreError as error:
            refused.append(str(error))
        versions = tuple(one for one in versions if one is not version)
    return None, template, refused


def promote(registry: Registry, name: str, number: int, change: Change) -> Version | None:
    """Make a version the champion and retire the one before it, which is returned.

    Raises:
        StoreError: there is no such version, or it could not be written.
    """
    versions = registry.versions(name)
    if number not in {one.number for one in versions}:
        raise StoreError(
            f"{name}: no version {number}; kept are {', '.join(str(v.number) for v in versions) or 'none'}"
        )
    before = champion(versions)
    moves = {number: replace(change, stage=Stage.CHAMPION)}
    if before is not None and before.number != number:
        moves[before.number] = Change(change.at_s, Stage.RETIRED, before.evidence, f"version {number} took its place")
    registry.move(name, moves)
    return before


def roll_back(registry: Registry, name: str, at_s: float, why: str) -> Version:
    """Retire the champion as rolled back and let its predecessor serve again, which is returned.

    Raises:
        StoreError: there is no champion or no predecessor, or it could not be written.
    """
    versions = registry.versions(name)
    bad, good = champion(versions), predecessor(versions)
    if bad is None or good is None:
        raise StoreError(f"{name}: {'no champion' if bad is None else 'no earlier champion'} is kept")
    registry.move(
        name,
        {
            bad.number: Change(at_s, Stage.RETIRED, Evidence.ROLLED_BACK, why),
            good.number: Change(at_s, Stage.CHAMPION, Evidence.ACTIVE, f"again, for version {bad.number} failed"),
        },
    )
    return good


def kept_of(versions: Sequence[Version], most: int) -> list[Version]:
    """Versions to keep: the newest, the champion and who was it before."""
    needed = {one.number for one in (champion(versions), predecessor(versions)) if one is not None}
    newest = {one.number for one in versions[-max(most, 1) :]}
    return [one for one in versions if one.number in needed | newest]


def digest_of(arrays: Arrays) -> str:
    """SHA-256 over names, types, shapes and values."""
    found = hashlib.sha256()
    for name in sorted(arrays):
        values = np.ascontiguousarray(arrays[name])
        found.update(f"{name} {values.dtype.str} {values.shape}\n".encode())
        found.update(values.tobytes())
    return found.hexdigest()


def flattened(columns: object, prefix: str = "") -> dict[str, NDArray[Any]]:
    """Arrays of a dataclass of arrays by name, nested ones with dots."""
    found: dict[str, NDArray[Any]] = {}
    for name in columns.__slots__:  # type: ignore[attr-defined]
        value = getattr(columns, name)
        found |= {prefix + name: value} if isinstance(value, np.ndarray) else flattened(value, f"{prefix}{name}.")
    return found


def restored(template: Columns, arrays: Arrays, prefix: str = "") -> Columns:
    """The dataclass of arrays whose names, types and shapes are those of `template`.

    Raises:
        StoreError: an array is missing or unlike; names it.
    """
    values = []
    for name in template.__slots__:  # type: ignore[attr-defined]
        like = getattr(template, name)
        if not isinstance(like, np.ndarray):
            values.append(restored(like, arrays, f"{prefix}{name}."))
            continue
        value = arrays.get(prefix + name)
        if value is None or value.dtype != like.dtype or value.shape != like.shape:
            said = "missing" if value is None else f"{value.dtype} {value.shape}"
            raise StoreError(f"{prefix}{name} must be {like.dtype} {like.shape}, not {said}: made by another version")
        values.append(value)
    return type(template)(*values)


def as_json(version: Version) -> dict[str, Any]:
    """A version as JSON."""
    origin = version.origin
    return {
        "number": version.number,
        "kind": origin.kind,
        "first_s": origin.first_s,
        "cutoff_s": origin.cutoff_s,
        "configuration": origin.configuration,
        "code": origin.code,
        "scores": dict(origin.scores),
        "digest": version.digest,
        "changes": [
            {"at_s": one.at_s, "stage": one.stage.value, "evidence": one.evidence.label, "why": one.why}
            for one in version.changes
        ],
    }


EVIDENCE = {evidence.label: evidence for evidence in Evidence}


def from_json(name: str, found: Mapping[str, Any]) -> Version:
    """The same version again. Raises ValueError or KeyError where it cannot be understood."""
    changes = tuple(
        Change(float(one["at_s"]), Stage(one["stage"]), EVIDENCE[one["evidence"]], str(one["why"]))
        for one in found["changes"]
    )
    if not changes:
        raise ValueError(f"version {found['number']} has no history")
    origin = Origin(
        kind=str(found["kind"]),
        first_s=float(found["first_s"]),
        cutoff_s=float(found["cutoff_s"]),
        configuration=str(found["configuration"]),
        code=str(found["code"]),
        scores={str(key): float(value) for key, value in found["scores"].items()},
    )
    return Version(name, int(found["number"]), origin, str(found["digest"]), changes)
