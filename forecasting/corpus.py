"""What a global forecaster is trained on: rows drawn from recorded and generated load, varied so that none comes twice.

    a recorded stretch or a generated one → mixed, in another phase → samples with noise → buckets, with gaps
    → cutoffs with histories from an hour to nine days old before them → origins after them, at many leads
    → inputs and what came

Scale needs no variation: nothing of it is left in the inputs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from forecasting import neural
from forecasting.calendar import DAY_S
from forecasting.forecast import FloatArray
from forecasting.generators import Chance, Shape, generated
from forecasting.neural import NeuralConfig, Small
from forecasting.ratios import view
from forecasting.series import History, Rows, coarse_spacing, summed_up
from forecasting.training import dithered_targets, mean_load

SAMPLE_S = 15.0
"""Spacing of the samples below buckets of a minute."""
SPANS_S = {60.0: 10 * DAY_S, 300.0: 24 * DAY_S, 3600.0: 60 * DAY_S}
"""Length of a drawn history by the spacing of its buckets."""
YOUNGEST_S, OLDEST_S = 3600.0, 9 * DAY_S
"""Ages of histories at a cutoff, log-uniform."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One recorded load."""

    name: str
    values: FloatArray
    """(n,), NaN inside gaps."""
    spacing_s: float

    def share(self, first: float, last: float) -> "Recorded":
        """The part between two shares of its length."""
        n = len(self.values)
        return replace(self, values=self.values[int(first * n) : int(last * n)])


@dataclass(frozen=True, slots=True)
class CorpusConfig:
    """How rows are drawn."""

    recorded: float = 0.6
    """Share of the histories that are recorded, where there are recorded ones."""
    mixed: float = 0.15
    """Share of the recorded ones that have a generated load added."""
    gaps: float = 0.15
    """Share of the histories that have gaps."""
    cutoffs: int = 4
    """Per history."""
    rows: int = 192
    """Origins per cutoff."""
    leads_s: tuple[float, float] = (30.0, 1200.0)
    """Shortest and longest lead, log-uniform."""


@dataclass(frozen=True, slots=True)
class Examples:
    """R rows."""

    inputs: Small
    """(R, INPUTS)"""
    target: Small
    """Logarithms of peak, mean and last sample of the window over the load now, (R, HEADS)."""
    weight: Small
    """How much load there is, over the mean, (R,): what is rarely paid for counts less."""


def drawn(recorded: Sequence[Recorded], histories: int, rng: Chance, config: CorpusConfig) -> Examples:
    """Rows from as many histories."""
    return _together([part for _ in range(histories) for part in _of_one(recorded, rng, config)])


def drawn_of(shape: Shape, histories: int, rng: Chance, config: CorpusConfig) -> Examples:
    """Rows from as many histories of one generated shape, in minutes."""
    n = round(SPANS_S[60.0] / 60.0)
    loads = (shape(_stamps(n, 60.0, rng), rng) for _ in range(histories))
    return _together([part for load in loads for part in _rows(load, 60.0, rng, config)])


def _together(parts: Sequence[Examples]) -> Examples:
    return Examples(*(np.concatenate([getattr(part, name) for part in parts]) for name in Examples.__slots__))


def _of_one(recorded: Sequence[Recorded], rng: Chance, config: CorpusConfig) -> list[Examples]:
    if recorded and rng.random() < config.recorded:
        load, bucket_s = _recorded(recorded[int(rng.integers(len(recorded)))], rng)
        if rng.random() < config.mixed:
            load = load / max(float(np.nanmean(load)), 1e-12) + rng.uniform(0.1, 1) * _generated(
                len(load), bucket_s, rng
            )
    else:
        bucket_s = float(rng.choice([60.0, 300.0, 3600.0], p=[0.85, 0.1, 0.05]))
        load = _generated(round(SPANS_S[bucket_s] / bucket_s), bucket_s, rng)
    return _rows(load, bucket_s, rng, config)


def _rows(load: FloatArray, bucket_s: float, rng: Chance, config: CorpusConfig) -> list[Examples]:
    history = _history(load, bucket_s, rng, config)
    parts = (_after(history, rng, config) for _ in range(config.cutoffs))
    return [part for part in parts if part is not None]


def _generated(n: int, bucket_s: float, rng: Chance) -> FloatArray:
    return generated(_stamps(n, bucket_s, rng), rng)


def _stamps(n: int, bucket_s: float, rng: Chance) -> FloatArray:
    return np.asarray(DAY_S * rng.integers(10_000, 20_000) + bucket_s * np.arange(1, n + 1, dtype=np.float64))


