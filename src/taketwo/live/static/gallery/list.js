/** All sessions below the folder, newest first. */
import { getJson } from "../shared/api.js";
import { h } from "../shared/dom.js";
import { clock, count, percent, plain } from "../shared/format.js";
import { showHeader } from "../shared/header.js";
import { outcomeIcon, OUTCOMES, successRate } from "../shared/outcomes.js";
import { placeOf } from "./gallery.js";

const DATE = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

export async function showList(content) {
  const { folder, note, sessions } = await getJson("api/gallery");
  document.title = "Sessions · Take Two";
  showHeader([["recordings in", folder]]);
  if (!sessions.length) return content.replaceChildren(h("div", { class: "message" }, h("strong", {}, "No sessions yet"), `Nothing has been recorded in ${folder}. "taketwo run" records one.`));
  const rows = sessions.map((session) => ({ element: row(session), text: searchText(session) }));
  const sum = h("p", { class: "quiet", role: "status" });
  const search = h("input", { type: "search", class: "field", placeholder: "Filter by name, task, policy, outcome", "aria-label": "Filter sessions", value: filterWords });
  const filter = () => {
    filterWords = search.value;
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const { element, text } of rows) element.hidden = !words.every((word) => text.includes(word));
    sum.textContent = `${rows.filter(({ element }) => !element.hidden).length} of ${count(rows.length, "session")}`;
  };
  search.addEventListener("input", filter);
  content.replaceChildren(
    note ? h("p", { class: "note" }, note) : "",
    h("div", { class: "list-head" }, h("h2", { class: "title" }, "Sessions"), sum, search),
    h("ul", { class: "sessions" }, ...rows.map(({ element }) => element)),
  );
  filter();
}

/** What a session is called: by its task, since its file is called session, session_2 and so on. */
export function sessionTitle({ environment, name }) {
  return environment ? plain(environment) : name;
}

/** Where it lies below the folder, by which sessions of one task are told apart. */
export function sessionPlace({ id }) {
  return decodeURIComponent(id).replace(/\.json$/, "");
}

/** What was searched for holds when one comes back to the list. */
let filterWords = "";

function searchText(session) {
  const outcomes = Object.keys(session.counts).filter((outcome) => session.counts[outcome]);
  return [sessionPlace(session), session.environment, sessionTitle(session), session.policy, `seed ${session.seed}`, ...outcomes, session.complete ? "" : "incomplete"].join(" ").toLowerCase();
}

function row(session) {
  const { attempts } = successRate(session.counts);
  const facts = [sessionPlace(session), session.policy && plain(session.policy), session.seed == null ? null : `seed ${session.seed}`].filter(Boolean);
  return h("li", {}, h("a", { class: "session panel", href: placeOf(session.id) },
    h("span", { class: "who" }, h("strong", {}, sessionTitle(session)), h("span", { class: "quiet" }, facts.join(" · ")), session.note && h("span", { class: "note" }, session.note)),
    h("span", { class: "share" }, bar(session.counts), h("span", { class: "tally" }, ...tally(session.counts))),
    h("span", { class: "rate" }, h("strong", {}, attempts ? `${percent(session.success_rate)} %` : "–"), h("span", { class: "quiet" }, attempts ? `of ${count(attempts, "attempt")}` : "no attempts")),
    h("span", { class: "when" }, h("span", {}, session.started ? DATE.format(session.started * 1000) : ""), h("span", { class: "quiet" }, [count(session.episodes, "episode"), session.num_envs > 1 ? `${session.num_envs} environments` : "", session.duration_s ? clock(session.duration_s) : ""].filter(Boolean).join(", "))),
    h("span", { class: "has" }, ...[session.has_video && "video", session.has_signals && "plots", !session.complete && "incomplete"].filter(Boolean).map((word) => h("span", { class: "tag", "data-tag": word }, word)))));
}

/** Shares of the outcomes. The tally beside it says the same in signs and figures. */
export function bar(counts) {
  const known = OUTCOMES.filter((outcome) => counts[outcome]);
  return h("span", { class: "bar", "aria-hidden": "true" }, ...known.map((outcome) => {
    const part = h("span", { class: "part", "data-outcome": outcome });
    part.style.flexGrow = String(counts[outcome]);
    return part;
  }));
}

function tally(counts) {
  return OUTCOMES.filter((outcome) => counts[outcome]).map((outcome) =>
    h("span", { class: "with-outcome", title: outcome }, outcomeIcon(outcome, 15), String(counts[outcome]), h("span", { class: "visually-hidden" }, ` ${outcome}`)));
}
