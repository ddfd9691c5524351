"""Histories for the agent's world: a load, and what the service would have forecast of it at every step.

    CSV → noise at the step → forecasts, each by a fit that saw nothing after its cutoff → one file per history and lead

Forecasts do not depend on what a policy does, so they are made once and kept; no stretch of a history is ever forecast
by a model that saw it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from scaler.core.domain import Kind, Workload
from scaler.core.simulator.constants import FLEET, FLEET_UTILISATION, SYNC_S
from scaler.core.simulator.draws import LEARNT_S, Foretold
from scaler.core.simulator.foresight import Past, foresee
from scaler.core.simulator.load import Noise
from scaler.core.simulator.scene import Question, Scene
from scaler.errors import HistoryError
from scaler.trace import Trace, first_days, read_csv

DAYS = 21
"""Most days of one history, so that a long one does not drown the others."""
ARRAYS = ("value", "peak", "ceiling")


@dataclass(frozen=True, slots=True)
class Wanted:
    """One history at one lead time."""

    name: str
    lead_s: float
    queue: bool
    load: Callable[[], Trace]
    """Reads it. Raises HistoryError."""

    @staticmethod
    def csv(path: Path, lead_s: float, *, queue: bool) -> "Wanted":
        """The history in a CSV file."""
        return Wanted(path.stem, lead_s, queue, partial(read_csv, path))

    @property
    def file(self) -> str:
        """Name of the file that keeps it."""
        return f"{self.name}-{'queue' if self.queue else 'rate'}-{self.lead_s:g}s.npz"


def all_foretold(wanted: Sequence[Wanted], folder: Path) -> Iterator[Foretold]:
    """Each history with its forecasts, read from `folder` or made and kept there.

    Raises:
        HistoryError: a history cannot be used.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for one in wanted:
        kept = folder / one.file
        yield _read(one, kept) if kept.exists() else _made(one, kept)


def _read(one: Wanted, kept: Path) -> Foretold:
    try:
        with np.load(kept, allow_pickle=False) as found:
            arrays = [found[name] for name in ARRAYS]
    except (OSError, ValueError, KeyError) as error:
        raise HistoryError(f"{kept}: cannot be read; remove it, and it is made again: {error}") from error
    return Foretold(one.name, one.lead_s, one.queue, *arrays)


def _made(one: Wanted, kept: Path) -> Foretold:
    scene = _scene(one)
    past = Past.of(scene.load.sample, scene.question.start_s, scene.step_s)
    first = round(LEARNT_S / scene.step_s)
    said = foresee(past, scene.load.t_s[first:], scene.fleet, scene.question.workload.fingerprint)
    single = [array.astype(np.float32) for array in (scene.load.value[first:], said.peak, said.ceiling)]
    begun = kept.with_suffix(".part.npz")
    value, peak, ceiling = single
    np.savez(begun, value=value, peak=peak, ceiling=ceiling)
    begun.replace(kept)
    return Foretold(one.name, one.lead_s, one.queue, *single)


def _scene(one: Wanted) -> Scene:
    trace = first_days(one.load(), DAYS)
    capacity = float(np.nanmean(trace.values)) / (FLEET.value * FLEET_UTILISATION.value)
    kind = Kind.QUEUE if one.queue else Kind.RATE
    workload = Workload("agent", trace.name, "0", threshold=capacity, capacity=capacity, kind=kind, lead_s=one.lead_s)
    # Messages are counted; counts of requests are large enough to be taken for a rate.
    noise = Noise.POISSON if one.queue and float(np.nanmedian(trace.values)) < 10.0 else Noise.MULTIPLICATIVE
    if trace.span_s < 2 * LEARNT_S or trace.spacing_s % SYNC_S.value:
        raise HistoryError(f"{one.name}: {trace.span_s / 86_400:.1f} days are too few to learn from")
    return Scene.of(Question(trace.name, trace.start_s, trace.values, trace.spacing_s, workload, noise))
