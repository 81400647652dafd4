// Fields for the parameters of one trial, as a study's space allows them, and what was typed into them.

import { param, range } from "./format.js";
import { t } from "./i18n.js";

// `given`: what stands in them at first; without it they are empty, which leaves the choice to the sampler.
export function paramFields(study, given = {}) {
  const space = study.parameters === "auto" ? {} : study.parameters;
  return Object.entries(space).filter(([, body]) => !("value" in body)).map(([name, body]) => ({
    name,
    label: name,
    kind: "values" in body ? "text" : "number",
    value: name in given ? text(given[name]) : "",
    help: range(body),
    ...("values" in body ? { options: [["", t("left to the sampler")], ...body.values.map((value) => [text(value), param(value)])] } : {}),
  }));
}

// Only what is filled in.
export function readParams(study, values) {
  const space = study.parameters === "auto" ? {} : study.parameters;
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== "").map(([name, value]) => {
    const listed = space[name]?.values?.find((known) => text(known) === value);
    return [name, listed !== undefined ? listed : Number.isFinite(Number(value)) ? Number(value) : value];
  }));
}

const text = (value) => (value === null ? "null" : String(value));
