"""`taketwo serve`: build a policy, and serve it to openpi's clients and our own."""

from __future__ import annotations

import importlib.util
import ipaddress
import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from taketwo import __version__
from taketwo.cli.config import source_of
from taketwo.cli.flags import CommandLine, read_flags
from taketwo.cli.help import options_help
from taketwo.cli.making import closing, made
from taketwo.cli.progress import log_to
from taketwo.cli.resolve import Source, chosen_types, holds, resolve, to_plain
from taketwo.cli.schema import Choice, Component
from taketwo.cli.stopping import stopping
from taketwo.cli.wording import said_count
from taketwo.errors import ConfigError, one_line, quoted
from taketwo.policies.base import POLICIES, PolicyConfig
from taketwo.serving.environments import SERVED_ENVIRONMENTS, ServedEnvironmentConfig
from taketwo.serving.options import ServerOptions
from taketwo.serving.protocols import PROTOCOLS, ServerProtocol
from taketwo.sockets import bound_socket
from taketwo.wire.keys import VARIABLE, api_key_of, check_api_key

if TYPE_CHECKING:
    import socket

    from taketwo.serving.records import RecordWriter

log = logging.getLogger("taketwo.serve")

SHOWN_CHARACTERS = 80

OPENPI_RECORDS = Path("policy_records")
"""Where openpi's server records when it is told to, without saying where."""

INTRODUCTION = """Usage: taketwo serve [--env ALOHA_SIM] --policy.type=TYPE [--flag=value ...]
       taketwo serve policy:checkpoint --policy.config=NAME --policy.dir=DIR

Serves a policy over openpi's websocket protocol: to openpi's own client, and to
taketwo run --policy.type=remote. Without a policy it is openpi's checkpoint for
the environment, as with openpi's own server. GET /healthz tells whether it is
up, GET /metrics how it does, for Prometheus.

An observation's own prompt counts first, then --default_prompt, then the
checkpoint's own; each answer says which was used.

Exit status: 0 when it was stopped by Ctrl-C or SIGTERM; 1 on a fault; 2 for a
wrong flag."""

COMMAND_FLAGS = {
    "config_path": "YAML file with the same keys, nested; flags win",
    "help": "this text",
}


