// The Cluster page.
import { fill, h } from "../dom.js";
export function clusterPage(main) {
  fill(main, h("h1", null, "Cluster"));
  return () => {};
}
