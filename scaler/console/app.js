// The page: which view is shown, and the stream that keeps it live.

import { el } from "./dom.js";
import { List, remember, remembered } from "./list.js";
import { Workload } from "./workload.js";

const main = document.getElementById("main"), live = document.getElementById("live");
const state = { rows: new Map(), hello: null, toast };
let view = null, heardAt = 0;

function route() {
  const parts = location.hash.replace(/^#\/?/, "").split("/").map(decoded);
  view?.end?.();
  if (state.hello === null) return;
  if (parts.length === 2 && parts[1]) {
    view = new Workload(state, parts[0], parts[1]);
    document.title = `${parts[1]} – Foresail`;
  } else {
    view = new List(state);
    document.title = "Foresail";
  }
  main.replaceChildren(view.node);
  window.scrollTo(0, 0);
}

function decoded(text) {
  try { return decodeURIComponent(text); } catch { return text; }
}

function take(message) {
  heardAt = Date.now();
  show("on");
  if (message.hello) {
    state.hello = message.hello;
    document.getElementById("version").textContent = `Foresail ${message.hello.version}`;
    state.rows.clear();
    return;
  }
  for (const key of message.gone ?? []) state.rows.delete(key);
  const changed = (message.rows ?? []).map((row) => {
    const key = `${row.ns}/${row.name}`;
    state.rows.set(key, row);
    return key;
  });
  if (view === null) route();
  else if (changed.length || message.gone) {
    if (view instanceof List) view.update(changed);
    else if (changed.includes(view.key) || message.gone?.includes(view.key)) view.update();
  }
}

async function listen() {
  for (let pause = 1; ; pause = Math.min(pause * 2, 15)) {
    try {
      const answer = await fetch("/v1/stream", { headers: { Accept: "application/x-ndjson" } });
      if (!answer.ok) throw new Error(answer.statusText);
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        pause = 1;
        const lines = (rest + value).split("\n");
        rest = lines.pop();
        for (const line of lines) if (line) take(JSON.parse(line));
      }
    } catch { /* told by the light above, and tried again */ }
    show("off");
    await new Promise((done) => setTimeout(done, pause * 1000));
  }
}

function show(how) {
  if (live.dataset.state === how) return;
  live.dataset.state = how;
  live.textContent = { on: "live", off: "not connected", wait: "connecting" }[how];
}

setInterval(() => {
  if (heardAt) show(Date.now() - heardAt < 12000 ? "on" : "off");
}, 1000);

let toasting = null;
function toast(text) {
  clearTimeout(toasting);
  document.querySelector(".toast")?.remove();
  const node = el("div", { class: "toast", role: "status" }, text);
  document.body.append(node);
  toasting = setTimeout(() => node.remove(), 6000);
}

const root = document.documentElement, wanted = remembered("theme");
if (wanted) root.dataset.theme = wanted;
document.getElementById("theme").addEventListener("click", () => {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  remember("theme", root.dataset.theme);
});

addEventListener("hashchange", route);
addEventListener("keydown", (event) => {
  if (event.key === "/" && view?.focus && !/INPUT|SELECT|TEXTAREA/.test(document.activeElement?.tagName)) {
    event.preventDefault();
    view.focus();
  }
});
listen();
