// Things side by side in a table: a column for each, a row for each property; what differs is marked and the rest may be hidden.

import { byId, el, replaceContent } from "./dom.js";
import { param, score } from "./format.js";
import { counted, t } from "./i18n.js";

// `heads` are nodes; `sections` are {title, rows: [{name, values, present, differs}], numbers} as the service answers.
export function compareTable(heads, sections, all) {
  const cells = heads.length + 1;
  let hidden = 0;
  replaceContent(byId("heads"), [el("tr", {}, el("td", {}, el("span", { class: "hidden" }, t("Property"))), heads.map((head) => el("th", { scope: "col" }, head)))]);
  replaceContent(byId("rows"), sections.flatMap(({ title, rows, numbers }) => {
    const shown = rows.filter((row) => all || row.differs);
    hidden += rows.length - shown.length;
    const words = rows.length ? t("no difference") : t("nothing to compare");
    return [
      el("tr", { class: "section" }, el("th", { colspan: cells, scope: "rowgroup" }, title, shown.length ? null : el("span", { class: "muted" }, ` ${words}`))),
      ...shown.map((row) => el("tr", { class: row.differs ? "differs" : null },
        el("th", { scope: "row" }, row.differs ? el("span", { class: "sign", role: "img", "aria-label": t("differs") }, "≠ ") : null, row.name),
        row.values.map((value, index) => el("td", { dir: "auto" }, row.present[index] ? (numbers ? score(value) : param(value)) : el("span", { class: "muted" }, t("not set")))))),
    ];
  }));
  byId("hidden-rows").textContent = hidden ? counted(hidden, "{n} row that is the same in all is hidden", "{n} rows that are the same in all are hidden") : "";
}
