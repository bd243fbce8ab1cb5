"""Who may ask. Every refusal leaves the session untouched."""

import re
import socket
from contextlib import contextmanager

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from taketwo.errors import ConfigError
from taketwo.live.access import Access, wants_token
from taketwo.live.config import LiveConfig
from taketwo.live.page import LivePage
from taketwo.session.commands import Commands
from tests.live.support import live

STOP = '{"command": "stop"}'
TOKEN = "a-token-of-ours"
JSON = "application/json"


@pytest.fixture(scope="module")
def opened():
    with live(allowed_hosts=("robot.example.org",)) as opened:
        yield opened
        assert opened.commands.stop_reason is None


@pytest.fixture(scope="module")
def public():
    with live(host="0.0.0.0", token=TOKEN) as opened:
        yield opened
        assert opened.commands.stop_reason is None


def own_hosts(port):
    names = ["localhost", "LOCALHOST", "localhost.", "127.0.0.1", "[::1]", "10.1.2.3", "robot.example.org"]
    return [*names, socket.gethostname(), *(f"{name}:{port}" for name in names), "localhost:9999"]


FOREIGN_HOSTS = [
    "evil.example",
    "evil.example:8090",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "robot.example.org.evil.example",
    "evil.example#localhost",
    "user@localhost",
    "localhost:port",
    "localhost:123456",
    "",
    " ",
    "[::1",
    "127.0.0.1, evil.example",
    "ev\xefl",
]


def test_a_page_that_is_asked_for_by_its_own_names_is_given(opened):
    for host in own_hosts(opened.port):
        assert opened.ask("GET", "/api/state", host=host)[0] == 200, host


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/"), ("GET", "/api/state"), ("POST", "/api/command"), ("GET", "/x")]
)
def test_a_foreign_host_is_refused_whatever_is_asked(opened, method, path, host):
    body = STOP if method == "POST" else None
    status, _, answer = opened.ask(method, path, body, host=host, content_type=JSON)
    assert status == 421
    assert b"allowed_hosts" in answer


def test_no_host_and_two_hosts_are_refused(opened):
    assert raw(opened.port, "GET /api/state HTTP/1.1\r\n\r\n") == 421
    assert raw(opened.port, "GET /api/state HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n") == 421


def raw(port, text):
    """The status of what a server answers to these bytes."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(text.encode("latin-1"))
        return int(connection.makefile("rb").readline().split()[1])


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "https://evil.example:8090",
        "null",
        "",
        "http://localhost:1",
        "http://localhost",
        "file://",
        "http://localhost.evil.example:{port}",
        "http://localhost:{port}.evil.example",
        "http://127.0.0.1:{port}",
        "ws://localhost:{port}",
    ],
)
def test_a_command_from_a_page_of_another_origin_is_refused(opened, origin):
    headers = {"host": f"localhost:{opened.port}", "origin": origin.format(port=opened.port)}
    status, _, body = opened.ask("POST", "/api/command", STOP, content_type=JSON, **headers)
    assert (status, body) == (403, b'{"ok":false,"said":"this was asked for by a page of another site"}')
    assert websocket_status(opened.port, **headers) == 403


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost:{port}", "http://localhost:{port}"),
        ("127.0.0.1:{port}", "http://127.0.0.1:{port}"),
        ("LocalHost:{port}", "http://localhost:{port}"),
        ("localhost", "http://localhost"),
        ("localhost:80", "http://localhost"),
        ("robot.example.org", "https://robot.example.org"),
        ("127.0.0.1:{port}", "https://robot.example.org"),
    ],
)
def test_a_command_from_the_page_itself_or_a_trusted_proxy_is_let_through(opened, host, origin):
    headers = {"host": host.format(port=opened.port), "origin": origin.format(port=opened.port)}
    body = '{"command": "unknown"}'
    assert opened.ask("POST", "/api/command", body, content_type=JSON, **headers)[0] == 400
    assert websocket_status(opened.port, **headers) == 101


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_command_that_the_browser_says_comes_from_elsewhere_is_refused(opened, site):
    status = opened.ask("POST", "/api/command", STOP, content_type=JSON, sec_fetch_site=site)[0]
    assert status == 403
    assert websocket_status(opened.port, sec_fetch_site=site) == 403


def test_other_sites_may_link_to_the_page_but_not_embed_it(opened):
    def status(path, **headers):
        return opened.ask("GET", path, sec_fetch_site="cross-site", **headers)[0]

    assert status("/api/state", sec_fetch_mode="navigate") == 200
    assert status("/api/state", sec_fetch_mode="no-cors") == 403
    assert status("/stream", sec_fetch_mode="no-cors") == 403


def test_every_answer_has_the_headers_that_keep_a_browser_safe(opened):
    for method, path in [("GET", "/"), ("GET", "/api/state"), ("GET", "/x"), ("POST", "/api/command"), ("PUT", "/")]:
        _, headers, _ = opened.ask(method, path)
        policy = headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cross-Origin-Resource-Policy"] == "same-site"
        assert "Server" not in headers
    assert opened.ask("GET", "/api/state")[1]["Cache-Control"] == "no-store"
    assert opened.ask("GET", "/api/state", host="evil.example")[1]["X-Content-Type-Options"] == "nosniff"


def handshake(port, path="/api/events", **headers):
    """What a client sends to open a websocket (RFC 6455, 4.1)."""
    host = headers.pop("host", f"localhost:{port}")
    text = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    text += "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    text += "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"{text}\r\n".encode("latin-1")


def open_websocket(port):
    """A TCP connection that has become a websocket."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    connection.sendall(handshake(port))
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += connection.recv(1)
    assert answer.startswith(b"HTTP/1.1 101 ")
    return connection


