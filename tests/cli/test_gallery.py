"""`taketwo gallery`, as a user runs it, over what `taketwo run` recorded."""

import json
import os
import re
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from urllib.parse import unquote, urlsplit

import pytest

from tests.cli.support import QUICK, SCRIPT, error_of, taketwo
from tests.live.gallery_making import Asked
from tests.recording.filming import pictures_in

pytest.importorskip("starlette")

PATIENCE_S = 60.0


@contextmanager
def serving(*words, **environment):
    """Starts it, waits until it says where it is, and ends it; yields its process and address."""
    process = subprocess.Popen(
        [SCRIPT, "gallery", *map(str, words)],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        said = process.stdout.readline()
        found = re.fullmatch(r"\d+ recordings? in .+, until Ctrl-C: (http://\S+)\n", said)
        assert found, said + process.stderr.read()
        yield process, found[1]
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=20)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A session of aloha that was killed in its midst, and one that was gone on with in the same dataset."""
    pytest.importorskip("gym_aloha")
    folder = tmp_path_factory.mktemp("outputs")
    words = [*QUICK, f"--output_dir={folder}", f"--dataset.root={folder}/cube", "--env.cameras=top,angle"]
    words += ["--session.seed=3", "--quiet=true"]
    killed = subprocess.Popen([SCRIPT, "run", *words, "--session.num_episodes=1000"], stderr=subprocess.PIPE)
    try:
        until(lambda: len(told(folder / "session.json")) >= 2 and (folder / "cube/meta/info.json").exists())
    finally:
        killed.kill()
        _, errors = killed.communicate()
    assert killed.returncode == -signal.SIGKILL, errors
    repaired = taketwo("dataset", "repair", folder / "cube")
    assert repaired.returncode == 0, repaired.stderr
    done = taketwo("run", *words, "--session.num_episodes=2", "--resume=true", "--video.mode=episode")
    assert done.returncode == 0, done.stderr
    return folder


def told(path):
    """The episodes that a session's file tells."""
    try:
        return json.loads(path.read_text())["episodes"]
    except (FileNotFoundError, ValueError):
        return []


def until(holds):
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_session_that_was_killed_is_shown_up_to_its_last_episode_and_what_was_mended_too(recorded):
    with serving(recorded, "--port=0") as (_, url):
        gallery = Asked(url)
        lines = gallery.listing()
        assert set(lines) == {"session.json", "session_2.json"}
        session = gallery.session("session.json")
        episodes = told(recorded / "session.json")
        assert (session["complete"], session["reason"]) == (False, None)
        assert [entry["outcome"] for entry in session["list"][: len(episodes)]] == ["timeout"] * len(episodes)
        assert session["videos"][0]["url"] == "/media/transfer_cube_seed3.partial.mp4"
        assert session["control_hz"] == session["fps"] == 50
        shown = pictures_in(recorded / "transfer_cube_seed3.partial.mp4")
        told_end = session["list"][len(episodes) - 1]["spans"][0]["end_s"]
        assert round(told_end * 50) == 13 * len(episodes) <= len(shown) + 1
        # The repair puts what was recorded of the last one into the dataset.
        for entry in session["list"][2:]:
            if entry["has_signals"]:
                assert len(gallery.signals("session.json", entry["index"])["time"]) == entry["steps"]
        names = {video["name"] for video in session["videos"]}
        assert names == {"top", "angle"}


