"""Writes a dataset, episode by episode. After each one it is whole, and LeRobot loads it."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Mapping, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

from taketwo.datasets.catalog import Catalog
from taketwo.datasets.commit import add_episode
from taketwo.datasets.features import differences
from taketwo.datasets.layout import INFO, SESSIONS, TAKES, WORK, session_path
from taketwo.datasets.lock import DatasetLock
from taketwo.datasets.metadata import EpisodeNote, Info, load_episodes, load_notes
from taketwo.datasets.packing import pack
from taketwo.datasets.statistics import Statistics
from taketwo.datasets.take import Take, TakeHeader, VideoEncoders, unfinished_takes
from taketwo.datasets.transaction import Transaction, commit_pending, finish_commit
from taketwo.errors import ConfigError, DatasetError, TakeTwoError
from taketwo.recording.naming import cannot_write
from taketwo.recording.plain import to_json
from taketwo.recording.rate import exact_fps
from taketwo.seeding import episode_seed

log = logging.getLogger(__name__)

LOOSE_FILES = 100
"""Episodes in files of their own before they are packed together in the middle of a session."""

UNKEPT_EPISODES = 1000
"""Episodes without an action, which were not kept but had a seed each, that are reckoned with."""

PLANNED_INFO = f"{WORK}/info.json"
"""The `info.json` to be, until the first episode is there: a take that a crash left can be mended with it."""


class DatasetWriter:
    """The one writer of a dataset, from `create` or `resume` to `close`.

    Attributes:
        root: the dataset's folder.
        session: number of the file that tells what the present episodes are recorded with.
    """

    def __init__(self, root: Path, catalog: Catalog, lock: DatasetLock) -> None:
        """Use `create`, `resume` or `reopen`."""
        self.root = root
        self.session = _next_session(root)
        self._catalog = catalog
        self._lock = lock
        self._next_take = 1 + max((int(path.name) for path in unfinished_takes(root)), default=-1)
        self._grown = self._released = False

    @classmethod
    def create(cls, root: Path, info: Info) -> DatasetWriter:
        """Begin a new dataset. It appears with its first episode.

        Raises:
            DatasetError: there is something already; nothing of it is touched.
            RecordingError: the folder cannot be written.
        """
        check_new(root)
        lock = DatasetLock(root)
        try:
            check_new(root)  # again, now that nobody else can begin one
            (root / PLANNED_INFO).write_text(info.to_json(), encoding="utf-8")
        except OSError as error:
            lock.release()
            raise cannot_write(root, error) from error
        except BaseException:
            lock.release()
            raise
        return cls(root, Catalog(info), lock)

    @classmethod
    def resume(cls, root: Path, info: Info) -> DatasetWriter:
        """Go on with a dataset that is there.

        Args:
            info: what would be recorded: rate, features and robot have to be the dataset's.

        Raises:
            DatasetError: there is none, it is damaged, or another process writes it.
            ConfigError: it differs, with all the differences.
        """
        if not (root / INFO).exists() and not commit_pending(root) and not unfinished_takes(root):
            raise DatasetError(f"there is no dataset in {root} to resume: leave out --resume to begin one")
        writer = cls.reopen(root)
        try:
            check_same(root, info, writer.info)
        except BaseException:
            writer.release()
            raise
        return writer

    @classmethod
    def reopen(cls, root: Path) -> DatasetWriter:
        """Go on with a dataset as it is, or with the take of one that has no episode yet.

        What a process that died was about to put down is finished first.

        Raises:
            DatasetError: there is none, it is damaged, or another process writes it.
            RecordingError: it cannot be written.
        """
        lock = DatasetLock(root)
        try:
            if commit_pending(root):
                finish_commit(root)
            Transaction(root)  # removes what was staged and never put down
            begun = (root / PLANNED_INFO).exists() and not (root / INFO).exists()
            catalog = Catalog(Info.load(root, PLANNED_INFO)) if begun else Catalog.load(root)
        except BaseException:
            lock.release()
            raise
        return cls(root, catalog, lock)

    @property
    def info(self) -> Info:
        """What the dataset says of itself now."""
        return self._catalog.info

    @property
    def tasks(self) -> tuple[str, ...]:
        """Its tasks so far."""
        return self._catalog.tasks

    def seeds_used(self, session_seed: int) -> int:
        """Index after the last episode of a session seed that the dataset has; 0 where it has none.

        Raises:
            DatasetError: its notes are damaged.
        """
        notes = load_notes(self.root, load_episodes(self.root, self.info)) if self.info.total_episodes else {}
        seeds: dict[int, set[int]] = defaultdict(set)
        for note in notes.values():
            seeds[note.env].add(note.seed)
        return max((_seeds_used(session_seed, env, known) for env, known in seeds.items()), default=0)

    def describe(self, description: Mapping[str, Any]) -> None:
        """What the coming episodes are recorded with; it joins the dataset with the first of them.

        Raises:
            RecordingError: it cannot be written.
        """
        path = self.root / WORK / Path(session_path(self.session)).name
        try:
            path.write_text(to_json(description, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise cannot_write(path, error) from error

    def begin(self, header: TakeHeader, encoders: VideoEncoders) -> Take:
        """Begin an episode.

        Raises:
            RecordingError: its files cannot be written.
        """
        folder = self.root / TAKES / f"{self._next_take:06d}"
        self._next_take += 1
        return Take(folder, header, self.info.features, exact_fps(self.info.fps), encoders)

    def keep(self, take: Path, note: EpisodeNote, pictures: Mapping[str, Statistics]) -> EpisodeNote:
        """Make a take the next episode; returns the note with the episode's index. The take's folder is gone then.

        Args:
            take: its folder; its files are closed.
            pictures: the statistics of its cameras, as `Take.finish` gives them.

        Raises:
            RecordingError: the disk does not take it. The episodes before are safe, and the take is still there.
            DatasetError: the take is damaged.
        """
        relative = session_path(note.session)
        described = self.root / WORK / Path(relative).name
        also = {relative: described.read_text(encoding="utf-8")} if described.exists() else {}
        note = replace(note, index=self.info.total_episodes)
        self._catalog = add_episode(self.root, self._catalog, take, note, pictures, also)
        self._grown = True
        if self._catalog.loose >= LOOSE_FILES:
            self._pack_on_the_way()
        return note

    def _pack_on_the_way(self) -> None:
        try:
            self._catalog = pack(self.root, self._catalog, slice(-self._catalog.loose, None))
        except TakeTwoError:
            if commit_pending(self.root):
                raise  # nothing may be written before that is finished
            log.warning("the files of %s could not be joined; they stay as they are", self.root, exc_info=True)

    def close(self) -> None:
        """Pack all that was recorded into larger files, and let others write.

        Raises:
            DatasetError, RecordingError: it cannot be packed; the dataset is whole then too, in more files.
        """
        try:
            if self._grown:
                self._catalog = pack(self.root, self._catalog)
        finally:
            self.release()

    def release(self) -> None:
        """Let others write, and leave everything as it is. Safe to call twice."""
        if self._released:
            return
        self._released = True
        if not unfinished_takes(self.root) and not commit_pending(self.root):
            for planned in (self.root / PLANNED_INFO, *(self.root / WORK).glob("session-*.json")):
                planned.unlink(missing_ok=True)
        self._lock.release()


def _seeds_used(session_seed: int, env: int, known: Set[int]) -> int:
    """Index after the last episode of a session seed that is known of one environment."""
    used, left = 0, set(known)
    for index in range(len(known) + UNKEPT_EPISODES):
        if not left:
            break
        seed = episode_seed(session_seed, index, env)
        if seed in left:
            left.discard(seed)
            used = index + 1
    return used


def _next_session(root: Path) -> int:
    """A number that neither an episode nor an unfinished take refers to."""
    names = (path.name for folder in (SESSIONS, WORK) for path in (root / folder).glob("session-*.json"))
    numbers = (re.fullmatch(r"session-(\d+)\.json", name) for name in names)
    return 1 + max((int(number[1]) for number in numbers if number), default=-1)


def check_new(root: Path) -> None:
    """Whether a new dataset can begin here.

    Raises:
        DatasetError: there is a dataset, an unfinished one, or anything else; with what to do.
    """
    if (root / INFO).exists() or commit_pending(root):
        raise DatasetError(
            f"there is a dataset in {root} already, and nothing of it was touched: add to it with --resume=true, "
            "or record another one under another --dataset.repo_id"
        )
    if unfinished_takes(root):
        raise DatasetError(
            f"{root} holds an episode that was cut off by a crash: taketwo dataset repair {root} saves or removes it"
        )
    if root.exists() and (not root.is_dir() or any(path.name != WORK for path in root.iterdir())):
        raise DatasetError(
            f"{root} is there already and is no dataset: record under another --dataset.repo_id or --dataset.root"
        )


def check_same(root: Path, ours: Info, theirs: Info) -> None:
    """Whether what would be recorded fits a dataset.

    Raises:
        ConfigError: it does not, with all the differences.
    """
    lines = []
    if exact_fps(ours.fps) != exact_fps(theirs.fps):
        lines.append(f"fps is {theirs.fps:g} there and {ours.fps:g} here")
    if ours.robot_type != theirs.robot_type:
        lines.append(f"robot is {theirs.robot_type} there and {ours.robot_type} here")
    lines += differences(ours.features, theirs.features)
    if lines:
        raise ConfigError(f"cannot resume {root}: {'; '.join(lines)}")
