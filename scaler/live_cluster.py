"""What runs, within which bounds and how fast pods start, as the Kubernetes API says it.

Five watches and no poll: ScaledObjects, HPAs, Deployments, StatefulSets and pods of all namespaces. Each feeds features
of its own, so that a right that is missing takes away just those, and `features` says which.
"""

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import structlog

from scaler.cluster import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    HPAS,
    PODS,
    SCALED_OBJECTS,
    STATEFUL_SETS,
    KubernetesApi,
    Resource,
)
from scaler.core import steering
from scaler.core.domain import UNKNOWN, Running
from scaler.core.start_up import LeadTime
from scaler.core.steering import Steering
from scaler.errors import ClusterError
from scaler.kinds import Counts, Hpa, Pod, Scaled, Target, counts_of, hpa_of, pod_of, scaled_of
from scaler.reflector import Name, Patience, Reflector
from scaler.roster import Key
from scaler.start_ups import PodWatch

log = structlog.get_logger("foresail.cluster")

SILENT_S = 300.0
"""Without a word for so long counts are not believed any more: bookmarks come every minute, new watches at least
every ten of a server that sends none, and the HPA may move meanwhile."""
SCALE_EVERY_S = 15.0
"""Between two questions for a /scale: a handful a minute, whatever there is to ask for."""
SETTLE_S = 10.0
"""Between looks at pods that were found and at those that start for too long."""
KEPT_IN = "foresail-start-up"
"""ConfigMap in the service's own namespace."""


@dataclass(frozen=True, slots=True)
class Feature:
    """Something that the cluster makes possible."""

    name: str
    trouble: str | None
    """Why it is off, None where it is on."""


