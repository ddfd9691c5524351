"""Waves, echoes and paths; and who may import what estimates them."""

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from forecasting import harmonic
from forecasting.errors import NotEnoughHistory
from forecasting.forecast import FloatArray
from forecasting.series import Rows
from tests.fakes import DAY_S, WEDNESDAY_S, history_of, seasonal_load

HEAVY = "{'statsmodels', 'pandas', 'scipy', 'torch'}"


def python(*arguments: str) -> str:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", *arguments]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=100, check=True)
    return done.stdout.strip()


def live(history, h=21):
    return Rows.live(history, np.array([h]))


def noisy(size: float, seed: int = 3):
    def load(t_s: FloatArray) -> FloatArray:
        wave = 1.0 + 0.5 * np.sin(2 * np.pi * t_s / DAY_S)
        return np.asarray(100.0 * wave * np.exp(size * np.random.default_rng(seed).standard_normal(len(t_s))))

    return load


def test_whatever_serves_imports_nothing_that_only_a_fit_needs():
    found = python(
        "import sys\n"
        "import forecasting.harmonic, forecasting.neural, rl_agent.agent\n"
        "import scaler.cli, scaler.command_backtest, scaler.pipe, scaler.service\n"
        f"print('forecasting.harmonic' in sys.modules, 'scaler.service' in sys.modules, {HEAVY} & set(sys.modules))"
    )
    assert found == "True True set()"


def test_a_stored_fit_forecasts_the_same_in_a_process_without_statsmodels(tmp_path):
    history = history_of(seasonal_load(), 3 * DAY_S)
    params = harmonic.fit(history, 21, averaged=False)
    np.savez(tmp_path / "fit.npz", **{field.name: getattr(params, field.name) for field in fields(params)})
    found = python(
        "import sys\n"
        "import numpy as np\n"
        "from forecasting import harmonic\n"
        "from forecasting.series import Rows\n"
        "from tests.fakes import DAY_S, history_of, seasonal_load\n"
        "stored = harmonic.HarmonicParams(**np.load(sys.argv[1]))\n"
        "history = history_of(seasonal_load(), 3 * DAY_S)\n"
        "said = harmonic.predict(stored, history, Rows.live(history, np.array([21])))\n"
        f"print(said.peak.tobytes().hex(), {HEAVY} & set(sys.modules))",
        str(tmp_path / "fit.npz"),
    )
    assert found == f"{harmonic.predict(params, history, live(history)).peak.tobytes().hex()} set()"


def test_the_median_path_follows_the_waves():
    history = history_of(noisy(0.01), 4 * DAY_S)
    params = harmonic.fit(history, 4, averaged=False)
    for hour in (3, 9, 15, 21):
        origin_s = np.array([WEDNESDAY_S - DAY_S + 3600.0 * hour])
        said = harmonic.predict(params, history, Rows(np.zeros(1, np.int64), origin_s, np.array([4]), origin_s))
        expected = 100.0 * (1.0 + 0.5 * np.sin(2 * np.pi * (origin_s[0] + 60.0) / DAY_S))
        assert said.path[0, 0] == pytest.approx(expected, rel=0.02)


def test_a_wave_that_was_not_seen_twice_says_nothing():
    params = harmonic.fit(history_of(seasonal_load(), 30 * 3600.0), 8, averaged=False)
    slow = harmonic.PER_WEEK <= 7
    assert not params.sine[0, slow].any()
    assert not params.cosine[0, slow].any()
    assert params.sine[0, ~slow].all()


def test_a_wave_too_fast_for_the_samples_says_nothing():
    history = history_of(seasonal_load(), 8 * DAY_S, 300.0)
    params = harmonic.fit(history, 2, averaged=False)
    fast = harmonic.PER_WEEK >= 7 * DAY_S / 600.0
    assert fast.any()
    assert not params.sine[0, fast].any()


def test_errors_that_are_a_random_walk_are_carried_forward():
    def walk(t_s: FloatArray) -> FloatArray:
        steps = np.random.default_rng(1).standard_normal(len(t_s) // 4 + 1)
        return np.repeat(np.exp(5.0 + 0.01 * np.cumsum(steps)), 4)[: len(t_s)]

    history = history_of(walk, 4 * DAY_S)
    params = harmonic.fit(history, 8, averaged=False)
    assert params.echo.sum() == pytest.approx(1.0, abs=0.02)
    back = np.arange(0, 2880, 60)
    origin_s = WEDNESDAY_S - 60.0 * back
    rows = Rows(np.zeros(len(back), np.int64), origin_s, np.full(len(back), 8), origin_s)
    drift = np.log(harmonic.predict(params, history, rows).path[:, 0] / history.mean[0, -1 - back])
    assert np.abs(drift).mean() < 0.015


def test_no_path_explodes():
    history = history_of(lambda t_s: np.exp((t_s - WEDNESDAY_S) / 3600.0) * noisy(0.3)(t_s), 2 * DAY_S)
    params = harmonic.fit(history, 8, averaged=False)
    roots = np.abs(np.roots(np.concatenate([[1.0], -params.echo[0]])))
    assert roots.max() < 1.0
    said = harmonic.predict(params, history, live(history, 1440))
    assert said.peak.max() <= 1.5 * history.maximum[0, -2880:].max() * (1 + 1e-6)


def test_a_hole_of_a_day_is_no_time_without_load():
    def holed(t_s: FloatArray) -> FloatArray:
        return np.where((t_s > WEDNESDAY_S - 2 * DAY_S) & (t_s <= WEDNESDAY_S - DAY_S), np.nan, noisy(0.05)(t_s))

    whole, hole = history_of(noisy(0.05), 5 * DAY_S), history_of(holed, 5 * DAY_S)
    said = [harmonic.predict(harmonic.fit(one, 21, averaged=False), one, live(one)).peak for one in (whole, hole)]
    assert said[1] == pytest.approx(said[0], rel=0.05)


def test_the_bounds_widen_with_the_lead_and_while_the_load_is_restless():
    def stormy(t_s: FloatArray) -> FloatArray:
        return np.where(t_s > WEDNESDAY_S - 3600, noisy(0.3)(t_s), noisy(0.05)(t_s))

    calm, storm = history_of(noisy(0.05), 3 * DAY_S), history_of(stormy, 3 * DAY_S)
    params = harmonic.fit(calm, 21, averaged=False)

    def spread(history, h):
        said = harmonic.predict(params, history, live(history, h)).path[0]
        return np.log(said[4] / said[0])

    assert spread(storm, 21) > 1.5 * spread(calm, 21)
    assert (
        harmonic.predict(params, calm, live(calm, 60)).peak[0, 4]
        > harmonic.predict(params, calm, live(calm, 4)).peak[0, 4]
    )


def test_the_mean_of_a_window_is_less_than_its_peak():
    history = history_of(noisy(0.1), 3 * DAY_S)
    peak, mean = (
        harmonic.predict(harmonic.fit(history, 40, averaged=averaged), history, live(history, 40)).peak
        for averaged in (False, True)
    )
    assert (mean < peak).all()
    assert mean[0, 0] == pytest.approx(100.0, rel=0.1)


def test_less_than_a_day_is_refused_with_what_it_takes():
    with pytest.raises(NotEnoughHistory, match="harmonic: 600 known buckets, 1440 needed"):
        harmonic.fit(history_of(seasonal_load(), 10 * 3600.0), 8, averaged=False)
