"""What the network is trained on."""

import numpy as np
import pytest

from forecasting.corpus import CorpusConfig, Examples, Recorded, drawn
from forecasting.neural import HEADS, INPUTS

FEW = CorpusConfig(rows=40)


def loads() -> list[Recorded]:
    rng = np.random.default_rng(3)
    minutes = 50 + 20 * np.sin(np.arange(8 * 1440) / 229.2) + rng.standard_normal(8 * 1440)
    minutes[2000:2300] = np.nan
    tens = 30 + 5 * np.sin(np.arange(14 * 144) / 22.9)
    return [Recorded("minutes", minutes, 60.0), Recorded("tens", tens, 600.0)]


def rows_of(recorded: list[Recorded], seed: int = 0, histories: int = 12) -> Examples:
    return drawn(recorded, histories, np.random.default_rng(seed), FEW)


@pytest.mark.parametrize("recorded", [[], loads()], ids=["generated", "recorded"])
def test_rows_are_finite_and_a_function_of_their_seed(recorded):
    rows = rows_of(recorded)
    n = len(rows.weight)
    assert 500 < n <= 12 * FEW.cutoffs * FEW.rows
    assert rows.inputs.shape == (n, INPUTS)
    assert rows.target.shape == (n, HEADS)
    assert np.isfinite(rows.inputs).all()
    assert np.isfinite(rows.target).all()
    assert ((rows.weight >= 0.1) & (rows.weight <= 3.0)).all()
    assert rows.inputs.tobytes() == rows_of(recorded).inputs.tobytes()
    assert rows.inputs.tobytes() != rows_of(recorded, seed=1).inputs[:n].tobytes()


def test_the_peak_is_at_least_the_mean_of_its_window():
    rows = rows_of(loads())
    assert (rows.target[:, 0] >= rows.target[:, 1] - 1e-6).all()


def test_no_unit_is_left_in_the_inputs():
    times = 2.0**30
    scaled = [Recorded(one.name, one.values * times, one.spacing_s) for one in loads()]
    only = CorpusConfig(rows=40, recorded=1.0, mixed=0.0)
    plain, big = (drawn(one, 6, np.random.default_rng(4), only) for one in (loads(), scaled))
    assert big.inputs == pytest.approx(plain.inputs, abs=1e-5)


def test_a_part_of_a_load_is_cut_by_shares():
    one = Recorded("ten", np.arange(10.0), 60.0)
    assert one.share(0.0, 0.8).values.tolist() == list(range(8))
    assert one.share(0.8, 1.0).values.tolist() == [8.0, 9.0]
