// One trial: what it was given, what it reported, and how it ended.

import { badge, byId, el, facts, setOptions, show, tile, trialPath } from "./dom.js";
import { draw } from "./figure.js";
import { bytes, duration, param, plural, score, when } from "./format.js";
import { follow } from "./live.js";
import { address, get, getResponse, studyApi } from "./rest.js";
import { setViewState, viewState } from "./view_state.js";

const { studyId, number: numberText } = byId("trial").dataset;
const number = Number(numberText);
const api = `${studyApi(studyId)}/trials/${number}`;
const metric = byId("metric");
const MOST_ROWS = 500;
const FEW_EPOCHS = 12; // each gets a tick
const SPLITS = { validation: { color: "#0072B2", dash: "solid" }, train: { color: "#E69F00", dash: "dash" } };
let study = null;
let points = [];
let logAfter = 0; // the number of the last line shown

metric.addEventListener("change", () => {
  setViewState({ metric: metric.value });
  drawCurve();
});

follow(`${studyApi(studyId)}/events`, async () => {
  const [newest, trial, reported, artifacts] = await Promise.all([
    get(studyApi(studyId)), get(api), get(`${api}/metrics`), get(`${api}/artifacts`), followLog(),
  ]);
  study = newest;
  points = reported.items;
  showTrial(trial);
  await showMetrics();
  showArtifacts(artifacts.items);
}, (kind, data) => data.number === number || kind === "study" || kind === "reset");

function showTrial(trial) {
  byId("state").replaceChildren(badge(trial.state));
  byId("about").textContent = { sampled: "drawn by the sampler", default: "the untuned default", literature: "recommended by the literature", enqueued: "given by a user" }[trial.origin];
  byId("reason").textContent = trial.reason ?? "";
  show(byId("reason"), Boolean(trial.reason));
  showFailure(trial.failure);
  byId("tiles").replaceChildren(...tiles(trial));
  byId("parameters").replaceChildren(facts(Object.entries(trial.params).map(([name, value]) => [name, param(value)])));
  showAttempts(trial.attempts);
  byId("details").replaceChildren(details(trial.details));
  neighbour("previous", number - 1, number > 0);
  neighbour("next", number + 1, number + 1 < study.counts.total);
}

function neighbour(id, other, exists) {
  show(byId(id), exists);
  byId(id).setAttribute("href", trialPath(studyId, other));
}

function tiles(trial) {
  const others = Object.entries(trial.values).filter(([name]) => name !== study.objective.metric);
  const best = study.best?.number === number ? "the best of the study" : study.best ? `best of the study ${score(study.best.value)}` : "";
  return [
    tile(study.objective.metric, score(trial.value), best),
    ...others.map(([name, value]) => tile(name, score(value))),
    tile("Epoch", param(trial.epoch ?? undefined), trial.step === null ? "no step reported" : `step ${trial.step.toLocaleString()}`),
    tile("Time", duration(trial.seconds), trial.finished_at ? el("p", { class: "muted" }, "ended ", when(trial.finished_at)) : "so far"),
  ];
}

function showFailure(failure) {
  show(byId("failure"), Boolean(failure));
  if (failure) byId("failure").replaceChildren(el("strong", {}, `Failed: ${failure.kind}`), el("pre", { tabindex: 0 }, failure.message ?? ""));
}

async function showMetrics() {
  const names = [...new Set(points.map((point) => point.name))].sort();
  setOptions(metric, names, viewState("metric", names.includes(study.objective.metric) ? study.objective.metric : names[0]));
  show(metric.parentElement, names.length > 0);
  byId("metrics").replaceChildren(metricsTable());
  await drawCurve();
}

const shownName = ({ name, split }) => (split === "validation" ? name : `${split} ${name}`);

function metricsTable() {
  if (points.length === 0) return el("p", { class: "muted" }, "Nothing reported.");
  const names = [...new Set(points.map(shownName))].sort();
  const rows = new Map();
  for (const point of points) {
    const row = rows.get(point.step) ?? { epoch: point.epoch };
    row[`value ${shownName(point)}`] = point.value;
    rows.set(point.step, row);
  }
  const steps = [...rows.keys()].sort((a, b) => a - b);
  const cut = steps.length > MOST_ROWS ? el("caption", {}, `The last ${MOST_ROWS} of ${plural(steps.length, "step")}`) : null;
  return el("table", {}, cut,
    el("thead", {}, el("tr", {}, ["Epoch", "Step", ...names].map((name) => el("th", { scope: "col", class: "num" }, name)))),
    el("tbody", {}, steps.slice(-MOST_ROWS).map((step) => el("tr", {},
      el("td", { class: "num" }, param(rows.get(step).epoch ?? undefined)), el("td", { class: "num" }, step.toLocaleString()),
      names.map((name) => el("td", { class: "num" }, score(rows.get(step)[`value ${name}`])))))));
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
  const layout = {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: true, uirevision: metric.value,
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 }, margin: { l: 56, r: 16, b: 44 },
    xaxis: { title: { text: byEpoch ? "epoch" : "step" }, dtick: byEpoch && wanted.at(-1)?.epoch <= FEW_EPOCHS ? 1 : undefined }, yaxis: { title: { text: plotlyText(metric.value) } },
  };
  show(byId("curve-panel"), data.length > 0);
  if (data.length) await draw(byId("curve-panel"), { data, layout });
}

// Plotly reads markup in its texts.
const plotlyText = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");

function showAttempts(attempts) {
  const head = ["Attempt", "Worker", "Started", "Lasted", "Outcome", "Message"];
  byId("attempts").replaceChildren(attempts.length === 0
    ? el("p", { class: "muted" }, "Not started yet.")
    : el("table", {}, el("thead", {}, el("tr", {}, head.map((name) => el("th", { scope: "col" }, name)))),
      el("tbody", {}, attempts.map((attempt) => el("tr", {},
        el("td", {}, String(attempt.attempt)), el("td", {}, attempt.worker_id), el("td", {}, when(attempt.granted_at)),
        el("td", {}, attempt.ended_at ? duration((new Date(attempt.ended_at) - new Date(attempt.granted_at)) / 1000) : "–"),
        el("td", {}, badge(attempt.outcome ?? "running")), el("td", {}, attempt.message ?? ""))))));
}

function showArtifacts(artifacts) {
  byId("artifacts").replaceChildren(artifacts.length === 0
    ? el("p", { class: "muted" }, "None kept. A model is kept while its trial is the best of the study.")
    : el("ul", { class: "files" }, artifacts.map((artifact) => el("li", {},
      el("a", { href: address(`${api}/artifacts/${artifact.name.split("/").map(encodeURIComponent).join("/")}`), download: true }, artifact.name),
      el("span", { class: "muted" }, ` ${bytes(artifact.size)}`)))));
}

// What the worker told, however it is nested, as "part · name".
function details(given) {
  const flat = (value, path) => (value !== null && typeof value === "object"
    ? Object.entries(value).flatMap(([name, inner]) => flat(inner, [...path, name]))
    : [[path.join(" · "), typeof value === "number" && Number.isInteger(value) ? value.toLocaleString() : param(value)]]);
  const pairs = flat(given ?? {}, []);
  return pairs.length ? facts(pairs) : el("p", { class: "muted" }, "None; the worker tells them when the trial ends well.");
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
