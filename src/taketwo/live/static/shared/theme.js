// Runs before the first paint, so that a remembered theme never flashes the other one: a plain script, not a module.
"use strict";
(() => {
  const KEY = "taketwo.theme";
  const root = document.documentElement;

  function remembered() {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null; // storage is switched off: the system's theme holds
    }
  }

  function apply(theme) {
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
    else delete root.dataset.theme;
  }

  apply(remembered());

  window.taketwoTheme = {
    /** "light" or "dark", whoever chose it. */
    current() {
      return root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
    },
    toggle() {
      const theme = this.current() === "dark" ? "light" : "dark";
      apply(theme);
      try {
        localStorage.setItem(KEY, theme);
      } catch {
        // not remembered, and in force all the same
      }
      dispatchEvent(new CustomEvent("themechange"));
    },
  };

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    if (!root.dataset.theme) dispatchEvent(new CustomEvent("themechange"));
  });
})();
