"""How long a workload's pods need from their creation until they serve, learnt from the pods themselves.

A pod's time has two parts that are kept apart: waiting for a node (creation → scheduled, minutes where a node has to be
bought first) and starting on it (scheduled → Ready). A new image begins afresh with what the old one took as a prior.
Pods that never became Ready are counted and not averaged: their time says nothing about those that do.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

KEPT = 40
"""Newest start-ups that are kept of a version."""
FEWEST = 5
"""Pods, those of the prior included, from which a lead time is said."""
PRIOR_PODS = 8.0
"""Pods that the version before counts as at first; it is forgotten by half a pod with each new one."""
LONGEST_S = 3600.0
"""Longest time taken for a start-up: a later Ready is a recovery."""
NEVER_S = 600.0
"""Age from which a pod that never was Ready counts as one that never will be."""
STRAYS = 3
"""Pods of the version before that are taken for its last ones; after more of them in a row it is back."""
NODE_WAIT_S = 10.0
"""Time until it is scheduled above which a pod has waited for a node."""
NODE_SHARE = 0.25
"""Share of pods that waited for a node from which the wait belongs to the lead time."""
Z95 = NormalDist().inv_cdf(0.95)


@dataclass(frozen=True, slots=True)
class Start:
    """One pod that became Ready."""

    version: str
    """Of its images."""
    ready_s: float
    """When it became Ready, Unix seconds."""
    node_s: float
    """Creation → scheduled."""
    start_s: float
    """Scheduled → Ready."""


@dataclass(frozen=True, slots=True)
class Prior:
    """What the version before took: mean and deviation of the logarithm, and of how many pods."""

    version: str
    mean: float
    deviation: float
    pods: float


@dataclass(frozen=True, slots=True)
class StartUps:
    """What is kept of one workload's pods."""

    version: str = ""
    until_s: float = 0.0
    """Ready times up to here are in it."""
    start_s: tuple[float, ...] = ()
    """Newest last, at most KEPT."""
    node_s: tuple[float, ...] = ()
    """Of the same pods."""
    never: int = 0
    """Pods of this version that never became Ready."""
    prior: Prior | None = None
    strays: int = 0
    """Pods of the version before that started since the last of this one."""


@dataclass(frozen=True, slots=True)
class LeadTime:
    """What is said of a workload's pods, in seconds."""

    p50_s: float
    p95_s: float
    pods: int
    """Of the current version; 0 where only the prior speaks."""
    never: int
    node_p50_s: float
    """Median wait of the pods that waited for a node, 0 where none did."""
    node_share: float
    """Share of pods that waited for a node."""

    @property
    def lead_s(self) -> float:
        """From asking for a replica to its serving: P95, and the wait for a node where that is common."""
        return self.p95_s + (self.node_p50_s if self.node_share >= NODE_SHARE else 0.0)


def with_start(known: StartUps, start: Start) -> StartUps:
    """One pod more; what took too long to be a start-up changes nothing."""
    if not 0.0 <= start.start_s <= LONGEST_S or start.node_s < 0.0:
        return known
    if start.version != known.version:
        # While a new version is rolled out the old one's pods still start: a few of them are no way back.
        old = known.prior is not None and start.version == known.prior.version
        if old and known.strays < STRAYS:
            return replace(known, strays=known.strays + 1, until_s=max(known.until_s, start.ready_s))
        known = StartUps(version=start.version, until_s=known.until_s, prior=prior_of(known))
    return replace(
        known,
        until_s=max(known.until_s, start.ready_s),
        start_s=(*known.start_s, max(start.start_s, 0.5))[-KEPT:],
        node_s=(*known.node_s, start.node_s)[-KEPT:],
        strays=0,
    )


def with_starts(known: StartUps, starts: Sequence[Start]) -> StartUps:
    """Pods that were found, in the order in which they became Ready; without those that are in it already."""
    for start in sorted((s for s in starts if s.ready_s > known.until_s), key=lambda start: start.ready_s):
        known = with_start(known, start)
    return known


def with_failure(known: StartUps, version: str) -> StartUps:
    """One pod more that never became Ready; of a version that nobody has seen Ready it is not known yet."""
    return replace(known, never=known.never + 1) if version == known.version else known


def prior_of(known: StartUps) -> Prior | None:
    """What the next version inherits: this one's moments, or its prior's where it had too few pods of its own."""
    moments = _moments(known)
    return None if moments is None else Prior(known.version, *moments)


def lead_time(known: StartUps) -> LeadTime | None:
    """P50 and P95 of the start-up; None for too few pods.

    The lognormal quantile has the least error for start-ups of one kind and is too small for two (a slow node, a cold
    cache), where that of the sample is right; in between lies what is good for both.
    """
    moments = _moments(known)
    if moments is None or moments[2] < FEWEST:
        return None
    mean, deviation, _ = moments
    high = mean + Z95 * deviation
    pods = len(known.start_s)
    if pods >= 2 * PRIOR_PODS:
        high = (high + math.log(float(np.quantile(known.start_s, 0.95, method="weibull")))) / 2.0
    waits = [wait for wait in known.node_s if wait > NODE_WAIT_S]
    return LeadTime(
        p50_s=math.exp(mean),
        p95_s=math.exp(high),
        pods=pods,
        never=known.never,
        node_p50_s=float(np.median(waits)) if waits else 0.0,
        node_share=len(waits) / pods if pods else 0.0,
    )


def _moments(known: StartUps) -> tuple[float, float, float] | None:
    """Mean and deviation of the logarithm of the start-up, prior included, and of how many pods."""
    logs = np.log(known.start_s) if known.start_s else np.empty(0)
    pods = len(logs)
    prior = known.prior
    weight = 0.0 if prior is None else max(min(prior.pods, PRIOR_PODS) - 0.5 * pods, 0.0)
    if pods + weight < 2:
        return None
    if prior is None or weight == 0.0:
        return float(logs.mean()), float(logs.std(ddof=1)), float(pods)
    own = float(logs.mean()) if pods else prior.mean
    mean = (pods * own + weight * prior.mean) / (pods + weight)
    # Spread inside each version, not between them: that one is slower does not make its pods more uneven.
    spread = (float(((logs - own) ** 2).sum()) + weight * prior.deviation**2) / (pods + weight)
    return mean, math.sqrt(spread), pods + weight


def in_force(previous_s: float, measured_s: float) -> float:
    """Lead time to forecast with: the measured one in whole 5 s; it moves only where it moves by more than a tenth."""
    rounded = math.ceil(measured_s / 5.0 - 1e-9) * 5.0
    return previous_s if abs(rounded - previous_s) <= 0.1 * previous_s else rounded
