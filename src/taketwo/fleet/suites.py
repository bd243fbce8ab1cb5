"""The tasks of an environment: a LIBERO suite has several, anything else is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from taketwo.errors import ConfigError, one_of
from taketwo.fleet.plan import Task

LIBERO = "libero"

NAMED_BY = ("task", "id")
"""Options of environments that tell them apart; the first that there is names the task."""


def tasks_of(env: Mapping[str, Any], suite: str | None, tasks: Sequence[str]) -> list[Task]:
    """The tasks that are to be run.

    Args:
        env: `type` and options of the environment, as plain values.
        suite: a LIBERO suite, all tasks of which are to be run.
        tasks: numbers or names of some of its tasks, in place of all.

    Raises:
        ConfigError: there is no such suite or task, or the environment has none.
        MissingExtraError: LIBERO is not installed.
    """
    if env["type"] != LIBERO:
        for option, given in (("task_suite_name", suite), ("tasks", tasks)):
            if given:
                raise ConfigError(f"{option} is for --env.type=libero, and --env.type is {env['type']}")
        return [Task(_name(env), env)]
    if suite is None and not tasks:
        suite, tasks = str(env["suite"]), [str(env["task"])]
    return _libero(env, suite or str(env["suite"]), tasks)


def _libero(env: Mapping[str, Any], suite: str, tasks: Sequence[str]) -> list[Task]:
    from taketwo.envs.libero.package import package_folder
    from taketwo.envs.libero.tasks import STEP_LIMITS, find_task, task_names

    if suite not in STEP_LIMITS:
        raise ConfigError(f"task_suite_name: {one_of('suite', suite, STEP_LIMITS)}")
    package = package_folder()
    wanted = tasks or [str(number) for number in range(len(task_names(package, suite)))]
    try:
        found = [find_task(package, suite, task) for task in wanted]
    except ConfigError as error:
        raise ConfigError(f"tasks{str(error).removeprefix('task')}") from error
    return [Task(task.name, {**env, "suite": suite, "task": task.index}) for task in found]


def _name(env: Mapping[str, Any]) -> str:
    return next((str(env[name]) for name in NAMED_BY if env.get(name)), str(env["type"]))
