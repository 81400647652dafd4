// One trial: what it was given, what it reported, and how it ended.

import { attentionMaps } from "./attention_maps.js";
import { badge, byId, el, facts, replaceContent, setOptions, show, tile, trialPath } from "./dom.js";
import { draw } from "./figure.js";
import { bytes, duration, param, score, when } from "./format.js";
import { counted, language, said, t } from "./i18n.js";
import { follow } from "./live.js";
import { firstObjective } from "./objective.js";
import { reproduction } from "./reproduce.js";
import { address, alertUser, get, getResponse, studyApi } from "./rest.js";
import { showTrialControls, wireTrialControls } from "./trial_control.js";
import { setViewState, viewState } from "./view_state.js";

const { studyId, number: numberText } = byId("trial").dataset;
const number = Number(numberText);
const api = `${studyApi(studyId)}/trials/${number}`;
const metric = byId("metric");
const MOST_ROWS = 500;
const FEW_EPOCHS = 12; // each gets a tick
const SPLITS = { validation: { color: "#0072B2", dash: "solid" }, train: { color: "#E69F00", dash: "dash" } };
const RESOURCES = /^(resources?|gpu|memory|system)[./_]/; // metrics that tell of the machine
const COLOURS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9"];
const DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"];
const showAttention = attentionMaps(studyApi(studyId));
let study = null;
let trial = null;
let points = [];
let logAfter = 0; // the number of the last line shown

metric.addEventListener("change", () => {
  setViewState({ metric: metric.value });
  drawCurve().catch(alertUser);
});
byId("copy-command").addEventListener("click", () => navigator.clipboard.writeText(byId("reproduce").textContent).catch(alertUser));
wireTrialControls({ study: () => study, trial: () => trial, api, studyId, refresh });
follow(`${studyApi(studyId)}/events`, refresh, (kind, data) => data.number === number || kind === "study" || kind === "reset");

async function refresh() {
  const [newest, shown, reported, artifacts] = await Promise.all([
    get(studyApi(studyId)), get(api), get(`${api}/metrics`), get(`${api}/artifacts`), followLog(),
  ]);
  study = newest;
  trial = shown;
  points = reported.items;
  showTrial();
  showArtifacts(artifacts.items);
  await showMetrics();
  if (trial.finished_at) await showAttention([number]);
}

function showTrial() {
  byId("state").replaceChildren(badge(trial.state));
  byId("about").textContent = { sampled: t("drawn by the sampler"), default: t("the untuned default"), literature: t("recommended by the literature"), enqueued: t("given by a user") }[trial.origin] ?? trial.origin;
  byId("reason").textContent = said(trial.reason ?? "");
  show(byId("reason"), Boolean(trial.reason));
  showFailure(trial.failure);
  byId("tiles").replaceChildren(...tiles());
  byId("parameters").replaceChildren(facts(Object.entries(trial.params).map(([name, value]) => [name, param(value)])));
  showAttempts(trial.attempts);
  byId("details").replaceChildren(details(trial.details));
  byId("reproduce").textContent = reproduction(study, trial);
  neighbour("previous", number - 1, number > 0);
  neighbour("next", number + 1, number + 1 < study.counts.total);
  showTrialControls(study, trial);
}

function neighbour(id, other, exists) {
  show(byId(id), exists);
  byId(id).setAttribute("href", trialPath(studyId, other));
}

const objective = () => firstObjective(study).metric;

function tiles() {
  const others = Object.entries(trial.values).filter(([name]) => name !== objective());
  const best = study.best?.number === number ? t("the best of the study") : study.best ? t("best of the study: {value}", { value: score(study.best.value) }) : "";
  return [
    tile(objective(), score(trial.value), best),
    ...others.map(([name, value]) => tile(name, score(value))),
    tile(t("Epoch"), param(trial.epoch ?? undefined), trial.step === null ? t("no step reported") : t("step {step}", { step: trial.step.toLocaleString(language) })),
    tile(t("Time"), duration(trial.seconds), trial.finished_at ? el("p", { class: "muted" }, `${t("ended")} `, when(trial.finished_at)) : t("so far")),
  ];
}

function showFailure(failure) {
  show(byId("failure"), Boolean(failure));
  if (failure) byId("failure").replaceChildren(el("strong", {}, t("Failed: {kind}", { kind: said(failure.kind) })), el("pre", { tabindex: 0, dir: "auto" }, said(failure.message ?? "")));
}

const ofMachine = (point) => RESOURCES.test(`${point.name}/`) || RESOURCES.test(point.name);

async function showMetrics() {
  const reported = points.filter((point) => !ofMachine(point));
  const names = [...new Set(reported.map((point) => point.name))].sort();
  setOptions(metric, names, viewState("metric", names.includes(objective()) ? objective() : names[0]));
  show(metric.parentElement, names.length > 0);
  byId("metrics").replaceChildren(metricsTable(reported));
  await drawCurve();
  await drawResources(points.filter(ofMachine));
}

const shownName = ({ name, split }) => (split === "validation" ? name : `${split} ${name}`);

function metricsTable(reported) {
  if (reported.length === 0) return el("p", { class: "muted" }, t("Nothing reported."));
  const names = [...new Set(reported.map(shownName))].sort();
  const rows = new Map();
  for (const point of reported) {
    const row = rows.get(point.step) ?? { epoch: point.epoch };
    row[`value ${shownName(point)}`] = point.value;
    rows.set(point.step, row);
  }
  const steps = [...rows.keys()].sort((a, b) => a - b);
  const cut = steps.length > MOST_ROWS ? el("caption", {}, t("The last {shown} of {all} steps", { shown: MOST_ROWS, all: steps.length })) : null;
  return el("table", {}, cut,
    el("thead", {}, el("tr", {}, [t("Epoch"), t("Step"), ...names].map((name) => el("th", { scope: "col", class: "num" }, name)))),
    el("tbody", {}, steps.slice(-MOST_ROWS).map((step) => el("tr", {},
      el("td", { class: "num" }, param(rows.get(step).epoch ?? undefined)), el("td", { class: "num" }, step.toLocaleString(language)),
      names.map((name) => el("td", { class: "num" }, score(rows.get(step)[`value ${name}`])))))));
}

