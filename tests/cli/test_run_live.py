"""`taketwo run` with a page, a window, and Rerun."""

import json
import os
import re
import socket
import subprocess
import urllib.error
import urllib.request
from contextlib import contextmanager

from tests.cli.support import SCRIPT, error_of, install_plugin, taketwo

NOISE = ["run", "--env.type=gym", "--env.id=still_plugin:Noise-v0", "--env.render=false", "--policy.type=noop"]
PACED = ["--video.mode=off", "--session.max_hz=50", "--session.max_episode_steps=30000"]


@contextmanager
def running(folder, *words):
    """A session with a page, once the page is there: its process and address."""
    process = subprocess.Popen(
        [SCRIPT, *NOISE, *PACED, "--session.num_episodes=2", "--output_dir=out", *words],
        cwd=folder, stdout=-1, stderr=-1, text=True, env=os.environ | {"PYTHONPATH": install_plugin(folder)},
    )  # fmt: skip
    try:
        seen = []
        for line in process.stderr:
            seen.append(line)
            if told := re.match(r"live: (\S+)$", line):
                break
        else:
            raise AssertionError(f"no address in {seen}")
        yield process, told[1]
    finally:
        process.kill()
        process.communicate(timeout=30)


def get(url, path):
    address, _, token = url.partition("?token=")
    request = urllib.request.Request(address + path, headers={"Authorization": f"Bearer {token}"} if token else {})
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)


def command(url, **content):
    request = urllib.request.Request(
        f"{url}api/command", json.dumps(content).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)


def state_when(url, holds):
    """The state, as soon as something holds of it."""
    for _ in range(2000):
        state = get(url, "api/state")
        if holds(state):
            return state
    raise AssertionError(f"it never came to that: {state}")


def test_the_page_ends_the_session_and_everything_is_saved(tmp_path):
    with running(tmp_path, "--live", "--live.port=0", "--prompt=go") as (process, url):
        state = state_when(url, lambda state: state["episode"] and state["episode"]["step"] > 3)
        assert state["session"]["policy"] == "noop"
        assert state["prompt"] | {"text": "go", "editable": True, "read": False} == state["prompt"]
        command(url, command="set_prompt", prompt="stay")
        state_when(url, lambda state: state["prompt"]["text"] == "stay")
        command(url, command="mark_success", episode=0)
        command(url, command="end_episode", episode=0)
        state_when(url, lambda state: state["episode"] and state["episode"]["index"] == 1)
        command(url, command="stop")
        said, told = process.communicate(timeout=60)
        assert process.returncode == 0, told
    session = json.loads((tmp_path / "out" / "session.json").read_text())
    assert session["complete"]
    first, second = session["episodes"]
    assert (first["outcome"], first["prompts"]) == ("success", ["go", "stay"])
    assert first["reason"] == "marked a success by the operator; ended by the operator"
    assert (second["outcome"], second["reason"]) == ("stopped", "stopped by the operator")
    assert "stopped by the operator" in said
    assert "Traceback" not in told


def test_an_option_of_the_page_asks_for_it_and_a_public_one_wants_the_token_that_is_printed(tmp_path):
    with running(tmp_path, "--live.port=0", "--live.host=0.0.0.0") as (_, url):
        address, _, token = url.partition("?token=")
        assert len(token) >= 20
        port = address.rsplit(":", 1)[1].rstrip("/")
        here = f"http://127.0.0.1:{port}/"
        try:
            get(here, "api/state")
        except urllib.error.HTTPError as refused:
            assert refused.code == 401
        else:
            raise AssertionError("the state is told without a token")
        assert get(f"{here}?token={token}", "api/state")["mode"] == "live"


def test_a_token_is_not_recorded(tmp_path):
    with running(tmp_path, "--live.port=0", "--live.token=a-secret-for-this-page") as (process, url):
        state_when(url, lambda state: state["episode"])
        process.terminate()
        said, told = process.communicate(timeout=60)
    written = (tmp_path / "out" / "session.json").read_text()
    assert "a-secret" not in written + said + told


def test_a_prompt_from_a_file_is_edited_there(tmp_path):
    (tmp_path / "prompt.txt").write_text("go")
    with running(tmp_path, "--live.port=0", "--prompt_file=prompt.txt") as (_, url):
        prompt = get(url, "api/state")["prompt"]
        assert not prompt["editable"]
        assert "prompt.txt" in prompt["note"]


def test_an_occupied_port_is_told_before_anything_is_made(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = taketwo("run", "--live", f"--live.port={port}", cwd=tmp_path)
    assert done.returncode == 2
    assert error_of(done).startswith(f"--live.port {port} on 127.0.0.1 cannot be used: ")
    assert not (tmp_path / "outputs" / "session.json").exists()


def test_wrong_options_of_the_page_are_told_by_their_flag(tmp_path):
    for flag, said in {
        "--live.port=90000": "--live.port must be from 0 to 65535",
        "--live.fps=0": "--live.fps must be above 0",
        "--live=8091": "--live.page",
        "--display.port=0": "--display.port must be from 1 to 65535",
    }.items():
        done = taketwo("run", flag, cwd=tmp_path)
        assert done.returncode == 2
        assert error_of(done).startswith(said)


def test_without_a_display_the_session_goes_on_without_its_window(tmp_path):
    plugins = install_plugin(tmp_path)
    words = [*NOISE, "--live.window", "--session.num_episodes=1", "--session.max_episode_steps=3"]
    done = taketwo(*words, cwd=tmp_path, PYTHONPATH=plugins, DISPLAY="", WAYLAND_DISPLAY="")
    assert done.returncode == 0, done.stderr
    assert "this machine has no display" in done.stderr


def test_without_a_display_rerun_is_told_how_to_go_elsewhere(tmp_path):
    plugins = install_plugin(tmp_path)
    words = [*NOISE, "--display_data", "--display.port=1", "--session.num_episodes=1", "--session.max_episode_steps=3"]
    done = taketwo(*words, cwd=tmp_path, PYTHONPATH=plugins, DISPLAY="", WAYLAND_DISPLAY="")
    assert done.returncode == 2
    assert "display" in error_of(done)
