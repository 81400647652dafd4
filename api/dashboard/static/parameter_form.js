// The search space in a form: a row for each setting that the task understands.

import { el } from "./dom.js";
import { param, range } from "./format.js";
import { t } from "./i18n.js";

const MODES = { off: "not searched", range: "range", values: "values", value: "fixed" };

const modeOf = (body) => (body === undefined ? "off" : "value" in body ? "value" : "values" in body ? "values" : "range");

// `set(path, value, again)` changes the study; `messageOf(path)` is what is wrong there.
export function parameterRows(study, task, set, messageOf) {
  const auto = study.parameters === "auto";
  const box = el("input", { type: "checkbox", "data-key": "auto", on: {
    change: () => set(["parameters"], box.checked ? "auto" : structuredClone(task.default_space), true),
  } });
  box.checked = auto;
  const all = el("label", { class: "full" }, box, ` ${t("the usual space of the task")}`);
  if (auto) return [all, ...Object.entries(task.default_space).map(([name, body]) => el("p", { class: "muted small-text full" }, `${name}: ${range(body)}`))];
  return [all, ...task.hyperparameters.map((rule) => row(rule, study.parameters?.[rule.name], set, messageOf))];
}

function row(rule, body, set, messageOf) {
  const path = ["parameters", rule.name];
  const mode = modeOf(body);
  const modes = Object.entries(MODES).filter(([key]) => key !== "range" || rule.kind !== "choice");
  const select = el("select", { "data-key": path.join("."), "data-path": path.join("."), "aria-label": t("How {name} is searched", rule), on: {
    change: () => set(path, beginning(select.value, rule, body), true),
  } }, modes.map(([key, label]) => el("option", { value: key }, t(label))));
  select.value = mode;
  const wrong = [path.join("."), ...["min", "max", "step", "log", "value", "values", "when"].map((key) => [...path, key].join("."))]
    .flatMap((key) => [messageOf(key)]).filter(Boolean);
  return el("div", { class: "parameter full" },
    el("span", { class: "parameter-name", title: rule.help }, rule.name),
    select,
    el("span", { class: "parameter-values" }, inputs(mode, rule, body, path, set)),
    body?.when ? el("span", { class: "muted small-text" }, t("only under a condition: see the file")) : null,
    wrong.length ? el("span", { class: "wrong full" }, wrong.join("; ")) : null,
    el("span", { class: "muted small-text full" }, rule.help));
}

function inputs(mode, rule, body, path, set) {
  const input = (key, label, value, read) => {
    const full = [...path, key].join(".");
    const node = el("input", { "data-key": full, "data-path": full, "aria-label": `${rule.name}: ${label}`, placeholder: label, autocomplete: "off" });
    node.value = value ?? "";
    node.addEventListener("change", () => set([...path, key], read(node.value.trim())));
    return node;
  };
  if (mode === "range") {
    const log = el("input", { type: "checkbox", "data-key": `${path.join(".")}.log`, "data-path": `${path.join(".")}.log`, on: { change: () => set([...path, "log"], log.checked || undefined) } });
    log.checked = body.log === true;
    return [input("min", t("from"), text(body.min), one), input("max", t("to"), text(body.max), one), el("label", {}, log, " log")];
  }
  if (mode === "values") return [input("values", t("values, separated by commas"), (body.values ?? []).map(text).join(", "), (given) => given.split(",").map((part) => one(part.trim())).filter((value) => value !== undefined))];
  if (mode === "value") return [input("value", t("value"), text(body.value), one)];
  return [el("span", { class: "muted" }, t("usual: {name}", { name: param(rule.default) }))];
}

// What a parameter becomes when it is to be searched in another way.
function beginning(mode, rule, before) {
  const when = before?.when ? { when: before.when } : {};
  if (mode === "off") return undefined;
  if (mode === "value") return { value: rule.default, ...when };
  if (mode === "values") return { values: rule.kind === "choice" ? rule.choices : [rule.default], ...when };
  const low = rule.low ?? 0;
  const high = rule.high ?? (typeof rule.default === "number" && rule.default > 0 ? rule.default * 10 : 1);
  return { min: rule.low_open && rule.kind === "float" ? high / 1000 : low, max: high, ...when };
}

const text = (value) => (value === undefined ? "" : value === null ? "null" : typeof value === "number" ? exact(value) : String(value));
// Whole, so that what is shown is what is kept.
const exact = (value) => (value !== 0 && Math.abs(value) < 1e-3 ? value.toExponential().replace("e+", "e") : String(value));

function one(given) {
  if (given === "") return undefined;
  if (given === "null") return null;
  if (given === "true" || given === "false") return given === "true";
  return Number.isFinite(Number(given)) ? Number(given) : given;
}
