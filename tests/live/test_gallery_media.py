"""Files of a gallery over HTTP: what is served, how, and that nothing else can be had."""

import json
import os
import shutil
import threading
from urllib.parse import quote

import pytest

from taketwo.datasets.layout import INFO
from taketwo.datasets.reader import Dataset
from taketwo.live.gallery.rerun_files import RerunFiles
from taketwo.live.gallery.shelf import Shelf
from tests.datasets.making import data_file, episode, film, make_dataset, video_file
from tests.live.gallery_making import gallery_of, record

SECRET = b"not for visitors"


@pytest.fixture(scope="module")
def outside(tmp_path_factory):
    """A folder with a gallery's folder in it, and things that the gallery must not show; not to be changed."""
    outside = tmp_path_factory.mktemp("disk")
    make_dataset(outside / "private", [episode(8, cameras={"top": film(8)})])
    (outside / "secret.mp4").write_bytes(SECRET)
    (outside / "outputs.mp4").write_bytes(SECRET)
    top = outside / "outputs"
    record(top / "run", episodes=1)
    (top / "run/notes.txt").write_bytes(SECRET)
    (top / "run/link.mp4").symlink_to(outside / "secret.mp4")
    (top / "run/folder").symlink_to(outside)
    (top / "run/loop.mp4").symlink_to(top / "run/loop.mp4")
    (top / "linked").symlink_to(outside / "private")
    (top / "run/dir.mp4").mkdir()
    os.mkfifo(top / "run/pipe.mp4")
    os.mkfifo(top / "run/session_pipe.json")
    (top / "run/session_link.json").symlink_to(outside / "private" / INFO)
    return outside


@pytest.fixture(scope="module")
def gallery(outside):
    with gallery_of(outside / "outputs") as gallery:
        yield gallery


@pytest.fixture(scope="module")
def video(gallery, outside):
    """Address and content of a film."""
    (file,) = (outside / "outputs/run").glob("point_*.mp4")
    return f"/media/run/{file.name}", file.read_bytes()


def test_a_video_comes_whole_or_in_the_parts_that_are_asked_for(gallery, video):
    url, content = video
    status, headers, body = gallery.get(url)
    assert (status, headers["content-type"], headers["accept-ranges"]) == (200, "video/mp4", "bytes")
    assert body == content
    assert headers["x-content-type-options"] == "nosniff"
    size = len(content)
    for asked, start, end in [("0-9", 0, 10), (f"{size - 5}-", size - 5, size), ("-7", size - 7, size)]:
        status, headers, body = gallery.get(url, Range=f"bytes={asked}")
        assert (status, headers["content-range"]) == (206, f"bytes {start}-{end - 1}/{size}")
        assert body == content[start:end]
    status, headers, body = gallery.get(url, Range="bytes=0-1,10-12")
    assert status == 206
    assert headers["content-type"].startswith("multipart/byteranges")
    assert len(body) == int(headers["content-length"])


def test_a_part_that_is_not_there_is_refused(gallery, video):
    url, content = video
    status, headers, _ = gallery.get(url, Range=f"bytes={len(content)}-")
    assert (status, headers["content-range"]) == (416, f"bytes */{len(content)}")


def test_a_part_of_another_version_is_not_sent(gallery, video):
    url, content = video
    _, headers, _ = gallery.get(url)
    assert gallery.get(url, Range="bytes=0-9", If_Range=headers["etag"])[0] == 206
    status, _, body = gallery.get(url, Range="bytes=0-9", If_Range='"of before"')
    assert (status, body) == (200, content)


def test_what_a_video_is_can_be_asked_without_it(gallery, video):
    url, content = video
    status, headers, body = gallery.get(url, "HEAD")
    assert (status, headers["content-length"], body) == (200, str(len(content)), b"")


def test_a_video_that_grows_while_it_is_sent_has_the_length_that_was_told(tmp_path):
    record(tmp_path, episodes=1)
    (file,) = tmp_path.glob("*.mp4")
    file.write_bytes(file.read_bytes() + bytes(20 << 20))
    ended = threading.Event()

    def grow():
        with file.open("ab") as growing:
            while not ended.wait(0.001):
                growing.write(bytes(1 << 16))

    grower = threading.Thread(target=grow)
    grower.start()
    try:
        with gallery_of(tmp_path) as gallery:
            for _ in range(3):
                status, headers, body = gallery.get(f"/media/{file.name}")
                assert status == 200
                assert len(body) == int(headers["content-length"])
    finally:
        ended.set()
        grower.join()


