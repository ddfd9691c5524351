"""What a query looks at: loads off the rings, decisions off the journal or the board, and what is forecast from now on.

gather   in the loop: which series are meant, copies of what the loop changes
curves   in a thread: the journal is read and everything laid out as samples
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from forecasting.ahead import day_ahead
from forecasting.forecast import LEVELS, FloatArray, IntArray, at_level
from scaler.board import Posted
from scaler.core.domain import Kind
from scaler.core.guardrails import NAMES
from scaler.engine import Engine
from scaler.errors import QueryTooLarge
from scaler.families import FAMILIES, LEVEL_NAMES, Decided, curves_of, required
from scaler.fleet import Fleet
from scaler.predictions import Basis, Outlook, basis_of, outlook
from scaler.promql import Expression, Matcher, Selector
from scaler.query import LOOKBACK_S, Curve, Grid, selectors, span_of
from scaler.roster import Key

MOST_SERIES = 20_000
"""Series of one query, those of all its selectors together."""
MOST_DECISIONS = 2_000_000
"""Decisions read for one query: ten workloads for a month, two hundred for a day at 15 s take as many."""
MOST_OUTLOOKS = 300
"""Workloads whose forecast is made for one query: five milliseconds each, beside the loop."""
TILE = 32
"""Series that are copied before others have their turn."""
FROM_HISTORY = "foresail_load"
"""The family that the rings know longer than the journal; of queues `foresail_arrivals`."""

DAY_AHEAD = "foresail_day_peak_load"
"""The family that only speaks of what is to come."""
HELD_S = 240.0
"""Spacing of samples of what holds for an hour: closer than the look-back."""


class Records(Protocol):
    """The journal: where decisions are kept; may be asked by any thread."""

    def read(self, key: Key, begin_s: float, end_s: float) -> Decided:
        """Decisions of one workload with begin_s ≤ t ≤ end_s, oldest first."""
        ...


@dataclass(frozen=True, slots=True)
class Chosen:
    """Series of one family and workload that a selector means."""

    key: Key
    name: str
    labels: Mapping[str, str]
    members: set[str]
    span_s: tuple[float, float]

    def all_labels(self) -> Iterator[dict[str, str]]:
        """Labels of each series."""
        label = FAMILIES[self.name].label
        for member in sorted(self.members):
            yield {"__name__": self.name, **self.labels, **({} if label is None else {label: member})}


@dataclass(frozen=True, slots=True)
class Ahead:
    """What a workload's forecast from now on is made from, and how it is read."""

    basis: Basis
    level: float
    capacity: float


Told = tuple[Outlook, Ahead]


@dataclass(slots=True)
class Gathered:
    """What the loop knew; the rest is read by `curves`."""

    records: Records
    chosen: dict[Selector, list[Chosen]] = field(default_factory=dict)
    ready: dict[tuple[Key, str], Curve] = field(default_factory=dict)
    """Loads and arrivals off the rings."""
    recent: dict[Key, Decided] = field(default_factory=dict)
    """Decisions off the board, where those suffice."""
    spans_s: dict[Key, tuple[float, float]] = field(default_factory=dict)
    """What is to be read of the journal."""
    ahead: dict[Key, "Ahead"] = field(default_factory=dict)
    """What forecasts from now on are made from."""
    step_s: dict[Key, float] = field(default_factory=dict)

    def curves(self) -> dict[Selector, list[Curve]]:
        """All series of each selector; those of which nothing is known are left out."""
        made = self.recent | {key: self.records.read(key, *span) for key, span in self.spans_s.items()}
        told = {key: (outlook(ahead.basis), ahead) for key, ahead in self.ahead.items()}
        return {
            selector: [curve for one in chosen for curve in self._laid_out(one, made, told)]
            for selector, chosen in self.chosen.items()
        }

    def _laid_out(self, one: Chosen, made: Mapping[Key, Decided], told: Mapping[Key, "Told"]) -> list[Curve]:
        known = self.ready.get((one.key, one.name))
        if known is not None:
            return [known]
        past = curves_of(one.name, one.labels, made[one.key], one.members) if one.key in made else {}
        ahead = _ahead(one, *told[one.key]) if one.key in told else {}
        found = [_joined(past.get(member), ahead.get(member)) for member in sorted(one.members)]
        return [curve for curve in found if curve is not None and not np.isnan(curve.values).all()]


