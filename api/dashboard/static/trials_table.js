// The table of trials: sorted, filtered and paged by the service, so that it stays small whatever the study.

import { badge, byId, el, replaceContent, show, trialPath } from "./dom.js";
import { duration, param, plural, score, when } from "./format.js";
import { alertUser, get } from "./rest.js";
import { setViewState, viewState } from "./view_state.js";

const PAGE = 50;
const MOST_PARAMETERS = 10;

export function trialsTable(api, studyId) {
  const before = []; // cursors of the pages before this one
  let study = null;
  let next = null;
  let shown = "";

  const state = byId("trial-state");
  state.value = viewState("state");
  state.addEventListener("change", () => turn({ state: state.value, cursor: "" }));
  byId("trials-next").addEventListener("click", () => {
    before.push(viewState("cursor"));
    turn({ cursor: next }, true);
  });
  byId("trials-back").addEventListener("click", () => turn({ cursor: before.pop() ?? "" }, true));

  function turn(values, keepTrail = false) {
    if (!keepTrail) before.length = 0;
    setViewState(values);
    refresh(study).catch(alertUser);
  }

  async function refresh(newest) {
    study = newest;
    const query = new URLSearchParams({ limit: PAGE });
    for (const name of ["sort", "state", "cursor"]) if (viewState(name)) query.set(name, viewState(name));
    const page = await get(`${api}/trials?${query}`);
    next = page.next;
    show(byId("trials-back"), Boolean(viewState("cursor")));
    show(byId("trials-next"), Boolean(next));
    byId("trials-count").textContent = page.total === 0 ? "No trial yet" : plural(page.total, "trial");
    const text = JSON.stringify([page.items, viewState("sort")]);
    if (text === shown) return; // nothing moves under the user's hand
    shown = text;
    const columns = columnsOf(study);
    replaceContent(byId("trials-head"), columns.map(heading));
    replaceContent(byId("trials-rows"), page.items.map((trial) => row(trial, columns)));
  }

  function heading({ sort, title, number }) {
    const now = viewState("sort", "number");
    const order = now === sort ? "ascending" : now === `-${sort}` ? "descending" : "none";
    const other = order === "descending" ? sort : `-${sort}`;
    const button = el("button", { "data-key": sort, on: { click: () => turn({ sort: other, cursor: "" }) } }, title,
      el("span", { class: "order", "aria-hidden": "true" }, { ascending: "▲", descending: "▼", none: "" }[order]));
    return el("th", { scope: "col", "aria-sort": order, class: number ? "num" : null }, button);
  }

  function row(trial, columns) {
    const open = (event) => {
      if (!event.target.closest("a")) location.assign(trialPath(studyId, trial.number));
    };
    const best = study.best?.number === trial.number;
    return el("tr", { class: best ? "best" : null, on: { click: open } }, columns.map(({ cell, number }) =>
      el("td", { class: number ? "num" : null }, cell(trial))));
  }

  function columnsOf({ parameters, objective }) {
    const searched = Object.entries(parameters === "auto" ? {} : parameters).filter(([, body]) => !("value" in body));
    return [
      { sort: "number", title: "Trial", number: true, cell: (trial) => link(trial) },
      { sort: "state", title: "State", cell: (trial) => badge(trial.state) },
      { sort: "value", title: objective.metric, number: true, cell: (trial) => value(trial) },
      ...searched.slice(0, MOST_PARAMETERS).map(([name]) => ({
        sort: name, title: name, number: true, cell: (trial) => param(trial.params[name]),
      })),
      { sort: "epoch", title: "Epoch", number: true, cell: (trial) => (trial.epoch === null ? "–" : param(trial.epoch)) },
      { sort: "seconds", title: "Time", number: true, cell: (trial) => duration(trial.seconds) },
      { sort: "finished_at", title: "Ended", cell: (trial) => when(trial.finished_at) },
    ];
  }

  function link(trial) {
    return el("a", { href: trialPath(studyId, trial.number), "data-key": trial.number }, String(trial.number));
  }

  function value(trial) {
    return study.best?.number === trial.number ? el("strong", { title: "the best" }, `★ ${score(trial.value)}`) : score(trial.value);
  }

  return { refresh };
}
