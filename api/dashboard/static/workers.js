// Who trains, and what.

import { badge, byId, el, replaceContent, show, tile, trialPath, written } from "./dom.js";
import { bytes, when } from "./format.js";
import { t } from "./i18n.js";
import { follow } from "./live.js";
import { get } from "./rest.js";

const SILENT = 60_000; // milliseconds without a sign of life

follow("/events", async () => {
  const { items } = await get("/workers");
  const alive = items.filter(isAlive);
  show(byId("empty"), items.length === 0);
  show(byId("list"), items.length > 0);
  byId("summary").textContent = items.length ? t("{alive} of {all} seen within the last minute", { alive: alive.length, all: items.length }) : "";
  replaceContent(byId("tiles"), items.length ? tiles(alive) : []);
  replaceContent(byId("rows"), items.map(row));
}, (kind) => kind !== "metric");

const isAlive = (worker) => Date.now() - new Date(worker.seen_at).getTime() < SILENT;

function tiles(alive) {
  const gpus = alive.flatMap((worker) => worker.gpus);
  const busy = alive.filter((worker) => worker.running.length > 0);
  const names = [...new Set(gpus.map((gpu) => String(gpu.name ?? "GPU")))];
  return [
    tile(t("Workers"), `${busy.length} / ${alive.length}`, t("train now")),
    tile(t("GPUs"), `${busy.flatMap((worker) => worker.gpus).length} / ${gpus.length}`, gpus.length ? t("of workers that train") : t("no worker has one"),
      names.length ? el("p", { class: "muted" }, names.slice(0, 4).join(", ")) : null),
  ];
}

function row(worker) {
  return el("tr", {},
    el("th", { scope: "row", "data-label": t("Worker") }, written(`${worker.host}:${worker.pid}`), el("span", { class: "muted block" }, worker.id)),
    el("td", { "data-label": t("Runs") }, running(worker)),
    el("td", { "data-label": t("GPUs") }, worker.gpus.length ? el("span", {}, worker.gpus.map(gpu)) : t("none")),
    el("td", { "data-label": t("Last seen") }, el("span", {}, isAlive(worker) ? "" : badge("silent"), " ", when(worker.seen_at))),
    el("td", { "data-label": t("Registered") }, when(worker.registered_at)),
    el("td", { "data-label": t("Versions"), class: "muted" }, el("span", {}, Object.entries(worker.versions).map(([name, version]) => `${name} ${version}`).join(", "))));
}

function gpu(given) {
  const memory = Number(given.memory);
  const used = Number(given.memory_used);
  const parts = [
    memory > 0 ? (used >= 0 ? t("{used} of {all}", { used: bytes(used), all: bytes(memory) }) : bytes(memory)) : null,
    given.utilisation >= 0 ? t("{percent} % busy", { percent: given.utilisation }) : null,
  ].filter(Boolean);
  return el("span", { class: "block" },
    written(String(given.name ?? "GPU")), parts.length ? el("span", { class: "muted" }, ` ${parts.join(", ")}`) : null,
    given.set_aside ? el("span", { class: "block" }, badge("set aside"), " ", written(String(given.set_aside))) : null);
}

function running(worker) {
  if (worker.running.length === 0) return "–";
  return el("span", {}, worker.running.map(({ study_id: studyId, number }) =>
    el("a", { class: "block", href: trialPath(studyId, number) }, `${t("trial")} ${number}`)));
}
