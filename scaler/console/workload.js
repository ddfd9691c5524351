// One workload: its picture with the future in it, why it is as it is, and what can be asked by hand.

import { Chart, Cursor } from "./chart.js";
import { MODES, amount, chip, clock, day, el, exactly, fill, percent, span, svg } from "./dom.js";
import { controls } from "./steer.js";

const HOUR = 3600;
const RANGES = [
  { name: "1 h", past: HOUR, ahead: HOUR / 2 }, { name: "3 h", past: 3 * HOUR, ahead: HOUR },
  { name: "12 h", past: 12 * HOUR, ahead: 6 * HOUR }, { name: "1 d", past: 24 * HOUR, ahead: 12 * HOUR },
  { name: "7 d", past: 168 * HOUR, ahead: 24 * HOUR },
];
const LEVELS = ["0.5", "0.9", "0.97", "0.99", "0.995"];
const SHOWN = "foresail_(load|arrivals|forecast_load|day_peak_load|capacity_load|replicas|mode|guardrail_replicas)";
const MARGINS = { left: 46, right: 12 };
const POINTS = 400;

async function ask(path, parameters) {
  const answer = await fetch(`/prometheus/api/v1/${path}`, { method: "POST", body: new URLSearchParams(parameters) });
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.error ?? answer.statusText);
  return body.data.result;
}

export class Workload {
  constructor(state, ns, name) {
    Object.assign(this, { state, ns, name, key: `${ns}/${name}`, range: RANGES[1], ended: false });
    const cursor = new Cursor();
    this.load = new Chart(`Load and forecast of ${this.key}`, 320, cursor);
    this.replicas = new Chart(`Replicas of ${this.key}`, 200, cursor, true);
    this.lanes = el("div", { class: "lanes" });
    this.head = el("div", { class: "title" });
    this.reason = el("div", { class: "reason" });
    this.explained = new Map();
    this.tiles = el("dl", { class: "tiles" });
    this.trouble = el("p", { class: "note", hidden: true });
    this.decisions = el("ol", { class: "decisions" });
    this.hand = el("div", {});
    const ranges = el("div", { class: "ranges", role: "group", "aria-label": "Time range" }, RANGES.map((range) =>
      el("button", { type: "button", "aria-pressed": String(range === this.range), onclick: () => this.#choose(range, ranges) },
        range.name)));
    this.node = el("div", { class: "page one" },
      el("nav", { class: "crumb" }, el("a", { href: "#/" }, "← All workloads")),
      this.head, this.reason, this.trouble, this.tiles,
      el("section", { class: "card" },
        el("div", { class: "cardhead" }, el("h2", {}, "Load and forecast"), el("span", { class: "grow" }), ranges),
        this.load.node),
      el("section", { class: "card" }, el("div", { class: "cardhead" }, el("h2", {}, "Replicas")), this.replicas.node),
      el("section", { class: "card" }, el("div", { class: "cardhead" }, el("h2", {}, "Mode and guardrails")), this.lanes),
      el("div", { class: "two" },
        el("section", { class: "card" }, el("div", { class: "cardhead" }, el("h2", {}, "Last decisions")), this.decisions),
        el("section", { class: "card" }, el("div", { class: "cardhead" }, el("h2", {}, "By hand")), this.hand)));
    new ResizeObserver(() => this.#drawLanes()).observe(this.lanes);
    this.update();
  }

  end() { this.ended = true; }

  update() {
    const row = this.state.rows.get(this.key);
    if (!row) {
      this.head.replaceChildren(el("h1", {}, this.key));
      this.reason.textContent = "This workload is not tracked (any more).";
      return;
    }
    this.row = row;
    this.#showHead(row);
    const said = JSON.stringify([row.fixed, row.shadow, row.observed]);
    if (said !== this.handSaid) {
      this.handSaid = said;
      this.hand.replaceChildren(...controls(this.state, row));
    }
    this.#fetch();
  }

  #showHead(row) {
    fill(this.head,
      el("h1", {}, el("span", { class: "muted" }, `${row.ns} / `), row.name), chip(row.mode),
      row.shadow && el("span", { class: "chip quiet" }, "shadow"), row.observed && el("span", { class: "chip quiet" }, "observed only"),
      row.paused && el("span", { class: "chip quiet" }, "paused by KEDA"), row.fixed && el("span", { class: "chip warn" }, "fixed by hand"));
    this.trouble.hidden = !row.trouble;
    this.trouble.textContent = row.trouble ? `No load sample: ${row.trouble}` : "";
    const peak = row.peak ?? [], max = row.max !== null && row.soon >= row.max;
    this.#tiles = [
      ["Replicas now → soon", `${row.now ?? "–"} → ${row.soon ?? "–"}`, max ? "at its maximum" : `${row.ready ?? "–"} ready, the HPA alone ran ${row.alone ?? "–"}`],
      [row.kind === "queue" ? "Backlog now" : "Load now", amount(row.load), `one replica bears ${amount(row.capacity)}`],
      ["Forecast peak", amount(peak[0]), peak[2] === undefined ? "" : `${amount(peak[2])} with 97 % probability not exceeded`],
      ["Lead time", span(row.lead), "from asking for a replica to its serving"],
      ["Coverage of 97 %", percent(this.coverage ?? row.coverage, 1), "of the last day's peaks stayed below their 97 % bound"],
      ["Against the HPA alone", this.saving === undefined ? "–" : signed(this.saving), "replica-hours, last day"],
    ];
  }

