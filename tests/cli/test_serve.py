"""The real command `taketwo serve`, asked by openpi's client and by `taketwo run`."""

import json
import os
import re
import signal
import socket
import subprocess
import time
from contextlib import contextmanager

import numpy as np
import pytest
from openpi_client.websocket_client_policy import WebsocketClientPolicy

from tests.cli.support import QUICK, SCRIPT, error_of, taketwo
from tests.support_server import free_port

pytestmark = pytest.mark.filterwarnings("ignore:connect.. must be used as a context manager:DeprecationWarning")

STATE = {"state": np.zeros(14)}


class Running:
    """A server's process."""

    def __init__(self, process, port, log):
        self.process, self.port, self._log = process, port, log

    def client(self, **options):
        return WebsocketClientPolicy("127.0.0.1", self.port, **options)

    def said(self):
        return self._log.read_text()

    def end(self, number=signal.SIGTERM):
        """Send a signal; returns the exit status and all that it said."""
        self.process.send_signal(number)
        return self.process.wait(20), self.said()


@contextmanager
def serve(tmp_path, *words, port=0, **environment):
    """The server, once it takes clients."""
    log = tmp_path / f"serve-{time.monotonic_ns()}.log"
    command = [SCRIPT, "serve", f"--port={port}", *map(str, words)]
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=os.environ | environment, cwd=tmp_path)
    try:
        deadline = time.monotonic() + 60
        while not (found := re.search(r"at ws://[^ ]*:(\d+) ", log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield Running(process, int(found[1]), log)
    finally:
        process.kill()
        process.wait(10)


def test_it_serves_openpis_client_and_ends_in_order_on_sigterm(tmp_path):
    with serve(tmp_path, "--policy.type=noop") as server:
        client = server.client()
        assert client.infer(STATE)["actions"].tolist() == np.zeros((1, 14)).tolist()
        status, said = server.end()
    assert status == 0
    assert "served 1 client: 1 request and 0 resets answered, 0 refused" in said
    assert "Traceback" not in said


def test_ctrl_c_ends_it_too(tmp_path):
    with serve(tmp_path, "--policy.type=noop") as server:
        assert server.end(signal.SIGINT)[0] == 0


def test_a_session_runs_against_it_to_success(tmp_path):
    with serve(tmp_path, "--policy.type=scripted", "--policy.chunk_size=5") as server:
        done = taketwo(
            "run",
            "--policy.type=remote",
            f"--policy.port={server.port}",
            "--session.num_episodes=1",
            "--session.seed=5",
            "--video.mode=off",
            f"--output_dir={tmp_path / 'out'}",
        )
    assert done.returncode == 0, done.stderr
    assert "1/1 (100 %)" in done.stdout


def test_it_speaks_the_protocol_of_vla_eval(tmp_path):
    with serve(tmp_path, "--protocol=vla_eval", "--policy.type=noop") as server:
        done = taketwo(
            "run",
            "--policy.type=vla_eval",
            f"--policy.port={server.port}",
            *QUICK,
            "--session.num_episodes=1",
            "--video.mode=off",
            f"--output_dir={tmp_path / 'out'}",
        )
        status, said = server.end()
    assert done.returncode == 0, done.stderr
    assert " 12  timeout" in done.stdout
    assert status == 0
    assert "prompt used: 'Transfer cube'" in said


def test_openpis_flags_are_understood(tmp_path):
    words = ["--env", "aloha_sim", "--default-prompt", "Insert the peg", "--record", "True", "--policy.type=noop"]
    with serve(tmp_path, *words) as server:
        response = server.client().infer(STATE)
        server.end()
    assert response["taketwo"]["prompt_used"] == "Insert the peg"
    assert response["taketwo"]["prompt_source"] == "default_prompt"
    assert list((tmp_path / "policy_records").glob("inferences-*.msgpack"))


def test_a_key_from_the_environment_is_asked_for(tmp_path):
    with serve(tmp_path, "--host=0.0.0.0", "--policy.type=noop", TAKETWO_API_KEY="from-there") as server:
        assert server.client(api_key="from-there").infer(STATE)["actions"].shape == (1, 14)
        done = taketwo(
            "run",
            "--policy.type=remote",
            f"--policy.port={server.port}",
            "--policy.api_key=wrong",
            *QUICK,
            "--video.mode=off",
            f"--output_dir={tmp_path / 'out'}",
        )
        said = server.said()
    assert done.returncode == 1
    assert "wants an API key: the given one is not accepted (HTTP 401)" in error_of(done)
    assert "from-there" not in said


def test_a_server_for_another_environment_is_refused_before_anything_moves(tmp_path):
    with serve(tmp_path, "--env", "LIBERO", "--policy.type=noop") as server:
        done = taketwo(
            "run", "--policy.type=remote", f"--policy.port={server.port}", f"--output_dir={tmp_path / 'out'}"
        )
    assert done.returncode == 1
    assert "is for actions of 7 numbers, environment 'transfer_cube' has 14" in error_of(done)


def test_two_hundred_megabytes_are_refused_and_the_server_goes_on(tmp_path):
    with serve(tmp_path, "--policy.type=noop") as server:
        client = server.client()
        with pytest.raises(RuntimeError, match="a request of 200 MB is too large: 64 MB are allowed"):
            client.infer(STATE | {"images": {"cam_high": np.zeros((200, 1000, 1000), np.uint8)}})
        assert client.infer(STATE)["actions"].shape == (1, 14)


def test_a_server_that_is_killed_and_started_again_is_gone_on_with_and_the_gap_is_told(tmp_path):
    port = free_port()
    words = ["--policy.type=noop"]
    run = [
        SCRIPT,
        "run",
        "--policy.type=remote",
        f"--policy.port={port}",
        "--policy.reconnect_timeout_s=60",
        "--session.num_episodes=1",
        "--session.max_episode_steps=100",
        "--session.max_hz=50",
        "--env.quality=preview",
        "--video.mode=off",
        f"--output_dir={tmp_path / 'out'}",
    ]
    with serve(tmp_path, *words, port=port) as server:
        session = subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 60
        while "prompt used" not in server.said() and time.monotonic() < deadline:
            time.sleep(0.05)
        server.process.kill()
        server.process.wait(10)
    with serve(tmp_path, *words, port=port):
        out, err = session.communicate(timeout=100)
    assert session.returncode == 0, err
    assert "was lost" in err
    assert re.search(r"policy +its server was away once, for \d+\.\d s", out)
    assert " 100  timeout" in out
    (outage_s,) = json.loads((tmp_path / "out" / "session.json").read_text())["policy"]["outages_s"]
    assert 0 < outage_s < 60


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--policy.type is needed, such as scripted"),
        (["--env=CUSTOM"], "--policy.type is needed: openpi has no checkpoint of its own for CUSTOM"),
        (["--env=MARS", "--policy.type=noop"], "unknown environment 'MARS'"),
        (["--host=0.0.0.0", "--policy.type=noop"], "clients must give a key: set --api_key"),
        (["policy:checkpoint", "--policy.config=mine", "--policy.dir=here"], "--env is needed: the config's name"),
        (["policy:checkpoint", "--policy.config=pi0_libero", "--policy.dir=here"], "there is no folder"),
        (["--policy.type=noop", "--port=70000"], "--port must be from 0 to 65535"),
        (["--policy.type=noop", "--max_batch_size=0"], "--max_batch_size must be 1 or more"),
        (["--policy.type=noop", "--max_wait_ms=-1"], "--max_wait_ms must be a finite number"),
        (["--policy.type=noop", "--default_promt=x"], "Did you mean --default_prompt?"),
        (["--policy.type=scripted", "--env=DROID"], "choose another --policy.type"),
        (["serve"], "unexpected word 'serve'"),
        (["--policy.type=noop", "--protocol=grpc"], "unknown protocol 'grpc'"),
        (["--policy.type=noop", "--protocol=vla_eval", "--protocol.seed=-1"], "--protocol.seed must be 0 or more"),
        (["--policy.type=scripted", "--protocol=vla_eval"], "which benchmarks of vla-eval do not send"),
    ],
)
def test_a_wrong_flag_is_one_line(words, message):
    done = taketwo("serve", *words, TAKETWO_API_KEY="")
    assert done.returncode == 2
    assert message in error_of(done)


def test_an_occupied_port_is_one_line():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = taketwo("serve", "--policy.type=noop", f"--port={port}")
    assert done.returncode == 2
    assert f"port {port} on 127.0.0.1 cannot be used: address already in use" in error_of(done)


def test_help_shows_the_servers_flags_and_the_policys():
    done = taketwo("serve", "--policy.type=scripted", "--help")
    assert done.returncode == 0
    for flag in ("--default_prompt", "--max_batch_size", "--policy.chunk_size", "--env.task", "--api_key"):
        assert flag in done.stdout