function canvas(xaxis, yaxis, uirevision) {
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: true, uirevision,
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 }, margin: { l: 56, r: 16, b: 44 }, xaxis, yaxis,
  };
}

async function drawCurve() {
  const wanted = points.filter((point) => point.name === metric.value);
  const data = [...new Set(wanted.map((point) => point.split))].map((split) => {
    const line = wanted.filter((point) => point.split === split);
    return {
      type: "scatter", mode: "lines+markers", name: split, line: SPLITS[split] ?? {},
      x: line.map((point) => point.epoch ?? point.step),
      y: line.map((point) => (typeof point.value === "number" ? point.value : null)),
    };
  });
  const byEpoch = wanted.every((point) => point.epoch !== null);
  show(byId("curve-panel"), data.length > 0);
  if (data.length === 0) return;
  const few = byEpoch && wanted.at(-1)?.epoch <= FEW_EPOCHS;
  await draw(byId("curve-panel"), {
    data, layout: canvas({ title: { text: byEpoch ? "epoch" : "step" }, dtick: few ? 1 : undefined }, { title: { text: plotlyText(metric.value) } }, metric.value),
  });
}

// What the machine was doing: one line for each metric, each measured against its own largest value.
async function drawResources(measured) {
  show(byId("resources-panel"), measured.length > 0);
  if (measured.length === 0) return;
  const names = [...new Set(measured.map((point) => point.name))].sort();
  const data = names.map((name, index) => {
    const line = measured.filter((point) => point.name === name && typeof point.value === "number");
    const most = Math.max(...line.map((point) => Math.abs(point.value)), 1e-300);
    return {
      type: "scatter", mode: "lines", name: plotlyText(`${name} (100 % = ${param(most)})`), line: { color: COLOURS[index % COLOURS.length], dash: DASHES[index % DASHES.length] },
      x: line.map((point) => point.step), y: line.map((point) => point.value / most),
    };
  });
  await draw(byId("resources-panel"), { data, layout: canvas({ title: { text: "step" } }, { tickformat: ".0%", rangemode: "tozero" }, "resources") });
}

// Plotly reads markup in its texts.
const plotlyText = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");

// A GPU without an id of its own is told by its number.
const placeOf = ({ worker_id, gpus }) => [worker_id, ...(gpus ?? []).map((id) => (/^\d+$/.test(id) ? `GPU ${id}` : id))].join(" · ");

function showAttempts(attempts) {
  const head = [t("Attempt"), t("Worker"), t("Started"), t("Lasted"), t("Outcome"), t("Why it ended")];
  byId("attempts").replaceChildren(attempts.length === 0
    ? el("p", { class: "muted" }, t("Not started yet: it waits for a worker."))
    : el("table", {}, el("thead", {}, el("tr", {}, head.map((name) => el("th", { scope: "col" }, name)))),
      el("tbody", {}, attempts.map((attempt) => el("tr", {},
        el("td", {}, String(attempt.attempt)), el("td", {}, placeOf(attempt)), el("td", {}, when(attempt.granted_at)),
        el("td", {}, attempt.ended_at ? duration((new Date(attempt.ended_at) - new Date(attempt.granted_at)) / 1000) : "–"),
        el("td", {}, badge(attempt.outcome ?? "running")), el("td", { dir: "auto" }, said(attempt.message) ?? (attempt.outcome ? "–" : t("still runs"))))))));
}

function showArtifacts(artifacts) {
  replaceContent(byId("artifacts"), [artifacts.length === 0
    ? el("p", { class: "muted" }, t("None kept. A model is kept while its trial is the best of the study."))
    : el("ul", { class: "files" }, artifacts.map((artifact) => el("li", {},
      el("a", { "data-key": artifact.name, href: address(`${api}/artifacts/${artifact.name.split("/").map(encodeURIComponent).join("/")}`), download: true }, artifact.name),
      el("span", { class: "muted" }, ` ${bytes(artifact.size)}`))))]);
}

// What the worker told, however it is nested, as "part · name".
function details(given) {
  const flat = (value, path) => (value !== null && typeof value === "object"
    ? Object.entries(value).flatMap(([name, inner]) => flat(inner, [...path, name]))
    : [[path.join(" · "), detail(value, path)]]);
  const pairs = flat(given ?? {}, []);
  return pairs.length ? facts(pairs) : el("p", { class: "muted" }, t("None; the worker tells them when the trial ends well."));
}

function detail(value, path) {
  if (!Number.isInteger(value)) return param(value);
  return path[0] === "memory" || path.at(-1) === "bytes" ? bytes(value) : value.toLocaleString(language);
}

// Appends the lines that came since the last time; stays at the end unless the reader has scrolled up.
async function followLog() {
  const log = byId("log");
  for (;;) {
    const lines = await getResponse(`${api}/logs?after=${logAfter}`);
    const text = await lines.text();
    if (!text) break;
    const atEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 4;
    log.append(text);
    if (atEnd) log.scrollTop = log.scrollHeight;
    logAfter = Number(lines.headers.get("X-Next-After"));
  }
  show(byId("no-log"), logAfter === 0);
  show(log, logAfter > 0);
}
