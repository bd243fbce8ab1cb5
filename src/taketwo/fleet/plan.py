"""What is to be run: every task from every seed so and so often, in an order that never changes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taketwo import __version__
from taketwo.errors import ConfigError, TakeTwoError
from taketwo.fleet.trials import Trial
from taketwo.recording.naming import cannot_write, make_folder, replace_durably
from taketwo.recording.plain import plain, to_json

PLAN = "plan.json"

LONGEST_VALUE = 60
"""Letters of an option's value that are shown where plans differ."""


@dataclass(frozen=True)
class Task:
    """A group of trials that are counted together.

    Attributes:
        env: `type` and options of its environment, as plain values.
    """

    name: str
    env: Mapping[str, Any]


@dataclass(frozen=True)
class Plan:
    """Trials, and all that they follow from.

    Attributes:
        recipe: the options that decide what comes of the trials, as plain values. Those that only say how they are
            run, such as the number of workers, are not in it.
    """

    trials: Sequence[Trial]
    recipe: Mapping[str, Any]

    @property
    def fingerprint(self) -> str:
        """The same for the same trials and recipe."""
        tasks = {trial.task: trial.env for trial in self.trials}
        shape = [(trial.task, trial.seed, trial.number) for trial in self.trials]
        text = json.dumps(plain([self.recipe, tasks, shape]), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def tasks(self) -> dict[str, list[Trial]]:
        """The trials of each task, in order."""
        groups: dict[str, list[Trial]] = {}
        for trial in self.trials:
            groups.setdefault(trial.task, []).append(trial)
        return groups

    def write(self, folder: Path) -> None:
        """Write `plan.json` into the folder of the run.

        Raises:
            RecordingError: the disk does not take it.
        """
        path = folder / PLAN
        temporary = path.with_name(f".{PLAN}.new")
        content = {
            "taketwo": __version__,
            "fingerprint": self.fingerprint,
            "recipe": self.recipe,
            "tasks": [{"name": name, "env": own[0].env} for name, own in self.tasks.items()],
            "num_trials": len(self.trials),
        }
        make_folder(folder)
        try:
            temporary.write_text(to_json(content, indent=2) + "\n", encoding="utf-8")
            replace_durably(temporary, path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise cannot_write(path, error) from error

    def check_same(self, folder: Path) -> bool:
        """Whether the folder has a plan; it is this one then.

        Raises:
            TakeTwoError: it is another one, with the first differences, or it cannot be read.
        """
        path = folder / PLAN
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            if found["fingerprint"] == self.fingerprint:
                return True
            differences = list(_differences(found["recipe"], plain(self.recipe)))
        except (FileNotFoundError, NotADirectoryError):
            return False
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise TakeTwoError(f"{path} cannot be read ({error}): give another --output_dir") from error
        told = "; ".join(differences[:5]) or "its tasks are others"
        more = f"; and {len(differences) - 5} more" if len(differences) > 5 else ""
        raise TakeTwoError(
            f"{folder} has another plan: {told}{more}. Give the same options to go on with it, or another --output_dir"
        )


def version_of(folder: Path) -> str | None:
    """Which Take Two made the plan in the folder; None where it does not say."""
    try:
        version = json.loads((folder / PLAN).read_text(encoding="utf-8")).get("taketwo")
    except (OSError, ValueError, AttributeError):
        return None
    return version if isinstance(version, str) else None


def trials_of(tasks: Sequence[Task], seeds: Sequence[int], trials_per_task: int) -> list[Trial]:
    """Every task from every seed, `trials_per_task` episodes each.

    Raises:
        ConfigError: there would be none, or the same one twice; the message begins with the option's name.
    """
    if not seeds:
        raise ConfigError("seed needs one seed or more, such as 42,43")
    if trials_per_task < 1:
        raise ConfigError(f"num_trials_per_task must be 1 or more, not {trials_per_task}")
    for name, values in (("seed", seeds), ("tasks", [task.name for task in tasks])):
        for place, value in enumerate(values):
            if value in values[:place]:
                raise ConfigError(f"{name} has {value} twice: its episodes would be run twice")
    negative = [seed for seed in seeds if seed < 0]
    if negative:
        raise ConfigError(f"seed must be 0 or more, not {negative[0]}")
    if not tasks:
        raise ConfigError("tasks names none")
    places = [(task, seed, number) for task in tasks for seed in seeds for number in range(trials_per_task)]
    return [Trial(index, task.name, task.env, seed, number) for index, (task, seed, number) in enumerate(places)]


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    before, after = dict(_flat(old)), dict(_flat(new))
    for name in before | after:
        if before.get(name) != after.get(name):
            yield f"{name} is {_shown(before.get(name))} there, {_shown(after.get(name))} here"


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"--{prefix}{name}", value


def _shown(value: Any) -> str:
    if isinstance(value, list):
        value = ",".join(map(str, value))
    text = "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"
