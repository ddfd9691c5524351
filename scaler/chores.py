"""What is done beside the decisions: audit of what is asked by hand, Events, and keeping what was learnt of pods.

Every replica of the service looks and logs; the elected one writes to the cluster.
"""

import asyncio
from typing import Protocol

import structlog

from scaler.announcer import Announcer, Fact
from scaler.capacities import Capacities
from scaler.core.start_up import LeadTime
from scaler.core.steering import Steering
from scaler.engine import Engine
from scaler.facts import DayPeak, Watchman
from scaler.lease import Election
from scaler.live_cluster import Feature, LiveCluster
from scaler.roster import Key

audit = structlog.get_logger("foresail.audit")

LOOK_S = 15.0
"""Between looks at all workloads."""
KEEP_EVERY = 20
"""Looks between savings of what was learnt of pods: five minutes."""
AUDITED = frozenset(
    {"OverrideInForce", "OverrideEnded", "OverrideOutsideBounds", "OverrideWhilePaused", "AnnotationRefused"}
)
"""Facts that are logged when they change: who asked for what, and what became of it."""


class Steered(Protocol):
    """Where it stands what was asked by hand."""

    def steering(self, key: Key, t_s: float) -> Steering:
        """What is asked of a workload at `t_s`."""
        ...


class Chores:
    """The looks; `live` is None where there is no cluster to write to."""

    def __init__(
        self, engine: Engine, steered: Steered, live: LiveCluster | None, capacities: Capacities | None = None
    ) -> None:
        self._capacities = capacities or Capacities(engine)
        self._engine, self._steered, self._live = engine, steered, live
        self._watchman = Watchman(engine)
        self._audited: dict[Key, frozenset[Fact]] = {}
        self.election = None if live is None else Election(live.api)
        self.announcer = None if live is None else Announcer(live.api)

    async def run(self) -> None:
        """Look until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            if self.election is not None:
                tasks.create_task(self.election.run())
            looks = 0
            while True:
                await asyncio.sleep(LOOK_S)
                await self.look()
                looks += 1
                if looks % KEEP_EVERY == 0:
                    await self.keep()

    async def look(self) -> None:
        """One look at all workloads."""
        self._recall()
        keys = list(self._engine.roster.entries)
        for key in keys:
            if key not in self._engine.roster.entries:
                continue  # forgotten while an Event was being written
            steered = self._steered.steering(key, self._engine.clock())
            facts = self._watchman.look(key, steered, self._lead_time(key))
            self._audit(key, frozenset(fact for fact in facts if fact.reason in AUDITED))
            await self._tell(key, facts)
            await asyncio.sleep(0)  # a look takes up to a millisecond, and requests wait
        known = set(keys)
        self._watchman.forget(known)
        self._audited = {key: facts for key, facts in self._audited.items() if key in known}
        if self.announcer is not None:
            self.announcer.forget(known)

    def _recall(self) -> None:
        """Hand over what was kept of capacities, as soon as it is there."""
        if self._live is not None and self._live.remembered is not None:
            self._capacities.remember(self._live.remembered)
            self._live.remembered = None
        self._capacities.hand_over()

    async def keep(self) -> None:
        """Save what was learnt of pods and capacities, where that is this replica's chore."""
        if self._live is None:
            await self._capacities.save()
        if self._live is not None and self.election is not None and self.election.elected:
            await self._live.keep(list(self._engine.roster.entries), self._capacities.kept())

    def features(self) -> tuple[Feature, ...]:
        """What can be written to the cluster, and why the rest cannot."""
        if self.election is None or self.announcer is None:
            return ()
        return Feature("election", self.election.trouble), Feature("events", self.announcer.trouble)

    def counts(self) -> tuple[bool, int, int]:
        """Whether the chores are this replica's; Events told and held back."""
        if self.election is None or self.announcer is None:
            return False, 0, 0
        return self.election.elected, self.announcer.told, self.announcer.held_back

    def day_peak(self, key: Key) -> DayPeak | None:
        """The busiest hour of a workload's coming day; None where nothing can be said."""
        return self._watchman.day_peak(key)

    def _lead_time(self, key: Key) -> LeadTime | None:
        return None if self._live is None else self._live.lead_time(key)

    def _audit(self, key: Key, facts: frozenset[Fact]) -> None:
        for fact in sorted(facts - self._audited.get(key, frozenset())):
            (audit.warning if fact.warning else audit.info)(fact.message, workload=str(key), reason=fact.reason)
        self._audited[key] = facts

    async def _tell(self, key: Key, facts: list[Fact]) -> None:
        if self._live is None or self.announcer is None or self.election is None or not self.election.elected:
            return
        scaled = self._live.scaled.seen.get((key.namespace, key.name))
        if scaled is not None:
            for fact in facts:
                await self.announcer.tell(key, scaled, fact)
