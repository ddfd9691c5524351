"""What people and programs read of a decision: plain values, NaN and unknown as null."""

import math
from collections.abc import Iterable
from typing import Any

from forecasting.explanation import PARTS
from forecasting.forecast import LEVELS
from scaler.board import Posted
from scaler.core import capacity
from scaler.core.capacity import Capacity
from scaler.core.domain import UNKNOWN, Decisions, Mode, whole_lead_s
from scaler.core.guardrails import NAMES, held_by
from scaler.core.learned import MOVES
from scaler.core.signals import FEEDBACK
from scaler.core.trust import Cause, Evidence
from scaler.engine import Engine
from scaler.explaining import Explanation
from scaler.predictions import Prediction, basis_of, model_name, outlook
from scaler.reasons import pushes
from scaler.registry import Version, as_json
from scaler.roster import Key

LEVEL_NAMES = tuple(f"{level:g}" for level in LEVELS)


def number(value: float) -> float | None:
    """Six significant digits; None for what is not a number."""
    return None if not math.isfinite(value) else float(f"{value:.6g}")


def count(value: int) -> int | None:
    """A replica count; None where nobody could tell."""
    return None if value == UNKNOWN else int(value)


def quantiles(values: list[float]) -> dict[str, float | None]:
    """Level → value of one row's quantiles."""
    return {level: number(value) for level, value in zip(LEVEL_NAMES, values, strict=True)}


def prediction_view(said: Prediction) -> dict[str, Any]:
    """Answer of all /predict doors."""
    return {
        "service": said.service,
        "namespace": said.namespace,
        "predicted_replicas": said.replicas,
        "value": round(said.value, 3),
        "mode": said.mode,
        "confidence": number(said.confidence),
        "model_version": said.model_version,
        "forecast": {"peak": quantiles(said.peak), "path": quantiles(said.path)},
    }


def workload_view(engine: Engine, key: Key) -> dict[str, Any]:
    """One line of the list of workloads."""
    workload, posted = engine.roster.entries[key].workload, engine.board.get(key)
    fleet, row = engine.row_of(key)
    view: dict[str, Any] = {
        "namespace": key.namespace,
        "name": engine.roster.identifier(key),
        "kind": workload.kind.value,
        "threshold": workload.threshold,
        "capacity": workload.capacity,
        "capacity_learnt": capacity_view(capacity.of_row(fleet.capacity, row)),
        "lead_s": round(float(fleet.columns.lead_s[row]) - whole_lead_s(workload, 0.0), 3),
        "inactive_keys": list(workload.inactive),
        "trouble": engine.lookout.troubles.get(key),
        "mode": Mode.LEARNING.label,
        "load": None,
        "replicas": None,
        "predicted_replicas": None,
        "predictive": None,
        "reactive": None,
    }
    if posted is not None:
        made, at = posted.decisions, posted.row
        view |= {
            "mode": posted.mode.label,
            "load": number(float(made.load[at])),
            "replicas": count(int(made.replicas[at])),
            "predicted_replicas": int(made.predicted_replicas[at]),
            "predictive": count(int(made.predictive[at])),
            "reactive": int(made.reactive[at]),
        }
    return view


def capacity_view(found: Capacity | None) -> dict[str, float] | None:
    """What one replica was found to bear, with its interval."""
    return None if found is None else {"load": found.load, "low": found.low, "high": found.high}


def agent_view(made: Decisions, row: int) -> dict[str, Any] | None:
    """What the agent would keep and its last move, None where it has no word."""
    if made.learned[row] == UNKNOWN:
        return None
    move = MOVES[int(made.move[row])].label
    return {"replicas": int(made.learned[row]), "move": move, "acting": bool(made.acting[row])}


def decision_view(posted: Posted) -> dict[str, Any]:
    """The whole record of one decision."""
    made, row = posted.decisions, posted.row
    return {
        "t": posted.t_s,
        "predicted_replicas": int(made.predicted_replicas[row]),
        "value": round(posted.value, 3),
        "reached": count(int(made.reached[row])),
        "active": posted.active,
        "mode": posted.mode.label,
        "cause": Cause(made.cause[row]).label,
        "evidence": Evidence(made.evidence[row]).label,
        "drift": number(float(made.drift[row])),
        "earned": float(made.earned[row]),
        "load": number(float(made.load[row])),
        "feedback": {s.value: number(float(value)) for s, value in zip(FEEDBACK, made.feedback[row], strict=True)},
        "replicas": count(int(made.replicas[row])),
        "ready": count(int(made.ready[row])),
        "reactive": int(made.reactive[row]),
        "reactive_alone": int(made.reactive_alone[row]),
        "predictive": count(int(made.predictive[row])),
        "proposal": int(made.proposal[row]),
        "agent": agent_view(made, row),
        "guardrails": dict(zip(NAMES, made.guarded[row].tolist(), strict=True)),
        "held_by": held_by(int(made.proposal[row]), made.guarded[row]),
        "price": number(float(made.price[row])),
        "level": number(float(made.level[row])),
        "confidence": number(float(made.confidence[row])),
        "capacity": number(float(made.capacity[row])),
        "model_version": model_name(int(made.version[row])),
        "peak": quantiles(made.peak[row].tolist()),
        "path": quantiles(made.path[row].tolist()),
    }


