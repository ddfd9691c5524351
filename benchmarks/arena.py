"""Where forecasters meet: the same origins, the same fits' cutoffs, the same conformal wrapper, one loss.

    a recorded trace → samples at the step → fits once a day → forecasts every three minutes → shifted hourly → loss

The last 40 % of the first 21 days are judged; the two days before them give the wrapper what it shifts by. Nobody sees
a sample after its origin, nor after its fit's cutoff but for what it looks at from an origin.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.results import DAYS, DENSE
from forecasting import conformal
from forecasting.conformal import Joined, Kept
from forecasting.forecast import LEVELS, BoolArray, FloatArray, IntArray, ordered
from forecasting.scores import pinball
from forecasting.series import DAY_S, History, Rows
from scaler.core.domain import Workload, columns_of
from scaler.core.simulator.constants import FLEET, FLEET_UTILISATION, SYNC_S
from scaler.core.simulator.foresight import Past
from scaler.core.simulator.load import peak_ahead
from scaler.core.simulator.scene import TEST, Question, Scene
from scaler.trace import first_days, read_csv

OTHERS = ("mscm_ingress02", "crane_in03", "crane_in05", "genai_lora_requests", "azfunc2021_101", "azfunc2021_235")
"""One-minute histories besides: a launch, a flat line, surges, and loads that are mostly zero."""
LEAD_S = 300.0
JUDGED = slice(1, 4)
"""0.9, 0.97 and 0.99, as the ensemble judges."""
HEADROOM = 1.5
"""Largest load known, times this, is the most that is forecast."""
EPSILON = 0.25
"""Load, in replicas, that the wrapper adds before it takes logarithms."""


@dataclass(frozen=True, slots=True)
class Case:
    """One trace at one lead, with S origins."""

    name: str
    past: Past
    whole: History
    """All of it; forecasters look only at what lies before an origin."""
    h: int
    capacity: float
    cutoff_s: FloatArray
    """When each of K fits was made, (K,), rising."""
    origin_s: FloatArray
    """(S,), three minutes apart."""
    actual: FloatArray
    """Largest sample of each lead window, (S,); NaN unknown."""
    judged: BoolArray
    """Origins that count, (S,)."""

    @property
    def fit(self) -> IntArray:
        """Which of the K fits each origin is answered by, (S,)."""
        return np.searchsorted(self.cutoff_s, self.origin_s, side="right") - 1

    def rows(self, chosen: IntArray) -> Rows:
        """Questions from the chosen origins."""
        origin_s, n = self.origin_s[chosen], len(self.origin_s[chosen])
        return Rows(np.zeros(n, np.int64), origin_s, np.full(n, self.h), origin_s)


def cases(names: tuple[str, ...] = DENSE, lead_s: float = LEAD_S) -> Iterator[Case]:
    """Traces of the folder FORESAIL_TRACES."""
    folder = os.environ.get("FORESAIL_TRACES")
    if folder is None:
        raise SystemExit("FORESAIL_TRACES: the folder of the traces must be named")
    for name in names:
        yield case(Path(folder) / f"{name}.csv", lead_s)


def case(path: Path, lead_s: float) -> Case:
    """One trace, its origins and what came after them."""
    trace = first_days(read_csv(path), DAYS)
    capacity = float(np.nanmean(trace.values)) / (FLEET.value * FLEET_UTILISATION.value)
    workload = Workload("bench", trace.name, "0", threshold=capacity, lead_s=lead_s)
    scene = Scene.of(Question(trace.name, trace.start_s, trace.values, trace.spacing_s, workload))
    h = int(columns_of([workload]).h[0])
    past = Past.of(scene.load.sample, trace.start_s, SYNC_S.value)
    begin_s = np.ceil((trace.start_s + (1.0 - TEST) * trace.span_s) / DAY_S * 24) * 3600.0
    end_s = past.start_s + past.mean.shape[1] * past.bucket_s
    cutoff_s = np.arange(begin_s - conformal.SPAN_S, end_s - 3600.0, DAY_S)
    stride_s = conformal.stride_s(past.bucket_s)
    origin_s = np.arange(np.ceil(cutoff_s[0] / stride_s) * stride_s, end_s - lead_s - 60.0, stride_s)
    ahead = peak_ahead(scene.load.value, h)
    actual = ahead[np.rint((origin_s - past.start_s) / past.step_s).astype(np.int64) - 1]
    whole = past.until(end_s, whole=True)
    return Case(trace.name, past, whole, h, capacity, cutoff_s, origin_s, actual, origin_s >= begin_s)


def joined(case: Case, said: FloatArray, level: FloatArray) -> Joined:
    """Forecasts beside what the service would have known of the loads after them."""
    peak = np.broadcast_to(said, (len(said), len(LEVELS))).astype(np.float32)
    kept = Kept(case.origin_s, level.astype(np.float32), peak)
    return conformal.joined(case.whole, kept, case.h, averaged=False)


def wrapped(case: Case, said: FloatArray) -> FloatArray:
    """The same forecasts under the rolling conformal wrapper, refreshed hourly, (S, Q) in load units.

    Nothing exceeds the largest load known at its origin more than one and a half times, as nothing that is served does.
    """
    epsilon = EPSILON * case.capacity
    past = joined(case, said, np.zeros(len(said)))
    served = np.broadcast_to(said, (len(said), len(LEVELS))).astype(np.float64)
    hour = case.origin_s // 3600.0
    for now in np.unique(hour[case.judged]).tolist():
        asked = hour == now
        track = past.until(now * 3600.0)
        if conformal.enough(track, case.whole.bucket_s):
            shift = conformal.shift(track, track.peak, epsilon)
            served[asked] = np.exp(np.log(served[asked] + epsilon) + shift) - epsilon
    return ordered(np.minimum(served, HEADROOM * largest_known(case)[:, None]))


def largest_known(case: Case) -> FloatArray:
    """Largest sample up to each origin, (S,)."""
    so_far = np.fmax.accumulate(case.past.fine[0])
    return np.asarray(so_far[np.rint((case.origin_s - case.past.start_s) / case.past.step_s).astype(np.int64) - 1])


def losses(case: Case, served: FloatArray) -> FloatArray:
    """Mean pinball loss at JUDGED of each judged origin, in replicas, (n,)."""
    chosen = case.judged & ~np.isnan(case.actual)
    lost = pinball(case.actual[chosen] / case.capacity, served[chosen] / case.capacity)
    return np.asarray(lost[:, JUDGED].mean(axis=1))


def disjoint(case: Case) -> BoolArray:
    """Judged origins whose lead windows do not overlap."""
    stride_s = case.origin_s[1] - case.origin_s[0]
    apart = int(np.ceil((case.h * case.past.step_s + case.past.bucket_s) / stride_s))
    return case.judged & ~np.isnan(case.actual) & (np.arange(len(case.judged)) % apart == 0)
