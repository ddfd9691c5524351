"""The journal of 1,000 workloads at 15 s: size of a day, processor time of writing, time of reading a day back."""

import contextlib
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from forecasting import catalog
from forecasting.forecast import FloatArray
from scaler.core.domain import Workload, put, take
from scaler.core.signals import Samples
from scaler.core.trust import TrustRules
from scaler.fleet import Fleet
from scaler.journal import Journal
from scaler.record import LAYOUT, Tick, records_of
from scaler.roster import Key
from scaler.sightings import Sightings

TILE, TILES, STEP_S, TICKS = 64, 16, 15.0, 480
"""1,024 workloads for two hours."""
DAY_S = 86_400.0


def loads(t_s: FloatArray, rng: np.random.Generator) -> FloatArray:
    """64 loads with a day and 5 % noise, (n, 64)."""
    phase, size = np.linspace(0.0, 6.28, TILE), np.geomspace(20.0, 20_000.0, TILE)
    shape = 1.0 + 0.5 * np.sin(2 * np.pi * t_s[:, None] / DAY_S + phase)
    return np.asarray(size * shape * np.exp(0.05 * rng.standard_normal((len(t_s), TILE))))


def ticks() -> list[Tick]:
    """What the loop decides for one tile: a fitted forecaster after two days of history."""
    rng, end_s = np.random.default_rng(1), 1_789_516_800.0
    fleet = Fleet(STEP_S, end_s, TrustRules())
    past_s = end_s - 60.0 * np.arange(2880.0)[::-1]
    past = loads(past_s, rng)
    for number in range(TILE):
        size = float(past[:, number].mean())
        row = fleet.add(Workload("shop", f"w{number}", "00000000", threshold=size / 15.0, max_replicas=100))
        fleet.backfill(row, end_s, Samples(past[:, number], past[:, number]), 60.0)
    models = catalog.fit(fleet.history(slice(0, 1)), int(fleet.columns.h[0]), averaged=False)
    for row in range(TILE):  # one fit for all: it knows no scale but its ceiling
        scale = past[:, row].mean() / past[:, 0].mean()
        own = models.boosting
        booster = replace(own, epsilon=scale * own.epsilon, ceiling=scale * own.ceiling)
        put(fleet.models, slice(row, row + 1), replace(models, boosting=booster))
    found, at, replicas = [], slice(0, TILE), np.full(TILE, 15)
    for tick in range(1, TICKS + 1):
        fleet.ring.advance(end_s + STEP_S * tick)
        load = loads(np.array([fleet.ring.end_s]), rng)[0]
        nothing = Sightings.nothing(TILE)
        seen = fleet.see(at, Sightings(load, nothing.arrivals, replicas, replicas, nothing.feedback))
        made = fleet.decide(at, seen)
        replicas = made.predicted_replicas
        found.append(Tick(made, seen, load, fleet.persistent(at).copy(), take(fleet.columns, at)))
    return found


def run() -> Iterator[str]:
    decided, rows = ticks(), np.arange(TILE)
    keys = [[Key("shop", f"w{tile * TILE + row}", "00000000") for row in range(TILE)] for tile in range(TILES)]
    with tempfile.TemporaryDirectory() as folder:
        path, now_s = Path(folder) / "journal.sqlite", [0.0]
        journal = Journal(path, clock=lambda: now_s[0])
        journal.open()
        spent_s = np.zeros(3)
        for number, tick in enumerate(decided, 1):
            now_s[0], times_s = tick.made.t_s + 1.0, [time.process_time()]
            for tile in range(TILES):
                journal.post(tile, keys[tile], records_of(tick, rows))
            times_s.append(time.process_time())
            journal.flush()
            times_s.append(time.process_time())
            if number % 4 == 0:  # as the service does, once a minute
                journal.tidy()
            spent_s += np.diff([*times_s, time.process_time()])
        journal.close()
        n, packing, writing, folding = TICKS * TILES * TILE, *(100.0 * spent_s / (TICKS * STEP_S)).tolist()
        with contextlib.closing(sqlite3.connect(path)) as file:
            folded, last = file.execute("SELECT sum(length(records)), max(end_t) FROM segment").fetchone()
        folded /= n * (last - decided[0].made.t_s) / (TICKS * STEP_S)
        size = path.stat().st_size
        day_gb = 1e-9 * (size + 1000 * (DAY_S / STEP_S - TICKS) * folded)
        yield (
            f"a whole record: {LAYOUT.itemsize} bytes, {folded:.0f} when folded; the file after two hours: "
            f"{size / 1e6:.0f} MB; 1,000 workload-days: {day_gb:.2f} GB (target ≤ 2)"
        )
        yield (
            f"written in {packing + writing + folding:.2f} % of a core (target ≤ 5): packing in the loop "
            f"{1e6 * spent_s[0] / (TICKS * TILES):.0f} µs a tile, writing {writing:.2f} %, folding {folding:.2f} %"
        )
        journal = Journal(path)
        journal.open()
        begun_s = time.process_time()
        found = journal.read(keys[3][7], 0.0, np.inf)
        yield f"read back: {len(found.t_s)} decisions of one workload in {1e3 * (time.process_time() - begun_s):.1f} ms"
        journal.close()
