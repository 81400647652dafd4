// A study that is being written: what it begins with, and how a field of it changes.

import { objectives } from "./objective.js";

export const LIMITS = { trials: "Trials", hours: "Hours", gpu_hours: "GPU-hours", target: "Target value", no_gain_in: "Trials without a gain" };

// The usual space of the first task, on the first model and data that are here.
export function blankStudy({ tasks, models, data }) {
  const here = (entries) => (entries.find((entry) => entry.installed) ?? entries[0])?.name ?? "";
  return {
    task: tasks[0].task,
    model: here(models),
    data: { train: here(data) },
    parameters: structuredClone(tasks[0].default_space),
    budget: { trials: 30 },
    parallelism: 4,
  };
}

// Only what a study file has, without what is left open anyway, under a name of its own.
export function copyOf(study, keys) {
  const copied = Object.fromEntries(keys.filter((key) => key in study).map((key) => [key, withoutEmpty(study[key])]).filter(([, value]) => value !== undefined));
  const { further_objectives: _, ...rest } = copied;
  const all = objectives(copied);
  return { ...rest, ...(all.length > 1 ? { objective: all } : {}), name: nextName(study.name) };
}

function nextName(name) {
  const match = /^(.*?)-(\d+)$/.exec(name);
  return match ? `${match[1]}-${Number(match[2]) + 1}` : `${name}-2`;
}

function withoutEmpty(value) {
  if (value === null || value === "") return undefined;
  if (typeof value !== "object" || Array.isArray(value)) return Array.isArray(value) && value.length === 0 ? undefined : value;
  const kept = Object.entries(value).filter(([, inner]) => inner !== null && !(typeof inner === "object" && Object.keys(inner).length === 0));
  return kept.length ? Object.fromEntries(kept) : undefined;
}

export const valueAt = (study, path) => path.reduce((value, key) => (value === null || typeof value !== "object" ? undefined : value[key]), study);

// A copy with `value` at `path`; undefined takes the key away, and sections that it leaves empty too.
export function withValue(study, path, value) {
  const [key, ...rest] = path;
  const below = rest.length ? withValue(study?.[key] !== null && typeof study?.[key] === "object" ? study[key] : {}, rest, value) : value;
  const copy = { ...study };
  if (below === undefined || (rest.length && Object.keys(below).length === 0)) delete copy[key];
  else copy[key] = below;
  return copy;
}
