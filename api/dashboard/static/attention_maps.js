// What a model looks at when it reads a validation example: a map for each trial, of one head of a block or the mean of its heads.
// Trials that keep no maps are left out.

import { byId, el, replaceContent, setOptions, show } from "./dom.js";
import { draw } from "./figure.js";
import { t } from "./i18n.js";
import { trialFiles } from "./trial_files.js";
import { setViewState, viewState } from "./view_state.js";

const MEAN = "mean";
const MOST_LETTERS = 60; // of an example's text in the list of them

// Answers a function that fills the panel for trials by their numbers; `api` is the study's.
export function attentionMaps(api) {
  const panel = byId("attention");
  const [example, block, head] = ["example", "block", "head"].map((name) => byId(`attention-${name}`));
  let numbers = [];
  let kept = []; // {number, examples, place}

  for (const [control, name] of [[example, "example"], [block, "block"], [head, "head"]]) {
    control.addEventListener("change", () => {
      setViewState({ [name]: control.value });
      drawAll();
    });
  }

  return async (wanted) => {
    if (kept.length && wanted.join() === numbers.join()) return;
    numbers = wanted;
    const found = await Promise.all(wanted.map(async (number) => {
      const text = await (await trialFiles(api, number))("attention.json");
      return text === null ? null : { number, examples: JSON.parse(text).examples, place: place(number) };
    }));
    if (wanted !== numbers) return; // others were asked for meanwhile
    kept = found.filter((trial) => trial?.examples.length);
    show(panel, kept.length > 0);
    if (!kept.length) return;
    replaceContent(byId("attention-maps"), kept.map((trial) => trial.place));
    const [{ examples }] = kept;
    const [blocks, heads] = examples[0].shape;
    setOptions(example, examples.map((_, index) => String(index + 1)), viewState("example", "1"));
    for (const option of example.options) option.textContent = shortened(examples[option.value - 1].tokens.join(" "));
    setOptions(block, Array.from({ length: blocks }, (_, index) => String(index + 1)), viewState("block", String(blocks)));
    setOptions(head, [MEAN, ...Array.from({ length: heads }, (_, index) => String(index + 1))], viewState("head", MEAN));
    head.options[0].textContent = t("mean of all");
    await drawAll();
  };

  async function drawAll() {
    const chosen = kept.map(({ examples }) => examples[example.value - 1] ?? examples[0]);
    const maps = chosen.map((each) => mapOf(each, Number(block.value) - 1, head.value));
    const most = Math.max(...maps.flat(2)); // one scale of colours for all
    await Promise.all(kept.map(({ place: target }, index) => draw(target, figure(chosen[index], maps[index], most), { changed: coloured })));
  }
}

const shortened = (text) => (text.length > MOST_LETTERS ? `${text.slice(0, MOST_LETTERS - 1)}…` : text);

const place = (number) => el("section", { class: "map" }, el("h3", {}, `${t("Trial")} ${number}`), el("p", { class: "note", hidden: true }),
  el("div", { class: "plot", role: "group", "aria-label": `${t("Attention")}, ${t("trial")} ${number}`, "data-loading": t("loading…") }));

// Rows of [tokens][tokens], each value 0 … 1; a block that this trial's model has not is its last.
function mapOf({ shape, weights }, block, head) {
  const [blocks, heads, tokens] = shape;
  const bytes = Uint8Array.from(atob(weights), (letter) => letter.charCodeAt(0));
  const size = tokens * tokens;
  const start = Math.min(block, blocks - 1) * heads * size;
  const chosen = head === MEAN ? Array.from({ length: heads }, (_, index) => index) : [Math.min(Number(head), heads) - 1];
  return Array.from({ length: tokens }, (_, row) => Array.from({ length: tokens }, (_, column) =>
    chosen.reduce((sum, each) => sum + bytes[start + each * size + row * tokens + column], 0) / chosen.length / 255));
}

// Plotly reads markup in its texts; a token may stand there twice, so places carry its text as a label.
function figure({ tokens }, map, most) {
  const labels = tokens.map((token) => token.replaceAll("&", "&amp;").replaceAll("<", "&lt;"));
  const axis = { tickmode: "array", tickvals: tokens.map((_, index) => index), ticktext: labels, showgrid: false, zeroline: false };
  return {
    data: [{
      type: "heatmap", z: map, zmin: 0, zmax: most, colorbar: { thickness: 12, tickformat: ".0%" },
      customdata: labels.map((row) => labels.map((column) => [row, column])),
      hovertemplate: "%{customdata[0]} → %{customdata[1]}: %{z:.1%}<extra></extra>",
    }],
    layout: {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", height: Math.max(320, 18 * tokens.length + 110), margin: { l: 80, r: 8, b: 80 },
      xaxis: { ...axis, title: { text: "looked at" }, tickangle: -60 }, yaxis: { ...axis, title: { text: "looking" }, autorange: "reversed" },
    },
  };
}

// In the page's colours, from its ground to its accent.
function coloured({ data, layout }) {
  const style = getComputedStyle(document.documentElement);
  const [ground, accent] = ["--card", "--accent"].map((name) => style.getPropertyValue(name).trim());
  return { data: data.map((trace) => ({ ...trace, colorscale: [[0, ground], [1, accent]] })), layout };
}
