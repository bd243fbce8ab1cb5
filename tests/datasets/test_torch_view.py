"""The view's items beside those of LeRobot itself, in LeRobot's environment."""

import importlib
import sys
from pathlib import Path

import pytest

import taketwo
from taketwo.errors import MissingExtraError
from tests.datasets.foreign import LENGTHS, foreign_dataset
from tests.peers import run_in_peer

PROBE = Path(__file__).parent / "probes" / "torch_view_compare.py"
SOURCES = Path(taketwo.__file__).parent.parent


@pytest.fixture(scope="module", params=[("0.4.4", "video"), ("0.6.1", "image")], ids="-".join)
def compared(request, tmp_path_factory):
    version, kind = request.param
    foreign = foreign_dataset(tmp_path_factory.getbasetemp() / "foreign", version, kind)
    return run_in_peer(version, PROBE, SOURCES, foreign.root)


@pytest.mark.parametrize("how", ["plain", "pickled", "windows", "single", "last"])
def test_items_are_those_of_lerobot(compared, how):
    assert compared["rows"] == [sum(LENGTHS)] * 2
    assert compared[how] == []


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_of_a_data_loader_bring_the_same(compared, method):
    assert compared["is a torch dataset"]
    assert compared["loaded"][method] == []


def test_shuffling_brings_every_row_once(compared):
    assert compared["shuffled"]


def test_some_of_the_columns_and_cameras(compared):
    bookkeeping = {"episode_index", "frame_index", "index", "task_index", "timestamp"}
    assert set(compared["some"]) == {"action", "observation.images.wrist", "task"} | bookkeeping


def test_what_is_not_there_is_refused(compared):
    said = compared["refused"]
    assert said["camera"].startswith("ConfigError: unknown camera 'tip'. Did you mean 'top'?")
    assert said["column"].startswith("ConfigError: unknown column 'acton'. Did you mean 'action'?")
    assert said["column in time"].startswith("ConfigError: unknown column 'action'.")
    assert said["between frames"] == "ConfigError: delta_timestamps of 'action': 0.01 s is no multiple of 1/30 s"
    assert compared["after the end"] == "IndexError: there is no row 40: the dataset has 40"


def test_without_torch_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "taketwo.datasets.torch_view", raising=False)
    with pytest.raises(MissingExtraError, match=r"pip install 'taketwo\[torch\]'"):
        importlib.import_module("taketwo.datasets.torch_view")
