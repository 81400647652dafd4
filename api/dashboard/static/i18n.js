// The page's language. English is what the code says; the page carries the table of any other, and what it lacks stays English.

const node = document.getElementById("texts");
const table = node ? JSON.parse(node.textContent) : {};

export const language = document.documentElement.lang;

// `{name}` in a text stands for one of `values`.
export function t(text, values = {}) {
  return (table[text] ?? text).replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

// One or many: counted(3, "{n} trial", "{n} trials").
export function counted(n, one, many) {
  return t(n === 1 ? one : many, { n: n.toLocaleString(language) });
}
