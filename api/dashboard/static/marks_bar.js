// The bar at the foot of a study's page: which trials are marked, and what can be done with them.

import { byId, el, replaceContent, show, studyPath, trialPath } from "./dom.js";
import { counted, t } from "./i18n.js";
import { mark, marked, onMarks, toggle } from "./selection.js";

const MOST_CHIPS = 12;
const MOST_COMPARED = 6;

export function marksBar(studyId) {
  function render(numbers) {
    const bar = byId("marks");
    show(bar, numbers.length > 0);
    const compare = numbers.slice(0, MOST_COMPARED).join(",");
    replaceContent(bar, [
      el("strong", {}, counted(numbers.length, "{n} trial marked", "{n} trials marked")),
      ...numbers.slice(0, MOST_CHIPS).map((number) => el("span", { class: "chip" },
        el("a", { href: trialPath(studyId, number) }, String(number)),
        el("button", { class: "bare", "data-key": `unmark-${number}`, "aria-label": t("Unmark trial {number}", { number }), on: { click: () => toggle(number) } }, "×"))),
      numbers.length > MOST_CHIPS ? el("span", { class: "muted" }, "…") : null,
      el("span", { class: "grow" }),
      numbers.length > 1 ? el("a", { class: "button", href: `${studyPath(studyId)}/compare?trials=${compare}` },
        numbers.length > MOST_COMPARED ? t("Compare the first {n}", { n: MOST_COMPARED }) : t("Compare")) : null,
      el("button", { class: "quiet", "data-key": "clear", on: { click: () => mark([]) } }, t("Unmark all")),
    ].filter(Boolean));
  }
  onMarks(render);
  render(marked());
}
