"""`foresail pipe`: the whole decision path on standard input and output, without network and without a clock.

First line: the workload as JSON, with the keys of trigger metadata. Then one observation per line; one decision per
line comes back. Lines with `"history": true` only fill the history. Models refit inline, at the simulated times at
which the service would adopt them, so the same input always gives the same bytes.
"""

import json
import math
import time
from collections.abc import Iterable, Iterator
from typing import Any, TextIO

import numpy as np

from forecasting.forecast import LEVELS
from scaler.core import capacity
from scaler.core.agenda import check
from scaler.core.domain import LARGEST_LOAD, UNKNOWN, Decisions, Mode, take
from scaler.core.guardrails import held_by
from scaler.core.retraining import Defence, retrain
from scaler.core.signals import FEEDBACK
from scaler.core.trigger import as_metadata, parse_workload
from scaler.core.trust import Cause, TrustRules
from scaler.errors import ForesailError, ObservationError
from scaler.fleet import Fleet
from scaler.sightings import Sightings

ROW = slice(0, 1)
MAX_LINE = 65_536
"""Longest line that is read, in characters."""


def run(lines: Iterable[str], out: TextIO, err: TextIO) -> int:
    """Answer every line of `lines`; the exit code is 2 where the workload cannot be understood, else 0."""
    numbered = iter(enumerate(lines, 1))
    try:
        pipe = Pipe(as_metadata(_json_object(next(numbered, (1, ""))[1])))
    except ForesailError as error:
        print(f"foresail pipe: line 1: {error}", file=err)
        return 2
    for number, line in numbered:
        try:
            answer = pipe.answer(line)
        except ObservationError as error:
            answer = json.dumps({"error": str(error), "line": number})
        if answer is not None:
            out.write(answer + "\n")
            out.flush()
    for notice in pipe.notices():
        print(f"foresail pipe: {notice}", file=err)
    return 0


