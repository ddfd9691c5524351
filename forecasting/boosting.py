"""Gradient boosting of oblivious trees: five quantiles of the peak over the load now, one structure for all of them.

The trees correct the global network for one workload: they start between the load now and its forecast. From its whole
forecast they would have to unlearn first what it gets wrong on an odd load. Where there is no load now a ratio to it
means nothing, and they start from there.

Own and small, because it must fit in a second, serve a thousand workloads with trees of their own in milliseconds, and
be stored as plain arrays. An oblivious tree (Kohavi and Li 1995; CatBoost) asks the same question of all nodes at one
depth, so a row's leaf is a number of `depth` bits, and no branch is taken.

    rows of many leads → thresholds → rounds: a sample chooses the questions, all rows the leaf values → ordered levels

A leaf's value is the quantile of its rows' residuals (Friedman 2001, the least-absolute-deviation tree, for any level),
shrunk where there are few rows for a far level.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecasting import neural
from forecasting.errors import NotEnoughHistory
from forecasting.forecast import LEVELS, BoolArray, FloatArray, IntArray, Quantiles, ordered
from forecasting.ratios import Features, view
from forecasting.series import History, Rows
from forecasting.training import dithered_targets, mean_load, training_rows

Small = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class BoostingConfig:
    """What a fit of the booster may use."""

    max_rows: int = 11_520
    """Origins: one a minute for eight days."""
    min_rows: int = 720
    """Origins with a known window that a fit takes: twelve hours of minutes."""
    own: float = 0.5
    """Share of the origins at the workload's own lead; the others take one of `leads_s`."""
    leads_s: tuple[float, ...] = (45.0, 75.0, 135.0, 195.0, 315.0, 465.0, 615.0, 915.0)
    """Other lead windows, so that the lead can be asked for."""
    rounds: int = 100
    depth: int = 3
    rate: float = 0.1
    """Share of a leaf's value that is added."""
    thresholds: int = 24
    """Candidate questions per feature, at evenly spaced quantiles."""
    sample: int = 3000
    """Rows that choose a tree's questions; all rows take part in its leaf values."""
    features: float = 0.5
    """Share of the features that a tree may ask about."""
    patience: int = 2
    """Trees grown on one sample of rows and features: drawing anew for each is no better and costs a third more."""
    penalty: float = 20.0
    """Rows added to both sides of a split's gain; a quarter of it, over the level's spread, shrinks a leaf's value."""
    min_leaf: int = 15
    """Rows below which a leaf says nothing."""
    headroom: float = 1.5
    """No forecast exceeds the largest load known, or lately seen, more than this many times."""
    prior: float = 0.3
    """Share of the network's logarithms that the trees start from: up to 0.7 hardly better, and less is steadier."""
    seed: int = 0
    """Fits are deterministic."""


@dataclass(frozen=True, slots=True)
class BoostingParams:
    """Fitted boosters of B workloads."""

    feature: NDArray[np.int16]
    """Feature that each depth of each tree asks about, (B, T, D)."""
    threshold: Small
    """The answer is yes above it, (B, T, D)."""
    leaf: Small
    """What a leaf adds to the logarithm of peak over load now, (B, T, 2^D, Q)."""
    start: Small
    """What the trees start from beside the network's share, (B, Q)."""
    path: Small
    """Quantiles of log(last sample of the window / median forecast of its peak), (B, Q)."""
    epsilon: FloatArray
    """Load added to both sides of a ratio, (B,)."""
    ceiling: FloatArray
    """Largest load that is forecast unless as much was seen lately, (B,)."""
    share: FloatArray
    """Of the network's logarithms, from which the trees start, (B,): none where there never was a load."""
    bounds: Small
    """Within which the network's inputs are looked at, (B, 2, INPUTS)."""
    averaged: BoolArray
    """Whether the window's mean is forecast instead of its peak, (B,)."""


def unfitted(n: int, config: BoostingConfig = BoostingConfig()) -> BoostingParams:
    """Trees of n workloads that say nothing."""
    shape, q = (n, config.rounds, config.depth), len(LEVELS)
    return BoostingParams(
        np.zeros(shape, np.int16),
        np.zeros(shape, np.float32),
        np.zeros((n, config.rounds, 1 << config.depth, q), np.float32),
        np.zeros((n, q), np.float32),
        np.zeros((n, q), np.float32),
        np.ones(n),
        np.ones(n),
        np.zeros(n),
        neural.anything(n),
        np.zeros(n, np.bool_),
    )


