"""What a load is like, as far as it decides whether prediction can pay."""

import numpy as np

from forecasting.forecast import FloatArray
from forecasting.series import DAY_S

SMOOTH_S = 600.0
"""Means over ten minutes: the season is not in the noise."""


def season_strength(load: FloatArray, step_s: float) -> float:
    """Correlation of ten-minute means with those a day earlier; 0 where fewer than a day of pairs is known."""
    k = round(SMOOTH_S / step_s)
    parts = load[: len(load) // k * k].reshape(-1, k)
    count = (~np.isnan(parts)).sum(axis=1)
    means = np.where(count > 0, np.nan_to_num(parts).sum(axis=1) / np.maximum(count, 1), np.nan)
    lag = round(DAY_S / SMOOTH_S)
    earlier, later = means[:-lag], means[lag:]
    known = ~np.isnan(earlier + later)
    if known.sum() < lag or earlier[known].std() == 0 or later[known].std() == 0:
        return 0.0
    return float(np.corrcoef(earlier[known], later[known])[0, 1])


def covered_share(metric: FloatArray, peak: FloatArray, headroom: float) -> float:
    """Share of the load (weighted by its peaks) whose lead window stays below `headroom` times the metric now."""
    known = ~np.isnan(metric + peak)
    total = float(peak[known].sum())
    if total <= 0:
        return 1.0
    return float(peak[known & (peak <= headroom * metric)].sum()) / total
