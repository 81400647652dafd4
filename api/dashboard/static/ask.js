// Asks before something is done: says what will happen, takes what has to be known, and stays open if it is refused.

import { byId, el, show } from "./dom.js";

byId("confirm-no").addEventListener("click", () => byId("confirm").close(""));

// `fields` are {name, label, value, kind: "text" | "number" | "long", options, help}; `submit` gets their values as text by name
// and may throw. Resolves to whether it was done.
export function ask({ title, text, action, danger = false, fields = [], submit }) {
  const dialog = byId("confirm");
  const form = dialog.querySelector("form");
  const yes = byId("confirm-yes");
  byId("confirm-title").textContent = title;
  byId("confirm-text").textContent = text;
  yes.textContent = action;
  yes.classList.toggle("danger", danger);
  dialog.classList.toggle("wide", fields.some((field) => field.kind === "long"));
  const inputs = fields.map(control);
  byId("confirm-fields").replaceChildren(...inputs.map(({ node }) => node));
  show(byId("confirm-wrong"), false);
  dialog.returnValue = "";
  dialog.showModal();

  async function send(event) {
    event.preventDefault();
    yes.disabled = true;
    try {
      await submit(Object.fromEntries(inputs.map(({ name, input }) => [name, input.value.trim()])));
      dialog.close("yes");
    } catch (error) {
      byId("confirm-wrong").textContent = error.message;
      show(byId("confirm-wrong"), true);
    } finally {
      yes.disabled = false;
    }
  }

  form.addEventListener("submit", send);
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      form.removeEventListener("submit", send);
      resolve(dialog.returnValue === "yes");
    }, { once: true });
  });
}

function control({ name, label, value = "", kind = "text", options, help }) {
  const input = options
    ? el("select", { name }, options.map(([key, title]) => el("option", { value: key }, title)))
    : el(kind === "long" ? "textarea" : "input", { name, spellcheck: "false", autocomplete: "off", dir: "auto",
      ...(kind === "number" ? { inputmode: "decimal" } : {}), ...(kind === "date" ? { type: "date" } : {}) });
  input.value = value;
  const node = el("label", { class: "field" }, el("span", {}, label), input, help ? el("span", { class: "muted small-text" }, help) : null);
  return { name, node, input };
}

// What a number field holds: null if it is empty.
export const numberOrNull = (text) => (text === "" ? null : Number.isFinite(Number(text)) ? Number(text) : text);
