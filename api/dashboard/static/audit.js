// Who did what, when; newest first.

import { byId, el, replaceContent, root, show, written } from "./dom.js";
import { when } from "./format.js";
import { counted, said, t } from "./i18n.js";
import { follow } from "./live.js";
import { get } from "./rest.js";
import { allowed, may } from "./roles.js";

const PAGE = 100;
let entries = [];
let next = null;

if (may("admin")) follow("/events", refresh, (kind) => kind !== "metric" && kind !== "worker");
else allowed("admin");

byId("more").addEventListener("click", async () => {
  const page = await get(`/audit?limit=${PAGE}&cursor=${encodeURIComponent(next)}`);
  entries = [...entries, ...page.items];
  ({ next } = page);
  render(page.total);
});

// What was unfolded stays: newer entries go on top of it.
async function refresh() {
  const page = await get(`/audit?limit=${PAGE}`);
  const newest = entries[0]?.id ?? 0;
  if (entries.length === 0) ({ next } = page);
  entries = [...page.items.filter((entry) => entry.id > newest), ...entries];
  render(page.total);
}

function render(total) {
  show(byId("empty"), entries.length === 0);
  show(byId("list"), entries.length > 0);
  show(byId("more"), Boolean(next));
  byId("summary").textContent = entries.length ? `${counted(total, "{n} entry", "{n} entries")}, ${t("newest first")}` : "";
  replaceContent(byId("rows"), entries.map(row));
}

function row(entry) {
  return el("tr", {},
    el("td", { "data-label": t("When") }, when(entry.at)),
    el("td", { "data-label": t("What") }, el("code", { title: entry.action }, said(entry.action))),
    el("td", { "data-label": t("To what") }, subject(entry)),
    el("td", { "data-label": t("Who") }, entry.token_id ? el("span", {}, t(entry.role ?? ""), el("span", { class: "muted" }, ` ${entry.token_id}`)) : t("the service")),
    el("td", { "data-label": t("From") }, entry.address ?? "–"),
    el("td", { "data-label": t("Detail") }, entry.detail ? written(entry.detail) : "–"));
}

// A study is "study id", a trial "study id/number".
function subject({ action, subject: what }) {
  if (!what) return "–";
  const [kind] = action.split(".");
  const path = { study: `/studies/${what}`, trial: `/studies/${what.replace("/", "/trials/")}` }[kind];
  return path && action !== "study.delete" ? el("a", { href: `${root}${path}` }, what) : written(what);
}
