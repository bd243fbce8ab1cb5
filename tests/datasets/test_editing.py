"""Editing loses nothing of what stays, leaves nothing of what goes, and happens as a whole or not at all."""

import json
import os
import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest

from taketwo.datasets.editing import delete_episodes, merge, rename
from taketwo.datasets.layout import INFO, WORK, FilePlace, data_path, session_path, trace_path, video_path
from taketwo.datasets.lock import DatasetLock
from taketwo.datasets.reader import Dataset
from taketwo.datasets.repair import repair
from taketwo.datasets.sink import DatasetConfig
from taketwo.datasets.video_cuts import Cut, cut_video
from taketwo.datasets.video_files import packets
from taketwo.errors import ConfigError, DatasetError, RecordingError
from taketwo.testing import PointEnvironment
from tests.datasets.recording import record_point
from tests.peers import run_in_peer

TOP = "observation.images.top"
NEW_NUMBERS = ("episode_index", "index", "task_index")
PROBES = Path(__file__).parent / "probes"


def record(root, *, episodes=4, video=True, task="Move the point onto the target", seed=0, resume=False):
    environment = PointEnvironment()
    environment.spec = replace(environment.spec, prompt=task)
    config = DatasetConfig(root=root, video=video, new_task=resume)
    record_point(root, episodes=episodes, environment=environment, config=config, resume=resume, seed=seed)
    return root


def record_in_files_of_one(root, episodes=4):
    """Each episode in files of its own, as in a dataset whose files are full."""
    record(root, episodes=1)
    path = root / INFO
    info = json.loads(path.read_text())
    path.write_text(json.dumps(info | {"data_files_size_in_mb": 1e-6, "video_files_size_in_mb": 1e-6}))
    return record(root, episodes=episodes - 1, resume=True, seed=7)


