// Elements from data. Text goes in as text nodes only, so nothing a user wrote is ever read as markup.

import { t } from "./i18n.js";

export const byId = (id) => document.getElementById(id);

export const root = document.body.dataset.root;

export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") for (const [event, handler] of Object.entries(value)) node.addEventListener(event, handler);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export function show(node, visible) {
  node.hidden = !visible;
}

// New content; where the keyboard was stays where it is, told by the `data-key` of the element.
export function replaceContent(parent, nodes) {
  const key = parent.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  parent.replaceChildren(...nodes);
  if (key) parent.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus();
}

// A new set of options; what was chosen stays chosen if it is still there.
export function setOptions(select, names, chosen) {
  const wanted = chosen ?? select.value;
  if (names.join("\n") !== [...select.options].map((option) => option.value).join("\n")) {
    select.replaceChildren(...names.map((name) => el("option", { value: name }, name)));
  }
  if (names.includes(wanted)) select.value = wanted;
}

const GLYPHS = {
  waiting: "○", running: "●", completed: "✓", pruned: "▼", stopped: "■", failed: "✕", paused: "‖", released: "↩", lost: "?",
  revoked: "✕", expired: "✕", valid: "✓", silent: "?",
};

// A state in words, with a shape and a colour of its own.
export function badge(state) {
  return el("span", { class: "badge", "data-state": state }, el("span", { "aria-hidden": "true" }, GLYPHS[state] ?? "·"), ` ${t(state)}`);
}

// What a user wrote, in its own direction.
export const written = (text) => el("bdi", {}, text);

// Names and values in two columns.
export function facts(pairs) {
  return el("table", { class: "facts" }, el("tbody", {}, pairs.map(([name, value]) =>
    el("tr", {}, el("th", { scope: "row" }, name), el("td", { dir: "auto" }, value)))));
}

export function tile(title, value, ...below) {
  return el("section", { class: "tile" }, el("h2", {}, title), el("p", { class: "big" }, value), ...below.map((line) =>
    line instanceof Node || line === null ? line : el("p", { class: "muted" }, line)));
}

export function studyPath(studyId) {
  return `${root}/studies/${encodeURIComponent(studyId)}`;
}

export function trialPath(studyId, number) {
  return `${studyPath(studyId)}/trials/${number}`;
}

// Calls `work` once `pause` milliseconds have passed without another call.
export function settled(work, pause) {
  let timer = 0;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...values), pause);
  };
}
