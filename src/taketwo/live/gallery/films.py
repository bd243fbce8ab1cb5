"""Which MP4 files are a session's, wherever its folder was moved, and where in them the episodes are."""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from taketwo.live.gallery.told import ToldSession

EPISODES_FOLDER = re.compile(r".*_episodes(_\d+)?")
EPISODE_FILE = re.compile(r".*_ep(?P<index>\d{3,9})(_[a-z]+)?(_\d+)?(\.partial)?\.mp4")


@dataclass(frozen=True)
class Film:
    """The videos of one session.

    Attributes:
        session: of all its episodes.
        episodes: of single ones of the environment that is filmed, by their index.
    """

    session: Path | None = None
    episodes: Mapping[int, Path] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.session is not None or bool(self.episodes)

    @property
    def first(self) -> Path | None:
        """Any of its files."""
        return self.session or next(iter(self.episodes.values()), None)


def films_of(sessions: Mapping[Path, ToldSession], videos: Mapping[Path, set[str]]) -> dict[Path, Film]:
    """The films of sessions, by their files. What a session says of its files is looked for beside its own file.

    A session that runs or was killed has not said what its files are. It gets those with its seed in the name that no
    other has.

    Args:
        sessions: by the path of `session.json`.
        videos: by folder, the names of the MP4 files that there are.
    """
    films = {path: _named(path.parent, told, videos) for path, told in sessions.items()}
    unfinished: dict[tuple[Path, int], list[Path]] = {}
    for path, told in sessions.items():
        if not told.complete and told.seed is not None and told.setting("video", "mode") != "off":
            unfinished.setdefault((path.parent, told.seed), []).append(path)
    if unfinished:
        taken = {film.session for film in films.values()} | {
            file.parent for film in films.values() for file in film.episodes.values()
        }
        for (folder, seed), paths in unfinished.items():
            paths.sort(key=lambda path: sessions[path].started_at.timestamp())
            films |= _assigned(folder, seed, [(path, sessions[path]) for path in paths], videos, taken)
    return films


def _named(folder: Path, told: ToldSession, videos: Mapping[Path, set[str]]) -> Film:
    session: Path | None = None
    episodes: dict[int, Path] = {}
    for text in told.video.files if told.video else ():
        named = PurePath(text)
        inner = EPISODES_FOLDER.fullmatch(named.parent.name)
        places = [folder / named.parent.name, folder] if inner else [folder]
        path = next((place / named.name for place in places if named.name in videos.get(place, ())), None)
        if path is None:
            continue
        match = EPISODE_FILE.fullmatch(path.name) if inner else None
        if match is None:
            session = path
        else:
            episodes[int(match["index"])] = path
    return Film(session, episodes)


def _assigned(
    folder: Path,
    seed: int,
    sessions: Sequence[tuple[Path, ToldSession]],
    videos: Mapping[Path, set[str]],
    taken: Iterable[Path | None],
) -> dict[Path, Film]:
    """Films for unfinished sessions of one folder and seed, in the order in which they began."""
    whole = re.compile(rf".*_seed{seed}(_\d+eps)?(_\d+)?(\.partial)?\.mp4")
    single = re.compile(rf".*_seed{seed}_episodes(_\d+)?")
    used = set(taken)
    files = [folder / name for name in videos.get(folder, ()) if whole.fullmatch(name)]
    folders = [place for place in videos if place.parent == folder and single.fullmatch(place.name)]
    with_one = [(path, told) for path, told in sessions if told.setting("video", "mode") != "episode"]
    with_many = [(path, told) for path, told in sessions if told.setting("video", "mode") in ("episode", "both")]
    joined = _in_order(with_one, [file for file in files if file not in used])
    apart = _in_order(with_many, [place for place in folders if place not in used])
    return {
        path: Film(joined.get(path), _episode_files(apart[path], videos) if path in apart else {})
        for path, _ in sessions
    }


def _in_order(sessions: Sequence[tuple[Path, ToldSession]], candidates: Iterable[Path]) -> dict[Path, Path]:
    """One candidate for each session: in order where there are as many, else by when they were written last."""
    dated: list[tuple[float, Path]] = []
    for path in candidates:
        with suppress(OSError):
            dated.append((path.stat().st_mtime, path))
    dated.sort()
    if len(dated) == len(sessions):
        return {path: candidate for (path, _), (_, candidate) in zip(sessions, dated, strict=True)}
    starts = [told.started_at.timestamp() for _, told in sessions]
    chosen = {}
    for modified, candidate in dated:
        place = bisect_right(starts, modified)
        if place:
            chosen[sessions[place - 1][0]] = candidate
    return chosen


def _episode_files(folder: Path, videos: Mapping[Path, set[str]]) -> dict[int, Path]:
    matches = {name: EPISODE_FILE.fullmatch(name) for name in sorted(videos[folder])}
    return {int(match["index"]): folder / name for name, match in matches.items() if match}


@dataclass(frozen=True)
class FilmedPart:
    """Where an episode is in the session's film.

    Attributes:
        start: its first frame.
        end: the frame after its last one.
    """

    start: int
    end: int

    @property
    def frames(self) -> int:
        """How many of its frames were filmed."""
        return max(0, self.end - self.start)


def filmed_parts(told: ToldSession) -> list[FilmedPart]:
    """Where the episodes of the environment that is filmed are, one for one; each ends where the next begins.

    An unfinished session does not tell where its last one ends: that follows from its steps, after which there is one
    more frame.
    """
    shown = told.shown
    starts = [episode.first_frame or 0 for episode in shown]
    if not starts:
        return []
    last = starts[-1] + math.ceil((shown[-1].steps + 1) / told.subsample)
    if told.video is not None:
        last = told.video.frames
    return [FilmedPart(start, min(end, last)) for start, end in zip(starts, [*starts[1:], last], strict=True)]


class FilmRates:
    """Frames a second of MP4 files, read once."""

    def __init__(self) -> None:
        self._known: dict[tuple[Path, int], float] = {}

    def of(self, path: Path) -> float | None:
        """The rate; None where the file has no frame yet, is damaged, or has gone."""
        try:
            file = path, path.stat().st_ino  # a later session may film under the same name
        except OSError:
            return None
        if file not in self._known:
            rate = _read_rate(path)
            if rate is None:
                return None
            self._known[file] = rate
        return self._known[file]


def _read_rate(path: Path) -> float | None:
    import av

    try:
        with av.open(str(path)) as container:
            rate = container.streams.video[0].average_rate
    except (av.FFmpegError, OSError, IndexError):
        return None
    return float(rate) if rate else None