@pytest.mark.parametrize(
    "path",
    [
        "../secret.mp4",
        "run/../../secret.mp4",
        "%2e%2e/secret.mp4",
        "..%2fsecret.mp4",
        "run%2f..%2f..%2fsecret.mp4",
        "%252e%252e/secret.mp4",
        "..\\secret.mp4",
        "/{outside}/secret.mp4",
        "{outside}/secret.mp4",
        "%2f{outside}/secret.mp4",
        "../outputs.mp4",
        ".mp4",
        "run/link.mp4",
        "run/folder/secret.mp4",
        "run/loop.mp4",
        "run/dir.mp4",
        "run/pipe.mp4",
        "run/notes.txt",
        "run/notes.txt%00.mp4",
        "run/session.json",
        "linked/videos/observation.images.top/chunk-000/file-000.mp4",
        "run/./x.mp4",
        "",
        "x" * 5000 + ".mp4",
        "run/%ff%fe.mp4",
    ],
)
def test_nothing_but_videos_below_the_folder_can_be_had(gallery, outside, path):
    status, _, body = gallery.get("/media/" + path.replace("{outside}", str(outside)))
    assert status == 404
    assert SECRET not in body


@pytest.mark.parametrize(
    "name",
    [
        "../private",
        "/etc/passwd",
        "run/../run/session.json",
        "{outside}/private",
        "linked",
        "\0",
        "",
        "run/session_link.json",
    ],
)
def test_ids_are_names_of_what_is_listed_and_no_paths(gallery, outside, name):
    asked = quote(name.replace("{outside}", str(outside)), safe="")
    for path in (f"session?id={asked}", f"signals?id={asked}&episode=0", f"rrd?id={asked}&episode=0"):
        assert "there is no recording" in gallery.refusal(f"/api/gallery/{path}", 404)


@pytest.mark.parametrize("number", ["", "x", "-1", "1.5", "0x1", "9" * 30, "٣"])
def test_an_episode_is_a_number(gallery, number):
    said = gallery.refusal(f"/api/gallery/signals?id=run%2Fsession.json&episode={quote(number)}", 400)
    assert said.startswith("episode must be a number")


def test_an_episode_that_was_not_recorded_as_rows(gallery):
    assert "not recorded as a dataset" in gallery.refusal("/api/gallery/signals?id=run%2Fsession.json&episode=0", 404)


def test_links_and_pipes_are_not_listed(gallery):
    assert set(gallery.listing()) == {"run/session.json"}


def test_other_sites_and_names_are_refused(gallery):
    assert gallery.get("/api/gallery", Host="evil.example")[0] == 421
    assert gallery.get("/api/gallery", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="cors")[0] == 403
    assert gallery.get("/api/gallery", "POST", Content_Length="0")[0] == 405


@pytest.mark.parametrize(
    "what", ["link of rows", "link of a video", "link of meta", "template of rows", "template of videos"]
)
def test_a_dataset_that_leads_out_of_the_folder_is_not_read(what, outside, tmp_path):
    private = outside / "private"
    cube = tmp_path / "cube"
    shutil.copytree(private, cube)
    info = json.loads((cube / INFO).read_text())
    match what:
        case "link of rows":
            data_file(cube).unlink()
            data_file(cube).symlink_to(data_file(private))
        case "link of a video":
            video_file(cube).unlink()
            video_file(cube).symlink_to(video_file(private))
        case "link of meta":
            shutil.rmtree(cube / "meta/episodes")
            (cube / "meta/episodes").symlink_to(private / "meta/episodes")
        case "template of rows":
            (cube / INFO).write_text(json.dumps(info | {"data_path": f"{data_file(private)}"}))
        case "template of videos":
            (cube / INFO).write_text(json.dumps(info | {"video_path": f"../../{video_file(private).name}"}))
    with gallery_of(tmp_path) as gallery:
        assert gallery.listing()["cube"]["note"]
        for asked in ("session?id=cube", "signals?id=cube&episode=0", "rrd?id=cube&episode=0"):
            gallery.refusal(f"/api/gallery/{asked}", 409)


def test_not_even_the_name_of_a_column_is_read_through_a_link_out_of_the_folder(outside, tmp_path):
    (tmp_path / "cube/meta").mkdir(parents=True)
    (tmp_path / "cube" / INFO).symlink_to(outside / "private" / INFO)
    (card,) = Shelf(tmp_path).look([tmp_path / "cube"])
    assert card.info is None
    assert card.note == "the link info.json leads out of the gallery's folder"


