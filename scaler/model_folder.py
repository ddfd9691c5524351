"""The registry in a folder under var: per name one file of arrays per version, and a card that says what they are.

    models/<namespace>/<name>/card.json        stages, evidence and history of all versions; card.old.json before that
    models/<namespace>/<name>/v000012.npz      the arrays of version 12, never written to again

A file is written whole beside its place, synced and renamed; arrays come before the card that names them. So whoever
reads, after a crash too, finds the card of before or the one of after. One card holds all stages of a name: a promotion
is one rename. What is damaged or not ours is refused by name, and the card before it stands.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO
from urllib.parse import quote, unquote

import numpy as np

from scaler.errors import StoreError
from scaler.files import sync
from scaler.registry import Arrays, Change, Origin, Version, as_json, digest_of, from_json, kept_of

CARD, OLD_CARD, REFUSED = "card.json", "card.old.json", "card.refused.json"
FORMAT = "foresail models, version 1"
KEPT = 5
"""Newest versions kept of each name; the champion and its predecessor stay whatever their age."""


class ModelFolder:
    """As `registry.Registry`; several processes may share a folder."""

    def __init__(self, folder: Path, kept: int = KEPT) -> None:
        self.folder, self._kept = folder, kept
        self.refused: dict[Path, str] = {}
        """Cards that are not used, and why; one that is replaced is kept beside it for whoever wants to know."""

    def names(self) -> list[str]:
        """As `Registry.names`."""
        try:
            found = {path.parent for card in (CARD, OLD_CARD) for path in self.folder.glob(f"*/*/{card}")}
        except OSError as error:
            raise StoreError(f"{self.folder}: {error.strerror}") from error
        return sorted("/".join(unquote(part) for part in path.parts[-2:]) for path in found)

    def versions(self, name: str) -> tuple[Version, ...]:
        """As `Registry.versions`."""
        place, found = self._place(name), None
        for path in (place / CARD, place / OLD_CARD):
            try:
                found = _read_card(name, path)
                self.refused.pop(path, None)
                break
            except FileNotFoundError:
                continue
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                self.refused[path] = f"not a card of models: {error}"
        if found is None and any(path.parent == place for path in self.refused):
            raise StoreError("; ".join(f"{path}: {why}" for path, why in self.refused.items() if path.parent == place))
        return found or ()

    def load(self, version: Version) -> Arrays:
        """As `Registry.load`."""
        path = self._arrays(version.name, version.number)
        try:
            with path.open("rb") as file:
                arrays = unpacked(file)
        except (OSError, *NOT_ARRAYS) as error:
            raise StoreError(f"{path}: {error}") from error
        if digest_of(arrays) != version.digest:
            raise StoreError(f"{path}: its content is not what was registered as version {version.number}")
        return arrays

    def register(self, name: str, arrays: Arrays, origin: Origin, change: Change) -> Version:
        """As `Registry.register`."""
        digest = digest_of(arrays)
        with self._writing(name) as place:
            versions = self.versions(name)
            for known in versions:
                if known.digest == digest and known.origin.cutoff_s == origin.cutoff_s:
                    return known
            number = max((*(one.number for one in versions), *_numbers(place)), default=0) + 1
            version = Version(name, number, origin, digest, (change,))
            path = self._arrays(name, number)
            fresh = path.with_suffix(".new")
            with fresh.open("wb") as file:
                pack(file, arrays)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
            self._write_card(place, (*versions, version))
        return version

    def move(self, name: str, changes: Mapping[int, Change]) -> None:
        """As `Registry.move`."""
        with self._writing(name) as place:
            versions = self.versions(name)
            unknown = set(changes) - {one.number for one in versions}
            if unknown:
                raise StoreError(f"{name}: no version {min(unknown)}")
            moved = tuple(
                replace(one, changes=(*one.changes, changes[one.number])) if one.number in changes else one
                for one in versions
            )
            self._write_card(place, moved)

    def _place(self, name: str) -> Path:
        namespace, _, rest = name.partition("/")
        parts = [quote(part, safe="~") for part in (namespace, rest)]
        if not all(part.strip(".") for part in parts):
            raise StoreError(f"{name!r}: a model's name is namespace/name")
        return self.folder.joinpath(*parts)

    def _arrays(self, name: str, number: int) -> Path:
        return self._place(name) / f"v{number:06d}.npz"

    @contextlib.contextmanager
    def _writing(self, name: str) -> Iterator[Path]:
        """The folder of a name, written to by nobody else meanwhile; the lock ends with its process."""
        place = self._place(name)
        try:
            place.mkdir(parents=True, exist_ok=True)
            lock = os.open(place / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield place
            finally:
                os.close(lock)
        except OSError as error:
            raise StoreError(f"{place}: {error.strerror or error}") from error

    def _write_card(self, place: Path, versions: tuple[Version, ...]) -> None:
        kept = kept_of(versions, self._kept)
        content = json.dumps([as_json(one) for one in kept])
        card = {"format": FORMAT, "check": _checked(content), "versions": json.loads(content)}
        fresh = place / "card.new"
        with fresh.open("w", encoding="utf-8") as file:
            json.dump(card, file)
            file.flush()
            os.fsync(file.fileno())
        if self.refused.pop(place / CARD, None) is not None:
            (place / CARD).replace(place / REFUSED)
        elif (place / CARD).exists():
            # A link, not a move: there is a card at every moment.
            link = place / "card.old.new"
            link.unlink(missing_ok=True)
            os.link(place / CARD, link)
            link.replace(place / OLD_CARD)
        fresh.replace(place / CARD)
        sync(place)
        self._clean(place, {one.number for one in kept})

    def _clean(self, place: Path, kept: set[int]) -> None:
        """Remove arrays that neither this card nor the one before it names."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            kept = kept | {one.number for one in _read_card("", place / OLD_CARD)}
        for number in _numbers(place) - kept:
            (place / f"v{number:06d}.npz").unlink(missing_ok=True)


def pack(file: IO[bytes], arrays: Arrays) -> None:
    """Write arrays into a file."""
    np.savez_compressed(file, allow_pickle=False, **dict(arrays))


def unpacked(file: IO[bytes]) -> Arrays:
    """Read them again. Raises OSError or NOT_ARRAYS."""
    with np.load(file, allow_pickle=False) as found:
        if not isinstance(found, np.lib.npyio.NpzFile):
            raise ValueError("it holds no arrays by name")  # noqa: TRY004 - as the damage that it is
        return {key: found[key] for key in found.files}


NOT_ARRAYS = (ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError)
"""What reading a damaged or foreign file of arrays raises."""


def _numbers(place: Path) -> set[int]:
    return {int(path.stem[1:]) for path in place.glob("v*.npz") if path.stem[1:].isdigit()}


def _checked(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


def _read_card(name: str, path: Path) -> tuple[Version, ...]:
    card = json.loads(path.read_text(encoding="utf-8"))
    if card["format"] != FORMAT:
        raise ValueError(f"its format is {str(card['format'])[:40]!r}")
    if card["check"] != _checked(json.dumps(card["versions"])):
        raise ValueError("its checksum does not fit")
    return tuple(from_json(name, one) for one in card["versions"])
