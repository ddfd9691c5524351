"""What may happen to a workload, and what comes of it: `python -m benchmarks.scenarios [name …]` prints the table.

Each scenario runs B seeds at once through the very fleet that `pipe` and the service run, on simulated clusters, beside
the reactive rule alone (tolerance 0.1, a window of 300 s, the metric over a minute). The threshold is 0.7 of the true
capacity, which is stated; pods take two minutes. Sixteen days came before; the event begins two hours into the run.
"""

import copy
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from forecasting.forecast import BoolArray, FloatArray
from scaler.core.domain import Mode, Workload
from scaler.core.learning import learn, stacked
from scaler.core.signals import Samples
from scaler.core.simulator.cluster import Answer, Cluster, Seen, Setup, World
from scaler.core.simulator.controllers import shipped_rules, trigger_rules
from scaler.core.simulator.load import Load, trailing_mean
from scaler.core.simulator.pods import FixedStartUp
from scaler.core.trust import Cause, TrustRules
from scaler.fleet import Fleet
from scaler.sightings import Sightings

DAY_S, HOUR_S = 86_400.0, 3600.0
START_S = 1_789_516_800.0
"""2026-09-16, a Wednesday, 00:00 UTC."""
EVENT_S = 2 * HOUR_S
BEFORE_S = 16 * DAY_S
MEAN_LOAD, REPLICAS, MOST = 1000.0, 20.0, 200
THRESHOLD = MEAN_LOAD / REPLICAS
CAPACITY = THRESHOLD / 0.7
LEAD_S = 120.0
SUSPECTED = (Mode.DEGRADED, Mode.RETRAINING, Mode.HOLDING, Mode.FAILED)
GATE = 0.5
"""Points of short load that Foresail may leave beyond the reactive rule alone."""

Change = Callable[[FloatArray, FloatArray, np.random.Generator], FloatArray]
"""(load, seconds since the event, chance) → load, (T,) each."""


def as_it_is(load: FloatArray, since_s: FloatArray, rng: np.random.Generator) -> FloatArray:
    del since_s, rng
    return load


@dataclass(frozen=True, slots=True)
class Scenario:
    """What happens, and what is wanted."""

    name: str
    lasts_s: float
    """From the event to the end of the run."""
    truth: Change = as_it_is
    """What happens to the load itself."""
    seen: Change = as_it_is
    """What happens on its way to Foresail and the HPA."""
    detected_within_s: float | None = None
    """None: it need not be found."""
    alarms: bool = True
    """Whether it may be taken for a drift."""
    normal_within_s: float | None = None
    """After the event, or after its end where that is stated below."""
    over_s: float = 0.0
    """When the event itself is over."""
    gated: bool = True
    """Whether short load is bounded; else cost is."""


def after(part: Callable[[FloatArray, FloatArray], FloatArray], until_s: float = np.inf) -> Change:
    """A change that holds from the event until its end."""

    def change(load: FloatArray, since_s: FloatArray, rng: np.random.Generator) -> FloatArray:
        del rng
        return np.where((since_s > 0) & (since_s <= until_s), part(load, since_s), load)

    return change


def times(factor: float, until_s: float = np.inf) -> Change:
    return after(lambda load, _: load * factor, until_s)


def flat(load: FloatArray, since_s: FloatArray, rng: np.random.Generator) -> FloatArray:
    level = float(load[since_s <= 0][-40:].mean())
    return np.where(since_s > 0, level * np.exp(0.05 * rng.standard_normal(len(load))), load)


def missing(load: FloatArray, since_s: FloatArray, rng: np.random.Generator) -> FloatArray:
    return np.where((since_s > 0) & (rng.random(len(load)) < 0.1), np.nan, load)


def frozen(load: FloatArray, since_s: FloatArray, rng: np.random.Generator) -> FloatArray:
    del rng
    return np.where((since_s > 0) & (since_s <= 3 * HOUR_S), load[since_s <= 0][-1], load)


def holiday(load: FloatArray, since_s: FloatArray) -> FloatArray:
    """A day at three fifths of the load that comes and goes over three hours."""
    day = since_s / DAY_S
    return load * (1.0 - 0.4 * np.clip(np.minimum(day, 1.0 - day) * 8, 0.0, 1.0))


