"""What tests with LIBERO need: the packages, and its scenes and objects, which no package brings."""

import importlib.util
import os
from pathlib import Path

import pytest

from taketwo.envs.libero.package import ASSETS_VARIABLE, NEEDED

BESIDE_THE_CHECKOUT = Path(__file__).parents[4] / "shared" / "libero_assets"

ASSETS = Path(os.environ.get(ASSETS_VARIABLE) or BESIDE_THE_CHECKOUT)


def _lacking():
    missing = [name for module, name in NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        return f"{', '.join(missing)} not installed; see requirements/README.md"
    if not ASSETS.is_dir():
        return f"LIBERO's assets are neither in ${ASSETS_VARIABLE} nor in {BESIDE_THE_CHECKOUT}"
    return None


LACKING = _lacking()

needs_libero = pytest.mark.skipif(LACKING is not None, reason=LACKING or "")
