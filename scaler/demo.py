"""`foresail serve --demo`: workloads with a generated past and a simulated HPA, so that every answer is real at once.

Load is a function of time and nothing else: after a restart the same history is there again. All shapes are invented.
"""

from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from forecasting.forecast import FloatArray, IntArray
from scaler.core import hpa
from scaler.core.domain import DEFAULT_TOLERANCE, HPA_SYNC_S, Running, Workload
from scaler.core.signals import Signal
from scaler.core.trigger import parse_workload
from scaler.replay import Replay, Series
from scaler.roster import Key

if TYPE_CHECKING:
    from scaler.board import Board

STEP_S = 15.0
MINIMUM, MAXIMUM = 1, 60
"""Bounds of the simulated HPAs."""
DAY, WEEK = 86_400.0, 604_800.0


def noise(stamps_s: FloatArray, seed: int) -> FloatArray:
    """Standard normal noise that depends on the stamp and the seed alone, same shape.

    splitmix64 (Steele, Lea and Flood 2014) of the step's number, then Box and Muller.
    """
    number = (stamps_s / STEP_S).astype(np.int64).astype(np.uint64)
    first, second = (_uniform(number, 2 * seed + k) for k in (0, 1))
    return np.sqrt(-2.0 * np.log(first)) * np.cos(2.0 * np.pi * second)


