"""What a gallery tells of sessions in which several environments step together."""

import json
import re
import shutil

import av
import numpy as np
import pytest

from taketwo.datasets.editing import delete_episodes
from taketwo.datasets.reader import Dataset
from taketwo.recording.video import VideoConfig
from tests.live.gallery_making import gallery_of, record, record_vector
from tests.live.test_gallery import url_file
from tests.recording.filming import pictures_in

RATE = 50.0


@pytest.fixture(scope="module")
def top(tmp_path_factory):
    """A folder with sessions of several environments; not to be changed."""
    top = tmp_path_factory.mktemp("outputs")
    record_vector(top / "data", shown_env=1, seed=3, dataset=top / "data/points", discard_at=3)
    record_vector(top / "apart", shown_env=2, video=VideoConfig("episode", subsample=2))
    record_vector(top / "unfilmed", video=VideoConfig("off"), dataset=top / "unfilmed/points")
    record(top / "single", episodes=2)
    return top


@pytest.fixture(scope="module")
def gallery(top):
    with gallery_of(top) as gallery:
        yield gallery


def of(session, env):
    return [entry for entry in session["list"] if entry["env"] == env]


def test_a_line_counts_the_episodes_of_all_and_says_how_many_environments_there_are(gallery):
    line = gallery.listing()["data/session.json"]
    assert (line["episodes"], line["num_envs"]) == (6, 3)
    assert line["counts"] == {"success": 6, "discarded": 1}
    assert line["success_rate"] == 1.0
    assert gallery.listing()["single/session.json"]["num_envs"] == 1


def test_episodes_are_listed_environment_by_environment_and_each_has_a_number_of_its_own(gallery):
    listed = gallery.session("data/session.json")["list"]
    assert [entry["index"] for entry in listed] == list(range(7))
    assert [(entry["env"], entry["episode"], entry["outcome"]) for entry in listed] == [
        (0, 0, "success"),
        (0, 1, "success"),
        (1, 0, "discarded"),
        (1, 0, "success"),
        (1, 1, "success"),
        (2, 0, "success"),
        (2, 1, "success"),
    ]
    assert len({entry["seed"] for entry in listed}) == 6


def test_a_session_of_one_environment_names_none(gallery):
    listed = gallery.session("single/session.json")["list"]
    assert [(entry["env"], entry["index"], entry["episode"]) for entry in listed] == [(None, 0, 0), (None, 1, 1)]


def test_only_the_shown_environments_episodes_are_in_the_film_where_its_chapters_are(gallery, top):
    session = gallery.session("data/session.json")
    (film,) = [k for k, video in enumerate(session["videos"]) if "/points/" not in video["url"]]
    with av.open(str(url_file(top, session["videos"][film]["url"]))) as container:
        chapters = [
            (float(mark["start"] * mark["time_base"]), float(mark["end"] * mark["time_base"]))
            for mark in container.chapters()
        ]
    filmed = [[span for span in entry["spans"] if span["video"] == film] for entry in session["list"]]
    assert [len(spans) for spans in filmed] == [0, 0, 1, 1, 1, 0, 0]
    assert [(span["start_s"], span["end_s"]) for spans in filmed for span in spans] == [
        pytest.approx(mark, abs=1e-3) for mark in chapters
    ]
    shown = of(session, 1)
    assert [entry["frames"] for entry in shown] == [entry["steps"] + 1 for entry in shown]
    assert shown[0]["first_frame"] == 0
    assert shown[1]["first_frame"] == shown[0]["frames"]
    others = of(session, 0) + of(session, 2)
    assert {(entry["first_frame"], entry["frames"]) for entry in others} == {(None, None)}
    assert session["duration_s"] == pytest.approx(chapters[-1][1], abs=1e-3)


def test_films_of_single_episodes_are_the_shown_environments(gallery, top):
    session = gallery.session("apart/session.json")
    assert [len(entry["spans"]) for entry in session["list"]] == [0, 0, 0, 0, 1, 1]
    for entry in of(session, 2):
        path = url_file(top, session["videos"][entry["spans"][0]["video"]]["url"])
        assert f"_ep{entry['episode']:03d}_" in path.name
        assert len(pictures_in(path)) == entry["frames"]


