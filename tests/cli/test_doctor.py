import grp
import json
import os
import socket
import sys

import pytest

from taketwo import gl
from taketwo.cli import doctor, drawing_speed, extras, listing
from taketwo.cli.drawing_speed import Speed
from taketwo.cli.gpu_drawing import said_of_drawing, way_to_gpu
from taketwo.envs.base import ENVIRONMENTS
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
    (check,) = doctor.check_drawing()
    assert check.status == "fail"
    assert check.advice == "pip install 'taketwo[aloha]'"


def test_the_packages_of_an_extra_include_those_of_the_extras_that_it_asks_for(monkeypatch):
    declared = {
        "taketwo": ["numpy>=1", "gymnasium[classic-control,other]>=1.0; extra == 'gym'"],
        "gymnasium": ['pygame-ce>=2.1; extra == "classic-control"', 'moviepy; extra == "video"'],
    }
    monkeypatch.setattr(extras, "requires", declared.__getitem__)
    assert extras.extras() == {"gym": ["gymnasium", "pygame-ce"]}


def test_libero_is_there_only_with_the_packages_that_are_installed_without_what_they_ask_for(monkeypatch):
    there = {"robosuite", "mujoco", "easydict", "future", "matplotlib", "cloudpickle", "termcolor"}
    monkeypatch.setattr(extras, "installed", lambda package: "1" if package in there else None)
    assert extras.missing("libero") == ["hf-libero", "bddl"]
    command = "pip install 'taketwo[libero]' && pip install --no-deps hf-libero==0.1.4 bddl==1.0.1"
    assert extras.install("libero") == command
    (check,) = [check for check in doctor.check_extras() if check.name == "extra libero"]
    assert (check.status, check.advice) == ("note", command)


def test_where_libero_is_installed_its_assets_are_looked_for(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "missing", lambda extra: [])
    monkeypatch.setattr(doctor.libero_package, "package_folder", lambda: tmp_path)
    for part in doctor.libero_package.PARTS_OF_ASSETS:
        (tmp_path / "assets" / part).mkdir(parents=True)
    monkeypatch.setenv("TAKETWO_LIBERO_ASSETS", str(tmp_path / "assets"))
    assert doctor.check_libero() == [doctor.Check("LIBERO's assets", "ok", str(tmp_path / "assets"))]
    monkeypatch.setenv("TAKETWO_LIBERO_ASSETS", str(tmp_path))
    (check,) = doctor.check_libero()
    assert check.status == "note"
    assert check.advice.startswith("--env.assets: $TAKETWO_LIBERO_ASSETS must be a folder with LIBERO's scenes")


def test_the_list_says_what_each_world_needs(monkeypatch):
    monkeypatch.setattr(listing, "missing", lambda extra: ["something"])
    said = {name: listing.describe("env", ENVIRONMENTS, name)[-1] for name in ENVIRONMENTS.targets()}
    for name in ("push", "maniskill", "pettingzoo"):
        assert said[name] == f"built in, needs an extra that is not installed: pip install 'taketwo[{name}]'"
    for name in ("gym", "gym_vector"):
        assert "extra gym, for render() of classic control" in said[name]
    assert "pip install 'taketwo[libero]' && pip install --no-deps hf-libero" in said["libero"]


SOFTWARE = gl.Probe(True, "llvmpipe (LLVM 15)", "")
GPU = gl.Probe(True, "NVIDIA H200/PCIe/SSE2", "")
SPEEDS = [Speed("push overview", "exact", 20.4), Speed("push overview", "preview", 101.0)]


@pytest.fixture
def drawing(monkeypatch):
    """The checks on drawing, with back-ends and speeds as a test has them."""

    def examine(asked="", speeds=SPEEDS, missed="", load=0.0, **probes):
        monkeypatch.setenv("MUJOCO_GL", asked)
        monkeypatch.setattr(gl, "probe", probes.__getitem__)
        monkeypatch.setattr(doctor, "installed", lambda package: "1")
        monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
        monkeypatch.setattr(doctor, "way_to_gpu", lambda: "ask the administrator")
        monkeypatch.setattr(doctor, "measure_in_process_of_its_own", lambda backend: (speeds, missed))
        return {check.name: check for check in doctor.check_drawing()}

    return examine


def test_one_back_end_is_enough(drawing):
    checks = drawing(egl=gl.Probe(False, "", "no"), osmesa=SOFTWARE)
    statuses = {name: check.status for name, check in checks.items()}
    assert statuses == {
        "rendering: egl": "note",
        "rendering: osmesa": "ok",
        "rendering": "ok",
        "pictures: push overview": "ok",
    }
    assert checks["rendering: egl"].found == "no"
    assert checks["rendering"].found.startswith("osmesa, the first one that works; in software")


def test_of_two_back_ends_it_says_why_one_is_not_used(drawing):
    checks = drawing(egl=SOFTWARE, osmesa=SOFTWARE)
    assert checks["rendering: osmesa"].found == "llvmpipe (LLVM 15); not used, since egl works"
    assert checks["rendering: egl"].found == "llvmpipe (LLVM 15)"


def test_software_drawing_comes_with_both_ways_to_be_faster(drawing):
    advice = drawing(egl=SOFTWARE, osmesa=SOFTWARE)["rendering"].advice
    gpu, cheaper = advice.splitlines()
    assert gpu == "faster on a GPU: ask the administrator"
    assert cheaper.startswith("faster without: --env.quality=preview (5 times), smaller pictures")


def test_a_gpu_needs_no_advice(drawing):
    check = drawing(egl=GPU, osmesa=SOFTWARE)["rendering"]
    assert (check.found, check.advice) == ("egl, the first one that works; on a GPU: NVIDIA H200/PCIe/SSE2", "")


