"""Whole runs of the console script."""

import json
import os
import pty
import re
import signal
import subprocess
import time

import pytest
import yaml

from tests.cli.support import QUICK, SCRIPT, error_of, install_plugin, taketwo
from tests.support_server import Hang, serving

pytest.importorskip("gym_aloha")
av = pytest.importorskip("av")


NOISE = ["--env.type=gym", "--env.id=still_plugin:Noise-v0", "--env.render=false", "--policy.type=noop"]


def session_of(folder):
    return json.loads((folder / "session.json").read_text())


def frames_of(path):
    with av.open(str(path)) as video:
        return sum(1 for _ in video.decode(video=0))


def test_a_run_records_a_video_and_a_session_and_says_where(tmp_path):
    done = taketwo("run", *QUICK, "--session.num_episodes=2", "--session.seed=5", "--output_dir=out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    session = session_of(tmp_path / "out")
    assert session["complete"]
    assert [episode["outcome"] for episode in session["episodes"]] == ["timeout", "timeout"]
    video = session["video"]["path"]
    assert f"\nvideo    {video}\n" in done.stdout
    assert "\nsession  out/session.json\n" in done.stdout
    assert "success  0/2 (0 %)" in done.stdout
    assert frames_of(tmp_path / video) == 26
    assert f"Episode 2/2: timeout in 12 steps (seed {session['episodes'][1]['seed']})" in done.stderr
    assert "Stored episode 2/2 (13 frames)" in done.stderr


def test_a_run_says_what_the_dataset_has_got(tmp_path):
    words = ["run", *NOISE, "--session.num_episodes=1", "--session.max_episode_steps=3", "--dataset.root=data"]
    plugins = install_plugin(tmp_path)
    done = taketwo(*words, "--output_dir=out", cwd=tmp_path, PYTHONPATH=plugins)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^dataset  .*/data\n +1 episode, 3 rows$", done.stdout, re.MULTILINE)
    done = taketwo(*words, "--output_dir=again", "--resume=true", cwd=tmp_path, PYTHONPATH=plugins)
    assert re.search(r"^ +1 episode, 3 rows; 2 in all$", done.stdout, re.MULTILINE)


def test_a_run_can_be_repeated_from_its_recording(tmp_path):
    first = taketwo("run", *QUICK, "--session.num_episodes=1", "--session.seed=7", "--output_dir=out", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    before = session_of(tmp_path / "out")
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(before["config"]))
    again = taketwo("run", "--config_path=again.yaml", "--output_dir=again", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    after = session_of(tmp_path / "again")
    assert after["episodes"] == before["episodes"]
    assert after["config"] == before["config"] | {"output_dir": "again"}


def test_print_config_prints_yaml_and_runs_nothing(tmp_path):
    done = taketwo("run", "--print_config", "--session.seed=4", "--policy.tremor=0.01", cwd=tmp_path)
    content = yaml.safe_load(done.stdout)
    assert content["session"]["seed"] == 4
    assert content["policy"] == content["policy"] | {"type": "scripted", "tremor": 0.01}
    assert not list(tmp_path.iterdir())


def test_quiet_says_nothing(tmp_path):
    done = taketwo("run", *QUICK, "--session.num_episodes=1", "--quiet", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert session_of(tmp_path / "outputs")["complete"]


def test_the_prompt_is_put_into_observations_and_shown(tmp_path):
    done = taketwo(
        "run", *QUICK, "--session.num_episodes=1", "--prompt=hand it over", "--prompt_echo_every=6", "--video.mode=off",
        cwd=tmp_path,
    )  # fmt: skip
    assert "prompt [client, step 6]: hand it over" in done.stderr
    assert "prompt [runtime, step 0]: hand it over" in done.stderr
    assert "video" not in done.stdout


def test_a_prompt_file_changes_the_prompt_of_a_running_session(tmp_path):
    (tmp_path / "prompt.txt").write_text("pick up the cube\n")
    words = ["run", *NOISE, "--video.mode=off", "--session.total_seconds=600", "--session.max_hz=50"]
    process = subprocess.Popen(
        [SCRIPT, *words, "--session.max_episode_steps=30000", "--prompt_file=prompt.txt", "--prompt_echo_every=5"],
        cwd=tmp_path, stdout=-1, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": install_plugin(tmp_path)},
    )  # fmt: skip
    seen = []
    for line in process.stderr:
        seen.append(line.rstrip())
        if line.startswith("prompt [runtime, step 0]"):
            (tmp_path / "prompt.txt").write_text("pick up the peg\n")
        if line.startswith("prompt [runtime") and "peg" in line:
            break
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130, seen
    assert "prompt [runtime, step 0]: pick up the cube" in seen
    assert "the prompt is now: pick up the peg" in seen
    assert seen[-1].endswith("]: pick up the peg")
    assert session_of(tmp_path / "outputs")["config"]["prompt_file"] == "prompt.txt"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_session_and_everything_is_saved(tmp_path, number, status):
    words = ["run", *QUICK, "--session.total_seconds=600", "--session.max_hz=50", "--output_dir=out"]
    process = subprocess.Popen([SCRIPT, *words], cwd=tmp_path, stdout=-1, stderr=subprocess.PIPE, text=True)
    seen = []
    for line in process.stderr:
        seen.append(line)
        if line.startswith("Stored episode 2"):
            break
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == status, "".join(seen) + err
    session = session_of(tmp_path / "out")
    assert session["complete"]
    assert session["reason"].startswith("stopped by")
    assert session["episodes"][-1]["outcome"] == "stopped" or len(session["episodes"]) >= 2
    assert frames_of(tmp_path / session["video"]["path"]) == session["video"]["frames"] > 26
    assert "Traceback" not in err
    assert session["video"]["path"] in out
    assert not list((tmp_path / "out").glob("*.partial.mp4"))


@pytest.mark.parametrize("executor", ["open_loop", "asynchronous"])
def test_a_signal_ends_the_wait_for_a_silent_server(tmp_path, executor):
    with serving(lambda request: Hang()) as server:
        words = [*QUICK, "--policy.type=remote", f"--policy.port={server.port}", f"--control.executor={executor}"]
        command = [SCRIPT, "run", *words]
        process = subprocess.Popen(command, cwd=tmp_path, stdout=-1, stderr=subprocess.PIPE, text=True)
        while not server.requests:
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    session = session_of(tmp_path / "outputs")
    assert session["counts"] == {"stopped": 1}
    assert session["complete"]


def test_a_recordings_session_file_runs_the_session_again(tmp_path):
    assert taketwo("run", *QUICK, "--session.num_episodes=1", "--session.seed=9", cwd=tmp_path).returncode == 0
    again = taketwo("run", "--config_path=outputs/session.json", "--output_dir=again", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert session_of(tmp_path / "again")["episodes"] == session_of(tmp_path / "outputs")["episodes"]


def test_an_environment_without_cameras_is_run_and_nothing_filmed(tmp_path):
    words = ["--env.type=gym", "--env.render=false", "--policy.type=random", "--session.num_episodes=1"]
    done = taketwo("run", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "CartPole-v1 has no camera: nothing is filmed" in done.stderr
    assert taketwo("run", *words, "--video.mode=session", cwd=tmp_path).returncode == 2


def run_fragile(folder, breaks, *words):
    return taketwo(
        "run", "--env.type=fragile", f"--env.breaks={breaks}", "--policy.type=still", "--video.mode=off",
        "--output_dir=out", *words, cwd=folder, PYTHONPATH=install_plugin(folder),
    )  # fmt: skip


def test_a_fault_in_the_run_is_told_after_what_was_saved(tmp_path):
    done = run_fragile(tmp_path, "step")
    assert done.returncode == 1
    assert error_of(done) == "the environment failed: RuntimeError: a cable came loose"
    assert "not counted: 1 fault" in done.stdout
    session = session_of(tmp_path / "out")
    assert session["complete"]
    assert session["counts"] == {"fault": 1}


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 400 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(disk)], check=False)
    if mount.returncode != 0:
        pytest.skip("a small file system can be mounted by root only")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_told_after_the_summary_and_so_is_the_session_file_that_found_no_room(small_disk, tmp_path):
    # The prompt is in session.json: as long as this, its next version never fits into what a cut-off frame leaves.
    done = taketwo(
        "run", *NOISE, "--session.max_episode_steps=300", "--prompt=" + 80_000 * "x", f"--output_dir={small_disk}",
        PYTHONPATH=install_plugin(tmp_path),
    )  # fmt: skip
    assert done.returncode == 1
    first, second = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    (partial,) = small_disk.glob("*.partial.mp4")
    assert first.startswith(f"error: cannot write {partial}: No space left on device")
    assert second.startswith(f"error: cannot write {small_disk / 'session.json'}: No space left on device")
    assert "not counted: 1 fault" in done.stdout
    assert re.search(rf"^video +{re.escape(str(partial))}$", done.stdout, re.MULTILINE)
    assert frames_of(partial) > 1
    assert not session_of(small_disk)["complete"]


def test_faults_that_are_put_up_with_still_show_in_the_status(tmp_path):
    done = run_fragile(tmp_path, "step", "--session.max_faults=3", "--session.num_episodes=2")
    assert done.returncode == 1
    assert "not counted: 2 fault" in done.stdout
    assert "error: " not in done.stderr


def test_a_simulator_that_crashes_on_exit_harms_nothing(tmp_path):
    done = run_fragile(tmp_path, "segfault")
    assert done.returncode == 0
    assert "warning: the environment crashed while being closed, by SIGSEGV" in done.stderr
    assert "success  3/3 (100 %)" in done.stdout
    session = session_of(tmp_path / "out")
    assert session["complete"]
    assert session["success_rate"] == 1.0


def test_a_simulator_that_fails_to_close_does_not_turn_success_into_a_fault(tmp_path):
    done = run_fragile(tmp_path, "close")
    assert done.returncode == 0
    assert "warning: the environment failed to close: RuntimeError: stuck" in done.stderr


def test_a_terminal_gets_a_live_line_and_finished_episodes_above_it(tmp_path):
    leader, follower = pty.openpty()
    words = ["run", *QUICK, "--session.num_episodes=2", "--session.max_hz=10", "--output_dir=out"]
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "100"}
    process = subprocess.Popen([SCRIPT, *words], cwd=tmp_path, stdout=-1, stderr=follower, env=environment)
    os.close(follower)
    drawn = b""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            piece = os.read(leader, 65536)
        except OSError:  # Linux's way to say that the other end was closed
            break
        if not piece:
            break
        drawn += piece
    os.close(leader)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    text = drawn.decode()
    assert text.count("Episode 1/2") > 2
    assert "steps/s" in text
    assert "+ Episode" not in text
    assert "- Episode 2/2: timeout in 12 steps" in text
    assert b"success  0/2" in out
