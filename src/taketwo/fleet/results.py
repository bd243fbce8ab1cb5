"""`results.json`: what a run over many episodes planned, and what came of each.

One JSON object, without NaN (null stands for what is not finite):

    format       1
    taketwo      version that wrote it
    name         of the run
    fingerprint  of the plan: the same for the same trials, policy and limits
    config       the resolved configuration, as the command line has it
    started_at   ISO 8601
    wall_s       seconds that the command ran, over all its starts
    ended        one sentence telling why it ended
    until        rule of sequential stopping, or null
    confidence   of the intervals
    summary      of all and of each task; taketwo.fleet.summary.as_plain describes it
    envs         environments: type and options
    trials       per trial in the plan's order: index, task, env (place in envs), seed, number, and result:
                 the fields of taketwo.fleet.trials.TrialResult, or null where it has not ended
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from taketwo import __version__
from taketwo.errors import TakeTwoError, one_line
from taketwo.fleet.episodes import result_of
from taketwo.fleet.statistics import CONFIDENCE
from taketwo.fleet.summary import as_plain, summarize
from taketwo.fleet.trials import Trial, TrialResult
from taketwo.recording.naming import cannot_write, replace_durably
from taketwo.recording.plain import to_json

FORMAT = 1

RESULTS = "results.json"


class ResultsError(TakeTwoError):
    """The results of a run cannot be read, or cannot be used for what was asked."""


@dataclass(frozen=True)
class FleetResults:
    """A plan, and what came of it so far.

    Attributes:
        name: of the run, such as its folder's.
        trials: the whole plan, in its order.
        results: by index of the trial; those that have not ended are missing.
        fingerprint: of the plan.
        config: the resolved configuration, credentials masked.
        started_at: ISO 8601.
        wall_s: seconds that the command ran, over all its starts.
        ended: one sentence telling why it ended.
        until: rule by which the number of episodes was decided on while looking at results; intervals are then
            confidence sequences.
    """

    name: str
    trials: Sequence[Trial]
    results: Mapping[int, TrialResult]
    fingerprint: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    started_at: str = ""
    wall_s: float = 0.0
    ended: str = ""
    until: str | None = None


def write_results(path: Path, run: FleetResults, confidence: float = CONFIDENCE) -> None:
    """Write `results.json`; one that is there is replaced, once the new one is whole.

    Raises:
        RecordingError: it cannot be written; nothing is left behind then.
    """
    write_whole(path, to_json(_content(run, confidence), indent=1) + "\n")


def write_whole(path: Path, text: str) -> None:
    """Give a file new content, which is seen whole or not at all.

    Raises:
        RecordingError: it cannot be written; nothing is left behind then.
    """
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.write_text(text, encoding="utf-8")
        replace_durably(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise cannot_write(path, error) from error


def read_results(place: Path) -> FleetResults:
    """Read the results of a run.

    Args:
        place: the run's folder, or the file.

    Raises:
        ResultsError: there are none, or they are damaged or of a later format.
    """
    path = place / RESULTS if place.is_dir() else place
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ResultsError(_nothing_at(place)) from None
    except OSError as error:
        raise ResultsError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise ResultsError(f"{path} is not JSON: {one_line(error)}") from error
    if not isinstance(content, dict) or not {"format", "trials"} <= content.keys():
        raise ResultsError(f"{path} holds no results of taketwo eval or taketwo collect")
    if content["format"] != FORMAT:
        raise ResultsError(
            f"{path} has format {content['format']}, and this Take Two ({__version__}) reads {FORMAT}: "
            f"use the one that wrote it ({content.get('taketwo')})"
        )
    try:
        return _run(content)
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, msgspec.MsgspecError) as error:
        raise ResultsError(f"{path} is damaged: {type(error).__name__}: {one_line(error)}") from error


def _nothing_at(place: Path) -> str:
    if not place.is_dir():
        return f"{place} does not exist; give the folder of a run, or its {RESULTS}"
    if (place / "plan.json").exists():
        return f"{place} has no {RESULTS}, since its run has not ended: give its command again, and it goes on"
    return f"{place} has no {RESULTS}; give the folder of a run of taketwo eval or taketwo collect"


def _content(run: FleetResults, confidence: float) -> dict[str, Any]:
    envs: dict[str, int] = {}
    places = [envs.setdefault(to_json(trial.env), len(envs)) for trial in run.trials]
    return {
        "format": FORMAT,
        "taketwo": __version__,
        "name": run.name,
        "fingerprint": run.fingerprint,
        "config": run.config,
        "started_at": run.started_at,
        "wall_s": run.wall_s,
        "ended": run.ended,
        "until": run.until,
        "confidence": confidence,
        "summary": as_plain(summarize(run.trials, run.results, confidence, run.until is not None)),
        "envs": list(map(json.loads, envs)),
        "trials": [
            {
                "index": trial.index,
                "task": trial.task,
                "env": place,
                "seed": trial.seed,
                "number": trial.number,
                "result": None if (result := run.results.get(trial.index)) is None else asdict(result),
            }
            for trial, place in zip(run.trials, places, strict=True)
        ],
    }


def _run(content: Mapping[str, Any]) -> FleetResults:
    names = [name for name in FleetResults.__dataclass_fields__ if name not in ("trials", "results")]
    run = msgspec.convert({**{name: content[name] for name in names}, "trials": [], "results": {}}, FleetResults)
    trials = [_trial(plain, content["envs"]) for plain in content["trials"]]
    found = [result_of(r) for plain in content["trials"] if (r := plain["result"])]
    results = {result.trial: result for result in found}
    if len({trial.index for trial in trials}) < len(trials) or len(results) < len(found):
        raise ValueError("two trials have the same index")
    if len({(trial.task, trial.seed, trial.number) for trial in trials}) < len(trials):
        raise ValueError("two trials have the same task, seed and number")
    return replace(run, trials=trials, results=results)


def _trial(plain: Mapping[str, Any], envs: Sequence[Any]) -> Trial:
    values = {name: value for name, value in plain.items() if name != "result"}
    return msgspec.convert({**values, "env": envs[plain["env"]]}, Trial)
