// Parallel coordinates with brushes: drag along an axis to see only the trials that cross it there. Drawn on a canvas from the
// service's figure, because plotly's own kind needs WebGL, which the content security policy forbids.

import { el, replaceContent, show } from "./dom.js";
import { counted, t } from "./i18n.js";
import { marked, onMarks, toggle } from "./selection.js";
import { setViewState, viewState } from "./view_state.js";

const HEIGHT = 360;
const PAD = { left: 64, right: 40, top: 34, bottom: 16 };
const LOWEST = -0.16; // below the foot of an axis: trials without that parameter
const REACH = 22; // pixels around an axis that belong to its brush
const NEAR = 6; // pixels around a line that belong to it
const SMALLEST = 0.015; // a shorter brush is a click, and takes the brush away

export function parallelPlot(panel, { filter, mark }) {
  const plot = panel.querySelector(".plot");
  const canvas = el("canvas", { role: "img" });
  const tip = el("div", { class: "tip", hidden: true });
  const controls = Object.fromEntries(["count", "filter", "mark", "clear"].map((name) => [name, document.getElementById(`brush-${name}`)]));
  const png = document.getElementById("parallel-png");
  let columns = [];
  let lines = []; // {number, heights, colour, width}, the best last
  let brushes = readBrushes(); // axis name → [low, high]
  let drag = null;

  function show_(figure) {
    columns = figure.layout.meta?.columns ?? [];
    lines = columns.length ? linesOf(figure, columns.length) : [];
    const note = panel.querySelector(".note");
    note.textContent = figure.layout.title?.subtitle?.text ?? "";
    show(note, Boolean(note.textContent));
    plot.style.height = `${columns.length ? HEIGHT : 120}px`;
    if (columns.length) replaceContent(plot, [canvas, tip]);
    else replaceContent(plot, [el("p", { class: "muted words" }, t(figure.layout.annotations?.[0]?.text ?? ""))]);
    show(png, columns.length > 0);
    paint();
  }

  const inside = (line) => columns.every(({ name }, index) => {
    const brush = brushes.get(name);
    return !brush || (line.heights[index] >= brush[0] && line.heights[index] <= brush[1]);
  });
  const chosen = () => lines.filter(inside);

  const x = (index) => PAD.left + (index * (canvas.clientWidth - PAD.left - PAD.right)) / Math.max(1, columns.length - 1);
  const y = (height) => PAD.top + ((1 - height) * (HEIGHT - PAD.top - PAD.bottom)) / (1 - LOWEST);
  const heightAt = (pixel) => 1 - ((pixel - PAD.top) * (1 - LOWEST)) / (HEIGHT - PAD.top - PAD.bottom);

  function paint() {
    controls.count.textContent = brushes.size && lines.length ? t("{n} of {all} within the brushes", { n: chosen().length, all: lines.length }) : "";
    for (const name of ["filter", "mark", "clear"]) show(controls[name], brushes.size > 0 && lines.length > 0);
    if (!columns.length || !canvas.isConnected) return;
    const scale = devicePixelRatio || 1;
    const width = plot.clientWidth;
    canvas.width = width * scale;
    canvas.height = HEIGHT * scale;
    const pen = canvas.getContext("2d");
    pen.scale(scale, scale);
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const ink = new Set(marked());
    pen.lineJoin = "round";
    for (const line of lines) if (!inside(line)) stroke(pen, line, colour("--line"), 1, 0.5);
    for (const line of lines) if (inside(line)) stroke(pen, line, line.colour, line.width, ink.size && !ink.has(line.number) ? 0.3 : 0.85);
    for (const line of lines) if (ink.has(line.number)) stroke(pen, line, colour("--text"), 3, 1);
    pen.globalAlpha = 1;
    pen.font = `11px ${style.fontFamily}`;
    columns.forEach((column, index) => axis(pen, column, index, colour));
    canvas.setAttribute("aria-label", `${columns.map(({ name }) => name).join(", ")}: ${counted(lines.length, "{n} trial", "{n} trials")}`);
  }

  function stroke(pen, line, colour, width, alpha) {
    pen.globalAlpha = alpha;
    pen.strokeStyle = colour;
    pen.lineWidth = width;
    pen.beginPath();
    line.heights.forEach((height, index) => (index ? pen.lineTo(x(index), y(height)) : pen.moveTo(x(index), y(height))));
    pen.stroke();
  }

  function axis(pen, column, index, colour) {
    pen.strokeStyle = colour("--muted");
    pen.lineWidth = 1;
    pen.beginPath();
    pen.moveTo(x(index), y(0));
    pen.lineTo(x(index), y(1));
    pen.stroke();
    const brush = brushes.get(column.name);
    if (brush) {
      pen.fillStyle = colour("--accent");
      pen.globalAlpha = 0.25;
      pen.fillRect(x(index) - 8, y(brush[1]), 16, y(brush[0]) - y(brush[1]));
      pen.globalAlpha = 1;
      pen.strokeStyle = colour("--accent");
      pen.strokeRect(x(index) - 8, y(brush[1]), 16, y(brush[0]) - y(brush[1]));
    }
    pen.textAlign = index === 0 ? "left" : index === columns.length - 1 ? "right" : "center";
    pen.textBaseline = "alphabetic";
    pen.fillStyle = colour("--text");
    const edge = index === 0 ? 14 : index === columns.length - 1 ? canvas.clientWidth - 14 : x(index);
    pen.fillText(short(column.name), edge, PAD.top - 16);
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    const missing = lines.some((line) => line.heights[index] < LOWEST / 2);
    for (const [height, text] of [...column.ticks, ...(missing ? [[-0.12, t("not set")]] : [])]) {
      const size = pen.measureText(text).width;
      pen.fillStyle = colour("--card");
      pen.globalAlpha = 0.8;
      pen.fillRect(x(index) - 7 - size, y(height) - 7, size + 4, 14);
      pen.globalAlpha = 1;
      pen.fillStyle = colour("--muted");
      pen.fillText(text, x(index) - 5, y(height));
    }
  }

  function nearest(px, py) {
    let found = null;
    let least = NEAR;
    for (const line of chosen()) {
      for (let index = 0; index + 1 < columns.length; index += 1) {
        if (px < x(index) || px > x(index + 1)) continue;
        const share = (px - x(index)) / (x(index + 1) - x(index));
        const distance = Math.abs(py - (y(line.heights[index]) * (1 - share) + y(line.heights[index + 1]) * share));
        if (distance <= least) [found, least] = [line, distance];
      }
    }
    return found;
  }

  const axisAt = (px) => columns.findIndex((_, index) => Math.abs(px - x(index)) < REACH);
  const place = (event) => [event.offsetX, event.offsetY];

  canvas.addEventListener("pointerdown", (event) => {
    const [px, py] = place(event);
    const index = axisAt(px);
    if (index < 0) {
      const line = nearest(px, py);
      if (line) toggle(line.number);
      return;
    }
    canvas.setPointerCapture(event.pointerId);
    drag = { name: columns[index].name, from: heightAt(py) };
  });
  canvas.addEventListener("pointermove", (event) => {
    const [px, py] = place(event);
    canvas.style.cursor = axisAt(px) >= 0 ? "ns-resize" : "pointer";
    if (drag) {
      const to = heightAt(py);
      brushes.set(drag.name, [Math.min(drag.from, to), Math.max(drag.from, to)]);
      requestAnimationFrame(paint);
      return;
    }
    const line = nearest(px, py);
    show(tip, Boolean(line));
    if (!line) return;
    tip.textContent = `${t("trial")} ${line.number}`;
    tip.style.left = `${px + 12}px`;
    tip.style.top = `${py}px`;
  });
  canvas.addEventListener("pointerleave", () => show(tip, false));
  canvas.addEventListener("pointerup", () => {
    if (!drag) return;
    const brush = brushes.get(drag.name);
    if (!brush || brush[1] - brush[0] < SMALLEST) brushes.delete(drag.name);
    drag = null;
    keepBrushes(brushes);
    paint();
  });

  controls.clear.addEventListener("click", () => {
    brushes = new Map();
    keepBrushes(brushes);
    paint();
  });
  controls.mark.addEventListener("click", () => mark(chosen().map((line) => line.number).reverse()));
  controls.filter.addEventListener("click", () => filter([...brushes].flatMap(([name, brush]) => condition(columns.find((column) => column.name === name), brush)).join(",")));
  png.addEventListener("click", () => canvas.toBlob((blob) => {
    const link = el("a", { href: URL.createObjectURL(blob), download: "parallel.png" });
    link.click();
    URL.revokeObjectURL(link.href);
  }));
  onMarks(paint);
  new ResizeObserver(() => requestAnimationFrame(paint)).observe(plot);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
  return show_;
}

