// Draws the service's figures with plotly, in the colours and the language of the page, with the marked trials standing out.

import { withMarks } from "./figure_marks.js";
import { said, t } from "./i18n.js";
import { plotly } from "./plotly.js";
import { getText } from "./rest.js";
import { mark, marked, onMarks, toggle } from "./selection.js";

const CONFIG = {
  displaylogo: false,
  // By name, because plotly's own choice includes one that sends the figure to a server of its makers.
  modeBarButtons: [["toImage"], ["zoom2d", "pan2d", "select2d"], ["zoomIn2d", "zoomOut2d", "resetScale2d"]],
};
const dark = matchMedia("(prefers-color-scheme: dark)");
const drawn = new Map(); // panel → what it shows, to draw it again in another theme or with other marks

// At this width and below a legend above the plot would leave no room for it.
const NARROW = 480;
const LEGEND_BELOW = { orientation: "h", x: 0, y: 0, yref: "container", yanchor: "bottom", font: { size: 10 } };
const LEGEND_HEIGHT = 110; // px; five lines of it
const MINUTE = 60_000; // ms
const PLOT_HEIGHT = 70; // px, the least that is left for the plot itself
const PLOT_WIDTH = 130; // px, likewise beside long names

function themed(layout, { width, height }) {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const axis = { gridcolor: colour("--grid"), zerolinecolor: colour("--grid"), linecolor: colour("--grid") };
  const result = { ...layout, title: undefined, margin: { ...layout.margin, t: 28 }, width, height };
  result.font = { family: style.fontFamily, size: 12, color: colour("--text") };
  result.modebar = { bgcolor: "rgba(0,0,0,0)", color: colour("--muted"), activecolor: colour("--accent") };
  result.hoverlabel = { bgcolor: colour("--card"), bordercolor: colour("--grid"), font: { color: colour("--text") } };
  for (const name of ["xaxis", "yaxis"]) {
    result[name] = { ...axis, automargin: true, ...layout[name] };
    const title = layout[name]?.title?.text;
    if (title) result[name].title = { ...layout[name].title, text: said(title) };
  }
  result.annotations = layout.annotations?.map((annotation) => ({ ...annotation, text: said(annotation.text), bgcolor: colour("--card") }));
  // plotly takes the room of such a legend after it has shared out the height between plot and labels: upright labels of
  // dates and a legend of four lines left a low figure less than nothing, and it failed.
  const below = { legend: LEGEND_BELOW, margin: { ...result.margin, t: 12 }, minreducedheight: PLOT_HEIGHT + LEGEND_HEIGHT, minreducedwidth: PLOT_WIDTH };
  if (width <= NARROW) {
    Object.assign(result, below);
    for (const axis of [result.xaxis, result.yaxis]) axis.title = { ...axis.title, font: { size: 11 } };
    if (result.xaxis.type === "date") Object.assign(result.xaxis, { nticks: 3, tickangle: 0 });
    result.font.size = 10;
  }
  return result;
}

// plotly draws times as they are written, which is in UTC; those who look live somewhere.
function local(time) {
  const at = new Date(time);
  return new Date(at - at.getTimezoneOffset() * MINUTE).toISOString().slice(0, -1);
}

const localTimes = (trace) => (trace.base ? { ...trace, base: trace.base.map(local) } : trace);

const TOLD = ["name", "hovertemplate"];

// A trace with what it says in the page's language.
function inWords(trace) {
  const words = Object.fromEntries(TOLD.filter((key) => trace[key]).map((key) => [key, said(trace[key])]));
  return { ...trace, ...words, ...(Array.isArray(trace.hovertext) ? { hovertext: trace.hovertext.map(said) } : {}) };
}

const sizeOf = (plot) => ({ width: plot.clientWidth, height: plot.clientHeight });

// A figure that says how high it is (a line for each worker) means one whose legend is above it.
function fit(plot, { data, layout }) {
  const below = plot.clientWidth <= NARROW && data.length > 1 ? LEGEND_HEIGHT : 0;
  plot.style.height = layout.height ? `${layout.height + below}px` : "";
  return sizeOf(plot);
}

