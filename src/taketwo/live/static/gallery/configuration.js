/** What a session was run with, a table a group. */
import { h } from "../shared/dom.js";

/** @param {Record<string, any> | null | undefined} config */
export function configuration(config) {
  const entries = Object.entries(config ?? {});
  if (!entries.length) return h("section", { class: "panel config" }, h("h2", {}, "Configuration"), h("p", { class: "quiet" }, "It was not recorded."));
  const plainEntries = entries.filter(([, value]) => !isGroup(value));
  const groups = entries.filter(([, value]) => isGroup(value));
  if (plainEntries.length) groups.push(["run", Object.fromEntries(plainEntries)]);
  return h("details", { class: "panel config" }, h("summary", {}, "Configuration"),
    h("div", { class: "config-groups" }, ...groups.map(([name, group]) => h("section", {}, h("h3", {}, name), h("dl", {}, ...leaves(group).map(([key, value]) => h("div", {}, h("dt", {}, key), h("dd", {}, value))))))));
}

function isGroup(value) {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

/** @returns {[string, string][]} nested keys joined by points */
function leaves(group, before = "") {
  return Object.entries(group).flatMap(([key, value]) => (isGroup(value) && Object.keys(value).length ? leaves(value, `${before}${key}.`) : [/** @type {[string, string]} */ ([before + key, words(value)])]));
}

function words(value) {
  if (value === null) return "none";
  if (Array.isArray(value)) return value.length ? value.map(words).join(", ") : "none";
  return isGroup(value) ? "none" : String(value);
}
