"""The figures of a contest as plain numbers: what result.json holds."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from forecasting.forecast import LEVELS, FloatArray, IntArray
from scaler.core.simulator import score
from scaler.core.simulator.contest import (
    BLIND,
    CALIBRATED,
    LIMIT,
    OURS,
    SHIPPED,
    SOONER,
    THRESHOLDS,
    WINDOW,
    WINDOWS_S,
    Heat,
    Outcome,
    show,
)
from scaler.core.simulator.load import peak_ahead
from scaler.core.simulator.nature import covered_share, season_strength
from scaler.core.simulator.scene import Scene, cut
from scaler.core.verdict import Case, Standing, Verdict, judge

HINDSIGHT = "hpa_hindsight"
TARGETS = (1.0, 2.0, 5.0)
"""Short shares, in percent, at which every controller's cost is stated."""
RESAMPLES = 400
"""Draws of the bootstrap: the interval's ends move by less than half a point with more."""
MONTH_H = 730.0
ORDER = (
    "hpa_50", "hpa_60", "hpa_70", "hpa_80", CALIBRATED, HINDSIGHT, "last_value", "seasonal_naive_max",
    "max_reactive_forecast", OURS, "foresail_shipped", LIMIT,
)  # fmt: skip
"""Controllers in the order of tables."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A controller's frontier and the setting that is shown."""

    name: str
    knob: str
    knobs: FloatArray
    """(K,)"""
    sums: score.Tally
    """(N, K)"""
    shown: int
    windows_s: FloatArray | None = None
    """Stabilization window of each setting where it differs, (K,)."""


def contenders(scene: Scene, heats: Mapping[str, Heat]) -> dict[str, Contender]:
    """All controllers of a contest by name."""
    outcomes = {one.name: one for heat in ("triggers", "forecasts") for one in heats[heat].outcomes}
    windows = [f"{WINDOW}{window_s:g}" for window_s in WINDOWS_S]
    limit, step_s = scene.question.limit_pct, scene.step_s
    ours = outcomes.pop(OURS)
    pinned = np.arange(len(ours.knobs))[: min(SHIPPED, BLIND)]
    found = {
        HINDSIGHT: _best_of(scene, [outcomes[name] for name in windows]),
        OURS: _some(ours, pinned, limit, step_s),
        "foresail_shipped": _some(ours, np.array([len(ours.knobs) + SHIPPED]), limit, step_s),
    }
    if "calibration" in heats:
        found[CALIBRATED] = _calibrated(scene, outcomes, {one.name: one for one in heats["calibration"].outcomes})
    for name, one in outcomes.items():
        if name not in windows:
            found[name] = _some(one, np.arange(len(one.knobs)), limit, step_s)
    return {name: found[name] for name in ORDER if name in found}


def _some(outcome: Outcome, index: IntArray, limit_pct: float, step_s: float) -> Contender:
    sums = taken(outcome.sums, index)
    return Contender(outcome.name, outcome.knob, outcome.knobs[index], sums, show(sums, step_s, limit_pct))


def taken(sums: score.Tally, index: IntArray) -> score.Tally:
    """Some settings' sums."""
    return score.Tally(*(getattr(sums, name)[:, index] for name in score.Tally.__slots__))


def joined(parts: list[Outcome]) -> tuple[score.Tally, FloatArray, FloatArray]:
    """Sums, thresholds and windows of the HPA over all windows."""
    sums = score.Tally(
        *(np.concatenate([getattr(part.sums, name) for part in parts], axis=1) for name in score.Tally.__slots__)
    )
    knobs = np.concatenate([part.knobs for part in parts])
    return sums, knobs, np.repeat(WINDOWS_S, [len(part.knobs) for part in parts])


def _best_of(scene: Scene, parts: list[Outcome]) -> Contender:
    sums, knobs, windows_s = joined(parts)
    found = score.figures(sums, scene.step_s)
    best = score.envelope(found.short_pct, found.cost_ratio)
    kept = taken(sums, best)
    shown = show(kept, scene.step_s, scene.question.limit_pct)
    return Contender(HINDSIGHT, parts[0].knob, knobs[best], kept, shown, windows_s[best])


def _calibrated(scene: Scene, test: Mapping[str, Outcome], training: Mapping[str, Outcome]) -> Contender:
    """The window and threshold that were best on the training part, over the thresholds at that window."""
    sums, _, windows_s = joined(list(training.values()))
    chosen = show(sums, scene.step_s, scene.question.limit_pct)
    outcome = test[f"{WINDOW}{windows_s[chosen]:g}"]
    n = len(outcome.knobs)
    return Contender(CALIBRATED, outcome.knob, outcome.knobs, outcome.sums, chosen % n, np.full(n, windows_s[chosen]))


