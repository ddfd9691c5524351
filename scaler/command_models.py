"""`foresail models`: what the registry keeps, and a model chosen by hand.

Reading needs the registry alone. `promote` and `rollback` ask the service for it, by the annotation
foresail.dev/champion of the ScaledObject or in a file under var, so that every replica does the same at its next tick.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scaler import steering_file
from scaler.cluster import SCALED_OBJECTS, connect
from scaler.command_override import me
from scaler.core.steering import CHAMPION, RETRAIN, Choice, choice_of, stamp_of
from scaler.errors import RequestError, StoreError
from scaler.model_place import opened
from scaler.registry import Registry, Version, champion, predecessor
from scaler.registry import as_json as registry_json

LINE = "{:<40}{:>5}  {:<11}{:<12}{:<18}{:<9}{}"


def listed(registry: Registry, *, as_json: bool) -> Iterator[Any]:
    """One line per name, its champion; or all versions of each as plain values."""
    if as_json:
        for name in registry.names():
            yield {"name": name, "versions": [plain(one) for one in registry.versions(name)]}
        return
    yield LINE.format("WORKLOAD", "NO", "STAGE", "EVIDENCE", "CUTOFF", "CODE", "KEPT")
    for name in registry.names():
        versions = registry.versions(name)
        one = champion(versions)
        yield _line(name, one or versions[-1], f"{len(versions)}") if versions else name


def shown(registry: Registry, workload: str, number: int | None, *, as_json: bool) -> Iterator[Any]:
    """All versions of a workload, or one with its scores and its history; as lines or as plain values."""
    name, versions = found(registry, workload)
    if as_json:
        yield from map(plain, versions if number is None else [numbered(name, versions, number)])
        return
    if number is None:
        yield LINE.format("WORKLOAD", "NO", "STAGE", "EVIDENCE", "CUTOFF", "CODE", "LAST CHANGE")
        for one in versions:
            yield _line(name, one, one.changes[-1].why)
        return
    one = numbered(name, versions, number)
    origin = one.origin
    yield f"{name} version {one.number}: {one.stage.value}, {one.evidence.label}"
    yield f"  fitted to   {_day(origin.first_s)} to {_day(origin.cutoff_s)} UTC"
    yield f"  by          Foresail {origin.code}, configuration {origin.configuration}"
    yield f"  arrays      SHA-256 {one.digest}"
    for score, value in sorted(origin.scores.items()):
        yield f"  {score:<12}{value:.6g}"
    for change in one.changes:
        yield f"  {_day(change.at_s)}  {change.stage.value:<11}{change.evidence.label:<12}{change.why}"


def compared(registry: Registry, workload: str, one: int, other: int) -> Iterator[str]:
    """What differs between two versions: how they were made, their scores, and their arrays."""
    name, versions = found(registry, workload)
    left, right = (numbered(name, versions, number) for number in (one, other))
    facts: list[tuple[str, Callable[[Version], str]]] = [
        ("stage", lambda v: v.stage.value),
        ("evidence", lambda v: v.evidence.label),
        ("fitted from", lambda v: _day(v.origin.first_s)),
        ("cutoff", lambda v: _day(v.origin.cutoff_s)),
        ("configuration", lambda v: v.origin.configuration),
        ("code", lambda v: v.origin.code),
    ]
    yield f"{'':<34}{'version ' + str(one):>22}{'version ' + str(other):>22}"
    for label, told in facts:
        if told(left) != told(right):
            yield f"{label:<34}{told(left):>22}{told(right):>22}"
    for score in sorted({*left.origin.scores, *right.origin.scores}):
        values = (f"{v.origin.scores[score]:.6g}" if score in v.origin.scores else "–" for v in (left, right))
        yield "{:<34}{:>22}{:>22}".format(score, *values)
    arrays = registry.load(left), registry.load(right)
    for key in sorted({*arrays[0], *arrays[1]}):
        a, b = (side.get(key) for side in arrays)
        if a is None or b is None or a.shape != b.shape:
            yield f"{key:<34}{None if a is None else a.shape!s:>22}{None if b is None else b.shape!s:>22}"
        elif a.tobytes() != b.tobytes():
            yield f"{key:<34}{float(a.astype(float).mean()):>22.6g}{float(b.astype(float).mean()):>22.6g}  (mean)"


def promote(registry: Registry, workload: str, number: int, options: dict[str, Any]) -> list[str]:
    """Ask for a version to serve."""
    name, versions = found(registry, workload)
    return _chosen(name, numbered(name, versions, number), options)


def roll_back(registry: Registry, workload: str, options: dict[str, Any]) -> list[str]:
    """Ask for the champion's predecessor to serve again."""
    name, versions = found(registry, workload)
    before = predecessor(versions)
    if before is None:
        raise StoreError(f"{name}: no earlier champion is kept that was not rolled back itself")
    return _chosen(name, before, options)


