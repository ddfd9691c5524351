from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PredictRequest(_message.Message):
    __slots__ = ("service", "namespace", "metrics", "prediction_window_minutes")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    PREDICTION_WINDOW_MINUTES_FIELD_NUMBER: _ClassVar[int]
    service: str
    namespace: str
    metrics: Metrics
    prediction_window_minutes: float
    def __init__(self, service: _Optional[str] = ..., namespace: _Optional[str] = ..., metrics: _Optional[_Union[Metrics, _Mapping]] = ..., prediction_window_minutes: _Optional[float] = ...) -> None: ...

class Metrics(_message.Message):
    __slots__ = ("current_rps", "current_latency_p95", "time_of_day", "day_of_week")
    CURRENT_RPS_FIELD_NUMBER: _ClassVar[int]
    CURRENT_LATENCY_P95_FIELD_NUMBER: _ClassVar[int]
    TIME_OF_DAY_FIELD_NUMBER: _ClassVar[int]
    DAY_OF_WEEK_FIELD_NUMBER: _ClassVar[int]
    current_rps: float
    current_latency_p95: float
    time_of_day: str
    day_of_week: str
    def __init__(self, current_rps: _Optional[float] = ..., current_latency_p95: _Optional[float] = ..., time_of_day: _Optional[str] = ..., day_of_week: _Optional[str] = ...) -> None: ...

class PredictResponse(_message.Message):
    __slots__ = ("service", "namespace", "predicted_replicas", "value", "mode", "confidence", "model_version", "levels", "peak", "path")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_REPLICAS_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    LEVELS_FIELD_NUMBER: _ClassVar[int]
    PEAK_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    service: str
    namespace: str
    predicted_replicas: int
    value: float
    mode: str
    confidence: float
    model_version: str
    levels: _containers.RepeatedScalarFieldContainer[float]
    peak: _containers.RepeatedScalarFieldContainer[float]
    path: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, service: _Optional[str] = ..., namespace: _Optional[str] = ..., predicted_replicas: _Optional[int] = ..., value: _Optional[float] = ..., mode: _Optional[str] = ..., confidence: _Optional[float] = ..., model_version: _Optional[str] = ..., levels: _Optional[_Iterable[float]] = ..., peak: _Optional[_Iterable[float]] = ..., path: _Optional[_Iterable[float]] = ...) -> None: ...

class PredictBatchRequest(_message.Message):
    __slots__ = ("requests",)
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedCompositeFieldContainer[PredictRequest]
    def __init__(self, requests: _Optional[_Iterable[_Union[PredictRequest, _Mapping]]] = ...) -> None: ...

class PredictBatchResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[Result]
    def __init__(self, results: _Optional[_Iterable[_Union[Result, _Mapping]]] = ...) -> None: ...

class Result(_message.Message):
    __slots__ = ("prediction", "refusal")
    PREDICTION_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    prediction: PredictResponse
    refusal: Refusal
    def __init__(self, prediction: _Optional[_Union[PredictResponse, _Mapping]] = ..., refusal: _Optional[_Union[Refusal, _Mapping]] = ...) -> None: ...

class Refusal(_message.Message):
    __slots__ = ("code", "message")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ...) -> None: ...

class GetForecastRequest(_message.Message):
    __slots__ = ("service", "namespace")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    service: str
    namespace: str
    def __init__(self, service: _Optional[str] = ..., namespace: _Optional[str] = ...) -> None: ...

class GetForecastResponse(_message.Message):
    __slots__ = ("service", "namespace", "t", "model_version", "confidence", "levels", "lead_steps", "lead_seconds", "lead_peak", "path")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    T_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    LEVELS_FIELD_NUMBER: _ClassVar[int]
    LEAD_STEPS_FIELD_NUMBER: _ClassVar[int]
    LEAD_SECONDS_FIELD_NUMBER: _ClassVar[int]
    LEAD_PEAK_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    service: str
    namespace: str
    t: float
    model_version: str
    confidence: float
    levels: _containers.RepeatedScalarFieldContainer[float]
    lead_steps: int
    lead_seconds: float
    lead_peak: _containers.RepeatedScalarFieldContainer[float]
    path: _containers.RepeatedCompositeFieldContainer[Moment]
    def __init__(self, service: _Optional[str] = ..., namespace: _Optional[str] = ..., t: _Optional[float] = ..., model_version: _Optional[str] = ..., confidence: _Optional[float] = ..., levels: _Optional[_Iterable[float]] = ..., lead_steps: _Optional[int] = ..., lead_seconds: _Optional[float] = ..., lead_peak: _Optional[_Iterable[float]] = ..., path: _Optional[_Iterable[_Union[Moment, _Mapping]]] = ...) -> None: ...

class Moment(_message.Message):
    __slots__ = ("t", "quantiles")
    T_FIELD_NUMBER: _ClassVar[int]
    QUANTILES_FIELD_NUMBER: _ClassVar[int]
    t: float
    quantiles: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, t: _Optional[float] = ..., quantiles: _Optional[_Iterable[float]] = ...) -> None: ...
