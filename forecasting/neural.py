"""A network trained on many workloads that forecasts one it never saw, from its first hour on; NumPy only.

    view of an origin → inputs, all ratios and masks → three layers → quantiles of peak, mean and last sample over the
    load now

It is trained elsewhere (`forecasting.train`) and shipped with the package as arrays (network.npz). A fit to a workload
leaves the network as it is: it measures the load that is small there, the largest known, within which bounds the
inputs usually lie, and how far the network's quantiles lay off on what is known, believed the more the more windows say
so. Rows go through the layers in tiles of fixed size, so that a row's forecast does not depend on its neighbours.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from forecasting.calendar import DAY_S, local
from forecasting.errors import NotEnoughHistory, SpoiltNetwork
from forecasting.forecast import LEVELS, BoolArray, FloatArray, Quantiles, ordered
from forecasting.ratios import ALONG, BLOCKS, CURVES, MINUTES, MISSING, NAMED, RATIOS, Features, View, view
from forecasting.series import History, Rows
from forecasting.training import dithered_targets, mean_load, training_rows

Small = NDArray[np.float32]
ARRAYS = Path(__file__).with_name("network.npz")
"""The network that is shipped."""
TILE = 64
"""Rows that go through a layer together: matrix products of other shapes differ in the last bit."""
FLOOR = 0.018
"""epsilon as a share of the mean load: a quarter of a replica of a fleet of twenty at 70 % load."""
STEADY = 1e-6
"""Relative moves up to this are rounding."""
FARTHEST = 6.0
"""Ratios count up to e to this power."""
HEADS = 3
"""Peak of the lead window, its mean, its last sample."""
TAKEN = RATIOS - 4
"""Ratios that are inputs: all but calendar and lead, which are told otherwise here."""
RECENT_RATIOS, DAY_RATIOS = 13, 6
"""The first ratios are of the recent past; then come as many for each named day, then those over all days."""
LATELY = CURVES - ALONG * len(NAMED)
"""Curve inputs of the recent past; the named days' follow."""
SPREADS, STILL = 2, 0.003
"""The last of the recent ratios are spreads; as logarithms they tell no noise at all from little, STILL of it."""
MASKS = 3 + 3 + 1 + 2
PLACE = 12
INPUTS = TAKEN + CURVES + SPREADS + MASKS + 1 + PLACE + 3
"""K: ratios, curves, spreads, masks, the level, calendar, lead and spacings."""
BOUNDED = INPUTS - PLACE - 3
"""Inputs that are held within what a workload is used to: all but calendar, lead and spacings."""
SELDOM = 0.01
"""Share of a workload's rows, at both ends, that does not tell what it is used to."""


@dataclass(frozen=True, slots=True)
class NeuralConfig:
    """What the network takes and how far it goes."""

    min_rows: int = 60
    """Known buckets that a forecast takes: one hour of minutes."""
    max_rows: int = 720
    """Origins that the quantiles are held against, spread evenly over the history."""
    doubt: float = 5.0
    """Disjoint windows, over a level's spread, at which half of what it lay off is believed."""
    headroom: float = 1.5
    """No forecast exceeds the largest load known, or lately seen, more than this many times."""


@dataclass(frozen=True, slots=True)
class Network:
    """Layers of one trained network; ReLU between them."""

    weights: tuple[Small, ...]
    """(in, out) each; the first takes INPUTS, the last gives HEADS·Q."""
    biases: tuple[Small, ...]
    """(out,) each."""
    version: str
    """First eight hex digits of the hash of its arrays."""


@dataclass(frozen=True, slots=True)
class NeuralParams:
    """What is known of B workloads besides the network."""

    epsilon: FloatArray
    """Load added to both sides of a ratio, (B,)."""
    largest: FloatArray
    """Largest load known, (B,)."""
    headroom: FloatArray
    """How many times it a forecast may reach, (B,): once where the load never moved."""
    offsets: FloatArray
    """Added to the logarithms of the lead window and of its last sample, (B, 2, Q)."""
    bounds: Small
    """Within which inputs are looked at, (B, 2, INPUTS)."""
    averaged: BoolArray
    """Whether the window's mean is forecast instead of its peak, (B,)."""


def unfitted(n: int) -> NeuralParams:
    """Nothing known of n workloads."""
    ones = np.ones(n)
    return NeuralParams(ones, ones, ones, np.zeros((n, 2, len(LEVELS))), anything(n), np.zeros(n, np.bool_))


def anything(n: int) -> Small:
    """Bounds of the inputs of n workloads that bound nothing, (n, 2, INPUTS)."""
    lowest = np.full((n, 1, INPUTS), -np.inf, np.float32)
    return np.concatenate([lowest, -lowest], axis=1)


def usual(given: Features) -> Small:
    """Bounds of the inputs of one workload, (2, INPUTS), from R rows of them; calendar and lead are not bounded.

    What a workload never showed is looked at as the most that it did: a spike that came once, zeros before a launch.
    """
    bounds: Small = anything(1)[0]
    if len(given):
        low, high = np.quantile(given[:, :BOUNDED], [SELDOM, 1.0 - SELDOM], axis=0)
        bounds[:, :BOUNDED] = low - (high - low), high + (high - low)
    return bounds


