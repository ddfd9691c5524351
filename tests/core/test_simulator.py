"""Whole clusters: equal work, determinism, and the limit that no controller passes."""

import csv
import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecasting.forecast import FloatArray
from scaler.core.domain import Kind, Workload, columns_of
from scaler.core.learning import stacked
from scaler.core.simulator.cluster import Answer, Run, Seen, Setup, World, run, scatter
from scaler.core.simulator.controllers import Clairvoyant, LastValue, Reactive, Together, shipped_rules, trigger_rules
from scaler.core.simulator.load import Load, Monitoring, Noise, arrivals, peak_ahead, seen_through
from scaler.core.simulator.pods import FixedStartUp, RandomStartUp, Spread
from scaler.core.simulator.scene import Part, Question, Scene, known_hpa
from scaler.core.simulator.score import figures, tally
from scaler.core.simulator.service import Messages, Requests

STEP_S = 15.0


PLAINLY = Monitoring()


def seen(value: FloatArray, monitoring: Monitoring = PLAINLY) -> Load:
    t_s = STEP_S * np.arange(1, len(value) + 1)
    return seen_through(monitoring, value, t_s, STEP_S, np.random.default_rng(3))


def fleet(capacity: float, lead_s: float, n: int = 1, tolerance: float = 0.0):
    workload = Workload("", "", "0", threshold=0.7 * capacity, capacity=capacity, lead_s=lead_s, tolerance=tolerance)
    return known_hpa(columns_of([workload] * n))


def full_world(value: FloatArray, seed: int = 0) -> World:
    rng = np.random.default_rng(seed)
    n = len(value)
    return World(
        load=seen(value, Monitoring(lag_s=30.0, lost=0.02)),
        step_s=STEP_S,
        start_up=RandomStartUp.lognormal(120.0, Spread(), STEP_S, n, rng),
        drift=np.exp(0.05 * rng.standard_normal((n, 1))),
        scatter=scatter(n, rng),
        served_by=Requests(),
        warm_steps=4,
        drain_steps=2,
    )


def waves(n: int, seed: int = 0) -> FloatArray:
    rng = np.random.default_rng(seed)
    return np.maximum(100.0 + 60.0 * np.sin(np.arange(n) / 120.0) + 5.0 * rng.standard_normal(n), 0.0)


def hpa_setup(targets: list[float], capacity: float = 8.0) -> Setup:
    n = len(targets)
    return Setup(
        np.full(n, capacity), np.full(n, 15), trigger_rules(np.array(targets), np.full(n, 300.0), (0.1, 1, 1000))
    )


def same(a: Run, b: Run) -> bool:
    return all((getattr(a, name) == getattr(b, name)).all() for name in ("replicas", "ready", "billed"))


def test_the_same_trace_and_seed_give_the_same_run() -> None:
    value = waves(600)
    runs = [run(full_world(value), hpa_setup([4.0, 5.0]), Reactive()) for _ in range(2)]
    assert same(*runs)


def test_a_cluster_does_not_depend_on_its_neighbours() -> None:
    value = waves(600)
    together = run(full_world(value), hpa_setup([4.0, 5.0, 6.0]), Reactive())
    alone = run(full_world(value), hpa_setup([5.0]), Reactive())
    assert (together.replicas[:, 1] == alone.replicas[:, 0]).all()
    assert (together.ready[:, 1] == alone.ready[:, 0]).all()


class Watching:
    """Passes another controller's answers on and keeps what arrived."""

    def __init__(self, inner: Reactive | LastValue) -> None:
        self.inner = inner
        self.metrics: list[float] = []

    def answer(self, seen: Seen) -> Answer:
        self.metrics.append(float(seen.metric[0]))
        return self.inner.answer(seen)


def test_all_controllers_are_given_equal_work_under_one_seed() -> None:
    value = waves(400)
    watched = []
    for controller, target in ((Watching(Reactive()), 3.0), (Watching(LastValue()), 7.0)):
        world = full_world(value, seed=5)
        run(world, hpa_setup([target]), controller)
        watched.append((controller.metrics, world.start_up.placed(np.array([7]), 33).tolist(), world.drift))
    (first, first_pods, first_drift), (second, second_pods, second_drift) = watched
    assert np.array_equal(first, second, equal_nan=True)
    assert first_pods == second_pods
    assert np.array_equal(first_drift, second_drift)


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(st.floats(0.0, 300.0), min_size=30, max_size=120),
    lead_steps=st.integers(1, 8),
    shares=st.lists(st.floats(0.05, 1.0), min_size=3, max_size=3),
)
def test_the_clairvoyant_is_never_short_and_nobody_who_is_never_short_is_cheaper(
    values: list[float], lead_steps: int, shares: list[float]
) -> None:
    value, capacity, lead_s = np.array(values), 10.0, STEP_S * lead_steps
    limits = (0.0, 1, 100_000)
    knows = Clairvoyant(peak_ahead(value, lead_steps + 1), np.ones(1), fleet(capacity, lead_s))
    hpas = trigger_rules(capacity * np.array(shares), np.array([0.0, 60.0, 300.0]), limits)
    most = int(np.ceil(value.max() / capacity)) or 1
    rules = stacked([shipped_rules(1, limits), hpas, shipped_rules(1, limits)])
    always = Constant(most)
    controller = Together([(knows, 1), (Reactive(), 3), (always, 1)])
    load = seen(value)
    world = World(load, STEP_S, FixedStartUp.of(np.full(5, lead_s), STEP_S))
    record = run(world, Setup(np.full(5, capacity), np.full(5, most), rules), controller)
    # What is asked for before the first step is not the controllers' doing: judge what they can influence.
    scored = np.arange(len(value)) >= lead_steps + 1
    found = figures(tally(record, value, np.full(5, capacity), scored, 20, STEP_S), STEP_S)
    assert found.short_pct[0] == 0.0
    safe = found.short_pct == 0.0
    assert (found.replica_hours[safe] >= found.replica_hours[0]).all()


