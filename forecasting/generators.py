"""Generated load: nine documented shapes, seeded, for training a global forecaster and for its tests.

Each shape is a function of evenly spaced stamps and a generator of chance, and returns loads ≥ 0 whose mean is near 1.
The six shapes of RLScale-Bench (constant, periodic, random walk, bursty, ramp, flash crowd) are among them; the others
are what services meet besides: launches, scheduled spikes, batch windows, intermittent calls, requests to language
models, arrivals of a queue. What a shape leaves open (periods, heights, noise) is drawn anew each time.
"""

from collections.abc import Callable

import numpy as np

from forecasting.calendar import DAY_S
from forecasting.forecast import FloatArray

Chance = np.random.Generator
Shape = Callable[[FloatArray, Chance], FloatArray]


def steady(t_s: FloatArray, rng: Chance) -> FloatArray:
    """Constant, ramp or random walk: nothing comes again."""
    kind = rng.random()
    if kind < 0.5:
        return np.ones(len(t_s))
    if kind < 0.7:
        bends = np.sort(rng.random(4))
        return np.interp(_share(t_s), bends, rng.uniform(0.2, 2.0, 4))
    return np.asarray(np.exp(_walk(len(t_s), rng.uniform(0.002, 0.03), rng)))


def daily(t_s: FloatArray, rng: Chance) -> FloatArray:
    """A day's curve with one to four harmonics, quieter or busier weekends, growth and slow noise."""
    return _day(t_s, rng) * _week(t_s, rng) * _growth(t_s, rng) * np.exp(_slow(t_s, rng.uniform(0.0, 0.25), rng))


def periodic(t_s: FloatArray, rng: Chance) -> FloatArray:
    """A sine or a square wave with a period of ten minutes to twelve hours."""
    period_s, phase = 60.0 * np.exp(rng.uniform(np.log(10), np.log(720))), rng.random()
    wave = np.sin(2 * np.pi * (t_s / period_s + phase))
    if rng.random() < 0.4:
        wave = np.sign(wave)
    return np.asarray(1.0 + rng.uniform(0.1, 0.95) * wave)


