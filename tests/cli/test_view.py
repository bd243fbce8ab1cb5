"""`taketwo view`, as a user runs it."""

import http.client
import os
import re
import signal
import socket
import subprocess
import urllib.request

import pytest

from tests.cli.support import SCRIPT, error_of, taketwo
from tests.datasets.making import episode, film, make_dataset

pytest.importorskip("rerun")

NO_DISPLAY = {"DISPLAY": "", "WAYLAND_DISPLAY": ""}
NO_SUCH_DISPLAY = ":6399"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """LeRobot's home with the dataset me/cube in it: two episodes; not to be changed."""
    home = tmp_path_factory.mktemp("home")
    make_dataset(home / "me/cube", [episode(8, cameras={"top": film(8)}), episode(8, cameras={"top": film(8)})])
    return home


def refused(*words, **kwargs):
    done = taketwo("view", *words, **kwargs)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    return error_of(done)


def test_a_file_is_written_under_the_name_that_lerobot_gives_it_and_none_is_overwritten(home, tmp_path):
    words = ["--repo-id=me/cube", "--episode-index=1", "--save=1", "--output-dir=./visualizations"]
    done = taketwo("view", *words, cwd=tmp_path, HF_LEROBOT_HOME=str(home))
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "visualizations"
    first = folder / "me_cube_episode_1.rrd"
    assert "wrote visualizations/me_cube_episode_1.rrd (" in done.stdout
    assert "rerun visualizations/me_cube_episode_1.rrd" in done.stdout
    assert "me/cube, episode 1: 8 frames, 0.4 s; top (h264)" in done.stderr
    content = first.read_bytes()
    done = taketwo("view", *words, cwd=tmp_path, HF_LEROBOT_HOME=str(home))
    assert "wrote visualizations/me_cube_episode_1_2.rrd (" in done.stdout
    assert sorted(folder.iterdir()) == [first, folder / "me_cube_episode_1_2.rrd"]
    assert first.read_bytes() == content


@pytest.mark.parametrize("root", ["me/cube", "."])
def test_the_root_is_the_datasets_folder_or_the_one_that_holds_it_by_its_repo_id(home, tmp_path, root):
    words = ["--repo_id", "me/cube", "--root", home / root, "--episode_index", 0, "--save", 1, "--output_dir", tmp_path]
    done = taketwo("view", *words)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "me_cube_episode_0.rrd").stat().st_size > 0


def test_a_dataset_without_a_repo_id_is_called_as_its_folder(home, tmp_path):
    done = taketwo("view", "--root", home / "me/cube", "--episode-index=0", "--save=1", "--output-dir", tmp_path)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["cube_episode_0.rrd"]


