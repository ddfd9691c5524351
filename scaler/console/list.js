// The list of workloads: a line each, changed in place, so that hundreds stay quick.

import { MODES, amount, chip, el, percent, span, svg } from "./dom.js";

const WORST = ["Failed", "Holding", "Degraded", "Retraining", "Learning", "Recovery", "Normal"];
const SORTS = {
  attention: ["What needs a look first", (a, b) => need(b) - need(a) || order(a, b)],
  name: ["Name", (a, b) => order(a, b)],
  replicas: ["Replicas", (a, b) => (b.soon ?? 0) - (a.soon ?? 0) || order(a, b)],
  coverage: ["Coverage, lowest first", (a, b) => (a.coverage ?? 2) - (b.coverage ?? 2) || order(a, b)],
};

const order = (a, b) => a.ns.localeCompare(b.ns) || a.name.localeCompare(b.name);
const need = (row) =>
  (WORST.length - WORST.indexOf(row.mode)) * 10 + (row.trouble ? 100 : 0) + (row.fixed ? 5 : 0) +
  (row.max !== null && row.soon >= row.max ? 20 : 0);

export const keyOf = (row) => `${row.ns}/${row.name}`;
export const addressOf = (row) => `#/${encodeURIComponent(row.ns)}/${encodeURIComponent(row.name)}`;

export class List {
  constructor(state) {
    this.state = state;
    this.lines = new Map();
    this.sort = "attention";
    this.sought = "";
    this.summary = el("div", { class: "summary" });
    this.body = el("ol", { class: "lines" });
    this.none = el("div", { class: "card none", hidden: true });
    this.search = el("input", {
      type: "search", placeholder: "Filter  /", "aria-label": "Filter by namespace or name",
      oninput: (event) => { this.sought = event.target.value.toLowerCase(); this.arrange(); },
    });
    const choose = el("select", {
      "aria-label": "Order", onchange: (event) => { this.sort = event.target.value; this.arrange(); },
    }, Object.entries(SORTS).map(([value, [text]]) => el("option", { value }, text)));
    this.node = el("div", { class: "page" },
      this.#welcome(),
      el("div", { class: "bar" }, this.summary, el("span", { class: "grow" }), this.search, choose),
      el("div", { class: "head", "aria-hidden": "true" },
        ["Workload", "Load, last 2 h and its forecast peak", "Mode", "Replicas now → soon", "HPA alone", "Lead time", "Coverage of 97 %"]
          .map((text) => el("span", {}, text))),
      this.body, this.none);
    this.update(null);
  }

  focus() { this.search.focus(); }

  #welcome() {
    const { hello } = this.state;
    if (!hello?.demo || remembered("welcome") === "seen") return null;
    const box = el("section", { class: "card welcome", "aria-label": "What this is" });
    const first = { ns: "shop", name: "checkout" };
    box.append(
      el("div", {},
        el("h1", {}, "Replicas that are ready when the load comes"),
        el("p", {}, "This is Foresail's demo: six invented workloads behind a simulated HPA. Their loads are made up, ",
          "everything else is real: the forecasts, the decisions, the reasons. Each line below shows what runs now, ",
          "what will be needed once a pod started now is ready, and what the HPA alone would run.")),
      el("ol", { class: "steps" },
        el("li", {}, el("b", {}, "Look ahead. "), "Open ", el("a", { href: addressOf(first) }, "shop/checkout"),
          ": right of “now” is the forecast, with how sure it is. Point at any moment for exact values."),
        el("li", {}, el("b", {}, "Ask why. "), "Every decision there says its reason in a sentence; then fix the ",
          "replicas by hand, or switch to shadow, and see what changes with the next decision."),
        el("li", {}, el("b", {}, "Try it on yours. "), el("code", {}, "foresail backtest history.csv"),
          " tells on your own history whether prediction pays; then put Foresail into a ScaledObject, in shadow first.")),
      el("button", {
        class: "plain close", type: "button", "aria-label": "Hide this introduction",
        onclick: () => { remember("welcome", "seen"); box.remove(); },
      }, "×"));
    return box;
  }

  update(changed) {
    const { rows } = this.state;
    for (const [key, line] of this.lines) {
      if (!rows.has(key)) { line.node.remove(); this.lines.delete(key); }
    }
    for (const key of changed ?? rows.keys()) {
      const row = rows.get(key);
      if (!row) continue;
      const known = this.lines.get(key);
      known ? known.show(row) : this.lines.set(key, new Line(row));
    }
    this.arrange();
  }

  arrange() {
    const rows = [...this.state.rows.values()].sort(SORTS[this.sort][1]);
    const shown = rows.filter((row) => keyOf(row).toLowerCase().includes(this.sought));
    const nodes = shown.map((row) => this.lines.get(keyOf(row)).node);
    const standing = this.body.children;
    if (nodes.length !== standing.length || nodes.some((node, index) => standing[index] !== node)) this.body.replaceChildren(...nodes);
    const modes = new Map();
    for (const row of rows) modes.set(row.mode, (modes.get(row.mode) ?? 0) + 1);
    const replicas = rows.reduce((sum, row) => sum + (row.now ?? 0), 0);
    this.summary.replaceChildren(
      el("b", {}, `${rows.length} ${rows.length === 1 ? "workload" : "workloads"}`),
      el("span", { class: "muted" }, `${amount(replicas)} replicas`),
      ...[...modes].sort((a, b) => WORST.indexOf(a[0]) - WORST.indexOf(b[0])).map(([mode, n]) =>
        el("span", { class: "chip", "data-mode": mode, title: MODES[mode] }, `${n} ${mode}`)));
    this.none.hidden = shown.length > 0;
    if (!shown.length) this.none.replaceChildren(...(rows.length ? [el("p", {}, "No workload has that in its name.")] : nothing()));
  }
}