// plotly's own answer to another size keeps the legend where it was, which on a narrow page leaves the plot no room.
const sizes = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const { size } = drawn.get(panels.get(target));
    const now = sizeOf(target);
    if (size && (size.width !== now.width || size.height !== now.height)) requestAnimationFrame(() => put(panels.get(target)));
  }
});
const panels = new Map(); // plot → its panel

async function put(panel) {
  const shown = drawn.get(panel);
  const { figure, changed, selects } = shown;
  const plot = panel.querySelector(".plot");
  const Plotly = await plotly();
  if (drawn.get(panel)?.figure !== figure) return;
  shown.size = fit(plot, figure);
  if (!panels.has(plot)) {
    panels.set(plot, panel);
    sizes.observe(plot);
  }
  if (!shown.size.width) return; // hidden: drawn once it has a size
  const { data, layout } = changed ? changed(figure) : figure;
  const ink = getComputedStyle(document.documentElement).getPropertyValue("--text").trim();
  const timed = layout.xaxis?.type === "date" ? data.map(localTimes) : data;
  const named = timed.map((trace) => (trace.name ? inWords(trace) : trace));
  const look = themed(layout, shown.size);
  if (data.length < 2) look.showlegend ??= false; // also once the marks are a second trace
  await Plotly.react(plot, selects ? withMarks(named, marked(), ink) : named, look, CONFIG);
  if (selects) listen(plot);
}

// A click marks a trial; a box around several marks them all.
function listen(plot) {
  if (plot.dataset.clicks) return;
  plot.dataset.clicks = "on";
  const number = (point) => point.customdata ?? point.data.meta;
  plot.on("plotly_click", ({ points }) => {
    if (Number.isInteger(number(points[0]))) toggle(number(points[0]));
  });
  plot.on("plotly_selected", (event) => {
    const numbers = (event?.points ?? []).map(number).filter(Number.isInteger);
    if (numbers.length) mark([...marked(), ...numbers]);
  });
}

// `changed` makes another figure of it just before it is drawn (smoothing); `selects`: its points are trials of the page's study.
export async function draw(panel, figure, { changed = null, selects = false } = {}) {
  const plot = panel.querySelector(".plot");
  const note = panel.querySelector(".note");
  note.textContent = said(figure.layout.title?.subtitle?.text ?? "");
  note.hidden = !note.textContent;
  drawn.set(panel, { figure, changed, selects });
  await put(panel);
}

const asked = new Map(); // panel → the last request for it: answers to earlier ones may come later
const latest = new Map(); // panel → the request and the answer shown, so that what has not changed is not drawn again

// Fetches a figure; answers null if the panel was asked to show something else meanwhile, or shows just that already.
export async function fetchFigure(panel, path) {
  asked.set(panel, path);
  const text = await getText(path);
  if (asked.get(panel) !== path) return null;
  const before = latest.get(panel);
  if (before?.text === text && before.path === path) return null;
  latest.set(panel, { path, text });
  const figure = JSON.parse(text);
  figure.layout.uirevision = path; // zoom is kept while the same thing is shown
  return figure;
}

// Says in a panel why it shows no figure, or an older one. It is drawn again by whatever asks for it next.
export function miss(panel, error) {
  latest.delete(panel);
  const note = panel.querySelector(".note");
  note.textContent = t("Not drawn: {why}", { why: said(error.message) });
  note.hidden = false;
}

// Fetches and draws; answers the figure's `layout.meta`, or null if nothing new was drawn.
export async function drawFrom(panel, path, options) {
  const figure = await fetchFigure(panel, path);
  if (!figure) return null;
  await draw(panel, figure, options);
  return figure.layout.meta ?? {};
}

// Draws again what a panel shows: with other smoothing, other marks, another theme.
export function redraw(panel) {
  if (drawn.has(panel)) put(panel);
}

function redrawAll() {
  for (const panel of drawn.keys()) put(panel);
}

dark.addEventListener("change", redrawAll);
onMarks(() => {
  for (const [panel, { selects }] of drawn) if (selects) put(panel);
});
