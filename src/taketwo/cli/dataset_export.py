"""`taketwo dataset export`: a dataset as plain files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from taketwo.cli.bars import progress_bar
from taketwo.cli.dataset_words import dataset_folder, parsed_episodes, read_line
from taketwo.cli.wording import said_count
from taketwo.datasets.reader import Dataset

INTRODUCTION = """Usage: taketwo dataset export DATASET --to=FOLDER [--flag=value ...]

Writes plain files, for programs that know nothing of LeRobot. For each episode:
its rows as episode_000003.csv or .npz, and by camera episode_000003_top.mp4,
cut out without encoding it again, or a folder of pictures where the dataset has
them in its rows. episodes.csv tells what is known of each. DATASET is a folder,
or a repo id such as me/cube."""


@dataclass(frozen=True)
class ExportConfig:
    """Flags of `taketwo dataset export`.

    Attributes:
        to: folder to write; it has to be missing or empty.
        episodes: which, such as 0,4-6; all where not given.
        format: of the rows; csv for text, npz for NumPy.
        root: folder of the dataset, or one that holds it by its repo id; LeRobot's home where not given.
    """

    to: Path
    episodes: str | None = None
    format: Literal["csv", "npz"] = "csv"
    root: Path | None = None


def main(words: Sequence[str]) -> int:
    """Run the command; returns its exit status."""
    line = read_line(words, ExportConfig, INTRODUCTION)
    if line is None:
        return 0
    from taketwo.datasets.export import export

    config = line.config
    target = config.to.expanduser()
    with Dataset.open(dataset_folder(line.arguments, config.root, "export")) as dataset:
        episodes = range(len(dataset.episodes))
        chosen = (
            list(episodes) if config.episodes is None else parsed_episodes(config.episodes, len(episodes), dataset.root)
        )
        with progress_bar("episodes") as advance:
            export(dataset, target, chosen, config.format, advance)
    print(f"{said_count(len(chosen), 'episode')} in {target}")
    return 0
