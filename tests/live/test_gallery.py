"""What a gallery tells of real recordings."""

import json
import os
import shutil

import av
import numpy as np
import pytest

from taketwo.datasets.editing import delete_episodes
from taketwo.datasets.layout import INFO
from taketwo.datasets.reader import Dataset
from taketwo.datasets.transaction import LIST
from taketwo.recording.video import VideoConfig
from tests.datasets.making import episode, film, make_dataset
from tests.live.gallery_making import TwoCameras, gallery_of, record
from tests.recording.filming import pictures_in

RATE = 50.0


@pytest.fixture(scope="module")
def top(tmp_path_factory):
    """A folder with all kinds of recordings; not to be changed."""
    top = tmp_path_factory.mktemp("outputs")
    record(top / "plain", episodes=3, seed=5)
    record(top / "filmed apart", episodes=2, video=VideoConfig("episode", subsample=3))
    record(top / "both", episodes=2, video=VideoConfig("both"), discard_at=3)
    record(top / "data", seed=1, dataset=top / "data/cube", environment=TwoCameras())
    record(top / "data", seed=2, dataset=top / "data/cube", environment=TwoCameras(), resume=True, steps=4)
    record(top / "unfilmed", video=VideoConfig("off"), dataset=top / "unfilmed/cube")
    make_dataset(top / "foreign/cube", [episode(8, cameras={"top": film(8)})] * 2, notes=False, file_mb=0)
    return top


@pytest.fixture(scope="module")
def gallery(top):
    with gallery_of(top) as gallery:
        yield gallery


def url_file(top, url):
    from urllib.parse import unquote

    return top / unquote(url).removeprefix("/media/")


def test_the_page_is_told_what_it_shows(gallery):
    state = gallery.json("/api/state")
    assert state["mode"] == "gallery"
    assert state["taketwo"]
    status, headers, body = gallery.get("/")
    assert status == 200
    assert b"<html" in body
    assert "default-src 'self'" in headers["content-security-policy"]


def test_sessions_and_datasets_without_one_are_listed_the_newest_first(gallery, top):
    lines = gallery.json("/api/gallery")
    assert lines["folder"] == str(top)
    assert [line["started"] for line in lines["sessions"]] == sorted(
        (line["started"] for line in lines["sessions"]), reverse=True
    )
    assert {line["id"] for line in lines["sessions"]} == {
        "plain/session.json",
        "filmed%20apart/session.json",
        "both/session.json",
        "data/session.json",
        "data/session_2.json",
        "unfilmed/session.json",
        "foreign/cube",
    }
    line = gallery.listing()["plain/session.json"]
    told = json.loads((top / "plain/session.json").read_text())
    assert line == {
        "id": "plain/session.json",
        "name": "session",
        "environment": "point",
        "policy": "steering",
        "seed": 5,
        "started": line["started"],
        "complete": True,
        "reason": "all episodes done",
        "episodes": 3,
        "num_envs": 1,
        "counts": {"success": 3},
        "success_rate": 1.0,
        "duration_s": pytest.approx(told["video"]["duration_s"]),
        "has_video": True,
        "has_signals": False,
        "note": None,
    }


@pytest.mark.parametrize("name", ["plain/session.json", "both/session.json", "data/session.json"])
def test_episodes_are_where_the_chapters_of_the_film_are(gallery, top, name):
    session = gallery.session(name)
    film = session["videos"][0]
    with av.open(str(url_file(top, film["url"]))) as container:
        chapters = [
            (float(mark["start"] * mark["time_base"]), float(mark["end"] * mark["time_base"]))
            for mark in container.chapters()
        ]
    spans = [entry["spans"][0] for entry in session["list"]]
    assert [span["video"] for span in spans] == [0] * len(spans)
    assert [(span["start_s"], span["end_s"]) for span in spans] == [pytest.approx(mark, abs=1e-3) for mark in chapters]
    assert session["control_hz"] == session["fps"] == RATE
    assert [entry["frames"] for entry in session["list"]] == [entry["steps"] + 1 for entry in session["list"]]
    assert session["config"]["policy"] == {"type": "steering"}


def test_films_of_single_episodes_are_each_a_video(gallery, top):
    session = gallery.session("filmed%20apart/session.json")
    assert session["fps"] == pytest.approx(RATE / 3)
    assert session["control_hz"] == pytest.approx(RATE)
    assert [video["episodes"] for video in session["videos"]] == [[0], [1]]
    for entry in session["list"]:
        (span,) = entry["spans"]
        path = url_file(top, session["videos"][span["video"]]["url"])
        assert f"_ep{entry['index']:03d}_" in path.name
        assert len(pictures_in(path)) == entry["frames"]
        assert (span["start_s"], span["end_s"]) == (0, pytest.approx(entry["frames"] * 3 / RATE))


