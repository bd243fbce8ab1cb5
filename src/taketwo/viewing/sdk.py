"""The Rerun SDK, which is an optional dependency, and the viewer that comes with it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType

from taketwo.errors import ConfigError, MissingExtraError

OLDEST = (0, 24)


def load_rerun() -> ModuleType:
    """The module `rerun`.

    Raises:
        MissingExtraError: it is not installed.
        ConfigError: it is older than 0.24.
    """
    try:
        import rerun
    except ImportError as error:
        raise MissingExtraError("rerun-sdk", "view") from error
    version = tuple(int(part) for part in rerun.__version__.split(".")[:2])
    if version < OLDEST:
        raise ConfigError(f"rerun-sdk {rerun.__version__} is too old: pip install 'taketwo[view]' brings a newer one")
    return rerun


def viewer_path() -> Path:
    """The viewer's executable. It is asked for by its path, since it need not be on `PATH`.

    Raises:
        MissingExtraError: the SDK came without it.
    """
    if chosen := os.environ.get("RERUN_CLI_PATH"):
        return Path(chosen)
    try:
        import rerun_cli  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError("rerun-sdk", "view") from error
    folder = Path(rerun_cli.__file__).parent
    bundled = folder / "Rerun.app/Contents/MacOS/Rerun"
    return bundled if bundled.exists() else folder / ("rerun.exe" if sys.platform == "win32" else "rerun")
