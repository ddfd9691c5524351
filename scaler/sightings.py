"""What the doors saw at one tick."""

from dataclasses import dataclass

import numpy as np

from forecasting.forecast import FloatArray, IntArray
from scaler.core.domain import UNKNOWN


@dataclass(frozen=True, slots=True)
class Sightings:
    """What the doors saw of some rows at one tick."""

    load: FloatArray
    """NaN where missing."""
    arrivals: FloatArray
    """Stated arrivals of queues per second, NaN where nobody measures them."""
    replicas: IntArray
    ready: IntArray
    """UNKNOWN where not read."""
    feedback: FloatArray
    """CPU, memory, latency, queue depth, (B, 4); NaN where absent."""

    @staticmethod
    def nothing(n: int) -> "Sightings":
        """Nothing was seen of n rows; to be filled in."""
        return Sightings(
            np.full(n, np.nan),
            np.full(n, np.nan),
            np.full(n, UNKNOWN),
            np.full(n, UNKNOWN),
            np.full((n, 4), np.nan),
        )
