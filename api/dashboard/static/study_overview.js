// The tiles at the top of a study, and its settings in full.

import { badge, el, facts, tile, trialPath } from "./dom.js";
import { duration, param, range, score, when } from "./format.js";

const STATES = ["running", "waiting", "completed", "pruned", "stopped", "failed"];

export function overviewTiles(study) {
  return [bestTile(study), gainTile(study), progressTile(study), timeTile(study)];
}

function bestTile(study) {
  const { best, objective } = study;
  if (!best) return tile(`Best ${objective.metric}`, "–", "no trial has finished yet");
  const settings = Object.entries(best.params).map(([name, value]) => `${name} ${param(value)}`).join(", ");
  return tile(`Best ${objective.metric}`, score(best.value),
    el("p", {}, el("a", { href: trialPath(study.id, best.number) }, `trial ${best.number}`)), settings);
}

function gainTile(study) {
  const { best, baseline, objective } = study;
  const sign = objective.direction === "minimize" ? -1 : 1;
  const line = (name, from, missing) => {
    if (from === null || from === undefined) return el("p", { class: "gain" }, el("span", { class: "muted" }, `${name}: ${missing}`));
    const gain = typeof best?.value === "number" ? sign * (best.value - from) : null;
    const words = gain === null ? "–" : gain === 0 ? "the same as" : `${score(Math.abs(gain))} ${gain > 0 ? "better" : "worse"} than`;
    return el("p", { class: "gain" }, el("strong", {}, words), el("span", { class: "muted" }, ` ${name}, ${score(from)}`));
  };
  return el("section", { class: "tile" }, el("h2", {}, "Gain"),
    line("the untuned default", baseline.default, "not finished yet"),
    line(objective.metric === "loss" ? "guessing by class frequencies" : "the majority class", baseline.majority, "not known"));
}

function progressTile(study) {
  const { counts } = study;
  const ended = counts.completed + counts.pruned + counts.stopped + counts.failed;
  const limit = study.budget.trials;
  return tile("Progress", `${ended}${limit ? ` / ${limit}` : ""}`,
    study.progress === null ? null : el("progress", { max: 1, value: study.progress, "aria-label": "progress" }),
    el("p", { class: "counts" }, STATES.filter((state) => counts[state] > 0).map((state) => {
      const shown = badge(state);
      shown.append(` ${counts[state]}`);
      return shown;
    })));
}

function timeTile(study) {
  if (study.finished_at) {
    const seconds = (new Date(study.finished_at) - new Date(study.created_at)) / 1000;
    return tile("Time", duration(seconds), el("p", { class: "muted" }, "ended ", when(study.finished_at)));
  }
  const left = study.eta_seconds === null ? "–" : `${duration(study.eta_seconds)}`;
  const why = study.state === "paused" ? "paused" : study.eta_seconds === null ? "known once a trial has ended" : "at the pace so far";
  return tile("Time left", left, why, el("p", { class: "muted" }, "started ", when(study.created_at)));
}

export function settings(study) {
  const space = study.parameters === "auto" ? {} : study.parameters;
  const plain = (section) => Object.entries(section ?? {}).filter(([, value]) => value !== null && typeof value !== "object")
    .map(([name, value]) => (name === "name" ? value : `${name} ${param(value)}`)).join(", ");
  return el("div", { class: "columns" },
    facts(Object.entries(space).map(([name, body]) => [name, range(body)])),
    facts([
      ["objective", `${study.objective.direction} ${study.objective.metric}`],
      ["sampler", plain(study.sampler)],
      ["pruner", plain(study.pruner)],
      ["budget", plain(study.budget)],
      ["parallelism", String(study.parallelism)],
      ["seed", String(study.seed)],
      ["validation", param(study.data.validation)],
      ...(study.data.limit ? [["rows used", param(study.data.limit)]] : []),
      ...(study.facts?.classes?.length ? [["classes", study.facts.classes.slice(0, 20).join(", ")]] : []),
      ...Object.entries(study.tags ?? {}).map(([name, value]) => [`tag ${name}`, value]),
      ...(study.notes ? [["notes", study.notes]] : []),
    ]));
}
