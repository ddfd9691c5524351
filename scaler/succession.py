"""Who serves each workload and who did before: promotion, the predecessor's shadow, rollback by itself and by hand.

    a fit passed the gate → crowned: it serves, its predecessor keeps forecasting in shadow
    10, 20, 40 … 320 minutes later → both are compared on all windows since: twice the loss, or a quarter more at the
                                     last look, and the predecessor serves again
    a choice by hand, or a newer champion in the registry → it serves from this tick on, or as soon as it has been read

The shadow's forecasts are made when they are looked at: from the history up to their time they are what they would have
been. So every replica of the service that knows both models comes to the same verdict.
"""

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import structlog

from forecasting import catalog
from scaler.announcer import Fact
from scaler.archive import Archive
from scaler.core import gate
from scaler.core.domain import take
from scaler.core.gate import Voice
from scaler.core.retraining import CONFIGURATION
from scaler.core.trust import Evidence, TrustRules
from scaler.fleet import Fleet
from scaler.registry import Change, Stage
from scaler.roster import Key

log = structlog.get_logger("foresail.models")

LOOKS_S = tuple(600.0 * 2**n for n in range(6))
"""After a promotion both are compared: each look sees twice as much as the one before it, the last five hours."""
GLARING, WORSE = 2.0, 1.25
"""Times the predecessor's loss from which a champion is taken back: at any look, and at the last."""
LEAST_SHARE = 0.02
"""And more than so much of the replicas that were needed: where nothing is at stake nothing is taken back."""
FEWEST = 8
"""Windows without which a look says nothing."""
LOOKS_AT_ONCE = 4
"""Looks within one tick: a look takes ten milliseconds."""
TOLD = 8
"""Facts kept for whoever tells them."""


@dataclass(slots=True)
class Reign:
    """A champion on trial."""

    place: tuple[Fleet, int]
    cutoff_s: float
    since_s: float
    predecessor: Voice
    configuration: str
    """The predecessor's."""
    looks: int = 0


@dataclass(slots=True)
class Counters:
    """What became of models since the start."""

    promotions: int = 0
    refusals: int = 0
    rollbacks: int = 0


@dataclass(slots=True)
class Memory:
    """What is remembered of one workload beside its row."""

    configuration: str = CONFIGURATION
    """Of the champion."""
    previous: Voice | None = None
    """Who served before the champion."""
    failed: dict[float, float] = field(default_factory=dict)
    """When each cutoff was rolled back."""
    facts: list[Fact] = field(default_factory=list)
    aged: Evidence = Evidence.ACTIVE


