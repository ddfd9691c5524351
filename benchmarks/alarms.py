"""`python -m benchmarks alarms`: what sounds the alarm of a drift on recorded histories, and whether it was false.

Forecasts, fits and drift are the service's own, replayed from the third day of each history to its end. An alarm counts
as true where the load itself broke, within half an hour, by nearly the factor of two that must be found within a
quarter of an hour: its median over fifteen minutes against the hour before them, beyond what it did the day before.
Five minutes; reads FORESAIL_TRACES.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from forecasting import drift
from forecasting.forecast import FloatArray
from forecasting.series import DAY_S
from scaler.backtest import Assumptions, question_of
from scaler.core.simulator.foresight import Past, foresee
from scaler.core.simulator.scene import Scene
from scaler.trace import read_csv

NAMES = ("crane_in14", "kwai_service7", "mscm_ingress04")
LEAD_S = 300.0
BEGIN_S = 2 * DAY_S
APART_S = 3600.0
"""Alarms nearer to each other are one."""
NOW_S, BEFORE_S, AROUND_S = 900.0, 3600.0, 1800.0
REAL = 1.8
MONTH_S = 365.25 / 12 * DAY_S


def run() -> Iterator[str]:
    """One line per alarm, then the count."""
    folder = os.environ.get("FORESAIL_TRACES")
    if folder is None:
        raise SystemExit("FORESAIL_TRACES: the folder of the traces must be named")
    lasted_s, n_false, n_true = 0.0, 0, 0
    for name in NAMES:
        trace = read_csv(Path(folder) / f"{name}.csv")
        question = question_of(trace, None, Assumptions(lead_s=LEAD_S))
        scene = Scene.of(question)
        past = Past.of(scene.load.sample, question.start_s, scene.step_s)
        t_s = scene.load.t_s[scene.load.t_s >= scene.load.t_s[0] + BEGIN_S]
        foreseen = foresee(past, t_s, scene.fleet, question.workload.fingerprint)
        lasted_s += len(t_s) * scene.step_s
        score, part = drift.worst(foreseen.drift)
        for step in _begun(score >= drift.ALARM, round(APART_S / scene.step_s)):
            change = _largest_change(past, float(t_s[step]))
            false = change < REAL
            n_false, n_true = n_false + false, n_true + (not false)
            yield (
                f"{name:16} day {(t_s[step] - past.start_s) / DAY_S:5.2f}  {drift.Part(int(part[step])).name.lower():9}"
                f" {score[step]:.2f}  the load was off by a factor of {change:.1f}{': false' if false else ''}"
            )
    yield f"{n_false} false, {n_true} true alarms in {lasted_s / MONTH_S:.1f} months"


def _begun(alarmed: FloatArray, apart: int) -> Iterator[int]:
    """Steps at which an alarm began, none having sounded for `apart` steps."""
    last = -apart
    for step in np.flatnonzero(alarmed).tolist():
        if step - last >= apart:
            yield step
        last = step


def _largest_change(past: Past, t_s: float) -> float:
    """Largest factor by which a quarter of an hour near `t_s` left the hour before it, unlike the day before."""
    edges_s = np.arange(t_s - AROUND_S, t_s + AROUND_S + 1.0, past.step_s)
    return max(max(_change(past, edge_s) / _change(past, edge_s - DAY_S), 1.0) for edge_s in edges_s.tolist())


def _change(past: Past, t_s: float) -> float:
    """Factor between the medians of the quarter of an hour up to `t_s` and the hour before it, at least 1."""
    end = round((t_s - past.start_s) / past.step_s)
    now, before = round(NOW_S / past.step_s), round(BEFORE_S / past.step_s)
    small = 0.01 * float(np.nanmean(past.fine))
    later, earlier = (
        float(np.nanmedian(past.fine[0, max(first, 0) : last])) + small
        for first, last in ((end - now, end), (end - now - before, end - now))
    )
    return max(later / earlier, earlier / later)
