"""The dataset card: the README.md by which people find a dataset on the Hub, and learn what is in it."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taketwo.datasets.features import ACTION, ASKED, CAPTURE_TIME, DONE, INTERVENTION, REWARD, STATE, SUCCESS, Feature
from taketwo.datasets.layout import DATA, FORMAT_VERSION, INFO, NOTES, SESSIONS, STATS, TASKS, TRACES, VIDEOS
from taketwo.datasets.metadata import EpisodeEntry, EpisodeNote, Info, load_episodes, load_notes, load_tasks
from taketwo.errors import one_line
from taketwo.types import Outcome

CARD = "README.md"

TASKS_SHOWN = 20

MEANINGS = {
    STATE: "what the sensors of the robot said",
    ACTION: "what the robot was sent",
    ASKED: "what the policy asked for, before smoothing, limits and guard",
    REWARD: "reward of the action",
    DONE: "whether the episode ended with this row",
    SUCCESS: "whether the task stood solved after the action",
    INTERVENTION: "whether another than the policy acted, such as a person",
    CAPTURE_TIME: "real seconds since the episode began, on the recorder's clock",
    "timestamp": "nominal seconds since the episode began: `frame_index` / fps",
    "frame_index": "number of the row in its episode",
    "episode_index": "number of the episode",
    "index": "number of the row in the dataset",
    "task_index": "number of the task, the row's own",
}

FILES = {
    DATA: "rows, many episodes to a Parquet file",
    VIDEOS: "pictures, an MP4 for each camera and group of episodes",
    INFO: "columns, rate and counts; below in full",
    STATS: "statistics of every column",
    TASKS: "the tasks and their numbers",
    "meta/episodes": "where each episode lies, and its statistics",
    NOTES: "of each episode its outcome and the reason for it, its seed, and the rate that it really had",
    SESSIONS: "the configuration that episodes were recorded with",
    TRACES: "every state of the simulator, from which episodes can be run and filmed again",
}

_MARK = "<!-- Written by `taketwo dataset push`, which renews it until someone edits it. {} -->\n"


@dataclass(frozen=True)
class Facts:
    """What a card tells of a dataset."""

    info: Info
    tasks: Sequence[str]
    episodes: Sequence[EpisodeEntry]
    notes: Mapping[int, EpisodeNote]

    @classmethod
    def load(cls, root: Path) -> Facts:
        """Read them.

        Raises:
            DatasetError: there is no dataset, or it is damaged.
        """
        info = Info.load(root)
        episodes = load_episodes(root, info)
        notes = load_notes(root, episodes)
        # Episodes' statistics are large, and are looked at only where nobody noted how an episode went.
        judged_by_rows = SUCCESS in info.features and not notes
        return cls(info, load_tasks(root), load_episodes(root, info, stats=True) if judged_by_rows else episodes, notes)


def dataset_card(root: Path, repo_id: str, license: str, tags: Iterable[str] = ()) -> str:  # noqa: A002 - the Hub's word
    """The text of README.md, front matter included, as https://huggingface.co/docs/hub/datasets-cards has it.

    It bears a mark by which `is_untouched` knows it again.

    Args:
        license: its identifier on the Hub, such as `apache-2.0`.
        tags: besides `LeRobot` and `taketwo`.

    Raises:
        DatasetError: there is no dataset, or it is damaged.
    """
    facts = Facts.load(root)
    head = _front_matter(license, tags) + "\n"
    body = "\n" + "\n\n".join(
        [
            _title(repo_id, facts),
            _table(("", ""), _overview(facts)),
            "## Tasks\n\n" + _tasks(facts.tasks),
            "## Columns\n\n" + _columns(facts.info.features),
            "## How to use it\n\n" + _usage(repo_id),
            "## Files\n\n" + _files(root),
        ]
    )
    return head + _MARK.format(_digest(head + body)) + body + "\n"


def is_untouched(card: str) -> bool:
    """Whether a card is as `dataset_card` wrote it, so that nobody's words are lost when it is replaced."""
    card = card.replace("\r\n", "\n").rstrip("\n")
    found = re.search(re.escape(_MARK).replace(r"\{\}", "([0-9a-f]+)"), card)
    return found is not None and found[1] == _digest(card[: found.start()] + card[found.end() :])


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _front_matter(license_id: str, tags: Iterable[str]) -> str:
    import yaml

    fields = {
        "license": license_id,
        "task_categories": ["robotics"],
        "tags": list(dict.fromkeys(("LeRobot", "taketwo", *tags))),
        "configs": [{"config_name": "default", "data_files": "data/*/*.parquet"}],
    }
    return f"---\n{yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)}---"


def _title(repo_id: str, facts: Facts) -> str:
    robot = f" of `{facts.info.robot_type}`" if facts.info.robot_type else ""
    recorder = ", recorded with Take Two" if facts.notes else ""
    return (
        f"# {repo_id.split('/')[-1]}\n\n"
        f"{_count(len(facts.episodes), 'episode')}{robot}, in the format {FORMAT_VERSION} of "
        f"[LeRobot](https://github.com/huggingface/lerobot){recorder}. "
        f"[Look at it in the browser](https://huggingface.co/spaces/lerobot/visualize_dataset?path={repo_id})."
    )


