// The REST API. A refusal becomes an error whose message is the service's own sentence, in the page's language where that is known.

import { byId, root } from "./dom.js";
import { said } from "./i18n.js";

const API = `${root}/api/v1`;

export const address = (path) => `${API}${path}`;

export const studyApi = (studyId) => `/studies/${encodeURIComponent(studyId)}`;

// `errors` are the wrong fields of a refused body: [{field, message}].
export class Refusal extends Error {
  constructor(status, problem) {
    const errors = (problem.errors ?? []).map(({ field, message }) => ({ field, message: said(message) }));
    const wrong = errors.map(({ field, message }) => `${field}: ${message}`).join("; ");
    super(wrong || said(problem.detail || problem.title) || `the service answered ${status}`);
    this.status = status;
    this.errors = errors;
  }
}

async function answer(response) {
  if (response.status === 401) {
    const here = location.pathname + location.search;
    location.assign(`${root}/login?next=${encodeURIComponent(here)}`);
    throw new Error("signed out");
  }
  if (!response.ok) throw new Refusal(response.status, await response.json().catch(() => ({})));
  return response;
}

export async function getResponse(path) {
  return answer(await fetch(address(path)));
}

export async function getText(path) {
  return (await getResponse(path)).text();
}

export async function get(path) {
  return JSON.parse(await getText(path));
}

// The header can't be set by a form or a link of another site: it proves that this page sent the request.
const OWN = { "X-Tuner-Request": "1" };

async function send(method, url, body, headers = {}) {
  const given = body === undefined ? {} : { body: JSON.stringify(body) };
  return answer(await fetch(url, { method, headers: { ...OWN, "Content-Type": "application/json", ...headers }, ...given }));
}

export const post = (url, body = {}) => send("POST", url, body);

// Changes what has the ETag `etag`, and only that version of it.
export const patch = (url, body, etag) => send("PATCH", url, body, etag ? { "If-Match": etag } : {});

export const remove = (url) => send("DELETE", url);

export function alertUser(error) {
  const box = byId("alert");
  box.textContent = error ? said(error.message) : "";
  box.hidden = !error;
}

// The description of the whole API: its schemas are what forms are made from.
export async function getDescription() {
  return (await answer(await fetch(`${root}/openapi.json`))).json();
}
