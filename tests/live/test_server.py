"""Viewers that come, go, and never read; and the end, which waits for none of them."""

import gc
import http.client
import logging
import socket
import threading
import time
import warnings
from contextlib import ExitStack, suppress

import pytest

from taketwo.errors import MissingExtraError
from taketwo.live import limits, server, site
from taketwo.live.config import LiveConfig
from taketwo.live.page import LivePage
from taketwo.session.commands import Commands
from taketwo.testing import PointEnvironment
from tests.live.support import PATIENCE_S, live, showing, silent_viewer, until
from tests.live.test_access import open_websocket, raw, websocket_status

VIEWERS = 40
"""So many that waiting for one after the other is told from waiting for all at once."""


@pytest.fixture
def no_trace(caplog, capfd):
    """Neither logs nor standard error have anything to say, and no thread and no socket is left over."""
    caplog.set_level(logging.INFO)
    before = set(threading.enumerate())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
        gc.collect()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert [str(warning.message) for warning in caught if warning.category is ResourceWarning] == []
    assert capfd.readouterr().err == ""
    assert set(threading.enumerate()) <= before


def connections(opened):
    return opened.page._site._server._server.server_state.connections


def reset(connection):
    """Close so that the other end finds out in the middle of what it sends."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    connection.close()


@pytest.mark.parametrize("leave", [socket.socket.close, reset], ids=["closed", "reset"])
def test_a_viewer_that_leaves_in_mid_frame_leaves_nothing_behind(no_trace, leave):
    with showing(PointEnvironment(480, 640)) as opened:
        threads = threading.active_count()
        for _ in range(5):
            viewer = silent_viewer(opened.port)
            assert viewer.recv(3000)
            assert opened.state()["viewers"] == 1
            leave(viewer)
            until(lambda: opened.state()["viewers"] == 0)
        assert threading.active_count() == threads
        assert not opened.page.sink._audience.watched


def text_frame(payload):
    """A text frame of a client, masked with zeros (RFC 6455, 5.2)."""
    assert len(payload) < 126
    return bytes([0x81, 0x80 | len(payload)]) + bytes(4) + payload


def test_a_websocket_that_leaves_in_mid_frame_leaves_nothing_behind(no_trace):
    with showing(PointEnvironment(480, 640)) as opened:
        for _ in range(3):
            viewer = open_websocket(opened.port)
            viewer.sendall(text_frame(b'{"watch": ["top"]}'))
            seen = b""
            while b"\xff\xd8\xff" not in seen:  # a JPEG begins
                seen += viewer.recv(3000)
            reset(viewer)
            until(lambda: opened.state()["viewers"] == 0)


def has_unsent(connection):
    return connection.transport.get_write_buffer_size() > 0


def read_to_its_end(connection):
    connection.settimeout(PATIENCE_S)
    with suppress(ConnectionResetError):
        while connection.recv(1 << 16):
            pass


def test_the_end_waits_for_nobody_who_does_not_read(no_trace):
    with ExitStack() as stack:
        with showing(PointEnvironment(480, 640)) as opened:
            viewers = [stack.enter_context(silent_viewer(opened.port)) for _ in range(VIEWERS)]
            idle = stack.enter_context(socket.create_connection(("127.0.0.1", opened.port)))
            until(lambda: sum(map(has_unsent, list(connections(opened)))) == VIEWERS, "what nobody reads")
            opened.session.end()
            began = time.monotonic()
            opened.page.close()
            # The rest is for a busy machine. To wait for one after the other takes longer.
            assert time.monotonic() - began < server.GOODBYE_S + server.FLUSH_S + VIEWERS * server.GOODBYE_S / 2
            assert not connections(opened)
        for connection in [*viewers, idle]:
            read_to_its_end(connection)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", opened.port))


def test_viewers_who_read_see_the_stream_end(no_trace):
    with showing() as opened, opened.stream() as stream:
        next(stream)
        opened.session.end()
        opened.page.close()
        assert sum(1 for _ in stream) < 10


def test_the_port_is_free_again_when_the_page_is_closed(no_trace):
    with live() as opened:
        port = opened.port
    with live(port=port) as again:
        assert again.state()["session"]["status"] == "starting"


def test_a_page_that_was_never_started_is_closed_and_closing_twice_is_no_harm(no_trace):
    page = LivePage(LiveConfig(port=0), Commands())
    page.close()
    page.close()
    with live() as opened:
        opened.page.close()


def test_a_viewer_that_takes_nothing_for_long_is_cut_off_and_nothing_is_rendered_for_it(monkeypatch):
    if not hasattr(socket, "TCP_USER_TIMEOUT"):
        pytest.skip("only Linux cuts off viewers that take nothing")
    monkeypatch.setattr(server, "STALLED_S", 1)
    with showing(PointEnvironment(480, 640)) as opened, silent_viewer(opened.port):
        until(lambda: opened.state()["viewers"] == 1)
        until(lambda: opened.state()["viewers"] == 0, "the viewer's end")
        assert not opened.page.sink._audience.watched


def test_what_is_held_back_for_viewers_that_never_read_is_bounded():
    with showing(PointEnvironment(480, 640)) as opened, ExitStack() as stack:
        for _ in range(5):
            stack.callback(silent_viewer(opened.port).close)
        until(lambda: opened.state()["frames_encoded"]["top"] > 60)
        held = [connection.transport.get_write_buffer_size() for connection in list(connections(opened))]
        largest = max(len(frame.part) for frame in opened.page.sink._frames._newest.values())
        assert max(held) <= 64 * 1024 + 2 * largest


@pytest.mark.parametrize(
    "text",
    [
        "nonsense\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        "GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        "GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nA: " + "x" * 40_000 + "\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nA: " + "x" * 40_000,
        "GET /" + "x" * 40_000,
        "GET / HTTP/1.1\r\nHost: localhost\r\n" + "A: b\r\n" * 200 + "\r\n",
    ],
)
def test_what_is_no_request_or_too_long_a_one_is_a_bad_request(no_trace, text):
    with live() as opened:
        assert raw(opened.port, text) == 400
        assert opened.state()


@pytest.mark.parametrize(
    "headers",
    [
        {f"x-{number}": "1" for number in range(150)},
        {"cookie": "x" * 9000},
        {"sec-websocket-version": "99"},
        {"sec-websocket-key": "\xe4"},
        {"content-length": "5"},
        {"transfer-encoding": "chunked"},
    ],
    ids=["many", "long", "version", "key", "body", "chunks"],
)
def test_a_websocket_with_an_odd_head_is_refused_and_leaves_nothing_behind(no_trace, headers):
    with live() as opened:
        assert 400 <= websocket_status(opened.port, **headers) < 500
        assert websocket_status(opened.port, "/api/events?" + "\xe4") in (101, 400)
        until(lambda: not connections(opened))


def test_a_head_that_does_not_come_is_not_waited_for_long(no_trace, monkeypatch):
    monkeypatch.setattr(limits, "HEAD_WAIT_S", 0.2)
    with live() as opened:
        for begun in (
            [b""],
            [b"GET / HTTP/1.1\r\nHost:"],
            [b"GET /api/state HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET"],
        ):
            with socket.create_connection(("127.0.0.1", opened.port), timeout=20) as connection:
                for text in begun:
                    connection.sendall(text)
                    if text.endswith(b"\r\n\r\n"):
                        assert connection.recv(65536)
                while connection.recv(65536):
                    pass


def test_a_stream_is_not_cut_off_with_heads_that_do_not_come(monkeypatch):
    monkeypatch.setattr(limits, "HEAD_WAIT_S", 0.2)
    with showing() as opened, opened.stream() as stream, opened.events() as events:
        for _ in range(20):
            next(stream)
            events.recv(timeout=10)


def test_more_connections_than_there_may_be_are_refused_and_the_rest_served(no_trace, monkeypatch):
    monkeypatch.setattr(limits, "MOST_CONNECTIONS", 5)
    with live() as opened, ExitStack() as stack:
        kept = http.client.HTTPConnection("127.0.0.1", opened.port, timeout=20)
        stack.callback(kept.close)
        kept.request("GET", "/api/state")
        assert kept.getresponse().read()
        for _ in range(4):
            stack.enter_context(socket.create_connection(("127.0.0.1", opened.port)))
        refused = stack.enter_context(socket.create_connection(("127.0.0.1", opened.port), timeout=20))
        with pytest.raises(ConnectionError):
            refused.sendall(b"GET /api/state HTTP/1.1\r\nHost: localhost\r\n\r\n")
            if not refused.recv(1):
                raise ConnectionError
        kept.request("GET", "/api/state")
        assert kept.getresponse().status == 200


def test_a_library_that_is_missing_is_told_with_how_to_get_it(monkeypatch):
    monkeypatch.setattr(site.importlib.util, "find_spec", lambda name: None if name == "uvicorn" else object())
    with pytest.raises(MissingExtraError, match=r"uvicorn is not installed: pip install 'taketwo\[live\]'"):
        LivePage(LiveConfig(port=0), Commands())
