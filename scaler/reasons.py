"""Why a number: the bound that a recorded decision took from its forecast, what moved it, and sentences that say so.

Everything is read off the record, so it can be said of any decision that was kept; only what the forecast itself rested
on (`explaining`) needs the history.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from forecasting.explanation import PARTS
from forecasting.forecast import FloatArray, at_level, level_of
from scaler.core.domain import UNKNOWN, Mode
from scaler.core.guardrails import NAMES, replicas_for
from scaler.core.learned import MOVES
from scaler.core.policies import AT_ONCE, PATIENCE, RHO
from scaler.core.price import level_of as level_at
from scaler.core.trust import Cause
from scaler.record import Recorded

SHOWN = 0.005
"""Share of the bound below which a part is not worth a word."""


@dataclass(frozen=True, slots=True)
class Bound:
    """What a forecast was taken to say: the load of the lead window stays below it."""

    load: float
    """NaN without a forecast."""
    probability: float
    fewest: int
    """Replicas that were worth buying, …"""
    most: int
    """… and those worth keeping; between them what runs stays."""


def bound_of(kept: Recorded, at: int, *, queue: bool) -> Bound:
    """The bound behind what the forecast alone wanted in one recorded decision.

    At the level of what is worth keeping, or of what is worth buying, whichever gave the number; where what ran lay
    between both and stayed, the load that it bears.
    """
    wanted, peak, capacity = int(kept.predictive[at]), kept.peak[at : at + 1], kept.capacity[at : at + 1]
    if wanted == UNKNOWN or np.isnan(peak).any():
        return Bound(np.nan, np.nan, UNKNOWN, UNKNOWN)
    levels = level_at(kept.price[at] / np.array([RHO, 1.0]))
    loads = np.array([float(at_level(peak, level[None], 0.25 * capacity)[0]) for level in levels])
    loads = np.fmin(loads, kept.ceiling[at])
    clearing, share = float(kept.clearing[at]), AT_ONCE if queue else 1.0
    fewest, most = replicas_for(share * loads + clearing, capacity[0]).tolist()
    fewest = -(-most // PATIENCE) if queue else fewest
    if fewest < wanted < most:
        load = (float(wanted * capacity[0]) - clearing) / share
        return Bound(load, float(level_of(peak, np.array([load]))[0]), fewest, most)
    which = 0 if wanted <= fewest < most and not queue else 1
    return Bound(float(loads[which]), float(levels[which]), fewest, most)


@dataclass(frozen=True, slots=True)
class Push:
    """A guardrail that moved the number."""

    name: str
    was: int
    became: int


def pushes(kept: Recorded, at: int) -> list[Push]:
    """All guardrails that moved the number of one recorded decision, in their order."""
    after = kept.guarded[at].tolist()
    before = [int(kept.proposal[at]), *after[:-1]]
    return [Push(name, was, became) for name, was, became in zip(NAMES, before, after, strict=True) if was != became]


@dataclass(frozen=True, slots=True)
class Told:
    """What sentences need beside the record."""

    bound: Bound
    parts: FloatArray
    """In the order of `explanation.PARTS`, NaN where they are not known, (P,)."""
    doubt: str | None
    """Why the parts are not known, or not for certain."""
    event: str | None
    """Name of the known event."""
    queue: bool
    observed: bool
    """Whether the workload is only observed."""


def sentences(kept: Recorded, at: int, told: Told) -> list[str]:
    """What led to one recorded decision, in the order in which it was made."""
    said = [
        _forecast(kept, at, told),
        *_basis(kept, at, told),
        *_agent(kept, at),
        _mode(kept, at),
        _clamps(kept, at),
        _others(kept, at),
    ]
    return [*said, _sent(kept, at, told.observed)]


def _forecast(kept: Recorded, at: int, told: Told) -> str:
    bound, until = told.bound, clock(float(kept.t_s[at] + kept.h[at] * kept.step_s[at]))
    if np.isnan(bound.load):
        return "There is no forecast."
    wanted, capacity = int(kept.predictive[at]), float(kept.capacity[at])
    if bound.fewest < wanted < bound.most:
        return (
            f"The load until {until} is worth {bound.fewest:,} to {replicas(bound.most)}; {running(wanted)} and "
            f"{'stays' if wanted == 1 else 'stay'}, enough with {percent(bound.probability)} probability."
        )
    if told.queue:
        return (
            f"With {percent(bound.probability)} probability no more than {number(bound.load)} messages per second "
            f"arrive until {until}; for half of them and the backlog's {number(float(kept.clearing[at]))}, "
            f"at {number(capacity)} per replica, {replicas(bound.most)} "
            f"{'is' if bound.most == 1 else 'are'} worth keeping"
            f"{f', of which {wanted:,} will do: messages may wait.' if wanted < bound.most else '.'}"
        )
    if wanted == 0:
        return f"Until {until} no load comes, with {percent(bound.probability)} probability."
    return (
        f"Until {until} the load stays below {number(bound.load)} with {percent(bound.probability)} probability; "
        f"at {number(capacity)} per replica that asks for {replicas(wanted)}."
    )


def _basis(kept: Recorded, at: int, told: Told) -> list[str]:
    if kept.predictive[at] <= 0:
        return []
    if np.isnan(told.parts).any():
        return [f"What that rests on cannot be told: {told.doubt}."]
    parts = dict(zip(PARTS, told.parts.tolist(), strict=True))
    level, floor = parts.pop("level"), SHOWN * abs(told.bound.load)
    named = {name if name != "event" or told.event is None else f"event {told.event}": v for name, v in parts.items()}
    shown = [f"{name} {'+' if v > 0 else '−'}{number(abs(v))}" for name, v in named.items() if abs(v) > floor]
    beside = f": {', '.join(shown)}" if shown else ", and nothing else that counts"
    doubt = "" if told.doubt is None else f" ({told.doubt})"
    return [f"It rests on {number(level)}, the load of then{beside}{doubt}."]


def _agent(kept: Recorded, at: int) -> list[str]:
    """One line for the agent's move, none where it had no word."""
    if kept.learned[at] == UNKNOWN:
        return []
    move, wanted = MOVES[int(kept.move[at])].label, replicas(int(kept.learned[at]))
    return [f"The agent's move: {move}. It would keep {wanted}{'' if kept.acting[at] else '; it is in shadow'}."]


