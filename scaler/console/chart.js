// Charts as SVG, drawn anew for the width they have; several share one cursor.
//
// A chart shows { from, to, now, bands: [{ kind, lower, upper }], lines: [{ name, kind, points, step }] } with points
// [seconds, value]; kinds are classes of style.css.

import { amount, clock, day, el, exact, exactly, svg } from "./dom.js";

const LEFT = 46, RIGHT = 12, TOP = 10, BOTTOM = 24;
const TICKS = [60, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800];

export class Cursor {
  #watchers = [];
  watch(watcher) { this.#watchers.push(watcher); }
  at(seconds) { for (const watcher of this.#watchers) watcher(seconds); }
}

export class Chart {
  constructor(title, height, cursor, whole = false) {
    this.height = height;
    this.cursor = cursor;
    this.whole = whole;
    this.hidden = new Set();
    this.canvas = svg("svg", { class: "chart", height, role: "img", "aria-label": title, tabindex: "0" });
    this.tip = el("div", { class: "tip", hidden: true });
    this.legend = el("div", { class: "legend" });
    this.node = el("div", { class: "plot" }, this.canvas, this.tip, this.legend);
    this.canvas.addEventListener("pointermove", (event) => this.cursor.at(this.#time(event)));
    this.canvas.addEventListener("pointerleave", () => this.cursor.at(null));
    this.canvas.addEventListener("blur", () => this.cursor.at(null));
    this.canvas.addEventListener("keydown", (event) => this.#key(event));
    cursor.watch((seconds) => this.#point(seconds));
    new ResizeObserver(() => this.draw()).observe(this.node);
  }

  show(model) {
    this.model = model;
    this.#name();
    this.draw();
  }

  #name() {
    const items = [];
    for (const one of [...this.model.lines, ...this.model.bands]) {
      if (!one.name || (one.points ?? one.upper).length === 0) continue;
      const toggle = () => {
        this.hidden.has(one.name) ? this.hidden.delete(one.name) : this.hidden.add(one.name);
        this.#name();
        this.draw();
      };
      items.push(el("button", {
        class: "key", type: "button", "aria-pressed": String(!this.hidden.has(one.name)), title: one.help, onclick: toggle,
      }, el("span", { class: `swatch ${one.kind}` }), one.name));
    }
    this.legend.replaceChildren(...items);
  }

  draw() {
    const { model } = this, width = this.node.clientWidth;
    if (!model || !width) return;
    this.x = (seconds) => LEFT + ((seconds - model.from) / (model.to - model.from)) * (width - LEFT - RIGHT);
    this.width = width;
    const lines = model.lines.filter((line) => !this.hidden.has(line.name));
    const bands = model.bands.filter((band) => !this.hidden.has(band.name));
    let top = 0;
    for (const { points } of lines) for (const [, value] of points) if (value > top) top = value;
    for (const { upper } of bands) for (const [, value] of upper) if (value > top) top = value;
    const step = nice(top / 5 || 1, this.whole), high = Math.max(step * Math.ceil((top * 1.04) / step), step);
    this.y = (value) => TOP + (1 - value / high) * (this.height - TOP - BOTTOM);
    this.rule = svg("line", { class: "rule", y1: TOP, y2: this.height - BOTTOM, visibility: "hidden" });
    this.dots = svg("g");
    this.canvas.setAttribute("viewBox", `0 0 ${width} ${this.height}`);
    this.canvas.replaceChildren(
      ...this.#future(), ...this.#grid(high, step), ...bands.map((band) => this.#band(band)),
      ...lines.map((line) => this.#line(line)), ...this.#now(), this.rule, this.dots,
    );
  }

  #future() {
    const { now, to } = this.model;
    if (now >= to) return [];
    const x = this.x(now);
    return [svg("rect", {
      class: "future", x, y: TOP, width: Math.max(this.width - RIGHT - x, 0), height: this.height - TOP - BOTTOM,
    })];
  }

  #grid(high, step) {
    const parts = [];
    for (let value = 0; value <= high + step / 2; value += step) {
      const y = this.y(value);
      parts.push(svg("line", { class: "grid", x1: LEFT, x2: this.width - RIGHT, y1: y, y2: y }));
      parts.push(svg("text", { class: "tick", x: LEFT - 8, y: y + 4, "text-anchor": "end" }, amount(value)));
    }
    const { from, to } = this.model, room = Math.max((this.width - LEFT - RIGHT) / 84, 2);
    const every = TICKS.find((one) => (to - from) / one <= room) ?? 604800;
    const zone = new Date(from * 1000).getTimezoneOffset() * 60;
    for (let at = Math.ceil((from - zone) / every) * every + zone; at <= to; at += every) {
      const x = this.x(at), midnight = (at - zone) % 86400 === 0;
      if (x < LEFT + 12 || x > this.width - RIGHT - 12) continue;
      parts.push(svg("line", { class: "grid", x1: x, x2: x, y1: TOP, y2: this.height - BOTTOM }));
      parts.push(svg("text", { class: "tick", x, y: this.height - 6, "text-anchor": "middle" },
        midnight || every >= 86400 ? day(at) : clock(at)));
    }
    return parts;
  }

  #line({ kind, points, step }) {
    return svg("path", { class: `line ${kind}`, d: path(points, this.x, this.y, step, this.model.gap) });
  }

  #band({ kind, lower, upper }) {
    const low = new Map(lower), both = upper.filter(([at]) => low.has(at));
    let d = "";
    for (const part of pieces(both, this.model.gap)) {
      const there = part.map(([at, value]) => `${this.x(at).toFixed(1)},${this.y(value).toFixed(1)}`);
      const back = part.reverse().map(([at]) => `${this.x(at).toFixed(1)},${this.y(low.get(at)).toFixed(1)}`);
      d += `M${there.join("L")}L${back.join("L")}Z`;
    }
    return svg("path", { class: `band ${kind}`, d });
  }

  #now() {
    const { from, now, to } = this.model;
    if (now <= from || now >= to) return [];
    const x = this.x(now), near = x > this.width - 60;
    return [
      svg("line", { class: "now", x1: x, x2: x, y1: TOP, y2: this.height - BOTTOM }),
      svg("text", { class: "nowtext", x: x + (near ? -5 : 5), y: TOP + 11, "text-anchor": near ? "end" : "start" }, "now"),
    ];
  }

  #time(event) {
    const box = this.canvas.getBoundingClientRect(), { from, to } = this.model ?? { from: 0, to: 1 };
    const share = (event.clientX - box.left - LEFT) / (box.width - LEFT - RIGHT);
    return from + Math.min(Math.max(share, 0), 1) * (to - from);
  }

  #key(event) {
    const steps = { ArrowLeft: -1, ArrowRight: 1, PageDown: -10, PageUp: 10 }[event.key];
    if (!this.model || (!steps && event.key !== "Escape")) return;
    event.preventDefault();
    const { from, now, to } = this.model;
    this.held = steps ? Math.min(Math.max((this.held ?? now) + (steps * (to - from)) / 120, from), to) : null;
    this.cursor.at(this.held);
  }

