"""Rules and measured cases of the HPA and of KEDA, by hand; [M] was seen on Kubernetes 1.36.2 with KEDA 2.20.1.

Every case runs through a whole simulated cluster whose controller says what is written here.
"""

from collections.abc import Sequence

import numpy as np
import pytest

from scaler.core.hpa import DEFAULT_DOWN, DEFAULT_UP, HpaRules, policy
from scaler.core.simulator.cluster import Answer, Cluster, Setup, World
from scaler.core.simulator.keda import KedaRules
from scaler.core.simulator.load import Load
from scaler.core.simulator.pods import FixedStartUp

NAN = float("nan")
FREE_DOWN = (0, 100.0, 15.0, 0.0)
WIDE_UP = (1000, 1000.0, 15.0, 0.0)


def rules(
    *,
    tolerance: float = 0.1,
    bounds: tuple[int, int] = (1, 100),
    up: tuple[int, float, float, float] = WIDE_UP,
    down: tuple[int, float, float, float] = FREE_DOWN,
    target: float = 1.0,
    behavior: bool = True,
) -> HpaRules:
    return HpaRules(
        target=np.array([target]),
        tolerance_up=np.array([tolerance]),
        tolerance_down=np.array([tolerance]),
        minimum=np.array([bounds[0]]),
        maximum=np.array([bounds[1]]),
        up=policy(*up),
        down=policy(*down),
        with_behavior=np.array([behavior]),
    )


def replicas(
    start: int,
    values: Sequence[float],
    hpa: HpaRules,
    keda: KedaRules | None = None,
    active: Sequence[bool] | None = None,
    lead_s: float = 0.0,
) -> list[int]:
    """Replica counts after each sync, the metric being `values`."""
    t_s = 15.0 * np.arange(1, len(values) + 1)
    nothing = np.zeros(len(values))
    world = World(Load(t_s, nothing, nothing, nothing), 15.0, FixedStartUp.of(np.array([lead_s]), 15.0))
    cluster = Cluster(world, Setup(np.ones(1), np.array([start]), hpa, keda))
    counts = []
    for step, value in enumerate(values):
        cluster.serve(step)
        is_active = True if active is None else active[step]
        cluster.scale(step, Answer(np.array([value]), np.array([is_active])))
        counts.append(int(cluster.pods.replicas[0]))
    return counts


def settled(start: int, values: Sequence[float], hpa: HpaRules) -> list[int]:
    """The same after a sync that asked for what there was."""
    return replicas(start, [start * float(hpa.target[0]), *values], hpa)[1:]


@pytest.mark.parametrize(
    ("start", "value", "after"),
    [
        (10, 9.0, 10),  # the lower edge of the band is inside
        (10, 11.0, 10),  # so is the upper one [M]
        (9, 10.0, 10),  # 10/9 is outside [M]
        (10, 12.0, 12),  # [M]
        (10, 8.9, 9),
        (20, 22.0, 20),  # [M]
        (20, 18.0, 20),  # [M]
        (20, 22.001, 23),  # the smallest count that can be reached from 20 is floor(1.1·20) + 1 [M]
        (10, 8.1, 9),  # N − 1 + 0.1 reaches one further down [M]
        (20, 17.1, 18),  # [M]
        (19, 17.1, 19),  # 0.9·19 = 17.1: from 19 on not even that
        (30, 33.0, 30),
        (1, 1.1, 1),
        (1, 1.2, 2),
    ],
)
def test_inside_its_tolerance_the_hpa_does_nothing(start: int, value: float, after: int) -> None:
    assert settled(start, [value], rules()) == [after]


@pytest.mark.parametrize(("start", "value"), [(10, 11.0), (20, 21.0), (20, 19.0), (40, 41.0), (40, 39.0)])  # all [M]
def test_with_tolerance_zero_every_count_is_reached(start: int, value: float) -> None:
    assert settled(start, [value], rules(tolerance=0.0)) == [int(value)]


def test_a_count_inside_the_band_is_never_reached_however_long_it_is_asked_for() -> None:
    assert set(replicas(20, [22.0] * 100, rules())) == {20}


def test_zero_gives_the_minimum_and_twice_the_maximum_the_maximum() -> None:
    assert settled(7, [0.0, 200.0], rules(bounds=(2, 100))) == [2, 100]


def test_values_count_in_thousandths() -> None:
    exact = rules(tolerance=0.0)
    assert settled(5, [2.0004, 2.0006], exact) == [2, 3]


def test_the_target_divides_the_value() -> None:
    assert settled(4, [100.0], rules(target=20.0)) == [5]
    assert settled(5, [109.0], rules(target=20.0)) == [5]  # 109 / (20·5) = 1.09 is inside the band


def test_the_default_behavior_doubles_or_adds_four_per_sync() -> None:
    counts = replicas(1, [40.0] * 6, rules(up=DEFAULT_UP))
    assert counts == [5, 10, 20, 40, 40, 40]


def test_without_a_behavior_growth_is_twice_the_count_or_to_four() -> None:
    counts = replicas(1, [40.0] * 6, rules(up=DEFAULT_UP, down=DEFAULT_DOWN, behavior=False))
    assert counts == [4, 8, 16, 32, 40, 40]