def test_who_turned_down_a_gpu_is_told(drawing):
    checks = drawing("osmesa", egl=GPU, osmesa=SOFTWARE)
    assert checks["rendering: egl"].found.endswith("not used, since MUJOCO_GL says otherwise")
    assert "unset MUJOCO_GL, since egl draws on NVIDIA H200" in checks["rendering"].advice


def test_speeds_are_told_in_words_and_in_figures(drawing):
    check = drawing(egl=SOFTWARE, osmesa=SOFTWARE)["pictures: push overview"]
    assert check.found == "640x480: 20/s exact, 101/s preview"
    assert check.figures == {"exact_per_s": 20.4, "preview_per_s": 101.0}


def test_speeds_of_a_busy_machine_are_told_to_be_that(drawing):
    busy = drawing(load=1000.0, egl=SOFTWARE, osmesa=SOFTWARE)["pictures"]
    assert busy.found.startswith("measured while others were at work: load 1000.0 on ")
    assert "pictures" not in drawing(egl=SOFTWARE, osmesa=SOFTWARE)


def test_drawing_that_fails_costs_a_line(drawing):
    broken = Speed("aloha top", "exact", 0.0, "RuntimeError: no\nmeshes")
    checks = drawing(speeds=[*SPEEDS, broken], missed="drawing ended by SIGSEGV", egl=SOFTWARE, osmesa=SOFTWARE)
    assert checks["pictures: aloha top"].found == "RuntimeError: no meshes"
    assert (checks["pictures"].status, checks["pictures"].found) == ("note", "drawing ended by SIGSEGV")
    assert checks["rendering"].status == "ok"


def test_a_crash_while_it_is_measured_keeps_what_was_measured_before(monkeypatch):
    line = json.dumps({"camera": "push overview", "quality": "exact", "pictures_per_s": 20.4, "error": ""})
    code = f"import os; print({line!r}, flush=True); os.kill(os.getpid(), 11)"
    monkeypatch.setattr(drawing_speed, "COMMAND", [sys.executable, "-c", code])
    assert drawing_speed.measure_in_process_of_its_own("egl") == (SPEEDS[:1], "drawing ended by SIGSEGV")


def test_so_does_a_time_out(monkeypatch):
    line = json.dumps({"camera": "push overview", "quality": "exact", "pictures_per_s": 20.4, "error": ""})
    code = f"import time; print({line!r}); print({line[:20]!r}, end='', flush=True); time.sleep(60)"
    monkeypatch.setattr(drawing_speed, "COMMAND", [sys.executable, "-c", code])
    monkeypatch.setattr(drawing_speed, "TIMEOUT_S", 2.0)
    assert drawing_speed.measure_in_process_of_its_own("egl") == (SPEEDS[:1], "not all was drawn in 2 s")


needs_gl = pytest.mark.skipif(not gl.probe("egl").ok, reason="no EGL on this machine")


@needs_gl
def test_speeds_are_really_measured():
    pytest.importorskip("mujoco")
    found, missed = drawing_speed.measure_in_process_of_its_own("egl")
    assert missed == ""
    assert (found[0].camera, found[0].quality, found[0].error) == ("push overview", "exact", "")
    assert all(speed.pictures_per_s > 0 for speed in found)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A folder as the root of a machine without any GPU; nothing of NVIDIA's is installed."""
    monkeypatch.setattr(gl, "loads", lambda library: False)
    (tmp_path / "dev/dri").mkdir(parents=True)
    return tmp_path


def test_a_machine_without_gpu_is_told_how_a_container_gets_one(machine):
    assert "--gpus all" in way_to_gpu(machine)


def test_a_container_without_the_graphics_capability_is_told_so(machine):
    (machine / "dev/nvidia0").touch()
    (machine / "proc/driver/nvidia").mkdir(parents=True)
    (machine / "proc/driver/nvidia/version").write_text(
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  ..."
    )
    advice = way_to_gpu(machine)
    assert "NVIDIA_DRIVER_CAPABILITIES=all" in advice
    assert "graphics" in advice
    assert "libnvidia-gl-550" in advice


def test_a_gpu_that_egl_was_not_told_of_is_named(machine, monkeypatch):
    (machine / "dev/nvidia0").touch()
    monkeypatch.setattr(gl, "loads", lambda library: True)
    assert "/usr/share/glvnd/egl_vendor.d/10_nvidia.json" in way_to_gpu(machine)
    (machine / "etc/glvnd/egl_vendor.d").mkdir(parents=True)
    (machine / "etc/glvnd/egl_vendor.d/10_nvidia.json").touch()
    assert "nvidia-smi" in way_to_gpu(machine)


def test_a_render_node_that_may_not_be_opened_comes_with_its_group(machine, monkeypatch):
    node = machine / "dev/dri/renderD128"
    node.touch()
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may open everything
    group = grp.getgrgid(node.stat().st_gid).gr_name
    assert f"/dev/dri/renderD128 may not be opened: sudo usermod -aG {group} $USER" in way_to_gpu(machine)


def test_a_render_node_without_a_driver_comes_with_mesa(machine):
    (machine / "dev/dri/renderD128").touch()
    assert "libgl1-mesa-dri" in way_to_gpu(machine)


def test_a_session_limited_by_drawing_in_software_is_told_so_and_no_other():
    assert said_of_drawing(6.1, 10.0, "llvmpipe (LLVM 15)").startswith("61 % of the time was drawing, in software")
    assert said_of_drawing(4.9, 10.0, "llvmpipe (LLVM 15)") == ""
    assert said_of_drawing(6.1, 10.0, "NVIDIA H200/PCIe/SSE2") == ""
    assert said_of_drawing(6.1, 10.0, "") == ""


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
