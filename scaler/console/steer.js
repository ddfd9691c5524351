// What can be asked by hand: fixed replicas or a fixed mode for a while, shadow. Each is confirmed, and logged.
// The token is kept in this page's memory alone: never in an address, never on disk.

import { el } from "./dom.js";

let token = "";

export function controls(state, row) {
  const name = row.observed
    ? [el("p", { class: "muted" }, "Only observed: decisions are recorded and served to nobody.")]
    : [];
  const replicas = input("number", { min: 0, max: 100000, value: row.soon ?? 1, required: true });
  const lasts = el("select", {}, [["30m", "30 minutes"], ["2h", "2 hours"], ["8h", "8 hours"], ["24h", "a day"]]
    .map(([value, text]) => el("option", { value, selected: value === "2h" }, text)));
  const reason = input("text", { maxlength: 400, required: true, placeholder: "load test, sale, incident …" });
  const form = el("form", {
    class: "hand",
    onsubmit: (event) => {
      event.preventDefault();
      confirm(state, row, `Fix ${row.ns}/${row.name} at ${replicas.value} replicas for ${lasts.selectedOptions[0].textContent}?`,
        "Forecast and reactive rule are set aside until then; minimum and maximum still hold.",
        { override: { replicas: Number(replicas.value), lasts: lasts.value, reason: reason.value } });
    },
  }, field("Replicas", replicas), field("For", lasts), field("Reason", reason), el("button", { class: "strong" }, "Fix replicas …"));
  const end = el("div", { class: "inforce" }, el("p", {}, el("b", {}, "In force: "), row.fixed),
    el("button", {
      type: "button", class: "strong",
      onclick: () => confirm(state, row, "End what is fixed by hand?", "The next decision is Foresail's own again.", { override: null }),
    }, "End it …"));
  const shadow = el("button", {
    type: "button", role: "switch", class: "switch", id: "shadow", "aria-checked": String(row.shadow),
    onclick: () => confirm(state, row, row.shadow ? "Serve the forecast?" : "Switch to shadow?",
      row.shadow ? "Decisions are served again, with the trust the forecast has earned."
        : "The reactive rule is served, as the HPA alone would; the forecast is only recorded.",
      // Back to what the trigger says, unless that is shadow itself.
      { shadow: !row.shadow || (row.stated ? false : null) }),
  }, el("span", { class: "knob" }));
  return [
    ...name,
    el("div", { class: "shadow" }, el("label", { for: "shadow" }, el("b", {}, "Shadow"),
      el("small", {}, "Decide and record, but serve what the HPA's own rule says.")), shadow),
    row.fixed ? end : form,
  ];
}

const input = (type, attributes) => el("input", { type, ...attributes });
const field = (name, control) => el("label", { class: "field" }, el("span", {}, name), control);

function confirm(state, row, question, meaning, change) {
  const said = el("p", { class: "refused", role: "alert", hidden: true });
  const by = input("text", { maxlength: 100, required: true, value: state.by ?? "", autocomplete: "name" });
  const secret = input("password", { value: token, autocomplete: "off", required: true });
  const yes = el("button", { class: "strong", value: "yes" }, "Yes, do it");
  const dialog = el("dialog", { "aria-labelledby": "question" },
    el("form", {
      class: "hand",
      onsubmit: async (event) => {
        event.preventDefault();
        yes.disabled = true;
        state.by = by.value;
        token = secret.value;
        const refused = await send(row, { ...change, by: by.value });
        yes.disabled = false;
        if (refused === null) {
          dialog.close();
          state.toast("Done: in force with the next decision, within seconds.");
        } else {
          said.hidden = false;
          said.textContent = refused;
        }
      },
    },
    el("h2", { id: "question" }, question), el("p", {}, meaning),
    field("Your name, for the log", by), state.hello?.token && field("Token", secret), said,
    el("div", { class: "buttons" },
      el("button", { type: "button", onclick: () => dialog.close() }, "Cancel"), yes)));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

async function send(row, body) {
  const address = `/v1/workloads/${encodeURIComponent(row.ns)}/${encodeURIComponent(row.name)}/steering`;
  const headers = { "Content-Type": "application/json", ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  try {
    const answer = await fetch(address, { method: "POST", headers, body: JSON.stringify(body) });
    if (answer.ok) return null;
    if (answer.status === 401) token = "";
    return `Refused (${answer.status}): ${(await answer.json()).error}`;
  } catch (error) {
    return `Not sent: ${error.message}`;
  }
}
