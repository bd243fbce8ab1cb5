/** Line icons, 20 by 20. */
import { svg } from "./dom.js";

const PATHS = {
  pause: "M7 4v12M13 4v12",
  resume: "M6 3.8v12.4L16 10z",
  end: "M4 4.5v11l8-5.5zM15.5 4.5v11",
  redo: "M4 8h7.5a4.2 4.2 0 0 1 0 8.4H7M4 8l3.6-3.6M4 8l3.6 3.6",
  retry: "M15.8 8A6.3 6.3 0 1 0 16 12.6M16.2 3.8V8H12",
  stop: "M5 5h10v10H5z",
  success: "M4 10.5l4 4 8-9",
  failure: "M5 5l10 10M15 5L5 15",
  sun: "M10 6.4a3.6 3.6 0 1 0 0 7.2 3.6 3.6 0 0 0 0-7.2zM10 1.8v1.4M10 16.8v1.4M1.8 10h1.4M16.8 10h1.4M4.2 4.2l1 1M14.8 14.8l1 1M4.2 15.8l1-1M14.8 5.2l1-1",
  moon: "M16.5 12.2A7 7 0 0 1 7.8 3.5a7 7 0 1 0 8.7 8.7z",
  warn: "M10 2.5l8.3 15H1.7zM10 8v4.2M10 14.8v.1",
  back: "M12 4l-6 6 6 6",
};

export function icon(name, size = 20) {
  const filled = name === "stop" || name === "resume";
  return svg(
    "svg",
    { viewBox: "0 0 20 20", width: size, height: size, "aria-hidden": "true", fill: filled ? "currentColor" : "none", stroke: "currentColor", "stroke-width": name === "pause" ? 3 : 1.9, "stroke-linecap": "round", "stroke-linejoin": "round" },
    svg("path", { d: PATHS[name] }),
  );
}
