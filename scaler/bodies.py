"""What HTTP bodies look like: /openapi.json is made of these models, and nothing else checks what is asked.

Unknown keys, NaN, infinity and values of another type are refused by name, in gRPC's questions too.
"""

import json
import math
import re
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scaler.core.domain import LARGEST_LOAD, UNBOUNDED, UNKNOWN, Mode
from scaler.core.steering import OVERRIDE, SHADOW, Override, override_of
from scaler.core.trigger import duration_s
from scaler.errors import RequestError
from scaler.predictions import Question
from scaler.push import Sample
from scaler.whatif import NOTHING, Imagined, second_of_day, weekday_of

MOST_QUESTIONS = 1000
"""Most items of one batch."""
DAY_S = 86_400.0
WHEN = '"09:30", "2026-09-16T09:30", "2h ago" or Unix seconds, UTC where nothing else is said; now by default.'
"""How a moment of the past is written."""
MOST_SAMPLES = 1000
"""Most observations of one push."""


PRINTABLE = r"^[^\x00-\x1f\x7f]*$"
"""One line: it is logged."""

Asked = TypeVar("Asked", bound="Body")


class Body(BaseModel):
    """What is asked."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class Metrics(Body):
    """What to imagine; all absent values stay as they are."""

    current_rps: float | None = Field(default=None, ge=0, le=1e15)
    """Load now, in the unit of the workload's query."""
    current_latency_p95: float | None = Field(default=None, ge=0)
    """Understood, and not used by this version."""
    time_of_day: str | float | None = None
    """"14:30", "14:30:00" or an hour such as 14.5, UTC."""
    day_of_week: str | int | None = None
    """A name, its first three letters, or 0 for Monday to 6 for Sunday."""


class PredictBody(Body):
    """One question; with neither metrics nor a window the posted decision answers."""

    service: str = Field(min_length=1, max_length=253)
    """Name of the workload, or name~fingerprint."""
    namespace: str | None = Field(default=None, max_length=253)
    """Needed where the name alone means several."""
    metrics: Metrics = Metrics()
    prediction_window_minutes: float | None = Field(default=None, gt=0, le=360)
    """Window whose peak must be borne, instead of the workload's lead window."""


class BatchBody(Body):
    """Up to 1,000 questions; each is answered or refused by itself."""

    requests: list[Any] = Field(
        min_length=1,
        max_length=MOST_QUESTIONS,
        json_schema_extra={"items": {"$ref": "#/components/schemas/PredictBody"}},
    )


class SampleBody(Body):
    """Load of one moment: the sample stamped t is the mean since the one before it."""

    t: float = Field(ge=0, le=1e11)
    """Unix seconds."""
    load: float | None = Field(default=None, ge=0, le=LARGEST_LOAD)
    """Total over all replicas; null where it could not be measured, which is not zero."""
    arrivals: float | None = Field(default=None, ge=0, le=LARGEST_LOAD)
    """For queues: messages per second that arrive."""
    replicas: int | None = Field(default=None, ge=0, le=1_000_000)
    """Replicas that the HPA sees."""
    ready: int | None = Field(default=None, ge=0, le=1_000_000)
    """Replicas that serve."""
    cpu: float | None = Field(default=None, ge=0, le=LARGEST_LOAD)
    """Share of the request that is used, 1 = all of it."""
    memory: float | None = Field(default=None, ge=0, le=LARGEST_LOAD)
    """Share of the request that is used."""
    latency: float | None = Field(default=None, ge=0, le=LARGEST_LOAD)
    """95th percentile in seconds."""
    queue: float | None = Field(default=None, ge=0, le=LARGEST_LOAD)
    """Messages that wait."""


class SamplesBody(Body):
    """Up to 1,000 samples; each is stored or refused by itself."""

    observations: list[Any] = Field(
        min_length=1, max_length=MOST_SAMPLES, json_schema_extra={"items": {"$ref": "#/components/schemas/SampleBody"}}
    )


class OverrideBody(Body):
    """What is fixed by hand, for a while."""

    replicas: int | None = Field(default=None, ge=0, le=UNBOUNDED)
    """A count; or `mode`."""
    mode: Literal["Normal", "Degraded"] | None = None
    """Serve the forecast, or the reactive rule."""
    lasts: str = Field(min_length=1, max_length=20)
    """How long, such as 90s, 30m or 2h; at most 30 days."""
    reason: str = Field(min_length=1, max_length=400, pattern=PRINTABLE)
    """Why, for whoever wonders later."""


class SteeringBody(Body):
    """What is asked by hand; a key that is absent leaves things as they are."""

    by: str = Field(min_length=1, max_length=100, pattern=PRINTABLE)
    """Who asks."""
    override: OverrideBody | None = None
    """null ends what is in force."""
    shadow: bool | None = None
    """true serves the reactive answer, false the forecast whatever the trigger says, null leaves it to the trigger."""


