"""What HTTP answers look like, for /openapi.json: `views` builds them, and a test holds both together."""

from pydantic import BaseModel, ConfigDict, Field

Quantiles = dict[str, float | None]


class Answer(BaseModel):
    """What is answered; null where nobody can tell."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, title="Answer")


class ErrorAnswer(Answer):
    """Why a request was refused."""

    error: str


class PeakAndPath(Answer):
    """Quantiles by level; null without a forecast."""

    peak: Quantiles
    """Largest load in the window."""
    path: Quantiles
    """Load at its end."""


class PredictionAnswer(Answer):
    """The posted decision, or the one that would be posted."""

    service: str
    namespace: str
    predicted_replicas: int = Field(ge=0)
    value: float = Field(ge=0)
    """What the HPA is sent: it differs from the replicas where the HPA's tolerance would swallow them."""
    mode: str
    confidence: float | None = Field(ge=0, le=1)
    """Probability that the replicas suffice through the window."""
    model_version: str
    forecast: PeakAndPath


class RefusedItem(Answer):
    """Why one item of a batch was refused."""

    error: str
    status: int
    """What the same question alone would have been answered with."""


class BatchAnswer(Answer):
    """Answers in the order of the requests."""

    predictions: list[PredictionAnswer | RefusedItem]


class CapacityAnswer(Answer):
    """A load per replica with its 95 % interval."""

    load: float
    low: float
    high: float


class WorkloadAnswer(Answer):
    """A tracked workload, briefly."""

    namespace: str
    name: str
    kind: str
    threshold: float
    capacity: float | None
    """As stated."""
    capacity_learnt: CapacityAnswer | None
    """What one replica was found to bear, null where that is not identifiable."""
    lead_s: float
    inactive_keys: list[str]
    """Trigger keys that were understood but whose feature is not built into this version."""
    trouble: str | None
    """Why its newest sample is missing, null where it is there."""
    mode: str
    load: float | None
    replicas: int | None
    predicted_replicas: int | None
    predictive: int | None
    reactive: int | None


class WorkloadsAnswer(Answer):
    """All tracked workloads."""

    workloads: list[WorkloadAnswer]
    journal: str | None
    """Why decisions are kept in memory only, null where they are on disk."""


class AgentAnswer(Answer):
    """What the agent says of one decision."""

    replicas: int
    """What it would keep."""
    move: str
    """Its last move."""
    acting: bool
    """Whether the proposal is its own."""


class DecisionAnswer(Answer):
    """The whole record of one decision."""

    t: float
    predicted_replicas: int
    value: float
    reached: int | None
    """What the HPA makes of the value, rates and windows aside; another count than the replicas: it will not follow."""
    active: bool
    mode: str
    cause: str
    """Why the mode was entered."""
    evidence: str
    """What speaks for the model."""
    drift: float | None
    """How far load and errors have drifted, 0 to 1."""
    earned: float
    load: float | None
    feedback: Quantiles
    replicas: int | None
    ready: int | None
    reactive: int
    reactive_alone: int
    predictive: int | None
    proposal: int
    agent: AgentAnswer | None
    """Null where there is no agent, or it has no word."""
    guardrails: dict[str, int]
    """The number after each guardrail, in their order."""
    held_by: list[str]
    """Guardrails that moved the number."""
    price: float | None
    level: float | None
    confidence: float | None
    capacity: float | None
    model_version: str
    peak: Quantiles
    path: Quantiles


class OneWorkloadAnswer(WorkloadAnswer):
    """A tracked workload and its latest decision."""

    decision: DecisionAnswer | None


class DecisionsAnswer(Answer):
    """Newest first."""

    decisions: list[DecisionAnswer]


class LeadWindow(Answer):
    """The window that a replica started now must bear."""

    steps: int
    seconds: float
    peak: Quantiles


class Moment(Answer):
    """Load at one moment to come."""

    t: float
    quantiles: Quantiles


class ForecastAnswer(Answer):
    """The load of the coming hour."""

    namespace: str
    name: str
    t: float
    """Newest sample, Unix seconds."""
    model_version: str
    confidence: float | None
    """Of the posted decision."""
    lead_window: LeadWindow
    path: list[Moment]


class Basis(Answer):
    """What was taken from a forecast, and what that rested on."""

    load: float
    """The load until `until` stays below it …"""
    probability: float
    """… with this probability."""
    until: float
    """End of the lead window, Unix seconds."""
    parts: dict[str, float] | None
    """What the load is made of: level, chance, trend, day, week, event, correction; they sum to it."""
    event: str | None
    """Name of the known event."""
    doubt: str | None
    """Why the parts are not known, or not for certain."""


class GuardrailPush(Answer):
    """A guardrail that moved the number."""

    name: str
    was: int
    became: int


class ExplanationAnswer(Answer):
    """A decision in sentences, and the numbers behind them."""

    namespace: str
    name: str
    t: float
    headline: str
    sentences: list[str]
    predicted_replicas: int
    value: float
    replicas: int | None
    reached: int | None
    mode: str
    cause: str
    capacity: float | None
    forecast: Basis | None
    proposal: int
    guardrails: list[GuardrailPush]
    """Those that moved the number, in their order."""
    reactive: int
    """What the HPA rule wanted on the replicas that ran."""
    reactive_alone: int
    """What the HPA rule would have run had it been alone."""
    forecast_alone: int | None


class RefusedSample(Answer):
    """Why one sample was refused."""

    index: int
    """Its place among those pushed, from 0."""
    error: str


class PushAnswer(Answer):
    """What became of pushed samples."""

    stored: int
    refused: list[RefusedSample]
    durable: bool
    """Whether the samples outlive a restart; else they are in memory only, and the log says why."""


class SteeringAnswer(Answer):
    """What was written; it is in force from the next decision on."""

    annotations: dict[str, str | None]
    """As they now stand, null where removed."""


class HealthAnswer(Answer):
    """Whether the process answers."""

    status: str


class ReadinessAnswer(Answer):
    """Whether the loop ticks."""

    status: str
    late_s: float


class ModelAnswer(Answer):
    """Which model serves a workload."""

    namespace: str
    name: str
    model_version: str
    age_s: float | None
    """Since its cutoff; null while the naive forecaster speaks."""
    evidence: str
    on_trial: bool
    """Whether its predecessor still forecasts beside it, in shadow."""


class ModelsAnswer(Answer):
    """Models of all workloads, and what is done about them."""

    models: list[ModelAnswer]
    waiting: dict[str, int]
    """Workloads that wait for a fit, by what asked for it."""
    fitting: list[str]
    promotions: int
    refusals: int
    rollbacks: int


class ChangeAnswer(Answer):
    """One line of a version's history."""

    at_s: float
    stage: str
    evidence: str
    why: str


class VersionAnswer(Answer):
    """One version that is kept."""

    number: int
    kind: str
    first_s: float
    cutoff_s: float
    configuration: str
    """Hash of all that a fit depends on beside the history."""
    code: str
    scores: dict[str, float]
    """What the gate found; losses are in replicas."""
    digest: str
    """SHA-256 of its arrays."""
    changes: list[ChangeAnswer]
    stage: str
    evidence: str


class VersionsAnswer(ModelAnswer):
    """A workload's model and all versions that are kept, oldest first."""

    versions: list[VersionAnswer]
