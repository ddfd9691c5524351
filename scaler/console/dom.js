// Elements from names, attributes and children. Text stays text: nothing here is ever read as markup.

const SVG = "http://www.w3.org/2000/svg";

const there = (child) => child !== null && child !== undefined && child !== false;

export const fill = (node, ...children) => node.replaceChildren(...children.flat().filter(there));

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter(there));
  return node;
}

export const el = (name, attributes, ...children) => filled(document.createElement(name), attributes, children);
export const svg = (name, attributes, ...children) => filled(document.createElementNS(SVG, name), attributes, children);

const SHORT = [[1e9, "G"], [1e6, "M"], [1e4, "k"]];

export function amount(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  for (const [unit, letter] of SHORT) if (size >= unit) return trim(value / (unit === 1e4 ? 1e3 : unit)) + letter;
  return size >= 100 ? Math.round(value).toLocaleString("en") : trim(value);
}

export const exact = (value) => value.toLocaleString("en", { maximumSignificantDigits: 6 });

const trim = (value) => String(Number(value.toPrecision(3)));

export const percent = (share, digits = 0) =>
  share === null || share === undefined || Number.isNaN(share) ? "–" : `${(100 * share).toFixed(digits)} %`;

export function span(seconds) {
  if (seconds === null || seconds === undefined || Number.isNaN(seconds)) return "–";
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} d`;
}

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hour12: false });
const SECOND = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
const DAY = new Intl.DateTimeFormat(undefined, { weekday: "short", day: "numeric", month: "short" });

export const clock = (seconds) => CLOCK.format(seconds * 1000);
export const exactly = (seconds) => SECOND.format(seconds * 1000);
export const day = (seconds) => DAY.format(seconds * 1000);

export const MODES = {
  Learning: "Too little history or no model yet: the reactive rule is served.",
  Recovery: "A validated model earns its trust: more replicas are served at once, fewer step by step.",
  Normal: "The forecast is trusted and served.",
  Degraded: "The forecast is not trusted now: the reactive rule is served.",
  Retraining: "A new model is being fitted: the reactive rule is served meanwhile.",
  Holding: "No fresh load sample: the answer is held.",
  Failed: "No load sample for ten minutes: KEDA's own fallback acts.",
};

export const chip = (mode) =>
  el("span", { class: "chip", "data-mode": mode, title: MODES[mode] ?? "" }, mode);
