"""The comparison is fair: nobody sees what comes after an origin, and the wrapper covers what it says."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import arena, baselines
from benchmarks.arena import Case
from benchmarks.forecasters import CONTENDERS
from forecasting.forecast import LEVELS
from forecasting.series import DAY_S
from scaler.core.simulator.foresight import Past
from tests.fakes import WEDNESDAY_S, seasonal_load


def written(folder: Path, days: float) -> Path:
    t_s = WEDNESDAY_S - 60.0 * np.arange(round(days * 1440), 0, -1)
    lines = [f"{t:.0f},{value:.3f}" for t, value in zip(t_s, seasonal_load()(t_s + 60.0), strict=True)]
    path = folder / "shop.csv"
    path.write_text("\n".join(["timestamp,value", *lines]) + "\n")
    return path


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return arena.case(written(tmp_path_factory.mktemp("traces"), 9.0), 300.0)


def spoilt(case: Case, after_s: float) -> Case:
    """The same case with other loads after `after_s`, and no fit after it."""
    stamp_s = case.past.start_s + case.past.step_s * np.arange(1, case.past.fine.shape[1] + 1)
    past = Past.of(np.where(stamp_s > after_s, 7.0 * case.past.fine[0], case.past.fine[0]), case.past.start_s, 15.0)
    return replace(case, past=past, whole=past.until(case.whole.end_s, whole=True))


@pytest.mark.parametrize("name", CONTENDERS)
def test_no_contender_sees_what_comes_after_an_origin(case: Case, name: str) -> None:
    last = len(case.origin_s) // 3
    early = replace(case, origin_s=case.origin_s[: last + 1], cutoff_s=case.cutoff_s[:1])
    honest = CONTENDERS[name](early).peak
    blind = CONTENDERS[name](spoilt(early, float(early.origin_s[last]))).peak
    assert honest == pytest.approx(blind, rel=1e-9)


def test_the_wrapper_makes_a_forecast_of_half_the_load_cover(case: Case) -> None:
    served = arena.wrapped(case, 0.5 * baselines.last_value(case).peak)
    chosen = case.judged & ~np.isnan(case.actual)
    covered = (case.actual[chosen, None] <= served[chosen]).mean(axis=0)
    assert covered == pytest.approx(LEVELS, abs=0.04)


def test_the_wrapper_knows_no_window_that_was_not_over(case: Case) -> None:
    said = baselines.last_value(case).peak
    after_s = float(case.origin_s[case.judged][200])
    asked = case.origin_s <= after_s
    assert arena.wrapped(case, said)[asked] == pytest.approx(arena.wrapped(spoilt(case, after_s), said)[asked])


def test_the_judged_part_is_the_last_two_fifths_and_begins_with_a_full_wrapper(case: Case) -> None:
    begin_s = case.origin_s[case.judged][0]
    assert (case.whole.end_s - begin_s) / (9 * DAY_S) == pytest.approx(0.4, abs=0.01)
    assert begin_s - case.origin_s[0] == pytest.approx(2 * DAY_S, abs=3600.0)
    assert case.cutoff_s[0] <= case.origin_s[0]
