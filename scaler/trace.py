"""A recorded load as evenly spaced samples: from a CSV file, checked, and refused where nothing can be said about it.

The file has two columns, `timestamp,value`: Unix seconds or RFC 3339, and a number or nothing. A stamp marks where its
interval begins. Gaps are kept as missing samples; nothing is invented and nothing is repaired.
"""

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from forecasting.forecast import FloatArray
from forecasting.series import DAY_S
from scaler.core.domain import HPA_SYNC_S, Workload
from scaler.core.simulator.scene import TEST, TRAINING
from scaler.errors import HistoryError

LEAST_S = 2 * DAY_S
"""Shortest history that is judged: its first day shows the season, its last 40 % are the test."""
WEEK_S = 7 * DAY_S
WIDEST_S = 3600.0
"""Widest spacing of samples: an hour says nothing about scaling within minutes, but something about the season."""
MOST_REPLICAS = 100_000
"""Twenty times what a Kubernetes cluster may have nodes: more is a capacity in the wrong unit."""
LATEST_S = 253_402_300_799.0
"""End of the year 9999: what lies beyond is no Unix time in seconds."""
LARGEST_GAPS = 0.5
"""Share of missing samples beyond which there is no history to speak of."""


@dataclass(frozen=True, slots=True)
class Trace:
    """One load history."""

    name: str
    start_s: float
    """Where the first sample begins, Unix seconds, on a whole minute."""
    spacing_s: float
    """A multiple of the HPA's sync period."""
    values: FloatArray
    """(n,), NaN inside gaps."""

    @property
    def span_s(self) -> float:
        """Length of the history."""
        return self.spacing_s * len(self.values)


