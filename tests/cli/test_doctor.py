import json
import socket

import pytest

from taketwo import gl
from taketwo.cli import doctor, extras
from tests.cli.support import taketwo


def by_name(done):
    report = json.loads(done.stdout)
    return report["ok"], {check["name"]: check for check in report["checks"]}


def test_json_tells_what_the_table_tells(tmp_path):
    done = taketwo("doctor", "--json", cwd=tmp_path)
    able, checks = by_name(done)
    assert done.returncode == (0 if able else 1)
    assert checks["video encoder"]["status"] == "ok"
    assert "libx264" in checks["video encoder"]["found"]
    assert {"taketwo", "extra aloha", "rendering", "GPU", "display", "output folder"} <= set(checks)
    table = taketwo("doctor", cwd=tmp_path)
    assert table.returncode == done.returncode
    assert all(name in table.stdout for name in checks)
    assert not list(tmp_path.iterdir())


def test_a_back_end_that_does_not_work_comes_with_advice():
    done = taketwo("doctor", "--json", MUJOCO_GL="glfw", DISPLAY="", WAYLAND_DISPLAY="")
    _, checks = by_name(done)
    assert done.returncode == 1
    assert checks["rendering"]["status"] == "fail"
    assert checks["rendering"]["advice"] == "unset MUJOCO_GL"


def test_without_mujoco_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(doctor, "installed", lambda package: None)
    (check,) = doctor.check_gl()
    assert check.status == "fail"
    assert check.advice == "pip install 'taketwo[aloha]'"


def test_the_packages_of_an_extra_include_those_of_the_extras_that_it_asks_for(monkeypatch):
    declared = {
        "taketwo": ["numpy>=1", "gymnasium[classic-control,other]>=1.0; extra == 'gym'"],
        "gymnasium": ['pygame-ce>=2.1; extra == "classic-control"', 'moviepy; extra == "video"'],
    }
    monkeypatch.setattr(extras, "requires", declared.__getitem__)
    assert extras.extras() == {"gym": ["gymnasium", "pygame-ce"]}


def test_one_back_end_is_enough(monkeypatch):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    probes = {"egl": gl.Probe(False, "", "no"), "osmesa": gl.Probe(True, "llvmpipe", "")}
    monkeypatch.setattr(gl, "probe", probes.__getitem__)
    monkeypatch.setattr(doctor, "installed", lambda package: "1")
    statuses = {check.name: check.status for check in doctor.check_gl()}
    assert statuses == {"rendering: egl": "note", "rendering: osmesa": "ok", "rendering": "ok"}


def test_a_port_that_is_taken_is_told_and_is_no_failure():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        check = doctor.check_port(port, "a server")
    assert check.status == "note"
    assert "taken" in check.found
    assert doctor.check_port(port, "a server").status == "ok"


@pytest.mark.parametrize("folder", ["file/out", "file"])
def test_an_output_folder_that_cannot_be_written_is_a_failure(tmp_path, folder):
    (tmp_path / "file").write_text("")
    assert doctor.check_output(tmp_path / folder).status == "fail"


def test_looking_at_the_output_folder_does_not_make_it(tmp_path):
    assert doctor.check_output(tmp_path / "a" / "b").status == "ok"
    assert not list(tmp_path.iterdir())
