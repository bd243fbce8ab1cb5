import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from taketwo.datasets.card import dataset_card, is_untouched
from taketwo.datasets.features import BOOKKEEPING, Feature, arrow_schema
from taketwo.datasets.layout import INFO, STATS, TASKS, FilePlace, data_path, episodes_path, notes_path, video_path
from taketwo.datasets.metadata import EpisodeEntry, EpisodeNote, Info, VideoSpan, episodes_table, tasks_table
from taketwo.errors import DatasetError

ROWS = 10

FEATURES = {
    "observation.state": Feature("float32", (2,), ["x", "y"]),
    "action": Feature("float32", (2,), ["x", "y"]),
    "asked_action": Feature("float32", (2,), ["x", "y"]),
    "next.success": Feature("bool", (1,)),
    "capture_time": Feature("float64", (1,)),
    **BOOKKEEPING,
}

TOP = {
    "observation.images.top": Feature("video", (48, 64, 3), ["height", "width", "channels"], {"video.codec": "h264"})
}


def note(index, outcome="success", **options):
    plain = {"reason": "r", "success": None, "seed": 1, "session": 0, "started_at": "2026-01-01T00:00:00+00:00"}
    return EpisodeNote(index, ROWS, outcome, **(plain | {"duration_s": 1.0} | options))


def write_dataset(
    root,
    episodes=2,
    video=False,
    packed=True,
    notes=(),
    stats=(),
    tasks=("push", "pull"),
    features=FEATURES,
    robot="point",
):
    """A dataset in the format's own files. Its video is none: nobody decodes it here.

    Args:
        packed: all rows in one file, rather than each episode in its own.
        stats: of each episode.
    """
    features = features | TOP if video else features
    places = [FilePlace(0, 0 if packed else index) for index in range(episodes)]
    spans = [
        {key: VideoSpan(FilePlace(), float(k), float(k + 1)) for key in TOP} if video else {} for k in range(episodes)
    ]
    entries = [
        EpisodeEntry(k, tuple(tasks[:1]), ROWS, places[k], k * ROWS, spans[k], stats=stats[k] if stats else {})
        for k in range(episodes)
    ]
    total = {"total_episodes": episodes, "total_frames": episodes * ROWS, "total_tasks": len(tasks)}
    info = Info(10, features, robot, **total)
    for place in dict.fromkeys(places):
        table = rows_table(features, [entry for entry in entries if entry.data == place])
        pq.write_table(table, made(root / data_path(place)))
    if video:
        made(root / video_path("observation.images.top", FilePlace())).write_bytes(b"a video" * 100)
    if entries:
        pq.write_table(episodes_table(entries), made(root / episodes_path(FilePlace())))
    pq.write_table(tasks_table(tasks), made(root / TASKS))
    made(root / INFO).write_text(info.to_json())
    (root / STATS).write_text("{}")
    if notes:
        made(root / notes_path(FilePlace())).write_text("".join(one.to_line() for one in notes))
    return root


