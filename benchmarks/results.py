"""`make results`: what was won and lost on every history of FORESAIL_TRACES, written to docs/results.md.

histories × lead times → `foresail backtest --suite` (resumes where it was stopped) → result.json each → tables
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scaler.core.simulator.contest import LIMIT, OURS
from scaler.core.simulator.score import geometric_mean
from scaler.result import HINDSIGHT

LEADS_S = (60, 300, 600)
"""Unless others are named: `python -m benchmarks.results 300`."""
DAYS = 21
OUT = Path("var/results")
PAGE = Path("docs/results.md")
DENSE = ("wc98_site", "nasa_http", "mscm_ingress04", "mscm_machine01", "crane_in14", "crane_in11", "crane_in01")
"""The one-minute histories on which the forecaster was designed; the others were looked at afterwards."""
LEVELS = ("0.9", "0.97", "0.99", "0.995")
MUCH_PCT = 1.5
"""Short share as shipped that is more than half a point above the wanted 1 %."""
INTRO = """# Results

Written by `make results` from {histories} recorded histories of at most {days} days each, at lead times of {leads} s,
with one configuration for all. Losses come first.

The first 60 % of each history are for learning, the figures are of the last 40 %. Capacity is such that the mean load
needs 14 replicas; samples come every 15 s with 5 % noise, and the HPA ignores what is within 10 % of its target. *HPA*
is the best of all thresholds and stabilization windows **in hindsight**, picked on the part that is judged: harder to
beat than any HPA that somebody configured. A cost is replica-hours over those that would just have sufficed, read where
1 % of the load is short; – where 1 % is never reached. *Foreknown* is a scaler that knows the future. *As shipped* is
with the price of a shortage that the service finds by itself: the share of the load that was short, and the cost.

The global network that is shipped was trained on the first 85 % of fourteen of these histories
([model card](model-card.md)): a run with it flatters those. What it is worth on sources that it never saw stands in
[decision 9](decisions/0009-a-global-network.md)."""
Result = dict[str, Any]


def main(leads_s: Sequence[int]) -> None:
    """Judge what is not judged yet, and write the page."""
    folder = os.environ.get("FORESAIL_TRACES")
    if folder is None:
        sys.exit("FORESAIL_TRACES names no folder of histories (CSV: timestamp,value)")
    leads = ",".join(str(lead_s) for lead_s in leads_s)
    options = ["--days", str(DAYS), "--leads", leads, "--controllers", OURS, "--out", str(OUT)]
    subprocess.run([sys.executable, "-m", "scaler", "backtest", "--suite", folder, *options], check=True)
    found = [json.loads(path.read_text()) for path in sorted(OUT.glob("*/result.json"))]
    PAGE.write_text("\n".join(page(found)) + "\n")


def page(found: Sequence[Result]) -> Iterator[str]:
    """Lines of the page."""
    leads_s = sorted({one["lead_s"] for one in found})
    leads = ", ".join(f"{lead_s:g}" for lead_s in leads_s)
    yield INTRO.format(histories=len({one["trace"] for one in found}), days=DAYS, leads=leads)
    for lead_s in leads_s:
        yield from _section([one for one in found if one["lead_s"] == lead_s], lead_s)


def _section(found: Sequence[Result], lead_s: float) -> Iterator[str]:
    yield ""
    yield f"## Lead time {lead_s:g} s"
    yield ""
    dense = [one for one in found if one["trace"] in DENSE]
    lost = [f"{one['trace']} ({ratio:.2f})" for one in found if (ratio := ratio_of(one)) is not None and ratio > 1.0]
    yield f"- **dearer than the HPA**: {', '.join(lost) or 'none'}"
    unmet = [one["trace"] for one in found if _cost(one, OURS) is None and _cost(one, HINDSIGHT) is not None]
    yield f"- **1 % reached by the HPA and not by us**: {', '.join(unmet) or 'none'}"
    shares = ((one["trace"], _shipped(one)["short_pct"]) for one in found)
    short = [f"{trace} ({share:.2f} %)" for trace, share in shares if share > MUCH_PCT]
    yield f"- **more than {MUCH_PCT} % short as shipped**: {', '.join(short) or 'none'}"
    for name, group in (("the seven one-minute histories", dense), ("all histories", found)):
        ratios = [ratio for ratio in map(ratio_of, group) if ratio is not None]
        if ratios:
            mean, count = geometric_mean(ratios), f"{len(ratios)} of {len(group)}"
            yield f"- {name}: geometric mean of the ratio {mean:.3f}, worst {max(ratios):.3f}; {count} compared"
    yield ""
    yield "| history | HPA | ours | ratio | foreknown | as shipped: short | cost | 90 / 97 / 99 / 99.5 % bounds held |"
    yield "|---|---|---|---|---|---|---|---|"
    for one in sorted(found, key=lambda one: (one["trace"] not in DENSE, one["trace"])):
        yield _row(one)


def _row(one: Result) -> str:
    ratio, shipped, held = ratio_of(one), _shipped(one), one["forecast"]["coverage"]
    costs = (_cell(_cost(one, name)) for name in (HINDSIGHT, OURS))
    cells = (
        one["trace"],
        *costs,
        _cell(ratio),
        _cell(_cost(one, LIMIT)),
        f"{shipped['short_pct']:.2f} %",
        f"{shipped['cost_ratio']:.3f}",
        " / ".join(
            "–" if held[level] is None else f"{100 * held[level]:.1f}" for level in ("0.9", "0.97", "0.99", "0.995")
        ),
    )
    return f"| {' | '.join(cells)} |"


def ratio_of(one: Result) -> float | None:
    """Our cost at 1 % short load over that of the HPA that is best in hindsight."""
    ours, hpa = _cost(one, OURS), _cost(one, HINDSIGHT)
    return None if ours is None or hpa is None else ours / hpa


def _cost(one: Result, name: str) -> float | None:
    cost = one["controllers"][name]["iso_1pct"]
    return None if cost is None else float(cost)


def _shipped(one: Result) -> Result:
    shown: Result = one["controllers"]["foresail_shipped"]["shown"]
    return shown


def _cell(value: float | None) -> str:
    return "–" if value is None or np.isnan(value) else f"{value:.3f}"


if __name__ == "__main__":
    main([int(lead_s) for lead_s in sys.argv[1:]] or LEADS_S)
