"""`python -m benchmarks young`: who forecasts best while a history is short.

Nothing is known before a history's first sample, and nothing is shifted by what was learnt online. Reads the traces of
the folder FORESAIL_TRACES; three minutes.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from benchmarks import arena
from benchmarks.arena import JUDGED, Case
from forecasting import naive
from forecasting.catalog import FORECASTERS
from forecasting.errors import NotEnoughHistory
from forecasting.forecast import FloatArray
from forecasting.scores import pinball
from forecasting.series import DAY_S, History, Rows
from scaler.core.simulator.load import peak_ahead

SPANS_S = (8 * 3600.0, 13 * 3600.0, 18.5 * 3600.0, DAY_S, 2 * DAY_S)
"""Lengths of history."""
AHEAD_S = 6 * 3600.0
"""Judged after each fit."""
FITS = 3
"""Beginnings per trace and length, evenly spread."""


def run() -> Iterator[str]:
    """One line per length of history: loss of each forecaster over the naive one's, geometric mean of the traces."""
    cases = list(arena.cases())
    names = [module.__name__.split(".")[1] for module in FORECASTERS]
    yield "pinball loss on short histories over the naive one's: geometric mean, worst trace, on how many traces best"
    yield f"{'hours':>6}" + "".join(f"{name:>18}" for name in names)
    for span_s in SPANS_S:
        table = np.array([_losses(case, span_s) for case in cases])
        ratio = table / table[:, [FORECASTERS.index(naive)]]
        best = np.bincount(np.nanargmin(table, axis=1), minlength=len(names))
        cells = [
            f"{np.exp(np.log(ratio[:, k]).mean()):8.2f} {ratio[:, k].max():7.2f} {best[k]}" for k in range(len(names))
        ]
        yield f"{span_s / 3600:6.1f}" + "".join(cells)


def _losses(case: Case, span_s: float) -> list[float]:
    """Mean loss of each forecaster in replicas; NaN of one that asks for more history."""
    end_s = case.past.start_s + case.past.mean.shape[1] * case.past.bucket_s
    begin_s = np.linspace(case.past.start_s, end_s - span_s - AHEAD_S - 3600.0, FITS + 1)[:-1] // 3600.0 * 3600.0
    lost: list[list[float]] = [[] for _ in FORECASTERS]
    for first_s in begin_s.tolist():
        cutoff_s = first_s + span_s
        origin_s = np.arange(cutoff_s + 60.0, cutoff_s + AHEAD_S, 180.0)
        known = ~np.isnan(case.past.until(cutoff_s).mean[0][-round(span_s / case.past.bucket_s) :])
        actual = _actual(case, origin_s)
        if known.mean() < 0.95 or np.isnan(actual).any():
            continue
        young, seen = (_since(history, first_s) for history in (case.past.until(cutoff_s), case.whole))
        n = len(origin_s)
        rows = Rows(np.zeros(n, np.int64), origin_s, np.full(n, case.h), origin_s)
        for k, module in enumerate(FORECASTERS):
            try:
                peak = module.predict(module.fit(young, case.h, averaged=False), seen, rows).peak
                loss = pinball(actual / case.capacity, peak / case.capacity)[:, JUDGED].mean()
            except NotEnoughHistory:
                loss = np.nan
            lost[k].append(float(loss))
    return [float(np.mean(values)) for values in lost]


def _actual(case: Case, origin_s: FloatArray) -> FloatArray:
    place = np.rint((origin_s - case.past.start_s) / case.past.step_s).astype(np.int64) - 1
    return peak_ahead(case.past.fine[0], case.h)[place]


def _since(history: History, first_s: float) -> History:
    """The same history without what lies before `first_s`."""
    parts = {}
    for names, end_s, spacing_s in (
        (("fine",), history.end_s, history.step_s),
        (("mean", "maximum"), history.bucket_end_s, history.bucket_s),
        (("coarse_mean", "coarse_maximum"), history.coarse_end_s, history.coarse_s),
    ):
        for name in names:
            values = getattr(history, name)
            stamp_s = end_s - spacing_s * np.arange(values.shape[1] - 1, -1, -1)
            parts[name] = np.where(stamp_s > first_s, values, np.nan).astype(values.dtype)
    return replace(history, **parts)
