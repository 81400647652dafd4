// Whole studies side by side: best so far by trial and by hours, distribution of values, and what was asked for.

import { compareTable } from "./compare_table.js";
import { byId, el, replaceContent, show, studyPath, written } from "./dom.js";
import { drawFrom } from "./figure.js";
import { t } from "./i18n.js";
import { follow } from "./live.js";
import { alertUser, get } from "./rest.js";
import { setViewState, viewState } from "./view_state.js";

const MOST = 6;
const all = byId("all");
const panels = [...document.querySelectorAll("[data-figure]")];
let compared = null;

all.checked = viewState("all") === "1";
all.addEventListener("change", () => {
  setViewState({ all: all.checked ? "1" : "" });
  showTable();
});
byId("choose").addEventListener("submit", (event) => {
  event.preventDefault();
  if (byId("study").value) choose([...chosen(), byId("study").value].slice(0, MOST));
});
follow("/events", refresh, (kind, data) => kind === "reset" || ((kind === "trial" || kind === "study") && chosen().includes(data.study_id)));

function chosen() {
  return viewState("studies").split(",").filter(Boolean);
}

function choose(ids) {
  setViewState({ studies: [...new Set(ids)].join(",") });
  refresh().catch(alertUser);
}

async function refresh() {
  const ids = chosen();
  const { items } = await get("/studies?limit=500");
  replaceContent(byId("study"), items.filter(({ id }) => !ids.includes(id)).map(({ id, name }) => el("option", { value: id }, name)));
  replaceContent(byId("chosen"), ids.map((id) => el("span", { class: "chip" }, written(items.find((study) => study.id === id)?.name ?? id),
    el("button", { class: "bare", "data-key": id, "aria-label": t("Take out"), on: { click: () => choose(ids.filter((other) => other !== id)) } }, "×"))));
  show(byId("empty"), ids.length < 2);
  show(byId("result"), ids.length >= 2);
  if (ids.length < 2) return;
  const query = `studies=${encodeURIComponent(ids.join(","))}`;
  compared = await get(`/compare?${query}`);
  showTable();
  await Promise.all(panels.map((panel) => drawFrom(panel, `/compare/figures/${panel.dataset.figure}?${query}`)));
}

function showTable() {
  if (!compared) return;
  compareTable(compared.studies.map(({ id, name }) => el("a", { href: studyPath(id) }, written(name))), [{ title: t("Settings and data"), rows: compared.settings }], all.checked);
}