SCENARIOS = (
    Scenario("nothing happens", 2 * DAY_S, alarms=False),
    Scenario("level × 2", 2.2 * DAY_S, times(2.0), detected_within_s=900.0, normal_within_s=2 * DAY_S),
    Scenario("level ÷ 2", 2.2 * DAY_S, times(0.5), detected_within_s=900.0, normal_within_s=2 * DAY_S),
    Scenario("lost season", 3 * DAY_S, flat, detected_within_s=DAY_S),
    Scenario("unit × 1000", DAY_S, seen=times(1000.0), detected_within_s=900.0),
    Scenario("10 % missing", DAY_S, seen=missing, alarms=False),
    Scenario(
        "outage of 2 h",
        6 * HOUR_S,
        seen=after(lambda load, _: np.full_like(load, np.nan), 2 * HOUR_S),
        detected_within_s=300.0,
        alarms=False,
        normal_within_s=2 * HOUR_S,
        over_s=2 * HOUR_S,
    ),
    Scenario("frozen metric", 8 * HOUR_S, seen=frozen, detected_within_s=1800.0, alarms=False),
    Scenario(
        "slow drift",
        5 * DAY_S,
        after(lambda load, since_s: load * np.exp(0.04 * since_s / DAY_S)),
        detected_within_s=np.log(1.2) / 0.04 * DAY_S,
    ),
    Scenario(
        "spoofed spike",
        6 * HOUR_S,
        seen=times(20.0, 600.0),
        detected_within_s=900.0,
        normal_within_s=2 * HOUR_S,
        over_s=600.0,
        gated=False,
    ),
    Scenario("daylight saving", 2.5 * DAY_S, alarms=False),
    Scenario("holiday", 2.5 * DAY_S, after(holiday, DAY_S), alarms=False),
    Scenario("launch from zero", 1.5 * DAY_S),
)


def wave(t_s: FloatArray, seed: int, moved_s: FloatArray | float = 0.0) -> FloatArray:
    """Day, weekend and 5 % noise; each seed its own amplitude and hour. `moved_s` shifts the clock of people."""
    rng = np.random.default_rng(1000 + seed)
    amplitude, hour = rng.uniform(0.3, 0.6), rng.uniform(0.0, 24.0)
    local = (t_s - START_S + moved_s) / DAY_S + hour / 24.0
    since_saturday = (local + 4.0) % 7.0
    weekend = np.clip(np.minimum(since_saturday, 2.0 - since_saturday) * 8, 0.0, 1.0)
    shape = (1.0 - amplitude * np.cos(2 * np.pi * local)) * (1.0 - 0.3 * weekend)
    noise = np.random.default_rng([seed, int(t_s[0])]).standard_normal(len(t_s))
    return np.asarray(MEAN_LOAD * shape * np.maximum(1.0 + 0.05 * noise, 0.0))


@dataclass(frozen=True, slots=True)
class Lived:
    """What B seeds lived through, (T,) or (T, B)."""

    since_s: FloatArray
    load: FloatArray
    """What really arrived."""
    seen: FloatArray
    ready: FloatArray
    """(T, 2B): ours, then the reactive rule's."""
    replicas: FloatArray
    mode: "np.ndarray[tuple[int, ...], np.dtype[np.int8]]"
    cause: "np.ndarray[tuple[int, ...], np.dtype[np.int8]]"
    drift: FloatArray
    earned: FloatArray


class Ours:
    """The fleet's decisions for the first B clusters, the metric itself for the others."""

    def __init__(self, fleet: Fleet, n: int, lived: Lived) -> None:
        self._fleet, self._n, self._lived = fleet, n, lived

    def answer(self, seen: Seen) -> Answer:
        """Decide as the service would, and fit when a fit is due."""
        fleet, n, rows = self._fleet, self._n, slice(0, self._n)
        fleet.ring.advance(seen.t_s)
        sightings = Sightings.nothing(n)
        sightings.load[:], sightings.replicas[:] = seen.sample[:n], seen.replicas[:n]
        sightings.ready[:] = seen.ready[:n]
        observed = fleet.see(rows, sightings)
        fit_due(fleet, n, seen.t_s)
        made = fleet.decide(rows, observed)
        lived, step = self._lived, seen.step
        lived.mode[step], lived.cause[step] = made.mode, made.cause
        lived.drift[step], lived.earned[step] = made.drift, made.earned
        value = np.concatenate([np.where(made.mode == Mode.FAILED, np.nan, made.value), seen.metric[n:]])
        return Answer(value, np.concatenate([made.active, seen.metric[n:] > 0]))


