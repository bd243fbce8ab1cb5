"""Finished trials on the disk: a folder each, which is there as a whole or not at all.

A worker writes into a folder of its own, and renames that when the trial is over. The rename is what makes a trial
done: it happens once, whoever is killed, and however many have run the same trial.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from taketwo.errors import TakeTwoError
from taketwo.fleet.trials import TrialResult
from taketwo.recording.naming import cannot_write, make_folder, replace_durably
from taketwo.recording.plain import to_json

RESULT = "result.json"
DATASET = "dataset"


class Episodes:
    """The folders of the finished trials of a run."""

    def __init__(self, root: Path) -> None:
        """Nothing is made.

        Args:
            root: the folder that has them.
        """
        self._root = root

    def folder(self, trial: int) -> Path:
        """Where a trial lies once it is done."""
        return self._root / f"{trial:06d}"

    def done(self) -> set[int]:
        """The trials that are done."""
        if not self._root.exists():
            return set()
        with os.scandir(self._root) as entries:
            return {int(entry.name) for entry in entries if entry.name.isdecimal()}

    def load(self, trial: int) -> TrialResult | None:
        """What came of a trial; None where it is not done.

        Raises:
            TakeTwoError: it is damaged.
        """
        path = self.folder(trial) / RESULT
        if not path.parent.exists():
            return None
        try:
            return result_of(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise TakeTwoError(
                f"{path} cannot be read ({error}): remove {path.parent}, and the trial is run again"
            ) from error

    def commit(self, written: Path, result: TrialResult) -> TrialResult:
        """Make a trial done: its result joins what is in the folder, and the folder gets its place.

        Returns:
            What came of it; where somebody else was first, what they had.

        Raises:
            RecordingError: the disk does not take it.
        """
        target = self.folder(result.trial)
        try:
            make_folder(self._root)
            written.mkdir(parents=True, exist_ok=True)
            temporary = written / f".{RESULT}.new"
            temporary.write_text(to_json(asdict(result), indent=2) + "\n", encoding="utf-8")
            replace_durably(temporary, written / RESULT)
            written.rename(target)
        except OSError as error:
            first = self.load(result.trial)
            if first is None:
                raise cannot_write(target, error) from error
            shutil.rmtree(written, ignore_errors=True)
            return first
        return result

    def remove(self, trial: int) -> None:
        """Let a trial be run again. It goes as a whole, whoever is killed meanwhile.

        Raises:
            RecordingError: the disk does not take it.
        """
        work = self._root.with_name("work")  # is cleared when a run goes on
        removed = work / f"removed-{trial:06d}"
        make_folder(work)
        shutil.rmtree(removed, ignore_errors=True)
        try:
            self.folder(trial).rename(removed)
        except OSError as error:
            raise cannot_write(self.folder(trial), error) from error
        shutil.rmtree(removed, ignore_errors=True)


def result_of(content: Mapping[str, Any]) -> TrialResult:
    """A result out of its JSON, which has null for a number that is none.

    Raises:
        ValueError: it is not one.
    """
    values = dict(content)
    for name in ("reward_sum", "reward_max"):
        if values.get(name) is None:
            values[name] = math.nan
    metrics = values.get("metrics") or {}
    values["metrics"] = {name: value for name, value in metrics.items() if value is not None}
    try:
        return msgspec.convert(values, TrialResult)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error
