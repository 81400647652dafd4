// Curves made smoother, by an exponential moving average whose start is not pulled towards zero (Kingma and Ba 2015, section 3).

// Lines of several trials may share a trace, apart by gaps: each starts anew.
export function smooth(values, weight) {
  if (!weight) return values;
  let mean = 0;
  let debt = 1;
  return values.map((value) => {
    if (typeof value !== "number") {
      mean = 0;
      debt = 1;
      return value;
    }
    mean = weight * mean + (1 - weight) * value;
    debt *= weight;
    return mean / (1 - debt);
  });
}

// The figure with smooth lines, and with a log axis if asked for.
export function reshaped({ data, layout }, { weight, log }) {
  const lines = data.map((trace) => (trace.mode?.includes("lines") ? { ...trace, y: smooth(trace.y, weight) } : trace));
  return { data: lines, layout: log ? { ...layout, yaxis: { ...layout.yaxis, type: "log" } } : layout };
}
