// Asks for a token when the server refuses the page for want of one.

import { byId } from "./dom.js";
import { token } from "./store.js";

export class TokenDialog {
  constructor(accepted) {
    this.dialog = byId("token");
    byId("token-later").addEventListener("click", () => this.dialog.close());
    byId("token-form").addEventListener("submit", (event) => {
      event.preventDefault();
      token.set(byId("token-input").value.trim());
      byId("token-input").value = "";
      this.dialog.close();
      accepted();
    });
  }

  ask() {
    if (this.dialog.open) return;
    byId("token-refused").hidden = !token.get();
    token.set(null);
    this.dialog.showModal();
    byId("token-input").focus();
  }
}
