"""Load replayed from functions of time: what the demo and tests run on."""

from collections.abc import Callable, Mapping

import numpy as np

from forecasting.forecast import FloatArray
from scaler.core.domain import Workload
from scaler.core.signals import Samples, Signal
from scaler.errors import SourceError

Series = Callable[[FloatArray], FloatArray]
"""Load at the given stamps (Unix seconds, any shape); a sample stamped t holds for the step before it."""


class Replay:
    """A load source over series by namespace, name and signal."""

    def __init__(self, series: Mapping[tuple[str, str, Signal], Series], step_s: float) -> None:
        self._series = series
        self._step_s = step_s

    def admit(self, workload: Workload) -> None:
        """Any workload may ask; what is not replayed says so when it is read."""
        del workload

    def has(self, workload: Workload) -> bool:
        """Whether anything is replayed for it."""
        return (workload.namespace, workload.name, Signal.LOAD) in self._series

    async def read(self, workload: Workload, signal: Signal, end_s: float, n: int, spacing_s: float) -> Samples:
        """As `LoadSource.read`; wider intervals are means of the steps inside them."""
        series = self._series.get((workload.namespace, workload.name, signal))
        if series is None:
            raise SourceError(
                f"{workload.namespace}/{workload.name}: nothing is replayed for it, and no load was pushed"
            )
        k = max(round(spacing_s / self._step_s), 1)
        stamps_s = np.asarray(end_s - spacing_s / k * np.arange(n * k - 1, -1, -1), dtype=np.float64)
        parts = series(stamps_s).reshape(n, k)
        return Samples(parts.mean(axis=1), parts.max(axis=1))
