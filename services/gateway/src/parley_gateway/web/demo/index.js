// The pages of the dialects, as links.

import { byId, h } from "../assets/dom.js";
import { PAGES, say, setUp } from "./common.js";

setUp();
byId("link").hidden = true;
byId("cards").replaceChildren(
  ...PAGES.map(({ name, path, words, about }) =>
    h("li", null, h("a", { class: "card", href: `${name}.html` }, h("strong", null, say(...words)), h("span", null, say(...about)), h("code", null, path))),
  ),
);
