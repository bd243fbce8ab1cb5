"""`taketwo records`, by the real console script, on what the real server recorded."""

import contextlib
import json
import re
import signal
import subprocess
import threading

import numpy as np
import pytest
from openpi_client.websocket_client_policy import WebsocketClientPolicy

from tests.cli.support import QUICK, SCRIPT, error_of, taketwo

CUSTOM = ["--env=CUSTOM", "--env.state_names=x,y", "--env.action_names=dx,dy,grip", "--env.cameras=top"]


@contextlib.contextmanager
def server(*words):
    """`taketwo serve` on a free port, which is yielded, until the body has ended."""
    command = [SCRIPT, "serve", "--port=0", *map(str, words)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        address = None
        said = []
        for line in process.stderr:
            said.append(line)
            address = re.search(r"ws://127\.0\.0\.1:(\d+)", line)
            if address:
                break
        assert address, "".join(said)
        reader = threading.Thread(target=process.stderr.read)  # else its log would fill the pipe
        reader.start()
        try:
            yield int(address[1])
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
            reader.join(30)


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """Two clients of a random policy: the first asks 6 times in 2 episodes, the second 3 times and once wrongly."""
    folder = tmp_path_factory.mktemp("records")
    prompt = "--default_prompt=Put the [red] cube into the drawer"
    with server(*CUSTOM, "--policy.type=random", "--policy.chunk_size=4", f"--record={folder}", prompt) as port:
        one, two = (WebsocketClientPolicy("127.0.0.1", port) for _ in range(2))
        picture = np.zeros((3, 24, 32), np.uint8)
        for seed in (11, 12):
            one.infer({"taketwo": {"reset": {"index": seed - 11, "seed": seed}}})
            for _ in range(3):
                one.infer({"state": np.zeros(2), "images": {"top": picture}})
        for number in range(3):
            two.infer({"state": np.full(2, number), "prompt": "stop" if number else "go"})
        with pytest.raises(RuntimeError):
            two.infer({"state": np.zeros(5)})
    return folder


def table_of(text, first):
    """The rows below a heading that begins with a word, by the word in their first column."""
    lines = text.splitlines()
    start = next(number for number, line in enumerate(lines) if line.split()[:1] == [first])
    rows = {}
    for line in lines[start + 1 :]:
        if not line.strip() or line.startswith("infer and queue"):
            break
        rows[line.split()[0]] = line.split()
    return rows


def test_a_recording_is_told_client_by_client(recording):
    done = taketwo("records", recording)
    assert done.returncode == 0 and done.stderr == ""
    rows = table_of(done.stdout, "client")
    assert rows["1"][4:7] == ["6", "2", "0"] and rows["2"][4:7] == ["3", "1", "1"]
    assert "4x3" in rows["1"]
    for said in (
        "policy          random, scale=0.0, chunk_size=4",
        "environment     CUSTOM, action_names=dx,dy,grip, state_names=x,y, ",
        "default prompt  'Put the [red] cube into the drawer'",
        "client 1, from request 1 on: 'Put the [red] cube into the drawer' (default_prompt)",
        "client 2, from request 1 on: 'go' (observation)",
        "client 2, from request 2 on: 'stop' (observation)",
        "images.top 3x24x32 in 6 requests",
        "client 2: state must be 2 numbers, not of shape (5,)",
        "total      9 requests, 3 resets, 1 error of 2 clients",
    ):
        assert re.search(re.escape(said).replace(r"\ ", " +"), done.stdout), f"{said}\n{done.stdout}"


def test_the_same_for_programs(recording):
    told = json.loads(taketwo("records", recording, "--json").stdout)
    (run,) = told["runs"]
    one, two = run["clients"]
    assert (told["files"], run["dropped"], run["policy"]["type"]) == (1, 0, "random")
    assert told["bytes"] == sum(path.stat().st_size for path in recording.glob("*.msgpack"))
    assert (one["requests"], one["resets"], two["requests"], two["resets"]) == (6, 2, 3, 1)
    assert two["errors"] == {"state must be 2 numbers, not of shape (5,)": 1}
    assert two["prompts"][1] == {"request": 2, "prompt": "stop", "source": "observation"}
    assert one["chunks"] == [{"shape": [4, 3], "requests": 6}]
    assert 0 <= one["infer_ms"]["median"] <= one["infer_ms"]["p99"]


def test_one_client_alone(recording):
    done = taketwo("records", recording, "--client=2")
    assert list(table_of(done.stdout, "client")) == ["2"]
    assert "images.top" not in done.stdout
    for words in ([], ["--json"], ["--requests"], ["--requests", "--json"], ["--requests", "--last=1"]):
        done = taketwo("records", recording, "--client=5", *words)
        assert (done.returncode, done.stdout) == (1, "")
        assert error_of(done) == f"{recording} has no client 5"


def test_requests_one_by_one(recording):
    done = taketwo("records", recording, "--requests")
    lines = [
        line.split(maxsplit=1)[1].strip() for line in done.stdout.splitlines() if re.match(r"\d\d:\d\d:\d\d", line)
    ]
    assert len(lines) == 13
    assert lines[0] == "1  reset: episode 0, seed 11"
    assert re.fullmatch(
        r"1 +1  4x3 +[\d.]+ +[\d.]+ +1  'Put the \[red\] cube into the drawer' \(default_prompt\)", lines[1]
    )
    assert lines[2].startswith("1        2") and lines[2].endswith("same")
    assert lines[-1] == "2  error: state must be 2 numbers, not of shape (5,)"


def test_the_first_and_the_last_requests_with_what_happened_between_them(recording):
    def kinds(*words):
        done = taketwo("records", recording, "--requests", "--json", *words)
        return [json.loads(line)["kind"] for line in done.stdout.splitlines()]

    episode = ["reset"] + ["inference"] * 3
    assert kinds("--first=2", "--client=1") == episode[:3]
    assert kinds("--first=4", "--client=1") == [*episode, "reset", "inference"]
    assert kinds("--first=99", "--client=1") == kinds("--last=99", "--client=1") == kinds("--client=1") == episode * 2
    assert kinds("--last=1") == ["inference", "error"]
    assert kinds("--last=3", "--client=1") == ["inference"] * 3
    assert kinds("--last=4", "--client=1") == ["inference", *episode]
    assert len(kinds()) == 13


def test_the_first_requests_are_the_same_whether_they_are_listed_or_asked_again(recording):
    listed = taketwo("records", recording, "--requests", "--json", "--first=4").stdout.splitlines()
    (run,) = json.loads(taketwo("records", recording, "--policy.type=random", "--json", "--first=4").stdout)["runs"]
    assert sum(json.loads(line)["kind"] == "inference" for line in listed) == run["requests"] == 4


def test_the_recorded_policy_gives_the_same_again(recording):
    done = taketwo("records", recording, "--policy.type=random", "--tolerance=0")
    assert done.returncode == 0, done.stderr
    assert "9, 9 of them (100 %) identical bit for bit" in done.stdout
    assert "4 rows as recorded" in done.stdout
    assert done.stdout.endswith("passed: no action differs by more than 0\n")


def test_another_policy_is_compared_dimension_by_dimension(recording):
    done = taketwo("records", recording, "--policy.type=noop")
    assert done.returncode == 0, done.stderr
    rows = table_of(done.stdout, "action")
    assert list(rows) == ["dx", "dy", "grip"]
    told = json.loads(taketwo("records", recording, "--policy.type=noop", "--json").stdout)
    (run,) = told["runs"]
    assert run["chunk_lengths"] == [{"recorded": 4, "now": 1, "requests": 9}]
    recorded = [
        request
        for request in map(json.loads, taketwo("records", recording, "--requests", "--json").stdout.splitlines())
        if request["kind"] == "inference"
    ]
    assert run["requests"] == len(recorded) == 9 and run["identical"] == 0
    largest = max(run["actions"], key=lambda action: action["largest"])
    said = f"{largest['largest']:.6g} in {largest['name']}: client {largest['at']['client']}, request "
    assert f"{said}{largest['at']['request']}, row 0" in done.stdout
    assert all(0 < action["mean"] < action["rms"] < action["largest"] for action in run["actions"])


def test_options_that_are_not_given_are_the_recorded_ones(recording):
    done = taketwo("records", recording, "--policy.chunk_size=6", "--client=1", "--first=1", "--json")
    (run,) = json.loads(done.stdout)["runs"]
    assert run["policy"] == {"type": "random", "scale": 0.0, "chunk_size": 6}
    assert run["chunk_lengths"] == [{"recorded": 4, "now": 6, "requests": 1}]


@pytest.mark.parametrize(
    ("words", "verdict"),
    [
        (["--policy.type=noop", "--tolerance=0.5"], "failed: an action differs by more than 0.5"),
        (["--policy.chunk_size=6", "--tolerance=1000"], "failed: chunks are not as long as they were"),
        (["--policy.type=noop", "--tolerance=1000"], "failed: chunks are not as long as they were"),
    ],
)
def test_a_difference_beyond_the_tolerance_is_exit_status_1(recording, words, verdict):
    done = taketwo("records", recording, *words)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, verdict)