def test_a_discarded_take_is_listed_beside_the_one_that_was_kept_and_counts_for_nothing(gallery):
    session = gallery.session("both/session.json")
    assert [(entry["index"], entry["outcome"]) for entry in session["list"]] == [
        (0, "discarded"),
        (0, "success"),
        (1, "success"),
    ]
    assert session["episodes"] == 2
    assert session["counts"] == {"discarded": 1, "success": 2}
    assert session["success_rate"] == 1.0
    assert [video["episodes"] for video in session["videos"]] == [[0, 1]]  # the films of single ones add nothing


def test_signals_are_the_rows_of_the_dataset(gallery, top):
    for number, name in enumerate(["data/session.json", "data/session_2.json"]):
        session = gallery.session(name)
        assert session["has_signals"]
        assert session["signals"] == {
            "action": {"names": ["x", "y"], "units": ["m", "m"]},
            "state": {"names": ["x", "y", "target_x", "target_y"]},
        }
        with Dataset.open(top / "data/cube") as dataset:
            for entry in session["list"]:
                rows = dataset.rows(2 * number + entry["index"])
                signals = gallery.signals(name, entry["index"])
                assert entry["has_signals"]
                assert len(rows["action"]) == entry["steps"]
                np.testing.assert_allclose(signals["action"], rows["action"], atol=1e-6)
                np.testing.assert_allclose(signals["state"], rows["observation.state"], atol=1e-6)
                np.testing.assert_allclose(signals["reward"], rows["next.reward"], atol=1e-6)
                np.testing.assert_allclose(signals["time"], np.arange(entry["steps"]) / RATE)
                assert signals["p_fail"] is None
    assert gallery.listing()["data/session_2.json"]["counts"] == {"timeout": 2}


def test_cameras_that_the_film_does_not_show_come_from_the_dataset(gallery, top):
    session = gallery.session("data/session_2.json")
    assert [video["name"] for video in session["videos"]] == ["top", "angle"]
    assert "/cube/videos/observation.images.angle/" in session["videos"][1]["url"]
    with Dataset.open(top / "data/cube") as dataset:
        for entry in session["list"]:
            span = entry["spans"][1]
            expected = dataset.episodes[2 + entry["index"]].entry.videos["observation.images.angle"]
            assert (span["start_s"], span["end_s"]) == (pytest.approx(expected.start_s), pytest.approx(expected.end_s))


def test_a_session_without_film_shows_the_cameras_of_its_dataset(gallery):
    session = gallery.session("unfilmed/session.json")
    assert session["has_video"]
    assert session["control_hz"] == RATE
    assert [video["name"] for video in session["videos"]] == ["top"]
    assert session["duration_s"] == pytest.approx(sum(entry["steps"] + 1 for entry in session["list"]) / RATE)


def test_a_dataset_of_others_shows_what_its_rows_tell(gallery, top):
    line = gallery.listing()["foreign/cube"]
    assert line["environment"] is line["policy"] is line["seed"] is None
    assert line["counts"] == {"success": 2}
    assert line["started"] == pytest.approx((top / "foreign/cube" / INFO).stat().st_mtime)
    session = gallery.session("foreign/cube")
    assert [entry["prompts"] for entry in session["list"]] == [["push it"]] * 2
    assert [(video["name"], video["episodes"]) for video in session["videos"]] == [("top", [0]), ("top", [1])]
    assert session["signals"]["action"] == {"names": ["lift", "grip"], "units": []}
    signals = gallery.signals("foreign/cube", 1)
    assert len(signals["action"]) == len(signals["time"]) == 8
    assert signals["reward"] is None


def test_a_folder_that_was_moved_and_renamed_shows_the_same(top, tmp_path):
    with gallery_of(top) as before, gallery_of(tmp_path) as after:
        shutil.copytree(top / "data", tmp_path / "elsewhere/run")
        (tmp_path / "elsewhere/run/cube").rename(tmp_path / "elsewhere/renamed")
        shutil.copytree(top / "filmed apart", tmp_path / "apart")
        for old, new in (
            ("data/session_2.json", "elsewhere/run/session_2.json"),
            ("filmed%20apart/session.json", "apart/session.json"),
        ):
            one, other = before.session(old), after.session(new)
            assert [entry["spans"] for entry in one["list"]] == [entry["spans"] for entry in other["list"]]
            assert all(url_file(tmp_path, video["url"]).is_file() for video in other["videos"])
            assert one["signals"] == other["signals"]
        assert before.signals("data/session_2.json", 1) == after.signals("elsewhere/run/session_2.json", 1)
        assert len(after.listing()) == 3