function nothing() {
  return [
    el("h1", {}, "No workload yet"),
    el("p", {}, "Foresail tracks a workload from KEDA's first call on, or from the settings. Point a ScaledObject at it:"),
    el("pre", {}, [
      "triggers:", "  - type: external", "    metricType: AverageValue", "    metadata:",
      "      scalerAddress: foresail.foresail:50051", '      threshold: "60"   # load per replica that you aim at today',
      "      serverAddress: http://prometheus.monitoring:9090", "      query: sum(rate(http_requests_total[1m]))",
      '      shadow: "true"    # decide and record, serve the reactive answer'].join("\n")),
    el("p", { class: "muted" }, "It appears here by itself."),
  ];
}

class Line {
  constructor(row) {
    this.link = el("a", { class: "line-link", href: addressOf(row) });
    this.node = el("li", {}, this.link);
    this.show(row);
  }

  show(row) {
    const up = row.soon > (row.now ?? row.soon), down = row.soon < (row.now ?? row.soon);
    const said = `${keyOf(row)}: ${row.mode}, ${row.now ?? "unknown"} replicas now, ${row.soon ?? "unknown"} soon`;
    this.link.setAttribute("aria-label", said);
    this.link.replaceChildren(
      el("span", { class: "who" }, el("b", { title: keyOf(row) }, row.name), el("small", {}, row.ns)),
      el("span", { class: "picture" }, spark(row), el("span", { class: "amount" }, amount(row.load))),
      el("span", { class: "state" }, chip(row.mode),
        row.shadow && el("span", { class: "chip quiet", title: "The reactive answer is served; the forecast is only recorded." }, "shadow"),
        row.observed && el("span", { class: "chip quiet", title: "Decisions are recorded and served to nobody." }, "observed"),
        row.paused && el("span", { class: "chip quiet", title: "KEDA holds the workload still." }, "paused"),
        row.fixed && el("span", { class: "chip warn", title: row.fixed }, "by hand"),
        row.trouble && el("span", { class: "chip bad", title: row.trouble }, "no load")),
      el("span", { class: "count", "data-label": "Replicas" }, el("span", {}, String(row.now ?? "–")),
        el("span", { class: up ? "up" : down ? "down" : "same" }, "→"), el("b", {}, String(row.soon ?? "–"))),
      el("span", { class: "num", "data-label": "HPA alone" }, String(row.alone ?? "–")),
      el("span", { class: "num", "data-label": "Lead time" }, span(row.lead)),
      el("span", { class: "num", "data-label": "Coverage" }, percent(row.coverage, 1)));
  }
}

const W = 150, H = 34, AHEAD = 26;

function spark(row) {
  const values = row.spark, peak = row.peak ?? [];
  const top = Math.max(1e-9, ...values.filter((v) => v !== null), ...peak.filter((v) => v !== null)) * 1.08;
  const x = (index) => (index / Math.max(values.length - 1, 1)) * (W - AHEAD), y = (value) => H - 2 - (value / top) * (H - 4);
  let d = "", pen = false;
  values.forEach((value, index) => {
    if (value === null) { pen = false; return; }
    d += `${pen ? "L" : "M"}${x(index).toFixed(1)} ${y(value).toFixed(1)}`;
    pen = true;
  });
  const last = values[values.length - 1], parts = [svg("path", { class: "line load", d })];
  if (last !== null && values.every((value) => value !== null)) {
    parts.unshift(svg("path", { class: "under", d: `${d}L${x(values.length - 1)} ${H}L0 ${H}Z` }));
  }
  if (last !== null && last !== undefined && peak[0] !== null && peak[0] !== undefined && row.kind === "rate") {
    const from = `M${W - AHEAD} ${y(last).toFixed(1)}`;
    parts.push(svg("path", { class: "band f3", d: `${from}L${W - 2} ${y(peak[4]).toFixed(1)}L${W - 2} ${y(peak[0]).toFixed(1)}Z` }));
    parts.push(svg("path", { class: "line median", d: `${from}L${W - 2} ${y(peak[0]).toFixed(1)}` }));
  }
  return svg("svg", { class: "spark", viewBox: `0 0 ${W} ${H}`, width: W, height: H, preserveAspectRatio: "none", "aria-hidden": "true" }, parts);
}

export function remembered(name) {
  try { return localStorage.getItem(`foresail.${name}`); } catch { return null; }
}

export function remember(name, value) {
  try { localStorage.setItem(`foresail.${name}`, value); } catch { /* a browser that keeps nothing */ }
}
