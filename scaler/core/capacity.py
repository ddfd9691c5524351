"""What load one replica bears, learnt from what its work does to CPU utilisation or to latency.

    ticks → blocks of five minutes: load per ready replica against CPU, and against latency
    blocks → a line for each, forgotten within a day → the load at which it crosses CPU_LIMIT, or the latency target

CPU follows the load in a line, so a day without high load says what high load would do. Latency does not: its line is
that of the blocks near the target, and counts only where the target was seen from both sides; where it counts, it comes
before CPU. Ticks with many young pods are left out, since starting work is not serving; what is left of it weighs
little. Blocks that contradict the line in a row are a new version of the workload: all but its idle CPU is forgotten.

Replicas that are scaled by their own load hold the load per replica constant, and nothing can be said: a point is no
line. Then there is no capacity, and no number is made up.
"""

import json
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from forecasting.forecast import BoolArray, FloatArray, IntArray
from scaler.core.domain import UNKNOWN, Observations, Workloads

BLOCK_S = 300.0
"""Ticks are averaged over this time: CPU is scraped and averaged over minutes, load is not."""
CPU_LIMIT = 0.8
"""Utilisation up to which a replica meets its latency target where none can be seen: the usual rule of operators."""
MEMORY_BLOCKS = 288.0
"""A block's weight falls by e in as many blocks: a day of five minutes."""
SETTLING_S = 90.0
"""A pod counts as young by half after each of these; work of starting lasts for a minute or two (JIT, caches)."""
YOUNG = 0.05
"""Share of young pods from which a tick says nothing about those that serve."""
SATURATED = 0.95
"""Utilisation from which load is no longer work: what cannot be served waits."""
NEAR_TARGET = 0.25
"""Distance from the latency target, as a logarithm, at which a block weighs exp(−1/2)."""
OUTLYING = 2.5
"""Deviations from which a block weighs less (Huber), by as much as it lies further out."""
FEWEST = 24.0
"""Weight of blocks from which a line is believed: two hours …"""
FEWEST_ANEW = 6.0
"""… and half an hour where the idle CPU is known from before a change."""
SPREAD = 0.08
"""Least deviation of the load per replica, as a share of its mean. The HPA's band of ±10 % alone gives 0.06, and there
noise, which is in load and CPU alike, would draw the line."""
WIDEST = 0.15
"""Half of the interval over the capacity, above which nothing is said."""
FURTHEST = 2.5
"""The limit over what was seen of CPU, both without the idle part, above which nothing is said."""
CHANGED, ALLOWED, CLIPPED = 5.0, 1.0, 3.0
"""Sum of deviations in one direction that is a change; what each block may add for nothing, and adds at most."""
MATERIAL, MATERIAL_LATENCY = 0.05, 0.15
"""Least deviation that counts for one, as a share of what the line says; latency bends by more than CPU near its
target. Smaller changes are followed by forgetting."""
IDLE_BLOCKS = 60.0
"""Blocks that the idle CPU known from before a change counts as at most."""
DIFFERS = 0.2
"""Share by which a stated capacity may miss the learnt one, beside lying in its interval."""
MOVES = 0.05
"""Change from which a capacity in force is replaced."""
CPU, LATENCY = 0, 1
"""Channels."""
Z95 = 1.96


@dataclass(frozen=True, slots=True)
class Block:
    """Sums over the ticks of the block under way, (B, 2) by channel."""

    ticks: FloatArray
    x: FloatArray
    """Load per ready replica."""
    y: FloatArray
    """CPU utilisation; logarithm of the latency."""


@dataclass(frozen=True, slots=True)
class Sums:
    """Decayed sums over blocks, (B, 2): all that a line needs."""

    w: FloatArray
    x: FloatArray
    y: FloatArray
    xx: FloatArray
    xy: FloatArray
    yy: FloatArray
    above: FloatArray
    """Weight of the blocks in which y was above its limit."""
    idle: FloatArray
    """y without load as known from before a change, …"""
    idle_w: FloatArray
    """… and the blocks that it counts as, 0 where it is not known."""
    reach: FloatArray
    """y up to which a line was seen before a change."""