def test_of_two_copies_each_session_has_the_dataset_beside_it(top, tmp_path):
    for name in ("one", "two"):
        shutil.copytree(top / "data", tmp_path / name)
    with gallery_of(tmp_path) as gallery:
        for name in ("one", "two"):
            session = gallery.session(f"{name}/session.json")
            assert all(video["url"].startswith(f"/media/{name}/") for video in session["videos"])


def test_episodes_that_were_deleted_from_the_dataset_have_no_signals(top, tmp_path):
    shutil.copytree(top / "data", tmp_path / "data")
    with gallery_of(tmp_path) as gallery:
        kept = gallery.signals("data/session_2.json", 1)
        delete_episodes(tmp_path / "data/cube", [0, 2])
        assert [entry["has_signals"] for entry in gallery.session("data/session.json")["list"]] == [False, True]
        assert [entry["has_signals"] for entry in gallery.session("data/session_2.json")["list"]] == [False, True]
        assert gallery.signals("data/session_2.json", 1) == kept
        assert "no episode 0" in gallery.refusal("/api/gallery/signals?id=data%2Fsession.json&episode=0", 404)


def test_an_episode_that_was_mended_after_a_crash_is_shown_though_the_session_does_not_tell_of_it(top, tmp_path):
    shutil.copytree(top / "data", tmp_path / "data")
    file = tmp_path / "data/session_2.json"
    told = json.loads(file.read_text())
    file.write_text(json.dumps(told | {"complete": False, "episodes": told["episodes"][:1], "video": None}))
    with gallery_of(tmp_path) as gallery:
        session = gallery.session("data/session_2.json")
        assert [(entry["index"], entry["steps"], entry["has_signals"]) for entry in session["list"]] == [
            (0, 4, True),
            (1, 4, True),
        ]
        mended = session["list"][1]
        assert [session["videos"][span["video"]]["name"] for span in mended["spans"]] == ["top", "angle"]
        with Dataset.open(tmp_path / "data/cube") as dataset:
            rows = dataset.rows(3)["action"]
        np.testing.assert_allclose(gallery.signals("data/session_2.json", 1)["action"], rows, atol=1e-6)


def test_a_dataset_is_listed_by_itself_once_a_session_of_it_is_gone(top, tmp_path):
    shutil.copytree(top / "data", tmp_path / "data")
    with gallery_of(tmp_path) as gallery:
        assert "data/cube" not in gallery.listing()
        (tmp_path / "data/session.json").unlink()
        line = gallery.listing()["data/cube"]
        assert (line["environment"], line["policy"], line["episodes"]) == ("point", "steering", 4)
        assert [len(entry["spans"]) for entry in gallery.session("data/cube")["list"]] == [2] * 4


def test_new_recordings_show_up_and_old_ones_go(top, tmp_path):
    with gallery_of(tmp_path) as gallery:
        assert gallery.listing() == {}
        record(tmp_path / "run", episodes=1)
        assert gallery.listing()["run/session.json"]["episodes"] == 1
        told = json.loads((tmp_path / "run/session.json").read_text())
        (tmp_path / "run/session.json").write_text(json.dumps(told | {"episodes": told["episodes"] * 2}))
        assert gallery.listing()["run/session.json"]["episodes"] == 2
        shutil.rmtree(tmp_path / "run")
        assert gallery.listing() == {}
        shutil.rmtree(tmp_path)
        assert gallery.listing() == {}


def test_films_of_sessions_that_were_killed_in_one_folder_are_told_apart(tmp_path):
    for episodes in (1, 3):
        file = record(tmp_path, episodes=episodes)
        told = json.loads(file.read_text())
        film = tmp_path / told["video"]["path"].rsplit("/", 1)[1]
        number = "" if episodes == 1 else "_2"
        film.rename(tmp_path / f"point_seed0{number}.partial.mp4")
        file.write_text(json.dumps(told | {"complete": False, "reason": None, "video": None}))
    record(tmp_path, episodes=2)
    with gallery_of(tmp_path) as gallery:
        for name, part in (("session", "0.partial"), ("session_2", "0_2.partial"), ("session_3", "0_2eps")):
            session = gallery.session(f"{name}.json")
            assert [video["url"] for video in session["videos"]] == [f"/media/point_seed{part}.mp4"]
            assert session["control_hz"] == RATE
            seconds = sum(entry["frames"] for entry in session["list"]) / RATE
            assert session["list"][-1]["spans"][0]["end_s"] == pytest.approx(seconds)
            frames = len(pictures_in(tmp_path / f"point_seed{part}.mp4"))
            assert seconds == pytest.approx(frames / RATE)


