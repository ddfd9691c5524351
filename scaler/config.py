"""The YAML file: settings, servers, workloads, calendars; read whole, applied whole or not at all.

`settings` counts at start; the rest is read again whenever the file changes. A mistake is told with its line, and what
was in force stays.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import structlog
import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from forecasting.calendar import EVENTS
from scaler.core import agenda
from scaler.core.domain import Workload
from scaler.core.trigger import as_metadata, parse_workload
from scaler.errors import SettingsError, TriggerError
from scaler.holidays import days_of
from scaler.servers import Server
from scaler.settings import load_settings

log = structlog.get_logger("foresail.config")

LOOK_EVERY_S = 2.0
"""Between looks whether the file has changed."""
LARGEST = 4 * 2**20
"""Largest file that is read, in bytes."""


def _understood(read: Callable[[Any], object]) -> Callable[[Any], Any]:
    """A check that a value can be read, which leaves it as it is written."""

    def check(value: Any) -> Any:
        read(value)
        return value

    return check


class Event(BaseModel):
    """A known event of a calendar."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    at: Annotated[str, AfterValidator(_understood(agenda.moment_of))]
    lasts: Annotated[str, AfterValidator(_understood(agenda.length_s))]
    multiplier: Annotated[float | str, AfterValidator(_understood(agenda.multiplier_of))] = "learn"

    def understood(self) -> agenda.Event:
        """The same for those who lay calendars out."""
        multiplier = agenda.multiplier_of(self.multiplier)
        return agenda.Event(self.name, agenda.moment_of(self.at), agenda.length_s(self.lasts), multiplier)


class Calendar(BaseModel):
    """Holidays and events."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    holidays: Annotated[str, AfterValidator(_understood(days_of))] | None = None
    events: tuple[Event, ...] = Field(default=(), max_length=EVENTS)

    def understood(self) -> agenda.Agenda:
        """The same for those who lay calendars out."""
        days = frozenset[int]() if self.holidays is None else days_of(self.holidays)
        return agenda.Agenda(days, tuple(event.understood() for event in self.events))


class File(BaseModel):
    """The whole file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    settings: dict[str, Any] = {}
    servers: tuple[Server, ...] = ()
    workloads: tuple[dict[str, Any], ...] = ()
    calendars: dict[str, Calendar] = {}

    def declared(self) -> list[Workload]:
        """The declared workloads, understood. Raises TriggerError with the workload's place in the list."""
        found = []
        for place, metadata in enumerate(self.workloads):
            try:
                workload = parse_workload(as_metadata(metadata))
                agenda.check(workload.calendar, self.calendars)
                found.append(workload)
            except TriggerError as error:
                raise TriggerError(f"workloads.{place}: {error}") from error
        return found

    def agendas(self) -> dict[str, agenda.Agenda]:
        """The calendars, understood, by name."""
        return {name: calendar.understood() for name, calendar in self.calendars.items()}


def parse(text: str, name: str) -> File:
    """Understand the file's text.

    Raises:
        SettingsError: not YAML, an unknown key or a value that does not fit; with file, line, key and what would do.
    """
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{name}:{mark.line + 1}" if mark is not None else name
        raise SettingsError(f"{where}: {getattr(error, 'problem', error)}") from error
    try:
        file = File.model_validate({} if content is None else content)
        file.declared()
        _check_settings(file, tree, name)
    except ValidationError as error:
        problems = (
            f"{name}:{line_of(tree, p['loc'])}: {'.'.join(map(str, p['loc'])) or 'the file'}: {p['msg']}"
            for p in error.errors()
        )
        raise SettingsError("; ".join(problems)) from error
    except TriggerError as error:
        place = int(str(error).partition(":")[0].partition(".")[2])
        raise SettingsError(f"{name}:{line_of(tree, ('workloads', place))}: {error}") from error
    return file


def _check_settings(file: File, tree: yaml.Node | None, name: str) -> None:
    for setting, value in file.settings.items():
        try:
            load_settings({setting: value})
        except SettingsError as error:
            # Settings that belong together (a certificate and its key) are judged with the rest of them at the start.
            if str(error).startswith(setting):
                raise SettingsError(f"{name}:{line_of(tree, ('settings', setting))}: settings.{error}") from error


def line_of(tree: yaml.Node | None, path: tuple[int | str, ...]) -> int:
    """Line of the node at `path`, or of the last one on the way to it."""
    if tree is None:
        return 1
    line = int(tree.start_mark.line) + 1
    for step in path:
        below = None
        if isinstance(tree, yaml.MappingNode):
            below = next((pair for pair in tree.value if pair[0].value == str(step)), None)
        elif isinstance(tree, yaml.SequenceNode) and isinstance(step, int) and step < len(tree.value):
            below = (tree.value[step], tree.value[step])
        if below is None:
            return line
        line, tree = int(below[0].start_mark.line) + 1, below[1]
    return line


def read(path: Path) -> File:
    """Read and understand the file at `path`. Raises SettingsError as `parse`, or where it cannot be read."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error
    if len(content) > LARGEST:
        raise SettingsError(f"{path}: larger than {LARGEST} bytes")
    try:
        return parse(content.decode(), path.name)
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path.name}: not UTF-8 at byte {error.start}") from error


async def watch(path: Path, apply: Callable[[File], None]) -> None:
    """Apply the file whenever its content changes, until cancelled; a mistake is logged and changes nothing.

    Looks at the content, not at the file's times: a mounted ConfigMap changes by exchanging links.
    """
    seen = _content(path)
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        now = _content(path)
        if now is None or now == seen:
            continue
        seen = now
        try:
            apply(read(path))
        except SettingsError as error:
            log.warning("configuration refused; what was in force stays", error=str(error))
        else:
            log.info("configuration applied; settings count at the next start", file=str(path))


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
