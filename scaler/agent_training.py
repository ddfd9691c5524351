"""From histories to an agent and its card, or to an honest refusal.

    histories with forecasts → training worlds → one run per seed → validation: the seed that is cheapest on average
    → gate: where it is surely cheaper than forecast-only → test: what every seed costs → card

Interrupted, a run goes on from the newest checkpoint of each seed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from forecasting.series import DAY_S
from rl_agent.agent import Agent
from rl_agent.environment import FloatArray
from scaler.core.learned import CONDITIONS, MOVES, OBSERVATION
from scaler.core.simulator.constants import SYNC_S
from scaler.core.simulator.draws import LEARNT_S, LOOKS_BACK, SPARE, Foretold, Histories, Ranges
from scaler.core.simulator.imagined import imagined
from scaler.core.simulator.score import LEAST_BLOCKS
from scaler.core.simulator.trial import (
    CALIBRATED,
    KNOWING,
    MARGIN,
    MARGIN_PRICE,
    RULE,
    Entrant,
    Found,
    agent_pilot,
    cost_of,
    forecast_only,
    knowing,
    learning,
    oldest,
    ours,
    ratio_of,
    reactive,
    setting_at,
    trial,
    usual_rule,
    with_margin,
)
from scaler.core.simulator.world import ClusterWorld
from scaler.errors import HistoryError

TRAINING, VALIDATION, TEST = (0.0, 0.45), (0.45, 0.6), (0.6, 1.0)
"""Shares of each history."""
IMAGINED = 14
"""Generated histories beside the recorded ones, of five days each."""
IMAGINED_DAYS = 5.0
SHORT_PCT: Mapping[str, float] = {"rate": 1.0, "queue": 5.0}
"""Short share at which costs are compared, by family: where one message in twenty is late, the 95 % age is the wanted
one."""
AGES = (0.5, 0.75, 0.9, 1.0, 1.25)
"""95 % ages, in wanted ages, at which costs of queues are shown."""
SHORT_PCTS = (0.5, 1.0, 2.0, 5.0)
WORST = 1.05
"""On no history may the agent be dearer than this."""
QUEUE_PRICE, QUEUE_PATIENCE = (20.0, 20.0), (0.7, 4.0)
"""Price of a late message, and wanted ages in lead times, where a queue's agent is trained: its knob is the wanted age.
At this price one message in twenty may be worth leaving late."""
SAMPLES = 400
"""Of the bootstrap."""
WORLDS_OF: Mapping[str, Mapping[str, float]] = {
    "blind": {"known": 1.0, "cpu": 0.0, "faults": 0.0},
    "cpu": {"known": 0.0, "cpu": 1.0, "latency": 0.0, "faults": 0.0},
    "cpu and latency": {"known": 0.0, "cpu": 1.0, "latency": 1.0, "faults": 0.0},
    "faulty forecasts": {"known": 1.0, "cpu": 1.0, "latency": 1.0, "faults": 1.0},
}
"""What is drawn where an agent is judged. Without feedback nothing is known of a wrong capacity, by anybody: there it
is true, and the agent must not do worse for it. Faulty forecasts are looked at, not passed."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is trained and tried."""

    family: str = "rate"
    seeds: int = 5
    episodes: int = 40
    worlds: int = 256
    """At once, in training."""
    episode_steps: int = 2880
    """Syncs of an episode in training: half a day."""
    trial_steps: int = 2880
    """Syncs of a trial's episode: half a day."""
    settling: int = 240
    """Minutes of it before anybody is judged: what is learnt from feedback needs a few hours to be learnt."""
    variants: int = 6
    """Worlds per history in a trial: with three of them intervals were twenty per cent wide."""
    trial_seed: int = 1


def usable(told: Sequence[Foretold], plan: Plan) -> tuple[list[Foretold], list[str]]:
    """Those of which every share holds an episode and some load, and why each of the others is left out.

    Raises:
        HistoryError: there is none.
    """
    shares = TRAINING, VALIDATION, TEST
    least = max(plan.trial_steps, plan.episode_steps) + LOOKS_BACK + SPARE
    shortest = min(last - first for first, last in shares)
    days = (least / shortest * SYNC_S.value + LEARNT_S) / DAY_S
    kept, why = [], []
    for one in told:
        if shortest * len(one.value) <= least:
            why.append(f"{one.name}: {days:.1f} days of load are needed")
        elif not all(np.nansum(one.part(*share).value) > 0 for share in shares):
            why.append(f"{one.name}: no load at all in the part it learns from, is validated on or tested on")
        else:
            kept.append(one)
    if not kept:
        raise HistoryError(f"no history can be trained on: {'; '.join(why)}")
    return kept, why


