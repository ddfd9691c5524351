"""`python -m benchmarks.unseen STRETCH [TRACE …]`: what the global forecaster is worth on unseen sources.

`left_out` holds one network per source that was left out, made by `foresail train forecaster --without … --out
left_out/SOURCE`; the record beside each network says what it saw, and the network that is shipped speaks only for
histories of other sources than its own.
STRETCH is `hours` (6 to 72 of a workload's life), `days` (4 to 10) or `test` (the last 40 % of its first 21 days).
Reads FORESAIL_TRACES; one to three minutes of one core per trace.
"""

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.model_eval import CARD
from benchmarks.results import DAYS, DENSE
from forecasting import neural
from forecasting.series import DAY_S
from scaler.backtest import Assumptions, question_of
from scaler.core.simulator import contest
from scaler.core.simulator.contest import OURS, Outcome
from scaler.core.simulator.scene import SETTLING_S, Part, Scene
from scaler.core.simulator.score import cost_at, figures, geometric_mean
from scaler.trace import first_days, read_csv

NETWORKS = Path(__file__).with_name("left_out")
SOURCES = {"crane": ("crane_",), "mscm": ("mscm_",), "ita": ("wc98_", "nasa_", "sask_"), "kwai": ("kwai_",)}
"""Data sets of the histories by the beginnings of their names: those that the shipped network saw something of."""
SHIPPED = neural.ARRAYS
LEAD_S = 300.0
SPANS_S = {"hours": (6 * 3600.0, 72 * 3600.0), "days": (3 * DAY_S, 10 * DAY_S)}
TEST = "test"
WEEK_S = 7 * DAY_S
LIMIT_PCT = 1.0


@dataclass(frozen=True, slots=True)
class Compared:
    """Costs of one trace where LIMIT_PCT of the load is short; None where a frontier does not come down to it."""

    ours: float | None
    calibrated: float | None
    """The HPA's with the stabilization window that was best on a full week."""
    hindsight: float | None
    """The HPA's with the best window and threshold on the stretch itself."""
    paid: float
    """What the HPA paid with the setting that was best on a full week …"""
    short_pct: float
    """… and what it left short."""


def run(stretch: str, names: tuple[str, ...]) -> Iterator[str]:
    """One line per trace, then geometric means."""
    yield f"{stretch}: cost at {LIMIT_PCT:g} % short load, lead {LEAD_S:g} s, source unseen"
    yield f"{'':18}{'ours':>8}{'HPA':>8}{'hindsight':>11}{'ratio':>8}{'hindsight':>11}   as calibrated"
    ratios: dict[str, list[float]] = {"calibrated": [], "hindsight": []}
    for name in names:
        unseen(name)
        one = compared(name, stretch)
        shares = {key: _ratio(one.ours, getattr(one, key)) for key in ratios}
        for key, share in shares.items():
            ratios[key] += [] if share is None else [share]
        costs = (_cell(one.ours, 8), _cell(one.calibrated, 8), _cell(one.hindsight, 11))
        cells = (*costs, _cell(shares["calibrated"], 8), _cell(shares["hindsight"], 11))
        yield f"{name:18}{''.join(cells)}   {one.paid:.3f} at {one.short_pct:.2f} %"
    for key, found in ratios.items():
        if found:
            yield f"over {key}: geometric mean {geometric_mean(found):.3f}, worst {max(found):.3f}, of {len(found)}"


def _ratio(ours: float | None, theirs: float | None) -> float | None:
    return None if ours is None or theirs is None else ours / theirs


def _cell(value: float | None, width: int) -> str:
    return f"{'–' if value is None else f'{value:.3f}':>{width}}"


def unseen(name: str) -> None:
    """Let a network speak that was trained without the source of this history.

    Raises:
        SystemExit: its card says that it saw some of it.
    """
    known = [(source, begins) for source, begins in SOURCES.items() if name.startswith(begins)]
    source, begins = known[0] if known else ("", (name,))
    arrays, card = (NETWORKS / source / "network.npz", NETWORKS / source / "card.json") if source else (SHIPPED, CARD)
    seen = [load for load in json.loads(card.read_text())["loads"] if load.startswith(begins)]
    if seen:
        raise SystemExit(f"{arrays}: trained on {', '.join(seen)}")
    neural.ARRAYS = arrays
    neural.shipped.cache_clear()


def compared(name: str, stretch: str) -> Compared:
    """Run one stretch of a trace."""
    trace = first_days(read_csv(Path(os.environ["FORESAIL_TRACES"]) / f"{name}.csv"), DAYS)
    scene = Scene.of(question_of(trace, None, Assumptions(lead_s=LEAD_S, controllers=(OURS,))))
    part = scene.test if stretch == TEST else _part(scene, *SPANS_S[stretch])
    week = Part(0, round(SETTLING_S / scene.step_s), min(round(WEEK_S / scene.step_s), len(scene.load.value)))
    ours = next(one for one in contest.forecasts(replace(scene, test=part)).outcomes if one.name == OURS)
    swept = {one.name: one for one in contest.calibration(replace(scene, training=part)).outcomes}
    window, setting = _calibrated(scene, week)
    paid = figures(swept[window].sums, scene.step_s)
    costs = [cost for one in swept.values() if (cost := _cost(one, scene)) is not None]
    return Compared(
        _cost(ours, scene),
        _cost(swept[window], scene),
        min(costs, default=None),
        float(paid.cost_ratio[setting]),
        float(paid.short_pct[setting]),
    )


def _part(scene: Scene, first_s: float, last_s: float) -> Part:
    first, last = (round(at_s / scene.step_s) for at_s in (first_s, last_s))
    return Part(first - round(SETTLING_S / scene.step_s), first, min(last, len(scene.load.value)))


def _calibrated(scene: Scene, week: Part) -> tuple[str, int]:
    """Window and setting of the HPA that was cheapest within the limit on a full week, else had the least short."""
    best = (np.inf, np.inf, "", 0)
    for one in contest.calibration(replace(scene, training=week)).outcomes:
        found = figures(one.sums, scene.step_s)
        for setting, (short, cost) in enumerate(zip(found.short_pct, found.cost_ratio, strict=True)):
            key = (0.0, float(cost)) if short <= LIMIT_PCT else (float(short), float(cost))
            if key < best[:2]:
                best = (*key, one.name, setting)
    return best[2], best[3]


def _cost(one: Outcome, scene: Scene) -> float | None:
    """Cost at the limit; where settings jump over it, of the cheapest that stays below."""
    found, keep = figures(one.sums, scene.step_s), ~np.isnan(one.knobs)
    short, cost = found.short_pct[keep], found.cost_ratio[keep]
    below = cost[short <= LIMIT_PCT]
    return cost_at(short, cost, LIMIT_PCT) or (float(below.min()) if len(below) else None)


if __name__ == "__main__":
    for line in run(sys.argv[1], tuple(sys.argv[2:]) or DENSE):
        print(line, flush=True)
