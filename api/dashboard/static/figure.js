// Draws the service's figures with plotly, in the colours of the page.

import { getText } from "./rest.js";

const CONFIG = {
  responsive: true,
  displaylogo: false,
  // By name, because plotly's own choice includes one that sends the figure to a server of its makers.
  modeBarButtons: [["toImage"], ["zoom2d", "pan2d"], ["zoomIn2d", "zoomOut2d", "resetScale2d"]],
};
const dark = matchMedia("(prefers-color-scheme: dark)");
const drawn = new Map(); // panel → what it shows, to draw it again in another theme

// At this width and below a legend above the plot would leave no room for it.
const NARROW = 480;
const LEGEND_BELOW = { orientation: "h", x: 0, y: 0, yref: "container", yanchor: "bottom", font: { size: 10 } };

function themed(layout, width) {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const axis = { gridcolor: colour("--grid"), zerolinecolor: colour("--grid"), linecolor: colour("--grid") };
  const result = { ...layout, title: undefined, margin: { ...layout.margin, t: 28 } };
  result.font = { family: style.fontFamily, size: 12, color: colour("--text") };
  result.modebar = { bgcolor: "rgba(0,0,0,0)", color: colour("--muted"), activecolor: colour("--accent") };
  result.hoverlabel = { bgcolor: colour("--card"), bordercolor: colour("--grid"), font: { color: colour("--text") } };
  for (const name of ["xaxis", "yaxis"]) result[name] = { ...axis, automargin: true, ...layout[name] };
  // Tick labels of parallel coordinates lie on the lines.
  result.annotations = layout.annotations?.map((annotation) => ({ ...annotation, bgcolor: colour("--card") }));
  if (width <= NARROW) Object.assign(result, { legend: LEGEND_BELOW, margin: { ...result.margin, t: 12 } });
  return result;
}

export async function draw(panel, figure, onTrial) {
  const plot = panel.querySelector(".plot");
  const layout = figure.layout;
  const note = panel.querySelector(".note");
  note.textContent = layout.title?.subtitle?.text ?? "";
  note.hidden = !note.textContent;
  plot.style.height = layout.height ? `${layout.height}px` : "";
  drawn.set(panel, figure);
  await Plotly.react(plot, figure.data, themed(layout, plot.clientWidth), CONFIG);
  if (onTrial && !plot.dataset.clicks) {
    plot.dataset.clicks = "on";
    plot.on("plotly_click", ({ points }) => {
      const number = points[0].customdata ?? points[0].data.meta;
      if (Number.isInteger(number)) onTrial(number);
    });
  }
}

const asked = new Map(); // panel → the last request for it: answers to earlier ones may come later
const latest = new Map(); // panel → the request and the answer shown, so that what has not changed is not drawn again

// Fetches and draws; answers the figure's `layout.meta`, or null if the panel was asked to show something else meanwhile.
export async function drawFrom(panel, path, onTrial) {
  asked.set(panel, path);
  const text = await getText(path);
  if (asked.get(panel) !== path) return null;
  const figure = JSON.parse(text);
  const before = latest.get(panel);
  if (before?.text !== text || before.path !== path) {
    latest.set(panel, { path, text });
    figure.layout.uirevision = path; // zoom is kept while the same thing is shown
    await draw(panel, figure, onTrial);
  }
  return figure.layout.meta ?? {};
}

dark.addEventListener("change", () => {
  for (const [panel, figure] of drawn) {
    const plot = panel.querySelector(".plot");
    Plotly.react(plot, figure.data, themed(figure.layout, plot.clientWidth), CONFIG);
  }
});
