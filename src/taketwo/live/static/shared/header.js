/** The top line: name, what is shown, theme. */
import { h, listenWhileShown } from "./dom.js";
import { icon } from "./icons.js";

/**
 * @param {[string, string][]} facts what is shown, as pairs of name and value
 * @param {Node} [extra] stands before the theme's button
 */
export function showHeader(facts, extra) {
  document.getElementById("top").replaceChildren(
    h("h1", {}, h("a", { href: "./" }, h("img", { src: "static/icon.svg", alt: "" }), "Take Two")),
    h("dl", { class: "what" }, ...facts.map(([name, value]) => h("div", { "data-fact": name }, h("dt", {}, name), h("dd", { title: value }, value)))),
    h("span", { class: "grow" }),
    extra ?? "",
    themeButton(),
  );
}

function themeButton() {
  const button = h("button", { class: "icon-button", type: "button", on: { click: () => window.taketwoTheme.toggle() } });
  const show = () => {
    const next = window.taketwoTheme.current() === "dark" ? "light" : "dark";
    button.setAttribute("aria-label", `Use the ${next} theme`);
    button.title = `Use the ${next} theme`;
    button.replaceChildren(icon(next === "light" ? "sun" : "moon"));
  };
  listenWhileShown(button, "themechange", show);
  show();
  return button;
}
