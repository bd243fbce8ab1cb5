"""A page that tells what dataset and episode, or what session, one is looking at."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from taketwo.datasets.metadata import EpisodeNote
from taketwo.datasets.reader import Dataset, RecordedEpisode
from taketwo.session.events import SessionStart


def about_session(start: SessionStart, name: str) -> str:
    """The same of a session that runs, as Markdown."""
    spec = start.spec
    rows = [
        ("control rate", f"{start.control_hz:g} Hz"),
        ("seed", start.seed),
        ("cameras", ", ".join(f"{camera} {size.width}x{size.height}" for camera, size in spec.cameras.items())),
        *_session(start.config),
    ]
    return _table("session", name, rows)


def about(dataset: Dataset, episode: RecordedEpisode, name: str) -> str:
    """The page, as Markdown."""
    length_s = episode.length / dataset.fps
    rows = [
        ("episode", f"{episode.index} of {len(dataset.episodes)}, counted from 0"),
        ("length", f"{episode.length} frames, {length_s:.2f} s at {dataset.fps:g} fps"),
        ("task", "; ".join(episode.tasks)),
        *_outcome(episode),
        ("robot", dataset.info.robot_type),
        ("cameras", ", ".join(f"{key} {size.width}x{size.height}" for key, size in dataset.cameras.items())),
        *_recording(episode.note),
        *_session(dataset.session_config(episode.index)),
        ("folder", str(dataset.root)),
    ]
    return _table("dataset", name, rows)


def _outcome(episode: RecordedEpisode) -> Iterable[tuple[str, Any]]:
    yield "outcome", episode.outcome
    yield "success", {True: "yes", False: "no", None: None}[episode.success]
    if episode.note is not None:
        yield "ended", episode.note.reason


def _recording(note: EpisodeNote | None) -> Iterable[tuple[str, Any]]:
    if note is None:
        return
    yield "seed", note.seed
    yield "reward", f"{note.reward_sum:g} in all"
    yield "interventions", f"{note.interventions} frames" if note.interventions else None
    yield "recorded", note.started_at
    yield "measured rate", f"{note.measured_hz:.2f} Hz{', too slow' if note.late else ''}" if note.measured_hz else None
    yield "salvaged", "cut short by a crash" if note.salvaged else None


def _session(config: Any) -> Iterable[tuple[str, Any]]:
    for part, title in (("env", "environment"), ("policy", "policy")):
        section = (config or {}).get(part)
        if isinstance(section, dict):
            yield title, ", ".join(str(section[key]) for key in ("type", "task") if section.get(key))


def _table(kind: str, name: str, rows: Iterable[tuple[str, Any]]) -> str:
    told = [f"| {title} | {_plain(value)} |" for title, value in rows if value not in (None, "")]
    return "\n".join([f"| {kind} | {_plain(name)} |", "|---|---|", *told]) + "\n"


def _plain(value: Any) -> str:
    """Text that Markdown does not take for its own marks, on one line."""
    text = " ".join(str(value).split())
    return "".join(f"\\{sign}" if sign in "\\|*_`[]<>#" else sign for sign in text)
