"""`python -m benchmarks forecasters`: the forecasters of this project beside what people would use instead.

Reads the traces of the folder FORESAIL_TRACES; FORESAIL_RIVALS names a Python that has prophet and statsforecast, else
these two are left out. Takes minutes of one core, and as many again with the rivals. Not part of `make bench`: its
figures are losses, not timings, and do not depend on the machine.
"""

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks import arena, baselines
from benchmarks.arena import EPSILON, OTHERS, Case
from benchmarks.baselines import Said
from benchmarks.results import DENSE
from forecasting import catalog, ensemble
from forecasting.ensemble import EnsembleState
from forecasting.forecast import LEVELS, FloatArray, Quantiles
from forecasting.series import DAY_S

CONTENDERS: dict[str, Callable[[Case], Said]] = {
    "booster alone": baselines.boosted,
    "harmonic": baselines.harmonic_regression,
    "last value": baselines.last_value,
    "seasonal naive, day": baselines.seasonal(0),
    "seasonal naive, week": baselines.seasonal(2),
    "AutoReg + Fourier": baselines.autoregression,
    "ETS on minutes": baselines.smoothing_minutes,
    "ETS with a day": baselines.smoothing_season,
}
RIVALS_S = 16 * DAY_S
"""History that Prophet and MSTL are given: two weeks, so that a week is a season, and two days."""
ALLOWED = {0.9: 2.0, 0.97: 1.0, 0.99: 0.7, 0.995: 0.4}
"""Percentage points that coverage may be off, besides what chance explains."""


def run() -> Iterator[str]:
    """All tables."""
    yield from compared(DENSE, CONTENDERS)
    yield ""
    yield "== other histories"
    yield from compared(OTHERS, {name: CONTENDERS[name] for name in ("booster alone", "harmonic", "ETS with a day")})


def compared(names: tuple[str, ...], contenders: dict[str, Callable[[Case], Said]]) -> Iterator[str]:
    """Losses, the ensemble beside its members, and coverage on some traces."""
    cases = list(arena.cases(names))
    loss: dict[str, list[float]] = {}
    fit_s: dict[str, list[float]] = {}
    below, members = [], []
    for case in cases:
        served, by_member = ours(case)
        own = float(arena.losses(case, served).mean())
        loss.setdefault("ours, as served", []).append(own)
        members.append([own / float(arena.losses(case, one).mean()) for one in by_member])
        below.append(coverage(case, served))
        for name, one in ({key: contender(case) for key, contender in contenders.items()} | rivals(case)).items():
            loss.setdefault(name, []).append(float(arena.losses(case, arena.wrapped(case, one.peak)).mean()))
            fit_s.setdefault(name, []).append(one.fit_s)
        yield f"{case.name}: {len(case.cutoff_s)} fits, {case.judged.sum()} origins judged"
    yield from _losses(cases, loss, fit_s)
    yield ""
    yield "ours, as served, over each member alone: the shifted booster, the shifted load now"
    for case, shares in zip(cases, members, strict=True):
        most = max(shares)
        yield f"{case.name:24}{shares[0]:8.3f}{shares[1]:8.3f}   over the better of them {most:.3f} (target ≤ 1.03)"
    yield ""
    yield "coverage on disjoint windows in %, ± one standard error; ! beyond what is allowed and two of them"
    for case, line in zip(cases, below, strict=True):
        yield f"{case.name:24}{line}"


def _losses(cases: list[Case], loss: dict[str, list[float]], fit_s: dict[str, list[float]]) -> Iterator[str]:
    best = np.array(loss["ours, as served"])
    yield ""
    yield "pinball loss at 0.9, 0.97, 0.99 over ours, all under the same wrapper (below 1: better than ours)"
    yield f"{'':22}" + "".join(f"{case.name.split('_')[1]:>11}" for case in cases) + f"{'geo. mean':>11}{'s / fit':>9}"
    yield f"{'ours, in replicas':22}" + "".join(f"{value:11.4f}" for value in best)
    for name, values in loss.items():
        ratio = np.array(values) / best
        mean, spent = np.exp(np.log(ratio).mean()), np.mean(fit_s.get(name, [np.nan]))
        yield f"{name:22}" + "".join(f"{value:11.3f}" for value in ratio) + f"{mean:11.3f}{spent:9.2f}"


