"""A change of several files happens as a whole or not at all."""

import json

import pytest

from taketwo.datasets.transaction import LIST, STAGED, Transaction, commit_pending, finish_commit
from taketwo.errors import DatasetError, RecordingError


def files(root):
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def root(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "old.txt").write_text("old")
    (tmp_path / "gone.txt").write_text("gone")
    return tmp_path


def staged(root):
    transaction = Transaction(root)
    transaction.write("a/old.txt", "new")
    transaction.write("b/c/more.txt", "more")
    return transaction


BEFORE = {"a/old.txt": "old", "gone.txt": "gone"}
AFTER = {"a/old.txt": "new", "b/c/more.txt": "more"}


def test_nothing_happens_before_the_commit(root):
    staged(root)
    assert (root / "a" / "old.txt").read_text() == "old"
    assert not (root / "b").exists()
    assert not commit_pending(root)


def test_a_commit_puts_replaces_and_removes(root):
    staged(root).commit(remove=["gone.txt"])
    assert files(root) == AFTER
    assert not commit_pending(root)


def test_a_file_that_is_put_is_not_removed(root):
    staged(root).commit(remove=["gone.txt", "a/old.txt"])
    assert files(root) == AFTER


def test_a_cancelled_one_leaves_nothing(root):
    staged(root).cancel()
    assert files(root) == BEFORE


def test_what_a_process_staged_before_it_died_is_gone_with_the_next_one(root):
    staged(root)
    Transaction(root)
    assert files(root) == BEFORE


@pytest.mark.parametrize("done", [0, 1, 2])
def test_an_interrupted_one_is_finished_from_wherever_it_was(root, done):
    transaction = staged(root)
    plan = {"put": ["a/old.txt", "b/c/more.txt"], "remove": ["gone.txt"]}
    (root / LIST).write_text(json.dumps(plan))
    for relative in plan["put"][:done]:
        (root / relative).parent.mkdir(parents=True, exist_ok=True)
        (root / STAGED / relative).replace(root / relative)
    del transaction
    assert commit_pending(root)
    finish_commit(root)
    assert files(root) == AFTER
    assert not commit_pending(root)


@pytest.mark.parametrize("outside", ["../x", "/etc/x", "a/../../x"])
def test_a_list_that_reaches_outside_is_refused(root, outside):
    staged(root)
    (root / LIST).write_text(json.dumps({"put": [], "remove": [outside]}))
    with pytest.raises(DatasetError, match=r"commit\.json is damaged: .* is not inside of the dataset"):
        finish_commit(root)


def test_a_damaged_list_is_told(root):
    staged(root)
    (root / LIST).write_text('{"put": [')
    with pytest.raises(DatasetError, match=r"commit\.json is damaged"):
        finish_commit(root)


def test_a_disk_that_takes_no_more_leaves_what_was_there(root):
    transaction = staged(root)
    (root / STAGED / "b" / "c" / "more.txt").unlink()  # what could not be written is missing
    with pytest.raises(RecordingError, match="The dataset is as it was before"):
        transaction.commit(remove=["gone.txt"])
    assert files(root) == BEFORE