def retrain(workload: str, options: dict[str, Any]) -> list[str]:
    """Ask the service for a new fit of a workload, with all that is known by now."""
    now_s = float(int(time.time()))
    asyncio.run(annotated(workload, {RETRAIN: stamp_of(now_s)}, options))
    return [f"{workload}: a fit with data up to {stamp_of(now_s)} is asked for; it serves if the gate passes it"]


def _chosen(name: str, version: Version, options: dict[str, Any]) -> list[str]:
    now_s = float(int(time.time()))
    choice = Choice(float(int(version.origin.cutoff_s)), now_s, options["reason"] or "", options["by"] or me())
    try:
        choice_of(choice.as_annotation(), now_s)
    except ValueError as error:
        raise RequestError(str(error)) from error
    asyncio.run(annotated(name.partition("~")[0], {CHAMPION: choice.as_annotation()}, options))
    return [f"{name}: version {version.number}, fitted until {stamp_of(choice.cutoff_s)}, serves from the next tick"]


async def annotated(workload: str, changes: dict[str, str | None], options: dict[str, Any]) -> None:
    """Write annotations of a workload's ScaledObject; where no cluster is named, into the file under var.

    Raises:
        RequestError: the workload's name cannot be understood.
        ClusterError, StoreError, SettingsError: it could not be written.
    """
    namespace, _, name = workload.rpartition("/")
    if not namespace or not name:
        raise RequestError(f"{workload!r}: a workload is namespace/name")
    if options["kubeconfig"] is None and not options["in_cluster"]:
        steering_file.annotate(Path(options["var"]), workload, changes)
        return
    api = await connect(options["kubeconfig"])
    if api is None:
        raise RequestError("no cluster to write to: this is no pod, give --kubeconfig or --var")
    try:
        await api.patch(SCALED_OBJECTS, namespace, name, {"metadata": {"annotations": changes}})
    finally:
        await api.close()


def plain(version: Version) -> dict[str, Any]:
    """A version as JSON."""
    return registry_json(version) | {"stage": version.stage.value, "evidence": version.evidence.label}


def registry_of(options: dict[str, Any]) -> Registry:
    """The registry that a command's options name."""
    return opened(options["registry"], Path(options["var"]))


def found(registry: Registry, workload: str) -> tuple[str, tuple[Version, ...]]:
    """Full name and versions of a workload, by its name or by name~fingerprint.

    Raises:
        StoreError: nothing is kept of it, or its name means several.
    """
    names = [name for name in registry.names() if workload in {name, name.rpartition("~")[0]}]
    if len(names) != 1:
        known = f"means {', '.join(names)}" if names else "nothing is kept of it"
        raise StoreError(f"{workload}: {known}")
    return names[0], registry.versions(names[0])


def numbered(name: str, versions: tuple[Version, ...], number: int) -> Version:
    """One version. Raises StoreError where it is not kept."""
    for one in versions:
        if one.number == number:
            return one
    raise StoreError(f"{name}: no version {number}; kept are {', '.join(str(one.number) for one in versions)}")


def _line(name: str, one: Version, last: str) -> str:
    cutoff, origin = _day(one.origin.cutoff_s), one.origin
    return LINE.format(name, one.number, one.stage.value, one.evidence.label, cutoff, origin.code, last)


def _day(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M")