def _ahead(one: Chosen, told: Outlook, ahead: Ahead) -> dict[str, Curve]:
    """A family's members from now on, where it has any."""
    base, t_s, path = {"__name__": one.name, **one.labels}, told.path_t_s, told.path
    if np.isnan(path).all():
        return {}
    if one.name == "foresail_forecast_load":
        return {name: Curve({**base, "level": name}, t_s, path[:, q]) for q, name in enumerate(LEVEL_NAMES)}
    if one.name != "foresail_replicas":
        return {}
    need = required(at_level(path, np.full(len(path), ahead.level), np.full(len(path), 1e-9)), ahead.capacity)
    return {"forecast": Curve({**base, "kind": "forecast"}, t_s, need)}


def _joined(past: Curve | None, ahead: Curve | None) -> Curve | None:
    """Forecasts as they were made up to where the newest one begins."""
    if past is None or ahead is None:
        return ahead if past is None else past
    before = past.stamps_s < ahead.stamps_s[0]
    stamps_s = np.concatenate([past.stamps_s[before], ahead.stamps_s])
    return Curve(past.labels, stamps_s, np.concatenate([past.values[before], ahead.values]))


Named = tuple[Key, dict[str, str]]
"""A workload and the labels that all its series have."""


class Curves:
    """The series of an engine's workloads."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._records = engine, engine.journal

    def workloads(self) -> list[Named]:
        """All workloads, by their names."""
        roster = self._engine.roster
        return [
            (key, {"namespace": key.namespace, "workload": roster.identifier(key)}) for key in sorted(roster.entries)
        ]

    async def gather(self, expression: Expression, grid: Grid) -> Gathered:
        """Everything about the series of a query that only the loop may look at.

        Raises:
            QueryTooLarge: too many series, or too long a time for so many workloads.
        """
        gathered, n, workloads = Gathered(self._records), 0, self.workloads()
        for selector in selectors(expression):
            chosen = gathered.chosen[selector] = []
            for one in meant(selector, workloads, span_of(selector, grid)):
                n += len(one.members)
                if n > MOST_SERIES:
                    raise QueryTooLarge(f"the query means more than {MOST_SERIES} series: choose fewer workloads")
                chosen.append(one)
                if one.key in self._engine.roster.entries:  # others have had their turn
                    self._gather(one, gathered)
                if len(chosen) % TILE == 0:
                    await asyncio.sleep(0)
        self._look_at_board(gathered)
        return gathered

    def _gather(self, one: Chosen, gathered: Gathered) -> None:
        engine, (begin_s, end_s) = self._engine, one.span_s
        fleet, row = engine.row_of(one.key)
        measured = engine.roster.entries[one.key].workload.kind
        if one.name == (FROM_HISTORY if measured is Kind.RATE else "foresail_arrivals"):
            gathered.ready[one.key, one.name] = _load(fleet, row, {"__name__": one.name, **one.labels}, one.span_s)
            return
        if one.name == DAY_AHEAD:
            gathered.ready[one.key, one.name] = _day(fleet, row, {"__name__": one.name, **one.labels})
            return
        if one.name in {"foresail_forecast_load", "foresail_replicas"} and end_s > fleet.ring.end_s:
            self._look_ahead(one.key, gathered)
        lead_s = float(fleet.columns.h[row] + 1) * fleet.step_s
        begin_s, end_s = begin_s - lead_s - FAMILIES[one.name].back_s, min(end_s, engine.clock())
        before = gathered.spans_s.get(one.key, (begin_s, end_s))
        gathered.spans_s[one.key] = min(begin_s, before[0]), max(end_s, before[1])
        gathered.step_s[one.key] = fleet.step_s

    def _look_ahead(self, key: Key, gathered: Gathered) -> None:
        if len(gathered.ahead) >= MOST_OUTLOOKS:
            raise QueryTooLarge(f"forecasts of more than {MOST_OUTLOOKS} workloads at once: choose fewer workloads")
        posted = self._engine.board.get(key)
        if key not in gathered.ahead and posted is not None:
            made, row = posted.decisions, posted.row
            basis = basis_of(self._engine, key)
            gathered.ahead[key] = Ahead(basis, float(made.level[row]), float(made.capacity[row]))

    def _look_at_board(self, gathered: Gathered) -> None:
        """Take what is asked of the last minutes off the board: many workloads are asked for at once, and often."""
        n = sum((end - begin) / gathered.step_s[key] for key, (begin, end) in gathered.spans_s.items())
        if n > MOST_DECISIONS:
            raise QueryTooLarge(
                f"{len(gathered.spans_s)} workloads over so long a time are {n:.0f} decisions, more than"
                f" {MOST_DECISIONS}: choose fewer workloads or a shorter range"
            )
        since_s = self._engine.clock() - 2.0 * LOOKBACK_S
        for key, (begin_s, end_s) in list(gathered.spans_s.items()):
            if begin_s >= since_s and key in self._engine.roster.entries:
                gathered.recent[key] = self._off_board(key, begin_s, end_s)
                del gathered.spans_s[key]

    def _off_board(self, key: Key, begin_s: float, end_s: float) -> Decided:
        fleet, row = self._engine.row_of(key)
        posted = [one for one in self._engine.board.since(key, begin_s) if one.t_s <= end_s]
        return _Few(posted[::-1], fleet, row)


def meant(selector: Selector, workloads: Iterable[Named], span_s: tuple[float, float] = (0.0, 0.0)) -> Iterator[Chosen]:
    """Series of these workloads that fulfil a selector's matchers."""
    matchers = selector.matchers
    names = [name for name in FAMILIES if _holds(matchers, "__name__", name)]
    asked = {matcher.label for matcher in matchers} - {"__name__", "namespace", "workload"}
    members = {
        name: {member for member in FAMILIES[name].members if _holds(matchers, FAMILIES[name].label, member)}
        for name in names
        if all(_holds(matchers, label, "") for label in asked - {FAMILIES[name].label})
    }
    for key, labels in workloads:
        if all(_holds(matchers, label, value) for label, value in labels.items()):
            yield from (Chosen(key, name, labels, some, span_s) for name, some in members.items() if some)


