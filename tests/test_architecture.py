"""The packages import each other only as `docs/architecture.md` says."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import taketwo

ROOT = Path(taketwo.__file__).parent

SHARED = {"__version__", "types", "errors", "registry", "seeding", "images", "gl", "sockets"}
"""Modules that belong to no package. `types` itself knows nothing but `errors`."""

MAY_IMPORT = {
    "session": set(),
    "envs": set(),
    "policies": {"datasets", "replay", "wire"},
    "control": {"policies", "session"},
    "recording": {"session"},
    "datasets": {"session", "recording"},
    "replay": {"datasets", "envs", "session", "recording"},
    "viewing": {"datasets", "recording", "session"},
    "wire": set(),
    "serving": {"policies", "recording", "wire"},
    "live": {"datasets", "recording", "session", "viewing"},
    "fleet": {"control", "datasets", "envs", "policies", "recording", "serving", "session"},
    "testing": {"envs", "policies", "session"},
    "cli": {
        "session",
        "envs",
        "policies",
        "control",
        "recording",
        "datasets",
        "replay",
        "viewing",
        "serving",
        "wire",
        "live",
        "fleet",
    },
}

HEAVY = [
    "mujoco",
    "dm_control",
    "gym_aloha",
    "mink",
    "av",
    "PIL",
    "websockets",
    "gymnasium",
    "rich",
    "pyarrow",
    "rerun",
    "huggingface_hub",
    "torch",
    "lerobot",
    "transformers",
    "prometheus_client",
    "starlette",
    "uvicorn",
    "cv2",
    "robosuite",
    "libero",
    "numba",
    "matplotlib",
    "pettingzoo",
    "mani_skill",
    "sapien",
    "isaaclab",
    "isaacgym",
    "ray",
]


def imported_packages(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            names = [f"taketwo.{alias.name}" for alias in node.names] if node.module == "taketwo" else [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "taketwo" and len(parts) > 1:
                yield parts[1]


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_only_what_it_may(package):
    allowed = MAY_IMPORT[package] | SHARED | {package}
    foreign = {
        f"{path.relative_to(ROOT)} imports {other}"
        for path in (ROOT / package).rglob("*.py")
        for other in imported_packages(path)
        if other not in allowed
    }
    assert not foreign


def test_every_package_is_on_the_list():
    packages = {path.name for path in ROOT.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert packages == set(MAY_IMPORT)


def test_types_know_nothing_but_errors():
    assert set(imported_packages(ROOT / "types.py")) == {"errors"}


@pytest.mark.parametrize(
    "module",
    [
        "taketwo.session.loop",
        "taketwo.envs.base",
        "taketwo.envs.aloha",
        "taketwo.envs.gym",
        "taketwo.envs.libero",
        "taketwo.envs.gym_vector",
        "taketwo.envs.isaac",
        "taketwo.envs.maniskill",
        "taketwo.envs.pettingzoo",
        "taketwo.envs.push",
        "taketwo.policies.push",
        "taketwo.policies.base",
        "taketwo.policies.scripted",
        "taketwo.policies.remote",
        "taketwo.control.config",
        "taketwo.recording.video",
        "taketwo.datasets.sink",
        "taketwo.datasets.reader",
        "taketwo.datasets.hub",
        "taketwo.replay.replay",
        "taketwo.viewing.rerun_log",
        "taketwo.policies.lerobot",
        "taketwo.policies.openpi",
        "taketwo.policies.openvla",
        "taketwo.policies.openvla_rest",
        "taketwo.policies.replay",
        "taketwo.policies.vla_eval",
        "taketwo.live.config",
        "taketwo.viewing.stream",
        "taketwo.cli.run",
        "taketwo.cli.gallery",
        "taketwo.cli.evaluate",
        "taketwo.fleet.local",
        "taketwo.fleet.run",
        "taketwo.serving.environments",
        "taketwo.serving.records_reader",
        "taketwo.wire.description",
        "taketwo.cli.serve",
        "taketwo.cli.records",
        "taketwo.cli.main",
    ],
)
def test_importing_a_module_loads_no_heavy_library(module):
    code = f"import sys, {module}; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
