// The trials that are marked: in one view and so in all. They stand in the address, so that a link marks them for someone else too.

import { setViewState, viewState } from "./view_state.js";

const MOST = 60;
const listeners = new Set();

export function marked() {
  return viewState("marked").split(",").filter(Boolean).map(Number).filter(Number.isInteger);
}

export function mark(numbers) {
  const before = marked();
  const wanted = [...new Set(numbers)].slice(0, MOST);
  if (before.join() === wanted.join()) return;
  setViewState({ marked: wanted.join(",") });
  for (const listener of listeners) listener(wanted);
}

export function toggle(number) {
  const now = marked();
  mark(now.includes(number) ? now.filter((other) => other !== number) : [...now, number]);
}

export function onMarks(listener) {
  listeners.add(listener);
}
