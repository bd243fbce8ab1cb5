"""What is left of a video when the process dies or the disk does not take it."""

import os
import resource
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from taketwo.errors import RecordingError
from taketwo.recording.remux import salvage
from taketwo.recording.video import VideoConfig
from taketwo.session.events import EpisodeEnd, SessionEnd
from taketwo.session.sinks import QUEUE_FRAMES
from taketwo.types import CameraSpec, Outcome
from tests.recording.filming import numbered, numbers_in, play, session_of, spec_of

CONTROL_HZ = 50

CHILD = """
import sys, time
from pathlib import Path
from taketwo.recording.video import VideoConfig
from taketwo.session.sinks import SinkThread
from taketwo.types import CameraSpec, Outcome
from tests.recording.filming import numbered, session_of, spec_of

folder, size, paced, subsample = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "paced", int(sys.argv[4])
spec = spec_of(cameras={"top": CameraSpec(size, 192)})
thread = SinkThread(VideoConfig(subsample=subsample).make(spec, folder))
picture = lambda number: numbered(number, size, 192)
began = time.monotonic()
for event in session_of([(40, Outcome.SUCCESS)] * 90, spec, picture=picture):
    thread.put(event)
    if hasattr(event, "frame"):
        print(event.frame, time.monotonic(), flush=True)
        if paced:
            time.sleep(max(0, began + event.frame / 50 - time.monotonic()))
"""


@pytest.mark.parametrize(
    ("pace", "subsample", "kill_at"), [("paced", 1, 90), ("paced", 3, 90), ("as fast as it goes", 1, 900)]
)
def test_a_killed_session_plays_to_within_a_second_of_the_kill(tmp_path, pace, subsample, kill_at):
    command = [sys.executable, "-c", CHILD, str(tmp_path), "480", pace, str(subsample)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as child:
        handed_over = []
        for line in child.stdout:
            handed_over.append(float(line.split()[1]))
            if len(handed_over) == kill_at:
                child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    (partial,) = tmp_path.iterdir()
    assert partial.name == "film_seed5.partial.mp4"
    numbers = numbers_in(partial)
    assert numbers == [subsample * index for index in range(len(numbers))]
    lost = handed_over[numbers[-1] + subsample :]
    assert not lost or handed_over[-1] - lost[0] < 1.0
    assert len(lost) <= (CONTROL_HZ if pace == "paced" else QUEUE_FRAMES + 4)


def test_a_file_plays_to_its_last_but_one_frame_while_it_is_written(tmp_path):
    seen = []
    spec = spec_of()
    sink = VideoConfig().make(spec, tmp_path)
    for event in session_of([(30, Outcome.SUCCESS)], spec):
        sink.on(event)
        if getattr(event, "frame", 0) in (10, 25):
            seen.append(numbers_in(tmp_path / "film_seed5.partial.mp4"))
    assert seen == [list(range(10)), list(range(25))]


def test_a_partial_file_of_a_dead_session_is_left_alone(tmp_path):
    dead = tmp_path / "film_seed5.partial.mp4"
    dead.write_bytes(b"what a killed session left")
    assert play(VideoConfig().make(spec_of(), tmp_path), session_of([(3, Outcome.SUCCESS)])) is None
    assert dead.read_bytes() == b"what a killed session left"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film_seed5.partial.mp4", "film_seed5_1eps.mp4"]


def test_a_folder_that_is_a_file_is_one_clear_line(tmp_path):
    (tmp_path / "out").write_text("")
    error = play(VideoConfig().make(spec_of(), tmp_path / "out"), session_of([(3, Outcome.SUCCESS)]))
    assert isinstance(error, RecordingError)
    assert str(error) == f"cannot write {tmp_path / 'out'}: File exists; choose a folder, not a file"


@contextmanager
def as_somebody_else():
    """Without root's right to write anywhere."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_an_unwritable_folder_is_one_clear_line(tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o500)
    with as_somebody_else():
        error = play(VideoConfig().make(spec_of(), folder), session_of([(3, Outcome.SUCCESS)]))
    assert isinstance(error, RecordingError)
    assert "Permission denied; choose a folder that you may write to" in str(error)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 300 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(disk)], check=False)
    if mount.returncode != 0:
        pytest.skip("a small file system can be mounted by root only")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def noise(number):
    picture = np.random.default_rng(number).integers(0, 255, (48, 192, 3), dtype=np.uint8)
    picture[8:16] = numbered(number)[8:16]
    return picture


@pytest.mark.parametrize("mode", ["session", "episode"])
def test_a_disk_that_fills_up_ends_it_with_a_clear_line_and_what_was_filmed_plays(small_disk, mode):
    spec = spec_of()
    sink = VideoConfig(mode=mode).make(spec, small_disk)
    error = play(sink, session_of([(300, Outcome.SUCCESS)], spec, picture=noise))
    assert isinstance(error, RecordingError)
    report = sink.report(301)
    (path,) = report["files"]
    assert str(error) == (
        f"cannot write {path}: No space left on device; free some space or choose another folder. "
        "The frames up to here are safe in it and play"
    )
    assert path.endswith(".partial.mp4")
    numbers = numbers_in(path)
    assert len(numbers) > 10
    assert numbers == list(range(len(numbers)))
    assert report["frames"] == len(numbers)
    assert report["dropped"] == 301 - len(numbers)


def test_when_the_final_file_finds_no_room_the_recording_is_kept_and_the_error_says_where(small_disk):
    spec = spec_of()
    sink = VideoConfig().make(spec, small_disk)
    error = play(sink, session_of([(70, Outcome.SUCCESS)], spec, picture=noise))
    assert isinstance(error, RecordingError)
    (partial,) = small_disk.iterdir()
    assert "No space left on device" in str(error)
    assert f"The whole recording is safe in {partial} and plays" in str(error)
    assert "\n" not in str(error)
    assert numbers_in(partial) == list(range(71))
    assert sink.path == partial
    assert sink.report(71)["dropped"] == 0


def test_a_fragment_that_was_cut_off_is_removed(tmp_path):
    spec = spec_of()
    sink = VideoConfig().make(spec, tmp_path)
    for event in session_of([(30, Outcome.SUCCESS)], spec):
        if not isinstance(event, EpisodeEnd | SessionEnd):
            sink.on(event)
    partial = tmp_path / "film_seed5.partial.mp4"
    whole = salvage(partial)
    os.truncate(partial, partial.stat().st_size - 7)
    assert salvage(partial) == whole - 1 == 29
    assert numbers_in(partial) == list(range(29))


def test_a_thousand_frames_of_full_size_do_not_stay_in_memory(tmp_path):
    spec = spec_of(cameras={"top": CameraSpec(480, 640)})
    sink = VideoConfig(preset="ultrafast").make(spec, tmp_path)
    background = np.random.default_rng(0).integers(0, 80, (480, 640, 3), dtype=np.uint8)

    def picture(number):
        pixels = background.copy()
        pixels[100:200, number % 500 : number % 500 + 100] = 200
        return pixels

    held = []
    for event in session_of([(1050, Outcome.SUCCESS)], spec, picture=picture):
        sink.on(event)
        if getattr(event, "frame", 0) in (50, 1050):
            held.append(resident_bytes())
    assert sink.report(1051)["dropped"] == 0
    assert held[1] - held[0] < 20e6  # a thousand such pictures are 920 MB


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