def test_a_session_that_went_on_has_its_own_rows_and_films(recorded):
    with serving(recorded, "--port=0") as (_, url):
        gallery = Asked(url)
        session = gallery.session("session_2.json")
        assert [entry["has_signals"] for entry in session["list"]] == [True, True]
        assert session["signals"]["action"]["units"].count("rad") == 12
        rows = [gallery.signals("session_2.json", number) for number in (0, 1)]
        assert [len(signals["action"][0]) for signals in rows] == [14, 14]
        assert rows[0]["state"] != rows[1]["state"]
        first = gallery.signals("session.json", 0)
        assert first["action"] not in (rows[0]["action"], rows[1]["action"])
        for entry in session["list"]:
            film = session["videos"][entry["spans"][0]["video"]]
            path = recorded / unquote(film["url"]).removeprefix("/media/")
            assert len(pictures_in(path)) == entry["frames"] == entry["steps"] + 1
            assert gallery.get(film["url"])[2] == path.read_bytes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_by_a_signal_and_leaves_nothing(number, tmp_path):
    (tmp_path / "temporary").mkdir()
    with serving(tmp_path, "--port=0", TMPDIR=str(tmp_path / "temporary")) as (process, url):
        assert Asked(url).listing() == {}
        process.send_signal(number)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "Traceback" not in errors
    assert not list((tmp_path / "temporary").iterdir())


def test_another_address_needs_a_token_that_is_printed(tmp_path):
    with serving(tmp_path, "--port=0", "--host=0.0.0.0") as (_, url):
        parts = urlsplit(url)
        gallery = Asked(f"http://127.0.0.1:{parts.port}")
        assert gallery.get("/api/gallery")[0] == gallery.get("/media/x.mp4")[0] == 401
        token = parts.query.removeprefix("token=")
        assert gallery.get("/api/gallery", Authorization=f"Bearer {token}")[0] == 200


def test_a_token_of_ones_own_is_wanted_here_too(tmp_path):
    with serving(tmp_path, "--port=0", "--token=open-sesame") as (_, url):
        assert url.endswith("?token=open-sesame")
        assert Asked(url).get("/api/gallery")[0] == 401


def test_without_a_display_it_goes_on_without_a_browser(tmp_path):
    with serving(tmp_path, "--port=0", "--open", DISPLAY="", WAYLAND_DISPLAY="") as (process, url):
        assert Asked(url).listing() == {}
        process.terminate()
        _, errors = process.communicate(timeout=20)
    assert "there is no display here for a browser" in errors


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "which folder? Give the one with the recordings, as in: taketwo gallery outputs"),
        (["a", "b"], "unexpected word 'b': a gallery has one folder, and all below it"),
        (["nowhere"], "nowhere cannot be looked into: No such file or directory; give a folder with recordings"),
        (["file"], "file cannot be looked into: Not a directory; give a folder with recordings"),
        ([".", "--port=99999"], "--port must be from 0 to 65535"),
        ([".", "--token=x"], "--token must be 8 or more letters"),
        ([".", "--host=no such"], "--host must be a name or an address"),
        ([".", "--host=192.0.2.1"], "192.0.2.1"),
        ([".", "--prot=1"], "unknown flag --prot. Did you mean --port?"),
    ],
)
def test_a_wrong_word_is_told_in_a_line(words, expected, tmp_path):
    (tmp_path / "file").write_text("")
    done = taketwo("gallery", *words, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert expected in error_of(done)


def test_a_port_in_use_is_told_with_its_flag(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = taketwo("gallery", tmp_path, f"--port={port}")
    assert done.returncode == 2
    assert error_of(done).startswith(f"--port {port} on 127.0.0.1 cannot be used: ")


def python_path(folder):
    return os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])


def test_without_the_web_server_the_extra_is_named(tmp_path):
    code = (
        "import importlib.util as util; find = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'uvicorn' else find(name, *rest)\n"
    )
    (tmp_path / "sitecustomize.py").write_text(code)
    done = taketwo("gallery", tmp_path, PYTHONPATH=python_path(tmp_path))
    assert done.returncode == 1
    assert error_of(done) == "uvicorn is not installed: pip install 'taketwo[live]'"


def test_help_fits_80_columns_and_imports_no_web_server(tmp_path):
    for name in ("starlette", "uvicorn", "av", "pyarrow", "rerun", "PIL"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('not for help')")
    done = taketwo("gallery", "--help", PYTHONPATH=python_path(tmp_path))
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    for flag in ("port", "host", "token", "allowed_hosts", "open"):
        assert f"--{flag}" in done.stdout