def test_flags_of_lerobots_loader_are_taken(home, tmp_path):
    words = ["--batch-size=3", "--num-workers=0", "--tolerance-s=1e-3", "--display-compressed-images"]
    done = taketwo(
        "view", "--root", home / "me/cube", "--episode-index=0", "--save=1", "--output-dir", tmp_path, *words
    )
    assert done.returncode == 0, done.stderr
    assert "top (jpeg)" in done.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "--episode_index is needed: which episode, from 0."),
        (["--episode-index=0"], "--repo_id is needed, such as me/cube; or --root, the dataset's folder"),
        (["--repo-id=../x", "--episode-index=0", "--mode=distant"], "repo_id '../x' is not a dataset's name"),
        (["--repo-id=me/cube", "--episode-index=0", "--save=1"], "--output_dir is needed with --save=1"),
        (
            ["--repo-id=me/cube", "--episode-index=0", "--mode=distnt"],
            "--mode: expected local or distant, got 'distnt'",
        ),
        (["--repo-id=me/cube", "--episode-index=0", "--batch-size=0"], "--batch_size must be 1 or more, not 0"),
        (["--repo-id=me/cube", "--episode-index=0", "--num-workers=-1"], "--num_workers must be 0 or more, not -1"),
        (["--repo-id=me/cube", "--episode-index=0", "--tolerance-s=nan"], "--tolerance_s must be a finite number"),
        (["--repo-id=me/cube", "--episode-index=0", "--web-port=0"], "--web_port must be from 1 to 65535, not 0"),
        (
            ["--repo-id=me/cube", "--episode-index=0", "--mode=distant", "--web-port=9876"],
            "--web_port and grpc_port cannot both be 9876",
        ),
        (
            ["--repo-id=me/cube", "--episode-index=0", "--ws-port=9087", "--grpc-port=9088"],
            "--ws-port is the old name of --grpc-port: give one of them",
        ),
        (["--repo-id=me/cube", "--episode=0"], "unknown flag --episode. Did you mean --episode_index?"),
        (["me/cube"], "unexpected word 'me/cube'"),
    ],
)
def test_a_wrong_flag(words, expected, tmp_path):
    assert expected in refused(*words, cwd=tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_episode_that_is_not_there(home, tmp_path):
    words = ["--root", home / "me/cube", "--episode-index=5", "--save=1", "--output-dir", tmp_path / "out"]
    assert "there is no episode 5: " in refused(*words)
    assert not list(tmp_path.iterdir())


def test_a_dataset_that_is_not_there_is_told_with_what_to_do(tmp_path):
    words = ["--repo-id=me/cup", "--episode-index=0", "--save=1", "--output-dir", tmp_path / "out"]
    done = taketwo("view", *words, HF_LEROBOT_HOME=str(tmp_path))
    assert done.returncode == 1
    folder = tmp_path / "me" / "cup"
    assert error_of(done) == (
        f"there is no dataset 'me/cup' in {folder}: give its folder by --root, or download it: "
        f"hf download me/cup --repo-type=dataset --local-dir={folder}"
    )
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_no_dataset(tmp_path):
    done = taketwo("view", "--root", tmp_path, "--episode-index=0", "--save=1", "--output-dir", tmp_path / "out")
    assert done.returncode == 1
    assert error_of(done).endswith("is no LeRobot dataset: it has no meta/info.json")
    assert not list(tmp_path.iterdir())


def test_without_a_display_the_other_ways_are_offered(home):
    message = refused("--root", home / "me/cube", "--episode-index=0", **NO_DISPLAY)
    assert message.startswith("there is no display for the viewer here: ")
    assert "--save=1" in message
    assert "--mode=distant" in message


def test_without_rerun_the_extra_is_named(home, tmp_path):
    (tmp_path / "rerun.py").write_text("raise ImportError('no rerun')")
    done = taketwo("view", "--root", home / "me/cube", "--episode-index=0", PYTHONPATH=python_path(tmp_path))
    assert done.returncode == 1
    assert error_of(done) == "rerun-sdk is not installed: pip install 'taketwo[view]'"


def test_an_old_rerun_is_refused(home, tmp_path):
    (tmp_path / "rerun.py").write_text("__version__ = '0.23.4'")
    message = refused("--root", home / "me/cube", "--episode-index=0", PYTHONPATH=python_path(tmp_path))
    assert message == "rerun-sdk 0.23.4 is too old: pip install 'taketwo[view]' brings a newer one"


def python_path(folder):
    return os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])


