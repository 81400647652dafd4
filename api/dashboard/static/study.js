// One study: what was reached, figures, trials; all of it live.

import { marksBar } from "./marks_bar.js";
import { showControls, wireControls } from "./study_control.js";
import { studyFigures } from "./study_figures.js";
import { notesEditor } from "./study_notes.js";
import { overviewTiles, settings } from "./study_overview.js";
import { badge, byId, replaceContent, show } from "./dom.js";
import { counted, said } from "./i18n.js";
import { follow } from "./live.js";
import { alertUser, get, getResponse, studyApi } from "./rest.js";
import { trialsTable } from "./trials_table.js";

const USAGE_PAUSE = 10_000; // milliseconds: what it costs changes slowly, and is counted over every attempt
const { studyId } = byId("study").dataset;
const api = studyApi(studyId);
const table = trialsTable(api, studyId);
const figures = studyFigures(api, table.filter);
let study = null;
let etag = null;
let usage = null;
let usageAt = -USAGE_PAUSE;

const control = { study: () => study, etag: () => etag, api, refresh };
wireControls(control);
const notes = notesEditor(control);
marksBar(studyId);
follow(`${api}/events`, refresh);

// All that changes in one go: each time something does, the browser paints the page with its figures anew.
async function refresh() {
  const [response, page] = await Promise.all([getResponse(api), table.ask()]);
  etag = response.headers.get("ETag");
  study = await response.json();
  table.show(study, page);
  showStudy();
  figures.refresh(study).catch(alertUser);
  await refreshUsage();
}

async function refreshUsage() {
  if (performance.now() - usageAt < USAGE_PAUSE && study.state === "running") return;
  usageAt = performance.now();
  usage = await get(`${api}/usage`);
  replaceContent(byId("tiles"), overviewTiles(study, usage));
}

function showStudy() {
  document.title = `${study.name} · Tuner`;
  byId("state").replaceChildren(badge(study.state));
  const rows = study.facts?.train_rows ? ` · ${counted(study.facts.train_rows, "{n} training row", "{n} training rows")}` : "";
  byId("about").textContent = `${study.task} · ${study.model} · ${study.data.train}${rows}`;
  byId("reason").textContent = said(study.reason ?? "");
  // A study that ran to its end needs no explanation.
  show(byId("reason"), Boolean(study.reason) && study.state !== "completed");
  replaceContent(byId("tiles"), overviewTiles(study, usage));
  byId("spec").replaceChildren(settings(study));
  notes.refresh(study);
  showControls(study);
}
