"""The board: the latest decision of each workload. The loop posts, requests read."""

import asyncio
from collections import deque
from dataclasses import dataclass

from scaler.core.domain import Decisions, Mode
from scaler.errors import NotAllowed, NotDecidedYet, StaleLoad
from scaler.roster import Key

KEPT_ROWS = 20_000
"""Decisions kept for reading back, over all workloads: about 20 MB."""

SLACK_S = 900.0
"""By how much a decision may be older than one that was posted before it: steps differ in length."""


@dataclass(frozen=True, slots=True)
class Posted:
    """One workload's row of a tick's decisions."""

    decisions: Decisions
    row: int

    @property
    def t_s(self) -> float:
        """The tick, Unix seconds."""
        return self.decisions.t_s

    @property
    def mode(self) -> Mode:
        """What is being served."""
        return Mode(self.decisions.mode[self.row])

    @property
    def value(self) -> float:
        """What the HPA is sent."""
        return float(self.decisions.value[self.row])

    @property
    def active(self) -> bool:
        """Whether the workload should run at all."""
        return bool(self.decisions.active[self.row])


class Board:
    """Latest decisions by workload, the recent ones before them, and who waits for a change."""

    def __init__(self) -> None:
        self._latest: dict[Key, Posted] = {}
        self._changed: dict[Key, asyncio.Event] = {}
        self._recent: deque[tuple[Decisions, dict[Key, int]]] = deque()
        self._kept = 0
        self._withheld: set[Key] = set()

    def withhold(self, key: Key, *, served: bool) -> None:
        """Serve a workload's decisions to nobody, or again."""
        (self._withheld.discard if served else self._withheld.add)(key)

    def post(self, decisions: Decisions, rows: dict[Key, int]) -> None:
        """Make a tick's decisions the latest of their workloads and wake who waits for them."""
        for key, row in rows.items():
            self._latest[key] = Posted(decisions, row)
            event = self._changed.pop(key, None)
            if event is not None:
                event.set()
        self._recent.append((decisions, rows))
        self._kept += len(rows)
        while self._kept > KEPT_ROWS and len(self._recent) > 1:
            self._kept -= len(self._recent.popleft()[1])

    def withheld(self, key: Key) -> bool:
        """Whether a workload's decisions are served to nobody."""
        return key in self._withheld

    def forget(self, key: Key) -> None:
        """Take a workload's decision off the board; who waits for its next one is woken."""
        self._latest.pop(key, None)
        self._withheld.discard(key)
        event = self._changed.pop(key, None)
        if event is not None:
            event.set()

    def get(self, key: Key) -> Posted | None:
        """Latest decision, None before the first."""
        return self._latest.get(key)

    def answer(self, key: Key) -> Posted:
        """Latest decision that may be served.

        Raises:
            NotDecidedYet: before the first decision.
            StaleLoad: without load for so long that KEDA's fallback is the better answer.
            NotAllowed: the workload is only observed.
        """
        if key in self._withheld:
            raise NotAllowed(f"{key}: only observed (observeOnly); its decisions are recorded and served to nobody")
        posted = self._latest.get(key)
        if posted is None:
            raise NotDecidedYet(f"{key}: no decision yet; its load has not been seen")
        if posted.mode is Mode.FAILED:
            raise StaleLoad(f"{key}: no load sample for too long; see the workload's page for its last one")
        return posted

    async def first(self, key: Key, timeout_s: float) -> Posted:
        """Wait for a workload's first decision.

        Raises:
            NotDecidedYet: none came within `timeout_s`.
            StaleLoad, NotAllowed: as `answer`.
        """
        if key not in self._latest and key not in self._withheld:
            try:
                await asyncio.wait_for(self.next_change(key).wait(), timeout_s)
            except TimeoutError as error:
                raise NotDecidedYet(f"{key}: no load sample within {timeout_s:g} s of first sight") from error
        return self.answer(key)

    def next_change(self, key: Key) -> asyncio.Event:
        """Event of the workload's next decision; taken before the board is read, no decision slips between."""
        return self._changed.setdefault(key, asyncio.Event())

    def since(self, key: Key, begin_s: float) -> list[Posted]:
        """Kept decisions of a workload from `begin_s` on, newest first."""
        found: list[Posted] = []
        for decisions, rows in reversed(self._recent):
            if decisions.t_s < begin_s - SLACK_S:
                break
            if key in rows and decisions.t_s >= begin_s:
                found.append(Posted(decisions, rows[key]))
        return found

    def recent(self, key: Key, limit: int) -> list[Posted]:
        """Up to `limit` newest decisions of a workload, newest first."""
        found: list[Posted] = []
        for decisions, rows in reversed(self._recent):
            if key in rows:
                found.append(Posted(decisions, rows[key]))
                if len(found) >= limit:
                    break
        return found
