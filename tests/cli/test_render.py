"""`taketwo render`, by the real console script."""

import os
import signal
import subprocess
import time
from types import SimpleNamespace

import av
import pytest

from taketwo.cli.render import parsed_size
from taketwo.errors import ConfigError
from taketwo.types import CameraSpec
from tests.cli.support import SCRIPT, error_of, taketwo
from tests.replay.recording import copied, edit_session, record_aloha, without_notes, without_trace

STEPS = 30


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """LeRobot's home with `me/cube`, two short episodes of ALOHA; not to be changed."""
    home = tmp_path_factory.mktemp("lerobot")
    record_aloha(home / "me" / "cube", seed=7, num_episodes=2, max_episode_steps=STEPS)
    return SimpleNamespace(path=home, cube=home / "me" / "cube")


def shape_of(path):
    """Frames, width, height, frames a second."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return sum(1 for _ in container.decode(video=0)), stream.width, stream.height, float(stream.average_rate)


def test_another_camera_at_another_size(home, tmp_path):
    done = taketwo(
        *("render", "--dataset.repo_id=me/cube", "--episode=1", "--camera=angle", "--size=320x180"),
        *(f"--output_dir={tmp_path / 'new' / 'out'}",),
        HF_LEROBOT_HOME=str(home.path),
    )
    assert done.returncode == 0, done.stderr
    (video,) = (tmp_path / "new" / "out").iterdir()
    assert video.name == "cube_ep001_angle_320x180.mp4"
    assert shape_of(video) == (STEPS + 1, 320, 180, 50.0)
    assert done.stdout.splitlines()[0] == f"episode 1: {STEPS + 1} frames of angle at 320x180: {video}"


def test_all_episodes_from_several_cameras_by_several_processes(home, tmp_path):
    words = ["render", f"--dataset.root={home.cube}", "--episode=all", "--camera=top,left_wrist", "--workers=2"]
    for _ in range(2):
        done = taketwo(*words, f"--output_dir={tmp_path}")
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        f"cube_ep00{index}_{camera}_64x48{again}.mp4"
        for index in range(2)
        for camera in ("top", "left_wrist")
        for again in ("", "_2")
    )
    assert {shape_of(path) for path in tmp_path.iterdir()} == {(STEPS + 1, 64, 48, 50.0)}


def test_the_default_is_the_first_camera_as_it_was_recorded(home, tmp_path):
    done = taketwo("render", f"--dataset.root={home.cube}", "--episode=0", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "outputs").iterdir()] == ["cube_ep000_top_64x48.mp4"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--episode=7"], "there is no episode 7"),
        ([], "--episode is needed"),
        (["--episode=0", "--camera=angel"], "--camera: unknown camera 'angel'. Did you mean 'angle'? Known: angle"),
        (["--episode=0", "--camera=top,top"], "--camera names one twice"),
        (["--episode=0", "--size=1281x720"], "--size must be of even numbers from 16 to 8192"),
        (["--episode=0", "--size=0x720"], "--size must be of even numbers"),
        (["--episode=0", "--size=1280"], "--size must be width x height in pixels, such as 1280x720, not '1280'"),
        (["--episode=0", "--size=1280x"], "--size must be width x height"),
        (["--episode=0", "--size=99999x720"], "--size must be of even numbers"),
        (["--episode=0", "--workers=0"], "--workers must be 1 or more, or auto"),
        (["--episode=0", "--workers=many"], "--workers: expected int or auto, got 'many'"),
        (["--episode=0", "--crf=0"], "--crf must be 1 (best) to 51"),
        (["--episode=0", "--preset=swift"], "unknown preset 'swift'"),
        (["--episode=0", "--cameras=top"], "unknown flag --cameras. Did you mean"),
        (["--episode=0", "--env.type=gym"], "CartPole-v1 cannot be drawn from a trace"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(home, tmp_path, flags, message):
    done = taketwo("render", f"--dataset.root={home.cube}", *flags, cwd=tmp_path)
    assert done.returncode == 2
    assert message in error_of(done)
    assert list(tmp_path.iterdir()) == []


def test_an_episode_without_a_trace_is_told(home, tmp_path):
    root = copied(home.cube, tmp_path)
    without_trace(root)
    done = taketwo("render", f"--dataset.root={root}", "--episode=0", cwd=tmp_path)
    assert done.returncode == 1
    assert f"episode 0 of {root} has no simulator trace" in error_of(done)
    assert not (tmp_path / "outputs").exists()


def test_an_environment_that_is_not_known_is_told(home, tmp_path):
    root = copied(home.cube, tmp_path)
    edit_session(root, lambda config: config["env"].update(type="lost"))
    done = taketwo("render", f"--dataset.root={root}", "--episode=0", cwd=tmp_path)
    assert done.returncode == 2
    assert "unknown environment 'lost'" in error_of(done)
    without_notes(root)
    done = taketwo("render", f"--dataset.root={root}", "--episode=0", cwd=tmp_path)
    assert done.returncode == 2
    assert "does not tell which environment" in error_of(done)


def test_states_of_another_task_are_told_before_anything_is_drawn(home, tmp_path):
    done = taketwo("render", f"--dataset.root={home.cube}", "--episode=0", "--env.task=insertion", cwd=tmp_path)
    assert done.returncode == 1
    assert "a snapshot of transfer_cube cannot be restored in insertion" in error_of(done)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_told(home, tmp_path):
    (tmp_path / "outputs").write_text("a file")
    done = taketwo("render", f"--dataset.root={home.cube}", "--episode=0", cwd=tmp_path)
    assert done.returncode == 1
    assert "choose a folder, not a file" in error_of(done)


@pytest.mark.parametrize(
    ("number", "status", "workers"), [(signal.SIGINT, 130, 1), (signal.SIGINT, 130, 2), (signal.SIGTERM, 143, 2)]
)
def test_a_signal_ends_it_and_leaves_nothing_half_done(home, tmp_path, number, status, workers):
    """Pictures of this size take a minute, and the whole process group gets the signal, as from a terminal."""
    words = [SCRIPT, "render", f"--dataset.root={home.cube}", "--episode=all", "--size=4096x4096"]
    process = subprocess.Popen(
        [*words, "--env.quality=exact", f"--workers={workers}"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not list((tmp_path / "outputs").glob(".render-*/*")) and time.monotonic() < deadline:
        time.sleep(0.1)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == status, err
    assert "Traceback" not in err
    assert list((tmp_path / "outputs").iterdir()) == []


def test_sizes():
    assert parsed_size("1280x720") == CameraSpec(height=720, width=1280)
    for text in ("1280x720p", "axb", "-2x4", " 64x48", "64X48", "64x48\n", "15x16", "16x17"):
        with pytest.raises(ConfigError, match="size must be"):
            parsed_size(text)


def test_help_tells_the_flags():
    done = taketwo("render", "--help")
    assert done.returncode == 0
    for flag in ("--dataset.repo_id", "--dataset.root", "--episode", "--camera", "--size", "--workers", "--env.type"):
        assert f"  {flag} " in done.stdout
    assert "the values in brackets hold only where another --env.type is given" in done.stdout
    assert "\nExit status: 0 when all videos are made; " in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
