"""Which OpenGL back-end MuJoCo renders with on a machine without a display: EGL or OSMesa, found by trying.

MuJoCo reads `MUJOCO_GL` once, when it is imported (https://mujoco.readthedocs.io/en/stable/python.html,
"Rendering"), and a back-end that cannot start may take the process with it. So each one is tried in a
process of its own that draws a small scene and looks at the pixels.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from taketwo.errors import MissingExtraError, RenderingError, one_line

log = logging.getLogger(__name__)


def has_display() -> bool:
    """Whether a window can be opened here, as far as the environment tells; only Linux has to tell."""
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


BACKENDS = ("egl", "osmesa")
"""Back-ends that need no display, the faster first."""

INSTALL = {
    "egl": "apt-get install libegl1 libgl1-mesa-dri",
    "osmesa": "apt-get install libosmesa6",
    "glfw": "run it on a desktop, or unset MUJOCO_GL",
}
"""What to do where one does not work, on Debian and Ubuntu."""

SOFTWARE = ("llvmpipe", "softpipe", "swrast", "software rasterizer", "swiftshader")
"""Parts of the names of renderers that draw on the processor, in small letters."""

LIBRARIES = {"egl": ("libEGL.so.1",), "osmesa": ("libOSMesa.so.8", "libOSMesa.so.6")}

OFF = ("disable", "disabled", "off", "false", "0")
"""Values of `MUJOCO_GL` that turn rendering off."""

PROBE_TIMEOUT_S = 60.0

SCENE = """<mujoco><worldbody><light pos="0 0 3"/><geom type="plane" size="1 1 .1"/>
<geom type="box" size=".2 .2 .2" pos="0 0 .2" rgba="1 0 0 1"/></worldbody></mujoco>"""


@dataclass(frozen=True)
class Probe:
    """What came of trying a back-end.

    Attributes:
        ok: whether it drew a picture.
        renderer: what draws, such as `llvmpipe` (software) or a GPU's name; empty where it did not start.
        message: why it does not work, in a line; empty where it does.
    """

    ok: bool
    renderer: str
    message: str


def in_software(renderer: str) -> bool:
    """Whether what OpenGL calls itself draws on the processor."""
    return any(name in renderer.lower() for name in SOFTWARE)


def choose_backend(extra: str = "aloha") -> str:
    """Set `MUJOCO_GL` and `PYOPENGL_PLATFORM` to a back-end that works, and return its name.

    Call it before `mujoco` or `dm_control` is imported. A user's own `MUJOCO_GL` is kept. What worked is
    remembered in `$XDG_CACHE_HOME/taketwo/gl.json` until the machine boots again; what failed is not, as
    the user may have put it right.

    Args:
        extra: the one that MuJoCo is needed for, to be named where it is missing.

    Raises:
        MissingExtraError: MuJoCo is not installed.
        RenderingError: the user's back-end, or every one, does not work.
    """
    if find_spec("mujoco") is None:
        raise MissingExtraError("mujoco", extra)
    asked = os.environ.get("MUJOCO_GL", "").strip().lower()
    if asked in OFF:
        return asked
    if asked:
        result = _probe_or_recall(asked)
        if not result.ok:
            raise RenderingError(
                f"MUJOCO_GL={asked} does not work: {result.message}. Try: {_advice(asked)}; "
                "or unset MUJOCO_GL to let taketwo choose"
            )
        _select(asked)
        return asked
    return _first_working()


def probe(backend: str) -> Probe:
    """Draw a small scene with a back-end in a process of its own, and look at the pixels."""
    environment = os.environ | {"MUJOCO_GL": backend, "PYOPENGL_PLATFORM": backend}
    if backend not in BACKENDS:
        environment.pop("PYOPENGL_PLATFORM")
    command = [sys.executable, "-P", "-m", "taketwo.gl"]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PROBE_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return Probe(False, "", f"no picture after {PROBE_TIMEOUT_S:g} s")
    if done.returncode != 0:
        return Probe(False, "", _diagnosis(backend, f"it died with status {done.returncode}", done.returncode))
    found = Probe(**json.loads(done.stdout.splitlines()[-1]))
    return found if found.ok else Probe(False, found.renderer, _diagnosis(backend, found.message))


def renderer() -> str:
    """What draws with the back-end that was chosen; empty where that is not known."""
    return _read_cache(_cache_path()).get(_cache_key(os.environ.get("MUJOCO_GL", "")), "")


def _first_working() -> str:
    said = []
    for backend in BACKENDS:
        result = _probe_or_recall(backend)
        if result.ok:
            log.debug("rendering with %s on %s", backend, result.renderer)
            _select(backend)
            return backend
        said.append(f"{backend}: {result.message}")
    raise RenderingError(f"no OpenGL back-end works ({'; '.join(said)}). Try: {INSTALL['egl']}")


def _select(backend: str) -> None:
    os.environ["MUJOCO_GL"] = backend
    if backend in BACKENDS:
        os.environ["PYOPENGL_PLATFORM"] = backend


def _advice(backend: str) -> str:
    return INSTALL.get(backend, f"MUJOCO_GL={' or MUJOCO_GL='.join(BACKENDS)}")


def _diagnosis(backend: str, message: str, status: int = 0) -> str:
    libraries = LIBRARIES.get(backend, ())
    if libraries and not any(loads(library) for library in libraries):
        return f"{libraries[0]} is not installed"
    if backend == "glfw" and not has_display():
        return "glfw needs a display, and neither DISPLAY nor WAYLAND_DISPLAY is set"
    return f"it died of {signal.Signals(-status).name}" if status < 0 else one_line(message)


def loads(library: str) -> bool:
    """Whether the dynamic linker finds a library."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _probe_or_recall(backend: str) -> Probe:
    path, key = _cache_path(), _cache_key(backend)
    known = _read_cache(path)
    if key in known:
        return Probe(True, known[key], "")
    result = probe(backend)
    if result.ok:
        _write_cache(path, known | {key: result.renderer})
    return result


