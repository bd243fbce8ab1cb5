"""The page's files, and that there are no others."""

from contextlib import contextmanager

import pytest

from taketwo.live.app import application
from taketwo.live.assets import Assets
from taketwo.live.server import WebServer, bind
from tests.live.support import ask, live
from tests.live.test_access import raw

PATHS = [
    "/static/../config.py",
    "/static/../../../../../../../../etc/passwd",
    "/../etc/passwd",
    "/static/%2e%2e/config.py",
    "/static/..%2fconfig.py",
    "/static/%2e%2e%2f%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "/static/..%5cconfig.py",
    "/static//etc/passwd",
    "/static/%2fetc%2fpasswd",
    "/static/index.html%00.png",
    "/static/./index.html",
    "/static/index.html/",
    "/static/",
    "/static",
    "/stream/../../etc/passwd",
    "/snapshot/../../etc/passwd.jpg",
    "//etc/passwd",
    "/%00",
    "/index.html",
]


@pytest.fixture(scope="module")
def opened():
    with live() as opened:
        opened.page.sink._frames.begin(["top"], 50.0)
        yield opened


@pytest.mark.parametrize("path", PATHS)
def test_no_path_leads_to_a_file_that_is_none_of_the_pages(opened, path):
    status, _, body = opened.ask("GET", path)
    assert status == 404
    assert b"root:" not in body and b"import" not in body


@pytest.mark.parametrize(
    "target", ["/static/../x y", "x", "*", "http://", "/\xe4", "http://evil.example/../etc/passwd"]
)
def test_a_target_that_is_none_is_a_bad_request_or_not_there(opened, target):
    assert raw(opened.port, f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n") in (400, 404)


@contextmanager
def served(folder):
    """What a real server answers to GET, with these files as the page's."""
    bound = bind("127.0.0.1", 0)
    port = bound.getsockname()[1]
    server = WebServer(application(Assets(folder).routes()), bound)
    server.start()
    try:
        yield lambda path, **headers: ask(port, "GET", path, **headers)
    finally:
        server.close()


def test_files_come_with_their_type_and_only_when_they_have_changed(tmp_path):
    (tmp_path / "sub").mkdir()
    for name, text in {"index.html": "<p>", "sub/a.js": "1", "b.css": "", "c.unknown": "x"}.items():
        (tmp_path / name).write_text(text)
    with served(tmp_path) as get:
        assert get("/")[2] == b"<p>"
        assert get("/")[1]["Content-Type"] == "text/html; charset=utf-8"
        _, headers, _ = get("/static/sub/a.js")
        assert headers["Content-Type"] == "text/javascript; charset=utf-8"
        assert headers["Cache-Control"] == "no-cache"
        status, _, body = get("/static/sub/a.js", if_none_match=headers["ETag"])
        assert (status, body) == (304, b"")
        assert get("/static/c.unknown")[1]["Content-Type"] == "application/octet-stream"
        assert get("/static/b.css")[::2] == (200, b"")


def test_what_lies_beside_the_folder_is_not_served(tmp_path):
    (tmp_path / "static").mkdir()
    (tmp_path / "secret").write_text("secret")
    with served(tmp_path / "static") as get:
        assert get("/static/../secret")[0] == 404
        assert get("/static/%2e%2e/secret")[0] == 404
        assert get("/")[0] == 404