class LiveCluster:
    """`engine.Cluster` by watches."""

    def __init__(
        self,
        api: KubernetesApi,
        patience: Patience = Patience(),  # noqa: B008 - frozen
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.api, self._clock = api, clock
        self.pods = PodWatch()
        self.scaled = Reflector[Scaled](api, SCALED_OBJECTS, scaled_of, patience=patience)
        self.hpas = Reflector[Hpa](api, HPAS, hpa_of, patience=patience)
        self.deployments = Reflector[Counts](api, DEPLOYMENTS, counts_of, patience=patience)
        self.stateful_sets = Reflector[Counts](api, STATEFUL_SETS, counts_of, patience=patience)
        self.pod_objects = Reflector[Pod](api, PODS, pod_of, self.pods.changed, patience)
        self._scales: dict[Target, int] = {}
        self._kept_trouble: str | None = "not read yet"
        self.remembered: Mapping[str, str] | None = None
        """What was kept by an earlier run, None before it was read."""
        self._steered: dict[Name, tuple[Scaled, float, Steering]] = {}

    @property
    def reflectors(self) -> tuple[Reflector[Scaled] | Reflector[Hpa] | Reflector[Counts] | Reflector[Pod], ...]:
        """All watches."""
        return self.scaled, self.hpas, self.deployments, self.stateful_sets, self.pod_objects

    def features(self) -> tuple[Feature, ...]:
        """What the cluster gives at the moment, and why it does not give the rest."""
        counts = self.deployments.trouble or self.stateful_sets.trouble
        return (
            Feature("annotations", self.scaled.trouble),
            Feature("bounds", self.hpas.trouble),
            Feature("replicas", counts),
            Feature("lead_time", self.pod_objects.trouble),
            Feature("kept_start_ups", self._kept_trouble),
        )

    # --- what is known

    def running(self, key: Key, t_s: float) -> Running | None:
        """As `Cluster.running`: None for what is no ScaledObject, and where nothing was heard for long."""
        name = (key.namespace, key.name)
        scaled = self.scaled.seen.get(name)
        hpa = self.hpas.seen.get((key.namespace, scaled.hpa if scaled is not None else f"keda-hpa-{key.name}"))
        if scaled is None and hpa is None:
            return None
        target = self.target(key)
        replicas, ready = self._counts(target, hpa)
        minimum, maximum, up, down = _bounds(scaled, hpa)
        steered = self.steering(key, t_s)
        return Running(
            replicas=replicas,
            ready=ready,
            hpa_minimum=minimum,
            hpa_maximum=maximum,
            tolerance=up,
            paused=scaled is not None and scaled.paused,
            tolerance_down=down,
            grows=hpa is None or hpa.grows,
            shrinks=hpa is None or hpa.shrinks,
            **steering.hand(steered),
            lead_s=math.nan if target is None else self.pods.lead_s(target),
        )

    def target(self, key: Key) -> Target | None:
        """What a workload's ScaledObject scales."""
        scaled = self.scaled.seen.get((key.namespace, key.name))
        if scaled is not None:
            return scaled.target
        hpa = self.hpas.seen.get((key.namespace, f"keda-hpa-{key.name}"))
        return None if hpa is None else hpa.target

    async def annotate(self, key: Key, changes: Mapping[str, str | None]) -> None:
        """Set or remove annotations of a workload's ScaledObject; the watch brings them. Raises ClusterError."""
        await self.api.patch(SCALED_OBJECTS, key.namespace, key.name, {"metadata": {"annotations": dict(changes)}})

    def steering(self, key: Key, t_s: float) -> Steering:
        """What the workload's annotations ask for at `t_s`."""
        name = (key.namespace, key.name)
        scaled = self.scaled.seen.get(name)
        if scaled is None or not scaled.annotations:
            return steering.NOTHING
        known = self._steered.get(name)
        if known is None or known[0] is not scaled or known[1] != t_s:
            known = scaled, t_s, steering.read(scaled.annotations, t_s)
            self._steered[name] = known
        return known[2]

    def lead_time(self, key: Key) -> LeadTime | None:
        """What is known of the start-up of a workload's pods."""
        target = self.target(key)
        return None if target is None else self.pods.lead_time(target)

    def _counts(self, target: Target | None, hpa: Hpa | None) -> tuple[int, int]:
        if target is None:
            return UNKNOWN, UNKNOWN
        of = {"Deployment": self.deployments, "StatefulSet": self.stateful_sets}.get(target.kind)
        name = (target.namespace, target.name)
        if of is not None and name in of.seen and of.silent_s() < SILENT_S:
            return of.seen[name].replicas, of.seen[name].ready
        if hpa is not None and hpa.current != UNKNOWN and self.hpas.silent_s() < SILENT_S:
            return hpa.current, UNKNOWN
        return self._scales.get(target, UNKNOWN), UNKNOWN

    # --- what is done

    async def run(self) -> None:
        """Follow the cluster until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for reflector in self.reflectors:
                tasks.create_task(reflector.run())
            tasks.create_task(self._settle())
            tasks.create_task(self._read_scales())

    async def _settle(self) -> None:
        await self._remember()
        while True:
            # Pods that were listed come in only behind what was kept of those before them.
            self.pods.settle(self._clock())
            if self.scaled.listed.is_set() and self.pod_objects.listed.is_set():
                owners = {pod.owner for pod in self.pod_objects.seen.values()}
                self.pods.forget_but(owners | {scaled.target for scaled in self.scaled.seen.values()})
            await asyncio.sleep(SETTLE_S)

    async def _remember(self) -> None:
        try:
            found = await self.api.get(CONFIG_MAPS, self.api.namespace, KEPT_IN)
            self.remembered = found.get("data") or {}
            self.pods.remember(self.remembered)
            self._kept_trouble = None
        except ClusterError as error:
            self._kept_trouble = None if error.status == 404 else str(error)

    async def keep(self, keys: Iterable[Key], beside: Mapping[str, str]) -> None:
        """Save what was learnt of these workloads' pods, and `beside` it: the chore of one replica of the service."""
        targets = {target for key in keys if (target := self.target(key)) is not None}
        kept = {**self.pods.kept(targets), **beside}
        try:
            await self._save(kept)
            self._kept_trouble = None
        except ClusterError as error:
            self._kept_trouble = str(error)
            log.warning("start-up times not kept", reason=str(error))

    async def _save(self, kept: dict[str, str]) -> None:
        namespace, metadata = self.api.namespace, {"name": KEPT_IN, "namespace": self.api.namespace}
        try:
            found = await self.api.get(CONFIG_MAPS, namespace, KEPT_IN)
        except ClusterError as error:
            if error.status != 404:
                raise
            await self.api.create(CONFIG_MAPS, namespace, {"metadata": metadata, "data": kept})
            return
        if kept != (found.get("data") or {}):
            await self.api.update(CONFIG_MAPS, namespace, KEPT_IN, {**found, "data": kept})

    async def _read_scales(self) -> None:
        """Ask for the counts of kinds that no watch tells, one at a time."""
        await self.scaled.tried.wait()
        await self.hpas.tried.wait()
        while True:
            for name, scaled in list(self.scaled.seen.items()):
                target, hpa = scaled.target, self.hpas.seen.get((name[0], scaled.hpa))
                told = target.kind in {"Deployment", "StatefulSet"} or (hpa is not None and hpa.current != UNKNOWN)
                if told or not scaled.resource[2]:
                    continue
                await self._read_scale(target, Resource(*scaled.resource))
                await asyncio.sleep(SCALE_EVERY_S)
            await asyncio.sleep(SCALE_EVERY_S)

    async def _read_scale(self, target: Target, resource: Resource) -> None:
        try:
            scale = await self.api.get(resource, target.namespace, target.name, "scale")
            self._scales[target] = int(scale["status"]["replicas"])
        except (ClusterError, KeyError, TypeError, ValueError) as error:
            self._scales.pop(target, None)
            log.info("scale not read", target="/".join(target), reason=str(error))


def _bounds(scaled: Scaled | None, hpa: Hpa | None) -> tuple[int, int, float, float]:
    """Bounds and tolerances of the HPA that runs, else the bounds that KEDA would give it."""
    if scaled is not None and scaled.modified:
        # The HPA compares what a formula made of our value: no value is known to lie in its band.
        up = down = 0.0
    else:
        up, down = (math.nan, math.nan) if hpa is None else (hpa.up, hpa.down)
    if hpa is not None:
        return hpa.minimum, hpa.maximum, up, down
    return (UNKNOWN, UNKNOWN, up, down) if scaled is None else (scaled.minimum, scaled.maximum, up, down)
