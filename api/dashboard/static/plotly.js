// plotly.js is large: it is fetched once the page has shown its numbers, not before.

let loading = null;

export function plotly() {
  loading ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = document.body.dataset.plotly;
    script.onload = () => resolve(globalThis.Plotly);
    script.onerror = () => reject(new Error("plotly.js could not be loaded; reload the page"));
    document.head.append(script);
  });
  return loading;
}
