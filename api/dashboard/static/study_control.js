// Pause, resume and stop, each after saying what will happen.

import { confirmed } from "./confirm.js";
import { byId, show } from "./dom.js";
import { plural } from "./format.js";
import { address, alertUser, post } from "./rest.js";

const ACTIONS = {
  pause: ({ name, counts }) => ({
    title: `Pause “${name}”?`,
    text: `No more trials are started. ${running(counts)} told to stop at the next report and go${counts.running === 1 ? "es" : ""} `
      + "on after Resume. Everything reported so far is kept.",
    action: "Pause",
  }),
  resume: ({ name, counts, budget }) => ({
    title: `Resume “${name}”?`,
    text: `Workers get trials of this study again: ${plural(counts.waiting, "trial")} waiting`
      + `${budget.trials ? `, ${plural(Math.max(0, budget.trials - counts.total), "trial")} still to be drawn` : ""}.`,
    action: "Resume",
  }),
  stop: ({ name, counts }) => ({
    title: `Stop “${name}”?`,
    text: `The study ends now and can't be resumed. ${plural(counts.running, "running trial")} and `
      + `${plural(counts.waiting, "waiting trial")} end as stopped, with the last value reported; `
      + `${plural(counts.completed, "completed trial")} and all figures stay.`,
    action: "Stop the study",
    danger: true,
  }),
};

function running({ running: count }) {
  return count === 0 ? "None is running; any that starts meanwhile is" : `${plural(count, "running trial")} ${count === 1 ? "is" : "are"}`;
}

export function wireControls(current, api, refresh) {
  for (const [name, describe] of Object.entries(ACTIONS)) {
    byId(name).addEventListener("click", async () => {
      alertUser(null);
      if (!(await confirmed(describe(current())))) return;
      try {
        await post(address(`${api}/${name}`));
        await refresh();
      } catch (error) {
        alertUser(error);
      }
    });
  }
}

export function showControls({ state }) {
  show(byId("pause"), state === "running");
  show(byId("resume"), state === "paused");
  show(byId("stop"), state === "running" || state === "paused");
}
