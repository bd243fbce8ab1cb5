"""Back-ends are really tried; a broken one is had by hiding EGL's vendor files from it."""

import json
import os

import pytest

from taketwo import gl
from taketwo.errors import MissingExtraError, RenderingError

pytest.importorskip("mujoco")


@pytest.fixture
def clean(monkeypatch, tmp_path):
    """No choice made yet, nothing remembered, no display; what is chosen is undone afterwards."""
    for name in ("MUJOCO_GL", "PYOPENGL_PLATFORM", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.setenv(name, "")  # so that monkeypatch knows what to put back
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "taketwo" / "gl.json"


@pytest.fixture
def without_egl(clean, monkeypatch):
    monkeypatch.setenv("__EGL_VENDOR_LIBRARY_DIRS", "/nonexistent")
    return clean


WORKING = [name for name in gl.BACKENDS if gl.probe(name).ok]

needs_some = pytest.mark.skipif(not WORKING, reason="no OpenGL back-end on this machine")
needs_osmesa = pytest.mark.skipif("osmesa" not in WORKING, reason="no OSMesa on this machine")


@needs_some
def test_a_working_back_end_names_its_renderer():
    found = gl.probe(WORKING[0])
    assert found.ok
    assert found.renderer
    assert not found.message


@needs_some
def test_the_first_that_works_is_chosen_and_set_for_mujoco_and_pyopengl(clean):
    chosen = gl.choose_backend()
    assert chosen == WORKING[0]
    assert os.environ["MUJOCO_GL"] == os.environ["PYOPENGL_PLATFORM"] == chosen


@needs_some
def test_what_worked_is_not_tried_again(clean, monkeypatch):
    first = gl.choose_backend()
    assert len(json.loads(clean.read_text())) == 1
    monkeypatch.delenv("MUJOCO_GL")
    monkeypatch.setattr(gl, "probe", lambda backend: pytest.fail("tried again"))
    assert gl.choose_backend() == first


@needs_some
def test_what_draws_is_known_once_it_was_chosen(clean):
    assert gl.renderer() == ""
    gl.choose_backend()
    assert gl.renderer() == gl.probe(WORKING[0]).renderer


@pytest.mark.parametrize(
    ("renderer", "software"),
    [
        ("llvmpipe (LLVM 15.0.6, 256 bits)", True),
        ("softpipe", True),
        ("Google SwiftShader", True),
        ("NVIDIA H200/PCIe/SSE2", False),
        ("Mesa Intel(R) UHD Graphics 620 (KBL GT2)", False),
        ("", False),
    ],
)
def test_renderers_that_draw_on_the_processor_are_known(renderer, software):
    assert gl.in_software(renderer) is software


def test_a_missing_mujoco_is_asked_for_by_the_extra_that_needs_it(clean, monkeypatch):
    monkeypatch.setattr(gl, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"taketwo\[push\]"):
        gl.choose_backend("push")


@needs_some
def test_a_damaged_memory_is_no_obstacle(clean):
    clean.parent.mkdir()
    clean.write_text("{")
    assert gl.choose_backend() in gl.BACKENDS


@needs_some
def test_a_memory_that_cannot_be_written_is_no_obstacle(clean, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    assert gl.choose_backend() in gl.BACKENDS


@needs_osmesa
def test_osmesa_is_taken_where_egl_does_not_start(without_egl):
    assert not gl.probe("egl").ok
    assert gl.choose_backend() == "osmesa"


def test_what_failed_is_not_remembered(without_egl, monkeypatch):
    monkeypatch.setattr(gl, "BACKENDS", ("egl",))
    with pytest.raises(RenderingError):
        gl.choose_backend()
    assert not without_egl.exists()


def test_none_working_is_told_in_a_line_with_what_to_install(without_egl, monkeypatch):
    monkeypatch.setattr(gl, "BACKENDS", ("egl",))
    with pytest.raises(RenderingError) as caught:
        gl.choose_backend()
    message = str(caught.value)
    assert "\n" not in message
    assert "egl: " in message
    assert "apt-get install libegl1" in message


def test_the_users_own_choice_is_kept_but_has_to_work(clean, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "glfw")
    with pytest.raises(RenderingError, match=r"MUJOCO_GL=glfw does not work: glfw needs a display.*unset MUJOCO_GL"):
        gl.choose_backend()
    assert os.environ["MUJOCO_GL"] == "glfw"


@needs_osmesa
def test_the_users_own_choice_goes_before_a_faster_one(clean, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    assert gl.choose_backend() == "osmesa"
    assert os.environ["PYOPENGL_PLATFORM"] == "osmesa"


def test_a_name_that_mujoco_does_not_know_is_told(clean, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "vulkan")
    with pytest.raises(RenderingError, match=r"MUJOCO_GL=vulkan does not work: .*invalid value"):
        gl.choose_backend()


def test_rendering_that_the_user_turned_off_stays_off(clean, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "disable")
    assert gl.choose_backend() == "disable"
    assert "PYOPENGL_PLATFORM" not in os.environ


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(gl.LIBRARIES, "egl", ("libNoSuchThing.so.1",))
    monkeypatch.setenv("__EGL_VENDOR_LIBRARY_DIRS", "/nonexistent")
    assert gl.probe("egl").message == "libNoSuchThing.so.1 is not installed"
