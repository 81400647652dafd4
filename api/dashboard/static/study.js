// One study: what was reached, figures, trials; all of it live.

import { wireControls, showControls } from "./study_control.js";
import { overviewTiles, settings } from "./study_overview.js";
import { badge, byId, setOptions, show, trialPath } from "./dom.js";
import { drawFrom } from "./figure.js";
import { plural } from "./format.js";
import { follow } from "./live.js";
import { get, studyApi } from "./rest.js";
import { trialsTable } from "./trials_table.js";
import { setViewState, viewState } from "./view_state.js";

const studyId = byId("study").dataset.studyId;
const api = studyApi(studyId);
const panels = [...document.querySelectorAll("[data-figure]")];
const inView = new Set();
const metric = byId("metric");
const kind = byId("kind");
const openTrial = (number) => location.assign(trialPath(studyId, number));
const table = trialsTable(api, studyId);

let study = null;
kind.value = viewState("kind", "slice");
wireControls(() => study, api, refresh);
metric.addEventListener("change", () => choose({ metric: metric.value }, "curves"));
kind.addEventListener("change", () => choose({ kind: kind.value }, "explore"));
for (const axis of ["x", "y"]) byId(axis).addEventListener("change", (event) => choose({ [axis]: event.target.value }, "explore"));

// Figures that are scrolled out of sight are fetched when they come into it.
const observer = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) inView.add(target);
    else inView.delete(target);
    if (isIntersecting && study) drawPanel(target);
  }
}, { rootMargin: "200px" });
for (const panel of panels) observer.observe(panel);

follow(`${api}/events`, refresh);

async function refresh() {
  study = await get(api);
  showStudy();
  await Promise.all([table.refresh(study), ...[...inView].map(drawPanel)]);
}

function showStudy() {
  byId("state").replaceChildren(badge(study.state));
  const rows = study.facts?.train_rows ? ` · ${plural(study.facts.train_rows, "training row")}` : "";
  byId("about").textContent = `${study.task} · ${study.model} · ${study.data.train}${rows}`;
  byId("reason").textContent = study.reason ?? "";
  // A study that ran to its end needs no explanation.
  show(byId("reason"), Boolean(study.reason) && study.state !== "completed");
  byId("tiles").replaceChildren(...overviewTiles(study));
  byId("spec").replaceChildren(settings(study));
  showControls(study);
}

function choose(values, figure) {
  setViewState(values);
  drawPanel(panels.find((panel) => panel.dataset.figure === figure));
}

async function drawPanel(panel) {
  const name = panel.dataset.figure;
  const meta = await drawFrom(panel, figurePath(name), openTrial);
  if (!meta) return;
  if (name === "curves") {
    show(byId("metric-label"), meta.metrics?.length > 0);
    setOptions(metric, meta.metrics ?? [], viewState("metric", study.objective.metric));
  }
  if (name === "explore") {
    for (const axis of ["x", "y"]) {
      show(byId(`${axis}-label`), Boolean(meta[axis]));
      if (meta[axis]) setOptions(byId(axis), meta.parameters, meta[axis]);
    }
  }
}

function figurePath(name) {
  const query = new URLSearchParams();
  const wanted = name === "curves" ? ["metric"] : name === "explore" && kind.value !== "edf" ? ["x", "y"] : [];
  for (const key of wanted) if (viewState(key)) query.set(key, viewState(key));
  if (kind.value === "slice") query.delete("y");
  return `${api}/figures/${name === "explore" ? kind.value : name}?${query}`;
}
