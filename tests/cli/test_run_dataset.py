"""`taketwo run` with a dataset: recorded, resumed, refused."""

import json

import pytest

from taketwo.datasets.reader import Dataset
from tests.cli.support import QUICK, error_of, taketwo

pytest.importorskip("gym_aloha")

RUN = ["run", *QUICK, "--session.num_episodes=2", "--dataset.repo_id=me/cube"]


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_LEROBOT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def content_of(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def seeds_of(root):
    with Dataset.open(root) as dataset:
        return [episode.note.seed for episode in dataset.episodes]


def test_a_session_becomes_a_dataset_that_is_replayed_bit_for_bit_and_resumed_with_new_seeds(home, tmp_path):
    done = taketwo(*RUN, "--output_dir=out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    root = home / "me" / "cube"
    assert f"dataset  {root}" in done.stdout
    session = json.loads((tmp_path / "out" / "session.json").read_text())
    assert session["dataset"] == {"path": str(root), "episodes": 2, "rows": 24, "total_episodes": 2, "late": []}

    replayed = taketwo("replay", "--dataset.repo_id=me/cube", "--dataset.episode=all", cwd=tmp_path)
    assert replayed.returncode == 0, replayed.stderr
    assert "bit for bit" in replayed.stdout

    again = taketwo(*RUN, "--resume=true", "--output_dir=out", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "2 episodes, 24 rows; 4 in all" in again.stdout
    assert len(set(seeds_of(root))) == 4
    stored = json.loads((tmp_path / "out" / "session_2.json").read_text())
    assert stored["config"]["session"]["seed_offset"] == 2


def test_a_dataset_that_is_there_is_not_touched_and_both_ways_on_are_named(home, tmp_path):
    assert taketwo(*RUN, cwd=tmp_path).returncode == 0
    before = content_of(home)
    done = taketwo(*RUN, cwd=tmp_path)
    assert done.returncode == 1
    assert "add to it with --resume=true, or record another one under another --dataset.repo_id" in error_of(done)
    assert content_of(home) == before


@pytest.mark.parametrize(
    ("flags", "status", "told"),
    [
        (["--dataset.repo_id=../cube"], 2, "is not a dataset's name"),
        (["--dataset.repo_id=/tmp/cube"], 2, "is not a dataset's name"),
        (["--dataset.vcodec=h265"], 2, "--dataset.vcodec: unknown codec 'h265'. Did you mean 'h264'?"),
        (["--dataset.cameras=left"], 2, "--dataset.cameras: unknown camera 'left'"),
        (["--resume=true"], 1, "there is no dataset in"),
        (["--dataset.gop=0"], 2, "--dataset.gop must be 1 or more"),
    ],
)
def test_what_is_wrong_is_told_before_anything_moves_and_nothing_is_left(home, tmp_path, flags, status, told):
    done = taketwo(*RUN, *flags, cwd=tmp_path)
    assert done.returncode == status
    assert told in error_of(done)
    assert not home.exists()


def test_resume_without_a_dataset_says_what_is_missing(tmp_path):
    done = taketwo("run", *QUICK, "--resume=true", cwd=tmp_path)
    assert done.returncode == 2
    assert "resume needs the dataset to go on with: give --dataset.repo_id or --dataset.root" in error_of(done)


def test_what_cannot_be_sent_to_the_hub_is_safe_and_the_command_for_later_is_told(home, tmp_path, monkeypatch):
    pytest.importorskip("huggingface_hub")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_TOKEN", "hf_none")
    done = taketwo(*RUN, "--dataset.push_to_hub=true", cwd=tmp_path)
    assert done.returncode == 1
    error = error_of(done)
    assert "Nothing is lost" in error
    assert f"taketwo dataset push {home / 'me' / 'cube'} --repo_id=me/cube" in error
    assert len(seeds_of(home / "me" / "cube")) == 2


def test_a_crash_in_the_first_episode_leads_to_repair_whatever_is_asked(home, tmp_path):
    take = home / "me" / "cube" / ".taketwo" / "takes" / "000000"
    take.mkdir(parents=True)
    (take.parent.parent / "info.json").write_text("{}")
    for words in (["dataset", "info", "me/cube"], ["dataset", "list", "me/cube"], RUN):
        done = taketwo(*words, cwd=tmp_path)
        assert done.returncode == 1
        assert f"taketwo dataset repair {home / 'me' / 'cube'}" in error_of(done)
