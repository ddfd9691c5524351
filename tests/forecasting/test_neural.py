"""The network as NumPy serves it."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from forecasting import neural
from forecasting.errors import NotEnoughHistory, SpoiltNetwork
from forecasting.forecast import LEVELS
from forecasting.neural import HEADS, INPUTS, Network, Small
from forecasting.ratios import ALONG, NAMED, view
from forecasting.series import Rows
from tests.fakes import DAY_S, WEDNESDAY_S, history_of, seasonal_load


def arrays(seed: int = 0) -> tuple[tuple[Small, ...], tuple[Small, ...]]:
    rng = np.random.default_rng(seed)
    sizes = (INPUTS, 24, 24, HEADS * len(LEVELS))
    weights = tuple((rng.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32) for shape in pairwise(sizes))
    return weights, tuple(rng.standard_normal(n).astype(np.float32) for n in sizes[1:])


def network() -> Network:
    return Network(*arrays(), version="0")


def test_quantiles_never_cross():
    given = np.random.default_rng(1).standard_normal((500, INPUTS)).astype(np.float32)
    said = neural.said(network(), 20 * given)
    assert said.shape == (500, HEADS, len(LEVELS))
    assert (np.diff(said, axis=2) >= 0).all()


@pytest.mark.parametrize("seed", range(5))
def test_a_row_gets_the_same_bits_whatever_stands_beside_it(seed):
    rng = np.random.default_rng(seed)
    given = rng.standard_normal((1000, INPUTS)).astype(np.float32)
    whole = neural.said(network(), given)
    order = rng.permutation(1000)
    assert neural.said(network(), given[order]).tobytes() == whole[order].tobytes()
    first = int(rng.integers(900))
    for n in (1, 7, 63, 64, 65):
        assert neural.said(network(), given[first : first + n]).tobytes() == whole[first : first + n].tobytes()


def test_no_rows_get_no_forecasts():
    assert neural.said(network(), np.zeros((0, INPUTS), np.float32)).shape == (0, HEADS, len(LEVELS))


def test_written_arrays_are_read_as_they_were(tmp_path):
    weights, biases = arrays()
    neural.write(tmp_path / "network.npz", weights, biases)
    found = neural.read(tmp_path / "network.npz")
    assert all(a.tobytes() == b.tobytes() for a, b in zip(found.weights, weights, strict=True))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(found.biases, biases, strict=True))
    assert neural.digest(weights, biases).startswith(found.version)


def spoilt(path: Path, how: str) -> None:
    weights, biases = arrays()
    if how == "missing":
        return
    if how == "no arrays":
        path.write_bytes(b"PK not an npz")
        return
    if how == "other inputs":
        neural.write(path, (weights[0][:-1], *weights[1:]), biases)
        return
    neural.write(path, weights, biases)
    with np.load(path) as file:
        changed = dict(file)
    changed["bias0"] = changed["bias0"] + np.float32(1e-7)
    np.savez(path, **changed)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", "no network can be read"),
        ("no arrays", "no network can be read"),
        ("other inputs", f"{INPUTS} are given"),
        ("changed", "were written"),
    ],
)
def test_a_network_that_is_not_what_was_trained_is_refused(tmp_path, how, message):
    spoilt(tmp_path / "network.npz", how)
    with pytest.raises(SpoiltNetwork, match=message):
        neural.read(tmp_path / "network.npz")


def test_an_hour_of_load_is_enough_and_less_is_not():
    neural.fit(history_of(seasonal_load(), 3600.0), 20, averaged=False)
    with pytest.raises(NotEnoughHistory, match="59 buckets"):
        neural.fit(history_of(seasonal_load(), 3540.0), 20, averaged=False)


def test_what_is_not_known_is_zero_and_changes_nothing_else():
    """Of a history of three hours no earlier day is known, and every input is a number all the same."""
    rows, epsilon, given = None, np.ones(1), []
    for span_s in (3 * 3600.0, 8 * DAY_S):
        history = history_of(seasonal_load(), span_s)
        rows = Rows.live(history, np.array([20]))
        given.append(neural.inputs(view(history, rows, epsilon), history, rows, epsilon)[0])
    young, old = given
    assert np.isfinite(young).all()
    differing = young != old
    # Six ratios, the curve and two masks of each day, and what is over all days; the block before is the base.
    assert differing.sum() == (6 + ALONG - 1 + 2) * len(NAMED) + 6 + 1
    assert not young[differing].any()


def test_what_never_moved_is_expected_to_stay_until_it_moves():
    level = 70.0
    still = history_of(lambda t_s: np.full(len(t_s), level), 3 * 3600.0)
    params = neural.fit(still, 20, averaged=False)
    rows = Rows.live(still, np.array([20]))
    assert neural.predict(params, still, rows).peak[0] == pytest.approx(level, rel=0.01)
    moving = history_of(lambda t_s: np.where(t_s > still.end_s - 300, 2 * level, level), 3 * 3600.0)
    assert neural.predict(params, moving, rows).peak[0, -1] > 2 * level


def test_what_a_workload_never_showed_is_looked_at_as_the_most_that_it_did():
    rng = np.random.default_rng(2)
    given = rng.standard_normal((400, INPUTS)).astype(np.float32)
    bounds = neural.usual(given)
    low, high = bounds
    assert (np.isinf(low) == np.isinf(high)).all()
    assert np.isinf(high).sum() == INPUTS - neural.BOUNDED, "what is known of every moment is not bounded"
    assert (low < given.min(axis=0)).all()
    assert (given.max(axis=0) < high).all()
    odd = given[:64].copy()
    odd[:, : neural.BOUNDED] *= 1e6
    held = np.where(odd > 0, high, low)
    held[:, neural.BOUNDED :] = odd[:, neural.BOUNDED :]
    assert neural.logs(odd, bounds).tobytes() == neural.said(neural.shipped(), held).tobytes()
    assert neural.logs(given, bounds).tobytes() == neural.said(neural.shipped(), given).tobytes()


def test_where_nothing_is_known_to_be_usual_nothing_is_bounded():
    assert np.isinf(neural.usual(np.zeros((0, INPUTS), np.float32))).all()


def test_yesterdays_zeros_say_nothing_to_a_workload_that_was_born_today():
    """A workload of six hours is forecast the same whether the days before it are zeros or unknown."""
    born_s = WEDNESDAY_S - 6 * 3600.0
    load = seasonal_load()
    young = history_of(lambda t_s: np.where(t_s > born_s, load(t_s), np.nan), 8 * DAY_S)
    after_zeros = history_of(lambda t_s: np.where(t_s > born_s, load(t_s), 0.0), 8 * DAY_S)
    params = neural.fit(young, 20, averaged=False)
    rows = Rows.live(young, np.array([20]))
    said, beside = (neural.predict(params, history, rows).peak for history in (young, after_zeros))
    assert beside == pytest.approx(said, rel=1e-6)
