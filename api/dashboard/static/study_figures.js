// The figures of a study's page: fetched when they come into sight, chosen by controls whose state is in the address.

import { byId, setOptions, settled, show } from "./dom.js";
import { drawFrom, fetchFigure, miss, redraw } from "./figure.js";
import { parallelPlot } from "./parallel.js";
import { alertUser } from "./rest.js";
import { firstObjective, objectives } from "./objective.js";
import { mark, marked, onMarks } from "./selection.js";
import { reshaped } from "./smoothing.js";
import { setViewState, viewState } from "./view_state.js";

// A figure of many trials takes the service and the browser long: it is drawn again after so many times what it took, at most.
const PATIENCE = 20;
const LONGEST_PAUSE = 30_000; // milliseconds
const CUT = /\d/; // a note with numbers says that something was left out

export function studyFigures(api, filterTable) {
  const panels = [...document.querySelectorAll("[data-figure]")];
  const inView = new Set();
  const stale = new Set(); // panels that do not show the newest change of the study
  const due = new Map(); // panel → when such a change may have it drawn again
  let waiting = 0; // the timer of those that are not due yet
  const [metric, kind, curvesX, smoothing, log] = ["metric", "kind", "curves-x", "smoothing", "log"].map(byId);
  const panelOf = (name) => panels.find((panel) => panel.dataset.figure === name);
  const showParallel = parallelPlot(panelOf("parallel"), { filter: filterTable, mark: (numbers) => mark(numbers) });
  let study = null;

  kind.value = viewState("kind", "slice");
  curvesX.value = viewState("by", "epoch");
  smoothing.value = viewState("smoothing", "0");
  log.checked = viewState("log") === "1";
  metric.addEventListener("change", () => choose({ metric: metric.value }, "curves"));
  kind.addEventListener("change", () => choose({ kind: kind.value }, "explore"));
  curvesX.addEventListener("change", () => choose({ by: curvesX.value }, "curves"));
  for (const axis of ["x", "y"]) byId(axis).addEventListener("change", (event) => choose({ [axis]: event.target.value }, "explore"));
  smoothing.addEventListener("input", () => {
    setViewState({ smoothing: smoothing.value === "0" ? "" : smoothing.value });
    redraw(panelOf("curves"));
  });
  log.addEventListener("change", () => {
    setViewState({ log: log.checked ? "1" : "" });
    redraw(panelOf("curves"));
  });
  const lines = (figure) => reshaped(figure, { weight: Number(smoothing.value), log: log.checked });

  // Figures that are scrolled out of sight are fetched when they come into it.
  const observer = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) inView.add(target);
      else inView.delete(target);
      if (isIntersecting && study) drawPanel(target).catch(alertUser);
    }
  }, { rootMargin: "150px" });

  // A figure that leaves trials out is asked for those that were marked meanwhile.
  onMarks(settled(() => {
    for (const panel of inView) if (study && CUT.test(panel.querySelector(".note").textContent)) drawPanel(panel).catch(alertUser);
  }, 150));

  function choose(values, figure) {
    setViewState(values);
    drawPanel(panelOf(figure)).catch(alertUser);
  }

  async function drawPanel(panel) {
    const begun = performance.now();
    stale.delete(panel);
    await drawNow(panel).catch((error) => miss(panel, error)); // the others are drawn all the same
    const now = performance.now();
    due.set(panel, now + Math.min(LONGEST_PAUSE, PATIENCE * (now - begun)));
  }

  async function drawNow(panel) {
    const name = panel.dataset.figure;
    if (name === "pareto" && panel.hidden) return;
    const path = pathOf(panel, name);
    if (name === "parallel") {
      const figure = await fetchFigure(panel, path);
      if (figure) showParallel(figure);
      return;
    }
    const meta = await drawFrom(panel, path, { selects: name !== "importances", changed: name === "curves" ? lines : null });
    if (!meta) return;
    if (name === "curves") {
      show(byId("metric-label"), meta.metrics?.length > 0);
      setOptions(metric, meta.metrics ?? [], viewState("metric", firstObjective(study).metric));
    }
    if (name === "explore") {
      for (const axis of ["x", "y"]) {
        show(byId(`${axis}-label`), Boolean(meta[axis]));
        if (meta[axis]) setOptions(byId(axis), meta.parameters, meta[axis]);
      }
    }
  }

  function pathOf(panel, name) {
    const query = new URLSearchParams();
    const wanted = name === "curves" ? ["metric"] : name === "explore" && kind.value !== "edf" ? ["x", "y"] : [];
    for (const key of wanted) if (viewState(key)) query.set(key, viewState(key));
    if (name === "explore" && kind.value === "slice") query.delete("y");
    if (name === "curves" && curvesX.value !== "epoch") query.set("x", curvesX.value);
    if (marked().length && CUT.test(panel.querySelector(".note").textContent)) query.set("trials", marked().join(","));
    return `${api}/figures/${name === "explore" ? kind.value : name}?${query}`;
  }

  async function refresh(newest) {
    const first = study === null;
    study = newest;
    show(panelOf("pareto"), objectives(study).length > 1);
    if (first) for (const panel of panels) observer.observe(panel);
    for (const panel of inView) stale.add(panel);
    await drawDue();
  }

  async function drawDue() {
    clearTimeout(waiting);
    const now = performance.now();
    const wait = (panel) => (study.state === "running" ? Math.max(0, (due.get(panel) ?? 0) - now) : 0);
    const wanted = [...stale].filter((panel) => inView.has(panel));
    const waits = wanted.map(wait).filter((pause) => pause > 0);
    if (waits.length) waiting = setTimeout(() => drawDue().catch(alertUser), Math.min(...waits));
    for (const panel of wanted) if (wait(panel) === 0) await drawPanel(panel);
  }

  return { refresh };
}