def launched(t_s: FloatArray, rng: Chance) -> FloatArray:
    """Little at first, then a launch and its growth, with moves to other levels; a day's curve comes with it."""
    at, speed = rng.uniform(0.1, 0.9), rng.uniform(3.0, 60.0)
    grown = 0.02 + 1.0 / (1.0 + np.exp(np.clip(-speed * (_share(t_s) - at), -50, 50)))
    levels = np.repeat(rng.uniform(0.5, 2.0, 6), -(-len(t_s) // 6))[: len(t_s)]
    return grown * levels * daily(t_s, rng)


def bursty(t_s: FloatArray, rng: Chance) -> FloatArray:
    """Flash crowds on a base: up within minutes, down within an hour or so; some come back each day."""
    load = daily(t_s, rng) if rng.random() < 0.7 else np.ones(len(t_s))
    days = (t_s[-1] - t_s[0]) / DAY_S
    at_s = rng.uniform(t_s[0], t_s[-1], rng.poisson(days * np.exp(rng.uniform(-1.5, 2.5))))
    if rng.random() < 0.4:
        at_s = np.concatenate([at_s, _each_day(t_s, rng)])
    for begin_s in at_s.tolist():
        rise_s, fall_s = 60.0 * np.exp(rng.uniform(0, 3)), 60.0 * np.exp(rng.uniform(1, 5))
        age_s = t_s - begin_s
        since = np.clip(age_s, 0, None)
        crowd = np.where(age_s > 0, (1 - np.exp(-since / rise_s)) * np.exp(-since / fall_s), 0.0)
        load = load + np.exp(rng.uniform(-1, 2)) * crowd
    return load


def scheduled(t_s: FloatArray, rng: Chance) -> FloatArray:
    """Spikes by the clock, as of cron: every 5 to 60 minutes or every few hours, each a minute to twenty long."""
    load = daily(t_s, rng) if rng.random() < 0.6 else np.ones(len(t_s))
    for _ in range(rng.integers(1, 4)):
        every_s = 60.0 * rng.choice([5, 10, 15, 20, 30, 60, 60, 120, 240, 360, 1440])
        offset_s, width_s = 60.0 * rng.integers(0, 60), 60.0 * np.exp(rng.uniform(0, 3))
        width_s = min(width_s, every_s / 2)
        number = np.floor((t_s - offset_s) / every_s).astype(np.int64)
        inside = (t_s - offset_s) - number * every_s <= width_s
        heights = np.exp(rng.normal(0.0, rng.uniform(0, 0.5), int(number[-1] - number[0]) + 1))
        heights *= rng.random(len(heights)) > rng.choice([0.0, 0.0, 0.2])
        load = load + np.exp(rng.uniform(-2, 1.5)) * inside * heights[number - number[0]]
    return load


def windows(t_s: FloatArray, rng: Chance) -> FloatArray:
    """Batch windows: on for some hours of each day at a height of their own, off or nearly so between."""
    base, load = np.exp(rng.uniform(-4, -0.5)), np.zeros(len(t_s))
    for _ in range(rng.integers(1, 4)):
        length_s, spread = 60.0 * np.exp(rng.uniform(np.log(10), np.log(600))), rng.uniform(0.0, 0.6)
        ragged, jitter_s = rng.uniform(0.0, 0.3), rng.choice([0.0, 60.0, 600.0])
        for begin_s in _each_day(t_s, rng).tolist():
            first_s = begin_s + jitter_s * rng.standard_normal()
            last_s = first_s + length_s * np.exp(0.1 * rng.standard_normal())
            low, high = np.searchsorted(t_s, [first_s, last_s])
            rough = np.exp(_walk(max(high - low, 1), ragged / 5, rng))[: high - low]
            load[low:high] += np.exp(spread * rng.standard_normal()) * rough
    return np.asarray(base * daily(t_s, rng) + load * _growth(t_s, rng))


def intermittent(t_s: FloatArray, rng: Chance) -> FloatArray:
    """Mostly nothing: calls come in spells that begin and end by chance, more often by day."""
    busy, spell_s = rng.uniform(0.02, 0.6), 60.0 * np.exp(rng.uniform(0, 5))
    step_s = t_s[1] - t_s[0]
    ending = min(step_s / spell_s, 1.0)
    beginning = np.minimum(ending * busy / (1 - busy) * _day(t_s, rng), 1.0)
    drawn, on, states = rng.random(len(t_s)), False, np.zeros(len(t_s), np.bool_)
    for k, (chance, begin) in enumerate(zip(drawn.tolist(), beginning.tolist(), strict=True)):
        on = chance >= ending if on else chance < begin
        states[k] = on
    rate = rng.gamma(rng.uniform(0.5, 4.0), 1.0, len(t_s)) if rng.random() < 0.5 else np.ones(len(t_s))
    return np.asarray(states * rng.poisson(np.exp(rng.uniform(0, 4)) * rate).astype(np.float64))


def prompts(t_s: FloatArray, rng: Chance) -> FloatArray:
    """Requests to a language model: a weak day, few large clients that come and go, heavy-tailed minutes."""
    load = 0.3 * daily(t_s, rng)
    for _ in range(rng.integers(2, 12)):
        edges = np.sort(rng.uniform(0, len(t_s), 2 * rng.integers(1, 12))).astype(np.int64)
        for first, last in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            load[first:last] += rng.pareto(2.0) * 0.3
    shape = np.exp(rng.uniform(0.5, 4.0))
    return load * rng.gamma(shape, 1.0 / shape, len(t_s))


def arrivals(t_s: FloatArray, rng: Chance) -> FloatArray:
    """Messages put into a queue: a trickle, and batches sent within minutes, by chance or by the clock."""
    load = 0.2 * daily(t_s, rng)
    days = (t_s[-1] - t_s[0]) / DAY_S
    at_s = np.concatenate([rng.uniform(t_s[0], t_s[-1], rng.poisson(days * rng.uniform(0.5, 24))), _each_day(t_s, rng)])
    for begin_s in at_s.tolist():
        low, high = np.searchsorted(t_s, [begin_s, begin_s + 60.0 * np.exp(rng.uniform(0, 4.5))])
        load[low:high] += rng.pareto(2.5)
    return load


SHAPES: tuple[Shape, ...] = (
    steady,
    daily,
    periodic,
    launched,
    bursty,
    scheduled,
    windows,
    intermittent,
    prompts,
    arrivals,
)
"""All shapes, each as likely as the others."""


def generated(t_s: FloatArray, rng: Chance) -> FloatArray:
    """Load at rising stamps `t_s`, (n,), with a mean near 1: one shape, or two of them mixed."""
    load = _one(t_s, rng)
    if rng.random() < 0.25:
        load = load + np.exp(rng.uniform(-2, 0)) * _one(t_s, rng)
    return load


def _one(t_s: FloatArray, rng: Chance) -> FloatArray:
    load = SHAPES[rng.integers(len(SHAPES))](t_s, rng)
    return load / max(float(load.mean()), 1e-9)


def _share(t_s: FloatArray) -> FloatArray:
    return np.asarray((t_s - t_s[0]) / (t_s[-1] - t_s[0]))


def _walk(n: int, sigma: float, rng: Chance) -> FloatArray:
    """A random walk around 0, held within ±3 by reflection."""
    free = np.cumsum(sigma * rng.standard_normal(n))
    return np.abs((free + 3.0) % 12.0 - 6.0) - 3.0


def _slow(t_s: FloatArray, sigma: float, rng: Chance) -> FloatArray:
    """Noise that remembers a few minutes to hours, with standard deviation `sigma`."""
    knots = max(int((t_s[-1] - t_s[0]) / (60.0 * np.exp(rng.uniform(np.log(3), np.log(240))))), 2)
    return sigma * np.interp(_share(t_s), np.linspace(0, 1, knots), rng.standard_normal(knots))


def _day(t_s: FloatArray, rng: Chance) -> FloatArray:
    turns, curve = 2 * np.pi * t_s / DAY_S, np.zeros(len(t_s))
    for harmonic in range(1, rng.integers(2, 6)):
        curve += rng.normal(0, 0.7 / harmonic) * np.sin(harmonic * turns + rng.uniform(0, 2 * np.pi))
    return np.exp(curve * rng.uniform(0.1, 1.2))


def _week(t_s: FloatArray, rng: Chance) -> FloatArray:
    if rng.random() < 0.4:
        return np.ones(len(t_s))
    return np.exp(rng.normal(0, 0.4, 7))[(t_s // DAY_S).astype(np.int64) % 7]


def _growth(t_s: FloatArray, rng: Chance) -> FloatArray:
    return np.exp(rng.normal(0, 0.4) * _share(t_s))


def _each_day(t_s: FloatArray, rng: Chance) -> FloatArray:
    """The same time of each day, some of them left out."""
    days = np.arange(np.floor(t_s[0] / DAY_S), np.ceil(t_s[-1] / DAY_S))
    return np.asarray((days[rng.random(len(days)) > rng.choice([0.0, 0.1, 0.3])] + rng.random()) * DAY_S)
