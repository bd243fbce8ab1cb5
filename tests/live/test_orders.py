"""Commands that are no commands: refused with a reason, and nothing happens."""

import json

import pytest

from taketwo.live import orders
from tests.live.support import showing, until

JSON = "application/json"


@pytest.fixture(scope="module")
def opened():
    with showing() as opened:
        until(lambda: opened.state()["episode"])
        yield opened


@pytest.fixture(autouse=True)
def untouched(opened):
    commands, prompt = opened.commands, opened.prompt
    before = wanted(commands)
    yield
    assert wanted(commands) == before
    assert prompt.text == "first"
    assert opened.state()["episode"]["index"] == 0


def wanted(commands):
    names = ("take", "paused", "stop_reason", "discard_reason", "end_reason", "retry_reason", "marked")
    return {name: getattr(commands, name) for name in names}


def post(opened, body, content_type=JSON, **headers):
    status, answered, answer = opened.ask("POST", "/api/command", body, content_type=content_type, **headers)
    assert answered["Content-Type"] == JSON
    told = json.loads(answer)
    assert told["ok"] is False and "\n" not in told["said"]
    return status, told["said"]


@pytest.mark.parametrize(
    "body",
    [
        "",
        " ",
        "{",
        "null",
        "3",
        "[]",
        '"stop"',
        "{}",
        '{"command": 3}',
        '{"command": null}',
        '{"command": ["stop"]}',
        '{"command": "stop"',
        '{"command": "stop"} x',
        "{'command': 'stop'}",
        '{"command": "pause", "episode": NaN}',
        '{"command": "pause", "episode": Infinity}',
        '{"command": "pause", "episode": 1.5}',
        '{"command": "pause", "episode": "0"}',
        '{"command": "pause", "episode": ' + "9" * 5000 + "}",
        '{"command": "pause", "more": 1}',
        '{"command": "pause", "prompt": "x"}',
        '{"command": "set_prompt"}',
        '{"command": "set_prompt", "prompt": 3}',
        '{"command": "set_prompt", "prompt": ["x"]}',
        '{"command": "set_prompt", "prompt": "\\ud800"}',
        '{"command": ' + "[" * 8000 + "]" * 8000 + "}",
        '{"command": "pause", "deep": ' + '{"a":' * 2500 + "1" + "}" * 2500 + "}",
        b'{"command": "set_prompt", "prompt": "\xff\xfe"}',
        b"\x00\x01\x02",
    ],
)
def test_what_is_no_command_is_a_bad_request(opened, body):
    status, said = post(opened, body)
    assert status == 400
    assert said


@pytest.mark.parametrize("command", ["", "Stop", "stop ", "shutdown", "__init__", "s" * 5000, "a\x1b[2Jb"])
def test_an_unknown_command_is_told_with_those_that_there_are(opened, command):
    status, said = post(opened, json.dumps({"command": command}))
    assert status == 400
    assert said.startswith("unknown command") and "Known: end_episode, intervene" in said
    assert len(said) < 500 and said.isprintable()


@pytest.mark.parametrize("episode", [1, -1, 10**15])
@pytest.mark.parametrize(
    "command", ["end_episode", "redo_episode", "intervene", "mark_success", "mark_failure", "unmark"]
)
def test_a_command_for_another_episode_is_refused(opened, command, episode):
    status, said = post(opened, json.dumps({"command": command, "episode": episode}))
    assert (status, said) == (409, f"episode {episode + 1} is not under way, but episode 1")


@pytest.mark.parametrize(
    "content_type", [None, "", "text/plain", "application/x-www-form-urlencoded", "text/json", "json"]
)
def test_another_content_type_is_refused(opened, content_type):
    assert post(opened, '{"command": "stop"}', content_type)[0] == 415


def test_a_body_that_is_too_long_is_refused_with_and_without_its_length(opened):
    body = json.dumps({"command": "set_prompt", "prompt": "x" * 20_000})
    assert post(opened, body)[0] == 413
    assert post(opened, "{}", content_length="999999999")[0] == 413
    headers = {"content_type": JSON, "content_length": "99999999999999999999"}
    assert opened.ask("POST", "/api/command", "{}", **headers)[0] == 400
    assert post(opened, f"{len(body):x}\r\n{body}\r\n0\r\n\r\n", transfer_encoding="chunked")[0] == 413


def test_a_body_that_goes_on_for_ever_is_refused(opened):
    chunk = "4000\r\n" + "x" * 0x4000 + "\r\n"
    assert post(opened, chunk * 2, transfer_encoding="chunked")[0] == 413


def test_a_body_that_does_not_come_is_not_waited_for_long(opened, monkeypatch):
    monkeypatch.setattr(orders, "BODY_WAIT_S", 0.2)
    assert post(opened, "{", content_length="100")[0] == 408


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_another_method_is_refused(opened, method):
    status, headers, body = opened.ask(method, "/api/command", content_type=JSON)
    assert (status, headers["Allow"]) == (405, "POST")
    assert json.loads(body)["ok"] is False


@pytest.mark.parametrize("path", ["/", "/api/state", "/stream", "/snapshot/top.jpg", "/static/main.js"])
def test_what_is_only_looked_at_takes_no_commands(opened, path):
    assert opened.ask("POST", path, '{"command": "stop"}', content_type=JSON)[0] == 405


def test_a_command_for_an_earlier_take_of_the_episode_is_refused():
    with showing() as opened:
        take = opened.state()["episode"]["take"]
        assert opened.command("redo_episode", episode=0, take=take)[0] == 200
        until(lambda: (opened.state()["episode"] or {}).get("take") == take + 1)
        status, said = opened.command("redo_episode", episode=0, take=take)
        assert (status, said) == (409, "another take of episode 1 is under way")
        assert opened.commands.discard_reason is None