def fit(history: History, h: int, *, averaged: bool, config: BoostingConfig = BoostingConfig()) -> BoostingParams:
    """Fit the one workload of `history` around lead windows of `h` steps; `averaged`: the mean instead of the peak.

    Raises:
        NotEnoughHistory: fewer than `config.min_rows` origins have a known window.
        NegativeLoad: a load is below zero.
    """
    epsilon = max(neural.FLOOR * mean_load(history), 1e-12)
    rng = np.random.default_rng(config.seed)
    rows = _with_leads(training_rows(history, h, config.max_rows), history.step_s, config, rng)
    window, last = dithered_targets(history, rows, averaged=averaged)
    offset = np.full(len(rows.h), epsilon)
    seen = view(history, rows, offset)
    known = ~np.isnan(window + last + seen.level)
    if known.sum() < config.min_rows:
        raise NotEnoughHistory(f"boosting: {known.sum()} origins with a known lead window, {config.min_rows} needed")
    base = np.log(seen.level[known] + epsilon)
    target = (np.log(window[known] + epsilon) - base).astype(np.float32)
    given, loaded = neural.inputs(seen, history, rows, offset)[known], seen.level[known] > 0
    bounds, share = neural.usual(given[loaded]), loaded * config.prior
    prior = (share[:, None] * neural.logs(given, bounds)[:, int(averaged)]).astype(np.float32)
    feature, threshold, leaf, start, said = _boosted(seen.features[known], target, prior, config, rng)
    path = np.quantile(np.log(last[known] + epsilon) - base - said[:, 0], LEVELS)
    return BoostingParams(
        feature[None],
        threshold[None],
        leaf[None],
        start[None],
        path.astype(np.float32)[None],
        np.array([epsilon]),
        np.array([max(config.headroom * float(np.nanmax(history.maximum[0])), epsilon)]),
        share.max(keepdims=True),
        bounds[None],
        np.array([averaged]),
    )


def predict(
    params: BoostingParams, history: History, rows: Rows, config: BoostingConfig = BoostingConfig()
) -> Quantiles:
    """Forecast R rows; `params` has one row per workload of `history`. NaN where the recent past is empty."""
    epsilon = params.epsilon[rows.workload]
    seen = view(history, rows, epsilon)
    head = params.averaged[rows.workload].astype(np.int64)
    given = neural.inputs(seen, history, rows, epsilon)
    heads = neural.logs(given, params.bounds[rows.workload])[np.arange(len(head)), head]
    prior = ((seen.level > 0) * params.share[rows.workload])[:, None] * heads
    summed = np.concatenate([_summed(params, seen.features[at], rows.workload[at]) for at in _strips(len(rows.h))])
    peak = np.sort(prior + summed, axis=1)
    path = peak[:, :1] + params.path[rows.workload]
    load = (seen.level + epsilon)[:, None, None] * np.exp(np.stack([peak, path], axis=1)) - epsilon[:, None, None]
    # Averaged leaves leave a trace of load where there is none: without load now, what means nothing is nothing.
    silent = (seen.level <= 0)[:, None, None] & (load < epsilon[:, None, None])
    load = np.where(silent, 0.0, load)
    ceiling = np.fmax(params.ceiling[rows.workload], config.headroom * seen.highest)
    both = ordered(np.minimum(load, ceiling[:, None, None]))
    return Quantiles(both[:, 0], both[:, 1], level=seen.level, ceiling=ceiling)


def _strips(n: int) -> list[slice]:
    """Rows in strips whose leaves stay in the processor's cache."""
    return [slice(at, min(at + 256, n)) for at in range(0, n, 256)] or [slice(0, 0)]


def _summed(params: BoostingParams, features: Features, workload: IntArray) -> FloatArray:
    """What the trees add to the logarithm of peak over load now, (R, Q); tree by tree, whatever stands beside a row."""
    n_rows, (_, n_trees, depth) = len(features), params.feature.shape
    asked = params.feature[workload].reshape(n_rows, -1).astype(np.int64)
    value = features.reshape(-1)[asked + (np.arange(n_rows) * features.shape[1])[:, None]]
    bits = (value > params.threshold[workload].reshape(n_rows, -1)).reshape(n_rows, n_trees, depth)
    number = np.zeros((n_rows, n_trees), np.int64)
    for level in range(depth):
        number = number * 2 + bits[:, :, level]
    said = params.leaf[workload[:, None], np.arange(n_trees), number].astype(np.float64)
    return np.asarray(params.start[workload] + np.add.accumulate(said, axis=1)[:, -1], dtype=np.float64)


