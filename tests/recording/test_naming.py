import threading

import pytest

from taketwo.errors import RecordingError
from taketwo.recording.naming import move_into_place, reserve, reserve_folder, safe_name


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("transfer_cube", "transfer_cube"),
        ("ALE/Pong-v5", "ALE_Pong-v5"),
        ("../../etc/passwd", "etc_passwd"),
        ("..", "session"),
        ("", "session"),
        ("a b\tc:d\\e\0f", "a_b_c_d_e_f"),
        ("-rf", "rf"),
        ("Würfel", "Würfel"),
    ],
)
def test_names_are_made_safe_for_file_systems(name, safe):
    assert safe_name(name) == safe


def test_long_names_are_cut_and_stay_text():
    assert len(safe_name("ü" * 500).encode()) <= 120


def test_taken_names_are_numbered_before_the_suffix(tmp_path):
    names = [reserve(tmp_path, "a.b", ".mp4").name for _ in range(3)]
    assert names == ["a.b.mp4", "a.b_2.mp4", "a.b_3.mp4"]
    assert [reserve_folder(tmp_path, "c").name for _ in range(2)] == ["c", "c_2"]


def test_no_name_is_given_twice_to_those_who_ask_at_once(tmp_path):
    names = []
    threads = [
        threading.Thread(target=lambda: names.extend(reserve(tmp_path, "x", ".json").name for _ in range(20)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(names)) == 160


def test_a_finished_file_never_replaces_another(tmp_path):
    (tmp_path / "take.mp4").write_text("old")
    written = tmp_path / "written"
    written.write_text("new")
    assert move_into_place(written, tmp_path, "take", ".mp4").name == "take_2.mp4"
    assert (tmp_path / "take.mp4").read_text() == "old"
    assert (tmp_path / "take_2.mp4").read_text() == "new"
    assert not written.exists()


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(RecordingError, match=r"cannot write .*nowhere/x\.mp4: No such file"):
        reserve(tmp_path / "nowhere", "x", ".mp4")
