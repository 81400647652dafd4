// A line of values without axes; read out as its first and last value.

import { score } from "./format.js";

const NS = "http://www.w3.org/2000/svg";
const WIDTH = 120;
const HEIGHT = 26;

export function sparkline(given) {
  const values = given.filter(Number.isFinite);
  if (values.length === 0) return "–";
  const svg = document.createElementNS(NS, "svg");
  svg.setAttribute("viewBox", `-2 -3 ${WIDTH + 4} ${HEIGHT + 6}`);
  svg.setAttribute("class", "sparkline");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `from ${score(values[0])} to ${score(values.at(-1))}`);
  const low = Math.min(...values);
  const spread = Math.max(...values) - low;
  const places = values.map((value, index) => [
    values.length > 1 ? (index / (values.length - 1)) * WIDTH : WIDTH,
    spread ? HEIGHT - ((value - low) / spread) * HEIGHT : HEIGHT / 2,
  ]);
  const line = document.createElementNS(NS, "polyline");
  line.setAttribute("points", places.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" "));
  const end = document.createElementNS(NS, "circle");
  for (const [name, value] of Object.entries({ cx: places.at(-1)[0], cy: places.at(-1)[1], r: 2.5 })) end.setAttribute(name, value);
  svg.append(line, end);
  return svg;
}
