"""What B services make of their load: waiting below saturation, a backlog above it, and what that looks like outside.

A replica serves WORKERS requests at once, so n replicas are an M/G/m queue with m = WORKERS·n. Waiting follows Erlang's
C formula with the correction of Allen and Cunneen for general arrivals and service times (A. O. Allen, Probability,
Statistics and Queueing Theory, 2nd ed. 1990, §5.3). Above saturation the surplus is a fluid backlog, cut off where
clients give up; some of them try again. A queue never gives up: what counts there is the age of its oldest message.
"""

import functools
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from forecasting.forecast import FloatArray, IntArray
from scaler.core.simulator.constants import (
    ARRIVAL_CV2,
    BUSY_MEMORY,
    IDLE_CPU,
    IDLE_MEMORY,
    RETRIES,
    SERVICE_CV2,
    SERVICE_P95,
    SERVICE_S,
    TIMEOUT_S,
    UTILISATION,
    WORKERS,
)

SPREAD = 0.5 * (ARRIVAL_CV2.value + SERVICE_CV2.value)
"""Allen and Cunneen's factor on the waiting time of M/M/m."""
GRID = 200
"""Utilisations per row of the table of Erlang's C; linear in between, error below 0.002."""
MOST_WORKERS = 512
"""Rows of the table; larger fleets are read at this many, where fewer than one in ten waits up to 94 % utilisation."""
TAIL = 0.05
"""Share of requests beyond the latency that is reported: its 95 % quantile."""


def erlang_c(servers: int, offered: FloatArray) -> FloatArray:
    """Probability that an arrival waits in M/M/m, same shape as `offered` (Erlangs, at most `servers`).

    By the recursion of Erlang's B: B(0) = 1, B(k) = a·B(k−1) / (k + a·B(k−1)); C = B / (1 − ρ·(1 − B)).
    """
    blocked = np.ones_like(offered)
    for k in range(1, servers + 1):
        blocked = offered * blocked / (k + offered * blocked)
    return np.asarray(blocked / (1.0 - offered / servers * (1.0 - blocked)))


@functools.cache
def erlang_table() -> FloatArray:
    """Erlang's C of 0 … MOST_WORKERS servers at GRID utilisations from 0 to 1, (M + 1, GRID + 1); the rows at once."""
    servers = np.arange(1, MOST_WORKERS + 1)[:, None]
    utilisation = np.arange(GRID + 1) / GRID
    offered = servers * utilisation
    blocked = np.ones_like(offered)
    for k in range(1, MOST_WORKERS + 1):
        a, b = offered[k - 1 :], blocked[k - 1 :]
        blocked[k - 1 :] = a * b / (k + a * b)
    waiting = blocked / (1.0 - utilisation * (1.0 - blocked))
    return np.concatenate([np.ones((1, GRID + 1)), waiting])


def waiting_probability(servers: IntArray, utilisation: FloatArray) -> FloatArray:
    """Erlang's C read off the table, (B,)."""
    at = np.minimum(utilisation, 1.0) * GRID
    left = np.minimum(at.astype(np.int64), GRID - 1)
    flat = np.minimum(servers, MOST_WORKERS) * (GRID + 1) + left
    table = erlang_table().ravel()
    low = table[flat]
    return np.asarray(low + (at - left) * (table[flat + 1] - low))


def waiting_p95_s(servers: IntArray, utilisation: FloatArray) -> FloatArray:
    """95 % quantile of the wait of M/G/m below saturation, (B,): the tail is exponential beyond the atom at 0."""
    probability = waiting_probability(servers, utilisation)
    mean_s = SERVICE_S.value * SPREAD / (np.maximum(servers, 1) * np.maximum(1.0 - utilisation, 1e-6))
    return np.asarray(np.log(np.maximum(probability / TAIL, 1.0)) * mean_s)


def latency_target_s() -> float:
    """95 % quantile of the response time of one replica at its capacity: what "still meets its target" means here."""
    at = np.array([UTILISATION.value])
    return SERVICE_S.value * SERVICE_P95.value + float(waiting_p95_s(np.array([int(WORKERS.value)]), at)[0])


@dataclass(frozen=True, slots=True)
class Served:
    """What came of one step, (B,)."""

    backlog: FloatArray
    """Load·seconds (for a queue messages) that wait at the end of the step."""
    retried: FloatArray
    """Load that will be sent again in the next step."""
    done: FloatArray
    """Load·seconds that were served."""
    lost: FloatArray
    """Load·seconds that gave up, those that will try again included."""
    latency_s: FloatArray
    """95 % quantile of the response time; for a queue the age of its oldest message."""
    busy: FloatArray
    """Share of saturation, 0–1."""


class Service(Protocol):
    """How a fleet turns load into latency."""

    def serve(self, load: FloatArray, ready: IntArray, able: FloatArray, before: Served, step_s: float) -> Served:
        """Serve one step, (B,): `ready` replicas that are `able` to serve that much load within capacity."""
        ...


def idle(n: int) -> Served:
    """Nothing has happened yet."""
    return Served(*np.zeros((6, n)))


@dataclass(frozen=True, slots=True)
class Requests:
    """Clients that wait, give up and try again."""

    def serve(self, load: FloatArray, ready: IntArray, able: FloatArray, before: Served, step_s: float) -> Served:
        """See `Service.serve`."""
        saturation = able / UTILISATION.value
        sent = load + before.retried
        waiting = before.backlog + (sent - saturation) * step_s
        backlog = np.minimum(np.maximum(waiting, 0.0), saturation * TIMEOUT_S.value)
        lost = np.maximum(waiting - backlog, 0.0)
        room = np.maximum(saturation, 1e-12)
        busy = np.minimum((before.backlog / step_s + sent) / room, 1.0)
        queued_s = waiting_p95_s(ready * int(WORKERS.value), busy) + backlog / room
        latency_s = SERVICE_S.value * SERVICE_P95.value + np.minimum(queued_s, TIMEOUT_S.value)
        done = before.backlog + sent * step_s - backlog - lost
        return Served(backlog, RETRIES.value * lost / step_s, done, lost, latency_s, busy)


@dataclass(frozen=True, slots=True)
class Messages:
    """Messages that wait until they are cleared, in order."""

    def serve(self, load: FloatArray, ready: IntArray, able: FloatArray, before: Served, step_s: float) -> Served:
        """See `Service.serve`."""
        del ready
        waiting = before.backlog + load * step_s
        done = np.minimum(waiting, able * step_s)
        backlog = waiting - done
        # In order: the oldest message that is left came backlog / load ago, at the rate messages come now …
        oldest_s = backlog / np.maximum(able, 1e-12)
        # … and nothing ages faster than time passes.
        age_s = np.minimum(oldest_s, before.latency_s + step_s)
        busy = np.minimum(waiting / np.maximum(able * step_s, 1e-12), 1.0)
        nothing = np.zeros_like(load)
        return Served(backlog, nothing, done, nothing, np.where(backlog > 0, age_s, 0.0), busy)


def feedback(served: Served, depth: FloatArray, scatter: FloatArray) -> FloatArray:
    """CPU, memory, latency and queue depth as monitoring reports them, (B, 4); `scatter` is relative noise, (3,)."""
    reported = np.empty((len(served.busy), 4))
    reported[:, 0] = (IDLE_CPU.value + (1.0 - IDLE_CPU.value) * served.busy) * scatter[0]
    reported[:, 1] = (IDLE_MEMORY.value + BUSY_MEMORY.value * served.busy) * scatter[1]
    reported[:, 2] = served.latency_s * scatter[2]
    reported[:, 3] = depth
    return reported
