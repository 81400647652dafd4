// What can be done with a study, each after saying what will happen.

import { ask, numberOrNull } from "./ask.js";
import { byId, show } from "./dom.js";
import { counted, t } from "./i18n.js";
import { paramFields, readParams } from "./param_fields.js";
import { address, patch, post } from "./rest.js";
import { allowed } from "./roles.js";
import { LIMITS } from "./study_draft.js";

const over = ({ state }) => state === "completed" || state === "failed";
const live = ({ state }) => state === "running" || state === "paused";

// control id → {shown for which studies, the question}
const ACTIONS = {
  pause: {
    shown: ({ state }) => state === "running",
    question: ({ name, counts }, { api }) => ({
      title: t("Pause “{name}”?", { name }),
      text: `${t("No more trials are started.")} ${runningNow(counts)} ${t("Everything reported so far is kept.")}`,
      action: t("Pause"),
      submit: () => post(address(`${api}/pause`)),
    }),
  },
  resume: {
    shown: ({ state }) => state === "paused",
    question: ({ name, counts, budget }, { api }) => ({
      title: t("Resume “{name}”?", { name }),
      text: `${t("Workers get trials of this study again.")} ${counted(counts.waiting, "{n} trial waits.", "{n} trials wait.")}`
        + `${budget.trials ? ` ${counted(Math.max(0, budget.trials - counts.total), "{n} trial is still to be drawn.", "{n} trials are still to be drawn.")}` : ""}`,
      action: t("Resume"),
      submit: () => post(address(`${api}/resume`)),
    }),
  },
  stop: {
    shown: live,
    question: ({ name, counts }, { api }) => ({
      title: t("Stop “{name}”?", { name }),
      text: t("The study ends now and can't be resumed. Running trials: {running}, waiting trials: {waiting}; they end as stopped, with the last value reported. {completed} completed trials and all figures stay.", counts),
      action: t("Stop the study"),
      danger: true,
      submit: () => post(address(`${api}/stop`)),
    }),
  },
  budget: {
    shown: (study) => live(study) || over(study),
    question: (study, { api, etag }) => ({
      title: over(study) ? t("Extend “{name}”?", study) : t("Change the budget of “{name}”?", study),
      text: t("The study ends at whichever limit is reached first; an empty field is no limit. {total} trials exist already. Running trials go on.", study.counts),
      action: t("Change"),
      fields: [
        ...Object.entries(LIMITS).map(([name, label]) => ({ name, label: t(label), kind: "number", value: study.budget[name] ?? "" })),
        { name: "parallelism", label: t("Trials at once, at most"), kind: "number", value: study.parallelism },
      ],
      submit: (values) => patch(address(api), changesOf(study, values), etag()),
    }),
  },
  space: {
    shown: live,
    question: async (study, { api, etag }) => ({
      title: t("Edit the space of “{name}”?", study),
      text: t("Trials that run or have ended keep their parameters and still count; new trials are drawn from the new space."),
      action: t("Change"),
      fields: [{ name: "parameters", label: t("Parameters, as in a study file"), kind: "long", value: await asText({ parameters: study.parameters }) }],
      submit: async ({ parameters }) => patch(address(api), { parameters: (await asStudy(parameters)).parameters }, etag()),
    }),
  },
  add: {
    shown: live,
    question: (study, { api }) => ({
      title: t("Add a trial to “{name}”?", study),
      text: t("It runs before any that the sampler draws, and counts against the budget. What you leave empty is drawn by the sampler."),
      action: t("Add trial"),
      fields: paramFields(study),
      submit: (values) => post(address(`${api}/trials`), { params: readParams(study, values) }),
    }),
  },
};

// Only what is not as it was.
function changesOf(study, { parallelism, ...limits }) {
  const budget = Object.entries(limits).map(([name, value]) => [name, numberOrNull(value)]).filter(([name, value]) => value !== (study.budget[name] ?? null));
  const others = numberOrNull(parallelism) === study.parallelism ? {} : { parallelism: numberOrNull(parallelism) };
  return { ...(budget.length ? { budget: Object.fromEntries(budget) } : {}), ...others };
}

function runningNow({ running }) {
  if (running === 0) return t("No trial runs now.");
  return counted(running, "{n} running trial is told to stop at its next report and goes on after Resume.",
    "{n} running trials are told to stop at their next report and go on after Resume.");
}

const asText = async (study) => (await (await post(address("/study-files"), { study })).json()).text;
const asStudy = async (text) => (await (await post(address("/study-files"), { text })).json()).study;

export function wireControls(control) {
  for (const [id, { question }] of Object.entries(ACTIONS)) {
    byId(id).addEventListener("click", async () => {
      if (!allowed("editor")) return;
      if (await ask(await question(control.study(), control))) await control.refresh();
    });
  }
}

export function showControls(study) {
  for (const [id, { shown }] of Object.entries(ACTIONS)) show(byId(id), shown(study));
  byId("budget").textContent = over(study) ? t("Extend") : t("Change budget");
}
