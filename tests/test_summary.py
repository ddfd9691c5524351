"""What a suite says of many histories together."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scaler.core.simulator.score import Tally
from scaler.suite import packed, unpacked
from scaler.summary import NO_INTERVAL, Answered, between, summary, tables_of

CONTROLLERS = ("hpa_hindsight", "foresail", "foresail_shipped", "clairvoyant")


def sums(n_blocks: int, cost: float, seed: int) -> Tally:
    """A frontier that passes 1 % short load at `cost`, with blocks that differ."""
    rng = np.random.default_rng(seed)
    load = np.repeat(100.0 * (1.0 + rng.random((n_blocks, 1))), 3, axis=1)
    short = load * np.array([0.008, 0.01, 0.0125]) * (0.8 + 0.4 * rng.random((n_blocks, 1)))
    nothing = np.zeros_like(load)
    return Tally(load, short, nothing, nothing, load * cost * np.array([1.1, 1.0, 0.9]), load, nothing, nothing, load)


def answered(name: str, saved: float | None, n_blocks: int = 20, lead_s: float = 60.0) -> Answered:
    costs = {"hpa_hindsight": 1.5, "foresail": None if saved is None else 1.5 * saved}
    rows: dict[str, Any] = {
        one: {
            **{f"iso_{target}pct": costs.get(one) for target in (1, 2, 5)},
            "short_at_equal_cost_pct": 0.5,
            "shown": {"short_pct": 0.7, "cost_ratio": 1.4},
        }
        for one in CONTROLLERS
    }
    verdict = {"pays": None, "saving_pct": None, "interval_pct": None}
    result = {"trace": name, "lead_s": lead_s, "controllers": rows, "verdict": verdict}
    seed = sum(name.encode())
    return Answered(result, {one: sums(n_blocks, costs.get(one) or 1.2, seed) for one in CONTROLLERS})


def row(*cases: Answered) -> dict[str, Any]:
    found: dict[str, Any] = summary(cases)["controllers"]["foresail"]["iso_1pct"]
    return found


def test_a_geometric_mean_comes_with_its_worst_case() -> None:
    found = row(answered("a", 0.8), answered("b", 1.2), answered("c", None))
    assert found["cases"] == 2
    assert (found["worst"], found["worst_ratio"]) == ("b-60s", 1.2)
    assert found["geometric_mean"] == pytest.approx(np.sqrt(0.8 * 1.2), abs=1e-4)


def test_an_interval_is_as_wide_as_histories_differ() -> None:
    alike = row(answered("a", 0.9), answered("b", 0.9), answered("c", 0.9))["interval"]
    assert alike == pytest.approx((0.9, 0.9), abs=0.001)  # paired blocks: what both share cancels
    low, high = row(answered("a", 0.8), answered("b", 1.2), answered("c", 0.95))["interval"]
    assert low == pytest.approx(0.8, abs=0.03)
    assert high == pytest.approx(1.2, abs=0.03)


def test_lead_times_of_one_history_are_drawn_together() -> None:
    apart = row(answered("a", 0.8), answered("b", 1.25))["interval"]
    together = row(answered("a", 0.8), answered("a", 1.25, lead_s=300.0))["interval"]
    assert apart[1] - apart[0] > 0.3
    assert together == pytest.approx((1.0, 1.0), abs=0.001)


def test_under_ten_blocks_there_is_no_interval_and_the_table_says_so() -> None:
    assert row(answered("a", 0.9, n_blocks=4), answered("b", 0.9, n_blocks=5))["interval"] is None
    assert row(answered("a", 0.9, n_blocks=5), answered("b", 0.9, n_blocks=5))["interval"] is not None
    assert row(answered("a", None))["interval"] is None
    few = [answered("a", 0.9, n_blocks=9)]
    means, each = tables_of(summary(few), few)
    assert set(means.columns[2].cells) == {NO_INTERVAL}
    assert list(each.columns[-1].cells) == [NO_INTERVAL]
    assert between((0.91, 1.0), 2) == "0.91 … 1.00"


def test_controllers_that_one_case_lacks_are_left_out() -> None:
    less = answered("b", 0.9)
    del less.result["controllers"]["clairvoyant"]
    assert "clairvoyant" not in summary([answered("a", 0.9), less])["controllers"]


def test_sums_survive_their_file(tmp_path: Path) -> None:
    kept = answered("a", 0.9).sums
    (tmp_path / "blocks.npz").write_bytes(packed(kept))
    found = unpacked(tmp_path / "blocks.npz")
    assert list(found) == list(kept)
    for name, one in kept.items():
        assert all(np.array_equal(getattr(found[name], key), getattr(one, key)) for key in Tally.__slots__)
