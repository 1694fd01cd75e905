// The Data page: databases, collections, documents. It is not in the navigation until it is here.
//
//   dataPage(main, { route })  fills `main` and returns what is called when the page is left

import { fill, h } from "../dom.js";

export function dataPage(main) {
  fill(main, h("h1", null, "Data"));
  return () => {};
}
