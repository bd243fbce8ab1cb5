"""`report.html`: a run over many episodes as a page that a person can read.

The page is one file: styles and plots are inside of it, it loads nothing and runs no script. Videos and datasets of
episodes are linked to, by paths from the page's own folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

import yaml

from taketwo import __version__
from taketwo.fleet.episodes import DATASET, Episodes
from taketwo.fleet.report_plots import GRID, Part, histogram, interval_plot, stacked_bar
from taketwo.fleet.report_style import STYLE
from taketwo.fleet.results import FleetResults, write_whole
from taketwo.fleet.statistics import CONFIDENCE
from taketwo.fleet.summary import Summary, TaskSummary, summarize
from taketwo.fleet.trials import Trial, TrialResult
from taketwo.recording.plain import plain
from taketwo.types import Outcome

LISTED_EPISODES = 500
"""Episodes that were not solved that are listed; `results.json` has all."""

OPEN_EPISODES = 20
"""So many are listed openly; more are under their task's name."""

EPISODES_HEAD = (
    "<thead><tr><th>episode</th><th>seed</th><th>number</th><th>outcome</th><th>steps</th><th>reason</th>"
    "<th>recorded</th></tr></thead>"
)

LISTED_REASONS = 30
"""Reasons that are listed, most frequent first."""

TIMING_STYLES = 6
"""Colours of kinds of time; further ones share the last."""

MISSED = (Outcome.FAILURE, Outcome.TIMEOUT)
"""Attempts that were not solved."""


def write_report(path: Path, run: FleetResults, episodes: Path, confidence: float = CONFIDENCE) -> None:
    """Write the page; one that is there is replaced, once the new one is whole.

    Args:
        episodes: the folder that has a folder for each trial, in which videos and datasets are looked for.

    Raises:
        RecordingError: it cannot be written; nothing is left behind then.
    """
    write_whole(path, "".join(_page(run, Episodes(episodes), path.parent, confidence)))


def _page(run: FleetResults, episodes: Episodes, home: Path, confidence: float) -> Iterator[str]:
    summary = summarize(run.trials, run.results, confidence, run.until is not None)
    name = escape(run.name)
    yield (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{name}: results</title><style>{STYLE}</style></head><body><main>"
    )
    yield f"<header><p class='over'>Results</p><h1>{name}</h1>{_verdict(summary)}{_facts(run, summary)}</header>"
    yield _success(summary)
    yield _outcomes(summary)
    yield _reasons(summary.total)
    yield _steps(run)
    yield _timings(summary.total)
    yield _listed(run, episodes, home, MISSED, "Episodes that were not solved", "missed")
    yield _listed(run, episodes, home, (Outcome.FAULT,), "Faults, which are in no success rate", "faulty")
    yield _configuration(run)
    yield f"<footer>Written by Take Two {escape(__version__)}. Episodes count from 0, as in results.json.</footer>"
    yield "</main></body></html>\n"


def _verdict(summary: Summary) -> str:
    total = summary.total
    if total.rate is None:
        return "<p class='verdict'><span>no episode was attempted to its end</span></p>"
    kind = "confidence sequence" if summary.sequential else "interval"
    level = f"{100 * summary.confidence:g} % {kind}"
    return (
        f"<p class='verdict'><b>{_percent(total.rate)}</b> <span>solved: {total.successes} of {total.attempts} attempts"
        f"<br>{level}: {_interval(total)}</span></p>"
    )


def _facts(run: FleetResults, summary: Summary) -> str:
    total = summary.total
    workers = {result.worker for result in run.results.values() if result.worker}
    facts = [
        ("episodes", f"{total.ended} of {total.planned} planned"),
        ("tasks", str(len(summary.tasks))),
        ("took", _duration(run.wall_s)),
        ("workers", str(len(workers)) if workers else ""),
        ("faults", str(total.faults)),
        ("tried again", str(total.tried_again) if total.tried_again else ""),
        ("started", run.started_at),
        ("ended", run.ended),
        ("stopping rule", run.until or ""),
    ]
    return _definitions([(label, value) for label, value in facts if value])


def _definitions(facts: Sequence[tuple[str, str]]) -> str:
    return "<dl>" + "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in facts) + "</dl>"


