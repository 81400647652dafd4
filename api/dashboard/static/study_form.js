// The form of a study, made from the catalog and from the service's own schema: what they learn to know shows up here by itself.

import { el, replaceContent } from "./dom.js";
import { t } from "./i18n.js";
import { objectives } from "./objective.js";
import { parameterRows } from "./parameter_form.js";
import { LIMITS, valueAt, withValue } from "./study_draft.js";

const LABELS = {
  name: "Name", task: "Task", model: "Model", "data.train": "Training data", "data.validation": "Validation: a source, or a share",
  "data.test": "Test: a source, or a share", "data.limit": "First rows only", "objective.metric": "Objective", "objective.direction": "Direction",
  parallelism: "Trials at once, at most", retries: "Retries after a lost worker", seed: "Seed", "resources.gpus": "GPUs per trial",
  "sampler.name": "Sampler", "pruner.name": "Pruner", notes: "Notes",
};

export function studyForm(root, catalog, schemas, onChange) {
  let study = {};
  let errors = [];

  function set(path, value, again = false) {
    study = withValue(study, path, value);
    if (again) render();
    onChange(study);
  }

  function render() {
    const task = catalog.tasks.find((known) => known.task === study.task) ?? catalog.tasks[0];
    replaceContent(root, [
      list("models", catalog.models), list("data", catalog.data),
      group(t("What is trained"), [
        field(["name"], { placeholder: t("made up if empty") }),
        choice(["task"], catalog.tasks.map(({ task: name, title }) => [name, title])),
        field(["model"], { list: "list-models" }),
        field(["data", "train"], { list: "list-data" }), field(["data", "validation"], { placeholder: "0.1" }), field(["data", "test"], { placeholder: t("none") }),
        field(["data", "limit"], { placeholder: t("all") }),
        ...Object.entries(task.columns).map(([role, usual]) => field(["data", "columns", role], { placeholder: usual, label: t("Column: {role}", { role }) })),
      ]),
      group(t("What is best"), objectives(study).length > 1
        ? [el("p", { class: "muted" }, t("Several objectives: change them in the study file."))]
        : [choice(["objective", "metric"], Object.keys(task.metrics).map((name) => [name, name]), t("the first: {name}", { name: Object.keys(task.metrics)[0] })),
          choice(["objective", "direction"], [["maximize", t("maximize")], ["minimize", t("minimize")]], t("the metric's own"))]),
      group(t("What is searched"), parameterRows(study, task, set, messageOf)),
      group(t("How it is searched"), [...section("sampler"), ...section("pruner")]),
      group(t("When it ends, and what it may use"), [
        ...Object.entries(schemas.Budget.properties).map(([name, body]) => field(["budget", name], { label: t(LIMITS[name] ?? spelled(name)), placeholder: shown(body.default) })),
        ...["parallelism", "retries", "seed"].map((name) => field([name], { placeholder: shown(schemas.StudySpec.properties[name].default) })),
        field(["resources", "gpus"], { placeholder: "auto" }),
      ]),
      group(t("For people"), [field(["notes"], {})]),
    ]);
  }

  // A part of which the schema knows several kinds, told apart by `name`.
  function section(key) {
    const body = schemas.StudySpec.properties[key];
    const kinds = Object.fromEntries(Object.entries(body.discriminator?.mapping ?? {}).map(([name, reference]) => [name, schemas[reference.split("/").at(-1)]]));
    const name = study[key]?.name ?? body.default?.name;
    const chosen = kinds[name];
    const picker = choice([key, "name"], Object.keys(kinds).map((kind) => [kind, kind]), t("usual: {name}", { name: body.default?.name }), (value) => set([key], value ? { name: value } : undefined, true));
    const options = Object.entries(chosen?.properties ?? {}).filter(([option, { const: only }]) => option !== "name" && only === undefined);
    return [picker, el("p", { class: "muted small-text full" }, chosen?.description ?? ""),
      ...options.map(([option, { default: usual }]) => field([key, option], { label: spelled(option), placeholder: shown(usual), also: () => ({ name }) }))];
  }

  function field(path, { label, placeholder, list: listId, also } = {}) {
    const key = path.join(".");
    const value = valueAt(study, path);
    const input = el("input", { "data-key": key, "data-path": key, autocomplete: "off", spellcheck: "false", placeholder, list: listId, dir: "auto" });
    input.value = value === undefined || value === null ? "" : typeof value === "object" ? JSON.stringify(value) : String(value);
    input.addEventListener("change", () => {
      if (also && study[path[0]]?.name === undefined) study = withValue(study, [path[0]], also());
      set(path, typed(input.value, path));
    });
    return labelled(key, label ?? t(LABELS[key] ?? key), input);
  }

  function choice(path, options, empty, onPick) {
    const key = path.join(".");
    const select = el("select", { "data-key": key, "data-path": key }, empty === undefined ? null : el("option", { value: "" }, empty),
      options.map(([value, text]) => el("option", { value }, text)));
    const value = valueAt(study, path) ?? "";
    if (value !== "" && !options.some(([known]) => known === value)) select.append(el("option", { value }, value));
    select.value = value;
    select.addEventListener("change", () => (onPick ? onPick(select.value) : set(path, select.value || undefined, true)));
    return labelled(key, t(LABELS[key] ?? key), select);
  }

  function labelled(key, label, control) {
    const message = messageOf(key);
    if (message) control.setAttribute("aria-invalid", "true");
    return el("label", { class: "field" }, el("span", {}, label), control, message ? el("span", { class: "wrong" }, message) : null);
  }

  const messageOf = (key) => errors.filter(({ field: wrong }) => wrong === key).map(({ message }) => message).join("; ");

  function show(newest) {
    study = newest;
    render();
  }

  // Shows each at its field; answers those that have none here.
  function showErrors(found) {
    if (found.length === 0 && errors.length === 0) return [];
    errors = found;
    render();
    const paths = new Set([...root.querySelectorAll("[data-path]")].map((node) => node.dataset.path));
    return found.filter(({ field: wrong }) => !paths.has(wrong));
  }

  return { show, showErrors };
}

const spelled = (name) => t(name.charAt(0).toUpperCase() + name.slice(1).replaceAll("_", " "));
const shown = (value) => (value === undefined || value === null ? "" : String(value));
const group = (name, fields) => el("fieldset", {}, el("legend", {}, name), el("div", { class: "fields" }, fields));
const list = (name, entries) => el("datalist", { id: `list-${name}` }, entries.map((entry) => el("option", { value: entry.name }, entry.title)));

// Names and texts stay texts even if they look like numbers.
function typed(text, path) {
  const given = text.trim();
  if (given === "") return undefined;
  const isText = ["name", "notes", "model"].includes(path[0]) || path[1] === "train" || path[1] === "columns";
  if (isText) return given;
  if (given === "true" || given === "false") return given === "true";
  return Number.isFinite(Number(given)) ? Number(given) : given;
}
