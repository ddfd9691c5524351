"""Series from recorded decisions: what they mean, on small records with known answers."""

import numpy as np
import pytest

from scaler.core.domain import UNKNOWN, Mode
from scaler.core.guardrails import NAMES
from scaler.families import FAMILIES, LEVEL_NAMES, curves_of
from scaler.record import LAYOUT, Recorded, columns_of
from tests.fakes import WEDNESDAY_S

STEP_S, H = 15.0, 4


def records(n: int, load: object = 100.0, **columns: object) -> Recorded:
    """n decisions of a workload whose forecast of the peak is 90, 100, 110, 120 and 130 at the five levels."""
    rows = np.zeros(n, LAYOUT)
    rows["t"], rows["step"], rows["h"] = WEDNESDAY_S + STEP_S * np.arange(n), STEP_S, H
    rows["load"], rows["arrivals"], rows["capacity"] = load, np.nan, 30.0
    rows["peak"] = rows["path"] = [90.0, 100.0, 110.0, 120.0, 130.0]
    for name, values in columns.items():
        rows[name] = values
    return columns_of(rows)


def values(name: str, made: Recorded) -> dict[str, list[float]]:
    found = curves_of(name, {"namespace": "shop", "workload": "web"}, made, set(FAMILIES[name].members))
    return {member: curve.values.tolist() for member, curve in found.items()}


def test_a_forecast_stands_at_the_end_of_its_lead_window() -> None:
    curve = curves_of("foresail_forecast_load", {}, records(3), {"0.97"})["0.97"]
    assert curve.stamps_s.tolist() == [WEDNESDAY_S + 60.0, WEDNESDAY_S + 75.0, WEDNESDAY_S + 90.0]
    assert curve.values.tolist() == pytest.approx([110.0] * 3)


def test_required_is_what_the_load_that_came_needed() -> None:
    found = values("foresail_replicas", records(3, [100.0, 0.0, np.nan], replicas=[7, UNKNOWN, 5], ready=7))
    assert found["required"][:2] == [4.0, 1.0]
    assert np.isnan(found["required"][2])
    assert found["observed"][0] == 7.0
    assert np.isnan(found["observed"][1])
    queue = values("foresail_replicas", records(1, 5000.0, arrivals=70.0))
    assert queue["required"] == [3.0], "of a queue its arrivals count"


def test_one_mode_is_one_and_the_others_are_none() -> None:
    found = values("foresail_mode", records(2, mode=[Mode.NORMAL, Mode.HOLDING]))
    assert found["Normal"] == [1.0, 0.0]
    assert found["Holding"] == [0.0, 1.0]
    assert sum(series[0] for series in found.values()) == 1.0


def test_a_guardrail_shows_what_it_added_or_took() -> None:
    after = {f"after_{name}": 8 for name in NAMES}
    after[f"after_{NAMES[0]}"] = 12
    found = values("foresail_guardrail_replicas", records(1, proposal=10, **after))
    assert found[NAMES[0]] == [2.0]
    assert found[NAMES[1]] == [-4.0]
    assert all(found[name] == [0.0] for name in NAMES[2:])


def test_coverage_counts_windows_whose_peak_stayed_below() -> None:
    load = np.full(600, 95.0)
    load[100::50] = 115.0  # 10 spikes, each in four windows
    found = values("foresail_coverage", records(600, load))
    whole = 600 - H
    assert np.isnan(found["0.5"][230]), "an hour of windows has to be known first"
    assert found["0.5"][-1] == 0.0
    assert found["0.9"][-1] == found["0.97"][-1] == pytest.approx(1.0 - 40.0 / whole)
    assert found["0.99"][-1] == 1.0


def test_windows_with_a_gap_are_not_counted() -> None:
    load = np.full(600, 95.0)
    load[300] = np.nan
    assert values("foresail_coverage", records(600, load))["0.9"][-1] == 1.0
    assert np.isnan(values("foresail_coverage", records(600, np.full(600, np.nan)))["0.9"][-1])


def test_nothing_recorded_is_nothing_said() -> None:
    none = columns_of(np.zeros(0, LAYOUT))
    for name, family in FAMILIES.items():
        assert set(curves_of(name, {}, none, set(family.members))) == set(family.members)
    assert set(values("foresail_coverage", none)) == set(LEVEL_NAMES)
