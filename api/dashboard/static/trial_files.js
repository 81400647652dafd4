// Small files that trials keep beside their model.

import { get, getResponse } from "./rest.js";

const MOST_BYTES = 5_000_000;

// Answers a function that reads one by its name: its text, or null if there is none or it is too large to be read here.
export async function trialFiles(api, number) {
  const path = `${api}/trials/${number}/artifacts`;
  const { items } = await get(path);
  return async (name) => {
    const found = items.find((artifact) => artifact.name === name && artifact.size <= MOST_BYTES);
    return found ? (await getResponse(`${path}/${encodeURIComponent(name)}`)).text() : null;
  };
}