def annotations_of(value: Any, now_s: float) -> dict[str, str | None]:
    """Understand what is asked by hand as annotations to set, or to remove where they are None.

    Raises:
        RequestError: names the key, and what would be right.
    """
    body = understood(SteeringBody, value)
    changes: dict[str, str | None] = {}
    if "shadow" in body.model_fields_set:
        changes[SHADOW] = None if body.shadow is None else str(body.shadow).lower()
    if "override" in body.model_fields_set:
        changes[OVERRIDE] = None if body.override is None else _annotation(body.override, body.by, now_s)
    if not changes:
        raise RequestError("override or shadow is required")
    return changes


def _annotation(asked: OverrideBody, by: str, now_s: float) -> str:
    if (asked.replicas is None) == (asked.mode is None):
        raise RequestError("override: either replicas or mode is required")
    begin_s = float(int(now_s))
    try:
        fixed = Mode[asked.mode.upper()] if asked.mode is not None else int(asked.replicas or 0)
        made = Override(fixed, begin_s, begin_s + duration_s(asked.lasts), asked.reason, by).as_annotation()
        override_of(made)
    except ValueError as error:
        raise RequestError(f"override: {error}") from error
    return made


def parsed(body: bytes) -> Any:
    """JSON, or a RequestError that says where it is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the body must be JSON: {error}"[:200]) from error


def question_of(value: Any) -> Question:
    """Understand one question.

    Raises:
        RequestError: names the key, and what would be right.
    """
    body = understood(PredictBody, value)
    metrics, minutes = body.metrics, body.prediction_window_minutes
    imagined = Imagined(
        load=_known(metrics.current_rps),
        second_of_day=second_of_day(metrics.time_of_day),
        weekday=weekday_of(metrics.day_of_week),
        window_s=math.nan if minutes is None else minutes * 60.0,
    )
    return Question(body.service, body.namespace, NOTHING if _nothing(imagined) else imagined)


def _nothing(imagined: Imagined) -> bool:
    return all(map(math.isnan, (imagined.load, imagined.second_of_day, imagined.weekday, imagined.window_s)))


def batch_of(value: Any) -> list[Question | RequestError]:
    """Understand a batch, each item by itself.

    Raises:
        RequestError: the batch as a whole is none.
    """
    return [question_or_error(item) for item in understood(BatchBody, value).requests]


def question_or_error(value: Any) -> Question | RequestError:
    """Understand one item of a batch; an error instead of raising it."""
    try:
        return question_of(value)
    except RequestError as error:
        return error


def samples_of(value: Any) -> list[Sample | RequestError]:
    """Understand pushed samples: a list under `observations`, or a single one; each by itself.

    Raises:
        RequestError: there is neither.
    """
    single = isinstance(value, dict) and "observations" not in value
    items = [value] if single else understood(SamplesBody, value).observations
    return [_sample_or_error(item) for item in items]


def _sample_or_error(value: Any) -> Sample | RequestError:
    try:
        body = understood(SampleBody, value)
    except RequestError as error:
        return error
    return Sample(
        body.t,
        _known(body.load),
        _known(body.arrivals),
        UNKNOWN if body.replicas is None else body.replicas,
        UNKNOWN if body.ready is None else body.ready,
        (_known(body.cpu), _known(body.memory), _known(body.latency), _known(body.queue)),
    )


def _known(value: float | None) -> float:
    return math.nan if value is None else value


def understood(model: type[Asked], value: Any) -> Asked:
    """`value` as `model`.

    Raises:
        RequestError: names every key that does not fit.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, p['loc'])) or 'body'}: {p['msg']}" for p in error.errors(include_url=False))
        raise RequestError("; ".join(problems)[:1000]) from error


def moment_of(text: str | None, now_s: float) -> float:
    """Unix seconds of a moment written as WHEN says; of a time of day the newest one. None is now.

    Raises:
        RequestError: it is none of these.
    """
    said = "" if text is None else text.strip()
    if not said or said == "now":
        return now_s
    ago = re.fullmatch(r"(\d{1,6}(?:\.\d+)?)\s*([smhd])(?:\s+ago)?", said)
    if ago:
        return now_s - float(ago[1]) * {"s": 1.0, "m": 60.0, "h": 3600.0, "d": DAY_S}[ago[2]]
    if re.fullmatch(r"\d{9,11}(?:\.\d+)?", said):
        return float(said)
    try:
        if ":" in said and "-" not in said:
            return now_s - (now_s - second_of_day(said)) % DAY_S
        moment = datetime.fromisoformat(said)
    except (ValueError, RequestError):
        raise RequestError(f"a time is {WHEN.removesuffix('; now by default.')}, not {said[:60]!r}") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