@pytest.mark.parametrize(
    ("content", "note"),
    [
        (b'{"complete": true, "config": {}, "epis', "damaged"),
        (b"\xff\xfe\x00", "damaged"),
        (b"", "damaged"),
        (b'{"config": {}, "episodes": 3, "complete": true}', "session_x.json: "),
        (b'{"config": {}, "episodes": [], "complete": true, "started_at": "yesterday"}', "session_x.json: "),
        (b'{"config": ' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}", "damaged"),
        (b'{"a": "file of another program"}', None),
        (b"[1, 2]", None),
        (
            b'{"config": {"env": 3, "session": [], "video": null}, "episodes": [{"index": 9007199254740992, '
            b'"steps": 0, "outcome": "odd", "first_frame": 9007199254740992}], "complete": false, '
            b'"started_at": "0001-01-01T00:00:00"}',
            "",
        ),
    ],
)
def test_files_that_are_broken_or_of_others_hide_nothing(content, note, tmp_path):
    (tmp_path / "session_x.json").write_bytes(content)
    record(tmp_path / "fine", episodes=1)
    with gallery_of(tmp_path) as gallery:
        lines = gallery.listing()
        assert lines["fine/session.json"]["episodes"] == 1
        if note is None:
            assert "session_x.json" not in lines
        else:
            line = lines["session_x.json"]
            assert note in (line["note"] or "")
            assert gallery.session("session_x.json")["id"] == "session_x.json"


def test_a_dataset_that_is_being_changed_is_as_it_was_before(top, tmp_path):
    shutil.copytree(top / "foreign/cube", tmp_path / "seen")
    with gallery_of(tmp_path) as gallery:
        before = gallery.listing()["seen"]
        shutil.copytree(top / "foreign/cube", tmp_path / "new")
        for name in ("seen", "new"):
            (tmp_path / name / LIST).parent.mkdir(exist_ok=True)
            (tmp_path / name / LIST).write_text("{}")
            info = tmp_path / name / INFO
            info.write_text(info.read_text() + "\n")
        lines = gallery.listing()
        assert lines["seen"] | {"started": before["started"]} == before
        assert "in the middle of a change" in lines["new"]["note"]
        assert "in the middle of a change" in gallery.refusal("/api/gallery/session?id=new", 409)
        for name in ("seen", "new"):
            (tmp_path / name / LIST).unlink()
        assert gallery.listing()["new"]["note"] is None


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"codebase_version": "v2.1", "fps": 5, "features": {}}', '{"codebase_version": "v3.0", "fps": "x"}'],
)
def test_a_damaged_dataset_has_a_note(content, top, tmp_path):
    shutil.copytree(top / "foreign/cube", tmp_path / "cube")
    (tmp_path / "cube" / INFO).write_text(content)
    with gallery_of(tmp_path) as gallery:
        assert gallery.listing()["cube"]["note"]
        gallery.refusal("/api/gallery/session?id=cube", 409)
        gallery.refusal("/api/gallery/signals?id=cube&episode=0", 409)


def test_rows_that_are_damaged_are_told_and_nothing_else_is_lost(top, tmp_path):
    shutil.copytree(top / "data", tmp_path / "data")
    (data,) = (tmp_path / "data/cube/data").rglob("*.parquet")
    data.write_bytes(b"PAR1 no more")
    with gallery_of(tmp_path) as gallery:
        assert len(gallery.session("data/session.json")["list"]) == 2
        assert "file-000.parquet" in gallery.refusal("/api/gallery/signals?id=data%2Fsession.json&episode=0", 409)


def test_names_that_are_no_text_are_served(tmp_path):
    folder = tmp_path / os.fsdecode(b"caf\xe9 100%?#")
    record(tmp_path / "plain", episodes=1)
    (tmp_path / "plain").rename(folder)
    with gallery_of(tmp_path) as gallery:
        (name,) = gallery.listing()
        session = gallery.session(name)
        status, headers, body = gallery.get(session["videos"][0]["url"])
        assert (status, headers["content-type"]) == (200, "video/mp4")
        (file,) = folder.glob("*.mp4")
        assert body == file.read_bytes()


def test_an_endless_tree_is_not_walked_to_its_end(tmp_path):
    from taketwo.live.gallery.folder import look_into

    for number in range(20):
        (tmp_path / f"{number:02d}/deep").mkdir(parents=True)
    (tmp_path / "00/session.json").write_text("{}")
    found = look_into(tmp_path, most_folders=10)
    assert not found.everything
    assert found.sessions == [tmp_path / "00/session.json"]
    assert look_into(tmp_path).everything
