// Ends the session on the service too, so that a copied cookie is worth nothing.

import { byId, root } from "./dom.js";
import { alertUser, post } from "./rest.js";

byId("sign-out").addEventListener("click", () => {
  post(`${root}/logout`).then(() => location.assign(`${root}/login`), alertUser);
});
