// What can be done with one trial, each after saying what will happen.

import { ask, numberOrNull } from "./ask.js";
import { byId, show, trialPath } from "./dom.js";
import { t } from "./i18n.js";
import { paramFields, readParams } from "./param_fields.js";
import { address, post } from "./rest.js";
import { allowed } from "./roles.js";

const live = ({ state }) => state === "running" || state === "paused";

export function wireTrialControls({ study, trial, api, studyId, refresh }) {
  const question = {
    "stop-trial": () => ({
      title: t("Stop trial {number}?", trial()),
      text: t("It ends now as stopped, with the last value reported, and its worker takes another trial. It can't go on later."),
      action: t("Stop"),
      danger: true,
      submit: () => post(address(`${api}/stop`)),
    }),
    clone: () => ({
      title: t("Clone trial {number}?", trial()),
      text: t("A new trial with these parameters is put before those that the sampler draws, and counts against the budget."),
      action: t("Clone"),
      fields: paramFields(study(), trial().params),
      submit: async (values) => {
        const made = await (await post(address(`${api}/clone`), { params: readParams(study(), values) })).json();
        location.assign(trialPath(studyId, made.number));
      },
    }),
    extend: () => ({
      title: t("Extend trial {number}?", trial()),
      text: t("It is taken up from its checkpoint and trains for more epochs; its place in the study stays. It has had {epoch} so far.", { epoch: trial().epoch ?? 0 }),
      action: t("Extend"),
      fields: [{ name: "epochs", label: t("More epochs"), kind: "number", value: 1 }],
      submit: ({ epochs }) => post(address(`${api}/extend`), { epochs: numberOrNull(epochs) }),
    }),
  };
  for (const [id, make] of Object.entries(question)) {
    byId(id).addEventListener("click", async () => {
      if (allowed("editor") && await ask(make())) await refresh();
    });
  }
}

export function showTrialControls(study, trial) {
  const ended = ["completed", "pruned", "stopped"].includes(trial.state);
  show(byId("stop-trial"), ["running", "waiting"].includes(trial.state));
  show(byId("clone"), live(study));
  show(byId("extend"), ended && trial.epoch !== null);
}