def test_a_recording_is_compared_with_a_server_that_runs(recording):
    layout = "--policy.mapping={state: state, images.top: images.top}"
    with server(*CUSTOM, "--policy.type=random", "--policy.chunk_size=4") as port:
        done = taketwo(
            "records", recording, "--policy.type=remote", f"--policy.port={port}", "--policy.layout=custom", layout,
            "--client=1", "--tolerance=0",
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6, 6 of them (100 %) identical bit for bit" in done.stdout


def test_a_scripted_session_over_the_wire_gives_the_same_in_process(tmp_path):
    """The poses of the objects, the time and the seed of each episode come over the wire and are recorded."""
    records = tmp_path / "records"
    with server(
        "--policy.type=scripted", "--policy.tremor=0.01", "--policy.chunk_size=3", f"--record={records}"
    ) as port:
        ran = taketwo(
            "run", "--policy.type=remote", f"--policy.port={port}", *QUICK, "--session.num_episodes=2",
            "--video.mode=off", f"--output_dir={tmp_path}",
        )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    done = taketwo("records", records, "--policy.type=scripted", "--tolerance=0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8, 8 of them (100 %) identical bit for bit" in done.stdout


def test_several_runs_of_a_server_are_told_one_after_the_other(tmp_path):
    for _ in range(2):
        with server(*CUSTOM, "--policy.type=random", f"--record={tmp_path}") as port:
            client = WebsocketClientPolicy("127.0.0.1", port)
            client.infer({"state": np.zeros(2)})
    done = taketwo("records", tmp_path)
    assert done.stdout.count("policy       random") == 2
    assert "2 requests, 2 resets, 0 errors of 2 clients in 2 runs of the server" in done.stdout
    assert "2 files" in done.stdout
    done = taketwo("records", tmp_path, "--policy.type=random", "--tolerance=0")
    assert done.returncode == 0 and done.stdout.count("1, 1 of them (100 %) identical bit for bit") == 2
    for words in ("--first=1", "--last=1"):  # of each run
        listed = taketwo("records", tmp_path, "--requests", "--json", words).stdout
        assert listed.count('"kind": "inference"') == 2


def test_a_second_server_does_not_record_into_the_same_folder(tmp_path):
    with server(*CUSTOM, "--policy.type=random", f"--record={tmp_path}"):
        done = taketwo("serve", "--port=0", *CUSTOM, "--policy.type=random", f"--record={tmp_path}")
    assert done.returncode == 1
    assert error_of(done) == f"another server records into {tmp_path}: give this one a folder of its own"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "which recording? Give its folder, as in: taketwo records DIR"),
        (["{0}", "more"], "unexpected word 'more'; options are flags, such as --client=3"),
        (["{0}", "--first=3"], "--first needs --requests or a flag of the policy that is asked, such as --policy"),
        (["{0}", "--tolerance=1"], "--tolerance needs a flag of the policy that is asked, such as --policy.type=noop"),
        (["{0}", "--last=3"], "--last needs --requests"),
        (["{0}", "--requests", "--first=0"], "--first must be 1 or more, not 0"),
        (["{0}", "--requests", "--first=1", "--last=1"], "--last cannot be combined with --first: give one of them"),
        (["{0}", "--policy.type=noop", "--tolerance=nan"], "--tolerance must be a finite number, 0 or more, not nan"),
        (["{0}", "--requests", "--policy.type=noop"], "--requests lists what was recorded"),
        (["{0}", "--polcy.type=noop"], "unknown flag --polcy.type. Did you mean --policy.type?"),
        (["{0}", "--policy.type=nop"], "unknown policy 'nop'. Did you mean 'noop'?"),
        (["{0}", "--policy.type=noop", "--policy.scale=1"], "--policy.scale belongs to --policy.type=random"),
    ],
)
def test_a_wrong_command_line_is_told_in_a_line(recording, words, message):
    done = taketwo("records", *(word.format(recording) for word in words))
    assert done.returncode == 2
    assert error_of(done).startswith(message)


