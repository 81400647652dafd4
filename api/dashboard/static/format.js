// Numbers, times and parameters as a person reads them.

import { language, t } from "./i18n.js";

const MINUTE = 60;
const HOUR = 3600;
const DAY = 86400;
const NONE = "–";
const ODD = { nan: "NaN", inf: "∞", "-inf": "−∞" };
const relative = new Intl.RelativeTimeFormat(language, { numeric: "always", style: "narrow" });

// The exponent form without padding: 2.3e-4.
const scientific = (value, digits) => value.toExponential(digits).replace(/\.?0+e/, "e").replace("e+", "e");

// A score: three digits after the point, so that a column lines up.
export function score(value) {
  if (value === null || value === undefined) return NONE;
  if (typeof value !== "number") return ODD[value] ?? String(value);
  const size = Math.abs(value);
  if (value !== 0 && (size < 0.001 || size >= 100000)) return scientific(value, 2);
  return size >= 100 ? value.toFixed(1) : value.toFixed(3);
}

// A parameter: as short as it can be said.
export function param(value) {
  if (value === null) return t("none");
  if (value === undefined) return NONE;
  if (Array.isArray(value)) return value.map(param).join(", ");
  if (typeof value === "object") return JSON.stringify(value);
  if (typeof value !== "number") return ODD[value] ?? String(value);
  if (Number.isInteger(value)) return Math.abs(value) < 1e6 ? String(value) : scientific(value, 2);
  const size = Math.abs(value);
  return size < 0.001 || size >= 100000 ? scientific(value, 1) : String(Number(value.toPrecision(3)));
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return NONE;
  if (seconds < 10) return t("{s} s", { s: seconds.toFixed(1) });
  const whole = Math.round(seconds);
  if (whole < MINUTE) return t("{s} s", { s: whole });
  if (whole < HOUR) return t("{m} min {s} s", { m: Math.floor(whole / MINUTE), s: whole % MINUTE });
  if (whole < DAY) return t("{h} h {m} min", { h: Math.floor(whole / HOUR), m: Math.floor((whole % HOUR) / MINUTE) });
  return t("{d} d {h} h", { d: Math.floor(whole / DAY), h: Math.floor((whole % DAY) / HOUR) });
}

export const hours = (value) => (value === null || value === undefined ? NONE : duration(value * HOUR));

export function ago(time) {
  const seconds = (Date.now() - new Date(time).getTime()) / 1000;
  if (seconds < 45) return t("just now");
  if (seconds < HOUR) return relative.format(-Math.round(seconds / MINUTE), "minute");
  if (seconds < DAY) return relative.format(-Math.round(seconds / HOUR), "hour");
  return new Date(time).toLocaleDateString(language, { dateStyle: "medium" });
}

// A moment: how long ago it was, and exactly when on pointing at it.
export function when(time) {
  if (!time) return NONE;
  const node = document.createElement("time");
  node.dateTime = time;
  node.title = new Date(time).toLocaleString(language);
  node.textContent = ago(time);
  return node;
}

export function bytes(size) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (size >= 1000 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? size : size.toFixed(1)} ${units[unit]}`;
}

// One entry of a search space: "1e-6 … 1e-3, log".
export function range(body) {
  if (body === null || typeof body !== "object") return param(body);
  const conditions = Object.entries(body.when ?? {}).map(([name, value]) => t("{name} is {value}", { name, value: [value].flat().map(param).join(" / ") }));
  const when = conditions.length ? ` ${t("when {conditions}", { conditions: conditions.join(", ") })}` : "";
  if ("value" in body) return `${param(body.value)}, ${t("fixed")}${when}`;
  if ("values" in body) return `${body.values.map(param).join(", ")}${when}`;
  return `${param(body.min)} … ${param(body.max)}${body.log ? ", log" : ""}${body.step ? `, ${t("step")} ${param(body.step)}` : ""}${when}`;
}
