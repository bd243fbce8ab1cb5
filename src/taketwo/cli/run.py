"""`taketwo run`: build environment, policy, controller and sinks; run the session; print its summary."""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, Self

from taketwo.cli.config import RunConfig, source_of
from taketwo.cli.flags import read_flags
from taketwo.cli.help import options_help
from taketwo.cli.leaving import FAULT, Leaving, said_of
from taketwo.cli.making import check_filmed, closing, made
from taketwo.cli.progress import LiveProgress, PlainProgress, live_console, log_to
from taketwo.cli.prompts import Prompt, prompt_source, with_prompt_id, with_token
from taketwo.cli.resolve import Source, chosen_types, resolve, to_plain
from taketwo.cli.stopping import stopping
from taketwo.cli.summary import print_summary
from taketwo.cli.watching import page, viewers
from taketwo.cli.wording import said_count
from taketwo.cli.worlds import World, open_world
from taketwo.datasets.sink import DatasetSink
from taketwo.errors import ConfigError, RecordingError, one_line
from taketwo.policies.base import Policy, ReportsOutages
from taketwo.recording.naming import cannot_write, make_folder
from taketwo.recording.session_file import SessionFile
from taketwo.recording.video import VideoSink
from taketwo.session.commands import Commands
from taketwo.session.loop import Session
from taketwo.session.processes import kill_children
from taketwo.session.result import SessionResult
from taketwo.session.sinks import Sink
from taketwo.session.vector import VectorSession
from taketwo.types import EnvironmentSpec, Outcome

if TYPE_CHECKING:
    from rich.console import Console

log = logging.getLogger(__name__)

STOP_GRACE_S = 2.0
"""How long a step may go on after the operator has asked to stop."""

COMMAND_FLAGS = {
    "config_path": "YAML file with the same keys, nested, or a session.json; flags win",
    "print_config": "print the resolved configuration as YAML, and run nothing",
    "help": "this text",
}

INTRODUCTION = """Usage: taketwo run [--flag=value ...] [--config_path=FILE]

Runs a policy in an environment over several episodes and records them. With no
flag: three episodes of the ALOHA cube transfer with the scripted policy. Three
is only the default where no other length is given.
Dashes and underscores in names are alike; lists are a,b and mappings {a: 1}.

Exit status: 0 when the session has ended as planned, even if episodes failed;
1 on a fault; 2 for a wrong flag; 130 after Ctrl-C and 143 after SIGTERM, with
everything saved. A second Ctrl-C stops at once."""


