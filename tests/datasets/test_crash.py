"""Killed at any moment, on a full disk, half written: no finished episode is lost, and the rest can be saved."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from taketwo.datasets.catalog import load_stats
from taketwo.datasets.layout import INFO, WORK
from taketwo.datasets.reader import Dataset, locate
from taketwo.datasets.repair import inspect, repair
from taketwo.datasets.sink import DatasetConfig
from taketwo.datasets.transaction import commit_pending
from taketwo.datasets.writer import DatasetWriter
from taketwo.errors import DatasetError, RecordingError
from taketwo.session.sinks import QUEUE_FRAMES
from taketwo.testing import PointEnvironment, SteeringController
from tests.datasets.recording import NumberedPoint, record_point
from tests.recording.filming import number_of
from tests.support import run_session

KILLS = 20

RECORD = """
import sys
from pathlib import Path
from taketwo.datasets.sink import DatasetConfig
from taketwo.testing import SteeringController
from tests.datasets.recording import NumberedPoint, telling
from tests.support import run_session

environment = NumberedPoint()
root, resume, speed = Path(sys.argv[1]), sys.argv[2] == "resume", float(sys.argv[3])
config = DatasetConfig(root=root, video=sys.argv[4] == "video")
sink = config.make(environment.spec, 50.0, resume=resume)
telling(sink, lambda index, rows: print(rows, flush=True))
print("begun", flush=True)
run_session(environment, SteeringController(speed), [sink], num_episodes=10_000, max_hz=float(sys.argv[5]))
"""


def recording(root, *, resume=False, speed=0.05, video=True, hz=0.0):
    """A process that records until it is killed, and tells the rows of each episode that it has kept."""
    words = [root, "resume" if resume else "new", speed, "video" if video else "images", hz]
    return subprocess.Popen(
        [sys.executable, "-c", RECORD, *map(str, words)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )


def kill_after(process, seconds):
    """Kill it; returns the rows of the episodes that it said it had kept."""
    assert process.stdout.readline() == "begun\n"
    time.sleep(seconds)
    os.kill(process.pid, signal.SIGKILL)
    told = [int(line) for line in process.stdout.read().splitlines()]
    process.wait()
    return told


def lengths(root):
    """Rows of each episode, after looking at every row and picture of the last ones."""
    with Dataset.open(root) as dataset:
        found = [episode.length for episode in dataset.episodes]
        for episode in dataset.episodes[-5:]:
            assert len(dataset.rows(episode.index)["action"]) == episode.length
            numbers = [number_of(frame) for frame in dataset.frames(episode.index, "top")]
            assert numbers == list(range(numbers[0], numbers[0] + episode.length))
    return found


def test_killed_at_twenty_moments_it_keeps_every_finished_episode_and_goes_on(tmp_path):
    root = tmp_path / "point"
    random = np.random.default_rng(0)
    kept = []
    for number in range(KILLS):
        told = kill_after(recording(root, resume=bool(kept)), random.uniform(0.02, 0.8))
        if (root / INFO).exists():
            if commit_pending(root):
                repair(root)
            found = lengths(root)
            assert found[: len(kept) + len(told)] == kept + told, number
            assert len(found) <= len(kept) + len(told) + 3  # kept before that could be told, or mended just now
        else:  # killed in its first episode
            found = []
        repair(root, discard=number % 2 == 0)
        kept = lengths(root) if (root / INFO).exists() else []
        assert kept[: len(found)] == found
        assert len(kept) <= len(found) + 2  # finished, one being put in its place and one waiting for that
    assert len(kept) > KILLS
    repair(root, discard=True)
    assert lengths(root) == kept
    assert not (root / WORK).exists()


@pytest.mark.parametrize("video", [True, False])
def test_the_episode_under_way_is_saved_up_to_its_last_whole_second(tmp_path, video):
    root = tmp_path / "point"
    kill_after(recording(root, speed=0.0005, video=video, hz=50.0), 1.8)
    (take,) = inspect(root).takes
    assert take.seconds == 1
    assert take.rows == 50
    lines = repair(root, salvage=True)
    assert lines == ["saved 1 s of an unfinished take as episode 0 (50 rows)", f"1 whole episode in {root}"]
    with Dataset.open(root) as dataset:
        episode = dataset.episode(0)
        assert (episode.length, episode.outcome, episode.note.salvaged) == (50, "fault", True)
        assert [number_of(frame) for frame in dataset.frames(0, "top")] == list(range(50))
        assert dataset.session_config(0) is not None
    assert load_stats(root)["observation.images.top"]["count"] == [50]
    assert not (root / WORK).exists()
    record_point(
        root, environment=NumberedPoint(), episodes=1, resume=True, config=DatasetConfig(root=root, video=video)
    )
    assert len(lengths(root)) == 2


def test_repair_without_a_choice_changes_nothing_and_names_both(tmp_path):
    root = tmp_path / "point"
    kill_after(recording(root, speed=0.0005, hz=50.0), 1.5)
    first, second = repair(root)
    assert "--salvage=true makes an episode of it, --discard=true removes it" in first
    assert second == f"0 whole episodes in {root}"
    assert len(inspect(root).takes) == 1
    with pytest.raises(DatasetError, match="holds an episode that was cut off by a crash: taketwo dataset repair"):
        DatasetConfig(root=root).make(PointEnvironment().spec, 50.0)
    repair(root, discard=True)
    assert not root.exists()


def test_an_unfinished_take_stays_when_others_are_added(tmp_path):
    root = tmp_path / "point"
    record_point(root, environment=NumberedPoint())
    kill_after(recording(root, resume=True, speed=0.0005, hz=50.0), 1.5)
    record_point(root, environment=NumberedPoint(), resume=True, episodes=2)
    assert len(lengths(root)) == 5
    assert len(inspect(root).takes) == 1
    repair(root, salvage=True)
    assert lengths(root)[5:] == [50]


def record_and_fail_to_keep_the_second(root, monkeypatch):
    """As if the process had died after an episode's end, before the episode was in its place."""
    keep = DatasetWriter.keep

    def dies(writer, take, note, pictures):
        if writer.info.total_episodes == 1:
            raise RecordingError("killed")
        return keep(writer, take, note, pictures)

    environment = NumberedPoint()
    sink = DatasetConfig(root=root).make(environment.spec, 50.0)
    with monkeypatch.context() as patch:
        patch.setattr(DatasetWriter, "keep", dies)
        result = run_session(environment, SteeringController(0.02), [sink], num_episodes=2, seed=3)
    assert "what there is of the one under way: taketwo dataset repair" in str(result.fault)
    return result.episodes[1]


