"""One writer at a time, and a dead one is none."""

import subprocess
import sys

import pytest

from taketwo.datasets.lock import DatasetLock
from taketwo.errors import DatasetError

HOLD = """
import sys, time
from pathlib import Path
from taketwo.datasets.lock import DatasetLock
lock = DatasetLock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def test_the_second_is_refused_and_told_who_has_it(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(DatasetError, match=rf"is being written by process {holder.pid}: wait for it"):
            DatasetLock(tmp_path)
        holder.kill()
    DatasetLock(tmp_path).release()


def test_it_leaves_nothing_behind(tmp_path):
    lock = DatasetLock(tmp_path / "me" / "cube")
    lock.release()
    assert not (tmp_path / "me" / "cube").exists()


def test_what_is_beside_it_stays(tmp_path):
    lock = DatasetLock(tmp_path / "cube")
    (tmp_path / "cube" / "note.txt").write_text("mine")
    lock.release()
    assert [path.name for path in (tmp_path / "cube").iterdir()] == ["note.txt"]


def test_it_can_be_taken_again_and_again(tmp_path):
    for _ in range(3):
        DatasetLock(tmp_path).release()
