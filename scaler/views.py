"""What people and programs read of a decision: plain values, NaN and unknown as null."""

import math
from typing import Any

import numpy as np

from forecasting import catalog
from forecasting.forecast import LEVELS, FloatArray
from forecasting.series import Rows
from scaler.board import Posted
from scaler.core.domain import UNKNOWN, Mode, take
from scaler.core.guardrails import NAMES, held_by
from scaler.engine import Engine
from scaler.roster import Key

FEEDBACK = ("cpu", "memory", "latency", "queue")
OUTLOOK_S = 3600.0
"""How far ahead the path is told."""


def number(value: float) -> float | None:
    """Six significant digits; None for what is not a number."""
    return None if not math.isfinite(value) else float(f"{value:.6g}")


def count(value: int) -> int | None:
    """A replica count; None where nobody could tell."""
    return None if value == UNKNOWN else int(value)


def quantiles(values: FloatArray) -> dict[str, float | None]:
    """Level → value of one row's quantiles."""
    return {f"{level:g}": number(value) for level, value in zip(LEVELS, values, strict=True)}


def model_name(version: int) -> str:
    """A model by its cutoff; the naive forecaster has none."""
    return "naive" if version == 0 else f"regression@{np.datetime64(int(version), 's')}Z"


def prediction_view(engine: Engine, key: Key, posted: Posted) -> dict[str, Any]:
    """Answer of both /predict doors."""
    made, row = posted.decisions, posted.row
    return {
        "service": engine.roster.identifier(key),
        "namespace": key.namespace,
        "predicted_replicas": int(made.predicted_replicas[row]),
        "value": round(posted.value, 3),
        "mode": posted.mode.label,
        "confidence": number(float(made.confidence[row])),
        "model_version": model_name(int(made.version[row])),
        "forecast": {"peak": quantiles(made.peak[row]), "path": quantiles(made.path[row])},
    }


def workload_view(engine: Engine, key: Key) -> dict[str, Any]:
    """One line of the list of workloads."""
    workload, posted = engine.roster.entries[key].workload, engine.board.get(key)
    view: dict[str, Any] = {
        "namespace": key.namespace,
        "name": engine.roster.identifier(key),
        "kind": workload.kind.value,
        "threshold": workload.threshold,
        "capacity": workload.capacity,
        "lead_s": workload.lead_s,
        "inactive_keys": list(workload.inactive),
        "trouble": engine.troubles.get(key),
        "mode": Mode.LEARNING.label,
        "load": None,
        "replicas": None,
        "predicted_replicas": None,
        "predictive": None,
        "reactive": None,
    }
    if posted is not None:
        made, row = posted.decisions, posted.row
        view |= {
            "mode": posted.mode.label,
            "load": number(float(made.load[row])),
            "replicas": count(int(made.replicas[row])),
            "predicted_replicas": int(made.predicted_replicas[row]),
            "predictive": count(int(made.predictive[row])),
            "reactive": int(made.reactive[row]),
        }
    return view


def decision_view(posted: Posted) -> dict[str, Any]:
    """The whole record of one decision."""
    made, row = posted.decisions, posted.row
    return {
        "t": posted.t_s,
        "predicted_replicas": int(made.predicted_replicas[row]),
        "value": round(posted.value, 3),
        "active": posted.active,
        "mode": posted.mode.label,
        "earned": float(made.earned[row]),
        "load": number(float(made.load[row])),
        "feedback": {name: number(float(value)) for name, value in zip(FEEDBACK, made.feedback[row], strict=True)},
        "replicas": count(int(made.replicas[row])),
        "ready": count(int(made.ready[row])),
        "reactive": int(made.reactive[row]),
        "reactive_alone": int(made.reactive_alone[row]),
        "predictive": count(int(made.predictive[row])),
        "proposal": int(made.proposal[row]),
        "guardrails": dict(zip(NAMES, made.guarded[row].tolist(), strict=True)),
        "held_by": held_by(int(made.proposal[row]), made.guarded[row]),
        "price": number(float(made.price[row])),
        "level": number(float(made.level[row])),
        "confidence": number(float(made.confidence[row])),
        "capacity": number(float(made.capacity[row])),
        "model_version": model_name(int(made.version[row])),
        "peak": quantiles(made.peak[row]),
        "path": quantiles(made.path[row]),
    }


def forecast_view(engine: Engine, key: Key) -> dict[str, Any]:
    """Path quantiles at steps through the coming hour, and the peak in the lead window."""
    fleet, row = engine.row_of(key)
    at = slice(row, row + 1)
    history, models = fleet.ring.history(at), take(fleet.models, at)
    every = max(round(OUTLOOK_S / 60.0 / fleet.step_s), 1)
    h = np.arange(every, round(OUTLOOK_S / fleet.step_s) + 1, every)
    if not len(h):
        h = np.ones(1, np.int64)
    origin_s = np.full(len(h), history.end_s)
    said = catalog.predict(models, history, Rows(np.zeros(len(h), np.int64), origin_s, h, origin_s))
    lead_h = fleet.columns.h[at]
    peak = catalog.predict(models, history, Rows.live(history, lead_h)).peak[0]
    return {
        "namespace": key.namespace,
        "name": engine.roster.identifier(key),
        "t": history.end_s,
        "model_version": model_name(int(models.cutoff_s[0])),
        "lead_window": {"steps": int(lead_h[0]), "seconds": float(lead_h[0] * fleet.step_s), "peak": quantiles(peak)},
        "path": [
            {"t": history.end_s + steps * fleet.step_s, "quantiles": quantiles(values)}
            for steps, values in zip(h.tolist(), said.path, strict=True)
        ],
    }