@pytest.mark.parametrize("resume", [True, False])
def test_a_finished_episode_that_was_not_in_its_place_is_put_there_whole(tmp_path, monkeypatch, resume):
    root = tmp_path / "point"
    episode = record_and_fail_to_keep_the_second(root, monkeypatch)
    assert len(lengths(root)) == 1
    if resume:
        record_point(root, environment=NumberedPoint(), episodes=1, resume=True)
    else:
        assert repair(root) == ["put 1 finished episode in place", f"2 whole episodes in {root}"]
    assert lengths(root)[1] == episode.steps
    with Dataset.open(root) as dataset:
        note = dataset.episode(1).note
        assert (note.outcome, note.seed, note.salvaged) == ("success", episode.seed, False)
    assert not (root / WORK).exists()


def test_an_episode_that_was_refused_for_being_late_can_be_taken_as_it_was(tmp_path, monkeypatch):
    class Slow(NumberedPoint):
        def step(self, action):
            time.sleep(0.02)
            return super().step(action)

    root = tmp_path / "point"
    environment = Slow()
    sink = DatasetConfig(root=root, late="refuse").make(environment.spec, 200.0, paced=True)
    result = run_session(environment, SteeringController(0.02), [sink], num_episodes=1, max_hz=200.0)
    with pytest.raises(DatasetError, match="has no episode yet, but one that is being recorded or was cut off"):
        Dataset.open(root)
    monkeypatch.chdir(tmp_path.parent)
    with pytest.raises(DatasetError, match=rf"repair {tmp_path.name}/point --salvage=true makes an episode of it"):
        locate(f"{tmp_path.name}/point")
    (line, _) = repair(root)
    assert "--salvage=true makes an episode of it" in line
    repair(root, salvage=True)
    with Dataset.open(root) as dataset:
        episode = dataset.episode(0)
        assert (episode.outcome, episode.length) == ("success", result.episodes[0].steps)
        assert episode.note.late
        assert not episode.note.salvaged


def test_repair_of_what_is_no_dataset(tmp_path):
    with pytest.raises(DatasetError, match="is no LeRobot dataset"):
        repair(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 5 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=5m", "tmpfs", str(disk)], check=False)
    if mount.returncode != 0:
        pytest.skip("a small file system can be mounted by root only")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


class Noisy(PointEnvironment):
    """Pictures that do not compress."""

    def __init__(self):
        super().__init__(96, 192)
        self._random = np.random.default_rng(0)

    def render(self, camera, height, width):
        return self._random.integers(0, 255, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("video", [True, False])
def test_a_disk_that_fills_up_is_told_and_whole_episodes_are_kept(small_disk, video):
    root = small_disk / "point"
    environment = Noisy()
    sink = DatasetConfig(root=root, video=video).make(environment.spec, 50.0)
    result = run_session(environment, SteeringController(0.02), [sink], num_episodes=200)
    assert isinstance(result.fault, RecordingError)
    message = str(result.fault)
    assert "No space left on device; free some space or choose another folder" in message
    whole = [episode for episode in result.episodes if episode.outcome == "success"]
    assert f"safe in {root}" in message
    with Dataset.open(root) as dataset:
        found = [episode.length for episode in dataset.episodes]
        for episode in dataset.episodes:
            assert len(list(dataset.frames(episode.index, "top"))) == episode.length
    assert len(found) >= 2
    assert found == [episode.steps for episode in whole][: len(found)]
    # One episode was being put in its place and one recorded; the loop is ahead of these by a queue, not more.
    queued = sum(episode.steps for episode in whole[len(found) + 2 :])
    assert queued <= QUEUE_FRAMES