def fit_due(fleet: Fleet, n: int, now_s: float) -> None:
    """Fit all rows whose fit is due, in one lesson."""
    due = {row: fleet.due_cutoff_s(row, now_s) for row in range(n)}
    due = {row: cutoff_s for row, cutoff_s in due.items() if np.isfinite(cutoff_s)}
    if not due:
        return
    history, columns = fleet.lesson(list(due))
    learnt = learn(history, columns, np.array(list(due.values())))
    for part, (row, cutoff_s) in enumerate(due.items()):
        fleet.adopt(row, learnt, part, cutoff_s)


def settled(n: int, step_s: float, *, dormant: bool = False) -> Fleet:
    """A fleet of n seeds at the start of the run, which knows sixteen days and has learnt from them."""
    fleet = Fleet(step_s, START_S - step_s, TrustRules(), n_rows=n)
    for seed in range(n):
        # All in the same phase: the fits of a run are one batch.
        named = Workload("shop", f"web-{seed}", "00000708", THRESHOLD, CAPACITY, lead_s=LEAD_S, step_s=step_s)
        row = fleet.add(replace(named, max_replicas=MOST))
        back: FloatArray = np.arange(round(BEFORE_S / step_s), 0, -1, dtype=np.float64)
        stamps_s: FloatArray = START_S - step_s * back
        load = np.zeros(len(stamps_s)) if dormant else wave(stamps_s, seed)
        k = round(max(60.0, step_s) / step_s)
        part = load[len(load) % k :].reshape(-1, k)
        fleet.backfill(row, START_S - step_s, Samples(part.mean(axis=1), part.max(axis=1)), k * step_s)
        fine = round(3 * HOUR_S / step_s)
        fleet.backfill(row, START_S - step_s, Samples(load[-fine:], load[-fine:]), step_s)
    fleet.columns.hpa_minimum[:], fleet.columns.hpa_maximum[:] = 1, MOST
    fleet.columns.minimum[:] = 1
    fit_due(fleet, n, START_S - step_s)
    return fleet


def lived_through(scenario: Scenario, fleet: Fleet, n: int) -> Lived:
    """Run a scenario on a copy of the settled fleet."""
    step_s = fleet.step_s
    n_steps = round((EVENT_S + scenario.lasts_s) / step_s)
    t_s: FloatArray = START_S + step_s * np.arange(n_steps, dtype=np.float64)
    since_s = t_s - START_S - EVENT_S
    load, seen = np.empty((2, n_steps, n))
    for seed in range(n):
        rng = np.random.default_rng([seed, 7])
        moved_s = np.where(since_s > 0, HOUR_S, 0.0) if scenario.name == "daylight saving" else 0.0
        plain = wave(t_s, seed, moved_s)
        if scenario.name == "launch from zero":
            plain = np.where(since_s > 0, plain, 0.0)
        load[:, seed] = scenario.truth(plain, since_s, rng)
        seen[:, seed] = scenario.seen(load[:, seed], since_s, rng)
    metric = np.stack([trailing_mean(seen[:, seed], round(max(60.0 / step_s, 1))) for seed in range(n)], axis=1)
    # A query over the last minute finds nothing where its newest sample is missing.
    metric = np.where(np.isnan(seen), np.nan, metric)
    twice = [np.tile(series, (1, 2)) for series in (load, metric, seen)]
    world = World(Load(t_s, *twice), step_s, FixedStartUp.of(np.full(2 * n, LEAD_S), step_s))
    limits = (0.1, 1, MOST)
    alone = trigger_rules(np.full(n, THRESHOLD), np.full(n, 300.0), limits)
    initial = np.maximum(np.ceil(load[:4].mean(axis=0) / THRESHOLD), 1).astype(np.int64)
    setup = Setup(np.full(2 * n, CAPACITY), np.tile(initial, 2), stacked([shipped_rules(n, limits), alone]))
    lived = Lived(
        since_s,
        load,
        seen,
        np.empty((n_steps, 2 * n)),
        np.empty((n_steps, 2 * n)),
        *np.zeros((2, n_steps, n), np.int8),
        *np.zeros((2, n_steps, n)),
    )
    cluster, ours = Cluster(world, setup), Ours(copy.deepcopy(fleet), n, lived)
    for step in range(n_steps):
        now = cluster.serve(step)
        lived.ready[step], lived.replicas[step] = cluster.pods.ready, cluster.pods.replicas
        cluster.scale(step, ours.answer(now))
    return lived


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a scenario, by seed, (B,)."""

    scenario: Scenario
    detected_s: FloatArray
    """Since the event; NaN where it was not found."""
    normal_s: FloatArray
    """When it was Normal again for good, since the event's end; NaN where it never was."""
    drifted: BoolArray
    """Whether it was taken for a drift after the event."""
    short_pct: FloatArray
    alone_pct: FloatArray
    cost: FloatArray
    """Replicas over those of the rule alone."""
    path: str
    """Modes of the first seed with the causes of their moves."""

    @property
    def worst(self) -> float:
        """Most points of short load beyond the reactive rule's."""
        return float((self.short_pct - self.alone_pct).max())