def read_csv(path: Path) -> Trace:
    """Read and check a CSV file.

    Raises:
        HistoryError: it cannot be read, or its samples cannot be used; names the line.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            stamps, values, lines = _columns(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise HistoryError(f"{path}: cannot be read: {error}") from error
    except HistoryError as error:
        raise HistoryError(f"{path}: {error}") from error
    try:
        return evenly_spaced(path.stem, stamps, values, lines)
    except HistoryError as error:
        raise HistoryError(f"{path}: {error}") from error


def _columns(rows: Iterable[Sequence[str]]) -> tuple[FloatArray, FloatArray, list[int]]:
    stamps, values, lines = [], [], []
    for number, row in enumerate(rows, 1):
        if not row or (number == 1 and row[0].strip().lower() in {"timestamp", "time", "t"}):
            continue
        if len(row) < 2:
            raise HistoryError(f"line {number}: two columns are needed, timestamp,value, not {','.join(row)[:80]!r}")
        stamps.append(_stamp(row[0].strip(), number))
        values.append(_value(row[1].strip(), number))
        lines.append(number)
    return np.array(stamps, dtype=np.float64), np.array(values, dtype=np.float64), lines


def _stamp(text: str, line: int) -> float:
    try:
        return _unix(float(text), line)
    except ValueError:
        pass
    try:
        stamp = datetime.fromisoformat(text)
    except ValueError as error:
        raise HistoryError(f"line {line}: {text[:40]!r} is neither Unix seconds nor an RFC 3339 time") from error
    if stamp.tzinfo is None:
        raise HistoryError(f"line {line}: {text[:40]!r} has no time zone: RFC 3339 times end in Z or an offset")
    return stamp.timestamp()


def _unix(stamp_s: float, line: int) -> float:
    if not 0 <= stamp_s <= LATEST_S:
        raise HistoryError(f"line {line}: {stamp_s:g} is no Unix time in seconds: is it in milliseconds?")
    return stamp_s


def _value(text: str, line: int) -> float:
    if text.lower() in {"", "nan", "null"}:
        return math.nan
    try:
        value = float(text)
    except ValueError as error:
        raise HistoryError(f"line {line}: {text[:40]!r} is no number") from error
    if not math.isfinite(value):
        raise HistoryError(f"line {line}: a load must be finite, not {text}")
    if value < 0:
        raise HistoryError(f"line {line}: a load must not be negative, not {text}")
    return value


def evenly_spaced(name: str, stamps: FloatArray, values: FloatArray, lines: Sequence[int]) -> Trace:
    """Put samples on their grid; missing stamps become gaps.

    Raises:
        HistoryError: stamps that repeat, go back or leave the grid, or a spacing that cannot be used.
    """
    if len(stamps) < 3:
        raise HistoryError(f"{len(stamps)} samples: {_needed(0.0)}")
    steps = np.diff(stamps)
    for problem, words in ((steps == 0, "the same stamp as"), (steps < 0, "a stamp before that of")):
        if problem.any():
            at = int(np.argmax(problem)) + 1
            raise HistoryError(f"line {lines[at]} has {words} the line before it: stamps must rise")
    spacings_s, counts = np.unique(steps, return_counts=True)
    spacing_s = float(spacings_s[np.argmax(counts)])
    places = np.rint((stamps - stamps[0]) / spacing_s).astype(np.int64)
    off = np.abs(stamps - stamps[0] - places * spacing_s) > 0.01 * spacing_s
    if off.any():
        at = int(np.argmax(off))
        raise HistoryError(
            f"line {lines[at]}: irregular stamps: {steps[at - 1]:g} s after the line before it, where most samples are "
            f"{spacing_s:g} s apart; resample to a regular grid, with empty values where there is no sample"
        )
    # Before the grid is made: one stray stamp, years away, would ask for more memory than there is.
    _enough(name, 1.0 - len(stamps) / (float(places[-1]) + 1.0))
    grid = np.full(int(places[-1]) + 1, np.nan)
    grid[places] = values
    return _coarsened(name, float(stamps[0]), spacing_s, grid)


def _coarsened(name: str, start_s: float, spacing_s: float, grid: FloatArray) -> Trace:
    """Means of so many samples that their spacing is a multiple of the HPA's sync period."""
    if spacing_s > WIDEST_S or spacing_s != round(spacing_s):
        raise HistoryError(
            f"samples are {spacing_s:g} s apart: whole seconds up to {WIDEST_S:g} s can be judged, a minute is best"
        )
    k = math.lcm(round(spacing_s), round(HPA_SYNC_S)) // round(spacing_s)
    parts = grid[: len(grid) // k * k].reshape(-1, k)
    count = (~np.isnan(parts)).sum(axis=1)
    mean = np.where(2 * count >= k, np.nan_to_num(parts).sum(axis=1) / np.maximum(count, 1), np.nan)
    return Trace(name, start_s // 60.0 * 60.0, spacing_s * k, mean)


def judgeable(trace: Trace) -> Trace:
    """The same trace, if anything can be said about it.

    Raises:
        HistoryError: too short, mostly missing, all zero, or constant.
    """
    known = trace.values[~np.isnan(trace.values)]
    if trace.span_s < LEAST_S:
        raise HistoryError(f"{trace.name}: {trace.span_s / DAY_S:.1f} days of history: {_needed(trace.span_s)}")
    _enough(trace.name, 1.0 - len(known) / len(trace.values))
    if not known.any():
        raise HistoryError(f"{trace.name}: the load is zero throughout: there is nothing to scale")
    if (known == known[0]).all():
        raise HistoryError(
            f"{trace.name}: the load is {known[0]:g} throughout: a fixed number of replicas is all it takes"
        )
    for words, part in (("first", trace.values[: int(TRAINING * len(trace.values))]), ("last", judged_part(trace))):
        if not (part > 0).any():
            share = 100.0 * len(part) / len(trace.values)
            raise HistoryError(
                f"{trace.name}: no load in its {words} {share:.0f} %: there is nothing to learn from before the part "
                "that is judged, or nothing to judge; choose the days with --days or cut the file"
            )
    return trace


def judged_part(trace: Trace) -> FloatArray:
    """Samples of the part that is judged."""
    return trace.values[int((1.0 - TEST) * len(trace.values)) :]


def _enough(name: str, missing: float) -> None:
    if missing > LARGEST_GAPS:
        raise HistoryError(f"{name}: {100 * missing:.0f} % of the samples are missing: at least half are needed")


def _needed(span_s: float) -> str:
    return (
        f"at least {LEAST_S / DAY_S:g} days are needed (a season must have been seen once before it can be judged), "
        f"{WEEK_S / DAY_S:g} or more show the week; {(LEAST_S - span_s) / DAY_S:.1f} more days and the same command "
        'answers. Until then a workload with shadow: "true" records what Foresail would have done'
    )


def scalable(trace: Trace, workload: Workload) -> None:
    """Refuse a capacity that leaves nothing to decide.

    Raises:
        HistoryError: one replica always suffices, or the largest count never does.
    """
    known = trace.values[~np.isnan(trace.values)]
    capacity = workload.capacity or workload.threshold
    part = judged_part(trace)
    part = part[~np.isnan(part)]
    if known.max() > MOST_REPLICAS * capacity:
        raise HistoryError(
            f"{trace.name}: the largest load, {known.max():g}, is {known.max() / capacity:.3g} replicas of capacity "
            f"{capacity:g}, more than {MOST_REPLICAS:,}: is the capacity in the unit of the load?"
        )
    if known.max() <= capacity:
        raise HistoryError(
            f"{trace.name}: one replica of capacity {capacity:g} carries the largest load, {known.max():g}: there is "
            "nothing to scale; is the capacity per replica and in the unit of the load?"
        )
    largest = workload.max_replicas
    if largest is not None and part.min() > capacity * largest:
        raise HistoryError(
            f"{trace.name}: {largest} replicas of capacity {capacity:g} carry {capacity * largest:g}, less than the "
            f"smallest load that is judged, {part.min():g}: every step is saturated; raise maxReplicas or state the "
            "capacity in the unit of the load"
        )


def first_days(trace: Trace, days: float) -> Trace:
    """The beginning of a trace."""
    return Trace(trace.name, trace.start_s, trace.spacing_s, trace.values[: int(days * DAY_S / trace.spacing_s)])
