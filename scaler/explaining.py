"""A decision explained: found in the journal, and its forecast taken apart with the history and model that are kept."""

import asyncio
from dataclasses import dataclass
from functools import partial

import numpy as np

from forecasting import catalog
from forecasting.explanation import PARTS, Question, explain
from forecasting.forecast import FloatArray, Quantiles, at_level
from forecasting.occasions import HOLD_S
from forecasting.series import RECENT, History, Rows
from scaler.core.domain import Kind
from scaler.engine import Engine
from scaler.errors import NotKept
from scaler.reasons import Bound, Told, bound_of, headline, sentences
from scaler.record import Recorded
from scaler.roster import Key

REPLACED = "the model of then has been replaced twice"
GONE = "the load of then is no longer kept"
COARSER = "told from minutes, for the samples of then are no longer kept"


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a workload got its number."""

    kept: Recorded
    """The one decision."""
    told: Told
    headline: str
    sentences: list[str]


async def explained(engine: Engine, key: Key, at_s: float) -> Explanation:
    """The newest decision up to `at_s`, explained.

    Raises:
        NotKept: none is kept from then.
    """
    kept = await asyncio.to_thread(engine.journal.newest, key, at_s)
    if not len(kept.t_s):
        raise NotKept(f"{key}: no decision is kept from the day before that time")
    workload = engine.roster.entries[key].workload
    bound = bound_of(kept, 0, queue=workload.kind is Kind.QUEUE)
    parts: FloatArray = np.full(len(PARTS), np.nan)
    doubt: str | None = REPLACED
    event = None
    fleet, row = engine.row_of(key)
    models = fleet.model_of(row, int(kept.version[0]))
    if not np.isnan(bound.load) and models is not None:
        history = fleet.history(np.array([row]))
        asked = _asked(history, kept)
        parts, doubt = await asyncio.to_thread(_taken_apart, history, models, asked, kept, bound)
        event = _event(engine, workload.calendar, history, asked)
    told = Told(bound, parts, doubt, event, workload.kind is Kind.QUEUE, workload.observe_only)
    identity = f"{key.namespace}/{engine.roster.identifier(key)}"
    return Explanation(kept, told, headline(identity, kept, 0), sentences(kept, 0, told))


def _asked(history: History, kept: Recorded) -> Rows:
    """What was asked of the forecaster then: from the newest sample on, a lead window and as much as it was stale."""
    t_s, step_s = float(kept.t_s[0]), history.step_s
    stamps_s = history.end_s - step_s * np.arange(history.fine.shape[1] - 1.0, -1.0, -1.0)
    known = stamps_s[~np.isnan(history.fine[0]) & (stamps_s <= t_s)]
    origin_s = float(known[-1]) if len(known) else t_s
    h = int(kept.h[0]) + round((t_s - origin_s) / step_s)
    return Rows(np.zeros(1, np.int64), np.array([origin_s]), np.array([h]), np.array([origin_s]))


def _taken_apart(
    history: History, models: catalog.Models, asked: Rows, kept: Recorded, bound: Bound
) -> tuple[FloatArray, str | None]:
    """Parts of the bound, and why they are not known or not for certain."""
    level, offset = np.array([bound.probability]), 0.25 * kept.capacity

    def read(said: Quantiles) -> FloatArray:
        n = len(said.level)
        return np.fmin(at_level(said.peak, np.repeat(level, n), np.repeat(offset, n)), said.ceiling)

    spoken = partial(catalog.spoken, models)
    expected = catalog.predict(models, history, asked)
    heard = not kept.persistent[0]
    parts = explain(Question(history, asked, spoken, expected, read, bound.load, heard=heard))
    if np.isnan(parts).any():
        return parts, GONE
    back = round((history.end_s - float(asked.origin_s[0])) / history.step_s)
    exact = back + RECENT * history.samples_per_bucket <= history.fine.shape[1]
    return parts, None if exact else COARSER


def _event(engine: Engine, calendar: str | None, history: History, asked: Rows) -> str | None:
    """Name of an event that is known to begin within the lead window, or has just begun."""
    if calendar is None or history.places is None:
        return None
    first_s = float(asked.origin_s[0]) - HOLD_S
    last_s = float(asked.origin_s[0] + asked.h[0] * history.step_s)
    for _, laid_out in history.places.of(asked.workload):
        on = np.flatnonzero((laid_out.begin_s > first_s) & (laid_out.begin_s < last_s))
        for number in laid_out.event[on].tolist():
            return str(engine.agendas[calendar].events[number].name)
    return None