const short = (name) => (name.length > 18 ? `${name.slice(0, 17)}…` : name);

// The service draws lines of one shade as one trace, each line followed by a gap.
function linesOf(figure, count) {
  return figure.data.filter((trace) => trace.customdata).flatMap((trace) => {
    const found = [];
    for (let start = 0; start < trace.customdata.length; start += count + 1) {
      found.push({ number: trace.customdata[start], heights: trace.y.slice(start, start + count), colour: trace.line.color, width: trace.line.width });
    }
    return found;
  });
}

// A brush as the table's filter says it.
function condition(column, [low, high]) {
  if (!column) return [];
  const name = column.filter;
  if (column.levels.length) {
    const within = column.levels.filter((_, index) => {
      const height = column.levels.length > 1 ? index / (column.levels.length - 1) : 0.5;
      return height >= low && height <= high;
    });
    if (within.length === 1) return [`${name}=${within[0]}`];
    const numbers = within.filter((level) => typeof level === "number");
    return numbers.length ? [`${name}>=${Math.min(...numbers)}`, `${name}<=${Math.max(...numbers)}`] : [];
  }
  const value = (height) => {
    const position = column.low + Math.min(1, Math.max(0, height)) * (column.high - column.low);
    return (column.log ? 10 ** position : position).toPrecision(5).replace("e+", "e");
  };
  return [...(low > 0 ? [`${name}>=${value(low)}`] : []), ...(high < 1 ? [`${name}<=${value(high)}`] : [])];
}

function readBrushes() {
  const parts = viewState("brush").split("~").map((part) => part.split(":"));
  return new Map(parts.filter((part) => part.length === 3).map(([name, low, high]) => [name, [Number(low), Number(high)]]));
}

function keepBrushes(brushes) {
  setViewState({ brush: [...brushes].map(([name, [low, high]]) => `${name}:${low.toFixed(3)}:${high.toFixed(3)}`).join("~") });
}
