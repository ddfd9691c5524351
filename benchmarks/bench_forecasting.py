"""What forecasting costs: a refresh, a refit, a batch of predictions, the state of a workload."""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from subprocess import run as run_process

import numpy as np

from forecasting import catalog, conformal, ensemble, neural
from forecasting.forecast import FloatArray
from forecasting.series import DAY_S, Rows
from scaler.core.domain import Workload, columns_of
from scaler.core.learning import learn, stacked
from scaler.core.signals import Samples
from scaler.core.trust import TrustRules
from scaler.fleet import Fleet

STEP_S = 15.0
START_S = 1_700_006_400.0
N = 1000
HEAVY = ("statsmodels", "torch", "pandas", "scipy")
WANTED_REFRESH_S, WANTED_REFIT_S, WANTED_BATCH_S, WANTED_KB = 0.05, 2.0, 0.1, 200.0
WANTED_NETWORK_S = 0.05


def load(n: int) -> FloatArray:
    rng = np.random.default_rng(0)
    day = np.sin(np.arange(n) * STEP_S / DAY_S * 2 * np.pi)
    return np.asarray((1000.0 + 600.0 * day) * np.exp(0.05 * rng.standard_normal(n)))


def run() -> Iterator[str]:
    workload = Workload("shop", "web", "00000000", threshold=70.0, capacity=100.0, lead_s=300.0, step_s=STEP_S)
    now_s = START_S + 16 * DAY_S
    fleet = Fleet(STEP_S, now_s, TrustRules(), n_rows=1)
    fleet.add(workload)
    past = load(round(16 * DAY_S / STEP_S))
    fleet.backfill(0, now_s, Samples(past, past), STEP_S)
    history, columns = fleet.lesson([0])

    spent = time.process_time()
    learnt = learn(history, columns, np.array([now_s]))
    refit_s = time.process_time() - spent
    yield f"daily refit and replay of a workload: {refit_s:.2f} s of one core (target {WANTED_REFIT_S:g})"

    spent = time.process_time()
    kept = conformal.kept_in(learnt.record, now_s, history.bucket_s)
    track = conformal.joined(history, kept, int(columns.h[0]), averaged=False).until(now_s)
    ensemble.looked(learnt.ensemble, track, float(learnt.models.epsilon[0]), now_s, history.bucket_s)
    refresh_s = time.process_time() - spent
    yield f"hourly refresh of a workload: {1e3 * refresh_s:.1f} ms of one core (target {1e3 * WANTED_REFRESH_S:g})"

    many = replace(history, **{name: np.repeat(getattr(history, name), N, axis=0) for name in _columns(history)})
    models, states = stacked([learnt.models] * N), stacked([learnt.ensemble] * N)
    rows = Rows.live(many, np.repeat(columns.h, N))
    asked: dict[str, tuple[Callable[[], object], float]] = {
        "forecasts": (
            lambda: ensemble.applied(states, catalog.predict(models, many, rows), models.epsilon),
            WANTED_BATCH_S,
        ),
        "forecasts by the network alone": (lambda: neural.predict(models.neural, many, rows), WANTED_NETWORK_S),
    }
    for name, (call, wanted_s) in asked.items():
        median_s = float(np.median([_spent_s(call) for _ in range(5)]))
        yield f"{name} of {N} workloads: {1e3 * median_s:.0f} ms of one core, median of 5 (target {1e3 * wanted_s:g})"
    yield f"state of a workload: {_kilobytes(history, learnt, columns_of([workload])):.0f} KB (target {WANTED_KB:g})"
    code = f"import scaler.service, sys; print([name for name in {HEAVY} if name in sys.modules])"
    found = run_process([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    yield f"heavy libraries that the serving path imports: {found.stdout.strip()} (target [])"


def _spent_s(call: Callable[[], object]) -> float:
    spent = time.process_time()
    call()
    return time.process_time() - spent


def _columns(of: object) -> list[str]:
    return [name for name in of.__slots__ if isinstance(getattr(of, name), np.ndarray)]  # type: ignore[attr-defined]


def _kilobytes(*states: object) -> float:
    """Size of all arrays of dataclasses of arrays, nested ones included."""
    total = 0.0
    for state in states:
        for name in state.__slots__:  # type: ignore[attr-defined]
            value = getattr(state, name)
            if isinstance(value, np.ndarray):
                total += value.nbytes / 1024.0
            elif hasattr(value, "__slots__"):
                total += _kilobytes(value)
    return total