def _mode(kept: Recorded, at: int) -> str:
    mode, cause, proposal = Mode(int(kept.mode[at])), Cause(int(kept.cause[at])).label, int(kept.proposal[at])
    rule, silent = "the HPA rule's answer is served", int(kept.predictive[at]) == UNKNOWN
    if mode in {Mode.HOLDING, Mode.FAILED}:
        served = "what was decided last is held"
    elif kept.shadow[at]:
        served = f"{rule}, for it is in shadow"
    elif mode is Mode.NORMAL and not silent:
        served = "the agent's need is served" if kept.acting[at] else "the forecast is served"
    elif mode is Mode.RECOVERY and not silent:
        earned = percent(float(kept.earned[at])) if kept.earned[at] > 0 else "nothing yet"
        served = f"more than the HPA rule asks is served at once, and {earned} of what is less"
    else:
        served = rule
    fails = "; KEDA's own fallback acts" if mode is Mode.FAILED else ""
    return f"Mode {mode.label} ({cause}): {served}{fails}. That proposes {replicas(proposal)}."


def _clamps(kept: Recorded, at: int) -> str:
    moved = pushes(kept, at)
    if not moved:
        return "Nothing was clamped."
    steps = [
        f"{push.name} {'raised' if push.became > push.was else 'lowered'} it from {push.was:,} to {push.became:,}"
        for push in moved
    ]
    return f"Guardrails: {listed(steps)}."


def _others(kept: Recorded, at: int) -> str:
    alone, forecast = int(kept.reactive_alone[at]), int(kept.predictive[at])
    rule = f"The HPA rule alone would run {replicas(alone)}"
    return f"{rule}." if forecast == UNKNOWN else f"{rule}, the forecast alone {replicas(forecast)}."


def _sent(kept: Recorded, at: int, observed: bool) -> str:  # noqa: FBT001 - a fact of the workload
    now, shown = int(kept.replicas[at]), f"{float(kept.value[at]):g}"
    if observed:
        return f"Nothing was sent: the workload is only observed. It would have been {shown}."
    if not kept.active[at]:
        return f"Sent {shown}: there is no load and none is likely, so KEDA may scale to zero."
    if now == UNKNOWN:
        return f"Sent {shown}; what runs is not known, so the HPA's tolerance could not be allowed for."
    return f"Sent {shown}{_meant(kept, at)}."


def _meant(kept: Recorded, at: int) -> str:
    """What the HPA makes of the value, where it is known what runs."""
    final, now, reached = int(kept.predicted_replicas[at]), int(kept.replicas[at]), int(kept.reached[at])
    tolerance = percent(float(kept.tolerance[at] if final > now else kept.tolerance_down[at]))
    if reached not in {UNKNOWN, final}:
        goes = "stays at" if reached == now else "will go to"
        return f"; the HPA {goes} {replicas(reached)}, by its tolerance of {tolerance} or its bounds"
    if kept.value[at] != final:
        return f", which the HPA, with its tolerance of {tolerance}, turns into {replicas(final)}"
    return f": {running(now)} already" if final == now else f" (exact, outside the HPA's tolerance of {tolerance})"


def headline(identity: str, kept: Recorded, at: int) -> str:
    """Who, when and how many."""
    when = datetime.fromtimestamp(float(kept.t_s[at]), UTC)
    now = int(kept.replicas[at])
    runs = "what runs is not known" if now == UNKNOWN else running(now)
    return f"{identity}, {when:%Y-%m-%d %H:%M:%S} UTC: {replicas(int(kept.predicted_replicas[at]))}; {runs}."


def replicas(n: int) -> str:
    """A count of replicas in words."""
    return "no replicas" if n == 0 else f"{n:,} replica{'' if n == 1 else 's'}"


def running(n: int) -> str:
    """How many run, as a clause."""
    return "none runs" if n == 0 else f"{n:,} run{'s' if n == 1 else ''}"


def number(value: float) -> str:
    """A load for people: whole from a hundred on, else three digits."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def percent(share: float) -> str:
    """A share for people."""
    return f"{100.0 * share:.{3 if share < 0.999 else 4}g} %"


def listed(parts: list[str]) -> str:
    """Parts as one enumeration: a, b and c."""
    return " and ".join([*([", ".join(parts[:-1])] if len(parts) > 1 else []), parts[-1]])


def clock(at_s: float) -> str:
    """Time of day, UTC."""
    return f"{datetime.fromtimestamp(at_s, UTC):%H:%M} UTC"
