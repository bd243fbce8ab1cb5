/** Making elements. Text is always text: nothing here parses HTML. */

/**
 * An element with attributes and children.
 * @param {string} tag
 * @param {Record<string, any>} [attributes] `on` maps event names to listeners, `data` is the dataset;
 *   false, null and undefined leave an attribute out, true sets it empty.
 * @param {...(Node | string | null | undefined | false)} children
 * @returns {any}
 */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else if (name === "data") Object.assign(element.dataset, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, String(value));
  }
  element.append(...children.filter((child) => child != null && child !== false));
  return element;
}

/** Listen on the window for as long as an element is in the page: what was replaced keeps nothing alive. */
export function listenWhileShown(element, event, listener) {
  const heard = (it) => (element.isConnected ? listener(it) : removeEventListener(event, heard));
  addEventListener(event, heard);
}

/** Set text only where it differs: an unchanged node stays selected, and is not read out again. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** @param {Element} element @param {unknown} value null takes the attribute away; false stands as a word, as ARIA has it */
export function setAttribute(element, name, value) {
  if (value === null) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, String(value));
}
