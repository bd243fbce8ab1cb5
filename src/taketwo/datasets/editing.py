"""Datasets changed as a whole: episodes taken out, datasets joined, a dataset given another name.

Nothing is encoded again, and a change happens as a whole or not at all.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from taketwo.datasets.assembly import Assembly
from taketwo.datasets.catalog import Catalog
from taketwo.datasets.lock import DatasetLock
from taketwo.datasets.metadata import Info
from taketwo.datasets.packing import pack
from taketwo.datasets.selection import Part
from taketwo.datasets.take import unfinished_takes
from taketwo.datasets.transaction import Transaction, refuse_pending
from taketwo.datasets.writer import check_new, check_same
from taketwo.errors import ConfigError, DatasetError, RecordingError
from taketwo.recording.naming import cannot_write, make_folder


def delete_episodes(root: Path, indices: Sequence[int]) -> None:
    """Take episodes out of a dataset; those behind them move up. No byte of their rows and pictures is left.

    Raises:
        ConfigError: there is no such episode, none is named, or none would be left.
        DatasetError: there is no dataset, it is damaged, another process writes it, it has an unfinished take, or
            an episode that stays cannot be separated from one that goes. Nothing is changed then.
        RecordingError: the disk does not take it. Nothing is changed then.
    """
    if not indices:
        raise ConfigError("which episodes? None is named")
    gone = set(indices)
    Part.open(root, lambda count: gone)  # what is wrong with the command is told before anything is written
    lock = DatasetLock(root)
    try:
        if unfinished_takes(root):
            raise DatasetError(
                f"{root} has an unfinished take: save or remove it first, by taketwo dataset repair {root}"
            )
        part = Part.open(root, lambda count: set(range(count)) - gone)
        if not part.chosen:
            raise ConfigError(f"these are all the episodes of {root}: to be rid of the dataset, remove the folder")
        _assemble(root, [part])
    finally:
        lock.release()


def merge(sources: Sequence[Path], target: Path) -> None:
    """Put the episodes of several datasets, one after the other, into a new one. The sources stay as they are.

    Raises:
        ConfigError: fewer than two sources, one that is named twice, sources that differ in rate, robot or columns,
            with all the differences, or a target that is there already.
        DatasetError: a source is damaged, or is being changed.
        RecordingError: the disk does not take it. In all cases nothing is left of the target.
    """
    if len(sources) < 2:
        raise ConfigError("merge needs two datasets or more")
    places = [source.resolve() for source in sources]
    known: set[Path] = set()
    for number, place in enumerate(places):
        if place in known:
            raise ConfigError(f"{sources[number]} is named twice: its episodes would be there twice")
        known.add(place)
        if place in target.resolve().parents:
            raise ConfigError(f"{target} is inside of {sources[number]}: choose a folder beside it")
    check_free(target)
    parts = [Part.open(source) for source in sources]
    _check_alike(parts)
    if not any(part.chosen for part in parts):
        raise ConfigError("these datasets have no episodes")
    lock = DatasetLock(target)
    try:
        check_free(target)  # again, now that nobody else can begin one
        _assemble(target, [part for part in parts if part.chosen])
        with contextlib.suppress(DatasetError, RecordingError):  # it is whole then too, in more files
            pack(target, Catalog.load(target))
    finally:
        lock.release()


def rename(root: Path, new_root: Path) -> None:
    """Move a dataset to another folder. What it holds tells no name, so that nothing else changes.

    Raises:
        ConfigError: something is there already, or the new folder is inside of the old one.
        DatasetError: there is no dataset, or another process writes it.
        RecordingError: it cannot be moved, and is where it was.
    """
    Info.load(root)
    root, new_root = _absolute(root), _absolute(new_root)
    if os.path.lexists(new_root):
        raise ConfigError(f"{new_root} is there already, and nothing of it was touched: choose another name")
    if root.resolve() in new_root.resolve().parents:
        raise ConfigError(f"{new_root} is inside of {root}: choose a folder beside it")
    refuse_pending(root)
    lock = DatasetLock(root)
    moved = False
    try:
        make_folder(new_root.parent)
        _move(root, new_root)
        moved = True
    finally:
        lock.release()
    if moved:
        DatasetLock(new_root).release()  # the lock's file has moved along; this takes it away


def _absolute(path: Path) -> Path:
    """Without `..`: such a path may lead nowhere before its folders are made, and somewhere after."""
    return Path(os.path.abspath(path))  # noqa: PTH100 (pathlib's keeps the `..`)


def check_free(target: Path) -> None:
    """Whether a dataset can be made here.

    Raises:
        ConfigError: something is there already.
    """
    try:
        check_new(target)
    except DatasetError as error:
        raise ConfigError(f"{target} is there already, and nothing of it was touched: choose another name") from error


def _assemble(root: Path, parts: Sequence[Part]) -> None:
    transaction = Transaction(root)
    try:
        superfluous = Assembly(transaction, root, parts).stage()
    except BaseException:
        transaction.cancel()
        raise
    transaction.commit(sorted(superfluous))


def _check_alike(parts: Sequence[Part]) -> None:
    first = parts[0]
    lines = []
    for part in parts[1:]:
        differences = [
            f"only {a.root} has {key!r}" for a, b in ((first, part), (part, first)) for key in _lacking(a, b)
        ]
        try:
            check_same(part.root, _shared(first, part), _shared(part, first))
        except ConfigError as error:
            differences.append(str(error).removeprefix(f"cannot resume {part.root}: "))
        if differences:
            lines.append(f"{part.root} (there) differs from {first.root} (here): {'; '.join(differences)}")
    if lines:
        raise ConfigError(f"cannot merge: {'; '.join(lines)}")


def _lacking(part: Part, other: Part) -> list[str]:
    """Columns of a part that another lacks."""
    return [key for key in part.info.features if key not in other.info.features]


def _shared(part: Part, other: Part) -> Info:
    """With the columns that another has too."""
    features = {key: feature for key, feature in part.info.features.items() if key in other.info.features}
    return replace(part.info, features=features)


def _move(root: Path, new_root: Path) -> None:
    try:
        root.rename(new_root)
        return
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise cannot_write(new_root, error, "The dataset is where it was") from error
    # Another file system: a whole copy first, which gets its name when it is complete, and then the old one goes.
    try:
        with tempfile.TemporaryDirectory(dir=new_root.parent, prefix=f".{new_root.name}.") as folder:
            copy = Path(shutil.copytree(root, Path(folder) / new_root.name, symlinks=True))
            copy.rename(new_root)
    except (OSError, shutil.Error) as error:
        raise cannot_write(new_root, error, "The dataset is where it was") from error
    try:
        shutil.rmtree(root)
    except OSError as error:
        raise cannot_write(
            root, error, f"The dataset is whole in {new_root}; remove the rest of {root} yourself"
        ) from error
