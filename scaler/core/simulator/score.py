"""From what clusters did to the figures they are judged by.

Everything is summed per block of time first, so that one pass serves totals and bootstrap intervals alike. Steps inside
a gap of the history are never scored.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forecasting.forecast import BoolArray, FloatArray, IntArray
from scaler.core.simulator.cluster import Run

REVERSAL_S = 600.0
"""A change against the one before it within this time is a reversal."""
STRIP = 16
"""Clusters whose moves are looked at together."""
SLACK = 1e-9
"""Rounding allowed before load counts as short."""
WIDEST = 2.0
"""Frontier points whose short shares lie further apart than this factor are not joined."""
LEAST_BLOCKS = 10
"""Blocks without which no interval is stated."""
UNDEFINED = 0.2
"""Share of draws without a ratio beyond which no interval is stated: it would be that of the kinder draws."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Sums of B clusters over N blocks, (N, B)."""

    load: FloatArray
    """Load that arrived."""
    short: FloatArray
    """Load of the steps in which too few replicas were ready."""
    excess: FloatArray
    """Load beyond what the ready replicas could serve."""
    late: FloatArray
    """Load of the steps that missed the latency target; NaN where that is not modelled."""
    billed: FloatArray
    """Replica-steps paid for."""
    needed: FloatArray
    """Replica-steps of which every one was needed."""
    changes: FloatArray
    """Changes of the replica count."""
    reversals: FloatArray
    steps: FloatArray
    """Steps scored."""


def tally(run: Run, load: FloatArray, capacity: FloatArray, scored: BoolArray, block: int, step_s: float) -> Tally:
    """Sum what `run` did in the `scored` steps (T,) in blocks of `block` steps; `capacity` is (B,)."""
    known = scored & ~np.isnan(load)
    window = round(REVERSAL_S / step_s)
    # In strips of clusters: the temporaries of all of them at once would be four times the record.
    strips = [_moves(run.replicas[:, at : at + STRIP], window) for at in range(0, len(capacity), STRIP)]
    changed, reversed_ = (np.concatenate(parts, axis=1) for parts in zip(*strips, strict=True))
    blocks: list[FloatArray] = []
    first = int(np.argmax(scored))
    for start in range(first, len(load), block):
        chosen = np.flatnonzero(known[start : start + block]) + start
        y = load[chosen, None]
        enough = capacity * run.ready[chosen]
        short = shortage(run, load, capacity, chosen)
        late = np.full(len(capacity), np.nan) if run.late is None else (y * run.late[chosen]).sum(axis=0)
        blocks.append(
            np.stack(
                [
                    np.broadcast_to(y.sum(axis=0), late.shape),
                    (y * short).sum(axis=0),
                    np.maximum(y - enough, 0.0).sum(axis=0),
                    late,
                    run.billed[chosen].sum(axis=0, dtype=np.float64),
                    np.maximum(np.ceil(y / capacity - SLACK), 1.0).sum(axis=0),
                    changed[chosen].sum(axis=0, dtype=np.float64),
                    reversed_[chosen].sum(axis=0, dtype=np.float64),
                    np.full(late.shape, float(len(chosen))),
                ]
            )
        )
    return Tally(*np.stack(blocks, axis=1))


def shortage(run: Run, load: FloatArray, capacity: FloatArray, steps: IntArray) -> BoolArray:
    """Whether the load of `steps` met too few ready replicas, or for a queue too old a backlog, (len(steps), B)."""
    if run.queue and run.late is not None:
        return np.asarray(run.late[steps])
    return np.asarray(load[steps, None] > capacity * run.ready[steps] + SLACK)


