// The table of trials: sorted, filtered and paged by the service, so that it stays small whatever the study.

import { badge, byId, el, replaceContent, settled, show as setVisible, trialPath } from "./dom.js";
import { duration, param, score, when } from "./format.js";
import { counted, said, t } from "./i18n.js";
import { alertUser, get } from "./rest.js";
import { marked, onMarks, toggle } from "./selection.js";
import { firstObjective } from "./objective.js";
import { setViewState, viewState } from "./view_state.js";

const PAGE = 50;
const MOST_PARAMETERS = 10;
const TYPING = 150; // milliseconds without a key before a filter is asked for
const REFUSED = 422;

export function trialsTable(api, studyId) {
  const before = []; // cursors of the pages before this one
  let study = null;
  let next = null;
  let shown = "";
  let items = [];
  let asked = 0;

  const state = byId("trial-state");
  const where = byId("where");
  state.value = viewState("state");
  where.value = viewState("where");
  state.addEventListener("change", () => turn({ state: state.value, cursor: "" }));
  where.addEventListener("input", settled(() => turn({ where: where.value.trim(), cursor: "" }), TYPING));
  byId("trials-next").addEventListener("click", () => {
    before.push(viewState("cursor"));
    turn({ cursor: next }, true);
  });
  byId("trials-back").addEventListener("click", () => turn({ cursor: before.pop() ?? "" }, true));
  onMarks(render);

  function turn(values, keepTrail = false) {
    if (!keepTrail) before.length = 0;
    setViewState(values);
    ask().then((page) => show(study, page)).catch(alertUser);
  }

  // The page of trials that the controls ask for; null if they ask for another one meanwhile, or for what is refused.
  async function ask() {
    const query = new URLSearchParams({ limit: PAGE });
    for (const name of ["sort", "state", "where", "cursor"]) if (viewState(name)) query.set(name, viewState(name));
    asked += 1;
    const mine = asked;
    try {
      const page = await get(`${api}/trials?${query}`);
      return mine === asked ? page : null;
    } catch (error) {
      if (error.status !== REFUSED || !viewState("where")) throw error;
      byId("where-wrong").textContent = error.message;
      setVisible(byId("where-wrong"), true);
      return null;
    }
  }

  function show(newest, page) {
    study = newest;
    if (page) showCount(page);
    render();
  }

  function showCount(page) {
    setVisible(byId("where-wrong"), false);
    ({ next, items } = page);
    setVisible(byId("trials-back"), Boolean(viewState("cursor")));
    setVisible(byId("trials-next"), Boolean(next));
    const filtered = viewState("where") || viewState("state");
    byId("trials-count").textContent = page.total ? counted(page.total, "{n} trial", "{n} trials") : filtered ? t("No trial is so") : t("No trial yet: they show up once a worker asks for them");
  }

  function render() {
    if (!study) return;
    const text = JSON.stringify([items, viewState("sort"), viewState("columns"), study.best?.number, marked()]);
    if (text === shown) return; // nothing moves under the user's hand
    shown = text;
    const all = allColumns(study);
    const columns = chosenColumns(all);
    chooser(all, columns);
    replaceContent(byId("trials-head"), [el("th", { scope: "col" }, el("span", { class: "hidden" }, t("Mark"))), ...columns.map(heading)]);
    const now = new Set(marked());
    replaceContent(byId("trials-rows"), items.map((trial) => row(trial, columns, now.has(trial.number))));
  }

  function heading({ sort, title, number }) {
    const style = { scope: "col", class: number ? "num" : null };
    if (!sort) return el("th", style, title);
    const now = viewState("sort", "number");
    const order = now === sort ? "ascending" : now === `-${sort}` ? "descending" : "none";
    const other = order === "descending" ? sort : `-${sort}`;
    const button = el("button", { "data-key": sort, on: { click: () => turn({ sort: other, cursor: "" }) } }, title,
      el("span", { class: "order", "aria-hidden": "true" }, { ascending: "▲", descending: "▼", none: "" }[order]));
    return el("th", { ...style, "aria-sort": order }, button);
  }

  function row(trial, columns, isMarked) {
    const open = (event) => {
      if (!event.target.closest("a, input, label")) location.assign(trialPath(studyId, trial.number));
    };
    const best = study.best?.number === trial.number;
    const box = el("input", { type: "checkbox", "data-key": `mark-${trial.number}`, "aria-label": t("Mark trial {number}", { number: trial.number }),
      on: { change: () => toggle(trial.number) } });
    box.checked = isMarked;
    return el("tr", { class: [best && "best", isMarked && "marked"].filter(Boolean).join(" ") || null, on: { click: open } },
      el("td", { class: "mark" }, el("label", {}, box)),
      columns.map(({ cell, number }) => el("td", { class: number ? "num" : null }, cell(trial))));
  }

  function allColumns({ parameters }) {
    const searched = Object.entries(parameters === "auto" ? {} : parameters).filter(([, body]) => !("value" in body)).map(([name]) => name);
    const { metric } = firstObjective(study);
    const others = [...new Set(items.flatMap((trial) => Object.keys(trial.values)))].filter((name) => name !== metric).sort();
    return [
      { key: "number", sort: "number", title: t("Trial"), number: true, cell: link, usual: true },
      { key: "state", sort: "state", title: t("State"), cell: (trial) => badge(trial.state), usual: true },
      { key: "value", sort: "value", title: metric, number: true, cell: value, usual: true },
      ...others.map((name) => ({ key: `values.${name}`, title: name, number: true, cell: (trial) => score(trial.values[name]), usual: false })),
      ...searched.map((name, index) => ({
        key: name, sort: name, title: name, number: true, cell: (trial) => param(trial.params[name]), usual: index < MOST_PARAMETERS,
      })),
      { key: "epoch", sort: "epoch", title: t("Epoch"), number: true, cell: (trial) => (trial.epoch === null ? "–" : param(trial.epoch)), usual: true },
      { key: "seconds", sort: "seconds", title: t("Time"), number: true, cell: (trial) => duration(trial.seconds), usual: true },
      { key: "attempt", sort: "attempt", title: t("Attempts"), number: true, cell: (trial) => String(trial.attempt), usual: false },
      { key: "failure", title: t("Failure"), cell: (trial) => said(trial.failure?.kind) ?? "–", usual: false },
      { key: "finished_at", sort: "finished_at", title: t("Ended"), cell: (trial) => when(trial.finished_at), usual: true },
    ];
  }

  // The address names them if they are not the usual ones; the number is always there, as it leads to the trial.
  function chosenColumns(all) {
    const named = viewState("columns").split(",").filter(Boolean);
    return all.filter((column) => (named.length ? named.includes(column.key) || column.key === "number" : column.usual));
  }

  function chooser(all, chosen) {
    const keys = new Set(chosen.map(({ key }) => key));
    replaceContent(byId("columns"), all.filter(({ key }) => key !== "number").map((column) => {
      const box = el("input", { type: "checkbox", "data-key": `column-${column.key}`, on: {
        change: () => {
          if (box.checked) keys.add(column.key);
          else keys.delete(column.key);
          setViewState({ columns: all.filter(({ key }) => keys.has(key)).map(({ key }) => key).join(",") });
          render();
        },
      } });
      box.checked = keys.has(column.key);
      return el("label", {}, box, ` ${column.title}`);
    }));
  }

  function link(trial) {
    return el("a", { href: trialPath(studyId, trial.number), "data-key": trial.number }, String(trial.number));
  }

  function value(trial) {
    return study.best?.number === trial.number ? el("strong", { title: t("the best") }, `★ ${score(trial.value)}`) : score(trial.value);
  }

  // Shows only trials of which `condition` holds, as the field above the table says it.
  function filter(condition) {
    where.value = condition;
    turn({ where: condition, cursor: "" });
    byId("trials-title").scrollIntoView({ block: "start" });
  }

  return { ask, show, filter };
}
