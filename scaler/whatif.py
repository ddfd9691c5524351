"""What would be needed if the load, the time or the window were different. Records nothing.

Any number of questions about the workloads of one fleet are one batch: one forecast over all rows.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from forecasting import catalog
from forecasting.features import newest
from forecasting.forecast import FloatArray, IntArray, Quantiles, level_of
from forecasting.series import DAY_S, RECENT, History, Rows
from scaler.board import Posted
from scaler.core.domain import UNKNOWN, Workloads, take
from scaler.core.guardrails import replicas_for
from scaler.core.policies import predictive_need
from scaler.errors import RequestError
from scaler.fleet import Fleet

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
THURSDAY = 3
"""Weekday of the Unix epoch."""
LARGEST_FACTOR = 1e9
"""Most by which a recent past is scaled up; beyond it its shape says nothing, and it is taken as constant."""


@dataclass(frozen=True, slots=True)
class Imagined:
    """What is different; NaN stays as it is."""

    load: float = np.nan
    second_of_day: float = np.nan
    weekday: float = np.nan
    """0 is Monday."""
    window_s: float = np.nan


NOTHING = Imagined()
"""Nothing is different: the posted decision answers."""


@dataclass(frozen=True, slots=True)
class Predictions:
    """Answers to R questions."""

    replicas: IntArray
    value: FloatArray
    confidence: FloatArray
    """NaN without a forecast."""
    mode: IntArray
    version: IntArray
    peak: FloatArray
    """(R, Q)"""
    path: FloatArray
    """(R, Q)"""


def as_posted(posted: Sequence[Posted]) -> Predictions:
    """The posted decisions themselves."""
    made = [(p.decisions, p.row) for p in posted]
    replicas = np.array([d.predicted_replicas[row] for d, row in made], np.int64)
    capacity = np.array([d.capacity[row] for d, row in made], np.float64)
    peak = np.stack([d.peak[row] for d, row in made])
    return Predictions(
        replicas=replicas,
        value=np.array([d.value[row] for d, row in made], np.float64),
        confidence=level_of(peak, replicas * capacity),
        mode=np.array([d.mode[row] for d, row in made], np.int64),
        version=np.array([d.version[row] for d, row in made], np.int64),
        peak=peak,
        path=np.stack([d.path[row] for d, row in made]),
    )


def imagine(fleet: Fleet, rows: IntArray, posted: Sequence[Posted], questions: Sequence[Imagined]) -> Predictions:
    """Decisions as they would be: the forecast alone within the bounds, without guardrails that remember.

    `rows`, (R,), are the workloads that the R questions are about, `posted` their latest decisions.
    """
    columns, history = take(fleet.columns, rows), fleet.history(slice(None))
    load, second, weekday, window_s = np.array(
        [(q.load, q.second_of_day, q.weekday, q.window_s) for q in questions], np.float64
    ).T
    h = np.where(np.isnan(window_s), columns.h, np.maximum(np.rint(np.nan_to_num(window_s) / fleet.step_s), 1))
    asked = Rows(
        workload=rows,
        origin_s=np.full(len(rows), history.end_s),
        h=h.astype(np.int64),
        season_s=_moments(history.end_s, second, weekday),
        imagined=np.arange(len(rows)),
    )
    raw = catalog.predict(fleet.models, replace(history, fine=_recent(history, rows, load)), asked)
    said = fleet.as_served(rows, raw)
    replicas, made = _needed(said, load, posted, columns), as_posted(posted)
    return replace(
        made,
        replicas=replicas,
        value=replicas.astype(np.float64),
        confidence=level_of(said.peak, replicas * columns.capacity),
        peak=said.peak,
        path=said.path,
    )


def _needed(said: Quantiles, load: FloatArray, posted: Sequence[Posted], columns: Workloads) -> IntArray:
    level = np.array([p.decisions.level[p.row] for p in posted], np.float64)
    seen = np.array([p.decisions.load[p.row] for p in posted], np.float64)
    rule = np.array([p.decisions.reactive[p.row] for p in posted], np.int64)
    need = predictive_need(said, level, np.zeros(len(level)), columns)
    reactive = np.where(np.isnan(load), rule, replicas_for(load, columns.threshold))
    floor = np.where(columns.queue, 0, replicas_for(np.where(np.isnan(load), seen, load), columns.capacity))
    wanted = np.maximum(np.where(need == UNKNOWN, reactive, need), floor)
    return np.minimum(np.maximum(wanted, np.maximum(columns.minimum, 1)), columns.maximum)


def _recent(history: History, rows: IntArray, load: FloatArray) -> FloatArray:
    """The same recent shape, so scaled that its level is `load`, (R, n); the long history stays."""
    fine = history.fine[rows, -RECENT * history.samples_per_bucket :].astype(np.float64)
    level = newest(fine[:, ::-1])
    scalable = LARGEST_FACTOR * level > load
    factor = np.where(scalable, load / np.where(scalable, level, 1.0), 1.0)
    scaled = np.where(np.isnan(load), 1.0, factor)[:, None] * fine
    return np.where((np.isnan(load) | scalable)[:, None], scaled, load[:, None])


def _moments(now_s: float, second: FloatArray, weekday: FloatArray) -> FloatArray:
    """The newest moments up to now at that time of day and on that day, (R,)."""
    earlier_s = np.where(np.isnan(second), 0.0, (now_s - second) % DAY_S)
    moment_s = now_s - earlier_s
    days = np.where(np.isnan(weekday), 0.0, (moment_s // DAY_S + THURSDAY - weekday) % 7)
    return np.asarray(moment_s - days * DAY_S)


def second_of_day(text: str | float | None) -> float:
    """Seconds after midnight of "14:30", "14:30:00" or an hour such as 14.5; NaN for None.

    Raises:
        RequestError: it is none of these.
    """
    if text is None:
        return np.nan
    if isinstance(text, str):
        clock = re.fullmatch(r"([01]?[0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9]))?", text.strip())
        if clock:
            hours, minutes, seconds = (int(part or 0) for part in clock.groups())
            return hours * 3600.0 + minutes * 60.0 + seconds
    elif 0 <= text < 24:
        return text * 3600.0
    raise RequestError(f'metrics.time_of_day must be "14:30" or an hour from 0 to 24, not {text!r}'[:300])


def weekday_of(day: str | int | None) -> float:
    """0 for Monday to 6 for Sunday of a number or a name; NaN for None.

    Raises:
        RequestError: it is none of these.
    """
    if day is None:
        return np.nan
    if isinstance(day, int) and 0 <= day <= 6:
        return float(day)
    if isinstance(day, str):
        short = day.strip().lower()
        for index, name in enumerate(DAYS):
            if short in {name, name[:3]}:
                return float(index)
    raise RequestError(f'metrics.day_of_week must be 0 (Monday) to 6 or a name such as "monday", not {day!r}'[:300])