def _cache_path() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "taketwo" / "gl.json"


def _cache_key(backend: str) -> str:
    """A change of any of these may change what works."""
    try:
        mujoco = version("mujoco")
    except PackageNotFoundError:
        mujoco = "?"
    boot_id = Path("/proc/sys/kernel/random/boot_id")
    boot = boot_id.read_text().strip() if boot_id.exists() else ""
    surroundings = [os.environ.get(name, "") for name in ("MUJOCO_EGL_DEVICE_ID", "CUDA_VISIBLE_DEVICES", "DISPLAY")]
    return " ".join([backend, sys.executable, mujoco, socket.gethostname(), boot, *surroundings])


def _read_cache(path: Path) -> dict[str, str]:
    try:
        known = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _write_cache(path: Path, known: dict[str, str]) -> None:
    """A home that cannot be written to costs a second at each start, and nothing else."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(f".{os.getpid()}.tmp")
        beside.write_text(json.dumps(known, indent=1))
        beside.replace(path)
    except OSError as error:
        log.debug("the choice of %s is not kept: %s", path, error)


def _try() -> Probe:
    try:
        return _draw()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
        return Probe(False, "", f"{type(error).__name__}: {error}")


def _draw() -> Probe:
    import mujoco

    model = mujoco.MjModel.from_xml_string(SCENE)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    renderer = mujoco.Renderer(model, 64, 64)
    from OpenGL import GL

    name = GL.glGetString(GL.GL_RENDERER)
    renderer.update_scene(data)
    pixels = renderer.render()
    renderer.close()
    if int(pixels.max()) == int(pixels.min()):
        return Probe(False, name.decode(), "it draws blank pictures")
    return Probe(True, name.decode(), "")


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(_try())) + "\n")
    sys.stdout.flush()
    os._exit(0)  # a driver that crashes on exit says nothing about the picture it drew
