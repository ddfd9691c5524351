"""Arrivals of a queue from its depth, where nobody measures them."""

import numpy as np

from forecasting.forecast import FloatArray


def arrivals_from_depth(
    depth: FloatArray, before: FloatArray, last: FloatArray, clearing: FloatArray, step_s: float
) -> FloatArray:
    """Messages per second that arrived within a step, (B,); NaN where a depth or the clearing rate is unknown.

    What came is what stayed plus what was cleared. While messages remain every replica is busy, so that is `clearing`
    (capacity × ready); a queue that ran empty cleared at most what there was, judged by the arrivals of the step before
    (`last`, 0 where unknown).
    """
    emptied = np.minimum(clearing, before / step_s + np.where(np.isnan(last), 0.0, last))
    cleared = np.where(depth > 0, clearing, emptied)
    return np.asarray(np.maximum((depth - before) / step_s + cleared, 0.0))
