"""Pods, services and load: what must hold whatever a controller does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaler.core.simulator import service
from scaler.core.simulator.load import (
    Monitoring,
    Noise,
    arrivals,
    peak_ahead,
    same_time_before,
    seen_through,
    trailing_mean,
)
from scaler.core.simulator.pods import FixedStartUp, Pods, RandomStartUp, Spread


@pytest.mark.parametrize(
    ("servers", "offered", "waiting"),
    [
        (8, 3.87, 0.05),  # Dunlop, Girma and Irvine, Digital Mobile Communications and the TETRA System (1999), Table C
        (10, 4.08, 0.01),  # the same
        (14, 10.0, 0.174),  # the call-centre example: 200 calls of 3 minutes per hour, 14 agents
        (1, 0.7, 0.7),  # one server: its utilisation
        (2, 1.0, 1 / 3),  # closed forms
        (3, 2.0, 4 / 9),
    ],
)
def test_erlang_c_agrees_with_published_values(servers: int, offered: float, waiting: float) -> None:
    assert service.erlang_c(servers, np.array([offered]))[0] == pytest.approx(waiting, abs=6e-4)


@pytest.mark.parametrize("servers", [1, 4, 23, 80, 512])
def test_the_table_of_erlang_c_is_the_formula(servers: int) -> None:
    utilisation = np.array([0.1, 0.333, 0.72, 0.9, 0.97])
    exact = service.erlang_c(servers, servers * utilisation)
    read = service.waiting_probability(np.full(5, servers), utilisation)
    assert read == pytest.approx(exact, abs=2e-3)


def test_one_replica_at_its_capacity_just_meets_the_latency_target() -> None:
    target_s = service.latency_target_s()
    for load, meets in ((1.0, True), (1.02, False)):
        served = service.Requests().serve(np.array([load]), np.array([1]), np.array([1.0]), service.idle(1), 15.0)
        assert bool(served.latency_s[0] <= target_s + 1e-9) is meets


loads = st.lists(st.floats(0.0, 500.0), min_size=5, max_size=40)


@settings(max_examples=50, deadline=None)
@given(loads=loads, able=st.lists(st.floats(0.0, 300.0), min_size=5, max_size=40))
def test_requests_are_conserved(loads: list[float], able: list[float]) -> None:
    before, came, gone = service.idle(1), 0.0, 0.0
    for load, capacity in zip(loads, able, strict=False):
        after = service.Requests().serve(np.array([load]), np.array([3]), np.array([capacity]), before, 15.0)
        came += (load + float(before.retried[0])) * 15.0
        gone += float(after.done[0] + after.lost[0])
        before = after
    assert came == pytest.approx(gone + float(before.backlog[0]), rel=1e-9, abs=1e-6)


@settings(max_examples=50, deadline=None)
@given(loads=loads, able=st.floats(0.0, 300.0))
def test_messages_are_conserved_and_never_give_up(loads: list[float], able: float) -> None:
    before, done = service.idle(1), 0.0
    for load in loads:
        before = service.Messages().serve(np.array([load]), np.array([1]), np.array([able]), before, 15.0)
        done += float(before.done[0])
    assert 15.0 * sum(loads) == pytest.approx(done + float(before.backlog[0]), rel=1e-9, abs=1e-6)
    assert before.lost[0] == 0.0


def test_the_oldest_message_ages_no_faster_than_time_passes() -> None:
    state = service.idle(1)
    for _ in range(4):
        state = service.Messages().serve(np.array([100.0]), np.array([0]), np.array([0.0]), state, 15.0)
    assert state.latency_s[0] == 60.0


def ready_of(counts: list[int], start: int, lead_s: float) -> list[int]:
    pods = Pods(np.array([start]), FixedStartUp.of(np.array([lead_s]), 15.0), 0, 0)
    ready = []
    for step, wanted in enumerate(counts):
        pods.begin_step()
        ready.append(int(pods.ready[0]))
        pods.scale(np.array([wanted]), step)
    return ready


@settings(max_examples=100, deadline=None)
@given(counts=st.lists(st.integers(0, 30), min_size=1, max_size=60), start=st.integers(0, 30), steps=st.integers(0, 7))
def test_with_a_fixed_start_up_a_pod_serves_where_every_count_of_its_window_asked_for_it(
    counts: list[int], start: int, steps: int
) -> None:
    asked = [start] * (steps + 1) + counts
    expected = [min(asked[at : at + steps + 1]) for at in range(len(counts))]
    assert ready_of(counts, start, 15.0 * steps) == expected


@settings(max_examples=40, deadline=None)
@given(counts=st.lists(st.integers(0, 200), min_size=2, max_size=60), seed=st.integers(0, 5))
def test_no_pod_is_lost_with_random_start_up_warm_up_and_draining(counts: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    start_up = RandomStartUp.lognormal(60.0, Spread(), 15.0, len(counts), rng)
    pods = Pods(np.array([5, 9]), start_up, 3, 2)
    for step, wanted in enumerate(counts):
        pods.begin_step()
        assert (pods.ready >= 0).all()
        assert (pods.ready <= pods.replicas).all()
        assert (pods.billed >= pods.replicas).all()
        assert (pods.serving <= pods.ready).all()
        pods.scale(np.array([wanted, wanted // 2]), step)
    for _ in range(start_up.longest + 4):
        pods.begin_step()
    assert pods.ready.tolist() == [counts[-1], counts[-1] // 2]
    assert pods.billed.tolist() == pods.ready.tolist()
    assert pods.serving.tolist() == pods.ready.tolist()


def test_draining_pods_are_billed_and_do_not_serve() -> None:
    pods = Pods(np.array([10]), FixedStartUp.of(np.array([15.0]), 15.0), 0, 2)
    pods.begin_step()
    pods.scale(np.array([4]), 0)
    billed = []
    for _ in range(3):
        pods.begin_step()
        assert pods.ready[0] == 4
        billed.append(int(pods.billed[0]))
    assert billed == [10, 10, 4]


def test_a_wide_sample_is_interpolated_and_a_narrow_one_held() -> None:
    rng = np.random.default_rng(0)
    assert arrivals(np.array([4.0, 8.0]), 60.0, 15.0, Noise.NONE, rng).tolist() == [4.0] * 4 + [8.0] * 4
    wide = arrivals(np.array([0.0, 20.0]), 300.0, 15.0, Noise.NONE, rng)
    assert len(wide) == 40
    assert (np.diff(wide) >= 0).all()
    assert wide[9] == pytest.approx(0.0)
    assert wide[30] == pytest.approx(20.0)


def test_a_gap_stays_a_gap() -> None:
    for spacing_s in (60.0, 300.0):
        values = np.array([4.0, np.nan, 8.0])
        load = arrivals(values, spacing_s, 15.0, Noise.MULTIPLICATIVE, np.random.default_rng(0))
        k = round(spacing_s / 15.0)
        assert np.isnan(load).tolist() == [False] * k + [True] * k + [False] * k


def test_poisson_noise_keeps_counts() -> None:
    load = arrivals(np.full(4000, 6.0), 60.0, 15.0, Noise.POISSON, np.random.default_rng(1))
    counts = load / 4.0
    assert (counts == np.rint(counts)).all()
    assert counts.mean() == pytest.approx(1.5, rel=0.03)
    assert counts.var() == pytest.approx(1.5, rel=0.05)


def test_a_metric_is_the_mean_of_its_window_and_comes_late() -> None:
    value = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    load = seen_through(Monitoring(60.0, 30.0), value, np.arange(6.0), 15.0, np.random.default_rng(0))
    assert load.metric[2:].tolist() == [1.0, 1.5, 2.0, 2.5]
    assert np.isnan(load.metric[:2]).all()
    assert load.sample[2:].tolist() == value[:4].tolist()


def test_windows_ahead_and_behind() -> None:
    series = np.array([5.0, 1.0, 9.0, 2.0, np.nan, 4.0])
    assert peak_ahead(series, 2)[:5].tolist() == [9.0, 9.0, 2.0, 4.0, 4.0]
    assert np.isnan(peak_ahead(series, 2)[5])
    assert trailing_mean(series, 2)[1:].tolist() == [3.0, 5.0, 5.5, 2.0, 4.0]
    assert same_time_before(series, 2, 2)[2:].tolist() == [9.0, 9.0, 2.0, 4.0]
