"""Lead times are learnt from pods: P95 within 15 %, versions and nodes apart, failures counted."""

import numpy as np
import pytest

from forecasting.forecast import FloatArray
from scaler.core.start_up import (
    KEPT,
    Start,
    StartUps,
    in_force,
    lead_time,
    with_failure,
    with_start,
    with_starts,
)


def lognormal(rng: np.random.Generator, n: int, median_s: float = 40.0, sigma: float = 0.3) -> FloatArray:
    return median_s * np.exp(sigma * rng.standard_normal(n))


def starts(values: FloatArray, version: str = "a", begin_s: float = 1000.0, node_s: float = 1.0) -> list[Start]:
    return [Start(version, begin_s + 10.0 * i, node_s, float(value)) for i, value in enumerate(values)]


def p95(known: StartUps) -> float:
    found = lead_time(known)
    assert found is not None
    return found.p95_s


def share_within_15_percent(slow_share: float, slow_factor: float, sigma: float) -> float:
    rng, hits, runs = np.random.default_rng(1), 0, 300

    def drawn(n: int) -> FloatArray:
        return lognormal(rng, n, sigma=sigma) * np.where(rng.random(n) < slow_share, slow_factor, 1.0)

    true = float(np.quantile(drawn(200_000), 0.95))
    for _ in range(runs):
        known = with_starts(StartUps(), starts(drawn(30)))
        hits += abs(p95(known) / true - 1.0) <= 0.15
    return hits / runs


@pytest.mark.parametrize(
    ("slow_share", "slow_factor", "sigma", "wanted"),
    [(0.0, 1.0, 0.2, 0.95), (0.0, 1.0, 0.3, 0.85), (0.2, 2.0, 0.2, 0.6)],
)
def test_p95_is_within_15_percent_after_30_pods(
    slow_share: float, slow_factor: float, sigma: float, wanted: float
) -> None:
    assert share_within_15_percent(slow_share, slow_factor, sigma) >= wanted


def test_a_new_image_starts_with_the_old_ones_times_and_forgets_them() -> None:
    rng = np.random.default_rng(2)
    old = with_starts(StartUps(), starts(lognormal(rng, 30)))
    first = with_start(old, Start("b", 5000.0, 1.0, 80.0))
    said = lead_time(first)
    assert said is not None
    assert said.pods == 1
    assert 40.0 < said.p50_s < 60.0
    later = with_starts(first, starts(lognormal(rng, 30, median_s=80.0), "b", 6000.0))
    assert p95(later) == pytest.approx(80.0 * np.exp(1.645 * 0.3), rel=0.15)
    assert later.version == "b"


def test_too_few_pods_say_nothing() -> None:
    assert lead_time(with_starts(StartUps(), starts(np.full(4, 30.0)))) is None
    assert lead_time(with_starts(StartUps(), starts(np.full(5, 30.0)))) is not None


def test_a_wait_for_a_node_is_kept_apart_until_it_is_common() -> None:
    known = with_starts(StartUps(), starts(np.full(18, 30.0)))
    rare = with_starts(known, starts(np.full(2, 30.0), begin_s=9000.0, node_s=150.0))
    said = lead_time(rare)
    assert said is not None
    assert (said.node_p50_s, said.node_share) == (150.0, 0.1)
    assert said.lead_s == pytest.approx(30.0)
    common = lead_time(with_starts(rare, starts(np.full(8, 30.0), begin_s=20_000.0, node_s=150.0)))
    assert common is not None
    assert common.lead_s == pytest.approx(180.0)


def test_a_pod_that_never_was_ready_is_counted_and_not_averaged() -> None:
    known = with_starts(StartUps(), starts(np.full(10, 30.0)))
    failed = with_failure(with_failure(known, "a"), "b")
    said = lead_time(failed)
    assert said is not None
    assert said.never == 1
    assert said.p95_s == pytest.approx(30.0)


def test_pods_that_were_seen_before_count_once_and_those_of_one_second_all() -> None:
    seen = [Start("a", 1000.0, 1.0, 30.0), Start("a", 1000.0, 1.0, 40.0), Start("a", 1001.0, 1.0, 35.0)]
    known = with_starts(StartUps(), seen)
    assert sorted(known.start_s) == [30.0, 35.0, 40.0]
    assert with_starts(known, seen) == known


def test_the_last_pods_of_an_old_version_change_nothing_and_a_way_back_does() -> None:
    known = with_starts(StartUps(), starts(np.full(10, 30.0)))
    known = with_starts(known, starts(np.full(10, 60.0), "b", 5000.0))
    strays = with_starts(known, starts(np.full(3, 30.0), "a", 6000.0))
    assert (strays.version, len(strays.start_s)) == ("b", 10)
    assert with_starts(strays, starts(np.full(1, 30.0), "a", 7000.0)).version == "a"


def test_a_recovery_after_hours_is_no_start_up() -> None:
    assert with_start(StartUps(), Start("a", 1000.0, 1.0, 7200.0)) == StartUps()


def test_no_more_is_kept_than_needed() -> None:
    assert len(with_starts(StartUps(), starts(np.full(100, 30.0))).start_s) == KEPT


def test_the_lead_in_force_moves_by_more_than_a_tenth_or_not_at_all() -> None:
    assert in_force(120.0, 118.0) == 120.0
    assert in_force(120.0, 91.0) == 95.0
    assert in_force(95.0, 99.0) == 95.0
