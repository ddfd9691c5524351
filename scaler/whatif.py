"""POST /predict: what would be needed if the load, the time or the window were different. Records nothing."""

import re
from dataclasses import dataclass, replace

import numpy as np

from forecasting import catalog
from forecasting.features import newest
from forecasting.series import DAY_S, History, Rows
from scaler.board import Posted
from scaler.core.domain import UNKNOWN, take
from scaler.core.guardrails import replicas_for
from scaler.core.policies import predictive_need
from scaler.errors import RequestError
from scaler.fleet import Fleet

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
THURSDAY = 3
"""Weekday of the Unix epoch."""


@dataclass(frozen=True, slots=True)
class Imagined:
    """What is different; None stays as it is."""

    load: float | None
    time_of_day: str | float | None
    """"14:30", "14:30:00" or an hour such as 14.5, UTC."""
    day_of_week: str | int | None
    """A name or 0 for Monday to 6 for Sunday."""
    window_minutes: float | None


def imagine(fleet: Fleet, row: int, posted: Posted, imagined: Imagined) -> Posted:
    """The decision as it would be: the forecast alone within the bounds, without guardrails that remember.

    Raises:
        RequestError: a time or day that cannot be understood.
    """
    at = slice(row, row + 1)
    columns, models, history = take(fleet.columns, at), take(fleet.models, at), fleet.ring.history(at)
    h = columns.h
    if imagined.window_minutes is not None:
        h = np.array([max(round(imagined.window_minutes * 60.0 / fleet.step_s), 1)])
    origin_s = np.array([history.end_s])
    season_s = np.array([_moment(history.end_s, imagined)])
    said = catalog.predict(models, _scaled(history, imagined.load), Rows(np.zeros(1, np.int64), origin_s, h, season_s))
    made = take(posted.decisions, slice(posted.row, posted.row + 1))
    need = predictive_need(said, made.level, np.zeros(1), columns)
    reactive = made.reactive if imagined.load is None else replicas_for(np.array([imagined.load]), columns.threshold)
    load = made.load if imagined.load is None else np.array([imagined.load])
    floor = np.where(columns.queue, 0, replicas_for(load, columns.capacity))
    wanted = np.maximum(np.where(need == UNKNOWN, reactive, need), floor)
    replicas = np.minimum(np.maximum(wanted, np.maximum(columns.minimum, 1)), columns.maximum)
    return Posted(
        replace(
            made,
            predictive=need,
            reactive=reactive,
            proposal=wanted,
            predicted_replicas=replicas,
            value=replicas.astype(np.float64),
            peak=said.peak,
            path=said.path,
        ),
        0,
    )


def _scaled(history: History, load: float | None) -> History:
    """The same recent shape, so scaled that its level is `load`; the long history stays."""
    if load is None:
        return history
    level = float(newest(history.fine[:, ::-1].astype(np.float64))[0])
    fine = np.full_like(history.fine, load) if not level > 0 else history.fine * (load / level)
    return replace(history, fine=fine)


def _moment(now_s: float, imagined: Imagined) -> float:
    """The newest moment up to now at that time and on that day."""
    moment_s = now_s
    if imagined.time_of_day is not None:
        moment_s -= (moment_s - _second_of_day(imagined.time_of_day)) % DAY_S
    if imagined.day_of_week is not None:
        moment_s -= (int(moment_s // DAY_S) + THURSDAY - _weekday(imagined.day_of_week)) % 7 * DAY_S
    return moment_s


def _second_of_day(text: str | float) -> float:
    if isinstance(text, str):
        clock = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?", text.strip())
        if clock:
            hours, minutes, seconds = (int(part or 0) for part in clock.groups())
            return hours * 3600.0 + minutes * 60.0 + seconds
    elif 0 <= text < 24:
        return text * 3600.0
    raise RequestError(f'metrics.time_of_day must be "14:30" or an hour from 0 to 24, not {text!r}')


def _weekday(day: str | int) -> int:
    if isinstance(day, int) and 0 <= day <= 6:
        return day
    named = [index for index, name in enumerate(DAYS) if isinstance(day, str) and name[:3] == day.strip().lower()[:3]]
    if named:
        return named[0]
    raise RequestError(f'metrics.day_of_week must be 0 (Monday) to 6 or a name such as "monday", not {day!r}')