def result_of(scene: Scene, heats: Mapping[str, Heat], price_per_hour: float | None = None) -> dict[str, Any]:
    """Everything that result.json holds; numbers that are not known are None."""
    found = contenders(scene, heats)
    prophecy = heats["forecasts"].prophecy
    modes = prophecy.modes if prophecy is not None else {}
    equal_cost = _equal_cost(scene, found[HINDSIGHT])
    table = {name: _row(scene, one, equal_cost, modes if name.startswith(OURS) else {}) for name, one in found.items()}
    case, verdict = _verdict(scene, found)
    asked = scene.question
    row: dict[str, Any] = plain(
        {
            "trace": asked.name,
            "lead_s": asked.workload.lead_s,
            "capacity": scene.capacity,
            "tolerance": scene.fleet.tolerance[0],
            "slo": 1.0 - asked.limit_pct / 100.0,
            "days": len(asked.values) * asked.spacing_s / 86_400.0,
            "test_days": scene.scored(scene.test).sum() * scene.step_s / 86_400.0,
            "missing_pct": 100.0 * np.isnan(asked.values).mean(),
            "equal_cost": equal_cost,
            "controllers": table,
            "forecast": None if prophecy is None else _forecast(prophecy),
            "verdict": _verdict_row(scene, heats, case, verdict, price_per_hour),
        }
    )
    row["verdict"]["at_equal_cost"] = _at_equal_cost(row)
    return row


def _equal_cost(scene: Scene, reactive: Contender) -> float:
    """What the best HPA costs where it keeps the SLO, or where it comes closest: others are compared at that cost."""
    found = score.figures(reactive.sums, scene.step_s)
    at_limit = score.cost_at(found.short_pct, found.cost_ratio, scene.question.limit_pct)
    return float(found.cost_ratio[reactive.shown]) if at_limit is None else at_limit


def _at_equal_cost(result: Mapping[str, Any]) -> str:
    """The second headline in words: who leaves how much short for the same money.

    Not the clairvoyant: its settings end far below that cost, so that its share there says nothing.
    """
    rows = result["controllers"]
    ours, best = (rows[name]["short_at_equal_cost_pct"] for name in (OURS, HINDSIGHT))
    cost = f"{result['equal_cost']:.2f} times the replicas needed"
    said = "has no setting that cheap" if ours is None else f"leaves {ours:.2f} % of the load short"
    other = "" if best is None else f", the best HPA {best:.2f} %"
    return f"At equal cost, {cost}, Foresail {said}{other}."


def _row(scene: Scene, one: Contender, equal_cost: float, modes: Mapping[str, float]) -> dict[str, Any]:
    found = score.figures(one.sums, scene.step_s)
    iso = {f"iso_{target:g}pct": score.cost_at(found.short_pct, found.cost_ratio, target) for target in TARGETS}
    at = one.shown
    return {
        "frontier": np.stack([found.short_pct, found.cost_ratio, one.knobs], axis=1),
        **iso,
        "short_at_equal_cost_pct": score.short_at(found.short_pct, found.cost_ratio, equal_cost),
        "replica_hours": found.replica_hours[at],
        "latency_slo_pct": found.latency_slo_pct[at],
        "scale_events_per_hour": found.events_per_hour[at],
        "reversals": found.reversals[at],
        "modes": dict(modes),
        "knob": one.knob,
        "windows_s": one.windows_s,
        "shown": {
            "knob": one.knobs[at],
            "window_s": None if one.windows_s is None else one.windows_s[at],
            "short_pct": found.short_pct[at],
            "excess_pct": found.excess_pct[at],
            "cost_ratio": found.cost_ratio[at],
        },
    }


def _forecast(prophecy: Any) -> dict[str, Any]:
    levels = [f"{level:g}" for level in LEVELS]
    return {
        "coverage": dict(zip(levels, prophecy.coverage, strict=True)),
        "pinball": dict(zip(levels, prophecy.pinball, strict=True)),
        "pinball_over_naive": dict(zip(levels, prophecy.pinball / prophecy.naive_pinball, strict=True)),
        "mase": 2.0 * prophecy.pinball[0] / (2.0 * prophecy.naive_pinball[0]),
    }


