"""Names and folders of datasets."""

from pathlib import Path

import pytest

from taketwo.datasets.layout import FilePlace, check_repo_id, data_path, find_root, lerobot_home, trace_path, video_path
from taketwo.errors import ConfigError


@pytest.mark.parametrize("name", ["cube", "me/cube", "a1/b_2.c-d", "M/X"])
def test_names_that_the_hub_takes(name):
    check_repo_id(name)


@pytest.mark.parametrize(
    "name", ["", "../x", "a/../b", "/etc", "a/b/c", "a b", "me/", "/me", "me/.x", "me/x.", "me/a..b", "me/a--b", "~/x"]
)
def test_names_that_it_does_not_take(name):
    with pytest.raises(ConfigError, match="is not a dataset's name"):
        check_repo_id(name)


def test_home_is_where_lerobot_has_it(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_LEROBOT_HOME", str(tmp_path))
    assert find_root("me/cube", None) == tmp_path / "me/cube"
    monkeypatch.delenv("HF_LEROBOT_HOME")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    assert lerobot_home() == tmp_path / "hf" / "lerobot"
    monkeypatch.delenv("HF_HOME")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/someone")
    assert lerobot_home() == Path("/home/someone/.cache/huggingface/lerobot")


def test_a_root_is_the_folder_itself(tmp_path):
    assert find_root("me/cube", tmp_path / "x") == tmp_path / "x"
    assert find_root(None, tmp_path / "x") == tmp_path / "x"


def test_without_either_there_is_no_dataset():
    with pytest.raises(ConfigError, match="which dataset"):
        find_root(None, None)


def test_places_go_on_in_the_next_folder():
    assert FilePlace(0, 998).following() == FilePlace(0, 999)
    assert FilePlace(0, 999).following() == FilePlace(1, 0)
    assert FilePlace(0, 4).following(5) == FilePlace(1, 0)


def test_paths():
    assert data_path(FilePlace(1, 23)) == "data/chunk-001/file-023.parquet"
    assert video_path("observation.images.top", FilePlace()) == "videos/observation.images.top/chunk-000/file-000.mp4"
    assert trace_path(1234) == "traces/chunk-001/episode-001234.parquet"
