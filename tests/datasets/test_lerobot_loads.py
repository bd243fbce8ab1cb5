"""What real LeRobot makes of the datasets that we record, each supported version in an environment of its own."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.datasets.recording import record_aloha
from tests.peers import VERSIONS, peer_output, run_in_peer

pytestmark = pytest.mark.timeout(400)
"""LeRobot alone takes eight seconds to import."""

PROBES = Path(__file__).parent / "probes"


def truth_lengths(recorded):
    """Rows of each episode."""
    with np.load(recorded.truth) as truth:
        return [len(truth[f"{episode}/action"]) for episode in range(len({name.split("/")[0] for name in truth}))]


@pytest.fixture(scope="module", params=VERSIONS)
def found(request, recorded):
    """What a version of LeRobot finds, by its way to decode video."""
    return run_in_peer(request.param, PROBES / "lerobot_load.py", recorded.root, recorded.repo_id, recorded.truth)


@pytest.fixture(params=["pyav", "torchcodec"])
def loaded(request, found):
    """The same with one of its ways to decode video."""
    return found[request.param]


def test_every_row_is_there(loaded, recorded):
    lengths = truth_lengths(recorded)
    assert loaded["rows"] == sum(lengths)
    assert loaded["episodes"] == len(lengths)
    assert loaded["fps"] == recorded.fps


def test_data_loader_with_workers_brings_all_rows_in_order(loaded):
    assert loaded["loaded"] == list(range(loaded["rows"]))


def test_pictures_are_what_was_rendered(loaded):
    assert len(loaded["cameras"]) == 2
    for camera in loaded["cameras"]:
        assert loaded["psnr"][camera]["mean"] > 30, camera
        assert loaded["psnr"][camera]["min"] > 26, camera


def test_numbers_and_tasks_are_those_of_the_row(loaded):
    assert loaded["numbers_differ"] == []
    assert loaded["tasks_differ"] == []


def test_windows_of_steps_have_the_right_pictures_and_end_with_the_episode(loaded):
    assert loaded["windows"]["padding_differs"] == []
    assert loaded["windows"]["min_psnr"] > 26


def test_every_camera_and_number_has_statistics(loaded):
    assert {*loaded["cameras"], "action", "observation.state", "next.reward", "next.success"} <= set(loaded["stats"])


@pytest.mark.parametrize("version", VERSIONS)
def test_its_viewer_writes_a_recording(version, recorded, tmp_path):
    peer_output(
        version,
        *("-m", "lerobot.scripts.lerobot_dataset_viz", "--repo-id", recorded.repo_id, "--root", recorded.root),
        *("--episode-index", "0", "--save", "1", "--output-dir", tmp_path),
    )
    (recording,) = tmp_path.iterdir()
    assert recording.name == f"{recorded.repo_id.replace('/', '_')}_episode_0.rrd"
    assert recording.read_bytes()[:4] == b"RRF2"


@pytest.mark.parametrize("version", VERSIONS)
def test_it_adds_an_episode_and_both_read_the_result(version, recorded, tmp_path):
    from taketwo.datasets.reader import Dataset

    root = tmp_path / "dataset"
    shutil.copytree(recorded.root, root)
    added = run_in_peer(version, PROBES / "lerobot_append.py", root, recorded.repo_id, recorded.truth)
    lengths = truth_lengths(recorded)
    assert added["had"] == {"rows": sum(lengths), "episodes": len(lengths)}
    assert added["rows"] == sum(lengths) + 12
    assert added["episodes"] == len(lengths) + 1
    assert added["differing"] == []
    assert added["brightness_error"] < 3
    assert added["tasks"] == ["do something else"]
    assert set(added["counts_added"].values()) == {12}
    assert added["before"]["numbers_differ"] == added["before"]["tasks_differ"] == []
    assert min(camera["min"] for camera in added["before"]["psnr"].values()) > 26

    with Dataset.open(root) as ours:
        assert [episode.length for episode in ours.episodes] == [*lengths, 12]
        assert ours.episodes[-1].tasks == ("do something else",)
        assert set(ours.rows(len(lengths), ["action"])["action"][5].tolist()) == {5.0}
        for camera in ours.cameras:
            assert abs(float(ours.frame(len(lengths), camera, 5).mean()) - 90) < 3

    truth = record_aloha(root, episodes=1, steps=4, seed=9, resume=True)
    with Dataset.open(root) as ours:
        assert [episode.length for episode in ours.episodes] == [*lengths, 12, 4]
        assert ours.episodes[-2].tasks == ("do something else",)
        assert abs(float(ours.frame(len(lengths), "top", 5).mean()) - 90) < 3
        sent = [step.decision.sent for step in truth.episodes[0]]
        np.testing.assert_allclose(ours.rows(len(lengths) + 1, ["action"])["action"], sent, atol=1e-6)
    again = run_in_peer(version, PROBES / "lerobot_rows.py", root, recorded.repo_id)
    assert again == {"rows": sum(lengths) + 16, "indices": list(range(sum(lengths) + 16))}