def _verdict(scene: Scene, found: Mapping[str, Contender]) -> tuple[Case, Verdict]:
    target = scene.question.limit_pct
    reactive, ours = found[HINDSIGHT], found[OURS]
    rng = np.random.default_rng(scene.question.seed)
    interval = score.paired_interval((reactive.sums, ours.sums), target, RESAMPLES, rng)
    headroom = 1.0 / float(reactive.knobs[reactive.shown])
    load = cut(scene.load, scene.test)
    case = Case(
        target_pct=target,
        reactive=_standing(scene, reactive),
        ours=_standing(scene, ours),
        limit=_standing(scene, found[LIMIT]),
        ratio=None if interval is None else (interval.low, interval.high),
        season=season_strength(scene.load.value, scene.step_s),
        headroom=headroom,
        covered=covered_share(load.metric, peak_ahead(load.metric, int(scene.fleet.h[0])), headroom),
    )
    return case, judge(case)


def _standing(scene: Scene, one: Contender) -> Standing:
    found = score.figures(one.sums, scene.step_s)
    target = scene.question.limit_pct
    good = found.short_pct <= target
    return Standing(
        at_target=score.cost_at(found.short_pct, found.cost_ratio, target),
        within=float(found.cost_ratio[good].min()) if good.any() else None,
        least_short_pct=float(found.short_pct.min()),
    )


def _verdict_row(
    scene: Scene, heats: Mapping[str, Heat], case: Case, verdict: Verdict, price_per_hour: float | None
) -> dict[str, Any]:
    row = {name: getattr(verdict, name) for name in Verdict.__slots__}
    row["season"], row["headroom"], row["covered_pct"] = case.season, case.headroom, 100.0 * case.covered
    row["what_if"] = [*_what_if_capacity(scene, heats), *_what_if_lead(scene, heats, case)]
    if price_per_hour is not None and verdict.saving_pct is not None and case.reactive.cost is not None:
        row["saved_per_month"] = _monthly(scene, case, verdict.saving_pct, price_per_hour)
    return row


def _monthly(scene: Scene, case: Case, saving_pct: float, price_per_hour: float) -> float:
    load = cut(scene.load, scene.test).value[scene.scored(scene.test)]
    needed = float(np.nanmean(np.maximum(np.ceil(load / scene.capacity), 1.0)))
    return saving_pct / 100.0 * (case.reactive.cost or 0.0) * needed * MONTH_H * price_per_hour


def _what_if_capacity(scene: Scene, heats: Mapping[str, Heat]) -> list[str]:
    ours = next(one for one in heats["forecasts"].outcomes if one.name == OURS)
    found = score.figures(ours.sums, scene.step_s)
    if scene.question.workload.threshold == scene.capacity:
        return ["No capacity was stated, so the threshold counts as one; a stated capacity is what unlocks savings."]
    stated, blind = (f"{found.cost_ratio[at]:.2f} times the replicas needed with {found.short_pct[at]:.2f} % short"
                     for at in (SHIPPED, BLIND))  # fmt: skip
    return [f"With the capacity stated, Foresail as it ships runs {stated}; without (capacity = threshold), {blind}."]


def _what_if_lead(scene: Scene, heats: Mapping[str, Heat], case: Case) -> list[str]:
    outcomes = {one.name: one for one in heats["sooner"].outcomes}
    limit = outcomes.pop(LIMIT)
    sums, knobs, _ = joined(list(outcomes.values()))
    found = score.figures(sums, scene.step_s)
    best = score.envelope(found.short_pct, found.cost_ratio)
    target = scene.question.limit_pct
    sooner = score.cost_at(found.short_pct[best], found.cost_ratio[best], target)
    now_s = scene.question.workload.lead_s
    if sooner is None or case.reactive.cost is None or len(knobs) != len(WINDOWS_S) * len(THRESHOLDS[::2]):
        return []
    known = score.figures(limit.sums, scene.step_s)
    least = float(known.cost_ratio[known.short_pct <= target].min(initial=math.inf))
    perfect = f", perfect foresight {least:.2f}" if math.isfinite(least) else ""
    return [
        (
            f"If pods served after {SOONER * now_s:g} s instead of {now_s:g} s, the best HPA would cost {sooner:.2f} "
            f"instead of {case.reactive.cost:.2f} times the replicas needed{perfect}."
        )
    ]


def plain(value: Any) -> Any:
    """JSON without NumPy: arrays become lists, numbers six digits, what is not finite None."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def cell(number: float | None, digits: int) -> str:
    """A number in a table, a dash where there is none."""
    return "–" if number is None else f"{number:,.{digits}f}"
