"""The quality check as a page that a person can act on, and as rows for a terminal.

The page is one file: styles, plots and pictures are inside of it, it loads nothing and runs no script.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from taketwo.datasets.features import ACTION, CAPTURE_TIME, STATE
from taketwo.datasets.quality import CheckResult, EpisodeMeasures
from taketwo.datasets.quality_findings import KINDS, SEVERITIES, Finding, Place, Severity, worst_first
from taketwo.datasets.quality_pictures import BLUR_PART, PictureMeasures
from taketwo.datasets.quality_plots import Line, plot, thumbnail
from taketwo.datasets.quality_survey import flat
from taketwo.errors import DatasetError
from taketwo.recording.naming import cannot_write, replace_durably, reserve

if TYPE_CHECKING:
    from taketwo.datasets.reader import Dataset

DETAILED_EPISODES = 50
"""Episodes with plots and pictures; the rest is in a table. It keeps the file at a few megabytes."""

PLOTTED_DIMENSIONS = 32
"""Dimensions of action and state that are plotted."""

MOMENTS = 4
"""Pictures of an episode and camera that show what it is about, evenly spread."""

FOUND_PICTURES = 4
"""Pictures of what was found, per episode and camera."""

SHOWN = ("action_jump", "state_jump", "gap")
"""Findings about numbers whose moments are shown in the pictures of every camera."""

LISTED_EPISODES = 8
"""Episodes that a summary names before it only counts them."""


@dataclass(frozen=True)
class SummaryRow:
    """One sort of finding over the whole dataset.

    Attributes:
        title: what was found.
        count: in how many places it was found: episodes, or columns where it is about the dataset itself.
        where: which episodes, in words.
        example: the message of the worst.
        advice: what to do about it.
    """

    severity: Severity
    title: str
    count: int
    where: str
    example: str
    advice: str


def summary_rows(result: CheckResult) -> list[SummaryRow]:
    """One row per severity and kind, worst first."""
    groups: dict[tuple[Severity, str], list[Finding]] = {}
    for finding in worst_first(result.findings):
        groups.setdefault((finding.severity, finding.kind), []).append(finding)
    rows = []
    for (severity, kind), findings in groups.items():
        indices = sorted({finding.episode for finding in findings if finding.episode is not None})
        example = max(findings, key=_excess)
        where = _episodes_said(indices, len(result.episodes)) if indices else "the dataset"
        message = example.message if len(indices) < 2 else f"episode {example.episode}: {example.message}"
        count = len(indices) or len(findings)
        rows.append(SummaryRow(severity, KINDS[kind].title, count, where, message, KINDS[kind].advice))
    return rows


def write_report(path: Path, dataset: Dataset, result: CheckResult) -> None:
    """Write the page; a file that is there is replaced, once the new one is whole.

    Args:
        dataset: the one that was checked: rows and pictures are read from it again, for plots.

    Raises:
        RecordingError: it cannot be written; nothing is left behind then.
    """
    page = "".join(_page(dataset, result))
    written = reserve(path.parent, path.name, ".partial")
    try:
        written.write_text(page, encoding="utf-8")
        replace_durably(written, path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        written.unlink(missing_ok=True)


def _page(dataset: Dataset, result: CheckResult) -> Iterator[str]:
    name = escape(dataset.root.name)
    detailed = _detailed(result)
    rest = [measured for measured in result.episodes if measured.index not in detailed]
    yield (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>Quality of {name}</title><style>{STYLE}</style></head><body><main>"
    )
    yield f"<header><p class='over'>Quality check</p><h1>{name}</h1>{_facts(dataset, result)}</header>"
    yield _verdict(result)
    yield _summary(result)
    yield _skipped(result)
    yield "<section><h2>Episodes</h2>"
    if rest:
        yield (
            f"<p class='quiet'>Plots and pictures are of {len(detailed)} of {len(result.episodes)} episodes: those "
            "with the gravest findings, then the first ones. The others are in the table below.</p>"
        )
    for measured in result.episodes:
        if measured.index in detailed:
            yield from _episode(dataset, result, measured)
    yield "</section>"
    if rest:
        yield _rest(dataset, result, rest)
    yield "<footer>Made by taketwo dataset check. A row is one time step; rows and episodes count from 0.</footer>"
    yield "</main></body></html>\n"


def escape(text: object) -> str:
    """Any text, fit for a place between tags or in an attribute."""
    return html.escape(str(text), quote=True)


def _facts(dataset: Dataset, result: CheckResult) -> str:
    rows = sum(measured.length for measured in result.episodes)
    facts = [
        ("episodes", f"{len(result.episodes)}" + _of(len(dataset.episodes), len(result.episodes))),
        ("rows", f"{rows:,}".replace(",", " ")),
        ("length", _duration(rows / dataset.fps)),
        ("fps", f"{dataset.fps:g}"),
        *((f"camera {camera}", f"{size.width} by {size.height}") for camera, size in dataset.cameras.items()),
        ("pictures looked at", "all" if result.every == 1 else f"1 in {result.every}"),
    ]
    return "<dl>" + "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in facts) + "</dl>"


def _of(total: int, checked: int) -> str:
    return f" of {total}" if checked < total else ""


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def _verdict(result: CheckResult) -> str:
    if result.worst is None:
        return "<p class='verdict fine'>Nothing was found.</p>"
    clean = sum(not result.of_episode(measured.index) for measured in result.episodes)
    total = len(result.episodes)
    rest = f"{clean} of {total} episodes have none" if clean else "every episode has some" if total > 1 else ""
    counts = [
        _chip(severity, f"{number} {severity}{'s' if number > 1 else ''}")
        for severity in SEVERITIES
        if (number := sum(finding.severity == severity for finding in result.findings))
    ]
    return f"<p class='verdict'>{' '.join(counts)} <span>{rest}</span></p>"


def _chip(severity: Severity, text: str) -> str:
    return f"<span class='chip {severity}'>{escape(text)}</span>"


def _summary(result: CheckResult) -> str:
    rows = summary_rows(result)
    if not rows:
        return ""
    body = "".join(
        f"<tr><td>{_chip(row.severity, row.severity)}</td><th scope='row'>{escape(row.title)}</th>"
        f"<td>{escape(row.where)}</td><td>{escape(row.example)}</td><td class='advice'>{escape(row.advice)}</td></tr>"
        for row in rows
    )
    return (
        "<section><h2>What was found</h2><table class='summary'><thead><tr><th>how bad</th><th>what</th>"
        f"<th>where</th><th>the worst of it</th><th>what to do</th></tr></thead><tbody>{body}</tbody></table></section>"
    )


def _skipped(result: CheckResult) -> str:
    if not result.skipped:
        return ""
    lines = "".join(f"<li>{escape(line)}</li>" for line in result.skipped)
    return f"<section class='quiet'><h2>Not judged</h2><ul>{lines}</ul></section>"


def _detailed(result: CheckResult) -> set[int]:
    """The episodes with plots: those with the gravest findings, then the first ones."""
    grave = [finding.episode for finding in worst_first(result.findings) if finding.episode is not None]
    order = dict.fromkeys([*grave, *(measured.index for measured in result.episodes)])
    return set(list(order)[:DETAILED_EPISODES])


def _episode(dataset: Dataset, result: CheckResult, measured: EpisodeMeasures) -> Iterator[str]:
    findings = result.of_episode(measured.index)
    yield f"<details{' open' if _opens(result, findings) else ''}><summary>{_headline(dataset, measured, findings)}"
    yield f"</summary><div class='body'><p class='quiet'>{escape(' · '.join(measured.tasks) or 'no task')}</p>"
    if findings:
        lines = (f"<li>{_chip(finding.severity, finding.title)} {escape(finding.message)}</li>" for finding in findings)
        yield f"<ul class='findings'>{''.join(lines)}</ul>"
    for camera in dataset.cameras:
        yield _pictures(dataset, result, measured, camera, findings)
    try:
        rows = dataset.rows(measured.index)
    except DatasetError:
        rows = {}  # told of by a finding
    plots = [*_capture_plot(rows, findings, dataset.fps), *_motion_plots(dataset, rows, findings)]
    if plots:
        yield LEGEND + f"<div class='plots'>{''.join(plots)}</div>"
    yield "</div></details>"


def _opens(result: CheckResult, findings: Sequence[Finding]) -> bool:
    """Whether an episode is shown at once: the first one with a finding of the worst sort."""
    first = next((finding for finding in result.findings if finding.episode is not None), None)
    return first is not None and first in findings


def _headline(dataset: Dataset, measured: EpisodeMeasures, findings: Sequence[Finding]) -> str:
    verdict = measured.outcome or {True: "success", False: "no success", None: "not judged"}[measured.success]
    chips = [_chip(worst, title) for title, worst in _titles(findings).items()]
    return (
        f"<b>Episode {measured.index}</b> <span class='quiet'>{measured.length / dataset.fps:.1f} s · "
        f"{escape(verdict)}</span> <span class='chips'>{' '.join(chips)}</span>"
    )


def _titles(findings: Iterable[Finding]) -> Mapping[str, Severity]:
    """What was found, each once, with its worst severity; `findings` are worst first."""
    titles: dict[str, Severity] = {}
    for finding in findings:
        titles.setdefault(finding.title, finding.severity)
    return titles


def _pictures(
    dataset: Dataset, result: CheckResult, measured: EpisodeMeasures, camera: str, findings: Sequence[Finding]
) -> str:
    captions = dict.fromkeys(np.linspace(0, measured.length - 1, MOMENTS).round().astype(int).tolist(), "")
    own = [finding for finding in findings if finding.camera == camera]
    moments = [*own, *(finding for finding in findings if finding.kind in SHOWN)]
    shown = [(sum(each.rows) // 2, each.title) for each in moments if each.rows is not None]
    captions |= dict(shown[:FOUND_PICTURES])
    thumbs = "".join(_thumb(dataset, measured.index, camera, row, captions[row]) for row in sorted(captions))
    thumbs = thumbs or "<p class='quiet'>No picture of it can be read.</p>"
    lines = _picture_plots(result, measured.cameras.get(camera), camera, own)
    return f"<h3>Camera {escape(camera)}</h3><div class='thumbs'>{thumbs}</div><div class='plots'>{lines}</div>"


def _thumb(dataset: Dataset, index: int, camera: str, row: int, found: str) -> str:
    try:
        pixels = dataset.frame(index, camera, row)
    except DatasetError:
        return ""  # told of by a finding
    caption = f"row {row} · {row / dataset.fps:.2f} s" + (f" · {found}" if found else "")
    return thumbnail(pixels, caption, bool(found))


def _picture_plots(
    result: CheckResult, pictures: PictureMeasures | None, camera: str, findings: Sequence[Finding]
) -> str:
    if pictures is None or not len(pictures.rows):
        return ""
    rows = pictures.rows.astype(np.float64)
    lines = [Line(pictures.sharpness.astype(np.float64), "state", rows)]
    usual = result.sharpness.get(camera)
    if usual is not None:
        lines.append(Line(np.full(len(rows), BLUR_PART * usual), "limit", rows))
    blurred = _places(findings, {"blur"})
    others = _places(findings, {"blank", "dark", "bright", "frozen"})
    brightness = Line(pictures.brightness.astype(np.float64), "state", rows)
    return plot("sharpness", lines, pictures.length, blurred) + plot(
        "brightness", [brightness], pictures.length, others, "of 255"
    )


def _capture_plot(rows: Mapping[str, NDArray[Any]], findings: Sequence[Finding], fps: float) -> Iterator[str]:
    times = rows.get(CAPTURE_TIME)
    if times is None or len(times) < 2:
        return
    steps = 1000 * np.diff(times.reshape(-1).astype(np.float64))
    nominal = np.full(len(steps), 1000 / fps)
    lines = [Line(nominal, "limit"), Line(steps, "state")]
    yield plot("time between captures", lines, len(times), _places(findings, {"gap"}), "ms")


def _motion_plots(dataset: Dataset, rows: Mapping[str, NDArray[Any]], findings: Sequence[Finding]) -> Iterator[str]:
    """One plot per dimension; action and state share one where their dimensions have the same names."""
    columns = [column for column in (STATE, ACTION) if column in rows]
    names = {column: dataset.info.features[column].dimension_names for column in columns}
    shared = len(columns) == 2 and names[STATE] == names[ACTION]
    lines: dict[tuple[str, str], list[Line]] = {}
    places: dict[tuple[str, str], list[Place]] = {}
    for column in columns:
        values = flat(rows[column])
        for number, name in enumerate(names[column][:PLOTTED_DIMENSIONS]):
            key = ("" if shared else f"{column} ", name)
            lines.setdefault(key, []).append(Line(values[:, number], "action" if column == ACTION else "state"))
            places.setdefault(key, []).extend(_of_dimension(findings, column, name))
    for prefix, name in lines:
        yield plot(prefix + name, lines[prefix, name], len(rows[columns[0]]), places[prefix, name])
    cut = max((len(each) for each in names.values()), default=0) - PLOTTED_DIMENSIONS
    if cut > 0:
        yield f"<p class='quiet'>{cut} more dimensions are not shown.</p>"


def _of_dimension(findings: Iterable[Finding], column: str, name: str) -> Iterator[Place]:
    for finding in findings:
        if finding.column == column and (not finding.dimensions or name in finding.dimensions):
            yield from finding.places


def _places(findings: Iterable[Finding], kinds: set[str]) -> list[Place]:
    return [place for finding in findings if finding.kind in kinds for place in finding.places]


def _rest(dataset: Dataset, result: CheckResult, rest: Sequence[EpisodeMeasures]) -> str:
    body = "".join(
        f"<tr><th scope='row'>{measured.index}</th><td>{measured.length / dataset.fps:.1f} s</td>"
        f"<td>{escape(measured.outcome or '')}</td><td>"
        + " ".join(_chip(worst, title) for title, worst in _titles(result.of_episode(measured.index)).items())
        + "</td></tr>"
        for measured in rest
    )
    return (
        "<section><h2>The other episodes</h2><table class='rest'><thead><tr><th>episode</th><th>length</th>"
        f"<th>outcome</th><th>found</th></tr></thead><tbody>{body}</tbody></table></section>"
    )


def _episodes_said(indices: Sequence[int], total: int) -> str:
    if len(indices) == total > 1:
        return f"all {total} episodes"
    if len(indices) > LISTED_EPISODES:
        first = ", ".join(map(str, indices[:LISTED_EPISODES]))
        return f"{len(indices)} of {total} episodes: {first}, …"
    return f"{'episode' if len(indices) == 1 else 'episodes'} {', '.join(map(str, indices))}"


def _excess(finding: Finding) -> float:
    """How far it is from its threshold, to either side, as a ratio."""
    if finding.value is None or not finding.threshold:
        return finding.value or 0.0
    ratio = abs(finding.value / finding.threshold)
    return max(ratio, 1 / ratio) if ratio else float("inf")


LEGEND = (
    "<h3>Numbers</h3><p class='legend quiet'><span class='key action'></span>action "
    "<span class='key state'></span>state or measured <span class='key limit'></span>limit or nominal "
    "<span class='key mark'></span>found</p>"
)

STYLE = """
:root{--ground:#f7f6f3;--card:#fff;--ink:#23262b;--quiet:#6a6f78;--line:#e4e2dc;--action:#2463a8;--state:#7d8794;
--limit:#b98a2e;--mark:#d9553f40;--error:#b3362a;--error-ground:#fbe6e2;--warning:#8a5a00;--warning-ground:#fbefd2;
--note:#3d5a80;--note-ground:#e5ecf5;--fine:#2e6b45;--plot:#fbfaf8}
@media(prefers-color-scheme:dark){:root{--ground:#16181b;--card:#1e2125;--ink:#e6e4df;--quiet:#979ca5;--line:#30343a;
--action:#6fa8e8;--state:#8a929d;--limit:#cda04a;--mark:#f0705a59;--error:#ff9c8e;--error-ground:#43211d;
--warning:#f0c46c;--warning-ground:#3c2f14;--note:#a9c4e6;--note-ground:#22303f;--fine:#86c79d;--plot:#1a1d20}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif;
overflow-wrap:break-word}
main{max-width:1100px;margin:0 auto;padding:48px 24px 64px}
h1{font-size:34px;line-height:1.15;margin:0 0 20px;letter-spacing:-.02em}
h2{font-size:20px;margin:0 0 14px}
h3{font-size:14px;margin:26px 0 10px}
.over{margin:0 0 4px;color:var(--quiet);font-size:14px}
.quiet,footer{color:var(--quiet);font-size:14px}
section{margin:40px 0}
dl{display:flex;flex-wrap:wrap;gap:12px 32px;margin:0}
dl div{min-width:64px}
dt{color:var(--quiet);font-size:13px}
dd{margin:0;font-variant-numeric:tabular-nums}
.verdict{display:flex;flex-wrap:wrap;gap:8px;align-items:center;margin:28px 0 0}
.fine{color:var(--fine);font-weight:600}
.chip{display:inline-block;padding:1px 9px;border-radius:99px;font-size:13px;line-height:1.6;white-space:nowrap}
.error{color:var(--error);background:var(--error-ground)}
.warning{color:var(--warning);background:var(--warning-ground)}
.note{color:var(--note);background:var(--note-ground)}
table{width:100%;border-collapse:collapse;font-size:14px;background:var(--card);border:1px solid var(--line);
border-radius:10px;border-spacing:0;overflow:hidden}
thead th{color:var(--quiet);font-weight:400;font-size:13px}
th,td{text-align:left;vertical-align:top;padding:10px 14px;border-top:1px solid var(--line)}
thead th{border-top:0}
tbody th{font-weight:600}
.summary td:nth-child(4){overflow-wrap:anywhere;width:36%}.summary .advice{width:30%}
.findings,.summary td{min-width:0}.findings li{overflow-wrap:anywhere}
details{background:var(--card);border:1px solid var(--line);border-radius:10px;margin:10px 0}
summary{padding:12px 16px;cursor:pointer;display:flex;flex-wrap:wrap;gap:4px 12px;align-items:baseline;list-style:none}
summary::-webkit-details-marker{display:none}
summary::before{content:"";width:7px;height:7px;border:solid var(--quiet);border-width:0 1.5px 1.5px 0;
transform:rotate(-45deg);align-self:center}
details[open]>summary::before{transform:rotate(45deg)}
summary:focus-visible{outline:2px solid var(--action);outline-offset:-2px;border-radius:10px}
.chips{display:flex;flex-wrap:wrap;gap:6px}
.body{padding:0 16px 20px}
.body>p:first-child{margin:0 0 12px}
.findings{margin:0;padding:0;list-style:none;font-size:14px;display:grid;gap:8px}
.thumbs{display:grid;grid-template-columns:repeat(auto-fill,minmax(140px,1fr));gap:10px}
figure{margin:0}
.thumb{max-width:176px}
.thumb img{display:block;max-width:100%;height:auto;border-radius:6px;border:2px solid transparent}
.thumb.found img{border-color:var(--error)}
.thumb figcaption,.plot figcaption{font-size:12px;color:var(--quiet);font-variant-numeric:tabular-nums}
.plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(300px,100%),1fr));gap:14px 18px;margin-top:12px}
.plot figcaption{display:flex;justify-content:space-between;gap:8px;margin-bottom:3px}
.plot b{color:var(--ink);font-weight:500}
svg{display:block;width:100%;height:76px;background:var(--plot);border:1px solid var(--line);border-radius:6px}
path{fill:none;stroke-width:1.5;vector-effect:non-scaling-stroke;stroke-linejoin:round}
path.action{stroke:var(--action)}path.state{stroke:var(--state)}
path.limit{stroke:var(--limit);stroke-dasharray:4 4;stroke-width:1}
.mark{fill:var(--mark)}
.legend{margin:0;display:flex;flex-wrap:wrap;gap:4px 8px;align-items:center}
.key{width:18px;height:3px;border-radius:2px;display:inline-block;margin-left:8px}
.key:first-child{margin-left:0}
.key.action{background:var(--action)}.key.state{background:var(--state)}.key.limit{background:var(--limit)}
.key.mark{background:var(--mark);height:14px}
footer{margin-top:48px}
@media(max-width:720px){main{padding:28px 16px 48px}h1{font-size:26px}
.summary thead{display:none}.summary tr{display:grid;gap:4px;padding:14px;border-top:1px solid var(--line)}
.summary tbody tr:first-child{border-top:0}
.summary td,.summary th,.summary td:nth-child(4),.summary .advice{padding:0;border:0;width:auto}
.summary .advice{color:var(--quiet)}
.rest th,.rest td{padding:8px}}
@media print{details{break-inside:avoid}}
"""
