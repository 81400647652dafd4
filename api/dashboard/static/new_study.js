// A new study: a form and its study file side by side, tried out before it is started.

import { ask } from "./ask.js";
import { byId, el, facts, replaceContent, settled, show, studyPath } from "./dom.js";
import { param, range, score } from "./format.js";
import { counted, t } from "./i18n.js";
import { objectives } from "./objective.js";
import { address, alertUser, get, getDescription, post, studyApi } from "./rest.js";
import { allowed } from "./roles.js";
import { blankStudy, copyOf } from "./study_draft.js";
import { studyForm } from "./study_form.js";
import { setViewState, viewState } from "./view_state.js";

const TYPING = 400; // milliseconds without a key before the file is read
const yaml = byId("yaml");
let study = {};
let turn = 0; // answers to earlier questions may come later
let unread = false; // something was typed into the file since it was last read
let schema = null;
let form = null;

begin().catch(alertUser);

async function begin() {
  const [catalog, description, { items }] = await Promise.all([get("/definitions"), getDescription(), get("/studies?limit=200")]);
  schema = description.components.schemas;
  form = studyForm(byId("form"), catalog, schema, (changed) => {
    study = changed;
    writeFile();
  });
  byId("from").append(...items.map(({ id, name }) => el("option", { value: id }, name)));
  byId("from").addEventListener("change", () => copy(byId("from").value, catalog).catch(alertUser));
  const read = settled(readFile, TYPING);
  yaml.addEventListener("input", () => {
    unread = true;
    read();
  });
  byId("check").addEventListener("click", () => tryOut().catch(alertUser));
  byId("start").addEventListener("click", () => start().catch(alertUser));
  await copy(viewState("from"), catalog);
}

async function copy(studyId, catalog) {
  byId("from").value = studyId;
  setViewState({ from: studyId });
  study = studyId ? copyOf(await get(studyApi(studyId)), Object.keys(schema.StudySpec.properties)) : blankStudy(catalog);
  byId("copied").textContent = studyId ? t("A copy under a name of its own; the old study stays as it is.") : "";
  form.show(study);
  await writeFile();
}

async function convert(body) {
  turn += 1;
  const mine = turn;
  const answer = await (await post(address("/study-files"), body)).json();
  return mine === turn ? answer : null;
}

async function writeFile() {
  forget();
  const answer = await convert({ study: inOrder(study) }).catch(alertUser);
  if (!answer) return;
  yaml.value = answer.text;
  show(byId("yaml-wrong"), false);
}

// Keys as the documentation lists them, whatever was filled in first.
function inOrder(given) {
  const keys = [...new Set([...Object.keys(schema.StudySpec.properties), ...Object.keys(given)])];
  return Object.fromEntries(keys.filter((key) => key in given).map((key) => [key, given[key]]));
}

async function readFile() {
  unread = false;
  forget();
  try {
    const answer = await convert({ text: yaml.value });
    if (!answer) return;
    ({ study } = answer);
    form.show(study);
    show(byId("yaml-wrong"), false);
  } catch (error) {
    byId("yaml-wrong").textContent = error.message;
    show(byId("yaml-wrong"), true);
  }
}

// What an earlier dry run said is not true of what is written now.
function forget() {
  show(byId("outcome"), false);
  show(byId("other-errors"), false);
  show(byId("plan"), false);
  form.showErrors([]);
}

// Whether the study can be started; what is wrong is shown at its field.
async function tryOut() {
  if (!allowed("editor")) return null;
  forget();
  if (unread) await readFile();
  if (!byId("yaml-wrong").hidden) return null;
  byId("outcome").textContent = t("Reading the data…");
  show(byId("outcome"), true);
  try {
    const plan = await (await post(address("/studies?dry_run=true"), study)).json();
    byId("outcome").textContent = t("Nothing is wrong. Nothing was started yet.");
    showPlan(plan);
    return plan;
  } catch (error) {
    const elsewhere = form.showErrors(error.errors ?? []);
    byId("outcome").textContent = error.errors?.length ? counted(error.errors.length, "{n} field is wrong:", "{n} fields are wrong:") : error.message;
    replaceContent(byId("other-errors"), elsewhere.map(({ field, message }) => el("li", {}, el("strong", {}, field), `: ${message}`)));
    show(byId("other-errors"), elsewhere.length > 0);
    return null;
  }
}

function showPlan({ spec, parameters, facts: found, first_trial: first }) {
  const limits = Object.entries(spec.budget).filter(([, value]) => value !== null).map(([name, value]) => `${name} ${param(value)}`).join(", ");
  replaceContent(byId("plan-body"), [el("div", { class: "columns" },
    facts([
      [t("Ends at"), limits],
      [t("Trials at once, at most"), String(spec.parallelism)],
      [t("Objective"), objectives(spec).map(({ direction, metric }) => `${direction} ${metric}`).join(", ")],
      [t("Sampler and pruner"), `${spec.sampler.name}, ${spec.pruner.name}`],
      [t("Rows"), [["train", found.train_rows], ["validation", found.validation_rows], ["test", found.test_rows]].filter(([, n]) => n).map(([name, n]) => `${name} ${n}`).join(", ") || "–"],
      ...(found.classes.length ? [[t("Classes"), `${found.classes.length}: ${found.classes.slice(0, 12).join(", ")}`]] : []),
      ...Object.entries(found.baseline).map(([name, value]) => [t("{metric} without any model", { metric: name }), score(value)]),
    ]),
    facts(Object.entries(parameters).map(([name, body]) => [name, range(body)])),
    facts([[t("First trial, the untuned default"), ""], ...Object.entries(first).map(([name, value]) => [name, param(value)])]))]);
  show(byId("plan"), true);
}

async function start() {
  const plan = await tryOut();
  if (!plan) return;
  const { spec } = plan;
  await ask({
    title: t("Start “{name}”?", { name: spec.name ?? t("a study with a made-up name") }),
    text: spec.budget.trials
      ? t("Workers get its trials at once: {trials} in all, up to {parallelism} at a time, training {model} on {data}.", { trials: spec.budget.trials, parallelism: spec.parallelism, model: spec.model, data: spec.data.train })
      : t("Workers get its trials at once, up to {parallelism} at a time, training {model} on {data}.", { parallelism: spec.parallelism, model: spec.model, data: spec.data.train }),
    action: t("Start the study"),
    submit: async () => {
      const made = await (await post(address("/studies"), study)).json();
      location.assign(studyPath(made.id));
    },
  });
}