def _json_object(line: str) -> dict[str, Any]:
    if len(line) > MAX_LINE:
        raise ObservationError(f"line of {len(line)} characters: at most {MAX_LINE} are read")
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ObservationError(f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ObservationError(f"a JSON object is needed, not {line.strip()[:80]!r}")
    return value


class Pipe:
    """One workload, decided line by line."""

    def __init__(self, metadata: dict[str, str]) -> None:
        self.workload = parse_workload(metadata, name="workload")
        check(self.workload.calendar, ())
        self._fleet: Fleet | None = None
        self._past: list[tuple[float, float]] = []
        self._refits, self._refit_s, self._refused = 0, 0.0, 0

    def answer(self, line: str) -> str | None:
        """Decision for one line as JSON; None for a line of history.

        Raises:
            ObservationError: the line is not an observation, or its time does not move on; nothing has changed.
        """
        observation = _json_object(line)
        t_s = _time_of(observation)
        if observation.get("history"):
            self._remember(t_s, self._load_of(observation, "load"))
            return None
        return self._rendered(self._decide(t_s, observation))

    def notices(self) -> Iterator[str]:
        """What a person should know after the run."""
        if self.workload.inactive:
            yield f"understood, but not active in this version: {', '.join(self.workload.inactive)}"
        yield from self._on_capacity()
        if self._refused:
            yield f"{self._refused} samples were negative, infinite or beyond 1e30 and count as missing"
        if self._refits:
            yield f"{self._refits} refits took {self._refit_s:.2f} s, {self._refit_s / self._refits:.2f} s each"

    def _on_capacity(self) -> Iterator[str]:
        """What was learnt of the capacity, where that was wanted or is another than stated."""
        stated = self.workload.capacity
        found = None if self._fleet is None else capacity.of_row(self._fleet.capacity, 0)
        if self.workload.capacity_auto and found is None:
            yield f"what one replica bears is not identifiable: the threshold, {self.workload.threshold:g}, is used"
        elif self.workload.capacity_auto:
            yield f"one replica was found to bear {found}"
        elif stated is not None and found is not None and found.contradicts(stated):
            yield f"capacity is stated as {stated:g}, one replica was found to bear {found}"

    def _remember(self, t_s: float, load: float) -> None:
        if self._fleet is not None:
            raise ObservationError("history must come before the first live observation")
        if self._past and t_s <= self._past[-1][0]:
            raise ObservationError(f"time must move on: {t_s} comes after {self._past[-1][0]}")
        self._past.append((t_s, load))

    def _decide(self, t_s: float, observation: dict[str, Any]) -> Decisions:
        tick_s = t_s // self.workload.step_s * self.workload.step_s
        sightings = self._sightings(observation)
        fleet = self._fleet or self._started(tick_s)
        if tick_s <= fleet.ring.end_s:
            raise ObservationError(
                f"time must move on by a step of {self.workload.step_s:g} s: {t_s} comes after {fleet.ring.end_s}"
            )
        fleet.ring.advance(tick_s)
        seen = fleet.see(ROW, sightings)
        self._refit(fleet, tick_s)
        made = fleet.decide(ROW, seen)
        if fleet.unheard(0):
            raise ObservationError("nothing can be decided before the first load or replica count")
        return made

    def _started(self, tick_s: float) -> Fleet:
        step_s = self.workload.step_s
        fleet = Fleet(step_s, tick_s - step_s, TrustRules(), n_rows=1)
        fleet.add(self.workload)
        if self._past:
            stamps_s, loads = np.array(self._past).T
            gaps_s = np.diff(stamps_s)
            spacing_s = float(np.median(gaps_s)) if len(gaps_s) else step_s
            fleet.backfill_at(0, stamps_s, loads, spacing_s)
        self._past, self._fleet = [], fleet
        return fleet

    def _refit(self, fleet: Fleet, tick_s: float) -> None:
        cutoff_s = fleet.due_cutoff_s(0, tick_s)
        if not math.isfinite(cutoff_s):
            return
        started = time.perf_counter()
        history, columns = fleet.lesson([0])
        defence = Defence(take(fleet.models, np.array([0])), np.array([True]))
        found = retrain(history, columns, np.array([cutoff_s]), defence)
        if found.contest.passed[0]:
            fleet.adopt(0, found.learnt, 0, cutoff_s)
        else:
            fleet.refuse(0, cutoff_s)
        self._refits += 1
        self._refit_s += time.perf_counter() - started

    def _sightings(self, observation: dict[str, Any]) -> Sightings:
        sightings = Sightings.nothing(1)
        sightings.load[0] = self._load_of(observation, "load")
        sightings.arrivals[0] = self._load_of(observation, "arrivals")
        sightings.replicas[0] = _count_of(observation, "replicas")
        sightings.ready[0] = _count_of(observation, "ready")
        sightings.feedback[0] = [self._load_of(observation, signal.value) for signal in FEEDBACK]
        return sightings

    def _load_of(self, observation: dict[str, Any], key: str) -> float:
        """A sample: null, NaN and an absent key are missing; infinite or negative ones are refused and missing too."""
        value = observation.get(key)
        if value is None or value != value:  # noqa: PLR0124 - NaN differs from itself
            return math.nan
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ObservationError(f"{key} must be a number or null, not {json.dumps(value)[:80]}")
        if not 0 <= value <= LARGEST_LOAD:
            self._refused += 1
            return math.nan
        return float(value)

    def _rendered(self, made: Decisions) -> str:
        quantiles = made.peak[0]
        known = not math.isnan(quantiles[0])
        return json.dumps(
            {
                "t": made.t_s,
                "replicas": int(made.predicted_replicas[0]),
                "value": round(float(made.value[0]), 3),
                "mode": Mode(made.mode[0]).label,
                "cause": Cause(made.cause[0]).label,
                "held_by": held_by(int(made.proposal[0]), made.guarded[0]),
                "reactive": int(made.reactive[0]),
                "predictive": int(made.predictive[0]) if made.predictive[0] != UNKNOWN else None,
                "level": round(float(made.level[0]), 5),
                "quantiles": {f"{p:g}": float(f"{q:.6g}") for p, q in zip(LEVELS, quantiles, strict=True)}
                if known
                else None,
            }
        )


def _time_of(observation: dict[str, Any]) -> float:
    t_s = observation.get("t")
    if isinstance(t_s, bool) or not isinstance(t_s, int | float) or not 0 <= t_s < 1e11:
        raise ObservationError(f"t must be Unix seconds, not {json.dumps(t_s)[:80]}")
    return float(t_s)


def _count_of(observation: dict[str, Any], key: str) -> int:
    value = observation.get(key)
    if value is None:
        return UNKNOWN
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1e6 or value != int(value):
        raise ObservationError(f"{key} must be a whole number or null, not {json.dumps(value)[:80]}")
    return int(value)