def forecast_view(engine: Engine, key: Key) -> dict[str, Any]:
    """Path quantiles at steps through the coming hour, and the peak in the lead window."""
    told = outlook(basis_of(engine, key))
    return {
        "namespace": key.namespace,
        "name": engine.roster.identifier(key),
        "t": told.t_s,
        "model_version": told.model_version,
        "confidence": number(told.confidence),
        "lead_window": {"steps": told.lead_steps, "seconds": told.lead_s, "peak": quantiles(told.peak.tolist())},
        "path": [
            {"t": t_s, "quantiles": quantiles(values)}
            for t_s, values in zip(told.path_t_s.tolist(), told.path.tolist(), strict=True)
        ],
    }


def models_view(engine: Engine) -> dict[str, Any]:
    """Which model serves each workload, and the fits that wait and run."""
    lessons, became = engine.lessons, engine.succession.counters
    return {
        "models": [model_view(engine, key) for key in sorted(engine.roster.entries)],
        "waiting": {trigger.label: n for trigger, n in lessons.queue().items()},
        "fitting": sorted(str(key) for key in lessons.fitting),
        "promotions": became.promotions,
        "refusals": became.refusals,
        "rollbacks": became.rollbacks,
    }


def model_view(engine: Engine, key: Key) -> dict[str, Any]:
    """Which model serves a workload."""
    fleet, row = engine.row_of(key)
    cutoff_s, posted = float(fleet.models.cutoff_s[row]), engine.board.get(key)
    evidence = Evidence.NONE if posted is None else Evidence(posted.decisions.evidence[posted.row])
    return {
        "namespace": key.namespace,
        "name": engine.roster.identifier(key),
        "model_version": model_name(int(cutoff_s)),
        "age_s": engine.clock() - cutoff_s if cutoff_s else None,
        "evidence": evidence.label,
        "on_trial": engine.succession.on_trial(key),
    }


def versions_view(engine: Engine, key: Key, versions: Iterable[Version]) -> dict[str, Any]:
    """What the registry keeps of a workload."""
    kept = [as_json(one) | {"stage": one.stage.value, "evidence": one.evidence.label} for one in versions]
    return {**model_view(engine, key), "versions": kept}


def explanation_view(engine: Engine, key: Key, said: Explanation) -> dict[str, Any]:
    """A decision in sentences, and the numbers behind them."""
    kept, bound = said.kept, said.told.bound
    parts = said.told.parts.tolist()
    forecast = None
    if math.isfinite(bound.load):
        forecast = {
            "load": bound.load,
            "probability": number(bound.probability),
            "until": float(kept.t_s[0] + kept.h[0] * kept.step_s[0]),
            "parts": None if math.isnan(sum(parts)) else dict(zip(PARTS, parts, strict=True)),
            "event": said.told.event,
            "doubt": said.told.doubt,
        }
    return {
        "namespace": key.namespace,
        "name": engine.roster.identifier(key),
        "t": float(kept.t_s[0]),
        "headline": said.headline,
        "sentences": said.sentences,
        "predicted_replicas": int(kept.predicted_replicas[0]),
        "value": round(float(kept.value[0]), 3),
        "replicas": count(int(kept.replicas[0])),
        "reached": count(int(kept.reached[0])),
        "mode": Mode(int(kept.mode[0])).label,
        "cause": Cause(int(kept.cause[0])).label,
        "capacity": number(float(kept.capacity[0])),
        "forecast": forecast,
        "proposal": int(kept.proposal[0]),
        "guardrails": [{"name": push.name, "was": push.was, "became": push.became} for push in pushes(kept, 0)],
        "reactive": int(kept.reactive[0]),
        "reactive_alone": int(kept.reactive_alone[0]),
        "forecast_alone": count(int(kept.predictive[0])),
    }