def _moves(replicas: "np.ndarray[tuple[int, ...], np.dtype[np.int32]]", window: int) -> tuple[BoolArray, BoolArray]:
    """Where a count differs from the step before, and where that undoes a change at most `window` steps old, (T, B)."""
    change = np.zeros(replicas.shape, np.int8)
    change[1:] = np.sign(replicas[1:] - replicas[:-1])
    changed = change != 0
    step = np.arange(len(replicas), dtype=np.int32)[:, None]
    before = np.full(replicas.shape, -window - 1, np.int32)
    before[1:] = np.maximum.accumulate(np.where(changed, step, np.int32(-window - 1)), axis=0)[:-1]
    earlier = np.take_along_axis(change, np.maximum(before, 0).astype(np.int64), axis=0)
    return changed, changed & (step - before <= window) & (earlier == -change)


@dataclass(frozen=True, slots=True)
class Figures:
    """What B clusters are judged by, (B,)."""

    short_pct: FloatArray
    """Share of the load that met too few ready replicas, in percent."""
    excess_pct: FloatArray
    """Share of the load beyond the ready capacity."""
    cost_ratio: FloatArray
    """Replicas paid for, over those needed at every step."""
    replica_hours: FloatArray
    latency_slo_pct: FloatArray
    """Share of the load within the latency target, NaN where latency is not modelled."""
    events_per_hour: FloatArray
    reversals: FloatArray
    """Changes undone within REVERSAL_S."""


def figures(sums: Tally, step_s: float) -> Figures:
    """Figures over all blocks."""
    load = np.maximum(sums.load.sum(axis=0), 1e-300)
    hours = np.maximum(sums.steps.sum(axis=0), 1.0) * step_s / 3600.0
    return Figures(
        short_pct=100.0 * sums.short.sum(axis=0) / load,
        excess_pct=100.0 * sums.excess.sum(axis=0) / load,
        cost_ratio=sums.billed.sum(axis=0) / np.maximum(sums.needed.sum(axis=0), 1.0),
        replica_hours=sums.billed.sum(axis=0) * step_s / 3600.0,
        latency_slo_pct=100.0 - 100.0 * sums.late.sum(axis=0) / load,
        events_per_hour=sums.changes.sum(axis=0) / hours,
        reversals=sums.reversals.sum(axis=0),
    )


def cost_at(short_pct: FloatArray, cost_ratio: FloatArray, target_pct: float) -> float | None:
    """Smallest cost at a short share of `target_pct` along a frontier whose points (K,) are neighbours in order.

    Linear in the logarithm of the short share between neighbours at most WIDEST apart; None where no such pair
    encloses the target.
    """
    s, c = short_pct, cost_ratio
    low, high = np.minimum(s[:-1], s[1:]), np.maximum(s[:-1], s[1:])
    joined = (low <= target_pct) & (target_pct <= high) & (low > 0) & (high <= WIDEST * low)
    if not joined.any():
        return None
    at = np.flatnonzero(joined)
    span = np.log(s[at + 1] / s[at])
    share = np.where(span == 0, 0.0, np.log(target_pct / s[at]) / np.where(span == 0, 1.0, span))
    return float((c[at] + share * (c[at + 1] - c[at])).min())


def envelope(short_pct: FloatArray, cost_ratio: FloatArray) -> IntArray:
    """Indices of the points that no other point beats on both counts, by rising short share."""
    order = np.lexsort((cost_ratio, short_pct))
    cheapest = np.minimum.accumulate(cost_ratio[order])
    new = np.concatenate([[True], cheapest[1:] < cheapest[:-1]])
    return np.asarray(order[new])


@dataclass(frozen=True, slots=True)
class Interval:
    """A ratio with its bootstrap interval."""

    low: float
    high: float