def test_a_link_that_comes_later_is_not_followed(outside, tmp_path):
    shutil.copytree(outside / "private", tmp_path / "cube")
    with gallery_of(tmp_path) as gallery:
        assert gallery.signals("cube", 0)["action"]
        for file in (data_file, video_file):
            file(tmp_path / "cube").unlink()
            file(tmp_path / "cube").symlink_to(file(outside / "private"))
        gallery.refusal("/api/gallery/signals?id=cube&episode=0", 409)
        gallery.refusal("/api/gallery/rrd?id=cube&episode=0", 409)
        assert gallery.session("cube")["videos"] == []


def test_a_dataset_may_have_links_within_the_folder(outside, tmp_path):
    shutil.copytree(outside / "private", tmp_path / "cube")
    (tmp_path / "blobs").mkdir()
    for number, file in enumerate((data_file, video_file)):
        blob = tmp_path / f"blobs/{number}"
        file(tmp_path / "cube").rename(blob)
        file(tmp_path / "cube").symlink_to(blob)
    with gallery_of(tmp_path) as gallery:
        assert len(gallery.signals("cube", 0)["action"]) == 8
        (video,) = gallery.session("cube")["videos"]
        assert gallery.get(video["url"])[2] == video_file(outside / "private").read_bytes()


class TestRerun:
    """Recordings for Rerun."""

    @pytest.fixture(autouse=True)
    def _installed(self):
        pytest.importorskip("rerun")

    def test_an_episode_is_made_once_outside_of_the_folder(self, outside, tmp_path):
        shutil.copytree(outside / "private", tmp_path / "cube")
        files = sorted(tmp_path.rglob("*"))
        with gallery_of(tmp_path) as gallery:
            (entry,) = gallery.session("cube")["list"]
            first, again = gallery.get(entry["rrd"]), gallery.get(entry["rrd"])
            assert first[0] == 200
            assert first[2].startswith(b"RRF2")
            assert first[2] == again[2]
            assert first[1]["last-modified"] == again[1]["last-modified"]
            assert first[1]["etag"] == again[1]["etag"]
            assert first[1]["content-disposition"] == 'attachment; filename="cube_episode_0.rrd"'
        assert sorted(tmp_path.rglob("*")) == files

    def test_a_file_that_is_there_is_linked(self, outside, tmp_path):
        shutil.copytree(outside / "private", tmp_path / "a/cube")
        shutil.copytree(outside / "private", tmp_path / "b/cube")
        (tmp_path / "a/looked").mkdir()
        for name in ("cube_episode_0.rrd", "cube_episode_0_2.rrd", "cube_episode_1.rrd"):
            (tmp_path / "a/looked" / name).write_bytes(name.encode())
        with gallery_of(tmp_path) as gallery:
            (entry,) = gallery.session("a/cube")["list"]
            assert entry["rrd"] == "/media/a/looked/cube_episode_0_2.rrd"
            status, headers, body = gallery.get(entry["rrd"])
            assert (status, body) == (200, b"cube_episode_0_2.rrd")
            assert headers["content-type"] == "application/octet-stream"
            assert gallery.session("b/cube")["list"][0]["rrd"].startswith("/api/")

    def test_what_is_kept_is_bounded(self, outside, tmp_path):
        make_dataset(tmp_path / "cube", [episode(8, cameras={"top": film(8)})] * 3)
        with Dataset.open(tmp_path / "cube") as dataset:
            one = RerunFiles()
            size = one.of(dataset, 0, "v").stat().st_size
            one.close()
            files = RerunFiles(kept_bytes=int(2.5 * size))
            try:
                first, second = files.of(dataset, 0, "v"), files.of(dataset, 1, "v")
                assert files.of(dataset, 0, "v") == first
                third = files.of(dataset, 2, "v")
                assert [path.exists() for path in (first, second, third)] == [True, False, True]
                assert files.of(dataset, 1, "v").exists()
                folder = first.parent
            finally:
                files.close()
            assert not folder.exists()

    def test_an_episode_that_is_too_large_is_refused(self, outside, tmp_path):
        from taketwo.errors import TakeTwoError

        files = RerunFiles(largest_bytes=1000)
        with Dataset.open(outside / "private") as dataset, pytest.raises(TakeTwoError, match="taketwo view"):
            files.of(dataset, 0, "v")
        files.close()
