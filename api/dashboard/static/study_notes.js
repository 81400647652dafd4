// Notes and tags, edited where they stand. What comes meanwhile does not replace what is being written.

import { byId, el, show } from "./dom.js";
import { t } from "./i18n.js";
import { address, alertUser, patch } from "./rest.js";
import { allowed } from "./roles.js";

export function notesEditor({ study, etag, api, refresh }) {
  let editing = false;
  byId("edit-notes").addEventListener("click", () => {
    if (!editing && allowed("editor")) edit();
  });

  function showThem({ notes, tags }) {
    if (editing) return;
    show(byId("edit-notes"), true); // from when there is something to edit
    const pairs = Object.entries(tags ?? {});
    byId("tags").replaceChildren(...pairs.map(([name, value]) => el("span", { class: "chip", dir: "auto" }, value ? `${name}: ${value}` : name)));
    byId("notes").textContent = notes || (pairs.length ? "" : t("No notes yet: what is this study to find out?"));
    byId("notes").classList.toggle("muted", !notes);
  }

  function edit() {
    editing = true;
    const { notes, tags } = study();
    const text = el("textarea", { rows: 3, "aria-label": t("Notes"), dir: "auto" });
    text.value = notes ?? "";
    const names = el("input", { "aria-label": t("Tags, as name: value, separated by commas"), placeholder: "team: reading, gpu: l4", dir: "auto" });
    names.value = Object.entries(tags ?? {}).map(([name, value]) => (value ? `${name}: ${value}` : name)).join(", ");
    const save = el("button", { class: "small" }, t("Save"));
    const cancel = el("button", { type: "button", class: "quiet small" }, t("Cancel"));
    const form = el("form", { class: "notes-form" }, names, text, el("div", { class: "actions" }, save, cancel));
    byId("tags").replaceChildren();
    byId("notes").replaceChildren(form);
    byId("notes").classList.remove("muted");
    show(byId("edit-notes"), false);
    text.focus();
    cancel.addEventListener("click", close);
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      try {
        await patch(address(api), { notes: text.value, tags: readTags(names.value) }, etag());
        close();
        await refresh();
      } catch (error) {
        alertUser(error);
      }
    });
  }

  function close() {
    editing = false;
    showThem(study());
    byId("edit-notes").focus();
  }

  return { refresh: showThem };
}

function readTags(text) {
  const pairs = text.split(",").map((part) => part.trim()).filter(Boolean).map((part) => {
    const [name, ...value] = part.split(":");
    return [name.trim(), value.join(":").trim()];
  });
  return Object.fromEntries(pairs.filter(([name]) => name));
}
