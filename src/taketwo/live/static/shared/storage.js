/** What a browser remembers of a user's choices. Storage may be off, full or foreign: then nothing is remembered. */

/** @param {string} key */
export function recall(key) {
  try {
    return JSON.parse(localStorage.getItem(`taketwo.${key}`) ?? "null");
  } catch {
    return null;
  }
}

export function remember(key, value) {
  try {
    localStorage.setItem(`taketwo.${key}`, JSON.stringify(value));
  } catch {
    // the choice holds for as long as the page is open
  }
}
