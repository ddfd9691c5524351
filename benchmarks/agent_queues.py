"""`python -m benchmarks agent_queues`: queues by forecasts, beside KEDA's rule calibrated in hindsight, at equal ages.

The histories are arrivals of queues in FORESAIL_TRACES, forecast as for `make agent-eval`. The agent of the folder
FORESAIL_AGENT, trained for queues, or the one that is shipped is put beside them.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.agent_eval import foretold
from scaler import agent_card
from scaler.agent_training import AGES, SAMPLES, SHORT_PCT, TEST, Plan, tried
from scaler.core.simulator.trial import CALIBRATED, RULE, Found, cost_of, oldest, ratio_of
from scaler.foretold import Wanted

HISTORIES = (
    "azfunc2021_101",
    "azfunc2021_110",
    "azfunc2021_190",
    "azfunc2021_235",
    "crane_in01",
    "genai_lora_requests",
)
LEAD_S = 300.0


def lines_of(names: Sequence[str], found: Sequence[Found], variants: int) -> Iterator[str]:
    """Costs at equal ages, on each history where one message in twenty is late, and over those of KEDA's rule."""
    late, everyone = SHORT_PCT["queue"], np.ones(found[0].cost.shape[1])
    shown = [one for one in found if one.name != RULE]
    yield "| 95 % age | " + " | ".join(f"{age:g}" for age in AGES) + " |"
    yield "|---|" + "---|" * len(AGES)
    for one in shown:
        age, cost = oldest(one), one.cost.mean(axis=1)
        yield f"| {one.name} | " + " | ".join(_said(cost[age <= most].min(initial=np.inf)) for most in AGES) + " |"
    yield f"| {late:g} % late | " + " | ".join(names) + " |"
    yield "|---|" + "---|" * len(names)
    for one in shown:
        each = [cost_of(one, np.repeat(np.eye(len(names))[index], variants), late) for index in range(len(names))]
        yield f"| {one.name} | " + " | ".join(_said(cost) for cost in each) + " |"
    rule = next(one for one in found if one.name == CALIBRATED)
    for one in shown:
        ratio = ratio_of(one, rule, late, SAMPLES, np.random.default_rng(0))
        if one is not rule:
            where = f"at {late:g} % late, {len(everyone)} worlds"
            yield f"{one.name} over {rule.name} {where}: {ratio.mean:.3f} ({ratio.low:.3f} to {ratio.high:.3f})"


def _said(cost: float) -> str:
    return f"{cost:.2f}" if np.isfinite(cost) else "–"


def run() -> Iterator[str]:
    """A table per condition."""
    folder, agent = os.environ.get("FORESAIL_TRACES"), os.environ.get("FORESAIL_AGENT")
    if folder is None:
        sys.exit("FORESAIL_TRACES names no folder of histories (CSV: timestamp,value)")
    told = foretold([Wanted.csv(Path(folder) / f"{name}.csv", LEAD_S, queue=True) for name in HISTORIES])
    agents = {} if agent is None else {"agent": agent_card.read(Path(agent)).agent}
    plan = Plan("queue")
    for condition, found in tried(told, TEST, agents, plan):
        yield condition
        yield from lines_of(HISTORIES, found, plan.variants)
