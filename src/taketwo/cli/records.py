"""`taketwo records`: what a policy server has recorded, and how another policy answers the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from taketwo.cli.flags import read_flags
from taketwo.cli.help import options_help
from taketwo.cli.progress import log_to
from taketwo.cli.recorded import only
from taketwo.cli.records_list import list_requests, list_runs
from taketwo.cli.records_replay import AskedPolicy, replay_runs
from taketwo.cli.resolve import Source, chosen_types, resolve
from taketwo.errors import ConfigError

INTRODUCTION = """Usage: taketwo records DIR [--requests] [--flag=value ...]
       taketwo records DIR --policy.OPTION=value ... [--flag=value ...]

Tells what taketwo serve --record=DIR has recorded, client by client; DIR may
also be one of the files. With --requests, request by request.

With any --policy.*, another policy is asked what the recorded one was asked,
each client's requests in their order and with their resets, and the two are
compared. Options that are not given are the recorded policy's own where it is
of the same type, so that --policy.path=new_checkpoint alone is enough. With
--policy.type=remote it is a server that runs which is compared.

Exit status: 0 when it was told, whatever the difference; 1 on a fault, or when
the difference is larger than --tolerance; 2 for a wrong flag."""


@dataclass(frozen=True)
class RecordsConfig:
    """Flags of `taketwo records`, but for those of the policy.

    Attributes:
        client: only this connection's; its number is in the table and in the server's log.
        requests: list single requests.
        first: only the first so many requests of each run of the server; needs --requests or a --policy.* flag.
        last: only the last so many requests of each run, with the resets and errors that follow; needs --requests.
        tolerance: largest difference of an action that passes, such as 1e-6; none is too large where not given.
            Needs a --policy.* flag.
        json: for programs; with --requests, a line each.
        log_level: which messages are shown; debug adds tracebacks.
    """

    client: int | None = None
    requests: bool = False
    first: int | None = None
    last: int | None = None
    tolerance: float | None = None
    json: bool = False
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    def __post_init__(self) -> None:
        for name in ("first", "last"):
            number = getattr(self, name)
            if number is not None and number < 1:
                raise ConfigError(f"{name} must be 1 or more, not {number}")
        if self.first is not None and self.last is not None:
            raise ConfigError("last cannot be combined with --first: give one of them")
        if self.last is not None and not self.requests:
            raise ConfigError("last needs --requests")
        if self.tolerance is not None and not (self.tolerance >= 0 and math.isfinite(self.tolerance)):
            raise ConfigError(f"tolerance must be a finite number, 0 or more, not {self.tolerance}")


def main(words: Sequence[str]) -> int:
    """Run the command; returns its exit status."""
    line = read_flags(words, switches=("help", "requests", "json"))
    flags = dict(line.flags)
    asked = only(flags, "policy")
    if "help" in flags:
        policy = options_help(AskedPolicy, chosen_types(AskedPolicy, Source(asked)))
        print(f"{INTRODUCTION}\n\n{options_help(RecordsConfig, {})}\n\n{policy}")
        return 0
    rest = {name: text for name, text in flags.items() if name not in asked}
    config = resolve(RecordsConfig, Source(rest), extra_flags=("help", "policy.type"))
    path = _place(line.arguments)
    log_to(None, config.log_level)
    if asked:
        if config.requests:
            raise ConfigError("--requests lists what was recorded: leave it out, or leave --policy.* out")
        return replay_runs(path, asked, config.client, config.first, config.tolerance, config.json)
    for name in ("first", "tolerance"):
        if getattr(config, name) is not None and not (name == "first" and config.requests):
            other = "--requests or " if name == "first" else ""
            raise ConfigError(f"--{name} needs {other}a flag of the policy that is asked, such as --policy.type=noop")
    if config.requests:
        list_requests(path, config.client, config.first, config.last, config.json)
    else:
        list_runs(path, config.client, config.json)
    return 0


def _place(arguments: Sequence[str]) -> Path:
    if not arguments:
        raise ConfigError("which recording? Give its folder, as in: taketwo records DIR")
    if len(arguments) > 1:
        raise ConfigError(f"unexpected word {arguments[1]!r}; options are flags, such as --client=3")
    return Path(arguments[0]).expanduser()