def ours(case: Case) -> tuple[FloatArray, tuple[FloatArray, FloatArray]]:
    """What would have been served, (S, Q), and what each member alone would have said."""
    parts, number, epsilon = [], case.fit, np.zeros(len(case.origin_s))
    for k, cutoff_s in enumerate(case.cutoff_s.tolist()):
        models = catalog.fit(case.past.until(cutoff_s), case.h, averaged=False)
        parts.append(catalog.predict(models, case.whole, case.rows(np.flatnonzero(number == k))))
        epsilon[number == k] = models.epsilon[0]
    said = Quantiles(*(np.concatenate([getattr(part, name) for part in parts]) for name in Quantiles.__slots__))
    past = arena.joined(case, said.peak, said.level)
    context = (float(epsilon[-1]), 0.0, case.whole.bucket_s)
    states, _ = ensemble.replayed(ensemble.initial_state(1), past, case.origin_s, context)
    alone = (_heard(states, persistent=False), _heard(states, persistent=True))
    served, *members = (ensemble.applied(state, said, epsilon).peak for state in (states, *alone))
    return served, (members[0], members[1])


def _heard(states: EnsembleState, *, persistent: bool) -> EnsembleState:
    return replace(states, persistent=np.full(len(states.persistent), persistent))


def coverage(case: Case, served: FloatArray) -> str:
    """Share of disjoint windows whose peak stayed below each bound, beside what chance allows."""
    chosen = arena.disjoint(case)
    n = int(chosen.sum())
    cells = []
    for level, allowed in ALLOWED.items():
        bound = served[chosen, int(np.argmax(level == LEVELS))]
        share = 100.0 * float((case.actual[chosen] <= bound).mean())
        error = 100.0 * float(np.sqrt(level * (1.0 - level) / n))
        off = abs(share - 100.0 * level) > allowed + 2.0 * error
        cells.append(f"{100 * level:6.1f}: {share:5.1f} ± {error:.1f}{' !' if off else '  '}")
    return f"{n:5} windows " + "".join(cells)


def rivals(case: Case) -> dict[str, Said]:
    """Prophet and MSTL where another Python has them: as they forecast a day, and carried on from where the load is."""
    python = os.environ.get("FORESAIL_RIVALS")
    if not python:
        return {}
    spacing_s = case.whole.coarse_s
    ahead = round(DAY_S / spacing_s) + 4
    asked: dict[str, FloatArray] = {"ahead": np.array(ahead)}
    for k, cutoff_s in enumerate(case.cutoff_s.tolist()):
        history = case.past.until(cutoff_s)
        blocks = min(history.coarse_mean.shape[1], round(RIVALS_S / spacing_s))
        asked[f"stamp_s_{k}"] = history.coarse_end_s - spacing_s * np.arange(blocks - 1, -1, -1)
        asked[f"value_{k}"] = np.log(history.coarse_mean[0, -blocks:].astype(np.float64) + EPSILON * case.capacity)
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder) / name) for name in ("asked.npz", "said.npz")]
        np.savez(paths[0], **asked)
        command = [python, str(Path(__file__).parent / "elsewhere.py"), *paths]
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PYTHONPATH": ""})
        said = dict(np.load(paths[1]))
    found = {}
    for name, words in (("prophet", "Prophet"), ("mstl", "MSTL")):
        if f"{name}_s" in said:
            curves = [said[f"{name}_{k}"] for k in range(len(case.cutoff_s))]
            ends_s = np.array([asked[f"stamp_s_{k}"][-1] for k in range(len(curves))])
            for carried in (False, True):
                peak = _along(case, curves, ends_s, carried=carried)
                found[words + (", carried on" if carried else "")] = Said(peak, float(said[f"{name}_s"]))
    return found


def _along(case: Case, curves: list[FloatArray], ends_s: FloatArray, *, carried: bool) -> FloatArray:
    """Largest block of each lead window on its fit's curve, (S, 1); `carried`: by as much higher as the load is now."""
    spacing_s, number = case.whole.coarse_s, case.fit
    curve, logs = np.stack(curves), np.log(case.whole.coarse_mean[0] + EPSILON * case.capacity)
    start_s = case.whole.coarse_end_s - spacing_s * len(logs)
    now = baselines.newest_block(start_s, case.origin_s, spacing_s)
    place = np.floor((case.origin_s - ends_s[number]) / spacing_s + 1e-9).astype(np.int64) - 1
    last = np.ceil((case.origin_s + case.h * case.past.step_s - ends_s[number]) / spacing_s).astype(np.int64) - 1
    ahead = np.minimum(place[:, None] + np.arange(1, 20), last[:, None])
    top = curve[number[:, None], np.minimum(ahead, curve.shape[1] - 1)].max(axis=1)
    if carried:
        off = baselines.bridged(logs)[now] - curve[number, np.maximum(place, 0)]
        top = top + np.where(place >= 0, off, 0.0)
    return np.exp(top)[:, None] - EPSILON * case.capacity
