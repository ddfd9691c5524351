"""What people ask of a workload by hand: annotations `foresail.dev/*` of its ScaledObject, or the same in a file.

    foresail.dev/override: {"replicas": 12, "from": "2026-09-16T10:00:00Z", "until": "2026-09-16T12:00:00Z",
                            "reason": "sale", "by": "ann"}
    foresail.dev/override: {"mode": "Degraded", …}   the reactive rule, or with "Normal" the forecast, for a while
    foresail.dev/shadow: "true"                      serve the reactive answer, whatever the trigger says; or "false"
    foresail.dev/rollback: "2026-09-16T10:00:00Z"    use no model that was fitted to data up to then
    foresail.dev/champion: {"cutoff": "2026-09-15T09:12:00Z", "at": "2026-09-16T10:00:00Z",
                            "reason": "the new one wastes", "by": "ann"}
                                                     use the model with that cutoff, until a fit after "at" is better
    foresail.dev/retrain: "2026-09-16T10:00:00Z"     fit anew with all that is known by then

What cannot be understood changes nothing and is named; what has expired is as good as gone.
"""

import difflib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from scaler.core.domain import UNBOUNDED, UNKNOWN, Mode

PREFIX = "foresail.dev/"
OVERRIDE, SHADOW, ROLLBACK = PREFIX + "override", PREFIX + "shadow", PREFIX + "rollback"
CHAMPION, RETRAIN = PREFIX + "champion", PREFIX + "retrain"
KNOWN = (OVERRIDE, SHADOW, ROLLBACK, CHAMPION, RETRAIN)
SKEW_S = 300.0
"""Difference of clocks that is borne: what begins no later than so far ahead has begun."""
LONGEST_S = 30 * 86_400.0
"""Longest override: one without an end is one that everybody forgets."""
CHOICE_FIELDS = ("cutoff", "at", "reason", "by")
FIELDS = ("from", "until", "reason", "by")
"""What every override says, beside its replicas or its mode."""
PINNABLE = (Mode.NORMAL, Mode.DEGRADED)
"""Modes that somebody may fix: serve the forecast, or the reactive rule. The others say what is known."""
LONGEST_TEXT = 1000


@dataclass(frozen=True, slots=True)
class Override:
    """Replicas, or a mode, fixed by hand."""

    fixed: int | Mode
    from_s: float
    until_s: float
    reason: str
    by: str

    @property
    def replicas(self) -> int:
        """UNKNOWN where a mode is fixed."""
        return UNKNOWN if isinstance(self.fixed, Mode) else self.fixed

    @property
    def mode(self) -> int:
        """UNKNOWN where replicas are fixed."""
        return int(self.fixed) if isinstance(self.fixed, Mode) else UNKNOWN

    @property
    def what(self) -> str:
        """What is fixed, in words."""
        if isinstance(self.fixed, Mode):
            return f"mode {self.fixed.label}"
        return f"{self.fixed} {'replica' if self.fixed == 1 else 'replicas'}"

    def as_annotation(self) -> str:
        """The annotation's value."""
        stamps = {"from": stamp_of(self.from_s), "until": stamp_of(self.until_s)}
        fixed = {"mode": self.fixed.label} if isinstance(self.fixed, Mode) else {"replicas": self.fixed}
        return json.dumps({**fixed, **stamps, "reason": self.reason, "by": self.by})

    def __str__(self) -> str:
        return f"{self.what} until {stamp_of(self.until_s)} by {self.by}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Choice:
    """A model chosen by hand."""

    cutoff_s: float
    """Of the model that is to serve."""
    at_s: float
    reason: str
    by: str

    def as_annotation(self) -> str:
        """The annotation's value."""
        stamps = {"cutoff": stamp_of(self.cutoff_s), "at": stamp_of(self.at_s)}
        return json.dumps({**stamps, "reason": self.reason, "by": self.by})


@dataclass(frozen=True, slots=True)
class Steering:
    """What is in force at one moment, and what is not and why."""

    override: Override | None = None
    shadow: bool | None = None
    """None where nobody says."""
    rollback_s: float = -math.inf
    """No model with a cutoff up to here."""
    champion: Choice | None = None
    retrain_s: float = -math.inf
    """When a new fit was asked for."""
    refused: tuple[str, ...] = field(default=())
    """What was asked for and is not in force, with the reason."""

    @property
    def replicas(self) -> int:
        """What is fixed by hand, UNKNOWN where nothing is."""
        return UNKNOWN if self.override is None else self.override.replicas

    @property
    def mode(self) -> int:
        """Mode that is fixed by hand, UNKNOWN where none is."""
        return UNKNOWN if self.override is None else self.override.mode


NOTHING = Steering()


def read(annotations: Mapping[str, str], now_s: float) -> Steering:
    """What the annotations ask for at `now_s`."""
    if not annotations:
        return NOTHING
    refused: list[str] = []
    override, shadow, champion, rollback_s, retrain_s = None, None, None, -math.inf, -math.inf
    for key, value in sorted(annotations.items()):
        try:
            if key == OVERRIDE:
                override = _in_force(override_of(value), now_s)
            elif key == SHADOW:
                shadow = _flag(value)
            elif key == ROLLBACK:
                rollback_s = _past(value, now_s)
            elif key == CHAMPION:
                champion = choice_of(value, now_s)
            elif key == RETRAIN:
                retrain_s = _past(value, now_s)
            elif key.startswith(PREFIX):
                raise ValueError(_unknown(key))  # noqa: TRY301 - one place names what is refused
        except ValueError as error:
            refused.append(f"{key}: {error}"[:LONGEST_TEXT])
    return Steering(override, shadow, rollback_s, champion, retrain_s, tuple(refused))