class Succession:
    """Champions and their predecessors, over the rows that the engine owns."""

    def __init__(self, rows: Mapping[Key, tuple[Fleet, int]], archive: Archive, canary_ratio: float | None) -> None:
        self._rows, self._archive, self._canary_ratio = rows, archive, canary_ratio
        self.counters = Counters()
        self._memory: dict[Key, Memory] = {}
        self._reigns: dict[Key, Reign] = {}
        self._wanted: dict[Key, float] = {}
        self._wanting = asyncio.Event()

    def memory(self, key: Key) -> Memory:
        """What is remembered of a workload."""
        return self._memory.setdefault(key, Memory())

    def drop(self, key: Key) -> None:
        """Forget a workload."""
        for memory in (self._memory, self._reigns, self._wanted):
            memory.pop(key, None)

    def on_trial(self, key: Key) -> bool:
        """Whether a workload's champion is being compared with its predecessor."""
        return key in self._reigns

    def facts(self, key: Key) -> list[Fact]:
        """What is to be told of a workload, once."""
        memory = self._memory.get(key)
        found = [] if memory is None else memory.facts[-TOLD:]
        if memory is not None:
            memory.facts = []
        return found

    # --- promotion

    def crowned(self, key: Key, before: Voice, t_s: float, configuration: str = CONFIGURATION) -> None:
        """Watch a new champion, which speaks for its row already; `before` spoke until now."""
        place, memory = self._rows[key], self.memory(key)
        fleet, row = place
        cutoff_s = float(fleet.models.cutoff_s[row])
        self.counters.promotions += 1
        was, memory.configuration, memory.aged = memory.configuration, configuration, Evidence.ACTIVE
        on_trial = before[0].speaker[0] == catalog.BOOSTING and before[0].cutoff_s[0] != cutoff_s
        evidence = Evidence.VALIDATED if on_trial else Evidence.ACTIVE
        self._archive.crown(key, cutoff_s, Change(t_s, Stage.CHAMPION, evidence, "serves"))
        memory.facts.append(Fact("ModelPromoted", f"the model fitted until {_stamp(cutoff_s)} serves", warning=False))
        if on_trial:
            memory.previous = before
            self._reigns[key] = Reign(place, cutoff_s, t_s, before, was)
            fleet.columns.canary[row] = math.inf if self._canary_ratio is None else self._canary_ratio
        else:
            self._end(key)

    def _end(self, key: Key) -> None:
        """End a trial, however it went."""
        reign = self._reigns.pop(key, None)
        if reign is not None and self._rows.get(key) == reign.place:
            fleet, row = reign.place
            fleet.columns.canary[row] = math.inf

    def refused(self, key: Key, told: str) -> None:
        """Count and tell a challenger that the gate refused."""
        self.counters.refusals += 1
        self.memory(key).facts.append(Fact("ModelRefused", told))
        log.warning("model refused", workload=str(key), why=told)

    # --- the look

    def look(self, t_s: float) -> None:
        """Compare champions with their predecessors where a look is due at `t_s`, a few at once."""
        due = [key for key, reign in self._reigns.items() if t_s >= reign.since_s + LOOKS_S[reign.looks]]
        for key in due[:LOOKS_AT_ONCE]:
            reign = self._reigns[key]
            fleet, row = reign.place
            if self._rows.get(key) != reign.place or fleet.models.cutoff_s[row] != reign.cutoff_s:
                self._end(key)
                continue
            last = reign.looks + 1 == len(LOOKS_S)
            reign.looks += 1
            told = self._worse(reign, WORSE if last else GLARING)
            if told:
                self._roll_back(key, reign, t_s, told)
            elif last:
                self._end(key)
                change = Change(t_s, Stage.CHAMPION, Evidence.ACTIVE, "held against its predecessor for five hours")
                self._archive.told(key, reign.cutoff_s, Stage.CHAMPION, change)

    def _worse(self, reign: Reign, factor: float) -> str:
        """How much worse the champion has done than its predecessor's shadow; empty where it has not."""
        fleet, row = reign.place
        at = slice(row, row + 1)
        history, columns = fleet.history(at), take(fleet.columns, at)
        both = fleet.voice(row), reign.predecessor
        found = gate.compared(both, history, columns, reign.since_s, history.bucket_s)
        mine, its, n = float(found.one[0]), float(found.other[0]), int(found.windows[0])
        if n < FEWEST:
            return ""
        needed = float(np.nanmean(history.mean[0, -n:])) / float(columns.capacity[0])
        if mine <= factor * its + LEAST_SHARE * needed:
            return ""
        return f"loss {mine:.3g} replicas on {n} windows, its predecessor's {its:.3g}"

    def _roll_back(self, key: Key, reign: Reign, t_s: float, told: str) -> None:
        fleet, row = reign.place
        fleet.refuse(row, reign.cutoff_s)
        fleet.reinstate(row, reign.predecessor)
        memory = self.memory(key)
        memory.failed[reign.cutoff_s], memory.previous, memory.configuration = t_s, None, reign.configuration
        self._end(key)
        self.counters.rollbacks += 1
        back_s = float(reign.predecessor[0].cutoff_s[0])
        memory.facts.append(Fact("ModelRolledBack", f"the model fitted until {_stamp(back_s)} serves again: {told}"))
        log.warning("model rolled back", workload=str(key), cutoff=_stamp(reign.cutoff_s), why=told)
        self._archive.told(key, reign.cutoff_s, Stage.RETIRED, Change(t_s, Stage.RETIRED, Evidence.ROLLED_BACK, told))
        self._archive.crown(key, back_s, Change(t_s, Stage.CHAMPION, Evidence.ACTIVE, "serves again"))

    # --- by hand

    def follow(self, fleet: Fleet, keys: Mapping[Key, int], t_s: float) -> None:
        """Let those models serve that somebody chose, from this tick on where they are known here."""
        _, chosen_s, at_s = fleet.by_hand_s.T
        if np.isfinite(chosen_s).any():
            for key, row in keys.items():
                if self._rows.get(key) == (fleet, row) and math.isfinite(chosen_s[row]):
                    self._follow(key, float(chosen_s[row]), float(at_s[row]), t_s)

    def _follow(self, key: Key, chosen_s: float, at_s: float, t_s: float) -> None:
        fleet, row = self._rows[key]
        serving_s, memory = float(fleet.models.cutoff_s[row]), self.memory(key)
        if memory.failed.get(chosen_s, -math.inf) >= at_s:
            return  # it was tried since, and taken back
        if serving_s > at_s:
            return  # a newer fit has taken its place
        fleet.refuse(row, at_s)
        if serving_s == chosen_s or key in self._wanted:
            return
        if memory.previous is not None and memory.previous[0].cutoff_s[0] == chosen_s:
            self._enthrone(key, memory.previous, memory.configuration, t_s)
        else:
            self._wanted[key] = chosen_s
            self._wanting.set()

    async def run(self) -> None:
        """Read the models that were chosen and are not in memory, until cancelled."""
        while True:
            await self._wanting.wait()
            self._wanting.clear()
            for key, cutoff_s in list(self._wanted.items()):
                found = await self._archive.fetch(key, cutoff_s)
                self._wanted.pop(key, None)
                if key not in self._rows:
                    continue
                fleet, row = self._rows[key]
                if found is None:
                    self.refused(key, f"no model fitted until {_stamp(cutoff_s)} is kept: what serves stays")
                else:
                    voice = found[1].models, fleet.voice(row)[1]
                    self._enthrone(key, voice, found[0].origin.configuration, fleet.ring.end_s)

    def _enthrone(self, key: Key, voice: Voice, configuration: str, t_s: float) -> None:
        """Let a voice speak that was not fitted just now; one that goes back is not put on trial."""
        fleet, row = self._rows[key]
        before, cutoff_s = fleet.voice(row), float(voice[0].cutoff_s[0])
        was_s = float(before[0].cutoff_s[0])
        fleet.reinstate(row, voice)
        log.warning("model chosen", workload=str(key), was=_stamp(was_s), cutoff=_stamp(cutoff_s))
        back = cutoff_s < was_s
        self.crowned(key, fleet.voice(row) if back else before, t_s, configuration)
        if back:
            change = Change(t_s, Stage.RETIRED, Evidence.ROLLED_BACK, "rolled back by hand")
            self._archive.told(key, was_s, Stage.RETIRED, change)

    def offered(self, cutoffs_s: Mapping[Key, float]) -> None:
        """Take over champions of the registry that were fitted elsewhere and are newer than those that serve."""
        for key, cutoff_s in cutoffs_s.items():
            if key in self._rows and cutoff_s not in self.memory(key).failed:
                fleet, row = self._rows[key]
                if cutoff_s > max(float(fleet.models.cutoff_s[row]), float(fleet.by_hand_s[row, 2])):
                    self._wanted[key] = cutoff_s
                    self._wanting.set()

    # --- age

    def age(self, key: Key, t_s: float, rules: TrustRules) -> None:
        """Tell the registry when a champion has begun to expire, and when it has."""
        fleet, row = self._rows[key]
        cutoff_s, memory = float(fleet.models.cutoff_s[row]), self.memory(key)
        if not cutoff_s:
            return
        age_s = t_s - cutoff_s
        now = Evidence.EXPIRED if age_s >= rules.expired_s else Evidence.EXPIRING
        if age_s >= rules.aging_s and now is not memory.aged:
            memory.aged = now
            why = f"{age_s / 3600.0:.0f} hours old"
            self._archive.told(key, cutoff_s, Stage.CHAMPION, Change(t_s, Stage.CHAMPION, now, why))


def _stamp(at_s: float) -> str:
    return "never" if not at_s else str(np.datetime64(int(at_s), "s")) + "Z"
