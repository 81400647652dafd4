// The REST API. A refusal becomes an error whose message is the service's own sentence.

import { byId, root } from "./dom.js";

const API = `${root}/api/v1`;

export const address = (path) => `${API}${path}`;

export const studyApi = (studyId) => `/studies/${encodeURIComponent(studyId)}`;

async function answer(response) {
  if (response.status === 401) {
    const here = location.pathname + location.search;
    location.assign(`${root}/login?next=${encodeURIComponent(here)}`);
    throw new Error("signed out");
  }
  if (!response.ok) {
    const problem = await response.json().catch(() => ({}));
    throw new Error(problem.detail || problem.title || `the service answered ${response.status}`);
  }
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
export async function post(url, body = {}) {
  const headers = { "Content-Type": "application/json", "X-Tuner-Request": "1" };
  return answer(await fetch(url, { method: "POST", headers, body: JSON.stringify(body) }));
}

export function alertUser(error) {
  const box = byId("alert");
  box.textContent = error ? error.message : "";
  box.hidden = !error;
}