def _success(summary: Summary) -> str:
    rows = "".join(_success_row(task) for task in _rows(summary))
    axis = "".join(f"<span>{at}{' %' if at == GRID[-1] else ''}</span>" for at in GRID)
    note = (
        "Bars are confidence sequences: they hold although the results decided when to stop."
        if summary.sequential
        else "Bars are Wilson's score intervals."
    )
    return (
        f"<section><h2>Success per task</h2><p class='quiet'>{note} Each holds the true rate of its task with "
        f"{100 * summary.confidence:g} % confidence. Faults are not counted.</p><div class='rows card'>{rows}"
        f"<div class='line scale'><span></span><div class='axis'>{axis}</div><span></span></div></div></section>"
    )


def _success_row(task: TaskSummary) -> str:
    said = f"{task.successes} of {task.attempts}"
    rate = "no attempt" if task.rate is None else _percent(task.rate)
    interval = "" if task.rate is None else _interval(task)
    label = f"{_name(task)}: {rate}, {interval}" if interval else f"{_name(task)}: {rate}"
    return (
        f"<div class='line{' total' if task.task is None else ''}'><span class='name'>{_breakable(_name(task))}</span>"
        f"{interval_plot(task.rate, task.interval, label)}"
        f"<span class='value'><b>{rate}</b> <span>{said}</span> <span class='quiet'>{interval}</span></span></div>"
    )


def _outcomes(summary: Summary) -> str:
    legend = "".join(f"<span><i class='{outcome}'></i>{outcome}</span>" for outcome in summary.total.outcomes)
    rows = "".join(_outcome_row(task) for task in _rows(summary))
    return f"<section><h2>Outcomes</h2><p class='legend'>{legend}</p><div class='rows card'>{rows}</div></section>"


def _outcome_row(task: TaskSummary) -> str:
    parts = [Part(str(outcome), str(outcome), count) for outcome, count in task.outcomes.items()]
    counts = [f"{count} {outcome}" for outcome, count in task.outcomes.items()] or ["none has ended"]
    said = ", ".join(counts)
    shown = " ".join(f"<span>{count}</span>" for count in counts)
    return (
        f"<div class='line{' total' if task.task is None else ''}'><span class='name'>{_breakable(_name(task))}</span>"
        f"{stacked_bar(parts, f'{_name(task)}: {said}')}<span class='value'>{shown}</span></div>"
    )


def _reasons(total: TaskSummary) -> str:
    if not total.reasons:
        return ""
    shown = list(total.reasons.items())[:LISTED_REASONS]
    body = "".join(
        f"<tr><td class='number'>{count}</td><td>{_chip(outcome)}</td><td>{escape(reason)}</td></tr>"
        for (outcome, reason), count in shown
    )
    rest = len(total.reasons) - len(shown)
    more = f"<p class='quiet'>{rest} more in results.json.</p>" if rest else ""
    return (
        "<section><h2>Why episodes were not solved</h2><table class='reasons'><thead><tr><th>episodes</th>"
        f"<th>outcome</th><th>reason</th></tr></thead><tbody>{body}</tbody></table>{more}</section>"
    )


def _steps(run: FleetResults) -> str:
    groups = {
        str(outcome): (str(outcome), [float(r.steps) for r in run.results.values() if r.outcome is outcome])
        for outcome in (Outcome.SUCCESS, *MISSED)
    }
    present = {name: group for name, group in groups.items() if group[1]}
    legend = "".join(f"<span><i class='{name}'></i>{name}</span>" for name in present)
    return (
        "<section><h2>How long episodes are</h2>"
        f"<p class='legend'>{legend}</p><div class='card'>{histogram(present, 'steps')}</div></section>"
    )


def _timings(total: TaskSummary) -> str:
    if not total.timings_s:
        return ""
    whole = sum(total.timings_s.values())
    parts = [
        Part(f"time{min(place, TIMING_STYLES - 1)}", name, seconds)
        for place, (name, seconds) in enumerate(total.timings_s.items())
    ]
    body = "".join(
        f"<tr><th scope='row'><i class='{part.style}'></i>{escape(part.label)}</th>"
        f"<td class='number'>{_duration(part.value)}</td><td class='number'>{100 * part.value / whole:.1f} %</td>"
        f"<td class='number'>{_duration(part.value / total.ended)}</td></tr>"
        for part in parts
    )
    return (
        "<section><h2>Where the time went</h2><p class='quiet'>Of all workers together.</p>"
        f"<div class='card wide'>{stacked_bar(parts, 'parts of the time')}</div>"
        "<table class='timings'><thead><tr><th>part</th><th class='number'>in all</th><th class='number'>share</th>"
        f"<th class='number'>per episode</th></tr></thead><tbody>{body}</tbody></table></section>"
    )