def short_at(short_pct: FloatArray, cost_ratio: FloatArray, cost: float) -> float | None:
    """Smallest short share that a frontier, its points (K,) neighbours in order, reaches for at most `cost`.

    Between neighbours at most WIDEST apart it is read as `cost_at` reads it; elsewhere the settings themselves count.
    None for a single setting, which nobody turned, and where every setting is dearer.
    """
    s, c = short_pct, cost_ratio
    within = [float(one) for one in s[c <= cost]]
    low, high = np.minimum(s[:-1], s[1:]), np.maximum(s[:-1], s[1:])
    crossed = ((c[:-1] <= cost) != (c[1:] <= cost)) & (low > 0) & (high <= WIDEST * low)
    for at in np.flatnonzero(crossed):
        share = (cost - c[at]) / (c[at + 1] - c[at])
        within.append(float(np.exp((1.0 - share) * np.log(s[at]) + share * np.log(s[at + 1]))))
    return min(within) if len(s) > 1 and within else None


def paired_interval(
    sums: tuple[Tally, Tally], target_pct: float, n_samples: int, rng: np.random.Generator
) -> Interval | None:
    """95 % interval of the ratio of costs at `target_pct`, second frontier over first; blocks are drawn in pairs.

    None with fewer than LEAST_BLOCKS blocks, or where the ratio is UNDEFINED in too many draws.
    """
    n_blocks = len(sums[0].load)
    if n_blocks < LEAST_BLOCKS:
        return None
    weights = draws(n_blocks, n_samples, rng)
    first, second = (resampled_costs(part, weights, target_pct) for part in sums)
    return _interval(second / first)


def mean_interval(
    ratios: Sequence[FloatArray], n_blocks: int, n_samples: int, rng: np.random.Generator
) -> Interval | None:
    """95 % interval of a geometric mean across traces: traces are drawn, and blocks within each trace drawn.

    `ratios` holds for each trace the ratios of its cases under resampled blocks, (cases, R), NaN where undefined;
    `n_blocks` counts the blocks of all traces. None as `paired_interval`.
    """
    if n_blocks < LEAST_BLOCKS or sum(np.isnan(one).sum() for one in ratios) > UNDEFINED * sum(
        one.size for one in ratios
    ):
        return None
    means = np.full(n_samples, np.nan)
    for sample in range(n_samples):
        drawn = [ratios[at] for at in rng.integers(len(ratios), size=len(ratios))]
        logs = np.log(np.concatenate([one[:, rng.integers(one.shape[1])] for one in drawn]))
        known = logs[~np.isnan(logs)]
        if len(known):
            means[sample] = np.exp(known.mean())
    return _interval(means)


def _interval(ratios: FloatArray) -> Interval | None:
    known = ratios[~np.isnan(ratios)]
    if len(known) < (1.0 - UNDEFINED) * len(ratios):
        return None
    low, high = np.quantile(known, [0.025, 0.975])
    return Interval(float(low), float(high))


def draws(n_blocks: int, n_samples: int, rng: np.random.Generator) -> IntArray:
    """How often each block is drawn in each sample of a bootstrap, (n_samples, n_blocks)."""
    return np.array([np.bincount(rng.integers(n_blocks, size=n_blocks), minlength=n_blocks) for _ in range(n_samples)])


def resampled_costs(sums: Tally, weights: IntArray, target_pct: float) -> FloatArray:
    """Cost at `target_pct` along the frontier of each sample, (n_samples,); NaN where it has none there."""
    short, cost = _resampled(sums, weights)
    found = [_enveloped_cost(one, paid, target_pct) for one, paid in zip(short, cost, strict=True)]
    return np.array([np.nan if one is None else one for one in found])


def _resampled(sums: Tally, weights: IntArray) -> tuple[FloatArray, FloatArray]:
    short = 100.0 * (weights @ sums.short) / np.maximum(weights @ sums.load, 1e-300)
    return short, (weights @ sums.billed) / np.maximum(weights @ sums.needed, 1.0)


def _enveloped_cost(short_pct: FloatArray, cost_ratio: FloatArray, target_pct: float) -> float | None:
    best = envelope(short_pct, cost_ratio)
    return cost_at(short_pct[best], cost_ratio[best], target_pct)


def geometric_mean(ratios: Sequence[float]) -> float:
    """Geometric mean of positive ratios."""
    return float(np.exp(np.mean(np.log(np.array(ratios)))))
