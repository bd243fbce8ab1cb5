"""The installed LIBERO: where it and its assets are, and its import, which must neither ask nor download anything.

LIBERO asks for a folder on stdin when it is imported for the first time, and fetches its assets from the Hugging Face
Hub when the first environment is made. Here both are settled beforehand.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from taketwo.errors import ConfigError, EnvironmentFault, MissingExtraError
from taketwo.gl import BACKENDS, choose_backend

ASSETS_VARIABLE = "TAKETWO_LIBERO_ASSETS"

CONFIG_VARIABLE = "LIBERO_CONFIG_PATH"
"""LIBERO's own: the folder of its `config.yaml`, `~/.libero` where it is not set."""

ASSETS_REPOSITORY = "lerobot/libero-assets"
"""Where `hf-libero` fetches its assets from, a dataset repository on the Hugging Face Hub."""

PARTS_OF_ASSETS = ("scenes", "stable_scanned_objects", "stable_hope_objects", "turbosquid_objects")
"""Folders by which assets are known."""

NEEDED = {"mujoco": "mujoco", "robosuite": "robosuite", "libero": "hf-libero", "bddl": "bddl"}
"""Module to distribution."""

ALONE = {"libero": "hf-libero==0.1.4", "bddl": "bddl==1.0.1"}
"""Those that come without what they depend on, as PyTorch, which the tasks do not need. The private name that
`import_libero` sets is this release's."""


class MissingLiberoError(MissingExtraError):
    """LIBERO, or what it reads its tasks with, is not installed."""

    def __init__(self, package: str) -> None:
        super().__init__(package, "libero")
        self.args = (f"{self} && pip install --no-deps {' '.join(ALONE.values())}",)


def package_folder() -> Path:
    """Where LIBERO's task files are, found without running its code.

    Raises:
        MissingExtraError: it, or what it needs, is not installed.
    """
    for module, distribution in NEEDED.items():
        if importlib.util.find_spec(module) is None:
            raise MissingLiberoError(distribution)
    found = importlib.util.find_spec("libero")
    if found is None or not found.submodule_search_locations:
        raise MissingLiberoError("hf-libero")
    return Path(next(iter(found.submodule_search_locations))) / "libero"


def assets_folder(package: Path, chosen: Path | None) -> Path:
    """LIBERO's scenes and objects: where the option says, or the environment variable, or where LIBERO looks.

    Raises:
        ConfigError: they are not there; with where to get them.
    """
    if chosen is not None:
        return _checked(chosen, "assets must be a folder with")
    named = os.environ.get(ASSETS_VARIABLE)
    if named:
        return _checked(Path(named), f"assets: ${ASSETS_VARIABLE} must be a folder with")
    places = (package / "assets", Path.home() / ".cache" / "libero" / "assets")
    for place in places:
        if _are_assets(place):
            return place
    raise ConfigError(
        f"assets must be given, or ${ASSETS_VARIABLE} be set: LIBERO's scenes and objects are neither in "
        f"{' nor in '.join(map(str, places))}; get them by: "
        f"hf download {ASSETS_REPOSITORY} --repo-type dataset --local-dir {places[-1]}"
    )


def import_libero(package: Path, assets: Path) -> Any:
    """The module with LIBERO's environments, `libero.libero.envs`; it is told where the assets are.

    Raises:
        MissingExtraError: a library that it imports is not installed.
        EnvironmentFault: it does not load.
    """
    choose_backend()
    importlib.import_module("mujoco")  # before robosuite, which sets MUJOCO_GL as it likes
    _configure(package)
    logging.getLogger("robosuite_logs").setLevel(logging.ERROR)  # it warns of a file of macros that nobody needs
    try:
        with _robosuites_gl(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # robosuite's docstrings have escape sequences that there are not
            root: Any = importlib.import_module("libero.libero")
            # The only way to tell it: the key `assets` of its configuration is read by nobody (hf-libero 0.1.4).
            root._assets_path_cache = str(assets)
            return importlib.import_module("libero.libero.envs")
    except ModuleNotFoundError as error:
        raise MissingLiberoError(error.name or "a library") from error
    except (ImportError, OSError) as error:
        raise EnvironmentFault(f"LIBERO cannot be imported: {type(error).__name__}: {error}") from error


def _checked(folder: Path, must_be: str) -> Path:
    folder = folder.expanduser().absolute()
    if not _are_assets(folder):
        raise ConfigError(f"{must_be} LIBERO's {', '.join(PARTS_OF_ASSETS)}, which {folder} is not")
    return folder


def _are_assets(folder: Path) -> bool:
    return all((folder / part).is_dir() for part in PARTS_OF_ASSETS)


def _configure(package: Path) -> None:
    """Let LIBERO find a configuration, the user's or ours, or it would ask for one."""
    theirs = Path(os.environ.get(CONFIG_VARIABLE) or Path.home() / ".libero")
    if (theirs / "config.yaml").exists():
        return
    key = hashlib.sha256(str(package).encode()).hexdigest()[:12]  # environments of Python have a LIBERO each
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    ours = cache / "taketwo" / "libero" / key
    try:
        _write_config(package, ours / "config.yaml")
    except OSError as error:
        raise EnvironmentFault(
            f"LIBERO needs a configuration, and {ours} cannot be written: {error.strerror or error}; "
            f"set XDG_CACHE_HOME or {CONFIG_VARIABLE} to a folder of yours"
        ) from error
    os.environ[CONFIG_VARIABLE] = str(ours)


def _write_config(package: Path, path: Path) -> None:
    import yaml

    places = {
        "benchmark_root": package,
        "bddl_files": package / "bddl_files",
        "init_states": package / "init_files",
        "datasets": package.parent / "datasets",
        "assets": package / "assets",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(f".{os.getpid()}.tmp")
    beside.write_text(yaml.safe_dump({name: str(place) for name, place in places.items()}))
    beside.replace(path)


@contextmanager
def _robosuites_gl() -> Iterator[None]:
    """Keep robosuite from changing `MUJOCO_GL`, and from loading libEGL where something else was chosen.

    Pictures are not drawn by robosuite, but it makes up its mind about GL when it is imported. `glx` is the one value
    that it leaves alone and loads nothing for.
    """
    chosen = os.environ.get("MUJOCO_GL")
    if chosen not in BACKENDS:
        os.environ["MUJOCO_GL"] = "glx"
    try:
        yield
    finally:
        if chosen is None:
            os.environ.pop("MUJOCO_GL", None)
        else:
            os.environ["MUJOCO_GL"] = chosen