def judged(scenario: Scenario, lived: Lived) -> Verdict:
    """Read off what came of a run."""
    n, scored = lived.load.shape[1], lived.since_s > 0
    arrived = np.tile(lived.load[scored], (1, 2))
    missed = 100.0 * (arrived * (arrived > CAPACITY * lived.ready[scored] + 1e-9)).sum(axis=0) / arrived.sum(axis=0)
    billed = lived.replicas[scored].sum(axis=0)
    suspected = np.isin(lived.mode, SUSPECTED) & scored[:, None]
    drifted = (lived.drift >= 0.3) & scored[:, None]
    found = suspected | drifted
    detected = np.where(found.any(axis=0), lived.since_s[found.argmax(axis=0)], np.nan)
    # The last step that was not Normal; what follows is Normal for good.
    unsettled = (lived.mode != Mode.NORMAL)[::-1].argmax(axis=0)
    settled_at = np.where((lived.mode == Mode.NORMAL).all(axis=0), 0, len(lived.since_s) - unsettled)
    back = np.where(
        settled_at < len(lived.since_s), lived.since_s[np.minimum(settled_at, len(lived.since_s) - 1)], np.nan
    )
    return Verdict(
        scenario,
        detected,
        np.maximum(back - scenario.over_s, 0.0),
        drifted.any(axis=0),
        missed[:n],
        missed[n:],
        billed[:n] / billed[n:],
        path_of(lived, 0),
    )


def path_of(lived: Lived, seed: int) -> str:
    """Modes one after the other, with the time of each move since the event and its cause."""
    mode = lived.mode[:, seed]
    parts = [Mode(mode[0]).label]
    for step in np.flatnonzero(np.diff(mode)) + 1:
        minutes = lived.since_s[step] / 60.0
        when = f"{minutes:.0f} min" if abs(minutes) < 180 else f"{minutes / 60:.0f} h"
        parts.append(f"{Mode(mode[step]).label} ({Cause(lived.cause[step, seed]).name.lower()}, {when})")
    shown = parts if len(parts) <= 8 else [*parts[:6], "…", parts[-1]]
    return " → ".join(shown)


def verdicts(names: list[str], n: int, step_s: float) -> Iterator[Verdict]:
    """Run the named scenarios, or all."""
    fleets: dict[bool, Fleet] = {}
    for scenario in SCENARIOS:
        if names and scenario.name not in names:
            continue
        dormant = scenario.name == "launch from zero"
        if dormant not in fleets:
            fleets[dormant] = settled(n, step_s, dormant=dormant)
        yield judged(scenario, lived_through(scenario, fleets[dormant], n))


def spoken(seconds: float) -> str:
    if np.isnan(seconds):
        return "–"
    return f"{seconds / 60:.0f} min" if seconds < 3 * HOUR_S else f"{seconds / HOUR_S:.0f} h"


HEAD = (
    "| scenario | found | after (median, worst) | Normal again after | short %: ours, rule alone | worst seed | cost | "
    "modes of one seed |"
)


def line(verdict: Verdict) -> str:
    """A row of the table."""
    found, v = ~np.isnan(verdict.detected_s), verdict
    times_s = v.detected_s[found]
    when = f"{spoken(float(np.median(times_s)))}, {spoken(float(times_s.max()))}" if found.any() else "–"
    normal = "–" if np.isnan(v.normal_s).any() else spoken(float(v.normal_s.max()))
    return (
        f"| {v.scenario.name} | {found.sum()} of {len(found)} | {when} | {normal} | "
        f"{v.short_pct.mean():.2f}, {v.alone_pct.mean():.2f} | {v.worst:+.2f} | {v.cost.mean():.2f} | {v.path} |"
    )


def main(arguments: list[str]) -> None:
    step_s = 15.0
    n = 10
    names = []
    for argument in arguments:
        if argument.startswith("--seeds="):
            n = int(argument.partition("=")[2])
        elif argument.startswith("--step="):
            step_s = float(argument.partition("=")[2])
        else:
            names.append(argument)
    print(HEAD)
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for verdict in verdicts(names, n, step_s):
        print(line(verdict), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