def websocket_status(port, path="/api/events", **headers):
    """101 for a connection, otherwise the status of the refusal."""
    return raw(port, handshake(port, path, **headers).decode("latin-1"))


@pytest.mark.parametrize("host", FOREIGN_HOSTS[:5])
def test_a_websocket_for_a_foreign_host_is_refused(opened, host):
    assert websocket_status(opened.port, host=host) == 421


# With a token.


@pytest.mark.parametrize("path", ["/", "/api/state", "/stream", "/snapshot/top.jpg", "/static/main.js", "/nowhere"])
def test_without_the_token_nothing_is_told(public, path):
    status, headers, body = public.ask("GET", path)
    assert status == 401
    assert headers["WWW-Authenticate"] == "Bearer"
    assert b"URL that was printed" in body and TOKEN.encode() not in body


def test_without_the_token_nothing_is_done(public):
    assert public.ask("POST", "/api/command", STOP, content_type=JSON)[0] == 401
    assert websocket_status(public.port) == 401
    with pytest.raises(InvalidStatus) as caught:
        connect(f"ws://127.0.0.1:{public.port}/api/events")
    assert caught.value.response.status_code == 401


WRONG = ["", "x", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "\xe4\xf6", "%00", "null"]


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_token_is_none_wherever_it_stands(public, wrong):
    cookie = f"taketwo_{public.port}={wrong}"
    for headers in ({"authorization": f"Bearer {wrong}"}, {"authorization": TOKEN}, {"cookie": cookie}):
        assert public.ask("GET", "/api/state", **headers)[0] == 401
    if wrong.isascii():
        assert public.ask("GET", f"/api/state?token={wrong}")[0] == 401
        assert public.ask("GET", f"/?token={wrong}")[0] == 401


@pytest.mark.parametrize("cookie", ["taketwo=1", "=", ";;;", '"', "a" * 3000, f"taketwo_1={TOKEN}", "taketwo_{port}"])
def test_an_odd_cookie_is_no_token_and_no_failure(public, cookie):
    assert public.ask("GET", "/api/state", cookie=cookie.format(port=public.port))[0] == 401


def test_the_token_opens_all_by_header_address_and_cookie(public):
    assert public.ask("GET", "/api/state", authorization=f"Bearer {TOKEN}")[0] == 200
    assert public.ask("GET", "/api/state", authorization=f"bearer  {TOKEN}")[0] == 200
    assert public.ask("GET", f"/api/state?token={TOKEN}")[0] == 200
    for others in ("other=1", 'prefs={"a":1}', "x@y=1"):  # cookies of other services at the same address
        assert public.ask("GET", "/api/state", cookie=f"{others}; taketwo_{public.port}={TOKEN}")[0] == 200
    assert websocket_status(public.port, cookie=f"taketwo_{public.port}={TOKEN}") == 101
    assert websocket_status(public.port, f"/api/events?token={TOKEN}") == 101


