/** Keys of the page. None acts while somebody types, and a key held down acts once. */

const TYPING = "input:not([type=checkbox], [type=radio], [type=range]), textarea, select, [contenteditable]";
const PRESSABLE = "button, a[href], summary, input, video";

/**
 * @param {Record<string, () => void>} actions from `KeyboardEvent.key`, letters in lower case, to what it does
 */
export function bindKeys(actions) {
  document.addEventListener("keydown", (event) => {
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const action = Object.hasOwn(actions, key) ? actions[key] : null;
    if (!action || event.defaultPrevented || event.ctrlKey || event.altKey || event.metaKey) return;
    const target = /** @type {Element} */ (event.target);
    if (target.closest(TYPING)) return;
    if (key === " " && target.closest(PRESSABLE)) return; // space presses what has the focus
    event.preventDefault();
    if (!event.repeat) action();
  });
}
