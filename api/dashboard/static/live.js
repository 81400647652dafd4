// Live without reloading: any event asks for a refresh; refreshes never pile up and never take the machine.

import { byId } from "./dom.js";
import { t } from "./i18n.js";
import { address, alertUser } from "./rest.js";

const EVENTS = ["study", "trial", "metric", "worker", "reset"];
const LEAST_PAUSE = 1000; // milliseconds between two refreshes
const SHARE = 2; // a refresh that took long waits this many times as long
const AGAIN = 3000; // milliseconds until a stream that was refused is asked for again

// Calls `refresh` now, and again whenever the service tells of a change that `concerns` the page.
export function follow(path, refresh, concerns = () => true) {
  let wanted = false;
  let busy = false;
  let failed = false;

  // Takes back only what a refresh has said: a refused action stays to be read.
  function recovered() {
    if (failed) alertUser(null);
    failed = false;
  }

  async function run() {
    wanted = true;
    if (busy || document.hidden) return;
    busy = true;
    while (wanted && !document.hidden) {
      wanted = false;
      const started = performance.now();
      await refresh().then(recovered, (error) => {
        failed = true;
        alertUser(error);
      });
      const took = performance.now() - started;
      await new Promise((resolve) => setTimeout(resolve, Math.max(LEAST_PAUSE, SHARE * took)));
    }
    busy = false;
  }

  let interrupted = false;

  function listen() {
    // What happened between the making of the page and the opening of the stream must not be missed.
    const source = new EventSource(address(`${path}?after=${document.body.dataset.event}`));
    for (const name of EVENTS) source.addEventListener(name, ({ data }) => concerns(name, JSON.parse(data)) && run());
    source.onopen = () => {
      dot("on", "live");
      if (interrupted) run(); // something may have happened meanwhile
      interrupted = false;
    };
    source.onerror = () => {
      interrupted = true;
      dot("off", "reconnecting");
      // The browser tries again by itself only if there was no answer; a proxy answers for a service that is away.
      if (source.readyState === EventSource.CLOSED) setTimeout(listen, AGAIN);
    };
  }

  listen();
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && wanted) run();
  });
  run();
}

function dot(state, text) {
  const node = byId("live");
  node.dataset.state = state;
  node.textContent = t(text);
}