class Constant:
    """Always the same count."""

    def __init__(self, n: int) -> None:
        self.n = n

    def answer(self, seen: Seen) -> Answer:
        return Answer(np.full(len(seen.replicas), float(self.n)), np.ones(len(seen.replicas), np.bool_))


def test_a_lead_window_without_its_last_sample_leaves_the_clairvoyant_short() -> None:
    value = np.where(np.arange(400) % 50 < 5, 200.0, 20.0)
    short = []
    for h in (20, 21):
        knows = Clairvoyant(peak_ahead(value, h), np.ones(1), fleet(10.0, 300.0))
        world = World(seen(value), STEP_S, FixedStartUp.of(np.array([300.0]), STEP_S))
        record = run(world, Setup(np.array([10.0]), np.array([20]), shipped_rules(1, (0.0, 1, 1000))), knows)
        found = figures(tally(record, value, np.array([10.0]), np.arange(400) >= 60, 100, STEP_S), STEP_S)
        short.append(float(found.short_pct[0]))
    assert short[0] > 5.0
    assert short[1] == 0.0


def test_a_queue_is_judged_by_its_oldest_message() -> None:
    arriving = np.concatenate([np.full(40, 20.0), np.full(20, 200.0), np.full(140, 20.0)])
    world = World(
        seen(arriving),
        STEP_S,
        FixedStartUp.of(np.array([60.0]), STEP_S),
        served_by=Messages(),
        queue=True,
        latency_target_s=60.0,
    )
    rules = trigger_rules(np.array([600.0]), np.array([60.0]), (0.1, 3, 100))
    record = run(world, Setup(np.array([10.0]), np.array([3]), rules), Reactive())
    assert record.late is not None
    assert not record.late[:40].any()
    assert record.late[45:60].any()
    assert not record.late[-20:].any()
    assert record.replicas[50:80].max() > 3


def test_a_queue_workload_can_be_asked_about() -> None:
    values = 20.0 + 15.0 * np.sin(np.arange(2 * 1440) / 230.0)
    workload = Workload(
        "", "mail", "0", threshold=600.0, capacity=2.0, kind=Kind.QUEUE, lead_s=60.0, latency_target_s=60.0
    )
    scene = Scene.of(Question("mail", 0.0, values, 60.0, workload, noise=Noise.NONE))
    world = scene.world(Part(0, 0, 500), latency=True)
    assert world.queue
    assert isinstance(world.served_by, Messages)


def traces() -> Path:
    folder = Path(os.environ.get("FORESAIL_TRACES", Path(__file__).parents[3] / "shared" / "traces"))
    if not folder.is_dir():
        pytest.skip(f"no traces in {folder}: set FORESAIL_TRACES")
    return folder


@pytest.mark.parametrize(
    ("noise", "hpa_short", "hpa_cost", "limit_cost"),
    [(Noise.MULTIPLICATIVE, (7.1, 1.0), 1.90, 1.45), (Noise.POISSON, (12.0, 1.0), 1.98, 1.80)],
)
def test_it_agrees_with_an_independent_simulator(
    noise: Noise, hpa_short: tuple[float, float], hpa_cost: float, limit_cost: float
) -> None:
    with (traces() / "nasa_http.csv").open(encoding="utf-8") as file:
        rows = list(csv.reader(file))[1 : 1 + 10 * 1440]
    recorded = np.array([float(value) if value else math.nan for _, value in rows])
    capacity, n = float(np.nanmean(recorded)) / (0.7 * 20.0), 4 * len(recorded)
    load = seen(arrivals(recorded, 60.0, STEP_S, noise, np.random.default_rng(0)))
    first, scored_from = int(0.6 * n) - 240, 240
    part = slice(first, n)
    load = Load(load.t_s[part], load.value[part], load.metric[part], load.sample[part])
    knows = Clairvoyant(peak_ahead(load.value, 21), np.ones(1), fleet(capacity, 300.0))
    rules = stacked(
        [
            trigger_rules(np.array([0.7 * capacity]), np.array([300.0]), (0.1, 1, 100_000)),
            shipped_rules(1, (0.0, 1, 100_000)),
        ]
    )
    world = World(load, STEP_S, FixedStartUp.of(np.full(2, 300.0), STEP_S))
    setup = Setup(np.full(2, capacity), np.array([20, 30]), rules)
    record = run(world, setup, Together([(Reactive(), 1), (knows, 1)]))
    scored = np.arange(len(load.value)) >= scored_from
    found = figures(tally(record, load.value, setup.capacity, scored, 1440, STEP_S), STEP_S)
    assert found.short_pct[0] == pytest.approx(hpa_short[0], abs=hpa_short[1])
    assert found.cost_ratio[0] == pytest.approx(hpa_cost, abs=0.05)
    assert found.short_pct[1] == 0.0
    assert found.cost_ratio[1] == pytest.approx(limit_cost, abs=0.05)
