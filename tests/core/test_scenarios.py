"""What may happen to a workload: how soon it is found, what it costs, and that nobody is worse off than with the rule.

By default three seeds, a sample a minute, and the regression for a forecaster, which fits at once; where evidence is
gathered all scenarios with ten seeds, a sample every 15 s, and the forecaster that is served.
"""

import os
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.scenarios import GATE, SCENARIOS, Scenario, Verdict, judged, lived_through, settled
from forecasting import boosting
from forecasting.errors import NotEnoughHistory
from scaler.fleet import Fleet

EVIDENCE = os.environ.get("FORESAIL_EVIDENCE") == "1"
SEEDS, STEP_S = (10, 15.0) if EVIDENCE else (3, 60.0)
QUICK = ("level × 2", "unit × 1000", "10 % missing", "outage of 2 h", "frozen metric", "spoofed spike")
LONGEST_S = 5 * 3600.0
"""A quick run looks no further than this beyond the event."""
CHOSEN = [one for one in SCENARIOS if EVIDENCE or one.name in QUICK]


def nothing_fits(*_: object, **__: object) -> None:
    raise NotEnoughHistory("left to the regression")


@pytest.fixture(scope="module")
def fleets() -> Iterator[dict[bool, Fleet]]:
    with pytest.MonkeyPatch.context() as patch:
        if not EVIDENCE:
            patch.setattr(boosting, "fit", nothing_fits)
        yield {
            dormant: settled(SEEDS, STEP_S, dormant=dormant) for dormant in ((False, True) if EVIDENCE else (False,))
        }


def shortened(scenario: Scenario) -> Scenario:
    return scenario if EVIDENCE else replace(scenario, lasts_s=min(scenario.lasts_s, LONGEST_S))


@pytest.fixture(scope="module", params=CHOSEN, ids=lambda one: one.name)
def verdict(request: pytest.FixtureRequest, fleets: dict[bool, Fleet]) -> Verdict:
    scenario = shortened(request.param)
    return judged(scenario, lived_through(scenario, fleets[scenario.name == "launch from zero"], SEEDS))


def test_what_happened_is_found_in_time_bears_no_shortage_and_is_forgiven(verdict: Verdict) -> None:
    wanted, found = verdict.scenario, ~np.isnan(verdict.detected_s)
    if wanted.detected_within_s is not None:
        in_time = found & (np.nan_to_num(verdict.detected_s, nan=np.inf) <= wanted.detected_within_s)
        assert in_time.sum() >= np.floor(0.9 * len(found)), verdict.detected_s
    if not wanted.alarms:
        assert not verdict.drifted.any(), verdict.path
    if wanted.gated:
        assert float((verdict.short_pct - verdict.alone_pct).mean()) <= GATE
        assert verdict.worst <= GATE, verdict.short_pct
    else:
        assert (verdict.cost <= 1.0).all()
    if wanted.normal_within_s is not None and wanted.normal_within_s < wanted.lasts_s - wanted.over_s:
        assert (verdict.normal_s <= wanted.normal_within_s).all(), verdict.path