@cache
def shipped() -> Network:
    """Return the network of the package, read once.

    Raises:
        SpoiltNetwork: the arrays are not those that were trained.
    """
    return read(ARRAYS)


def read(path: Path) -> Network:
    """Read a network from its arrays.

    Raises:
        SpoiltNetwork: there is none, its arrays are not those that were written, or they do not fit the inputs.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            n = sum(name.startswith("weight") for name in arrays)
            weights = tuple(arrays[f"weight{k}"] for k in range(n))
            biases = tuple(arrays[f"bias{k}"] for k in range(n))
            stated = str(arrays["sha256"])
    except (OSError, ValueError, KeyError) as error:
        raise SpoiltNetwork(f"{path.name}: no network can be read from it: {error}") from error
    found = digest(weights, biases)
    if found != stated:
        raise SpoiltNetwork(f"{path.name}: its arrays hash to {found[:8]}, but {stated[:8]} were written")
    if weights[0].shape[0] != INPUTS or weights[-1].shape[1] != HEADS * len(LEVELS):
        raise SpoiltNetwork(f"{path.name}: a network of {weights[0].shape[0]} inputs, {INPUTS} are given")
    return Network(weights, biases, found[:8])


def write(path: Path, weights: tuple[Small, ...], biases: tuple[Small, ...]) -> None:
    """Write a network as arrays with their hash."""
    arrays = {f"weight{k}": weight for k, weight in enumerate(weights)}
    arrays |= {f"bias{k}": bias for k, bias in enumerate(biases)}
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays, sha256=np.array(digest(weights, biases)))  # type: ignore[arg-type]


def digest(weights: tuple[Small, ...], biases: tuple[Small, ...]) -> str:
    """SHA-256 of all arrays in their order."""
    together = hashlib.sha256()
    for part in (*weights, *biases):
        together.update(str(part.shape).encode() + np.ascontiguousarray(part, np.float32).tobytes())
    return together.hexdigest()


def fit(history: History, h: int, *, averaged: bool, config: NeuralConfig = NeuralConfig()) -> NeuralParams:
    """Measure the one workload of `history` for lead windows of `h` steps.

    Raises:
        NotEnoughHistory: fewer than `config.min_rows` buckets are known.
        NegativeLoad: a load is below zero.
    """
    epsilon = max(FLOOR * mean_load(history), 1e-12)
    known = int(np.count_nonzero(~np.isnan(history.mean[0])))
    if known < config.min_rows:
        raise NotEnoughHistory(f"neural: {known} buckets with a load, {config.min_rows} needed")
    largest = float(np.nanmax(history.maximum[0]))
    moved = largest > float(np.nanmin(history.mean[0])) * (1.0 + STEADY)
    offsets, bounds = _measured(history, h, epsilon, config, averaged=averaged)
    return NeuralParams(
        np.array([epsilon]),
        np.array([largest]),
        np.array([config.headroom if moved else 1.0]),
        offsets[None],
        bounds[None],
        np.array([averaged]),
    )


def _measured(
    history: History, h: int, epsilon: float, config: NeuralConfig, *, averaged: bool
) -> tuple[FloatArray, Small]:
    """What to add to the logarithms of window and last sample, (2, Q), and the bounds of the inputs.

    Added is what they lacked, as far as it is believed.
    """
    rows = training_rows(history, h, config.max_rows)
    window, last = dithered_targets(history, rows, averaged=averaged)
    offset = np.full(len(rows.h), epsilon)
    seen = view(history, rows, offset)
    known = ~np.isnan(window + last + seen.level)
    windows = known.sum() * min(float(np.diff(rows.origin_s[:2]).sum()) / (h * history.step_s), 1.0)
    if windows < 1:
        return np.zeros((2, len(LEVELS))), anything(1)[0]
    given = inputs(seen, history, rows, offset)[known]
    bounds = usual(given)
    heads = logs(given, bounds)[:, [int(averaged), 2]]
    came = np.log(np.stack([window, last], axis=1)[known] + epsilon) - np.log(seen.level[known] + epsilon)[:, None]
    lacked = [np.quantile(came - heads[:, :, k], level, axis=0) for k, level in enumerate(LEVELS)]
    believed = windows / (windows + config.doubt / np.sqrt(LEVELS * (1.0 - LEVELS)))
    return np.asarray(believed * np.stack(lacked, axis=1)), bounds


def predict(params: NeuralParams, history: History, rows: Rows, config: NeuralConfig = NeuralConfig()) -> Quantiles:
    """Forecast R rows; `params` has one row per workload of `history`. NaN where the recent past is empty."""
    epsilon = params.epsilon[rows.workload]
    seen = view(history, rows, epsilon)
    heads = logs(inputs(seen, history, rows, epsilon), params.bounds[rows.workload])
    asked = params.averaged[rows.workload].astype(np.int64)
    both = np.stack([heads[np.arange(len(asked)), asked], heads[:, 2]], axis=1) + params.offsets[rows.workload]
    load = (seen.level + epsilon)[:, None, None] * np.exp(both) - epsilon[:, None, None]
    largest = params.largest[rows.workload]
    ceiling = np.maximum(largest * params.headroom[rows.workload], epsilon)
    ceiling = np.where(seen.highest > largest * (1.0 + STEADY), config.headroom * seen.highest, ceiling)
    load = np.minimum(load, ceiling[:, None, None])
    # Small residues are no load: without load now, what means nothing is nothing.
    silent = (seen.level <= 0)[:, None, None] & (load <= epsilon[:, None, None])
    load = ordered(np.where(silent, 0.0, load))
    return Quantiles(load[:, 0], load[:, 1], level=seen.level, ceiling=ceiling)


def logs(given: Features, bounds: Small) -> FloatArray:
    """What the shipped network says of inputs within bounds: logarithms of peak, mean, last sample over the load now.

    (R, HEADS, Q); `bounds` is (2, INPUTS), or (R, 2, INPUTS) for rows of many workloads.
    """
    return said(shipped(), np.minimum(np.maximum(given, bounds[..., 0, :]), bounds[..., 1, :]))


def inputs(seen: View, history: History, rows: Rows, epsilon: FloatArray) -> Features:
    """What the network looks at, (R, INPUTS): no unit is left in it."""
    ratios, curves = seen.features[:, :TAKEN], seen.curves
    days = curves[:, LATELY:].reshape(-1, len(NAMED), ALONG)
    masks = [
        _known(ratios[:, RECENT_RATIOS : RECENT_RATIOS + DAY_RATIOS * len(NAMED) : DAY_RATIOS]),
        np.cumsum(_known(days), axis=2)[:, :, -1] / ALONG,
        _known(ratios[:, -1:]),
        np.cumsum(_known(curves[:, :MINUTES]), axis=1)[:, -1:] / MINUTES,
        np.cumsum(_known(curves[:, LATELY - BLOCKS : LATELY]), axis=1)[:, -1:] / BLOCKS,
    ]
    level = np.log((seen.level + epsilon) / epsilon * FLOOR)[:, None]
    spread = np.log(_clipped(ratios[:, RECENT_RATIOS - SPREADS : RECENT_RATIOS]) + STILL)
    columns = [_clipped(ratios), _clipped(curves), spread, *masks, _clipped(level), _place(history, rows)]
    return np.concatenate(columns, axis=1).astype(np.float32)


def _known(values: Features) -> FloatArray:
    return np.asarray(values > MISSING, dtype=np.float64)


def _clipped(values: Features | FloatArray) -> FloatArray:
    """The values within ±FARTHEST; 0 where missing."""
    known = (values > MISSING) & ~np.isnan(values)
    return np.where(known, np.minimum(np.maximum(values, -FARTHEST), FARTHEST), 0.0)


def _place(history: History, rows: Rows) -> FloatArray:
    """Local hour, minute and weekday as waves, logarithms of the lead and of the buckets' spacing, (R, PLACE + 3)."""
    local_s, weekday = local(history.places, rows.workload, rows.season_s)
    turns = [local_s / DAY_S, 2.0 * local_s / DAY_S, *(k * local_s / 3600.0 for k in (1.0, 2.0, 4.0)), weekday / 7.0]
    waves = [_wave(turn + shift) for turn in turns for shift in (0.0, 0.25)]
    lead_s = rows.h * history.step_s
    spacing = np.full(len(lead_s), np.log(history.bucket_s / 60.0))
    return np.stack([*waves, np.log(lead_s / 300.0), np.log(lead_s / history.bucket_s), spacing], axis=1)


def _wave(turn: FloatArray) -> FloatArray:
    """A triangle between −1 and 1 with period 1: exact, whatever is computed beside it."""
    return np.asarray(np.abs(turn - np.floor(turn) - 0.5) * 4.0 - 1.0)


def said(network: Network, given: Features) -> FloatArray:
    """Logarithms of peak, mean and last sample over the load now at LEVELS, (R, HEADS, Q), rising along them."""
    n = len(given)
    values = np.zeros((-(-n // TILE), TILE, INPUTS), np.float32)
    values.reshape(-1, INPUTS)[:n] = given
    for k, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        values = values @ weight + bias
        if k < len(network.weights) - 1:
            values = np.maximum(values, np.float32(0.0))
    raw = values.reshape(-1, HEADS, len(LEVELS))[:n].astype(np.float64)
    return rising(raw)


def rising(raw: FloatArray) -> FloatArray:
    """Quantiles from the network's numbers, (R, HEADS, Q): the first, and what each next one adds to it."""
    steps = np.logaddexp(0.0, raw[:, :, 1:])
    return np.concatenate([raw[:, :, :1], raw[:, :, :1] + np.cumsum(steps, axis=2)], axis=2)