@dataclass(frozen=True)
class ServeConfig:
    """Everything that `taketwo serve` needs to know.

    Attributes:
        env: what its clients are.
        policy: the policy.
        protocol: what its clients speak.
        host: address to listen on; another than this machine's own needs an api_key.
        port: port to listen on.
        api_key: key that clients must give; TAKETWO_API_KEY in the environment where not given. Neither shown
            nor recorded.
        default_prompt: instruction for observations that come without one.
        record: folder that every request and answer is recorded in; see taketwo records.
        record_max_gb: most that a recording may take on disk, in gigabytes; the oldest files go first.
        max_batch_size: most requests in one forward pass, for policies that can take several.
        max_wait_ms: longest that a request waits for others; where not given, as long as it pays.
        max_clients: connections at a time.
        max_request_mb: a longer message is refused, in megabytes.
        log_every: requests of a client between two lines that tell its prompt; 0 tells only changes.
        log_level: which messages are shown; debug adds tracebacks.
    """

    env: Component[ServedEnvironmentConfig] = field(metadata={"choice": Choice(SERVED_ENVIRONMENTS, "ALOHA_SIM")})
    policy: Component[PolicyConfig] = field(metadata={"choice": Choice(POLICIES, "openpi")})
    protocol: Component[ServerProtocol] = field(metadata={"choice": Choice(PROTOCOLS, "openpi")})
    host: str = "127.0.0.1"
    port: int = 8000
    api_key: str | None = field(default=None, repr=False)
    default_prompt: str | None = None
    record: Path | None = None
    record_max_gb: float = 10.0
    max_batch_size: int = 16
    max_wait_ms: float | None = None
    max_clients: int = 256
    max_request_mb: float = 64.0
    log_every: int = 500
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"port must be from 0 to 65535, where 0 takes a free one, not {self.port}")
        for name in ("max_batch_size", "max_clients"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be 1 or more, not {getattr(self, name)}")
        for name, least in (("record_max_gb", 0.001), ("max_request_mb", 0.001)):
            if not least <= getattr(self, name) < float("inf"):
                raise ConfigError(f"{name} must be a finite number, {least:g} or more, not {getattr(self, name)}")
        if self.max_wait_ms is not None and not 0 <= self.max_wait_ms < float("inf"):
            raise ConfigError(f"max_wait_ms must be a finite number of milliseconds, 0 or more, not {self.max_wait_ms}")
        if self.record is not None and self.protocol.type != "openpi":
            raise ConfigError(f"record is for protocol openpi, and this one is {self.protocol.type}")
        if self.default_prompt is not None and not one_line(self.default_prompt):
            raise ConfigError("default_prompt must not be empty")
        check_api_key(self.api_key)
        for name in ("default_prompt", "host"):
            try:
                (getattr(self, name) or "").encode()
            except UnicodeEncodeError as error:
                raise ConfigError(f"{name} is not text in UTF-8") from error
        if self.log_every < 0:
            raise ConfigError(f"log_every must be 0 or more, not {self.log_every}")
        if not self.host:
            raise ConfigError("host must not be empty; 127.0.0.1 is this machine only, 0.0.0.0 all addresses")

    @property
    def key(self) -> str | None:
        """The key that clients must give, from the flag or the environment.

        Raises:
            ConfigError: others can reach the server, and there is no key.
        """
        key = api_key_of(self.api_key)
        if key is None and not _is_loopback(self.host):
            raise ConfigError(
                f"host {self.host} can be reached from other machines, so clients must give a key: set --api_key, or "
                f"{VARIABLE} in the environment; or listen on 127.0.0.1 only"
            )
        return key


def main(words: Sequence[str]) -> int:
    """Run the command; returns its exit status."""
    line = read_flags(words, switches=("help",))
    wants_help = "help" in line.flags
    line.flags.pop("help", None)
    source = _source(line)
    if wants_help:
        options = options_help(ServeConfig, chosen_types(ServeConfig, source), "Server")
        print(f"{INTRODUCTION}\n\n{options}\n{_command_flags()}")
        return 0
    source = Source(_with_checkpoint(source), source.file, source.path)
    return serve(resolve(ServeConfig, source, extra_flags=COMMAND_FLAGS), source)


def serve(config: ServeConfig, source: Source) -> int:
    """Serve until Ctrl-C or SIGTERM; returns the exit status.

    Raises:
        TakeTwoError: it cannot begin.
    """
    from taketwo.serving.hosting import PolicyHost
    from taketwo.serving.server import PolicyServer

    log_to(None, config.log_level)
    options = ServerOptions(
        config.key, config.default_prompt, config.max_clients, int(config.max_request_mb * 1e6), config.log_every
    )
    environment = made("env", config.env.options, source, config.env.options.make)
    with ExitStack() as stack:
        bound = stack.enter_context(bound_socket(config.host, config.port))  # before a model is loaded
        records = _records(config)
        if records is not None:
            stack.callback(closing, "the recording", records.close)
        max_wait_s = None if config.max_wait_ms is None else config.max_wait_ms / 1000
        host = PolicyHost(
            lambda: made("policy", config.policy.options, source, lambda: config.policy.options.make(environment.spec)),
            max_batch_size=config.max_batch_size,
            max_wait_s=max_wait_s,
        )
        stack.callback(closing, "the policy", host.close)
        protocol = config.protocol.options
        server = made("protocol", protocol, source, lambda: PolicyServer(host, environment, options, protocol, records))
        with stopping(lambda _reason: server.stop(), "ending the connections"):
            server.run(bound, lambda: _announce(config, bound))
    clients, answered, resets, refused = server.metrics.counts()
    log.info(
        "served %s: %s and %s answered, %d refused",
        said_count(clients, "client"),
        said_count(answered, "request"),
        said_count(resets, "reset"),
        refused,
    )
    return 0


def _announce(config: ServeConfig, bound: socket.socket) -> None:
    host = f"[{config.host}]" if ":" in config.host else config.host
    address = f"{host}:{bound.getsockname()[1]}"
    key = "with an API key" if config.key else "without a key"
    spoken = "" if config.protocol.type == "openpi" else f", {config.protocol.type}'s protocol"
    log.info("serving %s for %s at ws://%s (%s%s)", config.policy.type, config.env.type, address, key, spoken)
    if config.default_prompt is not None:
        log.info("default prompt: %s", quoted(config.default_prompt, SHOWN_CHARACTERS))
    log.info("health http://%s/healthz, metrics http://%s/metrics; Ctrl-C ends it", address, address)
    if config.record is not None:
        log.info("recording into %s, %g GB at most", config.record, config.record_max_gb)


def _records(config: ServeConfig) -> RecordWriter | None:
    if config.record is None:
        return None
    from taketwo.serving.records import RecordWriter

    plain = to_plain(config)
    header = {
        "taketwo": __version__,
        "policy": plain["policy"],
        "env": plain["env"],
        "default_prompt": config.default_prompt,
    }
    return RecordWriter(config.record, max_bytes=int(config.record_max_gb * 1e9), header=header)


def _source(line: CommandLine) -> Source:
    """What the user gave, in openpi's words too."""
    flags = dict(line.flags)
    for word in line.arguments:
        if word not in ("policy:checkpoint", "policy:default"):
            raise ConfigError(f"unexpected word {word!r}; options are flags, such as --policy.type=scripted")
        if word == "policy:checkpoint":
            flags.setdefault("policy.type", "openpi")
    _shorten_choices(flags)
    if "record" in flags:
        _place_records(flags)
    return source_of(flags)


def _shorten_choices(flags: dict[str, str | None]) -> None:
    """`--env aloha_sim` for `--env.type=ALOHA_SIM`, and `--protocol` likewise."""
    for section in ("env", "protocol"):
        if section in flags:
            flags[f"{section}.type"] = flags.pop(section)
    name = flags.get("env.type")
    if name is not None and name.upper() in SERVED_ENVIRONMENTS.targets():
        flags["env.type"] = name.upper()


def _place_records(flags: dict[str, str | None]) -> None:
    """`--record` and `--record True`, as openpi has it, name no folder."""
    answer = (flags["record"] or "true").lower()
    if answer == "true":
        flags["record"] = str(OPENPI_RECORDS)
    elif answer == "false":
        del flags["record"]


def _with_checkpoint(source: Source) -> dict[str, str | None]:
    """The flags with what openpi's server would take for granted: its checkpoint, the environment, the layout.

    Raises:
        ConfigError: no policy is named, and there is none to take.
    """
    from taketwo.policies.openpi import DEFAULT_CHECKPOINTS, HOW_TO_GET_IT

    flags = dict(source.flags)

    def given(name: str) -> str | None:
        return flags.get(name) or (_in_file(source.file, name) if holds(source.file, name) else None)

    config = given("policy.config")
    if (given("policy.type") or "openpi") != "openpi":
        return flags
    if config is not None and given("env.type") is None:
        flags["env.type"] = _environment_of(config)
    environment = given("env.type") or "ALOHA_SIM"
    checkpoint = DEFAULT_CHECKPOINTS.get(environment)
    if config is None and given("policy.dir") is None:
        if checkpoint is None:
            raise ConfigError(f"--policy.type is needed: openpi has no checkpoint of its own for {environment}")
        if importlib.util.find_spec("openpi") is None:
            raise ConfigError(
                "--policy.type is needed, such as scripted: without one it is openpi's checkpoint for "
                f"{environment}, and openpi is not installed ({HOW_TO_GET_IT})"
            )
        flags |= {"policy.type": "openpi", "policy.config": checkpoint.config, "policy.dir": checkpoint.dir}
    if checkpoint is not None and given("policy.layout") is None:
        flags["policy.layout"] = checkpoint.layout
    return flags


def _environment_of(config: str) -> str:
    """The environment that one of openpi's training configs is for, by its name."""
    for word, environment in {
        "aloha_sim": "ALOHA_SIM",
        "aloha": "ALOHA",
        "libero": "LIBERO",
        "droid": "DROID",
    }.items():
        if word in config.lower():
            return environment
    raise ConfigError(
        f"--env is needed: the config's name {config!r} does not tell whether it is for "
        f"{', '.join(SERVED_ENVIRONMENTS.targets())}"
    )


def _in_file(content: Mapping[str, Any], name: str) -> str | None:
    section, _, key = name.partition(".")
    value = content.get(section)
    inner = value.get(key) if isinstance(value, Mapping) else None
    return inner if isinstance(inner, str) else None


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _command_flags() -> str:
    return "\n".join(f"  --{name}\n      {text}" for name, text in COMMAND_FLAGS.items())
