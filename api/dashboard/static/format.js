// Numbers, times and parameters as a person reads them.

const MINUTE = 60;
const HOUR = 3600;
const DAY = 86400;
const NONE = "–";
const ODD = { nan: "NaN", inf: "∞", "-inf": "−∞" };

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
  if (value === null) return "none";
  if (value === undefined) return NONE;
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value)) return Math.abs(value) < 1e6 ? String(value) : scientific(value, 2);
  const size = Math.abs(value);
  return size < 0.001 || size >= 100000 ? scientific(value, 1) : String(Number(value.toPrecision(3)));
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return NONE;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < MINUTE) return `${whole} s`;
  if (whole < HOUR) return `${Math.floor(whole / MINUTE)} min ${whole % MINUTE} s`;
  if (whole < DAY) return `${Math.floor(whole / HOUR)} h ${Math.floor((whole % HOUR) / MINUTE)} min`;
  return `${Math.floor(whole / DAY)} d ${Math.floor((whole % DAY) / HOUR)} h`;
}

export function ago(time) {
  const seconds = (Date.now() - new Date(time).getTime()) / 1000;
  if (seconds < 45) return "just now";
  if (seconds < HOUR) return `${Math.round(seconds / MINUTE)} min ago`;
  if (seconds < DAY) return `${Math.round(seconds / HOUR)} h ago`;
  return new Date(time).toLocaleDateString(undefined, { dateStyle: "medium" });
}

// A moment: how long ago it was, and exactly when on pointing at it.
export function when(time) {
  if (!time) return NONE;
  const node = document.createElement("time");
  node.dateTime = time;
  node.title = new Date(time).toLocaleString();
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

export function plural(count, noun) {
  return `${count.toLocaleString()} ${noun}${count === 1 ? "" : "s"}`;
}

// One entry of a search space: "1e-6 … 1e-3, log".
export function range(body) {
  if (body === null || typeof body !== "object") return param(body);
  const when = body.when && Object.keys(body.when).length
    ? ` when ${Object.entries(body.when).map(([name, value]) => `${name} is ${[value].flat().map(param).join(" or ")}`).join(" and ")}`
    : "";
  if ("value" in body) return `${param(body.value)}, fixed${when}`;
  if ("values" in body) return `${body.values.map(param).join(", ")}${when}`;
  return `${param(body.min)} … ${param(body.max)}${body.log ? ", log" : ""}${body.step ? `, step ${param(body.step)}` : ""}${when}`;
}