def school(told: Sequence[Foretold], plan: Plan) -> ClusterWorld:
    """The worlds to train in: recorded and generated."""
    rng = np.random.default_rng(77)
    queue = plan.family == "queue"
    made = [imagined(f"imagined {i + 1}", IMAGINED_DAYS, rng, queue=queue) for i in range(IMAGINED)]
    ranges = Ranges(steps=plan.episode_steps)
    if queue:
        ranges = replace(ranges, price=QUEUE_PRICE, patience=QUEUE_PATIENCE)
    return ClusterWorld(Histories.of([*(one.part(*TRAINING) for one in told), *made]), ranges, plan.worlds)


def tried(
    told: Sequence[Foretold], share: tuple[float, float], agents: Mapping[str, Agent], plan: Plan
) -> Iterator[tuple[str, list[Found]]]:
    """What everybody did, condition by condition; the agents come last, in their order."""
    histories = Histories.of([one.part(*share) for one in told])
    for condition, given in WORLDS_OF.items():
        ranges = replace(Ranges(steps=plan.trial_steps), **given)  # type: ignore[arg-type] # all are shares
        world = ClusterWorld(histories, ranges, 1)
        hidden = given["known"] == 0.0
        queue = plan.family == "queue"
        known = [with_margin(), *([] if queue else [learning()]), knowing(queue=queue)]
        entrants = [forecast_only(queue=queue), *(known if hidden else [])]
        entrants += [usual_rule(), *([reactive()] if queue else [])]
        entrants += [_entrant(name, agent, world, queue=queue) for name, agent in agents.items()]
        yield condition, trial(world, entrants, plan.variants, plan.settling, np.random.default_rng(plan.trial_seed))


def _entrant(name: str, agent: Agent, world: ClusterWorld, *, queue: bool) -> Entrant:
    return ours(name, queue=queue, factor=np.nan, pilot=agent_pilot(world, agent.act))


def figures_of(found: Sequence[Found], names: Sequence[str], plan: Plan) -> dict[str, Any]:
    """What a card says of one condition; the agent is the last of those found.

    It is judged against the cheapest way to use forecasts without it, and in queues the rule that it replaces.
    """
    agent, rivals = found[-1], found[:-1]
    short_pct, queue = SHORT_PCT[plan.family], plan.family == "queue"
    everyone = np.ones(agent.cost.shape[1])
    cost = {one.name: [_shown(cost_of(one, everyone, pct)) for pct in SHORT_PCTS] for one in found}
    against = {one.name: _compared(agent, one, short_pct) for one in rivals if one.name not in {KNOWING, RULE}}
    known = {
        one.name: cost_of(one, everyone, short_pct) for one in rivals if one.name.startswith(("forecast", CALIBRATED))
    }
    best = min(known, key=lambda name: np.nan_to_num(known[name], nan=np.inf))
    rival = next(one for one in rivals if one.name == best)
    own, theirs = (setting_at(one, everyone, short_pct) for one in (agent, rival))
    return {
        "cost_at_short_pct": dict(zip(("short_pct", *cost), (list(SHORT_PCTS), *cost.values()), strict=True)),
        **({"cost_at_age": {"age": list(AGES), **{one.name: _by_age(one) for one in found}}} if queue else {}),
        "against": against,
        "rival": best,
        **against[best],
        "by_history": _by_history((agent, own), (rival, theirs), names, plan.variants),
        "usual_price": {one.name: _usual(one) for one in found if one.name != MARGIN},
        "events_per_hour": {"agent": _shown(agent.events[own].mean()), best: _shown(rival.events[theirs].mean())},
        "worlds": agent.cost.shape[1],
    }


def _usual(found: Found) -> dict[str, float | None]:
    """Short share, cost and changes per hour at the price that 1 % short load usually comes to, told no other age."""
    at = int(np.argmin(np.abs(np.log(found.price / MARGIN_PRICE)) + np.abs(np.log(found.aim))))
    return {
        "short_pct": _shown(100.0 * float(found.short[at].mean())),
        "cost": _shown(float(found.cost[at].mean())),
        "events_per_hour": _shown(float(found.events[at].mean())),
    }


