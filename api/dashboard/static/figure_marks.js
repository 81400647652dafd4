// Marked trials in a figure: rings around their points, thick lines over their lines, thick edges around their bars.

const RING = 15;
const FADED = 0.35;

// The figure's traces with `numbers` standing out in `colour`. A point belongs to the trial in its trace's customdata.
export function withMarks(data, numbers, colour) {
  if (numbers.length === 0) return data;
  const wanted = new Set(numbers);
  const over = [];
  const under = data.map((trace) => {
    const places = (trace.customdata ?? []).map((number, index) => (wanted.has(number) ? index : -1)).filter((index) => index >= 0);
    if (trace.type === "bar") return places.length ? edged(trace, wanted, colour) : trace;
    if (!Array.isArray(trace.customdata)) return trace;
    if (trace.mode === "markers") {
      if (places.length) over.push(rings(trace, places, colour));
      return trace;
    }
    if (places.length) over.push(thick(trace, places, colour));
    return { ...trace, opacity: (trace.opacity ?? 1) * FADED };
  });
  return [...under, ...over];
}

const pick = (values, places) => places.map((index) => (index === null ? null : values[index]));

const QUIET = { showlegend: false, hoverinfo: "skip", hovertemplate: null, name: "marked", type: "scatter" };

function rings({ x, y, yaxis }, places, colour) {
  return { ...QUIET, mode: "markers", x: pick(x, places), y: pick(y, places), ...(yaxis ? { yaxis } : {}),
    marker: { symbol: "circle-open", size: RING, color: colour, line: { width: 2.5 } } };
}

function thick({ x, y }, places, colour) {
  const spaced = places.flatMap((place, index) => (index > 0 && places[index - 1] !== place - 1 ? [null, place] : [place]));
  return { ...QUIET, mode: "lines+markers", x: pick(x, spaced), y: pick(y, spaced), line: { color: colour, width: 3.5 }, marker: { size: 7 } };
}

function edged(trace, wanted, colour) {
  const line = { width: trace.customdata.map((number) => (wanted.has(number) ? 3 : 0.5)), color: trace.customdata.map((number) => (wanted.has(number) ? colour : "rgba(128,128,128,0.7)")) };
  return { ...trace, marker: { ...trace.marker, line } };
}
