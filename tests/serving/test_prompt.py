"""Which prompt a server's policy acted on, as the response, the log and the recording tell it."""

import logging

import msgpack
import pytest

from taketwo.serving.records import RecordWriter
from tests.serving.support import Counting, Prompted, observation, served

CASES = [
    ("the client's before all others", "from here", "by default", "its own", "from here", "observation"),
    ("the server's default without a client's", None, "by default", "its own", "by default", "default_prompt"),
    ("the checkpoint's own where nobody gives one", None, None, "its own", "its own", "checkpoint"),
    ("the client's before the checkpoint's", "from here", None, "its own", "from here", "observation"),
    ("an empty one that the client did send", "", "by default", "its own", "", "observation"),
    ("none at all", None, None, None, None, None),
]


@pytest.mark.parametrize(("sent", "default", "own", "used", "source"), [case[1:] for case in CASES])
def test_response_log_and_recording_tell_the_prompt_that_was_used(sent, default, own, used, source, tmp_path, caplog):
    caplog.set_level(logging.INFO, "taketwo.serve")
    policy = Prompted(own)
    records = RecordWriter(tmp_path, max_bytes=10_000_000, header={})
    with served(lambda: policy, default_prompt=default, records=records) as server:
        client = server.client()
        told = client.get_server_metadata()["taketwo"]["prompt"]
        response = client.infer(observation() if sent is None else observation(prompt=sent))
    records.close()
    assert told == {"default": default, "checkpoint": own, "read": True}
    assert policy.acted_on == [used]
    expected = {"prompt_used": used, "prompt_source": source, "prompt_read": True}
    assert response["taketwo"] == expected
    (line,) = [record.getMessage() for record in caplog.records if "prompt used" in record.getMessage()]
    assert line.endswith("none" if used is None else f"{used!r} (from {source})")
    (kept,) = _inferences(tmp_path)
    assert (kept["prompt_used"], kept["prompt_source"]) == (used, source)


def test_the_log_tells_a_prompt_when_it_changes_and_every_n_requests(caplog):
    caplog.set_level(logging.INFO, "taketwo.serve")
    with served(Prompted, log_every=3) as server:
        client = server.client()
        for prompt in ["a", "a", "a", "a", "b", "b", "b"]:
            client.infer(observation(prompt=prompt))
    lines = [record.getMessage() for record in caplog.records if "prompt used" in record.getMessage()]
    assert [line.split(", prompt used: ")[0].split(", ")[1] for line in lines] == [
        "request 1",
        "request 4",
        "request 5",
        "request 7",
    ]


def test_a_long_prompt_is_short_in_the_log_and_whole_in_the_answer(caplog):
    caplog.set_level(logging.INFO, "taketwo.serve")
    long = "pick up the cube\nand " * 100
    with served(Prompted) as server:
        response = server.client().infer(observation(prompt=long))
    assert response["taketwo"]["prompt_used"] == long
    (line,) = [record.getMessage() for record in caplog.records if "prompt used" in record.getMessage()]
    assert len(line) < 250
    assert "\n" not in line


def test_a_policy_that_reads_no_prompt_is_told_as_such():
    with served(Counting) as server:
        client = server.client()
        assert client.get_server_metadata()["taketwo"]["prompt"]["read"] is False
        response = client.infer(observation(prompt="up"))
    assert response["taketwo"] == {"prompt_used": "up", "prompt_source": "observation", "prompt_read": False}


def _inferences(folder):
    kept = []
    for path in sorted(folder.glob("inferences-*.msgpack")):
        with path.open("rb") as file:
            kept += [record for record in msgpack.Unpacker(file) if record["kind"] == "inference"]
    return kept
