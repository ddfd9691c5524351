"""`foresail impact` in words and numbers: a journal's decisions in, what prediction has changed out.

decisions as kept → an even grid, with what the simulator is fitted to → core.impact → figures, sentences, assumptions
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from scaler.core import impact
from scaler.core.domain import HPA_SYNC_S, UNKNOWN, Workload
from scaler.core.guardrails import replicas_for
from scaler.core.impact import ALIKE, STEP_S, UNSURE, Arm, Effect, Impact, Logged
from scaler.core.policies import serve
from scaler.core.simulator.score import LEAST_BLOCKS, Interval
from scaler.core.steering import stamp_of
from scaler.errors import HistoryError
from scaler.record import Recorded
from scaler.roster import Key

LEAST_S = 6 * 3600.0
"""Shortest history that anything is said about: one block."""
NAMES = {Arm.REACTIVE: "reactive rule", Arm.FORECAST: "forecast alone", Arm.DECIDED: "Foresail", Arm.AGENT: "the agent"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What prediction has changed for one workload."""

    key: Key
    begin_s: float
    end_s: float
    impact: Impact
    verdict: str
    """pays, costs, trades (better on one count, worse on the other) or unclear."""
    sentences: tuple[str, ...]
    assumptions: tuple[str, ...]


def answer_of(key: Key, kept: Recorded, lead_s: float | None = None) -> Answer:
    """What prediction has changed, by the decisions of one workload; `lead_s` is the start-up of a pod, None: fitted.

    Raises:
        HistoryError: too little, or a queue.
    """
    if not len(kept.t_s) or kept.t_s[-1] - kept.t_s[0] < LEAST_S:
        raise HistoryError(f"{key}: the journal keeps less than six hours of its decisions in this span; ask later")
    if not np.isnan(kept.arrivals).all():
        raise HistoryError(f"{key} is a queue: its backlog follows from what was served, and no log holds another one")
    logged, start_up = logged_of(kept, lead_s)
    if np.isnan(logged.load).all():
        raise HistoryError(f"{key}: the journal keeps no load of it in this span")
    (found,) = impact.impacts([logged])
    shadow = bool(kept.shadow.mean() > 0.5)
    return Answer(
        key=key,
        begin_s=float(logged.t_s[0]) - STEP_S,
        end_s=float(logged.t_s[-1]),
        impact=found,
        verdict=verdict(found),
        sentences=sentences(found, shadow=shadow),
        assumptions=assumptions(logged, start_up, kept, shadow=shadow),
    )


def logged_of(kept: Recorded, lead_s: float | None) -> tuple[Logged, str]:
    """Decisions on an even grid, and in words where the start-up of its pods comes from."""
    first, last = math.ceil(kept.t_s[0] / STEP_S), math.floor(kept.t_s[-1] / STEP_S)
    grid_s = STEP_S * np.arange(first, last + 1)
    width_s = np.maximum(kept.step_s, STEP_S)
    # A decision holds from its stamp on; a load is that of the step before its stamp.
    made = np.searchsorted(kept.t_s, grid_s, side="right") - 1
    load_of = np.searchsorted(kept.t_s, grid_s, side="left")
    heard = (kept.t_s[load_of] - grid_s < width_s[load_of]) & (grid_s - kept.t_s[made] < width_s[made])
    start_up_s, start_up = _start_up(kept, lead_s)
    forecast = np.where(kept.predictive >= 0, kept.predictive, kept.reactive_alone)
    ran = np.where(heard, kept.replicas[made], UNKNOWN)
    return Logged(
        t_s=grid_s,
        load=np.where(heard & ~kept.paused[made], kept.load[load_of], np.nan),
        forecast=_bounded(forecast, kept)[made],
        decided=_decided(kept)[made],
        agent=_bounded(np.where(kept.learned >= 0, kept.learned, forecast), kept)[made],
        price=kept.price[made],
        ran=ran,
        workload=_workload(kept, start_up_s),
        tolerance_down=float(kept.tolerance_down[-1]),
    ), start_up


def _decided(kept: Recorded) -> Any:
    """What was decided; in shadow what would have been: by mode and forecast, with load floor and bounds."""
    alone, unheard = kept.reactive_alone, np.full(len(kept.t_s), UNKNOWN)
    would = serve(kept.mode, kept.earned, (alone, alone), kept.predictive, unheard)
    floor = replicas_for(np.nan_to_num(kept.load), kept.capacity)
    return np.where(kept.shadow, _bounded(np.maximum(would, floor), kept), kept.predicted_replicas)


