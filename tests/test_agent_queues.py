"""The benchmark of queues, in small: two generated loads, an hour of them."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.agent_queues import lines_of
from scaler import agent_training
from scaler.agent_training import TEST, Plan, tried
from scaler.core.simulator import trial
from scaler.core.simulator.imagined import imagined

SMALL = Plan("queue", trial_steps=480, settling=30, variants=2)


def test_the_rule_and_the_forecast_are_compared_at_equal_ages(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AIMS", "SHARES"):
        monkeypatch.setattr(trial, name, getattr(trial, name)[::5])
    known = {"blind": agent_training.WORLDS_OF["blind"]}
    monkeypatch.setattr(agent_training, "WORLDS_OF", known)
    rng = np.random.default_rng(5)
    told = [replace(imagined(f"load {index}", 2.0, rng, queue=True), lead_s=60.0) for index in range(2)]
    ((condition, found),) = tried(told, TEST, {}, SMALL)
    assert condition == "blind"
    forecast, _, rule = found
    assert forecast.name == "forecast only"
    assert rule.name == "reactive"
    # Whoever is told a longer age is cheaper, and its messages are older.
    age = trial.oldest(forecast)
    assert (np.diff(forecast.cost.mean(axis=1)) < 0).all()
    assert age[-1] > 2 * age[0]
    lines = list(lines_of([one.name for one in told], found, SMALL.variants))
    assert [line.split("|")[1].strip() for line in lines if line.startswith("|")] == [
        *("95 % age", "---", "forecast only", "reactive"),
        *("5 % late", "---", "forecast only", "reactive"),
    ]
    assert lines[-1].startswith("forecast only over reactive at 5 % late, 4 worlds: ")