def override_of(text: str) -> Override:
    """Understand an override. Raises ValueError that names what is wrong."""
    asked = _object(text)
    wrong = sorted(set(asked) - {"replicas", "mode"} ^ set(FIELDS))
    if wrong or ("replicas" in asked) == ("mode" in asked):
        wrong = wrong or ["replicas", "mode"]
        raise ValueError(f"must have the keys {', '.join(FIELDS)} and replicas or mode: look at {', '.join(wrong)}")
    fixed = _replicas(asked["replicas"]) if "replicas" in asked else _mode(asked["mode"])
    reason, by = _told(asked)
    from_s, until_s = moment(asked["from"]), moment(asked["until"])
    if not 0.0 < until_s - from_s <= LONGEST_S:
        raise ValueError(f"must end after it begins, and within {LONGEST_S / 86_400.0:g} days")
    return Override(fixed, from_s, until_s, reason, by)


def choice_of(text: str, now_s: float) -> Choice:
    """Understand a choice of a model. Raises ValueError that names what is wrong."""
    asked = _object(text)
    _exactly(asked, CHOICE_FIELDS)
    reason, by = _told(asked)
    cutoff_s, at_s = moment(asked["cutoff"]), _past(asked["at"], now_s)
    if cutoff_s > at_s:
        raise ValueError("cutoff must not lie after at: nobody knows a model that does not exist yet")
    return Choice(cutoff_s, at_s, reason, by)


def _object(text: str) -> dict[str, Any]:
    try:
        asked = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"must be JSON, not {text[:80]!r}") from error
    if not isinstance(asked, dict):
        raise ValueError(f"must be a JSON object, not {text[:80]!r}")  # noqa: TRY004 - one error for what is refused
    return asked


def _exactly(asked: Mapping[str, Any], fields: tuple[str, ...]) -> None:
    wrong = sorted(set(asked) ^ set(fields))
    if wrong:
        raise ValueError(f"must have exactly the keys {', '.join(fields)}: look at {', '.join(wrong)}")


def _told(asked: Mapping[str, Any]) -> tuple[str, str]:
    """Reason and by."""
    reason, by = asked["reason"], asked["by"]
    if not (isinstance(reason, str) and isinstance(by, str) and reason.strip() and len(reason) + len(by) <= 500):
        raise ValueError("reason and by must be text of at most 500 characters, and the reason must be given")
    return reason, by


def _replicas(stated: object) -> int:
    if not isinstance(stated, int) or isinstance(stated, bool) or not 0 <= stated <= UNBOUNDED:
        raise ValueError(f"replicas must be a whole number from 0 to {UNBOUNDED}, not {stated!r}")
    return stated


def _mode(stated: object) -> Mode:
    for mode in PINNABLE:
        if stated == mode.label:
            return mode
    raise ValueError(f"mode must be {' or '.join(mode.label for mode in PINNABLE)}, not {str(stated)[:40]!r}")


def _in_force(override: Override, now_s: float) -> Override:
    if now_s >= override.until_s:
        raise ValueError(f"expired at {stamp_of(override.until_s)}; remove it")
    if now_s < override.from_s - SKEW_S:
        raise ValueError(f"begins at {stamp_of(override.from_s)}: not yet, or the clock that wrote it is ahead")
    return override


def _flag(text: str) -> bool:
    if text not in {"true", "false"}:
        raise ValueError(f'must be "true" or "false", not {text[:80]!r}')
    return text == "true"


def _past(text: object, now_s: float) -> float:
    at_s = moment(text)
    if at_s > now_s + SKEW_S:
        raise ValueError(f"{str(text)[:40]} is ahead: it would refuse models that do not exist yet")
    return at_s


def _unknown(key: str) -> str:
    close = difflib.get_close_matches(key, KNOWN, n=1)
    names = f"{', '.join(KNOWN[:-1])} and {KNOWN[-1]}"
    return f"unknown; did you mean {close[0]}?" if close else f"unknown; known are {names}"


def moment(text: object) -> float:
    """Unix seconds of an RFC 3339 stamp. Raises ValueError."""
    try:
        stamp = datetime.fromisoformat(str(text))
    except ValueError as error:
        raise ValueError(f"must be a time such as 2026-09-16T10:00:00Z, not {str(text)[:40]!r}") from error
    if stamp.tzinfo is None:
        raise ValueError(f"must say its zone, such as 2026-09-16T10:00:00Z, not {str(text)[:40]!r}")
    return stamp.timestamp()


def stamp_of(at_s: float) -> str:
    """RFC 3339, in UTC, whole seconds."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def hand(steering: Steering) -> dict[str, Any]:
    """What is asked by hand, as fields of `Running`."""
    asked = {
        "override": steering.replicas,
        "pinned": steering.mode,
        "shadow": steering.shadow,
        "rollback_s": steering.rollback_s,
    }
    if steering.champion is not None:
        asked |= {"champion_s": steering.champion.cutoff_s, "champion_at_s": steering.champion.at_s}
    return {**asked, "rollback_s": steering.rollback_s, "retrain_s": steering.retrain_s}
