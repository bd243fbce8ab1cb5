"""Whatever is asked of a gallery, it answers, and nothing from outside its folder is ever in an answer."""

import re
import socket
from urllib.parse import quote, quote_from_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as some

from tests.datasets.making import episode, film, make_dataset, video_file
from tests.live.gallery_making import gallery_of, record
from tests.live.support import PATIENCE_S
from tests.live.test_fuzz import FUZZED, complaints

SECRET = "not for visitors"
"""In files outside the folder, and in one below it that is no recording."""

OUTSIDE = "{outside}"
"""Stands for the path of the folder's parent, which is not known before the test runs."""

DOCUMENTED = (501, 507)
"""There is no Rerun, or no room for what it makes."""


@pytest.fixture(scope="module")
def outside(tmp_path_factory):
    """A folder with a gallery's folder in it, next to what the gallery must not show."""
    outside = tmp_path_factory.mktemp("disk")
    make_dataset(outside / "private", [episode(8, cameras={"top": film(8)}, task=SECRET)])
    for name in ("secret.mp4", "secret.rrd", "secret.json", "session.json", "outputs.mp4", "private/secret.mp4"):
        (outside / name).write_text(SECRET)
    top = outside / "outputs"
    record(top / "run", episodes=2, dataset=top / "run/cube")
    make_dataset(top / "mixed", [episode(8, cameras={"top": film(8, seed=1)})])
    video_file(top / "mixed").unlink()
    video_file(top / "mixed").symlink_to(video_file(outside / "private"))
    (top / "run/notes.txt").write_text(SECRET)
    (top / "run/link.mp4").symlink_to(outside / "secret.mp4")
    (top / "run/folder").symlink_to(outside)
    (top / "linked").symlink_to(outside / "private")
    return outside


@pytest.fixture(scope="module")
def gallery(outside):
    with gallery_of(outside / "outputs") as gallery:
        yield gallery


def escaped(text):
    return quote(text, safe="")


def escaped_twice(text):
    return escaped(escaped(text))


def bytewise(text):
    return "".join(f"%{byte:02x}" for byte in text.encode("utf-8", "replace"))


spelled = some.sampled_from([str, escaped, escaped_twice, bytewise])
names = some.one_of(
    some.sampled_from(
        ["run", "cube", "mixed", "linked", "folder", "link.mp4", "videos", "meta", "data", "chunk-000", "file-000.mp4",
         "observation.images.top", "session.json", "info.json", "notes.txt", "secret.mp4", "secret.rrd", "secret.json",
         "private", "outputs", "outputs.mp4", "..", ".", "", "~", "...", "..\\", "C:", OUTSIDE, "/etc/passwd", "\0"]
    ),
    some.text(max_size=6),
)  # fmt: skip
separators = some.sampled_from(["/", "/", "//", "%2f", "%2F", "%252f", "\\", "%5c", "%00", "\0", "/./", "/../", ";"])
endings = some.sampled_from(["", ".mp4", ".rrd", ".json", "%00.mp4", "/", "%2f..", "?.mp4", "#.mp4", "%", "%zz"])
walks = some.builds(
    lambda first, rest, ending: first + "".join(separator + name for separator, name in rest) + ending,
    some.builds(lambda spell, name: spell(name), spelled, names),
    some.lists(some.tuples(separators, some.builds(lambda spell, name: spell(name), spelled, names)), max_size=6),
    endings,
)
escapes = some.builds(
    lambda start, ups, spell, secret: start + spell("../" * ups + secret),
    some.sampled_from(["", "run/", "run/cube/", "run/folder/", "linked/", "nowhere/", f"{OUTSIDE}/", f"/{OUTSIDE}/"]),
    some.integers(0, 4),
    spelled,
    some.sampled_from(["secret.mp4", "secret.rrd", "private/secret.mp4", f"{OUTSIDE}/secret.mp4", "run/link.mp4"]),
)
"""Ways out to what a careless server would send."""

