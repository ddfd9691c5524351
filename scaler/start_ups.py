"""What the cluster's pods say of start-up times, kept up while they come and go."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict

from scaler.core import start_up
from scaler.core.domain import DEFAULT_LEAD_S
from scaler.core.start_up import LeadTime, Prior, Start, StartUps
from scaler.kinds import Pod, Target
from scaler.reflector import Name

LARGEST_KEPT = 700_000
"""Characters of all that is kept over restarts: a ConfigMap holds a MiB."""
NOTHING_KNOWN = StartUps()


class PodWatch:
    """Start-up times by scale target; told of every change of a pod."""

    def __init__(self) -> None:
        self.known: dict[Target, StartUps] = {}
        self._said: dict[Target, tuple[StartUps, LeadTime | None, float]] = {}
        """What was made of it, and the lead time in force."""
        self._found: list[tuple[Target, Start]] = []
        self._starting: dict[Name, Pod] = {}
        self._served: set[Name] = set()
        self._given_up: set[Name] = set()

    def changed(self, name: Name, was: Pod | None, now: Pod | None) -> None:
        """A pod came, changed or went."""
        if now is None:
            self._gone(name)
        elif not math.isnan(now.ready_s):
            self._ready(name, was, now)
        elif name not in self._served:
            self._starting[name] = now
            if now.failed:
                self._give_up(name, now)

    def _ready(self, name: Name, was: Pod | None, now: Pod) -> None:
        self._starting.pop(name, None)
        if name in self._served:
            return
        self._served.add(name)
        scheduled_s = now.created_s if math.isnan(now.scheduled_s) else now.scheduled_s
        start = Start(now.version, now.ready_s, scheduled_s - now.created_s, now.ready_s - scheduled_s)
        if was is not None:
            self.known[now.owner] = start_up.with_start(self.known.get(now.owner, NOTHING_KNOWN), start)
        elif not now.restarted:  # the Ready of a pod that was restarted may be any of several
            self._found.append((now.owner, start))

    def _gone(self, name: Name) -> None:
        self._starting.pop(name, None)
        self._served.discard(name)
        self._given_up.discard(name)

    def _give_up(self, name: Name, pod: Pod) -> None:
        if name not in self._given_up:
            self._given_up.add(name)
            known = self.known.get(pod.owner, StartUps(version=pod.version))
            self.known[pod.owner] = start_up.with_failure(known, pod.version)

    def settle(self, now_s: float) -> None:
        """Take in the pods that a list has found, in their order, and give up on those that start for too long."""
        by_target: dict[Target, list[Start]] = {}
        for target, start in self._found:
            by_target.setdefault(target, []).append(start)
        self._found.clear()
        for target, starts in by_target.items():
            self.known[target] = start_up.with_starts(self.known.get(target, NOTHING_KNOWN), starts)
        for name, pod in self._starting.items():
            if now_s - pod.created_s > start_up.NEVER_S:
                self._give_up(name, pod)

    def forget_but(self, targets: set[Target]) -> None:
        """Keep only what is known of these targets."""
        for memory in (self.known, self._said):
            for target in [target for target in memory if target not in targets]:
                del memory[target]

    def lead_time(self, target: Target) -> LeadTime | None:
        """What is known of a target's pods."""
        return self._look(target)[1]

    def lead_s(self, target: Target) -> float:
        """Lead time to forecast with, NaN while too little is known."""
        return self._look(target)[2]

    def _look(self, target: Target) -> tuple[StartUps, LeadTime | None, float]:
        known = self.known.get(target, NOTHING_KNOWN)
        last = self._said.get(target, (NOTHING_KNOWN, None, math.nan))
        if last[0] is known:
            return last
        said = start_up.lead_time(known)
        before_s = DEFAULT_LEAD_S if math.isnan(last[2]) else last[2]
        self._said[target] = known, said, math.nan if said is None else start_up.in_force(before_s, said.lead_s)
        return self._said[target]

    def kept(self, targets: Mapping[Target, object] | set[Target]) -> dict[str, str]:
        """What is worth keeping over a restart of these targets, as a ConfigMap holds it."""
        kept: dict[str, str] = {}
        room = LARGEST_KEPT
        for target in sorted(set(targets) & set(self.known)):
            key, text = ".".join(target), json.dumps(asdict(self.known[target]), separators=(",", ":"))
            room -= len(key) + len(text)
            if room < 0:
                break
            kept[key] = text
        return kept

    def remember(self, kept: Mapping[str, str]) -> None:
        """Take over what was kept wherever it knows of newer pods; what cannot be understood is left."""
        for key, text in kept.items():
            parts = key.split(".", 2)
            try:
                known = _start_ups(json.loads(text))
            except (ValueError, TypeError, KeyError):
                continue
            if len(parts) == 3 and known.until_s > self.known.get(Target(*parts), NOTHING_KNOWN).until_s:
                self.known[Target(*parts)] = known


def _start_ups(kept: Mapping[str, object]) -> StartUps:
    values = dict(kept)
    prior = values.pop("prior", None)
    for name in ("start_s", "node_s"):
        values[name] = tuple(float(value) for value in values[name])  # type: ignore[attr-defined]
    known = StartUps(**values, prior=None if prior is None else Prior(**prior))  # type: ignore[arg-type]
    if len(known.start_s) != len(known.node_s) or not all(0.0 < v <= start_up.LONGEST_S for v in known.start_s):
        raise ValueError("no start-up times")
    return known
