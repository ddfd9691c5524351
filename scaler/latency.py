"""How long calls took, counted in buckets as Prometheus' histograms are."""

from bisect import bisect_left

BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 3.0)
"""Upper bounds of the buckets: a call that reads the board takes less than the first, a first one waits for two
seconds, and KEDA gives up after three.
"""


class Latency:
    """Calls by method."""

    def __init__(self) -> None:
        self.counts: dict[str, list[int]] = {}
        """Calls within each bound, the last beyond all of them."""
        self.sums_s: dict[str, float] = {}

    def observe(self, method: str, took_s: float) -> None:
        """Count one call."""
        counts = self.counts.setdefault(method, [0] * (len(BOUNDS_S) + 1))
        counts[bisect_left(BOUNDS_S, took_s)] += 1
        self.sums_s[method] = self.sums_s.get(method, 0.0) + took_s

    def buckets(self, method: str) -> list[tuple[str, float]]:
        """Calls up to each bound, as Prometheus wants them."""
        total, found = 0, []
        for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), self.counts[method], strict=True):
            total += count
            found.append((bound, float(total)))
        return found