  set #tiles(tiles) {
    this.tiles.replaceChildren(...tiles.map(([name, value, more]) =>
      el("div", { class: "tile" }, el("dt", {}, name), el("dd", {}, value), el("small", {}, more))));
  }

  #choose(range, group) {
    this.range = range;
    [...group.children].forEach((button, index) => button.setAttribute("aria-pressed", String(RANGES[index] === range)));
    this.#fetch();
  }

  async #fetch() {
    if (this.fetching) { this.again = true; return; }
    this.fetching = true;
    try {
      await Promise.all([this.#fetchPicture(), this.#fetchDecisions(), this.#fetchNumbers()]);
    } catch (error) {
      this.trouble.hidden = false;
      this.trouble.textContent = `Not read: ${error.message}`;
    }
    this.fetching = false;
    if (this.again && !this.ended) { this.again = false; this.#fetch(); }
  }

  get #one() { return `namespace=${JSON.stringify(this.ns)},workload=${JSON.stringify(this.name)}`; }

  async #fetchPicture() {
    const now = this.row.t ?? Date.now() / 1000, { past, ahead } = this.range, base = this.row.step;
    const step = Math.max(Math.ceil((past + ahead) / POINTS / base), 1) * base;
    const from = Math.floor((now - past) / step) * step, to = Math.ceil((now + ahead) / step) * step;
    const series = await ask("query_range", { query: `{__name__=~"${SHOWN}",${this.#one}}`, start: from, end: to, step });
    if (this.ended) return;
    this.data = { series, from, to, now, step };
    this.#draw();
  }

  #series(name, label, value) {
    const found = this.data.series.find(({ metric }) => metric.__name__ === name && (!label || metric[label] === value));
    return (found?.values ?? []).map(([at, text]) => [at, Number(text)]);
  }

  #draw() {
    const { from, to, now, step } = this.data, gap = 2.1 * step;
    const levels = LEVELS.map((level) => this.#series("foresail_forecast_load", "level", level));
    const path = levels[0], horizon = path.length ? path[path.length - 1][0] : now;
    const seen = this.#series(this.row.kind === "queue" ? "foresail_arrivals" : "foresail_load").filter(([at]) => at <= now);
    const hours = this.#series("foresail_day_peak_load").filter(([at]) => at > horizon);
    const past = (points) => points.filter(([at]) => at <= now);
    this.load.show({
      from, to, now, gap,
      bands: [
        { name: "to 99.5 %", kind: "f1", lower: levels[2], upper: levels[4] },
        { name: "to 97 %", kind: "f2", lower: levels[1], upper: levels[2] },
        { name: "to 90 %", kind: "f3", lower: levels[0], upper: levels[1] },
      ],
      lines: [
        { name: "what replicas bear", kind: "capacity", points: past(this.#series("foresail_capacity_load", "kind", "serving")), step: true },
        { name: "forecast, median", kind: "median", points: path, help: "Left of now as it was made a lead window before" },
        { name: "peak of the hour", kind: "hours", points: hours.length > 1 ? hours : [], step: true, help: "Largest load of each of the coming hours" },
        { name: this.row.kind === "queue" ? "arrivals" : "load", kind: "load", points: seen },
      ],
    });
    const kind = (name) => this.#series("foresail_replicas", "kind", name);
    this.replicas.show({
      from, to, now, gap, bands: [],
      lines: [
        { name: "needed by the load", kind: "needed", points: past(kind("required")), step: true },
        { name: "HPA alone", kind: "alone", points: past(kind("reactive_alone")), step: true },
        { name: "wanted by the forecast", kind: "wish", points: kind("forecast"), step: true },
        { name: "ready", kind: "ready", points: past(kind("ready")), step: true },
        { name: "decided", kind: "decided", points: past(kind("served")), step: true },
      ],
    });
    this.#drawLanes();
  }

  #drawLanes() {
    const width = this.lanes.clientWidth;
    if (!this.data || !width) return;
    const { from, to, now, step } = this.data;
    const x = (at) => MARGINS.left + ((at - from) / (to - from)) * (width - MARGINS.left - MARGINS.right);
    const rects = (series, kind, y, said) => segments(series, step).map(([begin, end, value]) =>
      svg("rect", { class: kind, x: x(begin), y, width: Math.max(x(Math.min(end, now)) - x(begin), 1.5), height: 18, rx: 3 },
        svg("title", {}, `${said(value)}, ${clock(begin)} – ${clock(end)}`)));
    const parts = [svg("text", { class: "tick", x: 0, y: 17 }, "mode")];
    for (const mode of Object.keys(MODES)) {
      const series = this.#series("foresail_mode", "mode", mode).filter(([, value]) => value > 0);
      parts.push(...rects(series, `lane mode-${mode}`, 4, () => `${mode}: ${MODES[mode]}`));
    }
    const moved = this.data.series.filter(({ metric }) => metric.__name__ === "foresail_guardrail_replicas");
    const lanes = moved.map(({ metric, values }) =>
      [metric.guardrail, values.map(([at, text]) => [at, Number(text)]).filter(([, value]) => value !== 0)]);
    let y = 28;
    for (const [name, series] of lanes.filter(([, values]) => values.length)) {
      const told = name.replaceAll("_", " ");
      parts.push(svg("text", { class: "tick", x: MARGINS.left, y: y + 10 }, told));
      parts.push(...rects(series, "lane guard", y + 14, (value) => `${told}: ${value > 0 ? "+" : "−"}${Math.abs(value)} replicas`));
      y += 38;
    }
    if (y === 28) {
      parts.push(svg("text", { class: "tick", x: MARGINS.left, y: y + 13 }, "No guardrail moved a number in this time."));
      y += 22;
    }
    parts.push(svg("line", { class: "now", x1: x(now), x2: x(now), y1: 0, y2: y }));
    this.lanes.replaceChildren(svg("svg", {
      class: "chart", viewBox: `0 0 ${width} ${y}`, height: y, role: "img",
      "aria-label": `Mode now: ${this.row.mode}. ${MODES[this.row.mode]}`,
    }, parts));
  }

  async #fetchNumbers() {
    if (this.numbersAt && Date.now() - this.numbersAt < 60000) return;
    this.numbersAt = Date.now();
    const mean = (kind) => `sum(avg_over_time(foresail_replicas{kind="${kind}",${this.#one}}[1d]))`;
    const [covered, saved, earlier] = await Promise.all([
      ask("query", { query: `foresail_coverage{level="0.97",${this.#one}}` }),
      ask("query", { query: `${mean("served")} / ${mean("reactive_alone")} - 1` }),
      ask("query", { query: `foresail_replicas{kind="served",${this.#one}} offset 1h` }),
    ]);
    this.coverage = covered.length ? Number(covered[0].value[1]) : undefined;
    this.saving = saved.length && earlier.length ? Number(saved[0].value[1]) : undefined;
    this.#showHead(this.row);
  }

  get #address() { return `/v1/workloads/${encodeURIComponent(this.ns)}/${encodeURIComponent(this.name)}`; }

  async #explain(t) {
    if (!this.explained.has(t)) {
      const answer = await fetch(`${this.#address}/explain?at=${t}`);
      if (!answer.ok) return null;
      const { headline, sentences } = await answer.json();
      this.explained.set(t, [headline.slice(headline.indexOf(": ") + 2), ...sentences]);
    }
    return this.explained.get(t);
  }

  async #fetchDecisions() {
    const { decisions } = await (await fetch(`${this.#address}/decisions?limit=120`)).json();
    if (this.ended || !decisions?.length) return;
    const changes = decisions.filter((one, index) =>
      index === decisions.length - 1 || told(one) !== told(decisions[index + 1])).slice(0, 12);
    const [newest, ...whys] = await Promise.all([decisions[0], ...changes].map((one) => this.#explain(one.t)));
    if (this.ended) return;
    const [headline, first, ...more] = newest ?? [told(decisions[0])];
    this.reason.replaceChildren(el("p", {}, el("b", {}, headline), " ", first ?? ""), el("p", { class: "more" }, more.join(" ")));
    const open = new Set([...this.decisions.querySelectorAll("details[open]")].map((node) => node.dataset.t));
    this.decisions.replaceChildren(...changes.map((one, index) => entry(one, whys[index], open.has(String(one.t)))));
  }
}

