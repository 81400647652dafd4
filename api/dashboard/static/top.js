// The top of every page: language and signing out.

import { byId, root } from "./dom.js";
import { alertUser, post } from "./rest.js";

// Ends the session on the service too, so that a copied cookie is worth nothing.
byId("sign-out").addEventListener("click", () => {
  post(`${root}/logout`).then(() => location.assign(`${root}/login`), alertUser);
});

// The language stands in the address, and the service remembers it.
byId("language").addEventListener("change", (event) => {
  const here = new URL(location.href);
  here.searchParams.set("lang", event.target.value);
  location.assign(here);
});