  #point(seconds) {
    if (!this.rule || seconds === null || seconds < this.model.from || seconds > this.model.to) {
      this.rule?.setAttribute("visibility", "hidden");
      this.dots?.replaceChildren();
      this.tip.hidden = true;
      return;
    }
    const x = this.x(seconds), rows = [], dots = [];
    for (const line of this.model.lines) {
      const value = this.hidden.has(line.name) ? undefined : valueAt(line, seconds, this.model.gap);
      if (value === undefined) continue;
      dots.push(svg("circle", { class: `dot ${line.kind}`, cx: x, cy: this.y(value), r: 3.5 }));
      if (line.name) rows.push([line.kind, line.name, exact(value)]);
    }
    for (const band of this.model.bands) {
      if (!band.name || this.hidden.has(band.name)) continue;
      const value = valueAt({ points: band.upper }, seconds, this.model.gap);
      if (value !== undefined) rows.push([band.kind, `${band.name} up to`, exact(value)]);
    }
    this.rule.setAttribute("x1", x);
    this.rule.setAttribute("x2", x);
    this.rule.setAttribute("visibility", "visible");
    this.dots.replaceChildren(...dots);
    this.tip.replaceChildren(
      el("strong", {}, `${day(seconds)} ${exactly(seconds)}`),
      ...rows.map(([kind, name, value]) =>
        el("div", { class: "tiprow" }, el("span", { class: `swatch ${kind}` }), el("span", {}, name), el("b", {}, value))),
    );
    this.tip.hidden = rows.length === 0;
    this.tip.style.left = `${x > this.width / 2 ? x - this.tip.offsetWidth - 14 : x + 14}px`;
  }
}

export function nice(step, whole = false) {
  const power = 10 ** Math.floor(Math.log10(step));
  const found = [1, 2, 2.5, 5, 10].find((one) => one * power >= step) * power;
  return whole ? Math.max(Math.ceil(found), 1) : found;
}

function* pieces(points, gap) {
  let part = [];
  for (const point of points) {
    if (part.length && point[0] - part[part.length - 1][0] > gap) {
      yield part;
      part = [];
    }
    part.push(point);
  }
  if (part.length) yield part;
}

export function path(points, x, y, step, gap = Infinity) {
  let d = "";
  for (const part of pieces(points, gap)) {
    part.forEach(([at, value], index) => {
      const place = `${x(at).toFixed(1)} ${y(value).toFixed(1)}`;
      if (index === 0) d += `M${place}`;
      else if (step) d += `H${x(at).toFixed(1)}V${y(value).toFixed(1)}`;
      else d += `L${place}`;
    });
  }
  return d;
}

function valueAt({ points }, seconds, gap) {
  let low = 0, high = points.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    points[middle][0] <= seconds ? (low = middle + 1) : (high = middle);
  }
  const found = points[low - 1];
  return found && seconds - found[0] <= gap ? found[1] : undefined;
}