def test_a_percent_policy_counts_from_the_start_of_its_period() -> None:
    # At most 50 % in 60 s: 10 → 15, then nothing until the first change has left the period.
    counts = replicas(10, [100.0] * 6, rules(up=(0, 50.0, 60.0, 0.0)))
    assert counts[:4] == [15, 15, 15, 15]
    assert counts[4] == 23  # ceil(15 · 1.5)


def test_a_pods_policy_limits_the_way_down() -> None:
    counts = settled(20, [1.0] * 6, rules(down=(2, 0.0, 60.0, 0.0)))
    assert counts == [18, 18, 18, 18, 16, 16]


def test_a_scale_down_waits_until_the_whole_window_agrees() -> None:
    counts = replicas(10, [10.0] * 3 + [2.0] * 25, rules(down=DEFAULT_DOWN))
    # The last sync that asked for 10 is 300 s = 20 syncs old, and out of the window, at the 20th sync after it.
    assert counts[: 3 + 19] == [10] * 22
    assert counts[3 + 19 :] == [2] * 6


def test_a_window_of_a_minute_holds_three_syncs() -> None:
    counts = replicas(10, [10.0, 2.0, 2.0, 2.0, 2.0, 2.0], rules(down=(0, 100.0, 15.0, 60.0)))
    assert counts == [10, 10, 10, 10, 2, 2]


def test_a_scale_down_goes_no_lower_than_the_largest_recommendation_of_the_window() -> None:
    counts = replicas(10, [10.0, 6.0, 2.0, 2.0, 2.0, 2.0, 2.0], rules(down=(0, 100.0, 15.0, 60.0)))
    assert counts == [10, 10, 10, 10, 6, 2, 2]


def test_an_up_window_takes_the_smallest_recommendation() -> None:
    counts = replicas(10, [10.0, 20.0, 30.0, 30.0, 30.0], rules(up=(1000, 1000.0, 15.0, 30.0)))
    assert counts == [10, 10, 20, 30, 30]


def test_a_metric_that_cannot_be_read_changes_nothing() -> None:
    assert replicas(10, [NAN, NAN, 20.0], rules()) == [10, 10, 20]


def test_outside_of_its_bounds_a_count_is_put_right_without_asking_the_metric() -> None:
    assert replicas(30, [NAN], rules(bounds=(1, 12))) == [12]
    assert replicas(2, [NAN], rules(bounds=(5, 12))) == [5]


def test_the_ratio_counts_pods_that_do_not_serve_yet() -> None:
    # After the first sync 20 are asked for and 10 serve: 20/20 is inside the band, so nothing more is asked for.
    assert replicas(10, [20.0] * 4, rules(), lead_s=300.0) == [20] * 4


def test_at_zero_replicas_the_hpa_is_disabled() -> None:
    assert replicas(0, [50.0] * 3, rules()) == [0, 0, 0]


KEDA = KedaRules(minimum=np.array([0]))


def test_keda_wakes_a_workload_at_its_poll_and_the_hpa_goes_on() -> None:
    # Syncs at 15, 30, 45, 60 s; polls at 30 and 60 s.
    counts = replicas(0, [12.0] * 4, rules(), KEDA)
    assert counts == [0, 1, 12, 12]


def test_keda_wakes_to_the_minimum_in_one_step() -> None:
    counts = replicas(0, [12.0] * 2, rules(bounds=(8, 100)), KedaRules(minimum=np.array([8])))
    assert counts == [0, 8]


def test_keda_scales_to_zero_after_the_cool_down_only() -> None:
    n = 30
    counts = replicas(1, [0.0] * n, rules(), KEDA, active=[True, True] + [False] * (n - 2))
    # Last active at the poll at 30 s: the first poll later than 330 s is at 360 s, the 24th sync.
    assert counts[:23] == [1] * 23
    assert counts[23:] == [0] * 7


def test_keda_never_scales_a_minimum_of_one_to_zero() -> None:
    assert set(replicas(1, [0.0] * 60, rules(), KedaRules(np.array([1])), active=[False] * 60)) == {1}


def test_a_trigger_in_error_blocks_the_way_to_zero() -> None:
    assert set(replicas(1, [NAN] * 60, rules(), KEDA, active=[False] * 60)) == {1}


def test_without_a_behavior_old_recommendations_hold_even_on_the_way_up() -> None:
    # 14 → KEDA to 0 → awake again within five minutes, asking for 9: the window still knows the 14 [M].
    short = KedaRules(minimum=np.array([0]), cooldown_s=0.0)
    active = [True] * 4 + [False] * 4 + [True] * 8
    values = [14.0] * 4 + [14.0] * 4 + [9.0] * 8
    older = replicas(14, values, rules(up=DEFAULT_UP, down=DEFAULT_DOWN, behavior=False), short, active)
    newer = replicas(14, values, rules(up=DEFAULT_UP, down=FREE_DOWN), short, active)
    assert 0 in older
    assert older[-1] == 14
    assert newer[-1] == 9