class Hurry:
    """Closes a policy that gives no answer `STOP_GRACE_S` after the operator has asked to stop, which ends its wait.

    Attributes:
        close: closes the policy; None while there is none.
    """

    def __init__(self) -> None:
        self.close: Callable[[], None] | None = None
        self._timer = threading.Timer(STOP_GRACE_S, self._close)
        self._timer.daemon = True

    def begin(self) -> None:
        """The operator has asked; once."""
        self._timer.start()

    def _close(self) -> None:
        if self.close is not None:
            closing("the policy", self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()


@dataclass(frozen=True)
class Recordings:
    """What a session leaves behind."""

    config: RunConfig
    spec: EnvironmentSpec
    session_file: SessionFile
    video: VideoSink | None
    dataset: DatasetSink | None
    policy: Policy
    progress: PlainProgress | LiveProgress | None

    def complete(self, result: SessionResult) -> list[BaseException]:
        """Write and tell what came of the session, and send its dataset; returns what went wrong, which is told too."""
        config, video, dataset = self.config, self.video, self.dataset
        if dataset is not None:
            closing("the dataset", dataset.abandon)  # where it failed without being told
        shown_env = config.vector.shown_env
        frames = sum(episode.frames for episode in result.episodes if episode.env == shown_env)
        filmed = video.report(frames) if video is not None else None
        recorded = dataset.report() if dataset is not None else None
        outages_s = self.policy.outages_s if isinstance(self.policy, ReportsOutages) else None
        faults = [result.fault] if result.fault is not None else []
        try:
            self.session_file.complete(result, filmed, recorded, outages_s)
        except RecordingError as error:
            faults.append(error)
        rows = [*_outage_row(outages_s or ()), *_written(filmed, recorded, self.session_file)]
        control_hz = config.session.max_hz or self.spec.control_hz
        _tell(config, control_hz, result, rows, sum(outages_s or ()), faults)
        if recorded is not None and recorded["episodes"] and config.dataset.push_to_hub:
            _push(config)
        return faults

    def complete_and_exit(self, result: SessionResult) -> NoReturn:
        """The same, and end the process, since the environment hangs and cannot be closed."""
        try:
            if self.progress is not None:
                self.progress.close()
            self.complete(result)
            sys.stdout.flush()
        except BaseException as error:
            log.debug("the session's end failed", exc_info=True)
            print(f"error: {said_of(error)}", file=sys.stderr, flush=True)
        finally:
            kill_children()
            os._exit(FAULT)


def main(words: Sequence[str]) -> int:
    """Run the command; returns its exit status."""
    line = read_flags(words, switches=("help", "print_config", "live"))
    if line.arguments:
        raise ConfigError(f"unexpected word {line.arguments[0]!r}; options are flags, such as --session.seed=5")
    given = dict(line.flags)
    asked = {name for name in ("help", "print_config") if name in given}
    for name in asked:
        if given.pop(name) is not None:
            raise ConfigError(f"--{name} takes no value")
    source = source_of(given)
    if "help" in asked:
        print(_help(source))
        return 0
    config = resolve(RunConfig, source, extra_flags=COMMAND_FLAGS)
    if "print_config" in asked:
        import yaml

        print(yaml.safe_dump(to_plain(config), sort_keys=False), end="")
        return 0
    return run(config, source)


def run(config: RunConfig, source: Source) -> int:
    """Run a session from its configuration; returns the exit status.

    Raises:
        TakeTwoError: it cannot begin.
    """
    console = live_console(config.quiet)
    log_to(console, "warning" if config.quiet and config.log_level == "info" else config.log_level)
    config = with_prompt_id(config)
    source_of_prompt = prompt_source(config)
    prompt = with_token(config, source_of_prompt)
    _check_output(config)
    progress = _progress(config, console)
    hurry = Hurry()
    commands = Commands(on_stop=hurry.begin)
    leaving = Leaving()
    with ExitStack() as stack:
        live = stack.enter_context(page(config, source, commands, source_of_prompt))
        world = open_world(config, source, prompt, stack, leaving)
        video = _make_video(config, source, world, progress)
        driver = world.driver()
        stack.push(leaving.closing("the policy", driver.close))
        dataset = _make_dataset(config, source, world.spec, prompt)
        not_begun = stack.enter_context(ExitStack())
        if dataset is not None:
            not_begun.callback(closing, "the dataset", dataset.abandon)
            config = _with_new_seeds(config, dataset)
        session_file = SessionFile(config.output_dir, config.video.subsample, config.vector.shown_env)
        recordings = Recordings(config, world.spec, session_file, video, dataset, driver.policy, progress)
        viewing = stack.enter_context(viewers(config, source, world.shown_spec, commands))
        session = world.session(
            driver,
            config.session,
            [session_file, *_there(dataset, progress)],
            [*_there(video, live), *viewing, *driver.watchers],
            prompt=prompt,
            commands=commands,
            described_as=to_plain(config),
            on_hang=recordings.complete_and_exit,
        )
        not_begun.pop_all()
        hurry.close = driver.close
        with hurry, stopping(commands.stop, "stopping after this step and saving") as signals:
            result = _run(session, progress, video)
        # Everything is final before the environment is closed: simulators are known to crash on their way out.
        faults = recordings.complete(result)
        leaving.status = _status(result, faults, signals)
    return leaving.status


def _help(source: Source) -> str:
    flags = "\n".join(f"  --{name}\n      {text}" for name, text in COMMAND_FLAGS.items())
    return f"{INTRODUCTION}\n\n{options_help(RunConfig, chosen_types(RunConfig, source))}\n{flags}"


def _check_output(config: RunConfig) -> None:
    """Fail now, not after the first episode, if nothing can be written."""
    try:
        make_folder(config.output_dir)
        with tempfile.TemporaryFile(dir=config.output_dir):
            pass
    except RecordingError as error:
        raise ConfigError(f"--output_dir: {error}") from error
    except OSError as error:
        raise ConfigError(f"--output_dir: {cannot_write(config.output_dir, error)}") from error


def _there(*sinks: Sink | None) -> list[Sink]:
    return [sink for sink in sinks if sink is not None]


def _make_video(
    config: RunConfig, source: Source, world: World, progress: PlainProgress | LiveProgress | None
) -> VideoSink | None:
    spec = world.shown_spec
    stored = progress.stored if progress is not None else None
    if not spec.cameras and not any(flag.startswith("video.") for flag in source.flags):
        log.warning("%s has no camera: nothing is filmed", spec.name)
        return None
    if world.drawn_by is not None:
        check_filmed(config.video.cameras, spec.cameras, world.drawn_by.camera_names())
    return made("video", config.video, source, lambda: config.video.make(spec, config.output_dir, stored))


def _progress(config: RunConfig, console: Console | None) -> PlainProgress | LiveProgress | None:
    if config.quiet:
        return None
    if console is None:
        say = partial(print, file=sys.stderr, flush=True)
        return PlainProgress(config.session, say, num_envs=config.vector.num_envs)
    return LiveProgress(config.session, console, config.vector.num_envs)


def _make_dataset(config: RunConfig, source: Source, spec: EnvironmentSpec, prompt: Prompt) -> DatasetSink | None:
    if not config.dataset.wanted:
        return None
    max_hz = config.session.max_hz
    return made(
        "dataset",
        config.dataset,
        source,
        lambda: config.dataset.make(
            spec,
            max_hz or spec.control_hz,
            robot_type=config.env.type,
            task=prompt() or spec.prompt,
            paced=max_hz > 0,
            resume=config.resume,
        ),
    )


def _with_new_seeds(config: RunConfig, dataset: DatasetSink) -> RunConfig:
    """The same, where a dataset is gone on with, from the episode seeds on that it has not had."""
    if not config.resume or config.session.seed_offset:
        return config
    offset = dataset.next_seed(config.session.seed)
    return replace(config, session=replace(config.session, seed_offset=offset))


def _push(config: RunConfig) -> None:
    """Send the dataset to the Hub, now that it is whole.

    Raises:
        TakeTwoError: it did not arrive; with what to do.
    """
    from taketwo.datasets.hub import push_to_hub

    assert config.dataset.repo_id is not None
    options = config.dataset
    url = push_to_hub(options.folder(), config.dataset.repo_id, private=options.private, tags=options.tags)
    if not config.quiet:
        print(f"sent to {url}")


def _run(
    session: Session | VectorSession, progress: PlainProgress | LiveProgress | None, video: VideoSink | None
) -> SessionResult:
    try:
        return session.run()
    except KeyboardInterrupt:
        if video is not None and video.path is not None:
            log.warning("stopped before the video was finished; it plays as it is: %s", video.path)
        raise
    finally:
        if progress is not None:
            progress.close()


def _outage_row(outages_s: Sequence[float]) -> list[tuple[str, str]]:
    if not outages_s:
        return []
    times = "once" if len(outages_s) == 1 else f"{len(outages_s)} times"
    return [("policy", f"its server was away {times}, for {sum(outages_s):.1f} s")]


def _tell(
    config: RunConfig,
    control_hz: float,
    result: SessionResult,
    rows: Sequence[tuple[str, str]],
    outage_s: float,
    faults: Sequence[BaseException],
) -> None:
    if not config.quiet:
        print_summary(result, control_hz, config.session.max_hz, rows, outage_s)
    sys.stdout.flush()
    if log.isEnabledFor(logging.DEBUG):
        for fault in faults:
            traceback.print_exception(fault)
    for line in dict.fromkeys(map(one_line, faults)):  # a full disk can give the same one twice
        print(f"error: {line}", file=sys.stderr, flush=True)


def _written(
    video: Mapping[str, Any] | None, dataset: Mapping[str, Any] | None, session_file: SessionFile
) -> list[tuple[str, str]]:
    rows = []
    if video is not None and video["path"] is not None:
        size = f"{video['frames']} frames, {video['duration_s']:.2f} s at {video['fps']:g} fps"
        files = f", {len(video['files'])} files" if len(video["files"]) > 1 else ""
        rows += [("video", video["path"]), ("", size + files)]
        if video["dropped"]:
            rows.append(("", f"{video['dropped']} frames are missing"))
        rows += [("warning", str(warning["message"])) for warning in video["warnings"]]
    if dataset is not None:
        rows += _dataset_rows(dataset)
    if session_file.path is not None:
        rows.append(("session", str(session_file.path)))
    return rows


def _dataset_rows(dataset: Mapping[str, Any]) -> list[tuple[str, str]]:
    added, whole = dataset["episodes"], dataset["total_episodes"]
    if not whole:
        return [("dataset", "no episode was kept")]
    before = f"; {whole} in all" if whole != added else ""
    late = [f"episode {entry['episode']} ran at {entry['measured_hz']:.1f} Hz" for entry in dataset["late"]]
    rows = [
        ("dataset", dataset["path"]),
        ("", f"{said_count(added, 'episode')}, {said_count(dataset['rows'], 'row')}{before}"),
    ]
    if late:
        rows.append(("warning", f"its rows say {dataset['late'][0]['fps']:g} Hz, but {', '.join(late)}"))
    return rows


def _status(result: SessionResult, faults: Sequence[BaseException], signals: Sequence[signal.Signals]) -> int:
    if faults or any(episode.outcome is Outcome.FAULT for episode in result.episodes):
        return FAULT
    return 128 + signals[0] if signals else 0
