"""`python -m benchmarks.unseen NETWORKS [TRACE …]`: what the global forecaster is worth on sources it never saw.

NETWORKS holds one training per source that was left out, made by `foresail train forecaster --without … --out
NETWORKS/SOURCE`; the record beside each network proves what it saw. Three stretches of each trace are run: hours 6–72
and days 4–10 of a workload's life, and the last 40 % of its first 21 days. The network that is shipped is never used.
Reads FORESAIL_TRACES; ten minutes of one core per trace.
"""

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.results import DAYS, DENSE
from forecasting import neural
from forecasting.series import DAY_S
from scaler.backtest import Assumptions, question_of
from scaler.core.simulator import contest
from scaler.core.simulator.contest import OURS, WINDOW, Outcome
from scaler.core.simulator.scene import SETTLING_S, Part, Scene
from scaler.core.simulator.score import cost_at, figures, geometric_mean
from scaler.trace import first_days, read_csv

SOURCES = {"crane": ("crane_",), "mscm": ("mscm_",), "ita": ("wc98_", "nasa_", "sask_")}
"""Data sets of the traces by the beginnings of their names."""
LEAD_S = 300.0
HOURS, DAYS_4_10 = (6 * 3600.0, 72 * 3600.0), (3 * DAY_S, 10 * DAY_S)
WEEK_S = 7 * DAY_S
LIMIT_PCT = 1.0


def run(networks: Path, names: tuple[str, ...]) -> Iterator[str]:
    """One line per trace, then geometric means."""
    yield "cost at 1 % short load over that of the HPA (and its own short %), lead 300 s, source unseen"
    yield f"{'':16}{'hours 6-72':>36}{'days 4-10':>36}{'last 40 % of 21 days':>36}"
    found: list[list[tuple[float | None, ...]]] = []
    for name in names:
        unseen(networks, name)
        found.append(list(_stretches(name)))
        yield f"{name:16}" + "".join(f"{_told(one):>36}" for one in found[-1])
    for number, words in enumerate(("iso over iso", "iso over what the calibrated setting paid")):
        cells = []
        for stretch in range(3):
            pairs = [(one[stretch][0], one[stretch][1 + number]) for one in found]
            ratios = [ours / theirs for ours, theirs in pairs if ours is not None and theirs is not None]
            mean = f"{geometric_mean(ratios):.3f} worst {max(ratios):.3f} of {len(ratios)}" if ratios else "–"
            cells.append(f"{mean:>36}")
        yield f"{words}: " + "".join(cells)


def unseen(networks: Path, name: str) -> None:
    """Let the network speak that was trained without the source of this trace."""
    source, prefixes = next((key, value) for key, value in SOURCES.items() if name.startswith(value))
    card = json.loads((networks / source / "card.json").read_text())
    seen = [load for load in card["loads"] if load.startswith(prefixes)]
    if seen:
        raise SystemExit(f"{networks / source}: trained on {', '.join(seen)}")
    neural.ARRAYS = networks / source / "network.npz"
    neural.shipped.cache_clear()


def _stretches(name: str) -> Iterator[tuple[float | None, ...]]:
    """Our cost at the limit, the HPA's there, what its calibrated setting paid, and its short share."""
    trace = first_days(read_csv(Path(os.environ["FORESAIL_TRACES"]) / f"{name}.csv"), DAYS)
    question = question_of(trace, None, Assumptions(lead_s=LEAD_S, controllers=(OURS,)))
    whole = Scene.of(question)
    week = Part(0, round(SETTLING_S / whole.step_s), round(WEEK_S / whole.step_s))
    parts = [_part(whole, *span_s) for span_s in (HOURS, DAYS_4_10)]
    for number, part in enumerate((*parts, whole.test)):
        scene = replace(whole, training=week, test=part)
        ours = next(one for one in contest.forecasts(scene).outcomes if one.name == OURS)
        swept = {one.name: one for one in contest.triggers(scene).outcomes if one.name.startswith(WINDOW)}
        if number == 2:
            yield _cost(ours, scene), min(_known(_cost(one, scene) for one in swept.values()), default=None), None, None
            continue
        window, setting = _calibrated(scene)
        paid = figures(swept[window].sums, scene.step_s)
        short, cost = float(paid.short_pct[setting]), float(paid.cost_ratio[setting])
        yield _cost(ours, scene), _cost(swept[window], scene), cost, short


def _part(scene: Scene, first_s: float, last_s: float) -> Part:
    first, last = (round(at_s / scene.step_s) for at_s in (first_s, last_s))
    return Part(first - round(SETTLING_S / scene.step_s), first, min(last, len(scene.load.value)))


def _calibrated(scene: Scene) -> tuple[str, int]:
    """Window and setting of the HPA that was cheapest within the limit on a full week, else had the least short."""
    best = (np.inf, np.inf, "", 0)
    for one in contest.calibration(scene).outcomes:
        found = figures(one.sums, scene.step_s)
        for setting, (short, cost) in enumerate(zip(found.short_pct, found.cost_ratio, strict=True)):
            key = (0.0, float(cost)) if short <= LIMIT_PCT else (float(short), float(cost))
            if key < best[:2]:
                best = (*key, one.name, setting)
    return best[2], best[3]


def _cost(one: Outcome, scene: Scene) -> float | None:
    found = figures(one.sums, scene.step_s)
    keep = ~np.isnan(one.knobs)
    return cost_at(found.short_pct[keep], found.cost_ratio[keep], LIMIT_PCT)


def _known(costs: Iterator[float | None]) -> list[float]:
    return [cost for cost in costs if cost is not None]


def _told(one: tuple[float | None, ...]) -> str:
    ours, theirs, paid, short = ("–" if value is None else f"{value:.3f}" for value in one)
    return f"{ours} / {theirs} ({paid} at {short} %)"


if __name__ == "__main__":
    for line in run(Path(sys.argv[1]), tuple(sys.argv[2:]) or DENSE):
        print(line, flush=True)