def _recorded(one: Recorded, rng: Chance) -> tuple[FloatArray, float]:
    """A stretch of a recorded load in buckets; what is recorded wider is interpolated."""
    bucket_s = 60.0 if one.spacing_s <= 60.0 or rng.random() < 0.3 else 300.0
    wanted = min(round(SPANS_S[bucket_s] / one.spacing_s), len(one.values))
    first = rng.integers(len(one.values) - wanted + 1)
    values = one.values[first : first + wanted]
    if one.spacing_s > bucket_s:
        k = round(one.spacing_s / bucket_s)
        known = ~np.isnan(values)
        middle = (np.arange(len(values)) + 0.5) * k
        curve = np.interp(np.arange(len(values) * k) + 0.5, middle[known], values[known])
        values = np.where(np.repeat(known, k), curve, np.nan)
    elif one.spacing_s < bucket_s:
        k = round(bucket_s / one.spacing_s)
        values = values[: len(values) // k * k].reshape(-1, k).mean(axis=1)
    return values, bucket_s


def _history(load: FloatArray, bucket_s: float, rng: Chance, config: CorpusConfig) -> History:
    """The load as samples with noise, summed up as the service does, in a phase of its own."""
    step_s = SAMPLE_S if bucket_s == 60.0 else bucket_s
    k, blocks = round(bucket_s / step_s), round(coarse_spacing(step_s) / bucket_s)
    load = load[: len(load) // (blocks * 12) * blocks * 12]
    samples = _noisy(np.repeat(load, k), rng)
    if rng.random() < config.gaps:
        for _ in range(rng.integers(1, 6)):
            first = rng.integers(len(samples))
            samples[first : first + round(k * np.exp(rng.uniform(0, 6)))] = np.nan
    mean, maximum = summed_up(samples[None], samples[None], k)
    coarse_mean, coarse_maximum = summed_up(mean, maximum, blocks)
    hours = round(max(3600.0, 12 * bucket_s) / 3600.0)
    start_s = 3600.0 * hours * rng.integers(100_000 // hours, 500_000 // hours)
    end_s = start_s + bucket_s * len(load)
    parts = [part.astype(np.float32) for part in (mean, maximum, coarse_mean, coarse_maximum)]
    return History(step_s, end_s, np.zeros((1, 0)), end_s, parts[0], parts[1], end_s, parts[2], parts[3])


def _noisy(load: FloatArray, rng: Chance) -> FloatArray:
    """Samples around a load: relative noise of one of many sizes, or counts."""
    if rng.random() < 0.2:
        per_sample = np.exp(rng.uniform(0.0, 7.0)) / max(float(np.nanmean(load)), 1e-12)
        return np.where(np.isnan(load), np.nan, rng.poisson(np.nan_to_num(load * per_sample)) / per_sample)
    size = float(rng.choice([0.0, 0.0, 0.01, 0.02, 0.05, 0.05, 0.1, 0.2]))
    return np.maximum(load * (1.0 + size * rng.standard_normal(len(load))), 0.0)


def _after(history: History, rng: Chance, config: CorpusConfig) -> Examples | None:
    """Rows after one cutoff, of a history that began some time before it; None where it knows too little."""
    m, bucket_s = history.mean.shape[1], history.bucket_s
    age = min(max(round(np.exp(rng.uniform(np.log(YOUNGEST_S), np.log(OLDEST_S))) / bucket_s), 60), m - 8)
    cutoff = rng.integers(age, m - 4)
    known = history.since(cutoff - age)
    past = known.until(history.end_s - (m - cutoff) * bucket_s)
    small = neural.FLOOR * mean_load(past)
    if np.count_nonzero(~np.isnan(past.mean)) < NeuralConfig().min_rows or small <= 1e-12:
        return None
    reach = max(min(round(DAY_S / bucket_s), age // 2), 12)
    index = rng.integers(cutoff, min(cutoff + reach, m - 2), config.rows)
    origin_s = history.end_s - (m - index) * bucket_s
    low, high = config.leads_s
    lead_s = np.exp(rng.uniform(np.log(low), np.log(high), config.rows))
    h = np.maximum(np.ceil(lead_s / history.step_s).astype(np.int64), 1)
    rows = Rows(np.zeros(config.rows, np.int64), origin_s, h, origin_s)
    epsilon = np.full(config.rows, small)
    seen = view(known, rows, epsilon)
    (peak, last), (mean, _) = (dithered_targets(known, rows, averaged=averaged) for averaged in (False, True))
    base = np.log(seen.level + epsilon)
    target = np.log(np.stack([peak, mean, last], axis=1) + epsilon[:, None]) - base[:, None]
    there = ~np.isnan(target).any(axis=1)
    weight = np.clip((seen.level + epsilon) / (epsilon / neural.FLOOR), 0.1, 3.0)
    given = neural.inputs(seen, known, rows, epsilon)
    return Examples(given[there], target[there].astype(np.float32), weight[there].astype(np.float32))