def files(root):
    """Everything in a folder, but for the empty places of locks."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes() if path.is_file() else None
        for path in root.rglob("*")
        if path.name != WORK
    }


def contents(root):
    """By episode all that editing must not change."""
    with Dataset.open(root) as dataset:
        return [episode_contents(dataset, episode) for episode in dataset.episodes]


def episode_contents(dataset, episode):
    rows = {key: values for key, values in dataset.rows(episode.index).items() if key not in NEW_NUMBERS}
    return {
        "rows": {key: values.tobytes() for key, values in rows.items()},
        "tasks": dataset.row_tasks(episode.index),
        "pictures": {
            camera: [frame.tobytes() for frame in dataset.frames(episode.index, camera)] for camera in dataset.cameras
        },
        "note": episode.note and replace(episode.note, index=0, session=0),
        "session": dataset.session_config(episode.index),
        "trace": (dataset.root / trace_path(episode.index)).read_bytes() if traced(dataset, episode) else None,
    }


def traced(dataset, episode):
    return (dataset.root / trace_path(episode.index)).exists()


def assert_numbered(root):
    """Episodes and rows count on without a gap, in rows, entries and totals."""
    with Dataset.open(root) as dataset:
        columns = [dataset.rows(episode.index, ["episode_index", "index"]) for episode in dataset.episodes]
        lengths = [episode.length for episode in dataset.episodes]
        assert np.concatenate([each["index"] for each in columns]).tolist() == list(range(sum(lengths)))
        for episode, each in zip(dataset.episodes, columns, strict=True):
            assert set(each["episode_index"]) == {episode.index}
            assert episode.entry.first_row == each["index"][0]
        assert dataset.info.total_frames == sum(lengths)
        assert dataset.info.total_tasks == len(dataset.tasks)


@pytest.mark.parametrize("video", [True, False], ids=["video", "images"])
@pytest.mark.parametrize("gone", [[0], [1, 2], [3]], ids=str)
def test_the_episodes_that_stay_are_as_they_were_recorded(tmp_path, video, gone):
    root = record(tmp_path / "point", video=video)
    before = contents(root)
    delete_episodes(root, gone)
    assert contents(root) == [episode for index, episode in enumerate(before) if index not in gone]
    assert_numbered(root)
    assert not (root / WORK).exists()


@pytest.mark.parametrize("gone", [[0], [1], [0, 2], [3]], ids=str)
def test_files_of_which_all_episodes_stay_are_taken_whole(tmp_path, gone):
    root = record_in_files_of_one(tmp_path / "point")
    before = contents(root)
    videos = [(root / video_path(TOP, FilePlace(0, number))).stat().st_ino for number in range(4)]
    delete_episodes(root, gone)
    left = [number for number in range(4) if number not in gone]
    assert contents(root) == [before[number] for number in left]
    now = sorted((root / "videos").rglob("*.mp4"))
    assert [path.stat().st_ino for path in now] == [videos[number] for number in left]
    assert len(sorted((root / "data").rglob("*.parquet"))) == len(left)
    assert_numbered(root)


def test_nothing_of_a_deleted_video_is_left(tmp_path):
    root = record(tmp_path / "point")
    with Dataset.open(root) as dataset:
        span = dataset.episode(1).entry.videos[TOP]
    path = root / video_path(TOP, span.place)
    inside = [p for p in packets(path) if span.start_s <= float(p.pts * p.time_base) + 1e-6 < span.end_s]
    gone = [bytes(packet)[8:] for packet in inside if packet.size > 24]
    assert gone
    assert all(piece in path.read_bytes() for piece in gone)
    delete_episodes(root, [1])
    left = b"".join(content for content in files(root).values() if content)
    assert not [piece for piece in gone if piece in left]


def test_nothing_of_a_deleted_picture_is_left(tmp_path):
    root = record(tmp_path / "point", video=False)
    before = pictures_in(root)
    with Dataset.open(root) as dataset:
        gone = dataset.episode(2).entry
    delete_episodes(root, [2])
    assert pictures_in(root) == before[: gone.first_row] + before[gone.end_row :]


def pictures_in(root):
    """Every picture that is in a file of rows, of whatever episode."""
    tables = [pq.read_table(path, columns=[TOP], partitioning=None) for path in sorted((root / "data").rglob("*.*"))]
    return [picture["bytes"] for table in tables for picture in table[TOP].to_pylist()]


def test_traces_and_both_cameras_move_along(recorded, tmp_path):
    root = Path(shutil.copytree(recorded.root, tmp_path / "cube"))
    before = contents(root)
    delete_episodes(root, [0, 3])
    after = contents(root)
    assert after == [before[1], before[2], before[4]]
    assert all(episode["trace"] for episode in after)
    assert len(list((root / "traces").rglob("*.parquet"))) == 3


def test_statistics_are_those_of_the_rows_that_are_left(tmp_path):
    root = record(tmp_path / "point")
    delete_episodes(root, [0, 2])
    stats = json.loads((root / "meta/stats.json").read_text())
    with Dataset.open(root) as dataset:
        for key in ("action", "index", "episode_index", "next.reward"):
            rows = np.concatenate([dataset.rows(index, [key])[key] for index in range(2)]).astype(np.float64)
            rows = rows.reshape(len(rows), -1)
            assert stats[key]["count"] == [len(rows)]
            np.testing.assert_allclose(stats[key]["min"], rows.min(0), rtol=1e-6)
            np.testing.assert_allclose(stats[key]["max"], rows.max(0), rtol=1e-6)
            np.testing.assert_allclose(stats[key]["mean"], rows.mean(0), rtol=1e-6)
            np.testing.assert_allclose(stats[key]["std"], rows.std(0), rtol=1e-6, atol=1e-9)


def test_a_task_and_a_session_that_nobody_needs_any_more_go_too(tmp_path):
    root = record(tmp_path / "point", episodes=2, task="first")
    record(root, episodes=2, task="second", resume=True, seed=9)
    delete_episodes(root, [0, 1])
    with Dataset.open(root) as dataset:
        assert dataset.tasks == ["second"]
        assert [episode.note.session for episode in dataset.episodes] == [0, 0]
    assert not (root / session_path(1)).exists()
    record(root, episodes=1, task="third", resume=True, seed=11)
    with Dataset.open(root) as dataset:
        assert [episode.note.session for episode in dataset.episodes] == [0, 0, 1]
        assert dataset.tasks == ["second", "third"]


@pytest.mark.parametrize(
    ("indices", "said"),
    [([0, 1, 2, 3], "remove the folder"), ([4], "no episode 4"), ([-1], "no episode -1"), ([], "None is named")],
)
def test_wrong_episodes_change_nothing(tmp_path, indices, said):
    root = record(tmp_path / "point")
    before = files(root)
    with pytest.raises(ConfigError, match=said):
        delete_episodes(root, indices)
    assert files(root) == before


def test_a_dataset_that_is_being_written_is_not_edited(tmp_path):
    root = record(tmp_path / "point")
    lock = DatasetLock(root)
    try:
        with pytest.raises(DatasetError, match="being written"):
            delete_episodes(root, [0])
        with pytest.raises(DatasetError, match="being written"):
            rename(root, tmp_path / "other")
    finally:
        lock.release()
    assert len(contents(root)) == 4


def test_an_unfinished_take_has_to_be_dealt_with_first(tmp_path):
    root = record(tmp_path / "point")
    (root / WORK / "takes" / "000000").mkdir(parents=True)
    before = files(root)
    with pytest.raises(DatasetError, match=r"unfinished take.*repair"):
        delete_episodes(root, [0])
    assert {name: content for name, content in files(root).items() if name != f"{WORK}/lock"} == before


@pytest.mark.parametrize("damaged", ["videos", "data"])
def test_a_damaged_file_fails_the_edit_and_nothing_changes(tmp_path, damaged):
    root = record(tmp_path / "point")
    path = next((root / damaged).rglob("file-000.*"))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    before = files(root)
    with pytest.raises(DatasetError, match=r"cannot be read|damaged"):
        delete_episodes(root, [1])
    assert files(root) == before


def test_rows_that_do_not_fit_their_episodes_are_refused(tmp_path):
    root = record(tmp_path / "point")
    other = record(tmp_path / "other", seed=77)
    shutil.copy(other / data_path(FilePlace()), root / data_path(FilePlace()))
    before = files(root)
    with pytest.raises(DatasetError, match="not the rows"):
        delete_episodes(root, [1])
    assert files(root) == before


def test_an_edit_that_broke_off_is_done_anew(tmp_path):
    root = record(tmp_path / "point")
    before = contents(root)
    staged = root / WORK / "commit" / data_path(FilePlace())
    staged.parent.mkdir(parents=True)
    staged.write_bytes(b"half a file")
    delete_episodes(root, [0])
    assert contents(root) == before[1:]
    assert not (root / WORK).exists()


def test_an_edit_that_died_half_way_is_finished_by_repair(tmp_path, monkeypatch):
    root = record(tmp_path / "point")
    before = contents(root)

    def die(path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("taketwo.datasets.transaction.finish_commit", die)
        delete_episodes(root, [1])
    for edit in (lambda: delete_episodes(root, [0]), lambda: rename(root, tmp_path / "other")):
        with pytest.raises(DatasetError, match="taketwo dataset repair"):
            edit()
    repair(root)
    assert contents(root) == [before[0], *before[2:]]
    assert_numbered(root)
    assert not (root / WORK).exists()


@pytest.mark.parametrize("video", [True, False], ids=["video", "images"])
def test_merged_datasets_have_all_episodes_in_order(tmp_path, video):
    sources = [
        record(tmp_path / "a", episodes=2, video=video, task="one"),
        record(tmp_path / "b", episodes=3, video=video, task="two", seed=5),
        record(tmp_path / "c", episodes=1, video=video, task="one", seed=6),
    ]
    before = [files(source) for source in sources]
    merge(sources, tmp_path / "all")
    assert [files(source) for source in sources] == before
    assert contents(tmp_path / "all") == [episode for source in sources for episode in contents(source)]
    assert_numbered(tmp_path / "all")
    with Dataset.open(tmp_path / "all") as dataset:
        assert dataset.tasks == ["one", "two"]
        assert [episode.note.session for episode in dataset.episodes] == [0, 0, 1, 1, 1, 2]
    assert len(list((tmp_path / "all/data").rglob("*.parquet"))) == 1, "packed"
    assert not (tmp_path / "all" / WORK).exists()


def test_a_merged_dataset_shares_no_file_with_its_sources(tmp_path):
    """Who writes into a file of one must not change the other."""
    sources = [record_in_files_of_one(tmp_path / "a"), record_in_files_of_one(tmp_path / "b")]
    merge(sources, tmp_path / "all")
    theirs = {path.stat().st_ino for source in sources for path in source.rglob("*") if path.is_file()}
    assert not [path for path in (tmp_path / "all").rglob("*") if path.is_file() and path.stat().st_ino in theirs]


def test_a_merged_dataset_can_be_resumed(tmp_path):
    merge([record(tmp_path / "a"), record(tmp_path / "b", seed=5)], tmp_path / "all")
    record(tmp_path / "all", episodes=1, resume=True, seed=9)
    with Dataset.open(tmp_path / "all") as dataset:
        assert [episode.note.session for episode in dataset.episodes] == [0] * 4 + [1] * 4 + [2]


def test_datasets_that_differ_are_not_merged(tmp_path):
    video, images = record(tmp_path / "video"), record(tmp_path / "images", video=False)
    with pytest.raises(ConfigError, match=f"{images}.*observation.images.top is image there and video here"):
        merge([video, images], tmp_path / "all")
    assert not (tmp_path / "all").exists()


def test_columns_that_only_one_has_are_named_with_their_dataset(tmp_path):
    a, b = record(tmp_path / "a"), record(tmp_path / "b")
    info = json.loads((b / INFO).read_text())
    del info["features"]["capture_time"]
    (b / INFO).write_text(json.dumps(info | {"robot_type": "other"}))
    with pytest.raises(ConfigError, match=f"only {a} has 'capture_time'; robot is other there and point here"):
        merge([a, b], tmp_path / "all")


@pytest.mark.parametrize("sources", [["a"], ["a", "a"]])
def test_merge_needs_two_different_datasets(tmp_path, sources):
    record(tmp_path / "a", episodes=1)
    with pytest.raises(ConfigError, match=r"two datasets|twice"):
        merge([tmp_path / name for name in sources], tmp_path / "all")
    assert not (tmp_path / "all").exists()


def test_merge_replaces_nothing(tmp_path):
    a, b = record(tmp_path / "a", episodes=1), record(tmp_path / "b", episodes=1)
    before = files(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("text")
    for target in (a, tmp_path / "full"):
        with pytest.raises(ConfigError, match="there already"):
            merge([a, b], target)
    with pytest.raises(ConfigError, match="inside of"):
        merge([a, b], a / "data" / "new")
    assert {name: content for name, content in files(tmp_path).items() if not name.startswith("full")} == before


def test_a_merge_that_fails_leaves_nothing(tmp_path):
    a, b = record(tmp_path / "a", episodes=1), record(tmp_path / "b", episodes=2)
    (b / video_path(TOP, FilePlace())).unlink()
    with pytest.raises(DatasetError, match=r"missing|cannot be read"):
        merge([a, b], tmp_path / "all")
    assert not (tmp_path / "all").exists()


def test_rename_moves_the_folder(tmp_path):
    root = record(tmp_path / "me" / "a", episodes=1)
    before = files(root)
    rename(root, tmp_path / "you" / "b")
    assert not root.exists()
    assert files(tmp_path / "you" / "b") == before
    assert not (tmp_path / "you" / "b" / WORK).exists()


def test_rename_replaces_nothing(tmp_path):
    a, b = record(tmp_path / "a", episodes=1), record(tmp_path / "b", episodes=1)
    before = files(tmp_path)
    with pytest.raises(ConfigError, match="there already"):
        rename(a, b)
    with pytest.raises(ConfigError, match="inside of"):
        rename(a, a / "inner")
    with pytest.raises(ConfigError, match="there already"):
        rename(a, tmp_path / "new" / "..")
    assert files(tmp_path) == before


def another_file_system(tmp_path):
    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == tmp_path.stat().st_dev or not os.access(shared, os.W_OK):
        pytest.skip("there is no other file system")
    return shared / f"taketwo-{os.getpid()}"


def test_rename_to_another_file_system_copies_and_then_removes(tmp_path):
    elsewhere = another_file_system(tmp_path)
    root = record(tmp_path / "a", episodes=1)
    before = files(root)
    try:
        rename(root, elsewhere / "b")
        assert files(elsewhere) == before | {"b": None} or files(elsewhere / "b") == before
        assert [path.name for path in elsewhere.iterdir()] == ["b"]
        assert not root.exists()
    finally:
        shutil.rmtree(elsewhere, ignore_errors=True)


def test_rename_says_where_it_cannot_write(tmp_path):
    root = record(tmp_path / "a", episodes=1)
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordingError, match="file"):
        rename(root, tmp_path / "file" / "b")
    assert len(contents(root)) == 1


def b_frame_video(path, lengths, fps, gop=1000):
    """Stretches of noise, each encoded on its own with B-frames, one after the other as LeRobot joins them."""
    rng = np.random.default_rng(0)
    pictures = [[rng.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(length)] for length in lengths]
    parts = []
    for number, frames in enumerate(pictures):
        parts.append(path.with_name(f"part-{number}.mp4"))
        with av.open(str(parts[-1]), "w") as out:
            stream = out.add_stream("libx264", rate=fps, options={"bf": "2", "b-adapt": "0", "g": str(gop)})
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for pixels in frames:
                out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            out.mux(stream.encode())
    from taketwo.datasets.video_files import join_videos

    return [float(start) for start in join_videos(parts, path)]


def decoded(path):
    with av.open(str(path)) as container:
        return [(round(frame.time, 4), frame.to_ndarray(format="yuv420p")) for frame in container.decode(video=0)]


def test_cuts_of_a_video_with_b_frames_are_exact(tmp_path):
    lengths, fps = [13, 9, 17, 5], Fraction(30)
    starts = b_frame_video(tmp_path / "all.mp4", lengths, fps)
    assert any(packet.pts != packet.dts for packet in packets(tmp_path / "all.mp4"))
    whole = [pixels for _, pixels in decoded(tmp_path / "all.mp4")]
    begins = np.cumsum([0, *lengths])
    chosen = [1, 3]
    cuts = [Cut(starts[number], lengths[number]) for number in chosen]
    found = cut_video(tmp_path / "all.mp4", tmp_path / "cut.mp4", cuts, fps)
    wanted = [whole[row] for number in chosen for row in range(begins[number], begins[number + 1])]
    result = decoded(tmp_path / "cut.mp4")
    assert all(np.array_equal(a, b) for a, (_, b) in zip(wanted, result, strict=True))
    assert [time for time, _ in result] == pytest.approx([row / 30 for row in range(len(result))], abs=1e-3)
    assert found == pytest.approx([0, lengths[1] / 30], abs=1e-4)


def test_a_cut_that_begins_with_no_key_frame_is_refused(tmp_path):
    b_frame_video(tmp_path / "all.mp4", [20], Fraction(30))
    with pytest.raises(DatasetError, match="no key frame"):
        cut_video(tmp_path / "all.mp4", tmp_path / "cut.mp4", [Cut(5 / 30, 10)], Fraction(30))


def test_a_video_with_too_few_frames_is_refused(tmp_path):
    starts = b_frame_video(tmp_path / "all.mp4", [20, 10], Fraction(30))
    with pytest.raises(DatasetError, match=r"has 10 frames from .* where an episode has 12 rows"):
        cut_video(tmp_path / "all.mp4", tmp_path / "cut.mp4", [Cut(starts[1], 12)], Fraction(30))


@pytest.mark.parametrize("video", [True, False], ids=["video", "images"])
def test_lerobot_loads_what_was_edited(tmp_path, video):
    a = record(tmp_path / "a", video=video, task="one")
    b = record(tmp_path / "b", video=video, task="two", seed=5)
    delete_episodes(a, [0, 2])
    delete_episodes(b, [1])
    merge([a, b], tmp_path / "all")
    found = run_in_peer("0.6.1", PROBES / "editing_load.py", tmp_path / "all")
    with Dataset.open(tmp_path / "all") as dataset:
        assert found["episodes"] == 5
        assert found["rows"] == found["stats_count"] == dataset.info.total_frames
        assert found["index"] == list(range(found["rows"]))
        assert found["episode_index"] == sorted(found["episode_index"])
        assert found["tasks"] == ["one", "one", "two", "two", "two"]
        for index in range(5):
            state = dataset.rows(index, ["observation.state"])["observation.state"][0]
            np.testing.assert_allclose(found["states"][index], state)
            brightness = dataset.frame(index, "top", 0).mean() / 255
            assert found["brightness"][TOP][index] == pytest.approx(brightness, abs=0.01)