@dataclass(frozen=True, slots=True)
class CapacityState:
    """What is remembered of B workloads."""

    block: Block
    sums: Sums
    up: FloatArray
    """Deviations in a row above the line, (B, 2), …"""
    down: FloatArray
    """… and below it."""
    ready: IntArray
    """Ready replicas at the newest tick, UNKNOWN before the first, (B,)."""
    young: FloatArray
    """Pods that became ready of late, (B,)."""
    load: FloatArray
    """Capacity, NaN where it is not identifiable, (B,)."""
    low: FloatArray
    """95 % interval of the capacity, provided that CPU follows load in a line, (B,)."""
    high: FloatArray
    changed_s: FloatArray
    """When the newest change was found, −inf where none was, (B,)."""


@dataclass(frozen=True, slots=True)
class Line:
    """y as a line of x, and where it crosses a limit, (B, 2); NaN where there is no line."""

    slope: FloatArray
    at_rest: FloatArray
    """y at x = 0."""
    deviation: FloatArray
    """Of a block from the line."""
    crossing: FloatArray
    half: FloatArray
    """Half of the crossing's 95 % interval."""
    spread: FloatArray
    """Deviation of x, that which is known of idleness included, as a share of its mean."""
    furthest: FloatArray
    """y up to which the line was seen: mean and two deviations."""


def initial_state(n: int) -> CapacityState:
    """Nothing seen of n workloads."""
    up, down = np.zeros((2, n, 2))
    load, low, high = np.full((3, n), np.nan)
    ready, never = np.full(n, UNKNOWN, np.int64), np.full(n, -np.inf)
    return CapacityState(_nothing(Block, n), _nothing(Sums, n), up, down, ready, np.zeros(n), load, low, high, never)


def step(work: FloatArray, seen: Observations, fleet: Workloads, state: CapacityState) -> CapacityState:
    """Take in one tick, (B,); a block that is over is learnt from.

    `work` is the load that was served at this tick: for a queue messages cleared per second; NaN where unknown.
    """
    state = _with_tick(work, seen, state)
    block_s = math.ceil(BLOCK_S / seen.step_s - 1e-9) * seen.step_s
    if seen.t_s % block_s != 0.0 or not state.block.ticks.any():
        return state
    half_full = 0.5 * block_s / seen.step_s
    # Loads of any size may come, and no line is to be had of most: what is no number is no capacity.
    with np.errstate(all="ignore"):
        return _with_block(_limits(fleet), half_full, seen.t_s, state)


def in_force(used: FloatArray, learnt: FloatArray, otherwise: FloatArray) -> FloatArray:
    """Capacity to decide with, (B,): what is learnt, where that is known; it moves only where it moves by MOVES."""
    known = ~np.isnan(learnt)
    moved = ~(np.abs(learnt / used - 1.0) <= MOVES)
    return np.asarray(np.where(known, np.where(moved | (used == otherwise), learnt, used), otherwise))


@dataclass(frozen=True, slots=True)
class Capacity:
    """What one replica was found to bear."""

    load: float
    low: float
    high: float

    def contradicts(self, stated: float) -> bool:
        """Whether a stated capacity is neither in the interval nor near."""
        return not self.low <= stated <= self.high and abs(stated / self.load - 1.0) > DIFFERS

    def roughly(self) -> "Capacity":
        """The same in two digits, which do not change with every block."""
        return Capacity(*(float(f"{value:.2g}") for value in (self.load, self.low, self.high)))

    def __str__(self) -> str:
        return f"{self.load:.4g} ({self.low:.4g} to {self.high:.4g})"


def of_row(state: CapacityState, row: int) -> Capacity | None:
    """What was learnt of one workload, None where its capacity is not identifiable."""
    load = float(state.load[row])
    return None if math.isnan(load) else Capacity(load, float(state.low[row]), float(state.high[row]))


def as_text(state: CapacityState, row: int) -> str | None:
    """What is worth keeping of one workload over a restart; None where nothing was learnt."""
    if not state.sums.w[row].any():
        return None
    return json.dumps({name: [float(f"{v:.9g}") for v in getattr(state.sums, name)[row]] for name in Sums.__slots__})


def recalled(text: str, fleet: Workloads) -> CapacityState:
    """State of one workload, the one row of `fleet`, by what was kept. Raises ValueError for another text."""
    kept = json.loads(text)
    if not isinstance(kept, dict) or set(kept) != set(Sums.__slots__):
        raise ValueError("no sums of a capacity")
    sums = Sums(*(np.array([kept[name]], dtype=np.float64) for name in Sums.__slots__))
    values = np.stack([getattr(sums, name) for name in Sums.__slots__])
    if values.shape != (len(Sums.__slots__), 1, 2) or not np.isfinite(values).all():
        raise ValueError("no sums of a capacity")
    limit = _limits(fleet)
    load, low, high = _said(sums, line_of(sums, limit), limit)
    return replace(initial_state(1), sums=sums, load=load, low=low, high=high)


