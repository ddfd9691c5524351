"""The contest: every controller over every setting of its knob, on the same load.

Four heats that know nothing of each other, so that they may run in processes of their own: what needs no model, the HPA
on the training part, everything that needs forecasts, and what faster pods would change.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from forecasting.forecast import LEVELS, BoolArray, FloatArray
from forecasting.scores import pinball
from scaler.core import decision, hpa
from scaler.core.domain import Mode
from scaler.core.learning import stacked
from scaler.core.simulator.cluster import Controller, Record, run
from scaler.core.simulator.controllers import (
    AtLeast,
    Clairvoyant,
    Foreseen,
    LastValue,
    Ours,
    Reactive,
    Together,
    WithNet,
    shipped_rules,
    trigger_rules,
)
from scaler.core.simulator.foresight import Past, foresee, places_of
from scaler.core.simulator.load import peak_ahead, same_time_before
from scaler.core.simulator.scene import Part, Question, Scene, cut
from scaler.core.simulator.score import Tally, figures, shortage, tally

Progress = Callable[[int], None]
THRESHOLDS: FloatArray = np.geomspace(0.2, 1.0, 61)
"""HPA targets as shares of the capacity, 2.7 % apart: neighbours on a frontier stay close."""
WINDOWS_S = (0.0, 60.0, 300.0)
"""scaleDown.stabilizationWindowSeconds that are tried; 300 s is the default."""
FIXED = (0.5, 0.6, 0.7, 0.8)
"""Targets that people set without calibrating."""
TRIGGERS: FloatArray = np.concatenate([np.geomspace(0.2, 0.7, 14, endpoint=False), np.linspace(0.7, 1.05, 36)])
"""Targets of forecasts as triggers, a point apart where their frontiers are steep."""
TRIGGER_WINDOW_S = 60.0
PRICES: FloatArray = np.geomspace(1.0, 3e4, 28)
"""Prices of a short replica: levels from 0.5 to 0.99997."""
FORESIGHT: FloatArray = 1.0 + np.geomspace(0.0005, 0.5, 31)
"""Utilisations at which the clairvoyant plans: next to 1 it leaves nothing short, above it accepts some."""
SEASONS_S = (7 * 86_400.0, 86_400.0)
"""A week, and where that is unknown a day."""
MIMIR_S = 1800.0
"""Window of the seasonal maximum (grafana/mimir#7775)."""
SHIPPED, BLIND = -2, -1
"""Our last two clusters: with the price that the feedback finds, and the same without a stated capacity."""
SOONER = 0.5
"""Lead time of the clusters that ask what faster pods would change, as a share of the stated one."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A controller with one cluster per setting of its knob."""

    name: str
    knob: str
    """What the knob is, in words."""
    knobs: FloatArray
    """(K,)"""
    controller: Controller
    rules: hpa.HpaRules
    """(K,)"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an entry did."""

    name: str
    knob: str
    knobs: FloatArray
    """(K,)"""
    sums: Tally
    """(N, K)"""
    shown: int
    """Setting that is drawn: the cheapest that stays below the limit, else the one with the least short; of ours the
    one that ships."""
    ready: Record
    """Ready replicas of the setting shown, (T,)."""
    billed: Record
    """What it paid for, (T,)."""
    short: BoolArray
    """Where it was short, (T,)."""


@dataclass(frozen=True, slots=True)
class Prophecy:
    """What the forecasts of the test part were like."""

    quantiles: FloatArray
    """Peaks at LEVELS, (T, Q)."""
    coverage: FloatArray
    """Share of known peaks at or below each level, (Q,)."""
    pinball: FloatArray
    """Mean pinball loss over the mean load, (Q,)."""
    naive_pinball: FloatArray
    """The same of the largest load in the same window a day ago, at every level."""
    modes: dict[str, float]
    """Share of time per mode, in percent."""


@dataclass(frozen=True, slots=True)
class Heat:
    """What a heat found."""

    outcomes: tuple[Outcome, ...]
    prophecy: Prophecy | None = None


def steps_of(scene: Scene) -> int:
    """Steps that all heats report to `progress`."""
    test, training = (part.last - part.first for part in (scene.test, scene.training))
    return 4 * test + (training if "calibration" in heats_of(scene.question) else 0)


def triggers(scene: Scene, progress: Progress | None = None) -> Heat:
    """What needs no model, on the test part: the HPA over all settings, naive forecasts, and the clairvoyant."""
    part, asks = scene.test, scene.question.asks
    seasonal = _seasonal_maximum(scene)[part.first : part.last]
    others = [
        *(
            Entry(f"hpa_{round(100 * share)}", TARGET, np.array([share]), Reactive(), _rules(scene, [share], 300.0))
            for share in FIXED
        ),
        Entry("last_value", TARGET, TRIGGERS, LastValue(), _rules(scene, TRIGGERS, TRIGGER_WINDOW_S)),
        Entry("seasonal_naive_max", TARGET, TRIGGERS, AtLeast(seasonal), _rules(scene, TRIGGERS, TRIGGER_WINDOW_S)),
    ]
    knows = _clairvoyant(scene, peak_ahead(cut(scene.load, part).value, int(scene.fleet.h[0])))
    entries = [*_hpa_entries(scene), *(one for one in others if asks(one.name)), knows]
    return Heat(_compete(scene, part, entries, progress, latency=True))


def calibration(scene: Scene, progress: Progress | None = None) -> Heat:
    """The HPA over all thresholds and windows, on the training part."""
    return Heat(_compete(scene, scene.training, _hpa_entries(scene), progress, latency=False))


def forecasts(scene: Scene, progress: Progress | None = None) -> Heat:
    """Everything that looks ahead, on the test part."""
    part = scene.test
    workload, load = scene.question.workload, cut(scene.load, part)
    question = scene.question
    past = Past.of(scene.load.sample, question.start_s, scene.step_s, places_of(workload, question.agenda, load.t_s))
    foreseen = foresee(past, load.t_s, scene.fleet, workload.fingerprint, progress)
    ours, served = _ours(scene, foreseen)
    peak = peak_ahead(load.value, int(scene.fleet.h[0]))
    median = AtLeast(foreseen.peak[:, 0] * _per_replica(scene) / scene.capacity)
    other = Entry("max_reactive_forecast", TARGET, TRIGGERS, median, _rules(scene, TRIGGERS, TRIGGER_WINDOW_S))
    entries = [*ours, other] if scene.question.asks(other.name) else ours
    outcomes = _compete(scene, part, entries, progress, latency=True)
    return Heat(outcomes, _prophecy(scene, foreseen, peak, served))


def sooner(scene: Scene, progress: Progress | None = None) -> Heat:
    """The HPA and the clairvoyant with faster pods, on the test part."""
    workload = scene.question.workload
    faster = replace(scene.question, workload=replace(workload, lead_s=SOONER * workload.lead_s))
    then = Scene.of(faster)
    peak = peak_ahead(cut(then.load, then.test).value, int(then.fleet.h[0]))
    entries = [*_hpa_entries(then, THRESHOLDS[::2]), _clairvoyant(then, peak)]
    return Heat(_compete(then, then.test, entries, progress, latency=False))


HEATS: dict[str, Callable[[Scene, Progress | None], Heat]] = {
    "forecasts": forecasts,
    "triggers": triggers,
    "calibration": calibration,
    "sooner": sooner,
}
"""By name, the longest first."""
CALIBRATED = "hpa_calibrated"
WINDOW = "hpa_window_"
"""What the names of the HPA's sweeps begin with, one per window."""
OURS, LIMIT = "foresail", "clairvoyant"
TARGET = "target as a share of capacity"


def heats_of(question: Question) -> tuple[str, ...]:
    """Names of the heats that answer a question: nothing is calibrated for nobody."""
    return tuple(name for name in HEATS if name != "calibration" or question.asks(CALIBRATED))


def _ours(scene: Scene, foreseen: Foreseen) -> tuple[list[Entry], Ours]:
    """Our decision over all prices, and as it ships: with the price that its feedback finds, and without a capacity."""
    prices = np.concatenate([PRICES, [np.nan, np.nan]])
    n = len(prices)
    fleet = scene.columns(n)
    blind = fleet.capacity.copy()
    blind[-1] = fleet.threshold[-1]
    fleet = replace(fleet, capacity=blind)
    served = Ours(foreseen, fleet, decision.initial_state(n, scene.step_s), prices, scene.step_s)
    first = Entry(OURS, "price of a short replica", prices, served, _shipped(scene, n))
    return [first], served


def _clairvoyant(scene: Scene, peak: FloatArray) -> Entry:
    n = len(FORESIGHT)
    knows = Clairvoyant(peak, FORESIGHT, scene.columns(n))
    return Entry(LIMIT, "utilisation it plans for", FORESIGHT, knows, _shipped(scene, n))


def _hpa_entries(scene: Scene, shares: FloatArray = THRESHOLDS) -> list[Entry]:
    return [
        Entry(f"{WINDOW}{window_s:g}", TARGET, shares, Reactive(), _rules(scene, shares, window_s))
        for window_s in WINDOWS_S
    ]


def _rules(scene: Scene, shares: Sequence[float] | FloatArray, window_s: float) -> hpa.HpaRules:
    target = np.array(shares) * _per_replica(scene)
    fleet = scene.fleet
    return trigger_rules(
        target,
        np.full(len(target), window_s),
        (float(fleet.tolerance[0]), int(fleet.minimum[0]), int(fleet.maximum[0])),
    )


def _per_replica(scene: Scene) -> float:
    """What a share of 1 means: the capacity; for a queue the messages one replica clears within the latency target."""
    return scene.capacity * (scene.age_target_s if scene.fleet.queue[0] else 1.0)


def _shipped(scene: Scene, n: int) -> hpa.HpaRules:
    fleet = scene.fleet
    return shipped_rules(n, (float(fleet.tolerance[0]), int(fleet.minimum[0]), int(fleet.maximum[0])))


def _seasonal_maximum(scene: Scene) -> FloatArray:
    window = round(MIMIR_S / scene.step_s)
    week, day = (same_time_before(scene.load.metric, round(s / scene.step_s), window) for s in SEASONS_S)
    return np.where(np.isnan(week), day, week) * _per_replica(scene) / scene.capacity


def _compete(
    scene: Scene, part: Part, entries: Sequence[Entry], progress: Progress | None, *, latency: bool
) -> tuple[Outcome, ...]:
    together: Controller = Together([(entry.controller, len(entry.knobs)) for entry in entries])
    rules = stacked([entry.rules for entry in entries])
    if scene.question.net is not None:
        together = WithNet(together, scene.question.net, rules)
    setup = scene.setup(part, rules)
    world = scene.world(part, latency=latency)
    record = run(world, setup, together, progress)
    sums = tally(record, world.load.value, setup.capacity, scene.scored(part), scene.block, scene.step_s)
    short = shortage(record, world.load.value, setup.capacity, np.arange(len(world.load.value)))
    outcomes, start = [], 0
    for entry in entries:
        rows = slice(start, start + len(entry.knobs))
        own = Tally(*(getattr(sums, name)[:, rows] for name in Tally.__slots__))
        shown = show(own, scene.step_s, scene.question.limit_pct) if entry.name != OURS else len(entry.knobs) + SHIPPED
        outcomes.append(
            Outcome(
                entry.name,
                entry.knob,
                entry.knobs,
                own,
                shown,
                record.ready[:, start + shown].copy(),
                record.billed[:, start + shown].copy(),
                short[:, start + shown].copy(),
            )
        )
        start = rows.stop
    return tuple(outcomes)


def show(sums: Tally, step_s: float, limit_pct: float) -> int:
    """Index of the cheapest setting within the limit, else of the one that leaves the least short."""
    found = figures(sums, step_s)
    good = found.short_pct <= limit_pct
    if good.any():
        return int(np.argmin(np.where(good, found.cost_ratio, np.inf)))
    return int(np.argmin(found.short_pct))


def _prophecy(scene: Scene, foreseen: Foreseen, peak: FloatArray, served: Ours) -> Prophecy:
    part = scene.test
    judged: BoolArray = scene.scored(part) & ~np.isnan(peak) & ~np.isnan(foreseen.peak[:, 0])
    judged[len(judged) - int(scene.fleet.h[0]) :] = False
    day = same_time_before(scene.load.sample, round(SEASONS_S[1] / scene.step_s), int(scene.fleet.h[0]))
    yesterday = day[part.first : part.last]
    compared = judged & ~np.isnan(yesterday)
    quantiles, actual = foreseen.peak, peak
    scale = float(np.nanmean(scene.load.value[part.first : part.last])) or 1.0
    nothing = np.full(len(LEVELS), np.nan)
    covered = (actual[judged, None] <= quantiles[judged]).mean(axis=0) if judged.any() else nothing
    loss, naive = nothing, nothing
    if compared.any():
        loss = pinball(actual[compared], quantiles[compared]).mean(axis=0) / scale
        held = np.repeat(yesterday[compared, None], len(LEVELS), axis=1)
        naive = pinball(actual[compared], held).mean(axis=0) / scale
    modes = served.mode[scene.scored(part)]
    shares = {mode.label: round(100.0 * float((modes == mode).mean()), 2) for mode in Mode if (modes == mode).any()}
    return Prophecy(quantiles.astype(np.float32), covered, loss, naive, shares)
