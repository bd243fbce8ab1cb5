"""Whatever comes in, the server answers, says nothing of itself, and goes on."""

import json
import logging
import socket
import string
from contextlib import suppress
from urllib.parse import quote

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from taketwo.live import limits, orders, streams
from tests.live.support import PATIENCE_S, showing
from tests.live.test_access import open_websocket

FUZZED = settings(
    max_examples=300, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None
)
"""The same each time, so that what fails does so by the change that it fails with."""


names = some.sampled_from(
    ["top", "stream", "snapshot", "api", "state", "command", "events", "static", "..", ".", "%2e", ""]
)
paths = some.one_of(
    some.sampled_from(
        ["/", "/api/state", "/api/command", "/api/events", "/snapshot/top.jpg", "/static/main.js", "/stream/x"]
    ),
    some.lists(some.one_of(names, some.text(max_size=8)), max_size=5).map(lambda parts: "/" + "/".join(parts)),
    some.text(max_size=30),
)
queries = some.one_of(some.just(""), some.text(max_size=20).map(lambda text: f"?{text}"), some.just("?token=%ff&token"))
methods = some.sampled_from(
    ["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", "G\x00T", "M-SEARCH"]
)
header_names = some.one_of(
    some.sampled_from(
        ["Host", "Origin", "Cookie", "Authorization", "Content-Type", "Content-Length", "Transfer-Encoding", "Expect",
         "Upgrade", "Connection", "Sec-Fetch-Site", "Sec-WebSocket-Key", "Sec-WebSocket-Version", "If-None-Match",
         "Range", "Accept", "X-Forwarded-For", "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions"]
    ),
    some.text(max_size=10),
)  # fmt: skip
header_values = some.one_of(
    some.sampled_from(
        ["localhost", "application/json", "chunked", "100-continue", "websocket", "Upgrade", "cross-site", "null", "0",
         "-1", "13", "dGhlIHNhbXBsZSBub25jZQ==", "bytes=0-1", "taketwo_0=x", "permessage-deflate"]
    ),
    some.text(max_size=20),
)  # fmt: skip
values = some.recursive(
    some.one_of(some.none(), some.booleans(), some.integers(), some.floats(), some.text(max_size=10)),
    lambda inner: some.one_of(
        some.lists(inner, max_size=3), some.dictionaries(some.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
known = some.sampled_from([*orders.ON_EPISODE, "pause", "resume", "set_prompt", "no command"])
commands = some.fixed_dictionaries(
    {"command": some.one_of(known, values)},
    optional={"episode": some.one_of(some.integers(-1, 3), values), "prompt": values},
).map(json.dumps)
bodies = some.one_of(commands, values.map(json.dumps), some.text(max_size=100), some.just("[" * 10_000))
wild = some.tuples(methods, paths, queries, some.lists(some.tuples(header_names, header_values), max_size=6), bodies)
"""Most are none by HTTP's grammar, and refused for that."""

headers = some.one_of(
    some.tuples(
        some.sampled_from(["Origin", "Cookie", "Authorization", "Content-Type", "Expect", "Sec-Fetch-Site", "Accept",
                           "If-None-Match", "Range", "X-Forwarded-For", "Sec-WebSocket-Key"]),
        some.one_of(some.sampled_from(["http://localhost", "application/json", "same-origin", "*", "bytes=0-1"]),
                    some.text(string.printable[:94], max_size=20)),
    ),
)  # fmt: skip
well_formed = some.tuples(
    some.sampled_from(["GET", "GET", "POST", "POST", "HEAD", "PUT", "DELETE", "OPTIONS"]),
    paths.map(lambda path: "/" + quote(path.removeprefix("/"), safe="/%")),
    queries.map(lambda query: query and f"?{quote(query[1:], safe='=&%')}"),
    some.lists(headers, max_size=3),
    bodies,
)
requests = some.one_of(wild, well_formed, well_formed)


def encoded(text):
    return text.encode("utf-8", "replace")


def sent(port, request):
    """The first of what comes back for a request; nothing where the connection is closed without an answer."""
    method, path, query, headers, body = request
    lines = [f"{method} {path}{query} HTTP/1.1", "Host: localhost", "Connection: close"]
    if not any(name.lower() in ("content-length", "transfer-encoding") for name, _ in headers):
        lines.append(f"Content-Length: {len(encoded(body))}")
    if not any(name.lower() == "content-type" for name, _ in headers):
        lines.append("Content-Type: application/json")
    lines += [f"{name}: {value}" for name, value in headers]
    return exchanged(port, encoded("\r\n".join(lines) + "\r\n\r\n" + body))


def exchanged(port, data):
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
        try:
            connection.sendall(data)
            return connection.recv(65536)
        except ConnectionError:  # reset: the server had done with it before it had read all
            return b""


def complaints(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_no_request_makes_the_server_fail(caplog, monkeypatch):
    monkeypatch.setattr(streams, "PATIENCE_S", 0.05)
    monkeypatch.setattr(orders, "BODY_WAIT_S", 0.05)
    monkeypatch.setattr(limits, "HEAD_WAIT_S", 1.0)
    answers = []
    with showing() as opened:

        @FUZZED
        @given(requests)
        def fuzz(request):
            answer = sent(opened.port, request)
            answers.append(answer)
            if answer.startswith(b"HTTP/1.1 5"):
                assert answer.startswith(b"HTTP/1.1 503") and "/snapshot/" in request[1], answer
            assert b"Traceback" not in answer
            assert complaints(caplog) == []

        fuzz()
        assert sum(answer.startswith(b"HTTP/1.1 ") for answer in answers) > 0.8 * len(answers)
        assert sum(not answer.startswith(b"HTTP/1.1 400 ") for answer in answers) > 0.3 * len(answers)
        assert opened.state()["session"]["status"] in ("running", "paused")


def test_no_command_in_good_form_makes_the_server_fail(caplog):
    with showing() as opened:

        @FUZZED
        @given(commands)
        def fuzz(body):
            status, _, answer = opened.ask("POST", "/api/command", body, content_type="application/json")
            assert status in (200, 400, 409)
            assert isinstance(json.loads(answer)["said"], str)
            assert complaints(caplog) == []

        fuzz()
        assert opened.state()["session"]["status"] in ("running", "paused")


def test_no_message_on_a_websocket_makes_the_server_fail(caplog):
    messages = some.one_of(
        some.binary(max_size=200),
        some.one_of(values.map(lambda value: {"watch": value}), values)
        .map(json.dumps)
        .map(encoded)
        .flatmap(lambda text: some.sampled_from([0x01, 0x02, 0x81, 0x82, 0x88, 0x89, 0x8A, 0x80, 0xC1]).map(
            lambda first: bytes([first, 0x80 | 126]) + len(text).to_bytes(2, "big") + bytes(4) + text)),
    )  # fmt: skip
    with showing() as opened:

        @FUZZED
        @given(some.lists(messages, max_size=4))
        def fuzz(parts):
            with open_websocket(opened.port) as connection:
                connection.sendall(b"".join(parts))
                connection.shutdown(socket.SHUT_WR)
                with suppress(ConnectionError):
                    while connection.recv(65536):  # until the server has taken it all
                        pass
            assert complaints(caplog) == []

        fuzz()
        assert opened.state()["session"]["status"] == "running"
