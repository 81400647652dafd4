// Asks before something is done that can't be undone by pressing again; resolves to whether to do it.

import { byId } from "./dom.js";

export function confirmed({ title, text, action, danger = false }) {
  const dialog = byId("confirm");
  byId("confirm-title").textContent = title;
  byId("confirm-text").textContent = text;
  const yes = byId("confirm-yes");
  yes.textContent = action;
  yes.classList.toggle("danger", danger);
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}
