// What the signed-in person may do. The service decides; this only tells it before anything is filled in.

import { t } from "./i18n.js";
import { alertUser } from "./rest.js";

const own = document.body.dataset.role;
const GRANTS = { viewer: ["viewer"], editor: ["viewer", "editor"], admin: ["viewer", "editor", "worker", "admin"] };

export const may = (role) => (GRANTS[own] ?? []).includes(role);

// Whether to go on; says politely why not.
export function allowed(role) {
  alertUser(null);
  if (may(role)) return true;
  alertUser(new Error(t("This needs the role {role}; you are signed in with the role {own}. Someone who administers this service can give you another token.",
    { role: t(role), own: t(own) })));
  return false;
}