const told = (one) => `${one.predicted_replicas} replicas, ${one.mode}${one.held_by.map((name) => `, ${name}`).join("")}`;

function entry(one, why, open) {
  const [headline, first, ...more] = why ?? [told(one)];
  const facts = [
    ["load", amount(one.load)], ["forecast peak, median", amount(one.peak["0.5"])], ["97 % bound", amount(one.peak["0.97"])],
    ["read at level", percent(one.level, 1)], ["one replica bears", amount(one.capacity)], ["wanted by the forecast", one.predictive ?? "–"],
    ["wanted by the HPA's rule", one.reactive], ["proposed", one.proposal],
    ...Object.entries(one.guardrails).filter(([name]) => one.held_by.includes(name)).map(([name, n]) => [`after ${name.replaceAll("_", " ")}`, n]),
    ["sent to the HPA", one.value], ["model", one.model_version],
  ];
  return el("li", {}, el("details", { open, "data-t": one.t },
    el("summary", {}, el("time", { title: day(one.t) }, exactly(one.t)), el("span", {}, el("b", {}, headline), " ", first ?? "")),
    el("ul", { class: "whys" }, more.map((text) => el("li", {}, text))),
    el("dl", { class: "facts" }, facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, String(value)))))));
}

const signed = (share) => `${share > 0 ? "+" : share < 0 ? "−" : ""}${percent(Math.abs(share), 1)}`;

function segments(points, step) {
  const found = [];
  for (const [at, value] of points) {
    const last = found[found.length - 1];
    if (last && at - last[1] <= 0.1 * step && last[2] === value) last[1] = at + step;
    else found.push([at, at + step, value]);
  }
  return found;
}