def _bounded(counts: Any, kept: Recorded) -> Any:
    return np.minimum(np.maximum(counts, np.maximum(kept.minimum, 1)), kept.maximum)


def _start_up(kept: Recorded, lead_s: float | None) -> tuple[float, str]:
    if lead_s is not None:
        return lead_s, "as stated"
    window_s = max(float(kept.h[-1] * kept.step_s[-1]) - HPA_SYNC_S, 0.0)
    fitted_s = impact.mean_start_up_s(kept.replicas, kept.ready, float(np.median(kept.step_s)))
    if fitted_s is None:
        return window_s, "by the lead window"
    return min(fitted_s, 2.0 * window_s), "the mean of the pods that came"


def _workload(kept: Recorded, start_up_s: float) -> Workload:
    return Workload(
        namespace="",
        name="logged",
        fingerprint="0",
        threshold=float(kept.threshold[-1]),
        capacity=float(kept.capacity[-1]),
        lead_s=start_up_s,
        min_replicas=max(int(kept.minimum[-1]), 1),
        max_replicas=int(kept.maximum[-1]),
        tolerance=float(kept.tolerance[-1]),
    )


def verdict(found: Impact) -> str:
    """Whether it pays so far, by intervals that lie on one side of zero."""
    cost, short = (_side(interval) for interval in (_told(found).saved, _told(found).less))
    if max(cost, short) > 0 and min(cost, short) < 0:
        return "trades"
    return {1: "pays", -1: "costs"}.get(cost or short, "unclear")


def _told(found: Impact) -> Effect:
    """The effect against the rule; without intervals where what ran resembles no arm."""
    effect = found.against_rule
    return effect if found.resembles is not None else Effect(effect.saved_pct, None, effect.less_short, None)


def _side(interval: Interval | None) -> int:
    """1 where an interval lies above zero, −1 where below, 0 where it holds zero or there is none."""
    if interval is None:
        return 0
    return int(interval.low > 0.0) - int(interval.high < 0.0)


def sentences(found: Impact, *, shadow: bool) -> tuple[str, ...]:
    """The answer in words."""
    would = shadow or found.resembles is Arm.REACTIVE
    told, has, have = _told(found), *(("would have", "would have") if would else ("has", "have"))
    saved, less = told.saved_pct, told.less_short
    change = f"saved {saved:.1f} % of the replica-hours" if saved >= 0 else f"spent {-saved:.1f} % more replica-hours"
    points = "points less of the load short" if less >= 0 else "points more of the load short"
    first = (
        f"In {_days(found.days)} prediction {has} {change}{_between(told.saved, saved, '%')} and left "
        f"{abs(less):.2f} {points}{_between(told.less, less, 'points')} than the reactive rule alone."
    )
    lines = [
        first,
        {
            "pays": "It pays so far.",
            "costs": "It does not pay so far.",
            "trades": "It trades one for the other so far.",
            "unclear": "Whether it pays cannot be told yet.",
        }[verdict(found)],
    ]
    forecast = found.against_forecast
    lines.append(
        f"Against the forecast alone, trust and guardrails {have} changed the replica-hours by "
        f"{-forecast.saved_pct:+.1f} % and the short load by {-forecast.less_short:+.2f} points."
    )
    if found.agent is not None:
        lines.append(
            f"Against the forecast alone, the agent would have changed the replica-hours by "
            f"{-found.agent.saved_pct:+.1f} %{_between(found.agent.saved, -1.0, '%')} and the short load by "
            f"{-found.agent.less_short:+.2f} points."
        )
    if found.resembles is None:
        lines.append(
            f"No interval: what ran, {found.ran_hours:.0f} replica-hours, is not within {100 * ALIKE:.0f} % of what is "
            "simulated. Is the capacity or the start-up another, does something else scale it, or was it fixed by hand?"
        )
    elif found.blocks < LEAST_BLOCKS:
        blocks = "one block" if found.blocks == 1 else f"{found.blocks} blocks"
        lines.append(f"No interval: {blocks} of six hours, {LEAST_BLOCKS} are needed.")
    if found.resembles is Arm.REACTIVE and not shadow:
        lines.append("What ran is what the reactive rule alone would have run: nobody acted on what was decided.")
    return tuple(lines)


def _days(days: float) -> str:
    return f"{24.0 * days:.1f} hours" if days < 1.0 else f"{days:.1f} days"