def _by_age(found: Found) -> list[float | None]:
    """Least cost at which the 95 % age is at most each of AGES."""
    age, cost = oldest(found), found.cost.mean(axis=1)
    return [_shown(float(cost[age <= most].min(initial=np.inf))) for most in AGES]


def _compared(agent: Found, other: Found, short_pct: float) -> dict[str, Any]:
    ratio = ratio_of(agent, other, short_pct, SAMPLES, np.random.default_rng(0))
    return {"ratio": _shown(ratio.mean), "ratio_95": [_shown(ratio.low), _shown(ratio.high)]}


def _by_history(
    agent: tuple[Found, int], rival: tuple[Found, int], names: Sequence[str], variants: int
) -> dict[str, dict[str, float | None]]:
    """Cost and short share of both on each history, at the settings that leave as much short over all of them."""
    table = {}
    for index, name in enumerate(names):
        rows = slice(index * variants, (index + 1) * variants)
        costs = [float(one.cost[at, rows].mean()) for one, at in (agent, rival)]
        shorts = [100.0 * float(one.short[at, rows].mean()) for one, at in (agent, rival)]
        table[name] = {
            "cost": _shown(costs[0]),
            "short_pct": _shown(shorts[0]),
            "rival_cost": _shown(costs[1]),
            "rival_short_pct": _shown(shorts[1]),
            "ratio": _shown(costs[0] / costs[1]),
        }
    return table


def _shown(value: float) -> float | None:
    return None if not np.isfinite(value) else round(float(value), 4)


def passes(figures: Mapping[str, Any]) -> bool:
    """Whether an agent may be used: surely cheaper at the same short share, and nowhere dearer by more than WORST."""
    high = figures["ratio_95"][1]
    enough = figures["worlds"] >= LEAST_BLOCKS
    worst = max(one["ratio"] for one in figures["by_history"].values())
    return bool(enough and high is not None and high < 1.0 and worst <= WORST)


def mean_ratio(figures: Mapping[str, Mapping[str, Any]]) -> float:
    """Geometric mean of the ratios where an agent may pass, inf where one is undefined: by this a seed is chosen."""
    ratios = [figures[condition]["ratio"] for condition in CONDITIONS]
    return float("inf") if None in ratios else float(np.exp(np.log(ratios).mean()))


def judged(
    told: Sequence[Foretold], share: tuple[float, float], agents: Mapping[str, Agent], plan: Plan
) -> dict[str, dict[str, Any]]:
    """Figures of each agent by condition."""
    names = [one.name for one in told]
    table: dict[str, dict[str, Any]] = {name: {} for name in agents}
    for condition, found in tried(told, share, agents, plan):
        rivals = found[: -len(agents)]
        for name, own in zip(agents, found[-len(agents) :], strict=True):
            table[name][condition] = figures_of([*rivals, own], names, plan)
    return table


def card_of(
    told: Sequence[Foretold], plan: Plan, chosen: str, table: Mapping[str, Mapping[str, Any]], test: Mapping[str, Any]
) -> dict[str, Any]:
    """The card: validation decides who is chosen and where it passes, the test part is shown; both by seed."""
    validation = table[chosen]
    passed = [[plan.family, condition] for condition in CONDITIONS if passes(validation[condition])]
    return {
        "family": plan.family,
        "observation": list(OBSERVATION),
        "moves": [move.label for move in MOVES],
        "passed": passed,
        "refused": [[plan.family, one] for one in CONDITIONS if [plan.family, one] not in passed],
        "histories": [{"name": one.name, "lead_s": one.lead_s} for one in told],
        "worlds": asdict(Ranges()),
        "plan": asdict(plan),
        "seed": chosen,
        "seeds": {name: {"validation": _spread(table[name]), "test": _spread(test[name])} for name in table},
        "validation": validation,
        "test": test[chosen],
    }


def _spread(figures: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {
        condition: {
            "ratio": one["ratio"],
            "ratio_95": one["ratio_95"],
            "events_per_hour": list(one["events_per_hour"].values()),
        }
        for condition, one in figures.items()
    }


def kept_checkpoint(path: Path) -> Mapping[str, FloatArray] | None:
    """The newest checkpoint of a run, None before the first.

    Raises:
        HistoryError: the file cannot be read.
    """
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError) as error:
        raise HistoryError(f"{path}: cannot be read; remove it to begin this seed again: {error}") from error
