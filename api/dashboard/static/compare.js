// Trials of one study side by side: what differs, and their curves on one another.

import { attentionMaps } from "./attention_maps.js";
import { compareTable } from "./compare_table.js";
import { classResults } from "./class_results.js";
import { badge, byId, el, setOptions, show, trialPath } from "./dom.js";
import { draw, redraw } from "./figure.js";
import { score } from "./format.js";
import { t } from "./i18n.js";
import { follow } from "./live.js";
import { firstObjective } from "./objective.js";
import { alertUser, get, studyApi } from "./rest.js";
import { reshaped } from "./smoothing.js";
import { setViewState, viewState } from "./view_state.js";

const { studyId } = byId("compare").dataset;
const api = studyApi(studyId);
const panel = document.querySelector('[data-figure="compare-curves"]');
const [input, all, metric, by, smoothing, log] = ["trials", "all", "metric", "curves-x", "smoothing", "log"].map(byId);
// Colour, dash and sign: no trial is told by colour alone.
const STYLES = [["#0072B2", "solid", "circle"], ["#E69F00", "dash", "square"], ["#009E73", "dot", "diamond"], ["#CC79A7", "dashdot", "triangle-up"],
  ["#D55E00", "longdash", "x"], ["#56B4E9", "longdashdot", "star"]];
const showAttention = attentionMaps(api);
let compared = null;
let study = null;
let points = [];

input.value = viewState("trials");
all.checked = viewState("all") === "1";
by.value = viewState("by", "epoch");
smoothing.value = viewState("smoothing", "0");
log.checked = viewState("log") === "1";
byId("choose").addEventListener("submit", (event) => {
  event.preventDefault();
  setViewState({ trials: input.value.replaceAll(/\s/g, "") });
  refresh().catch(alertUser);
});
all.addEventListener("change", () => {
  setViewState({ all: all.checked ? "1" : "" });
  showTable();
});
for (const [control, name] of [[metric, "metric"], [by, "by"]]) {
  control.addEventListener("change", () => {
    setViewState({ [name]: control.value });
    drawCurves().catch(alertUser);
  });
}
smoothing.addEventListener("input", () => {
  setViewState({ smoothing: smoothing.value === "0" ? "" : smoothing.value });
  redraw(panel);
});
log.addEventListener("change", () => {
  setViewState({ log: log.checked ? "1" : "" });
  redraw(panel);
});

follow(`${api}/events`, refresh, (kind, data) => kind === "reset" || chosen().includes(data.number));

function chosen() {
  return viewState("trials").split(",").filter(Boolean).map(Number);
}

async function refresh() {
  const wanted = chosen();
  show(byId("empty"), wanted.length < 2);
  show(byId("result"), wanted.length >= 2);
  if (wanted.length < 2) return;
  study ??= await get(api);
  compared = await get(`${api}/compare?trials=${encodeURIComponent(wanted.join(","))}`);
  showTable();
  const numbers = compared.trials.map(({ number }) => number);
  points = await Promise.all(numbers.map(async (number) => (await get(`${api}/trials/${number}/metrics`)).items));
  const names = [...new Set(points.flat().map(shownName))].sort();
  setOptions(metric, names, viewState("metric", names.includes(objective()) ? objective() : names[0]));
  await drawCurves();
  await Promise.all([classResults(byId("results"), api, numbers), showAttention(numbers)]);
}

const objective = () => firstObjective(study).metric;
const shownName = ({ name, split }) => (split === "validation" ? name : `${split}/${name}`);

function showTable() {
  if (!compared) return;
  const heads = compared.trials.map((trial) => el("div", {},
    el("a", { href: trialPath(studyId, trial.number) }, `${t("Trial")} ${trial.number}`), " ", badge(trial.state),
    el("strong", { class: "block big" }, score(trial.value)), el("span", { class: "muted" }, objective())));
  compareTable(heads, [
    { title: t("Parameters"), rows: compared.parameters },
    { title: t("Metrics"), rows: compared.metrics, numbers: true },
    { title: t("Environment and data"), rows: compared.environment },
  ], all.checked);
}

async function drawCurves() {
  const data = compared.trials.map(({ number }, index) => {
    const [color, dash, symbol] = STYLES[index % STYLES.length];
    const line = points[index].filter((point) => shownName(point) === metric.value);
    return {
      type: "scatter", mode: "lines+markers", name: `${t("trial")} ${number}`, line: { color, dash, width: 2 }, marker: { symbol, size: 6, color },
      x: line.map((point) => (by.value === "step" ? point.step : point.epoch ?? point.step)),
      y: line.map((point) => (typeof point.value === "number" ? point.value : null)),
      hovertemplate: "%{y:.4g}",
    };
  });
  const layout = {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: true, uirevision: `${metric.value} ${by.value}`, hovermode: "x unified",
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 }, margin: { l: 56, r: 16, b: 44 },
    xaxis: { title: { text: by.value } }, yaxis: { title: { text: metric.value.replaceAll("&", "&amp;").replaceAll("<", "&lt;") } },
  };
  await draw(panel, { data, layout }, { changed: (figure) => reshaped(figure, { weight: Number(smoothing.value), log: log.checked }) });
}
