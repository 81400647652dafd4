// Who may use the service: tokens are made and revoked here; a secret is shown once.

import { ask } from "./ask.js";
import { badge, byId, el, replaceContent, show, written } from "./dom.js";
import { when } from "./format.js";
import { counted, t } from "./i18n.js";
import { address, alertUser, get, post, remove } from "./rest.js";
import { allowed, may } from "./roles.js";

const ROLES = ["viewer", "editor", "worker", "admin"];
const MEANING = { viewer: "reads", editor: "starts and controls studies", worker: "only trains", admin: "may do everything" };

byId("live").hidden = true; // tokens tell of no changes
if (may("admin")) refresh().catch(alertUser);
else allowed("admin");

byId("create").addEventListener("click", async () => {
  if (!allowed("admin")) return;
  let made = null;
  await ask({
    title: t("Make a token?"),
    text: t("Whoever has its secret can do what its role allows, until it is revoked or expires. The secret is shown once."),
    action: t("Make the token"),
    fields: [
      { name: "name", label: t("Name: for whom or what is it?") },
      { name: "role", label: t("Role"), options: ROLES.map((role) => [role, `${t(role)}: ${t(MEANING[role])}`]) },
      { name: "expires_at", label: t("Expires on (empty: never)"), kind: "date" },
    ],
    submit: async ({ name, role, expires_at: day }) => {
      made = await (await post(address("/tokens"), { name, role, ...(day ? { expires_at: `${day}T23:59:59Z` } : {}) })).json();
    },
  });
  if (!made) return;
  byId("secret").textContent = made.token;
  show(byId("secret-box"), true);
  await refresh();
});
byId("copy-secret").addEventListener("click", () => navigator.clipboard.writeText(byId("secret").textContent).catch(alertUser));
byId("hide-secret").addEventListener("click", () => {
  byId("secret").textContent = "";
  show(byId("secret-box"), false);
});

async function refresh() {
  const { items } = await get("/tokens");
  show(byId("list"), items.length > 0);
  const valid = items.filter((token) => stateOf(token) === "valid").length;
  byId("summary").textContent = `${counted(items.length, "{n} token", "{n} tokens")}, ${t("{n} valid", { n: valid })}`;
  replaceContent(byId("rows"), items.reverse().map(row));
}

const stateOf = (token) => (token.revoked_at ? "revoked" : token.expires_at && new Date(token.expires_at) < new Date() ? "expired" : "valid");

function row(token) {
  const revoke = el("button", { class: "danger small", "data-key": token.id, "aria-label": t("Revoke “{name}”", token), on: { click: () => ending(token) } }, t("Revoke"));
  return el("tr", {},
    el("th", { scope: "row", "data-label": t("Name") }, written(token.name), el("span", { class: "muted block" }, token.id)),
    el("td", { "data-label": t("Role") }, t(token.role)),
    el("td", { "data-label": t("State") }, badge(stateOf(token))),
    el("td", { "data-label": t("Created") }, when(token.created_at)),
    el("td", { "data-label": t("Expires") }, token.expires_at ? when(token.expires_at) : t("never")),
    el("td", { "data-label": t("Last used") }, token.used_at ? when(token.used_at) : t("never")),
    el("td", {}, stateOf(token) === "valid" ? revoke : null));
}

async function ending(token) {
  if (!allowed("admin")) return;
  const done = await ask({
    title: t("Revoke “{name}”?", token),
    text: t("It can do nothing from now on, and sessions that were opened with it end. This can't be undone."),
    action: t("Revoke"),
    danger: true,
    submit: () => remove(address(`/tokens/${encodeURIComponent(token.id)}`)),
  });
  if (done) await refresh();
}