def _uniform(number: "np.ndarray[tuple[int, ...], np.dtype[np.uint64]]", stream: int) -> FloatArray:
    z = number * np.uint64(0x9E3779B97F4A7C15) + np.uint64(stream * 0xD1B54A32D192ED03 % 2**64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(((z ^ (z >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) / 2.0**53 + 2.0**-54)


def _wave(t_s: FloatArray, peak_hour: float, depth: float) -> FloatArray:
    return 1.0 + depth * np.cos(2 * np.pi * (t_s / DAY - peak_hour / 24.0))


def _weekend(t_s: FloatArray, factor: float) -> FloatArray:
    day = np.floor(t_s / DAY + 3.0) % 7.0  # 0 is Monday: 1970-01-01 was a Thursday
    return np.where(day >= 5.0, factor, 1.0)


def _bump(t_s: FloatArray, period_s: float, start_s: float, lasts_s: float) -> FloatArray:
    phase = (t_s - start_s) % period_s
    return np.where(phase < lasts_s, np.sin(np.pi * np.minimum(phase / lasts_s, 1.0)) ** 0.5, 0.0)


def frontend(t_s: FloatArray) -> FloatArray:
    """A shop's front end: day and week, the evening's peak at 19:00."""
    return 900.0 * _wave(t_s, 19.0, 0.55) * _weekend(t_s, 1.25) * np.exp(0.04 * noise(t_s, 1))


def checkout(t_s: FloatArray) -> FloatArray:
    """Check-out: the same day, and a sale of twenty minutes at 12:00 and 20:00."""
    sale = 1.0 + 2.0 * (_bump(t_s, DAY, 12 * 3600.0, 1200.0) + _bump(t_s, DAY, 20 * 3600.0, 1200.0))
    return 160.0 * _wave(t_s, 18.0, 0.5) * sale * np.exp(0.06 * noise(t_s, 2))


def search(t_s: FloatArray) -> FloatArray:
    """Search: a mild day with bursts that follow no clock."""
    hour = np.floor(t_s / 3600.0) * 3600.0
    burst = np.where(noise(hour, 31) > 1.4, 1.2 * _bump(t_s, 3600.0, 0.0, 900.0), 0.0)
    return 320.0 * _wave(t_s, 15.0, 0.25) * (1.0 + burst) * np.exp(0.08 * noise(t_s, 3))


def nightly_report(t_s: FloatArray) -> FloatArray:
    """Reports: nothing all day, forty minutes of work at 02:00 and an hourly trickle during office hours."""
    night = 240.0 * _bump(t_s, DAY, 2 * 3600.0, 2400.0)
    hour_of_day = t_s % DAY / 3600.0
    office = np.where((hour_of_day >= 8) & (hour_of_day < 18), 30.0 * _bump(t_s, 3600.0, 0.0, 300.0), 0.0)
    return (night + office) * np.exp(0.1 * noise(t_s, 4))


def ingest(t_s: FloatArray) -> FloatArray:
    """Device telemetry: constant but for noise; prediction has nothing to win here."""
    return 500.0 * np.exp(0.05 * noise(t_s, 5))


def mail_arrivals(t_s: FloatArray) -> FloatArray:
    """Mails per second that arrive, with a newsletter at 09:00."""
    return (
        40.0 * _wave(t_s, 14.0, 0.6) * (1.0 + 3.0 * _bump(t_s, DAY, 9 * 3600.0, 1800.0)) * np.exp(0.05 * noise(t_s, 6))
    )


def mail_depth(t_s: FloatArray) -> FloatArray:
    """Mails that wait: some ten seconds' worth of arrivals."""
    return mail_arrivals(t_s) * 10.0 * np.exp(0.3 * noise(t_s, 7))


WORKLOADS: tuple[tuple[dict[str, str], Series, Series | None], ...] = (
    ({"namespace": "shop", "name": "frontend", "threshold": "60", "capacity": "85", "leadTime": "90s"}, frontend, None),
    (
        {"namespace": "shop", "name": "checkout", "threshold": "20", "capacity": "28", "leadTime": "120s"},
        checkout,
        None,
    ),
    ({"namespace": "shop", "name": "search", "threshold": "35", "capacity": "50", "leadTime": "60s"}, search, None),
    (
        {"namespace": "office", "name": "nightly-report", "threshold": "20", "capacity": "28", "leadTime": "120s"},
        nightly_report,
        None,
    ),
    ({"namespace": "iot", "name": "ingest", "threshold": "60", "capacity": "85", "leadTime": "60s"}, ingest, None),
    (
        {
            "namespace": "office",
            "name": "mail",
            "kind": "queue",
            "threshold": "100",
            "capacity": "8",
            "latencyTarget": "60s",
            "leadTime": "90s",
            "arrivalQuery": "replayed",
        },
        mail_depth,
        mail_arrivals,
    ),
)
"""Trigger metadata, load and, for queues, arrivals of each demo workload."""


def demo_workloads() -> list[Workload]:
    """The demo's workloads, understood."""
    return [parse_workload(metadata) for metadata, _, _ in WORKLOADS]


def demo_source() -> Replay:
    """Their load."""
    series: dict[tuple[str, str, Signal], Series] = {}
    for metadata, load, arrivals in WORKLOADS:
        series[metadata["namespace"], metadata["name"], Signal.LOAD] = load
        if arrivals is not None:
            series[metadata["namespace"], metadata["name"], Signal.ARRIVALS] = arrivals
    return Replay(series, STEP_S)


class DemoCluster:
    """One simulated HPA per workload, which follows what is on the board; `board` is set once the engine has one."""

    def __init__(self, workloads: list[Workload]) -> None:
        self.board: Board | None = None
        self._leads_s = {(workload.namespace, workload.name): workload.lead_s for workload in workloads}
        self._states: dict[Key, hpa.HpaState] = {}
        self._counts: dict[Key, deque[tuple[float, int]]] = {}
        one = np.ones(1)
        self._rules = hpa.HpaRules(
            target=one,
            tolerance_up=DEFAULT_TOLERANCE * one,
            tolerance_down=DEFAULT_TOLERANCE * one,
            minimum=np.array([MINIMUM]),
            maximum=np.array([MAXIMUM]),
            up=hpa.policy(100, 100.0, 15.0, 0.0),
            down=hpa.policy(0, 100.0, 15.0, 60.0),
            with_behavior=np.array([True]),
        )

    def running(self, key: Key, t_s: float) -> Running | None:
        """Let the HPA sync up to `t_s` on the posted value; pods serve once their lead time has passed."""
        lead_s = self._leads_s.get((key.namespace, key.name))
        if lead_s is None or self.board is None:
            return None
        posted = self.board.get(key)
        counts = self._counts.setdefault(key, deque(maxlen=64))
        if posted is not None and (not counts or t_s - counts[-1][0] >= HPA_SYNC_S):
            counts.append((t_s, int(self._synced(key, posted.value, counts)[0])))
        if not counts:
            return Running(MINIMUM, MINIMUM, MINIMUM, MAXIMUM, DEFAULT_TOLERANCE)
        newest = counts[-1][1]
        ready = min((n for stamp_s, n in counts if stamp_s > t_s - lead_s), default=newest)
        return Running(newest, ready, MINIMUM, MAXIMUM, DEFAULT_TOLERANCE)

    def _synced(self, key: Key, value: float, counts: deque[tuple[float, int]]) -> IntArray:
        state = self._states.setdefault(key, hpa.initial_state((1,)))
        # At its first sync the simulated deployment already runs what was asked for: it did so before the demo began.
        replicas = np.array([counts[-1][1] if counts else min(max(int(np.ceil(value)), MINIMUM), MAXIMUM)])
        after, self._states[key] = hpa.step(np.array([value]), replicas, self._rules, state)
        return after