def _nothing(kind: type[Sums] | type[Block], n: int) -> Any:
    return kind(*np.zeros((len(kind.__slots__), n, 2)))


def _limits(fleet: Workloads) -> FloatArray:
    """What CPU utilisation and the logarithm of the latency may reach, (B, 2); NaN where nobody says."""
    target_s = np.where(fleet.latency_target_s > 0, fleet.latency_target_s, np.nan)
    return np.stack([np.full(len(target_s), CPU_LIMIT), np.log(target_s)], axis=1)


def _with_tick(work: FloatArray, seen: Observations, state: CapacityState) -> CapacityState:
    ready = seen.ready
    came = np.where((ready >= 0) & (state.ready >= 0), np.maximum(ready - state.ready, 0), 0)
    young = state.young * 0.5 ** (seen.step_s / SETTLING_S) + came
    starting = np.where(seen.replicas >= 0, np.maximum(seen.replicas - ready, 0), 0)
    settled = (ready > 0) & (young + starting <= YOUNG * ready) & (seen.doubt == 0)
    signals = np.stack([seen.feedback[:, 0], np.log(np.where(seen.feedback[:, 2] > 0, seen.feedback[:, 2], np.nan))], 1)
    per_replica = np.where(settled, work / np.maximum(ready, 1), np.nan)[:, None]
    told = ~np.isnan(per_replica + signals)
    block = Block(
        state.block.ticks + told,
        state.block.x + np.where(told, per_replica, 0.0),
        state.block.y + np.where(told, signals, 0.0),
    )
    return replace(state, block=block, ready=np.where(ready >= 0, ready, state.ready), young=young)


def _with_block(limit: FloatArray, fewest: float, t_s: float, state: CapacityState) -> CapacityState:
    ticks = np.maximum(state.block.ticks, 1.0)
    x, y = state.block.x / ticks, state.block.y / ticks
    told = (state.block.ticks >= fewest) & (x > 0) & ~np.isnan(limit)
    nearness = np.ones_like(x)
    nearness[:, LATENCY] = np.exp(-0.5 * ((y - limit)[:, LATENCY] / NEAR_TARGET) ** 2)
    line = line_of(state.sums, limit)
    # Far from the target latency is no line: what deviates there is no news.
    deviation = np.where(nearness > 0.5, _deviation(x, y, line), 0.0)
    up, down = (
        np.where(told, np.maximum(was + np.clip(sign * deviation, -CLIPPED, CLIPPED) - ALLOWED, 0.0), was)
        for was, sign in ((state.up, 1.0), (state.down, -1.0))
    )
    changed = np.maximum(up, down) >= CHANGED
    sums = _anew(state.sums, line, changed)
    weight = np.where(told, np.minimum(1.0, OUTLYING / np.maximum(np.abs(deviation), 1e-9)), 0.0)
    weight = np.where(changed, 1.0 * told, weight)
    weight[:, CPU] *= y[:, CPU] < SATURATED
    weight = np.where(told, weight * nearness, 0.0)
    sums = _added(sums, np.where(told, x, 0.0), np.where(told, y, 0.0), weight, limit)
    load, low, high = _said(sums, line_of(sums, limit), limit)
    return replace(
        state,
        block=_nothing(Block, len(x)),
        sums=sums,
        up=np.where(changed, 0.0, up),
        down=np.where(changed, 0.0, down),
        load=load,
        low=low,
        high=high,
        changed_s=np.where(changed.any(axis=1), t_s, state.changed_s),
    )