def test_help_fits_80_columns_and_imports_neither_rerun_nor_a_codec(tmp_path):
    for name in ("rerun", "av", "pyarrow", "PIL"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('not for help')")
    done = taketwo("view", "--help", PYTHONPATH=python_path(tmp_path))
    assert done.returncode == 0
    assert max(map(len, done.stdout.splitlines())) <= 80
    for flag in ("repo_id", "episode_index", "root", "mode", "web_port", "grpc_port", "ws_port", "save", "output_dir"):
        assert f"--{flag}" in done.stdout
    for flag in ("batch_size", "num_workers", "tolerance_s"):
        assert f"--{flag}" in done.stdout


def free_ports(number):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture
def serving(home):
    """Starts servers, waits until they say where, and ends them all."""
    running = []

    def start(*words, before=0, lines=5):
        process = subprocess.Popen(
            [SCRIPT, "view", "--repo-id=me/cube", "--episode-index=0", "--mode=distant", *words],
            env=os.environ | {"HF_LEROBOT_HOME": str(home)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        said = [process.stdout.readline() for _ in range(before + lines)][before:]
        assert said[0] == "Serving me/cube, episode 0, until Ctrl-C.\n", process.stderr.read()
        return process, "".join(said)

    yield start
    for process in running:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=20)


def connects(host, port):
    try:
        socket.create_connection((host, port), timeout=2).close()
    except OSError:
        return False
    return True


def address_of_this_machine():
    """One that is not loopback; skips where there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing; reserved for documentation by RFC 5737
        except OSError:
            pytest.skip("this machine has no network")
        return probe.getsockname()[0]


@pytest.mark.parametrize(("ending", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_distant_mode_serves_this_machine_only_until_a_signal_comes(serving, ending, status):
    web, data = free_ports(2)
    process, said = serving(f"--web-port={web}", f"--ws-port={data}")
    assert f"rerun rerun+http://127.0.0.1:{data}/proxy" in said
    assert f"ssh -L {web}:127.0.0.1:{web} -L {data}:127.0.0.1:{data} " in said
    (page,) = re.findall(r"in a browser +(\S+)", said)
    assert page == f"http://127.0.0.1:{web}/?url=rerun%2Bhttp%3A%2F%2F127.0.0.1%3A{data}%2Fproxy"
    with urllib.request.urlopen(page, timeout=10) as answer:
        assert answer.status == 200
        assert b"<html" in answer.read().lower()
    assert connects("127.0.0.1", data)
    assert not connects(address_of_this_machine(), data)
    assert not connects(address_of_this_machine(), web)
    process.send_signal(ending)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == status
    assert "Traceback" not in errors
    assert "--ws-port is the old name of --grpc-port" in errors
    assert not connects("127.0.0.1", web)
    assert not connects("127.0.0.1", data)


def served(port, wanted):
    """Ask the server for what it has, as the web viewer does (gRPC-web), until all that is wanted has come."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    path = "/rerun.sdk_comms.v1alpha1.MessageProxyService/ReadMessages"
    connection.request("POST", path, body=bytes(5), headers={"content-type": "application/grpc-web+proto"})
    answer = connection.getresponse()
    got = b""
    while not all(word in got for word in wanted):
        more = answer.read1(1 << 16)
        assert more, f"the server ended after {len(got)} bytes"
        got += more
    connection.close()


def test_a_viewer_gets_the_episode_and_what_is_served_can_also_be_kept(serving, tmp_path):
    web, data = free_ports(2)
    serving(f"--web-port={web}", f"--grpc-port={data}", "--save=1", f"--output-dir={tmp_path}", before=1)
    served(data, [b"me_cube", b"observation.images.top", b"lift", b"ftyp"])
    assert [path.name for path in tmp_path.iterdir()] == ["me_cube_episode_0.rrd"]


def test_a_viewer_that_is_open_gets_the_episode(serving, home):
    web, data = free_ports(2)
    serving(f"--web-port={web}", f"--grpc-port={data}")  # what listens at the port is taken for a viewer
    words = ["--root", home / "me/cube", "--repo-id=you/cube", "--episode-index=1", f"--grpc-port={data}"]
    done = taketwo("view", *words, DISPLAY=NO_SUCH_DISPLAY)
    assert done.returncode == 0, done.stderr
    served(data, [b"you_cube", b"observation.images.top", b"lift"])


def test_a_viewer_that_cannot_start_is_told(home):
    (data,) = free_ports(1)
    words = ["--root", home / "me/cube", "--episode-index=1", f"--grpc-port={data}"]
    done = taketwo("view", *words, DISPLAY=NO_SUCH_DISPLAY, WAYLAND_DISPLAY="")
    assert done.returncode == 1
    assert error_of(done).startswith("the Rerun viewer cannot start: ")
    assert not connects("127.0.0.1", data)


def test_other_machines_are_let_in_only_when_an_address_is_given(serving):
    web, data = free_ports(2)
    _, said = serving(f"--web-port={web}", f"--grpc-port={data}", "--host=0.0.0.0", lines=3)
    assert connects(address_of_this_machine(), data)
    assert "127.0.0.1" not in said


def test_a_port_in_use_is_told_with_its_flag(home, tmp_path):
    web, data = free_ports(2)
    words = ["--repo-id=me/cube", "--episode-index=0", "--mode=distant", f"--web-port={web}", f"--grpc-port={data}"]
    for port, flag in ((web, "--web-port"), (data, "--grpc-port")):
        with socket.create_server(("127.0.0.1", port)):
            message = refused(*words, HF_LEROBOT_HOME=str(home))
        assert message.startswith(f"{flag}: port {port} at 127.0.0.1 cannot be had: Address already in use; ")


def test_a_host_that_is_not_this_machines(home):
    words = ["--repo-id=me/cube", "--episode-index=0", "--mode=distant"]
    assert "--grpc-port" in refused(*words, "--host=192.0.2.1", HF_LEROBOT_HOME=str(home))
    assert "--host: 'no such' is no address" in refused(*words, "--host=no such", HF_LEROBOT_HOME=str(home))
