"""What this machine does with work that has nothing to do with Foresail."""

import time

import numpy as np


def numpy_loop_ms() -> float:
    """Best of five: 10,000 additions of arrays of one element, in milliseconds."""
    one, best = np.ones(1), np.inf
    for _ in range(5):
        started = time.perf_counter()
        for _ in range(10_000):
            one + one
        best = min(best, time.perf_counter() - started)
    return float(best * 1e3)
