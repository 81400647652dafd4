// The list of studies, newest first.

import { badge, byId, el, replaceContent, root, show, studyPath, written } from "./dom.js";
import { score, when } from "./format.js";
import { counted, t } from "./i18n.js";
import { follow } from "./live.js";
import { get } from "./rest.js";
import { sparkline } from "./sparkline.js";
import { firstObjective } from "./objective.js";
import { setViewState, viewState } from "./view_state.js";

const MOST_COMPARED = 6;
let studies = [];
let total = 0;
const ticked = new Set();
const filter = byId("filter");
filter.value = viewState("q");
filter.addEventListener("input", () => {
  setViewState({ q: filter.value });
  render();
});

follow("/events", async () => {
  ({ items: studies, total } = await get("/studies?limit=200"));
  render();
}, (kind) => kind !== "metric");

function render() {
  const wanted = filter.value.trim().toLowerCase().split(/\s+/);
  const found = studies.filter((study) => wanted.every((word) => searchable(study).includes(word)));
  show(byId("empty"), studies.length === 0);
  show(byId("list"), found.length > 0);
  show(byId("filter-label"), studies.length > 0);
  replaceContent(byId("rows"), found.map(row));
  byId("summary").textContent = studies.length === 0 ? "" : summary(found.length);
  const chosen = [...ticked].slice(0, MOST_COMPARED);
  show(byId("compare"), chosen.length > 1);
  byId("compare").href = `${root}/compare?studies=${chosen.map(encodeURIComponent).join(",")}`;
}

function summary(shown) {
  const running = studies.filter((study) => study.state === "running").length;
  if (shown === 0) return t("No study is so; empty the filter to see all");
  if (shown < studies.length) return t("{shown} of {all} studies", { shown, all: studies.length });
  const newest = total > studies.length ? t("the newest {n} of {total} studies", { n: studies.length, total }) : counted(total, "{n} study", "{n} studies");
  return `${newest}, ${t("{n} running", { n: running })}`;
}

function searchable(study) {
  const tags = Object.entries(study.tags ?? {}).flat();
  return [study.name, study.task, study.model, study.data.train, study.state, t(study.state), ...tags].join(" ").toLowerCase();
}

function row(study) {
  const ended = study.counts.completed + study.counts.pruned + study.counts.stopped + study.counts.failed;
  const limit = study.budget.trials;
  const tags = Object.entries(study.tags ?? {});
  return el("tr", {},
    el("td", { class: "mark" }, el("label", {}, tick(study))),
    el("th", { scope: "row", "data-label": t("Study") },
      el("a", { href: studyPath(study.id), "data-key": study.id }, written(study.name)),
      el("span", { class: "muted block" }, `${study.task} · ${study.model} · ${study.data.train}`),
      tags.length ? el("span", { class: "tags" }, tags.map(([name, value]) => el("span", { class: "chip", dir: "auto" }, value ? `${name}: ${value}` : name))) : null),
    el("td", { "data-label": t("State") }, badge(study.state)),
    el("td", { "data-label": t("Progress") },
      el("progress", { max: 1, value: study.progress ?? 0, "aria-label": t("Progress") }),
      el("span", { class: "muted block" }, limit ? t("{ended} of {limit} trials", { ended, limit }) : counted(ended, "{n} trial", "{n} trials"))),
    el("td", { "data-label": t("Best"), class: "num" },
      el("strong", {}, score(study.best?.value)), el("span", { class: "muted block" }, firstObjective(study).metric)),
    el("td", { "data-label": t("Best so far") }, sparkline(study.trend)),
    el("td", { "data-label": t("Created") }, when(study.created_at)));
}

function tick(study) {
  const box = el("input", { type: "checkbox", "data-key": `tick-${study.id}`, "aria-label": t("Compare “{name}”", { name: study.name }), on: {
    change: () => {
      if (box.checked) ticked.add(study.id);
      else ticked.delete(study.id);
      render();
    },
  } });
  box.checked = ticked.has(study.id);
  return box;
}
