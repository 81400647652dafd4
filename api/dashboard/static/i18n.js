// The page's language. English is what the code says; the page carries the tables of any other, and what they lack stays English.

const carried = (id) => JSON.parse(document.getElementById(id)?.textContent ?? "{}");

const table = carried("texts");
const sentences = carried("sentences"); // of the service

export const language = document.documentElement.lang;

const filled = (text, values) => text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));

// `{name}` in a text stands for one of `values`.
export function t(text, values = {}) {
  return filled(table[text] ?? text, values);
}

// One or many: counted(3, "{n} trial", "{n} trials").
export function counted(n, one, many) {
  return t(n === 1 ? one : many, { n: n.toLocaleString(language) });
}

const LONGEST = 600; // characters: what is longer holds a traceback, and takes long to compare
const PLACE = /\{\w+\}/g;
const WORDS = new Set(["bar", "known", "message", "needed", "reason", "role", "state", "states", "why"]); // the service's too; what else fills a place is a user's
let patterns = null;

// The sentences with places, those that say most first: a shorter one may fit what a longer one means.
function compiled() {
  patterns ??= Object.entries(sentences).filter(([english]) => english.match(PLACE)).map(([english, text]) => {
    const literal = english.split(PLACE).map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
    return { form: new RegExp(`^${literal.join("(.+?)")}$`, "s"), names: english.match(PLACE).map((place) => place.slice(1, -1)), text, said: literal.join("").length };
  }).sort((one, other) => other.said - one.said);
  return patterns;
}

// What the service says, in the page's language as far as its tables know the sentence.
export function said(text) {
  const known = sentences[text] ?? table[text];
  if (known || !text || text.length > LONGEST || language === "en") return known ?? text;
  for (const { form, names, text: other } of compiled()) {
    const found = form.exec(text);
    if (found) return filled(other, Object.fromEntries(names.map((name, index) => [name, WORDS.has(name) ? said(found[index + 1]) : found[index + 1]])));
  }
  return text;
}