def _between(interval: Interval | None, found: float, unit: str) -> str:
    """The interval as the sentence counts: what is spent, or more, is told without a sign."""
    if interval is None:
        return ""
    low, high = (interval.low, interval.high) if found >= 0 else (-interval.high, -interval.low)
    return f" (95 % interval {low:.2g} to {high:.2g} {unit})"


def assumptions(logged: Logged, start_up: str, kept: Recorded, *, shadow: bool) -> tuple[str, ...]:
    """What the answer takes for granted."""
    asked = logged.workload
    capacity = float(kept.capacity[-1])
    by = " (the threshold: no other was stated or learnt)" if capacity == asked.threshold else ""
    rule = (
        f"Reactive rule: target {asked.threshold:g}, tolerance {asked.tolerance:g}, 300 s of scale-down stabilization, "
        f"{asked.min_replicas} to {asked.max_replicas} replicas."
    )
    told = [
        "Simulated, all three alike: the logged load, HPAs as in the manifests, what ran is only the check.",
        f"A replica bears {capacity:g}{by}, and serves {asked.lead_s:.0f} s after it was asked for ({start_up}).",
        rule,
        "What was logged would have been the same under each: callers that wait or try again are not modelled.",
        "Intervals draw days, of all three at once; they hold for days like these.",
        f"That of the short load allows for replicas that bear {100 * UNSURE:g} % less or more.",
    ]
    if shadow:
        told.append("In shadow: what the mode would have served of the forecast, with load floor and bounds.")
    if (kept.minimum == 0).any():
        told.append("One replica is counted for each while the workload was at zero.")
    return tuple(told)


def as_json(answer: Answer) -> dict[str, Any]:
    """All of it for programs; null for what cannot be said."""
    found = answer.impact
    told = found.resembles is not None
    return {
        "workload": str(answer.key),
        "begin": stamp_of(answer.begin_s),
        "end": stamp_of(answer.end_s),
        "days": round(found.days, 3),
        "blocks": int(found.blocks),
        "verdict": answer.verdict,
        "sentences": list(answer.sentences),
        "arms": {arm.name.lower(): _figures(found, arm) for arm in _arms(found)},
        "against_reactive": _effect(found.against_rule, told=told),
        "against_forecast": _effect(found.against_forecast, told=told),
        "agent_against_forecast": None if found.agent is None else _effect(found.agent, told=told),
        "ran_replica_hours": None if math.isnan(found.ran_hours) else round(found.ran_hours, 2),
        "resembles": None if found.resembles is None else found.resembles.name.lower(),
        "assumptions": list(answer.assumptions),
    }


def _arms(found: Impact) -> list[Arm]:
    """Those that there is something to say of."""
    return [arm for arm in Arm if arm is not Arm.AGENT or found.agent is not None]


def _figures(found: Impact, arm: Arm) -> dict[str, float]:
    columns = ("replica_hours", "cost_ratio", "short_pct", "excess_pct", "events_per_hour", "reversals")
    return {name: round(float(getattr(found.figures, name)[arm]), 4) for name in columns}


def _effect(effect: Effect, *, told: bool) -> dict[str, Any]:
    def ends(interval: Interval | None) -> list[float] | None:
        return None if interval is None or not told else [round(interval.low, 4), round(interval.high, 4)]

    return {
        "saved_pct": round(effect.saved_pct, 4),
        "saved_interval_pct": ends(effect.saved),
        "less_short_points": round(effect.less_short, 4),
        "less_short_interval_points": ends(effect.less),
    }


def as_text(answer: Answer) -> RenderableType:
    """What a terminal shows."""
    found = answer.impact
    table = Table(title=f"{answer.key}, {stamp_of(answer.begin_s)} to {stamp_of(answer.end_s)}", title_justify="left")
    table.add_column("who decides")
    for heading in ("replica-hours", "short %", "cost", "changes/h", "reversals"):
        table.add_column(heading, justify="right")
    for arm in _arms(found):
        figures = _figures(found, arm)
        table.add_row(
            NAMES[arm],
            f"{figures['replica_hours']:.1f}",
            f"{figures['short_pct']:.2f}",
            f"{figures['cost_ratio']:.2f}",
            f"{figures['events_per_hour']:.1f}",
            f"{figures['reversals']:.0f}",
        )
    said = [Text(line) for line in answer.sentences]
    assumed = [Text(f"- {line}", style="dim") for line in answer.assumptions]
    return Group(table, *said, Text(), Text("By a model that assumes:", style="dim"), *assumed)
