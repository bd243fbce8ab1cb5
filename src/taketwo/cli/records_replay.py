"""`taketwo records DIR --policy.*`: asks another policy the same, and tells how its answers differ."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from taketwo.cli.dataset_output import new_console, print_facts
from taketwo.cli.making import made
from taketwo.cli.progress import LINE_EVERY_S
from taketwo.cli.recorded import resolved
from taketwo.cli.records_list import print_run, said_component
from taketwo.cli.resolve import Source, to_plain
from taketwo.cli.schema import Choice, Component
from taketwo.cli.tables import print_table
from taketwo.cli.wording import said_count
from taketwo.policies.base import POLICIES, Policy, PolicyConfig
from taketwo.recording.plain import to_json
from taketwo.serving.environments import SERVED_ENVIRONMENTS, ServedEnvironment, ServedEnvironmentConfig
from taketwo.serving.records_reader import Record, RecordsError, read_runs
from taketwo.serving.records_replay import Comparison, replay

log = logging.getLogger(__name__)

TOO_DIFFERENT = 1


@dataclass(frozen=True)
class _Served:
    """What a run's clients were."""

    env: Component[ServedEnvironmentConfig] = field(metadata={"choice": Choice(SERVED_ENVIRONMENTS, "CUSTOM")})


@dataclass(frozen=True)
class AskedPolicy:
    """The policy that is asked."""

    policy: Component[PolicyConfig] = field(metadata={"choice": Choice(POLICIES, "scripted")})


def replay_runs(
    path: Path,
    flags: Mapping[str, str | None],
    client: int | None,
    first: int | None,
    tolerance: float | None,
    as_json: bool,
) -> int:
    """Ask the policy that `flags` name what each run's clients asked; returns the exit status.

    Raises:
        ConfigError: a flag is wrong.
        TakeTwoError: the recording cannot be read, or the policy cannot be made or does not answer.
    """
    compared: list[tuple[Record, Component[PolicyConfig], Comparison]] = []
    for run in read_runs(path):
        source = _source(flags, run.header, path)
        policy = resolved(AskedPolicy, source).policy
        environment = _environment(run.header, path)
        make = partial(_made, policy, source, environment)
        result = replay(run, environment, make, client=client, first=first, answered=_Progress())
        if result.requests:
            compared.append((run.header, policy, result))
    if not compared:
        raise RecordsError(f"{path} has no inference" + ("" if client is None else f" of client {client}"))
    passed = tolerance is None or all(result.within(tolerance) for _, _, result in compared)
    if as_json:
        runs = [_plain(*each) for each in compared]
        print(to_json({"path": path, "runs": runs, "tolerance": tolerance, "passed": passed}, indent=2))
    else:
        for header, policy, result in compared:
            _print(header, policy, result)
        if tolerance is not None:
            print(_verdict([result for _, _, result in compared], tolerance))
    return 0 if passed else TOO_DIFFERENT


class _Progress:
    """Tells every now and then how many requests have been answered."""

    def __init__(self) -> None:
        self._told_s = time.monotonic()

    def __call__(self, number: int) -> None:
        if time.monotonic() >= self._told_s + LINE_EVERY_S:
            self._told_s = time.monotonic()
            log.info("%s answered", said_count(number, "request"))


def _made(policy: Component[PolicyConfig], source: Source, environment: ServedEnvironment) -> Policy:
    return made("policy", policy.options, source, lambda: policy.options.make(environment.spec))


def _source(flags: Mapping[str, str | None], header: Record, path: Path) -> Source:
    """The flags, over the recorded policy where they do not ask for one of another type."""
    asked = flags.get("policy.type")
    if asked not in (None, header["policy"].get("type")):
        return Source(flags)
    return Source(flags, {"policy": header["policy"]}, path)


def _environment(header: Record, path: Path) -> ServedEnvironment:
    options = resolved(_Served, Source({}, {"env": header["env"]}, path)).env.options
    return options.make()


def _print(header: Record, policy: Component[PolicyConfig], result: Comparison) -> None:
    print_run(header)
    _print_dimensions(result)
    at = _largest(result)
    facts = [
        ("asked", said_component({"type": policy.type, **to_plain(policy.options)})),
        ("requests", f"{result.requests}, {_said_share(result.identical, result.requests)} identical bit for bit"),
        ("chunks", _said_lengths(result)),
    ]
    if result.other_prompts:
        facts.append(("prompts", f"another one was used for {said_count(result.other_prompts, 'request')}"))
    facts.append(("largest", "no difference" if at is None else _said_largest(result, at)))
    print_facts(facts)
    print()


def _print_dimensions(result: Comparison) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("action", "mean difference", "RMS", "largest", "client", "request", "row"):
        table.add_column(name, justify="left" if name == "action" else "right", no_wrap=True)
    for dimension, name in enumerate(result.names):
        place = result.places[dimension]
        where = ("", "", "") if place is None else (str(place.client), str(place.request), str(place.row))
        numbers = (f"{values[dimension]:.3g}" for values in (result.mean, result.rms, result.largest))
        table.add_row(Text(name), *numbers, *where)
    print_table(new_console(), table)
    print()


def _largest(result: Comparison) -> int | None:
    """The dimension with the largest difference; None where there is none."""
    dimension = int(np.argmax(result.largest))
    return None if result.places[dimension] is None else dimension


def _said_largest(result: Comparison, dimension: int) -> str:
    place = result.places[dimension]
    assert place is not None
    return (
        f"{result.largest[dimension]:.6g} in {result.names[dimension]}: client {place.client}, "
        f"request {place.request}, row {place.row}"
    )


def _said_lengths(result: Comparison) -> str:
    said = []
    for (before, now), count in sorted(result.lengths.items()):
        rows = (
            f"{said_count(now, 'row')} as recorded"
            if before == now
            else f"{now} instead of {said_count(before, 'row')}"
        )
        said.append(f"{rows} in {said_count(count, 'request')}" if len(result.lengths) > 1 else rows)
    return ", ".join(said)


def _said_share(count: int, of: int) -> str:
    return f"{count} of them ({100 * count / of:.0f} %)"


def _verdict(results: Sequence[Comparison], tolerance: float) -> str:
    if all(result.within(tolerance) for result in results):
        return f"passed: no action differs by more than {tolerance:g}"
    if all((result.largest <= tolerance).all() for result in results):
        return "failed: chunks are not as long as they were"
    return f"failed: an action differs by more than {tolerance:g}"


def _plain(header: Record, policy: Component[PolicyConfig], result: Comparison) -> dict[str, Any]:
    return {
        "recorded": {name: header.get(name) for name in ("time", "taketwo", "policy", "env", "default_prompt")},
        "policy": {"type": policy.type, **to_plain(policy.options)},
        "requests": result.requests,
        "identical": result.identical,
        "chunk_lengths": [
            {"recorded": before, "now": now, "requests": count} for (before, now), count in result.lengths.items()
        ],
        "other_prompts": result.other_prompts,
        "actions": [
            {
                "name": name,
                "mean": result.mean[dimension],
                "rms": result.rms[dimension],
                "largest": result.largest[dimension],
                "at": None if place is None else asdict(place),
            }
            for dimension, (name, place) in enumerate(zip(result.names, result.places, strict=True))
        ],
    }
