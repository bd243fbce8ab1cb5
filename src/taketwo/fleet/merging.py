"""The episodes of a run as one dataset, in the order of the plan. Nothing is encoded again."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from taketwo.errors import ConfigError, TakeTwoError
from taketwo.recording.naming import cannot_write

MARK = "meta/taketwo/fleet.json"
"""In a merged dataset: of which plan, and of how many episodes."""


def merge_episodes(sources: Sequence[Path], target: Path, work: Path, fingerprint: str) -> bool:
    """Put datasets of one episode each into a new one, in their order; they stay as they are.

    It appears as a whole. One that an earlier command made of the same episodes is left as it is.

    Args:
        work: folder for what is not finished; what is there is removed.
        fingerprint: of the plan.

    Returns:
        Whether it was made now.

    Raises:
        ConfigError: something else is at the target.
        RecordingError: the disk does not take it. Nothing is left at the target then.
    """
    from taketwo.datasets.editing import merge, rename

    if check_target(target, fingerprint, len(sources)):
        return False
    shutil.rmtree(work, ignore_errors=True)
    try:
        if len(sources) == 1:
            shutil.copytree(sources[0], work)
        else:
            merge(sources, work)
        mark = work / MARK
        mark.write_text(json.dumps({"fingerprint": fingerprint, "episodes": len(sources)}) + "\n", encoding="utf-8")
        rename(work, target)
    except (OSError, shutil.Error) as error:
        raise cannot_write(target, error) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return True


def check_target(target: Path, fingerprint: str, episodes: int | None = None) -> bool:
    """Whether the dataset of this plan is there already.

    Args:
        episodes: how many it has to have, where that is known.

    Raises:
        ConfigError: something else is there, or it was made of fewer episodes.
    """
    from taketwo.datasets.editing import check_free

    if not os.path.lexists(target):
        return False
    try:
        mark = json.loads((target / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        mark = None
    if not isinstance(mark, dict):
        mark = {}
    if mark.get("fingerprint") != fingerprint:
        check_free(target)
        return False
    if episodes is not None and mark.get("episodes") != episodes:
        raise ConfigError(
            f"{target} was made of {mark.get('episodes')} episodes of this run, and there are {episodes} now: remove "
            "it, and give the command again"
        )
    return True


def sources_of(folders: Sequence[Path]) -> list[Path]:
    """Those of the datasets that are there.

    Raises:
        TakeTwoError: there is none.
    """
    found = [folder for folder in folders if folder.is_dir()]
    if not found:
        raise TakeTwoError("no trial has been recorded: there is no dataset to make")
    return found
