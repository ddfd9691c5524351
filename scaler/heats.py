"""Heats of a contest in processes of their own, which count their steps in shared memory."""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import c_longlong
from typing import Any

from scaler.core.simulator.contest import HEATS, Heat
from scaler.core.simulator.scene import Question, Scene

_done: Any = None
"""Steps done by all processes of a pool: shared memory, set as a process begins."""


def _begin(done: Any) -> None:
    """Leave Ctrl-C to the parent, which ends this process."""
    global _done  # noqa: PLW0603 - a process of the pool has no other place to keep it
    _done = done
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def tell(n: int) -> None:
    """Count steps that were done in a process of a pool."""
    with _done.get_lock():
        _done.value += n


def run_heat(question: Question, name: str) -> Heat:
    """Run one heat in a process of a pool."""
    return HEATS[name](Scene.of(question), tell)


@contextmanager
def processes(n: int) -> Iterator[tuple[Any, Any]]:
    """A pool of n processes with the count of their steps; ended at once when the block is left."""
    # Each process computes on one core: with BLAS threads of their own, two processes took five times as long.
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    context = multiprocessing.get_context("spawn")
    done = context.Value(c_longlong, 0)
    with context.Pool(n, _begin, (done,)) as pool:
        yield pool, done
