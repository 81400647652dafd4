// The list of studies, newest first.

import { badge, byId, el, replaceContent, show, studyPath } from "./dom.js";
import { score, when } from "./format.js";
import { follow } from "./live.js";
import { get } from "./rest.js";
import { sparkline } from "./sparkline.js";
import { setViewState, viewState } from "./view_state.js";

let studies = [];
let total = 0;
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
  const wanted = filter.value.trim().toLowerCase();
  const found = studies.filter((study) => searchable(study).includes(wanted));
  show(byId("empty"), studies.length === 0);
  show(byId("list"), studies.length > 0);
  show(byId("filter-label"), studies.length > 0);
  replaceContent(byId("rows"), found.map(row));
  byId("summary").textContent = studies.length === 0 ? "" : summary(found.length);
}

function summary(shown) {
  const running = studies.filter((study) => study.state === "running").length;
  if (shown < studies.length) return `${shown} of ${studies.length} studies`;
  const newest = total > studies.length ? `the newest ${studies.length} of ` : "";
  return `${newest}${total} ${total === 1 ? "study" : "studies"}, ${running} running`;
}

function searchable(study) {
  const tags = Object.entries(study.tags ?? {}).flat();
  return [study.name, study.task, study.model, study.data.train, study.state, ...tags].join(" ").toLowerCase();
}

function row(study) {
  const ended = study.counts.completed + study.counts.pruned + study.counts.stopped + study.counts.failed;
  const limit = study.budget.trials;
  return el("tr", {},
    el("th", { scope: "row", "data-label": "Study" },
      el("a", { href: studyPath(study.id), "data-key": study.id }, study.name),
      el("span", { class: "muted block" }, `${study.task} · ${study.model} · ${study.data.train}`)),
    el("td", { "data-label": "State" }, badge(study.state)),
    el("td", { "data-label": "Progress" },
      el("progress", { max: 1, value: study.progress ?? 0, "aria-label": "progress" }),
      el("span", { class: "muted block" }, `${ended}${limit ? ` of ${limit}` : ""} trials`)),
    el("td", { "data-label": "Best", class: "num" },
      el("strong", {}, score(study.best?.value)), el("span", { class: "muted block" }, study.objective.metric)),
    el("td", { "data-label": "Best so far" }, sparkline(study.trend)),
    el("td", { "data-label": "Created" }, when(study.created_at)));
}