@pytest.mark.parametrize("name", ["data", "unfilmed"])
def test_signals_and_the_datasets_videos_are_those_of_the_very_episode(gallery, top, name):
    session = gallery.session(f"{name}/session.json")
    with Dataset.open(top / name / "points") as dataset:
        places = {(e.note.env, e.note.seed): e for e in dataset.episodes}
        assert len(places) == 6
        for entry in session["list"]:
            assert entry["has_signals"] == (entry["outcome"] != "discarded")
            if not entry["has_signals"]:
                continue
            recorded = places[entry["env"], entry["seed"]]
            rows = dataset.rows(recorded.index)
            signals = gallery.signals(f"{name}/session.json", entry["index"])
            np.testing.assert_allclose(signals["state"], rows["observation.state"], atol=1e-6)
            np.testing.assert_allclose(signals["action"], rows["action"], atol=1e-6)
            spans = {session["videos"][span["video"]]["url"]: span for span in entry["spans"]}
            inside = {url: span for url, span in spans.items() if "/points/" in url}
            assert len(inside) == 2
            for span in inside.values():
                assert span["end_s"] - span["start_s"] == pytest.approx(entry["steps"] / RATE)
            (top_camera,) = [span for url, span in inside.items() if ".top/" in url]
            assert top_camera["start_s"] == pytest.approx(recorded.entry.videos["observation.images.top"].start_s)


def test_equal_seeds_and_lengths_in_two_environments_are_told_apart(top, tmp_path):
    """Simulators that reset themselves may know of the first seeds only, and episodes may all be cut at one length."""
    shutil.copytree(top / "unfilmed", tmp_path / "run")
    for path in [tmp_path / "run/session.json", *tmp_path.rglob("meta/taketwo/episodes/**/*.jsonl")]:
        path.write_text(re.sub(r'"seed": ?\d{4,}', '"seed": 7', path.read_text()))
    with gallery_of(tmp_path) as after, gallery_of(top) as before:
        for entry in before.session("unfilmed/session.json")["list"]:
            one = before.signals("unfilmed/session.json", entry["index"])
            assert after.session("run/session.json")["list"][entry["index"]]["seed"] == 7
            assert after.signals("run/session.json", entry["index"]) == one


def test_a_session_that_runs_still_shows_what_is_done(top, tmp_path):
    shutil.copytree(top / "data", tmp_path / "data")
    file = tmp_path / "data/session.json"
    told = json.loads(file.read_text())
    kept = [episode for episode in told["episodes"] if episode["index"] == 0]
    file.write_text(json.dumps(told | {"complete": False, "episodes": kept, "video": None}))
    with gallery_of(tmp_path) as gallery:
        session = gallery.session("data/session.json")
        assert [(entry["env"], entry["episode"]) for entry in session["list"]] == [
            (0, 0), (0, 1), (1, 0), (1, 0), (1, 1), (2, 0), (2, 1)
        ]  # fmt: skip
        mended = [entry for entry in session["list"] if entry["episode"] == 1]
        assert all(entry["has_signals"] and entry["spans"] for entry in mended)
        discarded, again = of(session, 1)[:2]
        assert again["spans"][0]["start_s"] == discarded["spans"][0]["end_s"]


def test_a_dataset_by_itself_lists_its_episodes_environment_by_environment(top, tmp_path):
    shutil.copytree(top / "data/points", tmp_path / "points")
    with gallery_of(tmp_path) as gallery, Dataset.open(tmp_path / "points") as dataset:
        assert gallery.listing()["points"]["num_envs"] == 3
        session = gallery.session("points")
        assert [(entry["env"], entry["episode"]) for entry in session["list"]] == [
            (env, episode) for env in range(3) for episode in range(2)
        ]
        assert sorted(entry["index"] for entry in session["list"]) == list(range(6))
        for entry in session["list"]:
            assert dataset.episodes[entry["index"]].note.env == entry["env"]
            rows = dataset.rows(entry["index"])["action"]
            np.testing.assert_allclose(gallery.signals("points", entry["index"])["action"], rows, atol=1e-6)
        kept = gallery.session("points")["list"][2:]
        delete_episodes(tmp_path / "points", [entry["index"] for entry in session["list"] if entry["env"] == 0])
        again = gallery.session("points")["list"]
        assert [(e["env"], e["seed"], e["steps"]) for e in again] == [(e["env"], e["seed"], e["steps"]) for e in kept]


@pytest.mark.parametrize(
    "vector", [None, 3, {}, {"num_envs": "four", "shown_env": []}, {"num_envs": True, "shown_env": 99}]
)
def test_an_odd_configuration_hides_nothing(top, tmp_path, vector):
    shutil.copytree(top / "apart", tmp_path / "apart")
    file = tmp_path / "apart/session.json"
    told = json.loads(file.read_text())
    file.write_text(json.dumps(told | {"config": told["config"] | {"vector": vector}}))
    with gallery_of(tmp_path) as gallery:
        assert gallery.listing()["apart/session.json"]["num_envs"] == 3
        assert len(gallery.session("apart/session.json")["list"]) == 6
