"""report.html: one file that opens anywhere, with its charts inside."""

import html
from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.offline import get_plotlyjs
from plotly.subplots import make_subplots

from forecasting.forecast import FloatArray, IntArray
from forecasting.series import DAY_S
from scaler import __version__
from scaler.core.simulator import constants
from scaler.core.simulator.contest import LIMIT, OURS, WINDOW, Heat, Outcome
from scaler.core.simulator.scene import Scene, cut
from scaler.core.simulator.score import SLACK, figures
from scaler.result import HINDSIGHT, cell

COLOURS = {
    OURS: "#0b6e4f",
    "foresail_shipped": "#0b6e4f",
    HINDSIGHT: "#b5460f",
    "hpa_calibrated": "#e08e45",
    LIMIT: "#5b6770",
    "last_value": "#8d6cab",
    "seasonal_naive_max": "#3f7cac",
    "max_reactive_forecast": "#c2548f",
}
"""One colour per controller throughout; the fixed HPAs share the default."""
PLAIN = "#9aa5ad"
LABELS = {
    OURS: "Foresail, any price",
    "foresail_shipped": "Foresail as it ships",
    HINDSIGHT: "HPA, best in hindsight",
    "hpa_calibrated": "HPA, calibrated on the training part",
    LIMIT: "clairvoyant (the limit)",
    "last_value": "last value",
    "seasonal_naive_max": "max(now, same time last week)",
    "max_reactive_forecast": "max(now, forecast)",
}
HOURS_OF_WEEK = 168
MONDAY_S = 4 * DAY_S
"""1970-01-01 was a Thursday: the first Monday began here."""
TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Foresail backtest: {title}</title><link rel="icon" href="data:,">
<style>
body{{font:16px/1.5 system-ui,sans-serif;color:#1d2731;background:#f6f7f8;margin:0}}
main{{max-width:72rem;margin:0 auto;padding:1.5rem}} p{{margin:.3rem 0;max-width:60rem}} .facts{{color:#5b6770}}
h1{{font-size:1.5rem;margin:0}} h2{{font-size:1.15rem;margin:2rem 0 .3rem}}
.verdict{{background:#fff;border-left:.4rem solid {colour};padding:1rem 1.2rem;margin:1.2rem 0}}
.verdict strong{{font-size:1.2rem}}
.chart{{background:#fff;padding:.4rem;margin:.5rem 0}}
.scroll{{overflow-x:auto}} table{{border-collapse:collapse;background:#fff;font-size:.9rem;width:100%}}
th,td{{padding:.35rem .6rem;text-align:right;border-bottom:1px solid #e3e7ea}}
th:first-child,td:first-child,th.note{{text-align:left}}
th{{color:#5b6770;font-weight:600}} td.note{{text-align:left}}
</style><script>{plotly}</script></head><body><main>
<h1>{title}</h1><p class="facts">{facts}</p>
<section class="verdict"><strong>{sentence}</strong><p>{reason}</p>{what_if}</section>
{sections}
<p class="facts">Foresail {version}. How to read this report and what the simulator leaves out: docs/backtest.md.</p>
</main></body></html>
"""


def render(scene: Scene, heats: Mapping[str, Heat], result: dict[str, Any]) -> str:
    """The whole page; `result` holds the controllers to show."""
    verdict = result["verdict"]
    extra = [verdict["at_equal_cost"], *verdict["what_if"]]
    if "saved_per_month" in verdict:
        extra.append(f"At the stated price the saving is {verdict['saved_per_month']:,.2f} per month.")
    return TEMPLATE.format(
        title=html.escape(str(result["trace"])),
        colour={True: "#0b6e4f", False: "#b5460f", None: "#8a8f94"}[verdict["pays"]],
        plotly=get_plotlyjs(),
        facts=html.escape(_facts(result)),
        sentence=html.escape(verdict["sentence"]),
        reason=html.escape(verdict["reason"]),
        what_if="".join(f"<p>{html.escape(line)}</p>" for line in extra),
        sections="\n".join(_sections(scene, heats, result)),
        version=html.escape(__version__),
    )


def _facts(result: dict[str, Any]) -> str:
    return (
        f"{result['days']:.1f} days of history, {result['missing_pct']:.1f} % missing; the last "
        f"{result['test_days']:.1f} days are judged. Lead time {result['lead_s']:g} s, capacity "
        f"{result['capacity']:.4g} per replica, HPA tolerance "
        f"{result['tolerance']:g}, SLO {100 * result['slo']:g} % of the load."
    )


def _sections(scene: Scene, heats: Mapping[str, Heat], result: dict[str, Any]) -> list[str]:
    drawn = _drawn(scene, heats)
    return [
        _section("Cost against shortage", FRONTIER_NOTE, frontier(result)),
        f"<h2>Every controller</h2><p>{html.escape(table_note(result))}</p>" + table(result),
        _section("The worst day", DAY_NOTE, day(scene, heats, drawn, 0)),
        _section("The median day", "", day(scene, heats, drawn, 1)),
        _section("Cost and shortage by hour of the week (UTC)", "", hours_of_week(scene, drawn)),
        _section("Where each replica-hour went", HOURS_NOTE, replica_hours(scene, drawn)),
        "<h2>What is taken for granted</h2>" + assumptions(),
    ]


FRONTIER_NOTE = (
    "Each line is one controller over every setting of its knob: left is safer, down is cheaper. Compare at equal "
    "shortage, along the dotted line, never two single points."
)
DAY_NOTE = (
    "Load, what the ready replicas could carry, and the forecast (median to 99 %) of the largest load within the next "
    "lead time. Where the load rises above a capacity line, it is short."
)
HOURS_NOTE = "Needed at the moment, ready but spare, and paid for while starting or draining."


def _section(title: str, note: str, figure: go.Figure) -> str:
    figure.update_layout(
        template="plotly_white", margin={"l": 60, "r": 20, "t": 30, "b": 50}, legend={"orientation": "h", "y": -0.2}
    )
    chart = figure.to_html(full_html=False, include_plotlyjs=False, config={"displaylogo": False, "responsive": True})
    return f"<h2>{html.escape(title)}</h2><p>{html.escape(note)}</p><div class='chart'>{chart}</div>"


def frontier(result: dict[str, Any]) -> go.Figure:
    """Cost over short load, one line per controller."""
    figure = go.Figure()
    for name, row in result["controllers"].items():
        points = [point for point in row["frontier"] if point[0] > 0]
        if not points:
            continue
        short, cost, knob = zip(*points, strict=True)
        figure.add_scatter(
            x=short,
            y=cost,
            customdata=knob,
            name=LABELS.get(name, name),
            mode="markers" if len(points) == 1 else "lines+markers",
            marker={"size": 11 if len(points) == 1 else 4, "symbol": "diamond" if len(points) == 1 else "circle"},
            line={"color": COLOURS.get(name, PLAIN), "width": 3 if name in {OURS, HINDSIGHT} else 1.5},
            hovertemplate="%{x:.2f} % short, %{y:.3f}×, knob %{customdata:.3g}",
        )
    figure.add_vline(x=100.0 * (1.0 - result["slo"]), line_dash="dot", line_color=PLAIN)
    figure.update_xaxes(title="load met by too few replicas, %", type="log", range=[-2, 1.5])
    shown = [point[1] for row in result["controllers"].values() for point in row["frontier"] if 0.3 <= point[0] <= 20]
    figure.update_yaxes(title="replicas paid for / needed", range=[1.0, min(1.05 * max(shown, default=3.0), 3.5)])
    figure.update_layout(height=480)
    return figure


def table_note(result: dict[str, Any]) -> str:
    """What equal cost means here."""
    return (
        f"Equal cost is {result['equal_cost']:.3f}: what the HPA, best in hindsight, pays where it keeps the SLO or "
        "comes closest to it. A single setting has no share of its own there."
    )


def table(result: dict[str, Any]) -> str:
    """All figures."""
    headings = (
        "controller", "cost at 1 % short", "at 2 %", "at 5 %", "short % at equal cost", "setting", "short %",
        "excess %", "cost", "replica-hours", "latency SLO %", "changes/h", "reversals",
    )  # fmt: skip
    rows = []
    for name, row in result["controllers"].items():
        shown = row["shown"]
        window = "" if shown["window_s"] is None else f" / {shown['window_s']:g} s"
        cells = [
            *(cell(row[f"iso_{target}pct"], 3) for target in (1, 2, 5)),
            cell(row["short_at_equal_cost_pct"], 2),
            ("own" if shown["knob"] is None else f"{shown['knob']:.3g}") + window,
            cell(shown["short_pct"], 2),
            cell(shown["excess_pct"], 2),
            cell(shown["cost_ratio"], 3),
            cell(row["replica_hours"], 0),
            cell(row["latency_slo_pct"], 2),
            cell(row["scale_events_per_hour"], 1),
            cell(row["reversals"], 0),
        ]
        label = html.escape(LABELS.get(name, name.replace("_", " ").upper() + " %"))
        rows.append(f"<tr><td>{label}</td>" + "".join(f"<td>{one}</td>" for one in cells) + "</tr>")
    head = "".join(f"<th>{heading}</th>" for heading in headings)
    return f"<div class='scroll'><table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"


def _drawn(scene: Scene, heats: Mapping[str, Heat]) -> dict[str, Outcome]:
    """The settings whose replicas are drawn: the best HPA, ours as it ships, and the limit."""
    looked = {one.name: one for name in ("forecasts", "triggers") for one in heats[name].outcomes}
    windows = [one for name, one in looked.items() if name.startswith(WINDOW)]
    limit = scene.question.limit_pct

    def worth(one: Outcome) -> tuple[bool, float]:
        found = figures(one.sums, scene.step_s)
        short = float(found.short_pct[one.shown])
        return short > limit, float(found.cost_ratio[one.shown]) if short <= limit else short

    return {HINDSIGHT: min(windows, key=worth), "foresail_shipped": looked[OURS], LIMIT: looked[LIMIT]}


def _short(scene: Scene, outcome: Outcome) -> FloatArray:
    load = cut(scene.load, scene.test).value
    known = np.nan_to_num(load) * scene.scored(scene.test)
    return np.asarray(known * outcome.short)


def _days(scene: Scene, outcome: Outcome) -> tuple[int, int]:
    """First steps of the day with the most short load, and of the median one."""
    steps = round(DAY_S / scene.step_s)
    first = scene.test.scored_from - scene.test.first
    short = _short(scene, outcome)[first:]
    n_days = max(len(short) // steps, 1)
    sums = [float(short[at * steps : (at + 1) * steps].sum()) for at in range(n_days)]
    order = np.argsort(sums)
    return first + int(order[-1]) * steps, first + int(order[len(order) // 2]) * steps


def day(scene: Scene, heats: Mapping[str, Heat], drawn: Mapping[str, Outcome], which: int) -> go.Figure:
    """Load, capacities and forecast over one day: 0 the worst, 1 the median."""
    start = _days(scene, drawn["foresail_shipped"])[which]
    load = cut(scene.load, scene.test)
    rows = slice(start, start + round(DAY_S / scene.step_s), 4)
    stamps = (load.t_s[rows] * 1000.0).astype("datetime64[ms]")
    figure = go.Figure()
    prophecy = heats["forecasts"].prophecy
    if prophecy is not None:
        band = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
        figure.add_scatter(x=stamps, y=_rounded(prophecy.quantiles[rows, 0]), showlegend=False, **band)
        figure.add_scatter(
            x=stamps, y=_rounded(prophecy.quantiles[rows, 3]), fill="tonexty", fillcolor="rgba(11,110,79,.15)",
            name="forecast of the peak, 50–99 %", **band,
        )  # fmt: skip
    figure.add_scatter(x=stamps, y=_rounded(load.value[rows]), name="load", line={"color": "#1d2731", "width": 1})
    for name, outcome in drawn.items():
        figure.add_scatter(
            x=stamps,
            y=_rounded(scene.capacity * outcome.ready[rows]),
            name=f"capacity: {LABELS[name]}",
            line={"color": COLOURS[name], "width": 1.5, "shape": "hv"},
            visible="legendonly" if name == LIMIT else True,
        )
    figure.update_yaxes(title="load", rangemode="tozero")
    figure.update_layout(height=420)
    return figure


def _rounded(values: NDArray[np.floating[Any]]) -> list[float | None]:
    return [None if value != value else float(f"{value:.4g}") for value in values.tolist()]  # noqa: PLR0124 - NaN


def hours_of_week(scene: Scene, drawn: Mapping[str, Outcome]) -> go.Figure:
    """Cost ratio and short share at each hour of the week."""
    load = cut(scene.load, scene.test)
    known = scene.scored(scene.test) & ~np.isnan(load.value)
    hour = (((load.t_s - scene.step_s - MONDAY_S) // 3600.0) % HOURS_OF_WEEK).astype(np.int64)
    weight = np.where(known, np.nan_to_num(load.value), 0.0)
    needed = np.where(known, np.maximum(np.ceil(np.nan_to_num(load.value) / scene.capacity - SLACK), 1.0), 0.0)
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.08)
    for name in (HINDSIGHT, "foresail_shipped"):
        outcome = drawn[name]
        paid = _by_hour(hour, outcome.billed * known) / np.maximum(_by_hour(hour, needed), 1e-9)
        short = 100.0 * _by_hour(hour, _short(scene, outcome)) / np.maximum(_by_hour(hour, weight), 1e-9)
        line = {"color": COLOURS[name], "shape": "hv"}
        seen = _by_hour(hour, known.astype(np.float64)) > 0
        for row, series in ((1, paid), (2, short)):
            y = _rounded(np.where(seen, series, np.nan))
            figure.add_scatter(
                x=list(range(HOURS_OF_WEEK)), y=y, name=LABELS[name], line=line, showlegend=row == 1, row=row, col=1
            )
    days = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
    figure.update_xaxes(tickvals=list(range(0, HOURS_OF_WEEK, 24)), ticktext=days)
    figure.update_yaxes(title="paid / needed", row=1, col=1)
    figure.update_yaxes(title="short, %", row=2, col=1)
    figure.update_layout(height=460)
    return figure


def _by_hour(hour: IntArray, values: NDArray[Any]) -> FloatArray:
    return np.asarray(np.bincount(hour, weights=values, minlength=HOURS_OF_WEEK), dtype=np.float64)


def replica_hours(scene: Scene, drawn: Mapping[str, Outcome]) -> go.Figure:
    """Replica-hours by what they were for."""
    load = cut(scene.load, scene.test).value
    known = scene.scored(scene.test) & ~np.isnan(load)
    need = np.maximum(np.ceil(load[known] / scene.capacity - SLACK), 1.0)
    parts: dict[str, list[float]] = {"needed": [], "spare": [], "starting or draining": []}
    for outcome in drawn.values():
        ready, billed = outcome.ready[known], outcome.billed[known]
        sums = (np.minimum(ready, need).sum(), np.maximum(ready - need, 0.0).sum(), (billed - ready).sum())
        for hours, total in zip(parts.values(), sums, strict=True):
            hours.append(round(float(total) * scene.step_s / 3600.0, 1))
    figure = go.Figure()
    names = [LABELS[name] for name in drawn]
    for (part, spent), colour in zip(parts.items(), ("#0b6e4f", "#a8cfc0", "#e0b080"), strict=True):
        figure.add_bar(y=names, x=spent, name=part, orientation="h", marker_color=colour)
    figure.update_layout(barmode="stack", height=260)
    figure.update_xaxes(title="replica-hours over the days judged")
    figure.update_yaxes(autorange="reversed", automargin=True)
    return figure


def assumptions() -> str:
    """Every constant of the simulator."""
    rows = "".join(
        f"<tr><td>{name.lower().replace('_', ' ')}</td><td>{one.value:g}</td>"
        + "".join(f"<td class='note'>{html.escape(text)}</td>" for text in (one.unit, one.known, one.source))
        + "</tr>"
        for name, one in constants.ALL.items()
    )
    notes = "".join(f"<th class='note'>{heading}</th>" for heading in ("unit", "standing", "source"))
    head = f"<tr><th>constant</th><th>value</th>{notes}</tr>"
    return f"<div class='scroll'><table><thead>{head}</thead><tbody>{rows}</tbody></table></div>"