def _overview(facts: Facts) -> list[tuple[str, str]]:
    info = facts.info
    rows = sum(entry.length for entry in facts.episodes)
    lines = [
        ("robot", info.robot_type or "not told"),
        ("rate", f"{info.fps:g} rows a second"),
        ("episodes", f"{len(facts.episodes):,}"),
        ("rows", f"{rows:,} ({_duration(rows / info.fps)})"),
        *(("camera", _camera(key, info.features[key])) for key in info.cameras),
        ("tasks", f"{len(facts.tasks):,}"),
    ]
    return lines + _outcomes(facts)


def _camera(key: str, feature: Feature) -> str:
    height, width = feature.shape[:2]
    codec = feature.info.get("video.codec")
    kind = f"video, {codec}" if feature.is_video and codec else "video" if feature.is_video else "images"
    return f"`{key}`, {width}x{height} pixels, {kind}"


def _outcomes(facts: Facts) -> list[tuple[str, str]]:
    notes = list(facts.notes.values())
    if not notes:
        return _judged_by_rows(facts.episodes)
    counts = Counter(note.outcome for note in notes)
    if unknown := len(facts.episodes) - len(notes):
        counts["not known"] = unknown
    lines = [("outcomes", ", ".join(f"{number:,} {outcome}" for outcome, number in counts.most_common()))]
    attempts = sum(counts[outcome.value] for outcome in Outcome if outcome.is_attempt)
    if attempts:
        lines.append(("success rate", _rate(counts[Outcome.SUCCESS.value], attempts)))
    if rows := sum(note.interventions for note in notes):
        lines.append(("interventions", f"{_count(rows, 'row')} in {_count_of(notes, 'interventions')}"))
    if any(note.late for note in notes):
        lines.append(("slower than the rate", f"{_count_of(notes, 'late')}; `{CAPTURE_TIME}` has the real times"))
    if any(note.salvaged for note in notes):
        lines.append(("cut short by a crash", _count_of(notes, "salvaged")))
    return lines


def _judged_by_rows(episodes: Sequence[EpisodeEntry]) -> list[tuple[str, str]]:
    highest = [entry.stats[SUCCESS]["max"] for entry in episodes if "max" in entry.stats.get(SUCCESS, {})]
    if not highest or len(highest) < len(episodes):
        return []
    return [(f"`{SUCCESS}` in some row", _rate(sum(bool(_number(value)) for value in highest), len(highest)))]


def _number(value: Any) -> float:
    while isinstance(value, list | tuple):
        value = value[0]
    return float(value)


def _tasks(tasks: Sequence[str]) -> str:
    lines = [f"- `{number}` {_plain(task)}" for number, task in enumerate(tasks[:TASKS_SHOWN])]
    if len(tasks) > TASKS_SHOWN:
        lines.append(f"- and {len(tasks) - TASKS_SHOWN:,} more, in `{TASKS}`")
    return "\n".join(lines) or "None is named."


def _columns(features: Mapping[str, Feature]) -> str:
    rows = [(f"`{key}`", _type(feature), _meaning(key, feature)) for key, feature in features.items()]
    text = _table(("column", "type", "what it is"), rows)
    if ASKED not in features:
        return text
    return f"A row holds an observation and the action that answered it; `next.` is what came of that action.\n\n{text}"


def _type(feature: Feature) -> str:
    size = "" if feature.shape == (1,) else f" {'x'.join(str(length) for length in feature.shape)}"
    return feature.dtype + size


def _meaning(key: str, feature: Feature) -> str:
    if feature.is_camera:
        return "picture"
    told = feature.dimension_names if feature.names and feature.shape != (1,) else ()
    names = ", ".join(f"`{name}`" for name in told)
    return ": ".join(part for part in (MEANINGS.get(key, ""), names) if part)


def _usage(repo_id: str) -> str:
    name = repo_id.split("/")[-1]
    return f"""\
With [LeRobot](https://github.com/huggingface/lerobot):

```python
from lerobot.datasets.lerobot_dataset import LeRobotDataset

dataset = LeRobotDataset("{repo_id}")
print(dataset.num_episodes, dataset[0]["action"])
```

With Take Two, to look at an episode:

```sh
hf download {repo_id} --repo-type dataset --local-dir {name}
taketwo view --repo-id {repo_id} --root {name} --episode-index 0
```"""


def _files(root: Path) -> str:
    there = [(f"`{path}`", what) for path, what in FILES.items() if (root / path).exists()]
    info = (root / INFO).read_text(encoding="utf-8").strip()
    return (
        _table(("path", "what it holds"), there)
        + f"\n\n<details>\n<summary>{INFO}</summary>\n\n```json\n{info}\n```\n\n</details>"
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    return one_line(text).replace("|", "\\|")


def _plain(text: str) -> str:
    """Somebody's words, with nothing in them that Markdown takes for its own."""
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", one_line(text))


def _rate(solved: int, of: int) -> str:
    return f"{solved:,} of {of:,} ({solved / of:.0%})"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _count_of(notes: Iterable[EpisodeNote], what: str) -> str:
    return _count(sum(bool(getattr(note, what)) for note in notes), "episode")


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"
