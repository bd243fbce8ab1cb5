"""LIBERO's suites: their tasks and initial states, read from the installed package without importing it.

Its own module for this, `libero.libero.benchmark`, needs torch.
"""

from __future__ import annotations

import importlib.util
import io
import pickle
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from taketwo.errors import ConfigError, EnvironmentFault, blaming, one_of
from taketwo.types import FloatArray

STEP_LIMITS = {
    "libero_spatial": 220,
    "libero_object": 280,
    "libero_goal": 300,
    "libero_10": 520,
    "libero_90": 400,
}
"""Steps per episode, those of waiting not counted: what openpi (`examples/libero/main.py`) and OpenVLA
(`experiments/robot/libero/run_libero_eval.py`) evaluate with, a little more than the longest demonstration takes."""

TASK_LIST = Path("benchmark", "libero_suite_task_map.py")

ARRAY_PARTS = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}
"""All that LIBERO's files of initial states name, an array each. A pickle that can name nothing else runs nothing."""


@dataclass(frozen=True)
class LiberoTask:
    """A task of a suite.

    Attributes:
        suite: such as `libero_object`.
        index: its number in the suite, in LIBERO's task order 0.
        name: such as `pick_up_the_milk_and_place_it_in_the_basket`.
        language: the instruction that LIBERO gives to policies: its name in words, without the scene.
        bddl_file: its description.
        init_states_file: its initial states.
    """

    suite: str
    index: int
    name: str
    language: str
    bddl_file: Path
    init_states_file: Path


def find_task(package: Path, suite: str, task: int | str) -> LiberoTask:
    """A task by its number, from 0, or its name.

    Args:
        package: the folder that has `bddl_files` and `init_files`.

    Raises:
        ConfigError: the suite has no such task.
    """
    names = task_names(package, suite)
    index = _index(task, names, suite)
    name = names[index]
    return LiberoTask(
        suite=suite,
        index=index,
        name=name,
        language=language_of(name),
        bddl_file=package / "bddl_files" / suite / f"{name}.bddl",
        init_states_file=package / "init_files" / suite / f"{name}.pruned_init",
    )


def task_names(package: Path, suite: str) -> list[str]:
    """The names of a suite's tasks, in order."""
    spec = importlib.util.spec_from_file_location("libero_suite_task_map", package / TASK_LIST)
    if spec is None or spec.loader is None:
        raise EnvironmentFault(f"LIBERO's list of tasks, {package / TASK_LIST}, cannot be read")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return list(module.libero_task_map[suite])


def language_of(name: str) -> str:
    """The instruction in a task's name: `KITCHEN_SCENE3_turn_on_the_stove` is `turn on the stove`."""
    return re.sub(r"^[A-Z_]+SCENE\d+_", "", name).replace("_", " ")


def read_init_states(path: Path) -> FloatArray:
    """A task's initial states, (N, 1 + nq + nv): time, joint positions and velocities.

    The file is what `torch.save` makes of an array: a ZIP archive with a pickle.

    Raises:
        EnvironmentFault: it is not such a file.
    """
    with (
        blaming(EnvironmentFault, f"LIBERO's initial states in {path} cannot be read"),
        zipfile.ZipFile(path) as archive,
    ):
        states = _ArrayUnpickler(io.BytesIO(archive.read("archive/data.pkl"))).load()
    if not isinstance(states, np.ndarray) or states.ndim != 2 or not len(states):
        raise EnvironmentFault(f"LIBERO's initial states in {path} are not rows of numbers")
    return states.astype(np.float64, copy=False)


class _ArrayUnpickler(pickle.Unpickler):
    """Reads arrays and nothing else."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if (module_name, global_name) not in ARRAY_PARTS:
            raise pickle.UnpicklingError(f"it names {module_name}.{global_name}, which no array needs")
        return super().find_class(module_name.replace("numpy.core", "numpy._core"), global_name)


def _index(task: int | str, names: list[str], suite: str) -> int:
    if isinstance(task, str) and not task.isdecimal():
        if task not in names:
            raise ConfigError(f"task: {one_of(f'task of {suite}', task, names)}")
        return names.index(task)
    index = int(task)
    if not 0 <= index < len(names):
        raise ConfigError(f"task must be from 0 to {len(names) - 1}, or a name: {suite} has no task {task}")
    return index
