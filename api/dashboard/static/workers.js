// Who trains, and what.

import { byId, el, show, trialPath } from "./dom.js";
import { when } from "./format.js";
import { follow } from "./live.js";
import { get } from "./rest.js";

const SILENT = 60_000; // milliseconds without a sign of life

follow("/events", async () => {
  const { items } = await get("/workers");
  const alive = items.filter(isAlive).length;
  show(byId("empty"), items.length === 0);
  show(byId("list"), items.length > 0);
  byId("summary").textContent = items.length ? `${alive} of ${items.length} seen within the last minute` : "";
  byId("rows").replaceChildren(...items.map(row));
}, (kind) => kind !== "metric");

function isAlive(worker) {
  return Date.now() - new Date(worker.seen_at).getTime() < SILENT;
}

function row(worker) {
  return el("tr", {},
    el("th", { scope: "row", "data-label": "Worker" }, `${worker.host}:${worker.pid}`, el("span", { class: "muted block" }, worker.id)),
    el("td", { "data-label": "Runs" }, running(worker)),
    el("td", { "data-label": "GPUs" }, worker.gpus.length ? worker.gpus.map((gpu) => el("span", { class: "block" }, gpu.name ?? "GPU")) : "none"),
    el("td", { "data-label": "Last seen" }, isAlive(worker) ? "" : el("span", { class: "badge", "data-state": "failed" }, "silent"), " ",
      when(worker.seen_at)),
    el("td", { "data-label": "Registered" }, when(worker.registered_at)),
    el("td", { "data-label": "Versions", class: "muted" }, Object.entries(worker.versions).map(([name, version]) => `${name} ${version}`).join(", ")));
}

function running(worker) {
  const trials = worker.running ?? [];
  if (trials.length === 0) return "–";
  return trials.map(({ study_id: studyId, number }) => el("a", { class: "block", href: trialPath(studyId, number) }, `trial ${number}`));
}