def _with_leads(rows: Rows, step_s: float, config: BoostingConfig, rng: np.random.Generator) -> Rows:
    """The same origins, a part of them with other leads."""
    steps = np.maximum(np.rint(np.array(config.leads_s) / step_s), 1).astype(np.int64)
    drawn = steps[rng.integers(len(steps), size=len(rows.h))]
    h = np.where(rng.random(len(rows.h)) < config.own, rows.h, drawn)
    return Rows(rows.workload, rows.origin_s, h, rows.season_s)


def _boosted(
    features: Features, target: Small, prior: Small, config: BoostingConfig, rng: np.random.Generator
) -> tuple[NDArray[np.int16], Small, Small, Small, Small]:
    """Grow all trees on what `prior` (R, Q) lacks; also what both say of the rows they were grown on, (R, Q)."""
    n, n_features = features.shape
    share = (np.arange(config.thresholds) + 0.5) / config.thresholds
    some = features[rng.choice(n, min(n, 4000), replace=False)]
    cuts = np.quantile(some, share, axis=0, method="nearest").T.astype(np.float32)
    answers = features[:, :, None] > cuts
    lacking = target[:, None] - prior
    start = np.array([np.quantile(lacking[:, k], level) for k, level in enumerate(LEVELS)], np.float32)
    said = prior + start
    feature = np.zeros((config.rounds, config.depth), np.int16)
    threshold = np.zeros((config.rounds, config.depth), np.float32)
    leaf = np.zeros((config.rounds, 1 << config.depth, len(LEVELS)), np.float32)
    rows, chosen, asked = np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 0), np.float32)
    for tree in range(config.rounds):
        if tree % config.patience == 0:
            rows = np.sort(rng.choice(n, min(n, config.sample), replace=False))
            chosen = np.sort(rng.choice(n_features, max(round(config.features * n_features), 1), replace=False))
            asked = answers[rows][:, chosen].reshape(len(rows), -1).astype(np.float32)
        questions = _questions(asked, target[rows], said[rows], config)
        number = np.zeros(n, np.int64)
        for depth, question in enumerate(questions):
            column, cut = chosen[question // config.thresholds], question % config.thresholds
            feature[tree, depth], threshold[tree, depth] = column, cuts[column, cut]
            number = number * 2 + answers[:, column, cut]
        leaf[tree] = config.rate * _leaf_values(number, target[:, None] - said, config)
        said = said + leaf[tree][number]
    return feature, threshold, leaf, start, np.sort(said, axis=1)


def _questions(asked: Small, target: Small, said: Small, config: BoostingConfig) -> list[int]:
    """The question of each depth that separates the gradients of all levels best, summed over the nodes there.

    One matrix product per depth sums the gradients above every threshold in every node at once.
    """
    q = LEVELS.astype(np.float32)
    below: BoolArray = target[:, None] < said
    gradient = (q - below) / np.sqrt(q * (1 - q))
    columns = np.concatenate([gradient, np.ones((len(target), 1), np.float32)], axis=1)
    node, questions = np.zeros(len(target), np.int64), []
    for depth in range(config.depth):
        spread = np.zeros((len(target), 1 << depth, columns.shape[1]), np.float32)
        spread[np.arange(len(target)), node] = columns
        flat = spread.reshape(len(target), -1)
        above = (flat.T @ asked).reshape(1 << depth, columns.shape[1], -1)
        total = flat.sum(axis=0).reshape(1 << depth, columns.shape[1], 1)
        gain = _gain(above, config.penalty) + _gain(total - above, config.penalty)
        best = int(np.argmax(gain.sum(axis=0)))
        questions.append(best)
        node = node * 2 + (asked[:, best] > 0)
    return questions


def _gain(sums: Small, penalty: float) -> Small:
    """Squared gradients over rows, (nodes, questions)."""
    return np.asarray((sums[:, :-1] ** 2).sum(axis=1) / (sums[:, -1] + penalty))


def _leaf_values(number: IntArray, residual: Small, config: BoostingConfig) -> Small:
    """Quantiles of the residuals in each leaf, (2^D, Q), shrunk by how little a leaf knows of a far level."""
    order = np.argsort(number, kind="stable")
    stops = np.cumsum(np.bincount(number, minlength=1 << config.depth))
    few = 0.25 * config.penalty / np.sqrt(LEVELS * (1 - LEVELS))
    values = np.zeros((len(stops), len(LEVELS)), np.float32)
    for leaf, (first, stop) in enumerate(zip([0, *stops[:-1].tolist()], stops.tolist(), strict=True)):
        n = stop - first
        if n < config.min_leaf:
            continue
        inside = residual[order[first:stop]]
        place = np.minimum((LEVELS * n).astype(np.int64), n - 1)
        found = [np.partition(inside[:, level], place[level])[place[level]] for level in range(len(LEVELS))]
        values[leaf] = np.array(found) * n / (n + few)
    return values