def line_of(sums: Sums, limit: FloatArray) -> Line:
    """The line of least squares and its crossing with `limit`, both (B, 2), with an interval of inverse prediction."""
    w = np.maximum(sums.w + sums.idle_w, 1e-12)
    mean_x, mean_y = sums.x / w, (sums.y + sums.idle_w * sums.idle) / w
    xx = np.maximum(sums.xx / w - mean_x**2, 0.0)
    xy = sums.xy / w - mean_x * mean_y
    yy = np.maximum((sums.yy + sums.idle_w * sums.idle**2) / w - mean_y**2, 0.0)
    known = (xx > 1e-12 * mean_x**2) & (xy > 0) & (w > 2.5)
    slope = np.where(known, xy / np.where(known, xx, 1.0), np.nan)
    variance = np.maximum(yy - slope * xy, 0.0) * w / np.maximum(w - 2.0, 0.5)
    crossing = mean_x + (limit - mean_y) / slope
    off = variance / slope**2 / w
    half = Z95 * np.sqrt(off * (1.0 + (crossing - mean_x) ** 2 / np.where(known, xx, 1.0)))
    own = np.maximum(sums.w, 1e-12)
    own_y = sums.y / own
    seen_y = own_y + 2.0 * np.sqrt(np.maximum(sums.yy / own - own_y**2, 0.0))
    return Line(
        slope=slope,
        at_rest=mean_y - slope * mean_x,
        deviation=np.sqrt(variance),
        crossing=crossing,
        half=half,
        spread=np.sqrt(xx) / np.maximum(mean_x, 1e-300),
        furthest=np.maximum(seen_y, sums.reach),
    )


def _deviation(x: FloatArray, y: FloatArray, line: Line) -> FloatArray:
    """How far a block lies from the line, in deviations, (B, 2); 0 where there is no line yet."""
    expected = line.at_rest + line.slope * x
    material = MATERIAL * np.abs(expected)
    material[:, LATENCY] = MATERIAL_LATENCY
    scale = np.maximum(line.deviation, material)
    return np.asarray(np.nan_to_num((y - expected) / np.where(scale > 0, scale, np.nan)))


def _anew(sums: Sums, line: Line, changed: BoolArray) -> Sums:
    """Sums without all but the idle CPU where a change was found; latency keeps nothing."""
    cpu = np.array([True, False])
    # Variance of y at x = 0, of which a block has `deviation` squared: so many blocks is what is known of it.
    w = sums.w + sums.idle_w
    spread = np.maximum(sums.xx - sums.x**2 / np.maximum(w, 1e-12), 0.0)
    # Where x hardly differs the line stands upright, and no block tells of x = 0.
    blocks = np.minimum(w * (spread / np.maximum(sums.xx, 1e-300)), IDLE_BLOCKS)
    keeps = changed & cpu & ~np.isnan(line.slope) & (line.spread >= SPREAD)
    kept = {name: np.where(changed, 0.0, getattr(sums, name)) for name in ("w", "x", "y", "xx", "xy", "yy", "above")}
    return Sums(
        **kept,
        idle=np.where(keeps, np.clip(line.at_rest, 0.0, 0.5), np.where(changed, 0.0, sums.idle)),
        idle_w=np.where(keeps, blocks, np.where(changed, 0.0, sums.idle_w)),
        reach=np.where(keeps, line.furthest, np.where(changed, 0.0, sums.reach)),
    )


def _added(sums: Sums, x: FloatArray, y: FloatArray, weight: FloatArray, limit: FloatArray) -> Sums:
    fade = np.where(weight > 0, math.exp(-1.0 / MEMORY_BLOCKS), 1.0)
    return Sums(
        w=fade * sums.w + weight,
        x=fade * sums.x + weight * x,
        y=fade * sums.y + weight * y,
        xx=fade * sums.xx + weight * x * x,
        xy=fade * sums.xy + weight * x * y,
        yy=fade * sums.yy + weight * y * y,
        above=fade * sums.above + weight * (y > limit),
        idle=sums.idle,
        idle_w=fade * sums.idle_w,
        reach=fade * sums.reach,
    )


def _said(sums: Sums, line: Line, limit: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Capacity and its interval, (B,) each: by latency where that can be said, else by CPU, else NaN."""
    needed = np.where(sums.idle_w > 0.0, FEWEST_ANEW, FEWEST)
    both_sides = np.minimum(sums.above, sums.w - sums.above) >= 0.1 * FEWEST
    good = (
        (sums.w >= needed)
        & (line.spread >= SPREAD)
        & (line.half <= WIDEST * line.crossing)
        & (limit - line.at_rest <= FURTHEST * (line.furthest - line.at_rest))
    )
    good[:, LATENCY] &= both_sides[:, LATENCY]
    load, half = (
        np.where(good[:, LATENCY], found[:, LATENCY], np.where(good[:, CPU], found[:, CPU], np.nan))
        for found in (line.crossing, line.half)
    )
    return load, load - half, load + half
