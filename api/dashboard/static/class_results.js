// What trials keep beside their model: scores by class, and examples that one of them gets right and another does not.
// Trials that keep nothing are left out.

import { el, replaceContent, show } from "./dom.js";
import { param, score } from "./format.js";
import { t } from "./i18n.js";
import { trialFiles } from "./trial_files.js";

const MOST_EXAMPLES = 30;
const INPUTS = ["text", "question", "source", "tokens", "image", "file"]; // what an example may be shown by

// Fills `section` for the trials `numbers`; hides it where none kept anything.
export async function classResults(section, api, numbers) {
  const kept = (await Promise.all(numbers.map((number) => resultsOf(api, number)))).filter(Boolean);
  show(section, kept.length > 0);
  if (kept.length === 0) return;
  const heads = kept.map(({ number }) => el("th", { scope: "col" }, `${t("trial")} ${number}`));
  const classes = [...new Set(kept.flatMap(({ classes: found }) => Object.keys(found)))].sort();
  const flipped = kept.length > 1 ? flips(kept) : [];
  replaceContent(section, [
    el("header", {}, el("h2", {}, t("Scores by class"))),
    table([el("th", { scope: "col" }, t("Class")), heads.map((head) => head.cloneNode(true))], classes.map((name) => [name, ...kept.map(({ classes: found }) => score(found[name]?.f1))])),
    ...(flipped.length ? [
      el("header", {}, el("h2", {}, t("Examples that flipped"))),
      table([el("th", { scope: "col" }, t("Example")), el("th", { scope: "col" }, t("Expected")), heads], flipped.slice(0, MOST_EXAMPLES).map(({ example, expected, answers }) =>
        [example, expected, ...answers.map(({ right, text }) => el("span", {}, el("span", { role: "img", "aria-label": t(right ? "right" : "wrong") }, right ? "✓ " : "✕ "), text))])),
    ] : []),
  ]);
}

const table = (heads, rows) => el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": t("Results") }, el("table", {}, el("thead", {}, el("tr", {}, ...heads)),
  el("tbody", {}, rows.map(([first, ...cells]) => el("tr", {}, el("th", { scope: "row", dir: "auto" }, first), cells.map((cell) => el("td", { dir: "auto" }, cell)))))));

// Predictions of all trials are of the same rows in the same order.
function flips(kept) {
  const count = Math.min(...kept.map(({ predictions }) => predictions.length));
  return Array.from({ length: count }, (_, index) => {
    const given = kept[0].predictions[index];
    const answers = kept.map(({ predictions }) => ({ right: isRight(predictions[index]), text: param(predictions[index].predicted) }));
    return { example: param(given[INPUTS.find((name) => name in given)] ?? index), expected: param(given.expected), answers };
  }).filter(({ answers }) => answers.some(({ right }) => right) && answers.some(({ right }) => !right));
}

const isRight = ({ expected, predicted }) => JSON.stringify(expected) === JSON.stringify(predicted);

async function resultsOf(api, number) {
  const read = await trialFiles(api, number);
  const summary = await read("evaluation.json");
  if (summary === null) return null;
  const lines = (await read("predictions.jsonl")) ?? "";
  return { number, classes: JSON.parse(summary).classes ?? {}, predictions: lines.split("\n").filter(Boolean).map((line) => JSON.parse(line)) };
}
