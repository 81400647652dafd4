// The token goes to the service once and comes back as a cookie that scripts can't read.

import { byId, root, show } from "./dom.js";
import { said } from "./i18n.js";

byId("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const message = byId("message");
  const headers = { "Content-Type": "application/json", "X-Tuner-Request": "1" };
  const body = JSON.stringify({ token: byId("token").value.trim() });
  const response = await fetch(`${root}/login`, { method: "POST", headers, body });
  if (response.ok) {
    location.replace(destination());
    return;
  }
  const problem = await response.json().catch(() => ({}));
  message.textContent = said(problem.detail) || `The service answered ${response.status}.`;
  show(message, true);
});

// Only addresses of this site: `?next=` may come from anyone.
function destination() {
  const next = new URL(new URLSearchParams(location.search).get("next") ?? `${root}/`, location.origin);
  return next.origin === location.origin ? next.href : `${root}/`;
}