def test_a_folder_without_a_recording_is_told(tmp_path):
    done = taketwo("records", tmp_path)
    assert done.returncode == 1
    assert (
        error_of(done) == f"no inferences are recorded in {tmp_path}: give the folder that taketwo serve --record had"
    )
    (tmp_path / "inferences-20260101T000000Z-000001.msgpack").write_bytes(b"something else")
    assert error_of(taketwo("records", tmp_path)).endswith(
        "is no recording of taketwo serve: it does not begin as one does"
    )


def test_a_recording_without_a_request_cannot_pass(tmp_path):
    with server(*CUSTOM, "--policy.type=random", f"--record={tmp_path}") as port:
        WebsocketClientPolicy("127.0.0.1", port)
    done = taketwo("records", tmp_path, "--policy.type=random", "--tolerance=1")
    assert done.returncode == 1
    assert error_of(done) == f"{tmp_path} has no inference"


def test_what_clients_said_does_not_reach_the_terminal_raw(tmp_path):
    erase, turn = "\x1b[2J", "\u202e"
    with server(*CUSTOM, "--policy.type=random", f"--record={tmp_path}") as port:
        client = WebsocketClientPolicy("127.0.0.1", port)
        picture = np.zeros((2, 2, 3), np.uint8)
        client.infer({"state": np.zeros(2), "prompt": f"go{erase}\n{turn}on\x9b", f"more{erase}": picture})
    for words in ([], ["--requests"]):
        done = taketwo("records", tmp_path, *words)
        assert done.returncode == 0
        assert r"'go\x1b[2J \u202eon\x9b' (observation)" in done.stdout
        assert not any(mark in done.stdout for mark in ("\x1b", turn, "\x9b"))


def test_help_tells_the_flags_of_both_ways():
    done = taketwo("records", "--help", "--policy.type=random")
    assert done.returncode == 0
    for name in ("--requests", "--tolerance", "--client", "--policy.chunk_size"):
        assert f"  {name} " in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
