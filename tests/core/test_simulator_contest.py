"""Forecasts made in advance are those the service would make, and controllers are what they are called."""

import numpy as np
import pytest

from forecasting.forecast import FloatArray
from scaler.core.domain import Observations, Workload, columns_of, take
from scaler.core.learning import due_cutoff_s, learn
from scaler.core.signals import Samples
from scaler.core.simulator.cluster import Answer, Seen
from scaler.core.simulator.constants import ALL
from scaler.core.simulator.controllers import AtLeast, Reactive, WithNet, trigger_rules
from scaler.core.simulator.foresight import Past, foresee
from scaler.core.simulator.nature import covered_share, season_strength
from scaler.core.trust import TrustRules
from scaler.fleet import Fleet

STEP_S = 15.0
START_S = 1_700_006_400.0
WORKLOAD = Workload("shop", "web", "0000beef", threshold=7.0, capacity=10.0, lead_s=120.0)


def day_and_a_half() -> FloatArray:
    rng = np.random.default_rng(2)
    n = round(1.5 * 5760)
    load = 100.0 + 60.0 * np.sin(np.arange(n) / 5760 * 2 * np.pi) + 3.0 * rng.standard_normal(n)
    load[n - 700 : n - 690] = np.nan
    return load


def test_forecasts_made_in_advance_are_those_of_the_service() -> None:
    load = day_and_a_half()
    t_s = START_S + STEP_S * np.arange(1, len(load) + 1)
    judged = t_s[-800:]
    foreseen = foresee(Past.of(load, START_S, STEP_S), judged, columns_of([WORKLOAD]), WORKLOAD.fingerprint)

    for step in (-800, -695, -690, -413, -2):
        known = load[: len(load) + step + 1]
        now_s = float(t_s[step])
        fleet = Fleet(STEP_S, now_s, TrustRules(), n_rows=1)
        fleet.add(WORKLOAD)
        fleet.backfill(0, now_s, Samples(known, known), STEP_S)
        cutoff_s = due_cutoff_s(now_s, now_s - START_S, WORKLOAD.fingerprint, 60.0)
        assert foreseen.version[step] == int(cutoff_s)
        history, _ = fleet.lesson([0])
        fleet.adopt(0, learn(history, take(fleet.columns, slice(0, 1)), np.array([cutoff_s])), 0, cutoff_s)
        said = fleet.forecast(slice(0, 1), observed(now_s, float(foreseen.stale_s[step])))
        assert said.peak[0] == pytest.approx(foreseen.peak[step], rel=0.02)
        assert bool(foreseen.validated[step])


def observed(t_s: float, stale_s: float) -> Observations:
    one, count = np.array([np.nan]), np.array([-1])
    return Observations(t_s, STEP_S, one, one, np.array([stale_s]), one, count, count, np.full((1, 4), np.nan), count)


def seen(metric: float, ready: int = 10, cpu: float = 0.5) -> Seen:
    return Seen(
        step=0,
        t_s=15.0,
        metric=np.array([metric]),
        sample=np.array([metric]),
        arrivals=np.array([np.nan]),
        replicas=np.array([ready]),
        ready=np.array([ready]),
        feedback=np.array([[cpu, 0.5, 0.1, 0.0]]),
    )


def value(answer: Answer) -> float:
    return float(answer.value[0])


def test_the_larger_of_now_and_forecast_counts_and_a_failed_query_fails() -> None:
    larger = AtLeast(np.array([30.0]))
    assert value(larger.answer(seen(20.0))) == 30.0
    assert value(larger.answer(seen(40.0))) == 40.0
    assert np.isnan(value(larger.answer(seen(float("nan")))))
    assert value(AtLeast(np.array([np.nan])).answer(seen(20.0))) == 20.0


def test_a_net_asks_for_more_only_where_cpu_leaves_its_band() -> None:
    net = WithNet(Reactive(), 0.5, trigger_rules(np.array([2.0]), np.array([0.0]), (0.1, 1, 100)))
    assert value(net.answer(seen(20.0, cpu=0.54))) == 20.0
    assert value(net.answer(seen(20.0, cpu=0.8))) == 16 * 2.0
    assert value(net.answer(seen(50.0, cpu=0.8))) == 50.0


def test_every_constant_says_where_it_comes_from() -> None:
    assert len(ALL) >= 20
    for constant in ALL.values():
        assert constant.known in {"measured", "assumed"}
        assert constant.source
        assert constant.unit


def test_a_season_is_recognised() -> None:
    t = np.arange(4 * 5760)
    rng = np.random.default_rng(0)
    assert season_strength(100 + 50 * np.sin(t / 5760 * 2 * np.pi) + rng.standard_normal(len(t)), STEP_S) > 0.98
    assert abs(season_strength(100 + 50 * rng.standard_normal(len(t)), STEP_S)) < 0.2
    assert season_strength(np.full(len(t), 5.0), STEP_S) == 0.0


def test_covered_is_the_share_of_peaks_within_the_headroom() -> None:
    metric, peak = np.array([10.0, 10.0, np.nan, 10.0]), np.array([12.0, 30.0, 50.0, 18.0])
    assert covered_share(metric, peak, 2.0) == pytest.approx((12 + 18) / 60)