def made(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def rows_table(features, entries):
    schema = arrow_schema(features)
    rows = [
        {field.name: [0, 0] if pa.types.is_fixed_size_list(field.type) else entry.index for field in schema}
        for entry in entries
        for _ in range(entry.length)
    ]
    columns = {field.name: pa.array([row[field.name] for row in rows]).cast(field.type) for field in schema}
    return pa.table(columns, schema=schema)


def facts(card):
    """The first table."""
    return [
        tuple(cell.strip() for cell in line.split("|")[1:-1])
        for line in card.split("\n## ")[0].splitlines()
        if line[:1] == "|"
    ][2:]


def test_its_front_matter_is_what_the_hub_and_lerobot_search_for(tmp_path):
    card = dataset_card(write_dataset(tmp_path / "d"), "me/cube", "cc-by-4.0", ["sim: yes", "LeRobot", "#1"])
    assert card.startswith("---\n")
    assert yaml.safe_load(card.split("---\n")[1]) == {
        "license": "cc-by-4.0",
        "task_categories": ["robotics"],
        "tags": ["LeRobot", "taketwo", "sim: yes", "#1"],
        "configs": [{"config_name": "default", "data_files": "data/*/*.parquet"}],
    }


def test_it_tells_the_facts(tmp_path):
    notes = [note(0), note(1, outcome="timeout"), note(2, outcome="fault"), note(3, late=True, interventions=7)]
    root = write_dataset(tmp_path / "d", episodes=5, video=True, notes=notes)
    assert facts(dataset_card(root, "me/cube", "apache-2.0")) == [
        ("robot", "point"),
        ("rate", "10 rows a second"),
        ("episodes", "5"),
        ("rows", "50 (5.0 s)"),
        ("camera", "`observation.images.top`, 64x48 pixels, video, h264"),
        ("tasks", "2"),
        ("outcomes", "2 success, 1 timeout, 1 fault, 1 not known"),
        ("success rate", "2 of 3 (67%)"),
        ("interventions", "7 rows in 1 episode"),
        ("slower than the rate", "1 episode; `capture_time` has the real times"),
    ]


def test_a_success_rate_is_not_made_up(tmp_path):
    card = dataset_card(write_dataset(tmp_path / "d"), "me/cube", "apache-2.0")
    assert "success rate" not in card
    assert "outcomes" not in card
    root = write_dataset(tmp_path / "e", notes=[note(0, outcome="unjudged"), note(1, outcome="fault")])
    assert ("outcomes", "1 unjudged, 1 fault") in facts(dataset_card(root, "me/cube", "apache-2.0"))
    assert "success rate" not in dataset_card(root, "me/cube", "apache-2.0")


def test_without_notes_the_rows_tell_what_was_solved(tmp_path):
    stats = [{"next.success": {"max": [1.0], "min": [0.0]}}, {"next.success": {"max": [0.0], "min": [0.0]}}]
    card = dataset_card(write_dataset(tmp_path / "d", stats=stats), "me/cube", "apache-2.0")
    assert ("`next.success` in some row", "1 of 2 (50%)") in facts(card)


def test_it_explains_columns(tmp_path):
    card = dataset_card(write_dataset(tmp_path / "d", video=True), "me/cube", "apache-2.0")
    for line in (
        "| `observation.state` | float32 2 | what the sensors of the robot said: `x`, `y` |",
        "| `asked_action` | float32 2 | what the policy asked for, before smoothing, limits and guard: `x`, `y` |",
        "| `capture_time` | float64 | real seconds since the episode began, on the recorder's clock |",
        "| `observation.images.top` | video 48x64x3 | picture |",
        "| `task_index` | int64 | number of the task, the row's own |",
    ):
        assert line in card.splitlines()


@pytest.mark.parametrize("names", [["x", "y"], {"motors": ["x", "y"]}, {"x": 0, "y": 1}])
def test_names_of_dimensions_are_understood_as_lerobot_writes_them(names, tmp_path):
    features = FEATURES | {"action": Feature("float32", (2,), names)}
    card = dataset_card(write_dataset(tmp_path / "d", features=features), "me/cube", "apache-2.0")
    assert "| `action` | float32 2 | what the robot was sent: `x`, `y` |" in card.splitlines()


def test_words_of_others_break_neither_tables_nor_lists(tmp_path):
    tasks = ["put the | there\nand *wait*", "<pad>"]
    root = write_dataset(tmp_path / "d", tasks=tasks, robot="arm|two")
    card = dataset_card(root, "me/cube", "apache-2.0")
    assert "- `0` put the \\| there and \\*wait\\*\n- `1` \\<pad\\>\n" in card
    assert "| robot | arm\\|two |" in card


def test_of_many_tasks_some_are_shown(tmp_path):
    card = dataset_card(write_dataset(tmp_path / "d", tasks=[f"task {k}" for k in range(50)]), "me/cube", "apache-2.0")
    assert len(re.findall(r"^- `\d+` task", card, re.MULTILINE)) == 20
    assert "- and 30 more, in `meta/tasks.parquet`" in card


def test_it_names_the_folders_that_are_there(tmp_path):
    card = dataset_card(write_dataset(tmp_path / "d"), "me/cube", "apache-2.0")
    assert "| `data` |" in card
    assert "| `videos` |" not in card
    assert "| `meta/taketwo/episodes` |" not in card
    root = write_dataset(tmp_path / "e", video=True, notes=[note(0)])
    card = dataset_card(root, "me/cube", "apache-2.0")
    assert "| `videos` |" in card
    assert "| `meta/taketwo/episodes` |" in card
    assert (root / "meta/info.json").read_text() in card


def test_it_is_known_again_until_someone_edits_it(tmp_path):
    card = dataset_card(write_dataset(tmp_path / "d"), "me/cube", "apache-2.0")
    assert is_untouched(card)
    assert is_untouched(card.replace("\n", "\r\n"))
    assert not is_untouched(card.replace("apache-2.0", "mit"))
    assert not is_untouched(card + "\nMore about it.\n")
    assert not is_untouched(re.sub("<!--.*-->\n", "", card))
    assert not is_untouched("# A card of LeRobot's\n")


def test_what_is_no_dataset_has_no_card(tmp_path):
    with pytest.raises(DatasetError, match="is no LeRobot dataset"):
        dataset_card(tmp_path, "me/cube", "apache-2.0")
