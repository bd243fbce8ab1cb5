"""The whole way, as a user goes it: the console script, the real simulator, the real encoder."""

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import av
import numpy as np
import pytest

from taketwo.control.config import ControlConfig
from taketwo.envs.aloha import AlohaConfig
from taketwo.policies.scripted import ScriptedConfig
from taketwo.types import Outcome
from tests.support import Keep, run_session
from tests.support_server import Die, LoopbackServer

TAKETWO = str(Path(sys.executable).with_name("taketwo"))
SMALL = ["--env.quality=preview", "--env.width=96", "--env.height=72"]
"""Small pictures without shadows: the way is the same, and software rendering is most of the time."""


def taketwo_run(folder, *flags):
    return subprocess.run(
        [TAKETWO, "run", *SMALL, f"--output_dir={folder}", *flags], capture_output=True, text=True, timeout=300
    )


def frames_of(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.fixture(scope="module")
def three_episodes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("three") / "out"
    done = taketwo_run(
        folder,
        "--env.type=aloha",
        "--env.task=transfer_cube",
        "--policy.type=scripted",
        "--session.num_episodes=3",
        "--session.seed=5",
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_three_episodes_are_one_video_with_three_chapters_and_a_session_file(three_episodes):
    session = json.loads((three_episodes / "session.json").read_text())
    episodes = session["episodes"]
    told = "index seed steps outcome reason terminated truncated reward_sum reward_max first_frame"
    assert all(set(told.split()) <= set(episode) for episode in episodes)
    assert [episode["prompts"] for episode in episodes] == [["Transfer cube"]] * 3
    assert [episode["outcome"] for episode in episodes] == ["success"] * 3
    assert session["success_rate"] == 1.0
    assert session["complete"] is True
    assert {"overruns", "jitter_ms_p50", "jitter_ms_p99", "stalls"} <= set(session["loop"])
    assert session["steps_per_second"] > 0
    assert session["config"]["session"]["seed"] == 5

    path = three_episodes / "transfer_cube_seed5_3eps.mp4"
    frames = frames_of(path)
    video = session["video"]
    assert Path(video["path"]) == path
    assert len(frames) == video["frames"] == sum(episode["steps"] for episode in episodes) + 3
    assert (video["fps"], video["dropped"], video["duration_s"]) == (50.0, 0, len(frames) / 50)
    with av.open(str(path)) as container:
        chapters = container.chapters()
    assert [round(chapter["start"] * float(chapter["time_base"]) * 50) for chapter in chapters] == [
        episode["first_frame"] for episode in episodes
    ]
    assert all("success" in chapter["metadata"]["title"] for chapter in chapters)


def test_the_pictures_in_the_video_are_those_of_the_episodes(three_episodes):
    session = json.loads((three_episodes / "session.json").read_text())
    frames = frames_of(three_episodes / "transfer_cube_seed5_3eps.mp4")
    environment = AlohaConfig(quality="preview", width=96, height=72).make()
    for episode in session["episodes"]:
        first = environment.reset(episode["seed"]).images["top"].pixels.astype(float)
        index = episode["first_frame"]
        assert np.abs(frames[index] - first).mean() < 1.5  # what the encoder loses
        if index:
            terminal = frames[index - 1]
            assert np.abs(terminal - first).mean() > 4
    environment.close()


def test_the_same_seed_gives_the_same_episodes_and_overwrites_nothing(three_episodes):
    first = (three_episodes / "session.json").read_bytes()
    done = taketwo_run(three_episodes, "--session.num_episodes=3", "--session.seed=5")
    assert done.returncode == 0, done.stderr
    assert (three_episodes / "session.json").read_bytes() == first
    again = json.loads((three_episodes / "session_2.json").read_text())
    assert again["episodes"] == json.loads(first)["episodes"]
    videos = [frames_of(three_episodes / f"transfer_cube_seed5_3eps{suffix}.mp4") for suffix in ("", "_2")]
    assert np.array_equal(videos[0], videos[1])


@pytest.mark.parametrize("pace", [[], ["--session.max_hz=50"]], ids=["as fast as it goes", "real time"])
@pytest.mark.parametrize("subsample", [1, 2])
def test_total_seconds_is_the_length_of_the_video(tmp_path, pace, subsample):
    done = taketwo_run(tmp_path, "--session.total_seconds=5", f"--video.subsample={subsample}", *pace)
    assert done.returncode == 0, done.stderr
    video = json.loads((tmp_path / "session.json").read_text())["video"]
    assert video["fps"] == 50 / subsample
    assert abs(video["duration_s"] - 5) <= 1 / 50 + 1e-9
    assert len(frames_of(video["path"])) == video["frames"]


def noisy_session(guard):
    """Ten episodes of a policy that misses the cube and goes on all the same."""
    environment = AlohaConfig().make()
    policy = ScriptedConfig(grasp_noise=0.03, skip_grasp_check=True).make(environment.spec)
    keep = Keep()
    result = run_session(
        environment, ControlConfig(guard=guard).make(policy, environment.spec), [keep], num_episodes=10, seed=1
    )
    environment.close()
    return result, keep


def left_arm_travel(steps, seed_episode):
    """How far the receiving arm's joints go in an episode whose cube was never lifted; radians."""
    states = np.array([step.observation.state[:6] for step in steps if step.frame in seed_episode])
    return float(np.abs(states - states[0]).max())


def test_a_policy_that_misses_hands_over_nothing_and_the_guard_keeps_the_receiving_arm_still():
    moved = {}
    for guard in (False, True):
        result, keep = noisy_session(guard)
        lost = [episode for episode in result.episodes if episode.outcome is not Outcome.SUCCESS]
        never_lifted = [episode for episode in lost if episode.reward_max < 2]
        assert never_lifted, "with 3 cm of noise some grasps miss"
        moved[guard] = [
            left_arm_travel(keep.steps, range(episode.first_frame, episode.first_frame + episode.frames))
            for episode in never_lifted
        ]
    assert max(moved[False]) > 0.3
    assert max(moved[True]) < 0.05


@pytest.mark.parametrize("task", ["transfer_cube", "insertion"])
def test_the_preset_for_aloha_lets_the_scripted_policy_succeed(task):
    environment = AlohaConfig(task=task).make()
    policy = ScriptedConfig().make(environment.spec)
    controller = ControlConfig(preset="aloha").make(policy, environment.spec)
    result = run_session(environment, controller, num_episodes=5, seed=3)
    environment.close()
    assert sum(episode.outcome is Outcome.SUCCESS for episode in result.episodes) >= 4


def test_a_killed_session_leaves_a_video_that_plays_and_the_episodes_so_far(tmp_path):
    command = [TAKETWO, "run", *SMALL, f"--output_dir={tmp_path}", "--session.num_episodes=500"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if line.startswith("Stored episode 2/"):
            break
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    session = json.loads((tmp_path / "session.json").read_text())
    assert session["complete"] is False
    assert len(session["episodes"]) >= 2
    (partial,) = tmp_path.glob("*.partial.mp4")
    done = session["episodes"][1]
    assert len(frames_of(partial)) >= done["first_frame"] + done["steps"]


def test_a_policy_server_that_dies_in_mid_episode_is_a_fault_and_what_was_recorded_is_whole(tmp_path):
    def infer(request):
        if len(server.requests) <= 40:
            return {"actions": request["state"][None]}
        threading.Thread(target=server.stop).start()
        return Die()

    server = LoopbackServer(infer)
    server.start()
    done = taketwo_run(
        tmp_path,
        "--session.num_episodes=2",
        "--policy.type=remote",
        f"--policy.port={server.port}",
        "--policy.reconnect_timeout_s=0.5",
    )
    server.stop()
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ") and str(server.port) in last
    assert "Traceback" not in done.stderr
    session = json.loads((tmp_path / "session.json").read_text())
    assert [episode["outcome"] for episode in session["episodes"]] == ["fault"]
    assert session["success_rate"] is None
    steps = session["episodes"][0]["steps"]
    assert steps == 40
    assert len(frames_of(session["video"]["path"])) == session["video"]["frames"] == steps + 1
