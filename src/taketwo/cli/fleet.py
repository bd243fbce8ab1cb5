"""What `taketwo eval`, `taketwo collect` and `taketwo plan` have in common: from flags to results."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from taketwo import __version__
from taketwo.cli.dataset_output import print_facts
from taketwo.cli.flags import read_flags
from taketwo.cli.fleet_config import FleetConfig, plan_of, source_of, worker_config
from taketwo.cli.fleet_progress import DemandProgress, LiveFleetProgress, PlainFleetProgress
from taketwo.cli.fleet_tables import print_results
from taketwo.cli.help import options_help
from taketwo.cli.progress import live_console, log_to
from taketwo.cli.resolve import Source, chosen_types, in_full, resolve, to_plain
from taketwo.cli.stopping import stopping
from taketwo.cli.wording import said_count
from taketwo.errors import ConfigError, PolicyError, RecordingError, TakeTwoError, one_line
from taketwo.fleet.demand import Cores, Demand
from taketwo.fleet.episodes import DATASET
from taketwo.fleet.executor import Executor, MisfitError
from taketwo.fleet.folder import RunFolder, check_new
from taketwo.fleet.gpus import Placement, place, visible_gpus
from taketwo.fleet.inference import PolicyServerProcess, StoppedError, check_reach
from taketwo.fleet.ledger import Ledger
from taketwo.fleet.local import Limits, LocalExecutor
from taketwo.fleet.merging import check_target, merge_episodes, sources_of
from taketwo.fleet.plan import Plan, version_of
from taketwo.fleet.ray_cluster import RayCluster, RayConfig
from taketwo.fleet.report import write_report
from taketwo.fleet.results import RESULTS, FleetResults, write_results
from taketwo.fleet.run import FleetRun, faults_of, reopen_faults
from taketwo.fleet.trials import TrialResult
from taketwo.fleet.until import Watch, parse_until
from taketwo.fleet.worker import EPISODES, WorkerConfig
from taketwo.types import Outcome

if TYPE_CHECKING:
    from rich.console import Console

log = logging.getLogger(__name__)

REPORT = "report.html"

SERVER_LOG = "policy-server.log"

UNTIL = "until"
"""In the ledger: the rule that may end the run before its plan does."""

SENT = "sent_to"
"""In the ledger: where on the Hub the dataset is."""

FAULT = 1

COMMAND_FLAGS = {
    "config_path": "YAML file with the same keys, nested, or the plan.json of a run; flags win",
    "center_crop": "the same as policy.center_crop, which OpenVLA's policies have",
    "print_config": "print the resolved configuration as YAML, and run nothing",
    "help": "this text",
}

SWITCHES = ("help", "print_config", "center_crop", "log_dataset", "retry_faults", "quiet")


@dataclass(frozen=True)
class Asked:
    """A command line, understood.

    Attributes:
        command: eval or collect.
        records: whether a dataset is made.
    """

    command: str
    config: FleetConfig
    source: Source
    plan: Plan
    records: bool


def read_command(command: str, words: Sequence[str], introduction: str) -> Asked | None:
    """What a command line asks for; None where it was for help or the configuration, which is printed.

    Args:
        command: eval or collect; plan is whichever its flags make it.

    Raises:
        ConfigError: a flag does not fit.
    """
    line = read_flags(words, switches=SWITCHES)
    if line.arguments:
        raise ConfigError(f"unexpected word {line.arguments[0]!r}; options are flags, such as --seed=42,43")
    given = dict(line.flags)
    asked = {name for name in ("help", "print_config") if name in given}
    for name in asked:
        if given.pop(name) is not None:
            raise ConfigError(f"--{name} takes no value")
    source = source_of(given)
    if "help" in asked:
        flags = "\n".join(f"  --{name}\n      {text}" for name, text in COMMAND_FLAGS.items())
        print(f"{introduction}\n\n{options_help(FleetConfig, chosen_types(FleetConfig, source))}\n{flags}")
        return None
    config = resolve(FleetConfig, source, extra_flags=COMMAND_FLAGS)
    if "print_config" in asked:
        import yaml

        print(yaml.safe_dump(to_plain(config), sort_keys=False), end="")
        return None
    records = command == "collect" or config.records
    try:
        plan = plan_of(config, records=records)
    except ConfigError as error:
        raise in_full(error, "", FleetConfig, source) from error
    if command == "plan":
        command = "collect" if records else "eval"
    return Asked(command, config, source, plan, records)


def run(asked: Asked) -> int:
    """Run the plan, or what is left of it, and tell what came of it; returns the exit status.

    Raises:
        TakeTwoError: it cannot begin, or cannot go on. What is done is kept, and the same command goes on.
    """
    config, plan = asked.config, asked.plan
    console = live_console(config.quiet)
    log_to(console, "warning" if config.quiet and config.log_level == "info" else config.log_level)
    _until(asked)  # a wrong one is told before anything is made
    if config.inference == "server":
        check_reach(config.far)
    folder = config.folder(asked.command)
    target = config.dataset_folder(asked.command) if asked.records else None
    if not plan.check_same(folder):
        check_new(folder)
    if target is not None:
        check_target(target, plan.fingerprint)
    with _held(folder) as held, ExitStack() as stack:
        if plan.check_same(folder):  # again, now that nobody else can begin one
            _compare_versions(folder)
            held.clear_work()
        else:
            check_new(folder)
            plan.write(folder)
        ledger = stack.enter_context(Ledger(held.ledger, plan.fingerprint, plan.trials))
        asked = _with_kept_rule(asked, ledger)
        if config.retry_faults:
            _reopen_faults(asked, held, ledger, target)
        stop = _Stop()
        signals = stack.enter_context(stopping(stop, "stopping; episodes under way are run again by the same command"))
        try:
            results, demand, failure = _run(asked, held, ledger, stop, console)
        except StoppedError:
            return 128 + signals[0]
        _write(held, results, failure)
        if len(results.results) == len(results.trials):
            ledger.set_fact(UNTIL, "")
        try:
            if failure is not None:
                raise failure
            if target is not None and not signals:
                _merge(asked, held, ledger, results, target)
        finally:
            _tell(asked, held, results, target, demand)
    if signals:
        return 128 + signals[0]
    return FAULT if any(result.outcome is Outcome.FAULT for result in results.results.values()) else 0


def _held(folder: Path) -> RunFolder:
    try:
        return RunFolder(folder)
    except RecordingError as error:
        raise ConfigError(f"--output_dir: {error}") from error


def _compare_versions(folder: Path) -> None:
    version = version_of(folder)
    if version not in (None, __version__):
        log.warning(
            "the run was begun by Take Two %s, and this is %s: its episodes may not be the same", version, __version__
        )


def _with_kept_rule(asked: Asked, ledger: Ledger) -> Asked:
    """The command with the rule by which its run was begun: another one would spoil what it promises.

    Raises:
        ConfigError: another one is given.
    """
    given, kept = asked.config.until, ledger.fact(UNTIL)
    if not kept:
        if given is not None:
            ledger.set_fact(UNTIL, given)
        return asked
    if given not in (None, kept):
        raise ConfigError(f"--until: the run has the rule {kept}: give that one, none, or another --output_dir")
    return replace(asked, config=replace(asked.config, until=kept))


def _reopen_faults(asked: Asked, folder: RunFolder, ledger: Ledger, target: Path | None) -> None:
    plan = asked.plan
    if target is not None and check_target(target, plan.fingerprint) and faults_of(plan, folder, ledger):
        raise ConfigError(
            f"--retry_faults: {target} was made without the episodes that ended as faults: remove it, and give the "
            "command again"
        )
    if count := reopen_faults(plan, folder, ledger):
        log.info("episodes that ended as faults and are run again: %d", count)


def _write(folder: RunFolder, results: FleetResults, failure: TakeTwoError | None) -> None:
    """Write the results and the report, where something failed as far as that goes."""
    try:
        write_results(folder.root / RESULTS, results)
        write_report(folder.root / REPORT, results, folder.root / EPISODES)
    except RecordingError as error:
        if failure is None:
            raise
        log.warning("%s", error)


class _Stop:
    """Whether somebody wants it to end."""

    def __init__(self) -> None:
        self._reason: str | None = None

    def __call__(self, reason: str) -> None:
        self._reason = reason

    def reason(self) -> str | None:
        return self._reason


def _run(
    asked: Asked,
    folder: RunFolder,
    ledger: Ledger,
    stop: _Stop,
    console: Console | None,
) -> tuple[FleetResults, list[str], TakeTwoError | None]:
    """Run what is left; returns what came of it, where the time went, and why it could not go on."""
    config, plan = asked.config, asked.plan
    failure: TakeTwoError | None = None
    progress = _progress(config, console)
    try:
        with _workers(asked, folder, stop) as (executor, server, far), closing(progress):
            demand = Demand(cores=None if far else Cores(), load=None if server is None else server.load)
            fleet = FleetRun(
                plan,
                folder,
                ledger,
                executor,
                DemandProgress(progress, demand, len(executor.workers), log.info),
                max_attempts=config.max_attempts,
                stopped=lambda: stop.reason() or (None if server is None else server.failure()),
                enough=_until(asked),
            )
            try:
                ended = fleet.run()
                if server is not None and ended == server.failure():
                    raise PolicyError(f"{ended}. Nothing that has ended is lost; the same command goes on")
            except MisfitError:
                raise
            except TakeTwoError as error:
                ended, failure = one_line(error), error
            lines = demand.lines()
    except MisfitError as error:
        options = getattr(config, error.section)
        raise in_full(error, f"{error.section}.", type(getattr(options, "options", options)), asked.source) from error
    results = FleetResults(
        name=folder.root.name,
        trials=plan.trials,
        results=fleet.results,
        fingerprint=plan.fingerprint,
        config=to_plain(config),
        started_at=fleet.started_at,
        wall_s=fleet.wall_s,
        ended=ended,
        until=config.until,
    )
    return results, lines, failure


@contextmanager
def _workers(
    asked: Asked, folder: RunFolder, stop: _Stop
) -> Iterator[tuple[Executor, PolicyServerProcess | None, bool]]:
    """The workers, the policy server where they share one, and whether some are on other machines.

    All end with the context.
    """
    config = asked.config
    left = len(asked.plan.trials) - len(folder.episodes.done())
    worker = worker_config(config, folder.root, records=asked.records)
    shared = config.inference == "server"
    placement = Placement()
    if left and not config.far:
        placement = place(worker.policy, shared=shared, gpus=visible_gpus())
    if placement.warning is not None:
        log.warning("%s", placement.warning)
    with ExitStack() as stack:
        with _variables(placement.workers):
            cluster = _cluster(asked, left)
        if cluster is not None:
            stack.callback(cluster.close)
        far = config.far or (cluster is not None and cluster.spread)
        server = None
        if left and shared:
            check_reach(far)
            printed = folder.logs / SERVER_LOG
            log.info("the policy is loaded by a server for all workers; what it prints is in %s", printed)
            most = config.num_workers(left, room=left)
            server = PolicyServerProcess(
                worker,
                asked.plan.trials[0].env,
                printed,
                workers=most,
                environment=placement.server,
                stopped=stop.reason,
            )
            stack.callback(server.close)
            worker = server.worker_config(worker)
        with _variables(placement.workers):
            executor = _executor(asked, folder, worker, left, cluster)
        stack.callback(executor.close)
        yield executor, server, far


@contextmanager
def _variables(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables, which workers and a cluster that are made meanwhile take over."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _cluster(asked: Asked, left: int) -> RayCluster | None:
    """The one that is asked for, where something is left to run."""
    config = asked.config
    if config.cluster is None or not left:
        return None
    wanted = 0 if config.workers == "auto" else config.num_workers(left)
    try:
        return RayCluster(config.cluster, config.ray, room_for=wanted)
    except ConfigError as error:
        raise in_full(error, "ray.", RayConfig, asked.source) from error


def _executor(asked: Asked, folder: RunFolder, worker: WorkerConfig, left: int, cluster: RayCluster | None) -> Executor:
    config = asked.config
    limits = Limits(config.trial_timeout_s, config.silence_timeout_s)
    threads = config.threads_per_worker
    if cluster is None:
        return LocalExecutor(worker, config.num_workers(left), limits, threads=threads, logs=folder.logs)
    from taketwo.fleet.ray_workers import RayExecutor

    count = config.num_workers(left, cluster.room())
    return RayExecutor(cluster, worker, count, limits, config.ray, threads=threads)


def _until(asked: Asked) -> Callable[[Mapping[int, TrialResult]], str | None] | None:
    if asked.config.until is None:
        return None
    try:
        rule = parse_until(asked.config.until, asked.plan.trials)
    except ConfigError as error:
        raise in_full(error, "", FleetConfig, asked.source) from error
    return Watch(rule, asked.plan.trials).reason


def _progress(config: FleetConfig, console: Console | None) -> PlainFleetProgress | LiveFleetProgress:
    if console is not None:
        return LiveFleetProgress(console)
    return PlainFleetProgress((lambda line: None) if config.quiet else partial(print, file=sys.stderr, flush=True))


def _merge(asked: Asked, folder: RunFolder, ledger: Ledger, results: FleetResults, target: Path) -> None:
    """Make one dataset of all episodes, and send it to the Hub where that is asked for."""
    recorded = [trial.index for trial in asked.plan.trials if _is_recorded(results.results.get(trial.index))]
    sources = sources_of([folder.episodes.folder(index) / DATASET for index in recorded])
    made = merge_episodes(sources, target, folder.work / DATASET, asked.plan.fingerprint)
    options = asked.config.dataset
    if made:
        ledger.set_fact(SENT, "")
    if options.push_to_hub and ledger.fact(SENT) != options.repo_id:
        from taketwo.datasets.hub import push_to_hub

        assert options.repo_id is not None
        url = push_to_hub(target, options.repo_id, private=options.private, tags=options.tags)
        ledger.set_fact(SENT, options.repo_id)
        log.info("sent to %s", url)


def _is_recorded(result: TrialResult | None) -> bool:
    return result is not None and result.recorded > 0


def _tell(asked: Asked, folder: RunFolder, results: FleetResults, target: Path | None, demand: list[str]) -> None:
    if asked.config.quiet:
        return
    print_results(results)
    facts = [("" if number else "workers", line) for number, line in enumerate(demand)]
    facts += [("results", str(folder.root / RESULTS)), ("report", str(folder.root / REPORT))]
    if target is not None and target.exists():
        facts.append(("dataset", str(target)))
    left = len(results.trials) - len(results.results)
    if left and asked.config.until is None:
        facts.append(("left", f"{said_count(left, 'episode')}: the same command goes on"))
    print_facts(facts)