known_ids = some.sampled_from(["run/session.json", "run/cube", "mixed", "linked", "private", "../private"])
ids = some.one_of(
    known_ids.map(escaped), walks, escapes, some.binary(max_size=8).map(quote_from_bytes), some.just("x" * 5000)
)  # fmt: skip
numbers = some.one_of(
    some.integers(0, 2).map(str), some.integers().map(str), some.text(max_size=5).map(escaped), some.just("9" * 400),
    some.sampled_from(["-0", "+1", "1e1", "0x0", "٣", "1_0", " 0", "0%00", "00000000000", "nan"]),
)  # fmt: skip
queries = some.builds(
    lambda route, parts: f"/api/gallery{route}?" + "&".join(f"{key}={value}" for key, value in parts),
    some.sampled_from(["", "/", "/session", "/signals", "/rrd", "/session/", "//rrd", "/../state"]),
    some.lists(
        some.one_of(
            some.tuples(some.just("id"), ids),
            some.tuples(some.just("episode"), numbers),
            some.tuples(some.text(max_size=4).map(escaped), some.text(max_size=4).map(escaped)),
        ),
        max_size=4,
    ),
)
recorded = some.builds(
    lambda route, name, number: f"/api/gallery/{route}?id={name}&episode={number}",
    some.sampled_from(["session", "signals", "rrd"]), ids, numbers,
)  # fmt: skip
targets = some.one_of(
    some.one_of(walks, escapes).map(lambda walk: f"/media/{walk}"),
    some.binary(max_size=20).map(lambda raw: f"/media/{quote_from_bytes(raw)}.mp4"),
    queries,
    recorded,
    walks.map(lambda walk: f"/{walk}"),
)
methods = some.sampled_from(["GET", "GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
positions = some.one_of(some.just(""), some.integers(-5, 20_000).map(str), some.integers().map(str))
ranges = some.one_of(
    some.lists(some.builds("{}-{}".format, positions, positions), max_size=4).map(
        lambda parts: "bytes=" + ",".join(parts)
    ),
    some.sampled_from(
        ["bytes=0-0", "bytes=-1", "bytes=1-", "bytes=5-2", "bytes=", "bytes=-", "lines=0-1", "bytes=a-b", "bytes=٣-",
         "bytes=0-0," * 300 + "1-1", "bytes=0-" + "9" * 400, "=", ","]
    ),
    some.text(max_size=12),
)  # fmt: skip
headers = some.one_of(
    some.tuples(some.just("Range"), ranges),
    some.tuples(some.just("If-Range"), some.one_of(some.just('"x"'), some.text(max_size=12))),
    some.tuples(
        some.sampled_from(["If-None-Match", "If-Modified-Since"]), some.one_of(some.just("*"), some.text(max_size=12))
    ),
)


def asked(port, method, target, headers=()):
    """Status and all bytes of an answer; the status is None where the connection is closed without one."""
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers]
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode("utf-8", "replace"))
        answer = b""
        try:
            while piece := connection.recv(1 << 16):
                answer += piece
        except ConnectionError:  # it was told that the request is bad, and had not read all of it
            pass
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else None, answer


class Asking:
    """Requests to a gallery, each checked; counts what comes back."""

    def __init__(self, gallery, outside, caplog):
        self._port, self._outside, self._caplog = gallery.url.port, outside, caplog
        self._private = video_file(outside / "private").read_bytes()
        self.statuses = []

    def __call__(self, method, target, headers=()):
        status, answer = asked(self._port, method, target.replace(OUTSIDE, str(self._outside)), headers)
        self.statuses.append(status)
        assert status is None or status < 500 or status in DOCUMENTED, answer
        assert SECRET.encode() not in answer
        assert self._private not in answer
        assert b"root:" not in answer, "of /etc/passwd"
        assert b"Traceback" not in answer
        assert complaints(self._caplog) == []
        return status, answer


@pytest.fixture
def asking(gallery, outside, caplog):
    asking = Asking(gallery, outside, caplog)
    yield asking
    answered = [status for status in asking.statuses if status is not None]
    assert len(answered) > 0.9 * len(asking.statuses)
    assert gallery.listing().keys() == {"run/session.json", "mixed"}, "it goes on"


def test_no_address_leads_out_of_the_folder_or_makes_the_server_fail(asking):
    @FUZZED
    @given(methods, targets, some.lists(headers, max_size=2))
    @example("GET", "/media/../secret.mp4", [])
    @example("GET", f"/media/{OUTSIDE}/secret.mp4", [])
    @example("GET", "/api/gallery/session?id=mixed", [])
    @example("GET", "/api/gallery/rrd?id=run%2Fsession.json&episode=0", [])
    def fuzz(method, target, headers):
        asking(method, target, headers)

    fuzz()
    assert {200, 404} <= set(asking.statuses)


def test_no_id_and_no_number_of_an_episode_does(asking):
    @FUZZED
    @given(recorded)
    def fuzz(target):
        asking("GET", target)

    fuzz()
    assert {200, 400, 404, 409} <= set(asking.statuses)


def test_whatever_part_of_a_video_is_asked_for_is_a_part_of_it(asking, gallery):
    url = gallery.session("run/session.json")["videos"][0]["url"]
    content = gallery.get(url)[2]

    @FUZZED
    @given(some.lists(headers, max_size=3))
    @example([("Range", "bytes=3-10")])
    def fuzz(headers):
        status, answer = asking("GET", url, headers)
        head, _, body = answer.partition(b"\r\n\r\n")
        part = re.search(rb"content-range: bytes (\d+)-(\d+)/(\d+)", head)
        if status == 200:
            assert body == content
        elif status == 206 and part is not None:
            first, last, size = map(int, part.groups())
            assert size == len(content)
            assert body == content[first : last + 1]
        elif status == 206:
            assert b"multipart/byteranges" in head
            assert len(body) == int(re.search(rb"content-length: (\d+)", head)[1])
        else:
            assert status in (304, 400, 416, None)

    fuzz()
    assert {200, 206, 416} <= set(asking.statuses)
