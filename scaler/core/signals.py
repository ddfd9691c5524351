"""What is read of a workload, and samples of it."""

from dataclasses import dataclass
from enum import Enum

from forecasting.forecast import FloatArray


class Signal(Enum):
    """What is read of a workload."""

    LOAD = "load"
    ARRIVALS = "arrivals"
    """Messages per second that arrive in a queue."""
    REPLICAS = "replicas"
    """Replicas that run, where no cluster tells."""
    CPU = "cpu"
    """CPU utilisation of the ready replicas, 1 where they can do no more."""
    MEMORY = "memory"
    """Memory utilisation, of the limit."""
    LATENCY = "latency"
    """In seconds, the quantile that `latencyTarget` is about."""
    QUEUE = "queue"
    """Requests or messages that wait."""


FEEDBACK = (Signal.CPU, Signal.MEMORY, Signal.LATENCY, Signal.QUEUE)
"""What is seen beside the load, in the order of the columns of `feedback`."""


@dataclass(frozen=True, slots=True)
class Samples:
    """A signal of one workload over n intervals, oldest first."""

    mean: FloatArray
    """Mean over each interval, NaN where missing, (n,)."""
    maximum: FloatArray
    """Largest sample inside each interval, (n,)."""
