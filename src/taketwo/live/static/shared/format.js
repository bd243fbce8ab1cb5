/** Numbers and times as people read them. */

export const MISSING = "–";

/** @param {number | null | undefined} value */
export function fixed(value, digits) {
  return value == null ? MISSING : value.toFixed(digits);
}

/** 75 -> 1:15, 4000 -> 1:06:40 */
export function clock(seconds) {
  if (seconds == null) return MISSING;
  const whole = Math.floor(seconds);
  const parts = [Math.floor(whole / 60) % 60, whole % 60];
  const hours = Math.floor(whole / 3600);
  if (hours) parts.unshift(hours);
  return parts.map((part, k) => (k ? String(part).padStart(2, "0") : part)).join(":");
}

/** Four significant figures at most, of steady width. */
export function value(number) {
  if (number == null) return MISSING;
  const digits = Math.abs(number) >= 1000 ? 0 : Math.abs(number) >= 100 ? 1 : Math.abs(number) >= 10 ? 2 : 3;
  return number.toFixed(digits).replace("-", "−");
}

export function percent(fraction) {
  return fraction == null ? MISSING : `${Math.round(fraction * 100)}`;
}

/** 1 episode, 2 episodes */
export function count(number, noun) {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

/** transfer_cube -> transfer cube */
export function plain(name) {
  return String(name).replaceAll("_", " ");
}

/** Words that stay in one line. */
export function unbroken(text) {
  return text.replaceAll(" ", "\u00a0").replaceAll("–", "\u2060–\u2060");
}

/** 3 of 5 (95 %: 23–88 %): successes among attempts, and the interval that the true rate lies in. */
export function successWords(successes, attempts) {
  const [low, high] = wilson(successes, attempts);
  return `${unbroken(`${successes} of ${attempts}`)} ${unbroken(`(95 %: ${percent(low)}–${percent(high)} %)`)}`;
}

/**
 * Wilson's 95 % score interval of a proportion (E. B. Wilson, 1927, JASA 22:209).
 * @returns {[number, number]} as fractions
 */
export function wilson(successes, attempts) {
  const z = 1.96;
  const p = successes / attempts;
  const scale = 1 + (z * z) / attempts;
  const centre = (p + (z * z) / (2 * attempts)) / scale;
  const half = (z / scale) * Math.sqrt((p * (1 - p)) / attempts + (z * z) / (4 * attempts * attempts));
  return [Math.max(0, centre - half), Math.min(1, centre + half)];
}