def _listed(
    run: FleetResults, episodes: Episodes, home: Path, outcomes: Sequence[Outcome], title: str, anchor: str
) -> str:
    """The episodes with these outcomes, in a table per task; empty where there are none."""
    found: dict[str, list[tuple[Trial, TrialResult]]] = {}
    for trial in run.trials:
        result = run.results.get(trial.index)
        if result is not None and result.outcome in outcomes:
            found.setdefault(trial.task, []).append((trial, result))
    if not found:
        return ""
    total = sum(map(len, found.values()))
    shown = "" if total > OPEN_EPISODES else " open"
    tables, left = [], LISTED_EPISODES
    for task, own in found.items():
        rows = "".join(_episode(*each, _links(episodes, each[0], home)) for each in own[: max(0, left)])
        more = f"<p class='quiet'>{len(own) - left} more in results.json.</p>" if len(own) > left else ""
        left = max(0, left - len(own))
        table = f"<table class='episodes'>{EPISODES_HEAD}<tbody>{rows}</tbody></table>" if rows else ""
        summary = f"<summary><span>{_breakable(task)}</span> <b>{len(own)}</b></summary>"
        tables.append(f"<details{shown}>{summary}{table}{more}</details>")
    return f"<section id='{anchor}'><h2>{escape(title)}: {total}</h2>{''.join(tables)}</section>"


def _episode(trial: Trial, result: TrialResult, links: Sequence[tuple[str, str]]) -> str:
    anchors = " ".join(f"<a href='{escape(target)}'>{escape(text)}</a>" for text, target in links)
    tries = f" ({result.attempts} tries)" if result.attempts > 1 else ""
    start = "" if result.init_state is None else f", state {result.init_state}"
    return (
        f"<tr><th scope='row'>{trial.index}</th><td data-label='seed'>{trial.seed}</td>"
        f"<td data-label='number'>{trial.number}{start}</td><td>{_chip(result.outcome)}</td>"
        f"<td data-label='steps'>{result.steps}</td><td>{escape(result.reason)}{tries}</td><td>{anchors}</td></tr>"
    )


def _links(episodes: Episodes, trial: Trial, home: Path) -> list[tuple[str, str]]:
    """What there is of an episode: text, and address from the page's folder."""
    folder = episodes.folder(trial.index)
    if not folder.is_dir():
        return []
    films = sorted(path for path in folder.rglob("*.mp4") if not path.name.startswith("."))
    places = [(_film_name(film, folder), film) for film in films]
    if (folder / DATASET).is_dir():
        places.append((DATASET, folder / DATASET))
    return [(text, quote(Path(os.path.relpath(place, home)).as_posix())) for text, place in places]


def _film_name(film: Path, folder: Path) -> str:
    """A dataset's film lies in folders, of which one is named after its camera's feature; another has a name itself."""
    cameras = [part.rpartition(".")[2] for part in film.relative_to(folder).parts if part.startswith("observation.")]
    return cameras[0] if cameras else film.stem


def _configuration(run: FleetResults) -> str:
    text = yaml.safe_dump(plain(run.config), sort_keys=False, allow_unicode=True, width=100) if run.config else "none"
    mark = f"<p class='quiet'>Fingerprint of the plan: <code>{escape(run.fingerprint)}</code></p>"
    return (
        f"<section><h2>Configuration</h2>{mark if run.fingerprint else ''}"
        f"<details><summary>as the command line resolved it</summary><pre>{escape(text)}</pre></details></section>"
    )


def _rows(summary: Summary) -> Sequence[TaskSummary]:
    return summary.tasks if len(summary.tasks) == 1 else [*summary.tasks, summary.total]


def _name(task: TaskSummary) -> str:
    return "all tasks" if task.task is None else task.task


def _breakable(name: str) -> str:
    """A long name, which may be broken after its underscores."""
    return escape(name).replace("_", "_<wbr>")


def _percent(rate: float) -> str:
    return f"{100 * rate:.1f} %"


def _interval(task: TaskSummary) -> str:
    return f"{100 * task.interval.low:.1f} to {100 * task.interval.high:.1f} %"


def _chip(outcome: Outcome) -> str:
    return f"<span class='chip {outcome}'>{outcome}</span>"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s" if seconds >= 1 else f"{1000 * seconds:.0f} ms"
