"""How much evidence the property tests gather, and what several tests share: one judged history, which takes seconds.

Little evidence by default, much with FORESAIL_EVIDENCE=1.
"""

import os
from collections.abc import AsyncIterator

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from scaler.backtest import Assumptions, Judged, judge_here, question_of
from scaler.trace import Trace
from tests.fake_prometheus import FakePrometheus, serving

settings.register_profile("quick", max_examples=25, deadline=None, derandomize=True, database=None)
settings.register_profile(
    "evidence",
    max_examples=2000,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("evidence" if os.environ.get("FORESAIL_EVIDENCE") == "1" else "quick")


def shop(days: float = 2.2) -> Trace:
    """Days with a ramp at eight, a sale at noon, and a gap of an hour."""
    rng = np.random.default_rng(7)
    minute = np.arange(round(days * 1440))
    hour = minute / 60.0 % 24.0
    load = 200.0 + 150.0 * np.sin((hour - 9.0) / 24.0 * 2 * np.pi) + 250.0 * ((hour >= 12.0) & (hour < 12.5))
    load = load * (1.0 + 0.03 * rng.standard_normal(len(minute)))
    load[2 * 1440 : 2 * 1440 + 60] = np.nan
    return Trace("shop", 1_700_006_400.0, 60.0, load)


@pytest.fixture(scope="session")
def judged() -> Judged:
    """A contest over two days of a shop."""
    return judge_here(question_of(shop(), None, Assumptions(lead_s=180.0)), 0.04)


@pytest.fixture
async def fake() -> AsyncIterator[FakePrometheus]:
    """A server that answers like Prometheus, listening."""
    async with serving(FakePrometheus()) as server:
        yield server
