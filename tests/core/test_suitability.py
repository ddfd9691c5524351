"""What a query should not be: several series, a counter, a share, or something that the replica count drives."""

import numpy as np
import pytest

from scaler.core.signals import Signal
from scaler.core.suitability import Problem, elasticity, feedback_problems, problems
from tests.service import declared

STEP_S = 15.0
N = 4 * 86_400 // 15
STAMPS_S = STEP_S * np.arange(N)
NOBODY = np.full(N, np.nan)


def total(seed: int = 0, noise: float = 0.05) -> np.ndarray:
    """A day's shape and noise."""
    shape = 600 + 400 * np.sin(2 * np.pi * STAMPS_S / 86_400.0)
    return shape * np.exp(noise * np.random.default_rng(seed).standard_normal(N))


def reactively(load: np.ndarray, threshold: float = 50.0) -> np.ndarray:
    """Replicas of a rule on the load of 30 s ago: up at once, down after five minutes, 10 % tolerance."""
    replicas, need = np.empty(N), np.ceil(load / threshold)
    n = need[0]
    for t in range(N):
        wanted = max(need[max(t - 22, 0) : max(t - 1, 1)].max(), 1.0)
        if abs(wanted / n - 1) > 0.1:
            n = wanted
        replicas[t] = n
    return replicas


def found(series: np.ndarray, replicas: np.ndarray = NOBODY, query: str = "sum(rate(x[1m]))") -> list[Problem]:
    return problems(declared("web"), query, np.atleast_2d(series), replicas, STEP_S)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("noise", [0.02, 0.05, 0.15])
def test_a_total_under_a_reactive_rule_is_suitable(seed, noise):
    load = total(seed, noise)
    assert found(load, reactively(load)) == []


@pytest.mark.parametrize("seed", range(6))
def test_a_value_per_replica_is_found_by_its_steps(seed):
    load = total(seed)
    replicas = reactively(load)
    assert found(load / replicas, replicas) == [Problem.FALLS_WITH_REPLICAS]
    assert elasticity(load / replicas, replicas, STEP_S).value == pytest.approx(-1, abs=0.25)


@pytest.mark.parametrize("seed", range(6))
def test_a_value_that_each_replica_adds_to_is_found(seed):
    replicas = reactively(total(seed))
    noise = np.exp(0.05 * np.random.default_rng(seed + 10).standard_normal(N))
    assert found(7 * replicas * noise, replicas) == [Problem.GROWS_WITH_REPLICAS]


def test_few_scale_events_or_unknown_replicas_say_nothing():
    load = total()
    assert found(load) == []
    assert found(load / 10, np.full(N, 10.0)) == []
    assert elasticity(load, NOBODY, STEP_S).n_events == 0


@pytest.mark.parametrize(
    ("series", "query", "problem"),
    [
        (np.empty((0, 100)), "x", Problem.NONE),
        (np.full((1, 100), np.nan), "x", Problem.NONE),
        (np.ones((3, 100)) * 9, "x", Problem.SEVERAL),
        (np.cumsum(np.full(100, 7.0)), "sum(x)", Problem.COUNTER),
        (9 + np.sin(np.arange(100)), "avg(rate(x[1m]))", Problem.NO_TOTAL),
        (9 + np.sin(np.arange(100)), " histogram_quantile(0.9, x)", Problem.NO_TOTAL),
        (0.5 + 0.4 * np.sin(np.arange(100)), "sum(x) / count(x)", Problem.SHARE),
        (np.where(np.arange(100) % 4 == 0, np.nan, 9 + np.sin(np.arange(100))), "sum(x)", Problem.SPARSE),
    ],
)
def test_each_problem_is_named(series, query, problem):
    series = np.atleast_2d(series)
    assert problems(declared("web"), query, series, np.full(series.shape[1], np.nan), STEP_S) == [problem]


def test_each_problem_says_what_to_do():
    assert all(len(problem.value) > 20 for problem in Problem)


@pytest.mark.parametrize(
    ("signal", "series", "found"),
    [
        (Signal.CPU, [[0.2, 0.7, 1.2]], []),
        (Signal.CPU, [[20.0, 70.0, np.nan]], [Problem.NO_SHARE]),
        (Signal.MEMORY, [[2e9, 3e9, 4e9]], [Problem.NO_SHARE]),
        (Signal.LATENCY, [[0.2, 0.3, 90.0]], []),
        (Signal.LATENCY, [[200.0, 300.0, 250.0]], [Problem.NO_SECONDS]),
        (Signal.QUEUE, [[200.0, 300.0, 250.0]], []),
        (Signal.CPU, [[0.2, 0.3], [0.2, 0.3]], [Problem.SEVERAL_FEEDBACK]),
        (Signal.CPU, [[np.nan, np.nan]], [Problem.NONE]),
    ],
)
def test_feedback_has_a_unit(signal: Signal, series: list[list[float]], found: list[Problem]) -> None:
    assert feedback_problems(signal, np.array(series)) == found
