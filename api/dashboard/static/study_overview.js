// The tiles at the top of a study, and its settings in full.

import { badge, el, facts, tile, trialPath } from "./dom.js";
import { duration, hours, param, range, score, when } from "./format.js";
import { counted, said, t } from "./i18n.js";
import { firstObjective, objectives } from "./objective.js";

const STATES = ["running", "waiting", "completed", "pruned", "stopped", "failed"];

// `usage` is null until it is known.
export function overviewTiles(study, usage) {
  return [bestTile(study), gainTile(study), progressTile(study, usage), timeTile(study), costTile(usage)];
}

function bestTile(study) {
  const { best } = study;
  const title = t("Best {metric}", { metric: firstObjective(study).metric });
  if (!best) return tile(title, "–", t("no trial has finished yet"));
  const settings_ = Object.entries(best.params).map(([name, value]) => `${name} ${param(value)}`).join(", ");
  return tile(title, score(best.value), el("p", {}, el("a", { href: trialPath(study.id, best.number) }, `${t("trial")} ${best.number}`)), settings_);
}

function gainTile(study) {
  const { best, baseline } = study;
  const objective = firstObjective(study);
  const sign = objective.direction === "minimize" ? -1 : 1;
  const line = (name, from, missing) => {
    if (from === null || from === undefined) return el("p", { class: "gain" }, el("span", { class: "muted" }, `${name}: ${missing}`));
    const gain = typeof best?.value === "number" && typeof from === "number" ? sign * (best.value - from) : null;
    const words = gain === null ? "–" : gain === 0 ? t("the same as") : t(gain > 0 ? "{gain} better than" : "{gain} worse than", { gain: score(Math.abs(gain)) });
    return el("p", { class: "gain" }, el("strong", {}, words), el("span", { class: "muted" }, ` ${name}, ${score(from)}`));
  };
  return el("section", { class: "tile" }, el("h2", {}, t("Gain")),
    line(t("the untuned default"), baseline?.default, t("not finished yet")),
    line(objective.metric === "loss" ? t("guessing by class frequencies") : t("the majority class"), baseline?.majority, t("not known")));
}

function progressTile(study, usage) {
  const { counts } = study;
  const ended = counts.completed + counts.pruned + counts.stopped + counts.failed;
  const limit = study.budget.trials;
  const kinds = Object.entries(usage?.failures ?? {}).map(([kind, count]) => `${said(kind)} ${count}`).join(", ");
  return tile(t("Progress"), `${ended}${limit ? ` / ${limit}` : ""}`,
    study.progress === null ? null : el("progress", { max: 1, value: study.progress, "aria-label": t("Progress") }),
    el("p", { class: "counts" }, STATES.filter((state) => counts[state] > 0).map((state) => {
      const shown = badge(state);
      shown.append(` ${counts[state]}`);
      return shown;
    })),
    kinds ? t("failures: {kinds}", { kinds }) : null);
}

function timeTile(study) {
  if (study.finished_at) {
    const seconds = (new Date(study.finished_at) - new Date(study.created_at)) / 1000;
    return tile(t("Time"), duration(seconds), el("p", { class: "muted" }, `${t("ended")} `, when(study.finished_at)));
  }
  const left = study.eta_seconds === null ? "–" : duration(study.eta_seconds);
  const why = study.state === "paused" ? t("paused") : study.eta_seconds === null ? t("known once a trial has ended") : t("at the pace so far, running trials counted");
  return tile(t("Time left"), left, why, el("p", { class: "muted" }, `${t("started")} `, when(study.created_at)));
}

function costTile(usage) {
  if (!usage) return tile(t("Cost"), "–");
  const on = usage.gpu_hours > 0;
  const line = (name, value, missing) => el("p", { class: "muted" }, `${name}: `, value === null ? missing : el("strong", {}, hours(value)));
  return tile(on ? t("GPU time") : t("Worker time"), hours(on ? usage.gpu_hours : usage.worker_hours),
    line(t("spared by pruning, about"), usage.pruning_saved_hours, t("nothing")),
    line(t("spared by the activation cache"), usage.activations_saved_hours, t("not reported")));
}

export function settings(study) {
  const space = study.parameters === "auto" ? {} : study.parameters;
  const plain = (section) => Object.entries(section ?? {}).filter(([, value]) => value !== null && typeof value !== "object")
    .map(([name, value]) => (name === "name" ? value : `${name} ${param(value)}`)).join(", ");
  return el("div", { class: "columns" },
    facts(Object.entries(space).map(([name, body]) => [name, range(body)])),
    facts([
      ["objective", objectives(study).map(({ direction, metric }) => `${direction} ${metric}`).join(", ")],
      ...((study.constraints ?? []).length ? [["constraints", study.constraints.join(", ")]] : []),
      ["sampler", plain(study.sampler)],
      ["pruner", plain(study.pruner)],
      ["budget", plain(study.budget)],
      ["parallelism", String(study.parallelism)],
      ["seed", String(study.seed)],
      ["validation", param(study.data.validation)],
      ...(study.data.limit ? [["rows used", param(study.data.limit)]] : []),
      ...(study.facts?.trained_parameters?.length
        ? [["trained parameters by frozen blocks", study.facts.trained_parameters.map((count, depth) => `${depth}: ${(count / 1e6).toFixed(1)} M`).join(", ")]]
        : []),
      ...(study.facts?.classes?.length ? [[counted(study.facts.classes.length, "{n} class", "{n} classes"), study.facts.classes.slice(0, 20).join(", ")]] : []),
    ]));
}