def _holds(matchers: Sequence[Matcher], label: str | None, value: str) -> bool:
    return all(matcher.holds(value) for matcher in matchers if matcher.label == label)


def _load(fleet: Fleet, row: int, labels: Mapping[str, str], span_s: tuple[float, float]) -> Curve:
    """A row's load, as finely as it is known at each time."""
    history = fleet.ring.history(slice(row, row + 1))
    layers = (
        (history.coarse_mean, history.coarse_end_s, fleet.ring.coarse_s),
        (history.mean, history.bucket_end_s, fleet.ring.bucket_s),
        (history.fine, history.end_s, history.step_s),
    )
    stamps: list[FloatArray] = []
    values: list[FloatArray] = []
    until_s = np.inf
    for columns, end_s, spacing_s in reversed(layers):
        stamps_s = end_s - spacing_s * np.arange(columns.shape[1] - 1, -1, -1, dtype=np.float64)
        inside = (stamps_s > span_s[0]) & (stamps_s <= span_s[1]) & (stamps_s <= until_s)
        stamps.append(stamps_s[inside])
        values.append(columns[0, inside].astype(np.float64))
        until_s = end_s - spacing_s * columns.shape[1]
    return Curve(labels, np.concatenate(stamps[::-1]), np.concatenate(values[::-1]))


def _day(fleet: Fleet, row: int, labels: Mapping[str, str]) -> Curve:
    """The largest load of each of the coming hours, held through its hour."""
    told = day_ahead(fleet.history(slice(row, row + 1)), fleet.models.multiplier[row : row + 1])
    held_s = np.arange(0.0, 3600.0, HELD_S)
    stamps_s: FloatArray = (told.begin_s[:, None] + held_s).ravel()
    return Curve(labels, stamps_s, np.repeat(told.peak, len(held_s)))


class _Few:
    """Some decisions off the board, oldest first, as columns."""

    def __init__(self, posted: Sequence[Posted], fleet: Fleet, row: int) -> None:
        def numbers(name: str) -> FloatArray:
            return np.array([getattr(one.decisions, name)[one.row] for one in posted], np.float64)

        def counts(name: str) -> IntArray:
            return np.array([getattr(one.decisions, name)[one.row] for one in posted], np.int64)

        n = len(posted)
        self.t_s: FloatArray = np.array([one.t_s for one in posted], np.float64)
        self.step_s, self.h = np.full(n, fleet.step_s), np.full(n, fleet.columns.h[row])
        self.load, self.drift, self.earned = numbers("load"), numbers("drift"), numbers("earned")
        self.level, self.capacity = numbers("level"), numbers("capacity")
        self.peak, self.path = (numbers(name).reshape(n, len(LEVELS)) for name in ("peak", "path"))
        self.replicas, self.ready = counts("replicas"), counts("ready")
        self.reactive, self.reactive_alone = counts("reactive"), counts("reactive_alone")
        self.predictive, self.proposal = counts("predictive"), counts("proposal")
        self.guarded, self.predicted_replicas = counts("guarded"), counts("predicted_replicas")
        self.mode, self.version = counts("mode"), counts("version")
        self.guarded = self.guarded.reshape(n, len(NAMES))
        self.arrivals = np.full(n, np.nan)
        if fleet.columns.queue[row]:
            fine = fleet.ring.history(slice(row, row + 1)).fine[0]
            back = np.rint((fleet.ring.end_s - self.t_s) / fleet.step_s).astype(np.int64)
            self.arrivals = np.where(back < len(fine), fine[np.maximum(len(fine) - 1 - back, 0)], np.nan)