def test_the_printed_address_sets_a_cookie_and_leads_to_the_clean_one(public):
    status, headers, _ = public.ask("GET", f"/?a=1&token={TOKEN}&b=2%263")
    assert (status, headers["Location"]) == (303, "/?a=1&b=2%263")
    cookie = headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and "Path=/" in cookie and "Domain" not in cookie
    value = cookie.partition(";")[0]
    assert public.ask("GET", headers["Location"], cookie=value)[0] == public_page_status()
    assert public.ask("GET", "/api/state", cookie=value)[0] == 200


def public_page_status():
    from taketwo.live.assets import FOLDER

    return 200 if (FOLDER / "index.html").exists() else 404


def test_a_link_on_another_site_leads_there_without_a_redirect_which_would_lose_the_cookie(public):
    headers = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"}
    status, answered, body = public.ask("GET", f"/?token={TOKEN}", **headers)
    assert (status, answered["Refresh"]) == (200, "0;url=/")
    assert TOKEN in answered["Set-Cookie"] and TOKEN.encode() not in body


def test_the_token_does_not_excuse_a_foreign_origin(public):
    headers = {"authorization": f"Bearer {TOKEN}", "origin": "http://evil.example"}
    assert public.ask("POST", "/api/command", STOP, content_type=JSON, **headers)[0] == 403


def test_a_token_is_made_up_for_a_public_address_and_none_for_this_machine():
    with live(host="0.0.0.0") as first, live(host="0.0.0.0") as second:
        tokens = [opened.page.url.partition("?token=")[2] for opened in (first, second)]
        assert len(set(tokens)) == 2 and min(map(len, tokens)) >= 20
        assert "0.0.0.0" not in first.page.url
        assert first.ask("GET", f"/api/state?token={tokens[0]}")[0] == 200
        assert first.ask("GET", f"/api/state?token={tokens[1]}")[0] == 401
    with live() as local:
        assert "token" not in local.page.url


def test_a_token_that_is_given_is_wanted_on_this_machine_too():
    with live(token=TOKEN) as opened:
        assert opened.page.url.endswith(f"/?token={TOKEN}")
        assert opened.ask("GET", "/api/state")[0] == 401


@pytest.mark.parametrize(
    ("address", "wanted"),
    [("127.0.0.1", False), ("127.8.8.8", False), ("::1", False), ("0.0.0.0", True), ("::", True), ("192.168.1.2", True),
     ("fe80::1%eth0", True)],
)  # fmt: skip
def test_only_addresses_of_this_machine_alone_need_no_token(address, wanted):
    assert wants_token(address) == wanted


def test_pages_on_two_ports_keep_their_tokens_apart():
    assert Access.at("0.0.0.0", 8090, None, ()).cookie != Access.at("0.0.0.0", 8091, None, ()).cookie


def test_an_address_of_ip_version_6_is_written_as_a_browser_wants_it():
    try:
        page = LivePage(LiveConfig(port=0, host="::1"), Commands())
    except ConfigError:
        pytest.skip("this machine has no IPv6")
    page.close()
    assert re.fullmatch(r"http://\[::1\]:[0-9]+/", page.url)


@contextmanager
def taken_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken.getsockname()[1]


def test_a_port_that_is_taken_is_told_before_anything_begins():
    with (
        taken_port() as port,
        pytest.raises(ConfigError, match=rf"^port {port} on 127.0.0.1 cannot be used: .* another"),
    ):
        LivePage(LiveConfig(port=port), Commands())


def test_an_address_of_another_machine_is_refused():
    with pytest.raises(ConfigError, match=r"^host '192.0.2.1' is no address of this machine$"):
        LivePage(LiveConfig(port=0, host="192.0.2.1"), Commands())
    with pytest.raises(ConfigError, match=r"^host '.*' is no address"):
        LivePage(LiveConfig(port=0, host="no.such.host.invalid"), Commands())
