"""`taketwo replay`, by the real console script."""

import json
import os
import shutil
import signal
import subprocess
import time
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from taketwo.datasets.layout import trace_path
from tests.cli.support import SCRIPT, error_of, install_plugin, taketwo
from tests.replay.recording import copied, edit_notes, edit_session, record_aloha, without_notes

STEPS = 30


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """LeRobot's home with `me/cube`, three short episodes of ALOHA that end by timeout; not to be changed."""
    home = tmp_path_factory.mktemp("lerobot")
    record_aloha(home / "me" / "cube", seed=7, num_episodes=3, max_episode_steps=STEPS)
    return SimpleNamespace(path=home, cube=home / "me" / "cube")


def everything_in(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_episode_by_its_repo_id(home):
    before = everything_in(home.path)
    done = taketwo("replay", "--dataset.repo_id=me/cube", "--dataset.episode", 1, HF_LEROBOT_HOME=str(home.path))
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"episode 1: {STEPS} steps, timeout as recorded; states identical, bit for bit\n"
    assert everything_in(home.path) == before


def test_the_root_may_also_hold_the_dataset_by_its_repo_id(home):
    done = taketwo("replay", f"--dataset.root={home.path}", "--dataset.repo_id=me/cube", "--dataset.episode=0")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("episode 0: ")


def test_all_episodes_with_a_table_at_the_end(home):
    done = taketwo("replay", f"--dataset.root={home.cube}", "--dataset.episode=all")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    same = "states identical, bit for bit"
    assert lines[:3] == [f"episode {k}: {STEPS} steps, timeout as recorded; {same}" for k in range(3)]
    assert lines[4].split() == ["episode", "steps", "outcome", "recorded", "comparison"]
    assert lines[6] == f"      1     {STEPS}  timeout  timeout   {same}"
    assert lines[-1] == "3 of 3 episodes came out as recorded"


def test_a_tampered_trace_is_told_and_the_status_is_1(home, tmp_path):
    root = copied(home.cube, tmp_path)
    path = root / trace_path(1)
    table = pq.read_table(path)
    states = table.column("state.state").to_pylist()
    states[20][5] = np.nextafter(states[20][5], 9)
    field = table.schema.field("state.state")
    place = table.schema.get_field_index("state.state")
    pq.write_table(table.set_column(place, field, pa.array(states, field.type)), path)
    done = taketwo("replay", f"--dataset.root={root}", "--dataset.episode=all")
    assert done.returncode == 1
    assert "episode 1: 30 steps, timeout as recorded; states diverge at step 20: state differs by up to" in done.stdout
    assert done.stdout.splitlines()[-1] == "2 of 3 episodes came out as recorded"


def test_a_damaged_trace_is_told_and_the_others_are_replayed(home, tmp_path):
    root = copied(home.cube, tmp_path)
    (root / trace_path(0)).write_bytes(b"")
    done = taketwo("replay", f"--dataset.root={root}", "--dataset.episode=all")
    assert done.returncode == 1
    assert "episode 0: not replayed; trace" in done.stdout
    assert done.stdout.splitlines()[-1] == "2 of 3 episodes came out as recorded"
    done = taketwo("replay", f"--dataset.root={root}", "--dataset.episode=0")
    assert done.returncode == 1
    assert "is damaged" in error_of(done)


def test_a_replay_in_real_time(home):
    began = time.monotonic()
    done = taketwo("replay", f"--dataset.root={home.cube}", "--dataset.episode=0", "--dataset.fps=8")
    assert done.returncode == 0
    assert time.monotonic() - began > STEPS / 8


def test_a_replay_is_filmed_if_asked(home, tmp_path):
    done = taketwo(
        *("replay", f"--dataset.root={home.cube}", "--dataset.episode=2"),
        *("--video.mode=session", f"--output_dir={tmp_path / 'out'}"),
    )
    assert done.returncode == 0, done.stderr
    (video,) = (tmp_path / "out").iterdir()
    assert video.name.startswith("transfer_cube_replay_ep002_seed")
    assert f"video {video}" in done.stderr


def test_nothing_is_written_otherwise(home, tmp_path):
    taketwo("replay", f"--dataset.root={home.cube}", "--dataset.episode=2", cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_it_at_once(home, tmp_path, number, status):
    """At one action in two hundred seconds, so that it is certainly waiting."""
    words = [SCRIPT, "replay", f"--dataset.root={home.cube}", "--dataset.episode=all", "--dataset.fps=0.005"]
    process = subprocess.Popen(
        [*words, "--video.mode=session", f"--output_dir={tmp_path}", "--log_level=debug"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
    )
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size for path in tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.1)  # until the first step is filmed
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == status, err
    assert "Traceback" not in err
    assert "no further action is sent" in err
    assert out.splitlines()[0] == "episode 0: 1 of 30 steps, stopped; states identical so far, bit for bit"
    assert "episode 1" not in out
    assert len(list(tmp_path.iterdir())) == 1  # the video, finished


def test_the_stored_environment_is_the_default_and_flags_win(home, tmp_path):
    root = copied(home.cube, tmp_path)
    edit_session(root, lambda config: config["env"].update(task="insertion"))
    done = taketwo("replay", f"--dataset.root={root}", "--dataset.episode=0")
    assert done.returncode == 1
    assert "cannot be restored in insertion" in done.stdout
    done = taketwo("replay", f"--dataset.root={root}", "--dataset.episode=0", "--env.task=transfer_cube")
    assert done.returncode == 0


def test_an_unknown_start_is_told(home, tmp_path):
    """As in a dataset that LeRobot recorded."""
    root = copied(home.cube, tmp_path)
    without_notes(root)
    done = taketwo("replay", f"--dataset.root={root}", "--dataset.episode=0")
    assert done.returncode == 2
    assert "does not tell which environment it was recorded in: give it, such as --env.type=aloha" in error_of(done)
    done = taketwo("replay", f"--dataset.root={root}", "--dataset.episode=0", "--env.type=aloha")
    assert done.returncode == 0, done.stderr
    assert "it is not known where episode 0 began" in done.stderr
    assert "state differs by at most" in done.stdout


def test_a_foreign_environment_gets_the_actions_alone(home, tmp_path):
    """Neither the trace nor the seed mean anything in another environment."""
    plugins = install_plugin(tmp_path)
    root = copied(home.cube, tmp_path)
    done = taketwo("replay", f"--dataset.root={root}", "--dataset.episode=0", "--env.type=fragile", PYTHONPATH=plugins)
    assert done.returncode == 2
    assert error_of(done).startswith("episode 0 has actions of 14 numbers, and fragile takes 1")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--dataset.episode=9"], "there is no episode 9: {root} has episodes 0 to 2"),
        (["--dataset.episode=-1"], "there is no episode -1"),
        ([], "--dataset.episode is needed"),
        (["--dataset.episode=first"], "--dataset.episode: expected int or all, got 'first'"),
        (["--dataset.episode=0", "--dataset.fps=0"], "--dataset.fps must be a finite number above 0"),
        (["--dataset.episode=0", "--dataset.epsiode=1"], "unknown flag --dataset.epsiode. Did you mean"),
        (["--dataset.episode=0", "--ramp_speed=0"], "--ramp_speed must be a finite number above 0"),
        (["--dataset.episode=0", "--video.mode=film"], "--video.mode: expected session or episode"),
        (["--dataset.episode=0", "--video.mode=session", "--video.cameras=angel"], "--video.cameras: unknown camera"),
        (["--dataset.episode=0", "--video.mode=session", "--video.cameras=angle"], "give --env.cameras=top,angle"),
        (["--dataset.episode=0", "--env.cameras=tip"], "env: unknown camera 'tip'. Did you mean 'top'?"),
        (["--dataset.episode=0", "--env.type=mars"], "unknown environment 'mars'"),
        (["--dataset.episode=0", "fast"], "unexpected word 'fast'"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(home, tmp_path, flags, message):
    before = everything_in(home.path)
    done = taketwo("replay", f"--dataset.root={home.cube}", *flags, cwd=tmp_path)
    assert done.returncode == 2
    assert message.format(root=home.cube) in error_of(done)
    assert list(tmp_path.iterdir()) == []
    assert everything_in(home.path) == before


@pytest.mark.parametrize(
    ("flags", "status", "message"),
    [
        ([], 2, "which dataset?"),
        (["--dataset.repo_id=../cube"], 2, "is not a dataset's name"),
        (["--dataset.repo_id=me/none"], 1, "give its folder by --dataset.root, or download it: hf download me/none "),
        (["--dataset.root=."], 1, "is no LeRobot dataset"),
    ],
)
def test_a_wrong_place_is_told_in_a_line(tmp_path, flags, status, message):
    done = taketwo("replay", "--dataset.episode=0", *flags, cwd=tmp_path, HF_LEROBOT_HOME=str(tmp_path))
    assert done.returncode == status
    assert message in error_of(done)


def test_a_session_file_that_is_damaged_is_told(home, tmp_path):
    root = copied(home.cube, tmp_path)
    (path,) = (root / "meta/taketwo/sessions").iterdir()
    path.write_text("{")
    done = taketwo("replay", f"--dataset.root={root}", "--dataset.episode=0")
    assert done.returncode == 1
    assert f"{path} is damaged" in error_of(done)
    path.write_text(json.dumps({"config": {"env": {"type": "aloha", "task": "juggle"}}}))
    done = taketwo("replay", f"--dataset.root={root}", "--dataset.episode=0")
    assert done.returncode == 2
    assert f"env.task in {path}: expected transfer_cube or insertion" in error_of(done)


def test_an_episode_without_a_trace_is_replayed_by_its_seed(home, tmp_path):
    root = copied(home.cube, tmp_path)
    edit_notes(root, traced=False)
    shutil.rmtree(root / "traces")
    done = taketwo("replay", f"--dataset.root={root}", "--dataset.episode=2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"episode 2: {STEPS} steps, timeout as recorded; state differs by at most ")
    assert done.stdout.endswith("within the tolerance of 0.001\n")


def test_help_tells_the_flags():
    done = taketwo("replay", "--help")
    assert done.returncode == 0
    for flag in ("--dataset.repo_id", "--dataset.episode", "--dataset.fps", "--dataset.root", "--env.type"):
        assert f"  {flag} " in done.stdout
    assert "the values in brackets hold only where another --env.type is given" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
