"""Questions of any door → predictions: the one place where HTTP and gRPC meet.

Questions that imagine nothing are answered with the posted decision, the others with what would be decided. A batch is
answered in tiles, so that other requests are answered between them.
"""

import asyncio
import functools
import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import numpy as np

from forecasting import catalog, ensemble
from forecasting.ensemble import EnsembleState
from forecasting.forecast import FloatArray
from forecasting.series import History, Rows
from scaler.board import Posted
from scaler.core.domain import Mode, take
from scaler.engine import Engine
from scaler.errors import ForesailError
from scaler.fleet import Fleet
from scaler.roster import Key
from scaler.whatif import NOTHING, Imagined, Predictions, as_posted, imagine

OUTLOOK_S = 3600.0
"""How far ahead the path is told."""
TILE = 128
"""Questions answered at once: some four milliseconds."""
LABELS = tuple(mode.label for mode in Mode)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked about one workload."""

    service: str
    namespace: str | None
    imagined: Imagined


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer to one question."""

    service: str
    namespace: str
    replicas: int
    value: float
    mode: str
    confidence: float
    """NaN without a forecast, as are the quantiles."""
    model_version: str
    peak: list[float]
    path: list[float]


@dataclass(frozen=True, slots=True)
class _Found:
    """A question whose workload is known and decided."""

    key: Key
    fleet: Fleet
    row: int
    posted: Posted
    imagined: Imagined


async def answer_one(engine: Engine, question: Question) -> Prediction:
    """Answer one question: a batch of one.

    Raises:
        UnknownWorkload, AmbiguousWorkload: as `Roster.find`.
        NotDecidedYet, StaleLoad: as `Board.first`.
    """
    async for (answered,) in answer(engine, [question]):
        if isinstance(answered, Prediction):
            return answered
        raise answered
    raise AssertionError("a batch of one has one answer")


async def answer(
    engine: Engine, questions: Sequence[Question | ForesailError]
) -> AsyncIterator[list[Prediction | ForesailError]]:
    """Answers in the order of the questions, tile by tile; what could not be answered is the error that says why."""
    await _wait_for_first_decisions(engine, questions)
    for start in range(0, len(questions), TILE):
        if start:
            await asyncio.sleep(0)
        yield _answered(engine, questions[start : start + TILE])


async def _wait_for_first_decisions(engine: Engine, questions: Sequence[Question | ForesailError]) -> None:
    """Newcomers get the time that any first request has, all of them together."""
    waited: dict[Key, None] = {}
    for question in questions:
        try:
            if isinstance(question, Question):
                key = engine.roster.find(question.service, question.namespace)
                if engine.board.get(key) is None:
                    waited[key] = None
        except ForesailError:
            continue
    await asyncio.gather(*(engine.first(key) for key in waited), return_exceptions=True)


def _answered(engine: Engine, questions: Sequence[Question | ForesailError]) -> list[Prediction | ForesailError]:
    found = [_find(engine, question) for question in questions]
    answers: dict[int, Prediction | ForesailError] = {}
    groups: dict[tuple[int, bool], list[tuple[int, _Found]]] = {}
    for index, one in enumerate(found):
        if isinstance(one, _Found):
            groups.setdefault((id(one.fleet), one.imagined is NOTHING), []).append((index, one))
        else:
            answers[index] = one
    for group in groups.values():
        indices, asked = zip(*group, strict=True)
        answers.update(zip(indices, _single(engine, asked, _said(asked)), strict=True))
    return [answers[index] for index in range(len(questions))]


def _said(asked: Sequence[_Found]) -> Predictions:
    """One fleet's questions, which either all imagine nothing or all something."""
    posted = [one.posted for one in asked]
    if asked[0].imagined is NOTHING:
        return as_posted(posted)
    return imagine(asked[0].fleet, np.array([one.row for one in asked]), posted, [one.imagined for one in asked])


def _find(engine: Engine, question: Question | ForesailError) -> _Found | ForesailError:
    if isinstance(question, ForesailError):
        return question
    try:
        key = engine.roster.find(question.service, question.namespace)
        fleet, row = engine.row_of(key)
        return _Found(key, fleet, row, engine.board.answer(key), question.imagined)
    except ForesailError as error:
        return error


def _single(engine: Engine, asked: Sequence[_Found], said: Predictions) -> list[Prediction]:
    return [
        Prediction(
            engine.roster.identifier(found.key),
            found.key.namespace,
            replicas,
            value,
            LABELS[mode],
            confidence,
            model_name(version),
            peak,
            path,
        )
        for found, replicas, value, mode, confidence, version, peak, path in zip(
            asked,
            said.replicas.tolist(),
            said.value.tolist(),
            said.mode.tolist(),
            said.confidence.tolist(),
            said.version.tolist(),
            said.peak.tolist(),
            said.path.tolist(),
            strict=True,
        )
    ]


@dataclass(frozen=True, slots=True)
class Outlook:
    """The load to come of one workload."""

    t_s: float
    """Newest sample, Unix seconds."""
    model_version: str
    confidence: float
    """Of the posted decision, NaN without one or without a forecast."""
    lead_steps: int
    lead_s: float
    peak: FloatArray
    """Quantiles of the largest load in the lead window, (Q,)."""
    path_t_s: FloatArray
    """(H,)"""
    path: FloatArray
    """(H, Q)"""


@dataclass(frozen=True, slots=True)
class Basis:
    """What one workload's outlook is made from, copied: it may be made beside the loop."""

    step_s: float
    h: int
    """Lead window in steps."""
    history: History
    models: catalog.Models
    looked: EnsembleState
    confidence: float
    """Of the posted decision, NaN without one or without a forecast."""


def basis_of(engine: Engine, key: Key) -> Basis:
    """Copy what an outlook needs; to be called in the loop."""
    fleet, row = engine.row_of(key)
    history, models, looked = fleet.apart(row)
    posted = engine.board.get(key)
    confidence = math.nan if posted is None else float(as_posted([posted]).confidence[0])
    return Basis(fleet.step_s, int(fleet.columns.h[row]), history, models, looked, confidence)


def outlook(basis: Basis) -> Outlook:
    """Path quantiles at steps through the coming hour, and the peak in the lead window."""
    history, models = basis.history, basis.models
    every = max(round(OUTLOOK_S / 60.0 / basis.step_s), 1)
    steps = np.arange(every, round(OUTLOOK_S / basis.step_s) + 1, every)
    h = np.append(basis.h, steps if len(steps) else np.ones(1, np.int64))
    same, origin_s = np.zeros(len(h), np.int64), np.full(len(h), history.end_s)
    said = catalog.predict(models, history, Rows(same, origin_s, h, origin_s))
    said = ensemble.applied(take(basis.looked, same), said, models.epsilon[same])
    return Outlook(
        t_s=history.end_s,
        model_version=model_name(int(models.cutoff_s[0])),
        confidence=basis.confidence,
        lead_steps=basis.h,
        lead_s=float(basis.h * basis.step_s),
        peak=said.peak[0],
        path_t_s=np.asarray(history.end_s + h[1:] * basis.step_s, np.float64),
        path=said.path[1:],
    )


@functools.lru_cache(maxsize=4096)
def model_name(version: int) -> str:
    """A model by its cutoff; the naive forecaster has none."""
    return "naive" if version == 0 else f"ensemble@{np.datetime64(version, 's')}Z"
