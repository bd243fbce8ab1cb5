"""The configuration of `taketwo run`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from taketwo.cli.convert import load_yaml
from taketwo.cli.flags import plain_name
from taketwo.cli.resolve import Source, holds
from taketwo.cli.schema import Choice, Component
from taketwo.control.config import ControlConfig
from taketwo.control.prompt_id import check_prompt_id
from taketwo.datasets.sink import DatasetConfig
from taketwo.envs.base import ENVIRONMENTS, EnvironmentConfig
from taketwo.envs.vector import VectorConfig
from taketwo.errors import ConfigError
from taketwo.live.config import LiveConfig
from taketwo.policies.base import POLICIES, PolicyConfig
from taketwo.recording.video import VideoConfig
from taketwo.session.config import SessionConfig
from taketwo.viewing.stream import DisplayConfig

DEFAULT_EPISODES = 3


@dataclass(frozen=True)
class RunConfig:
    """Everything that `taketwo run` needs to know.

    Attributes:
        env: the environment.
        vector: several environments in one session.
        policy: the policy.
        session: how long, how fast.
        control: what stands between policy and environment.
        video: the recording of a camera.
        dataset: the recording of everything, for training.
        live: a page on the running session, and a window; --live alone opens the page.
        display: how display_data shows it.
        display_data: stream the running session to Rerun.
        resume: add to a dataset that is there.
        output_dir: folder for everything that is written; created if it is missing.
        prompt: instruction put into each observation; the environment's own where not given.
        prompt_file: text file with the prompt, read again when it changes; write to it to change the prompt while
            the session runs.
        prompt_id: token put in front of every prompt, to find it again in all logs: auto for a random one, or a text;
            for finding faults, as the policy sees it too.
        prompt_trace: show side by side the prompt that was sent, that the session saw, and that the policy or its
            server used, whenever one of them changes; end the session where they differ.
        prompt_echo_every: print the prompt every this many steps, side by side where prompt_trace is on; 0 does not.
        log_level: which messages are shown; debug adds tracebacks.
        quiet: no progress and no table, only warnings and errors.
    """

    env: Component[EnvironmentConfig] = field(metadata={"choice": Choice(ENVIRONMENTS, "aloha")})
    policy: Component[PolicyConfig] = field(metadata={"choice": Choice(POLICIES, "scripted")})
    vector: VectorConfig = field(default_factory=VectorConfig)
    session: SessionConfig = field(default_factory=lambda: SessionConfig(num_episodes=DEFAULT_EPISODES))
    control: ControlConfig = field(default_factory=ControlConfig)
    video: VideoConfig = field(default_factory=VideoConfig)
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    live: LiveConfig = field(default_factory=LiveConfig)
    display: DisplayConfig = field(default_factory=DisplayConfig)
    display_data: bool = False
    resume: bool = False
    output_dir: Path = Path("outputs")
    prompt: str | None = None
    prompt_file: Path | None = None
    prompt_id: str | None = None
    prompt_trace: bool = False
    prompt_echo_every: int = 0
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    quiet: bool = False

    def __post_init__(self) -> None:
        if self.prompt_echo_every < 0:
            raise ConfigError(f"prompt_echo_every must be 0 or more, not {self.prompt_echo_every}")
        if self.resume and not self.dataset.wanted:
            raise ConfigError("resume needs the dataset to go on with: give --dataset.repo_id or --dataset.root")
        if self.prompt is not None and self.prompt_file is not None:
            raise ConfigError("prompt_file cannot be combined with --prompt: give one of them")
        if self.prompt_id is not None:
            check_prompt_id(self.prompt_id)


def source_of(flags: Mapping[str, str | None]) -> Source:
    """What the user gave by flags and by the file that `--config_path` names."""
    given = dict(flags)
    path = None
    content: dict[str, Any] = {}
    if "config_path" in given:
        text = given.pop("config_path")
        if not text:
            raise ConfigError("--config_path needs a value: the path of a YAML file")
        path = Path(text)
        content = load_yaml(path)
        if {"config", "episodes"} <= content.keys():  # a session.json, to run that session again
            content = content["config"]
    given, content = _with_num_envs(given, content)
    given |= _live(given, content)
    if _ends_otherwise(given, content) and not _gives(given, content, "session.num_episodes"):
        given["session.num_episodes"] = "none"  # a minute that was asked for is not cut at the third episode
    return Source(given, content, path)


def _with_num_envs(
    flags: dict[str, str | None], content: dict[str, Any]
) -> tuple[dict[str, str | None], dict[str, Any]]:
    """`env.num_envs` is short for `vector.num_envs`, as a flag and in a file."""
    name, full = "env.num_envs", "vector.num_envs"
    if (name in flags and full in flags) or (holds(content, name) and holds(content, full)):
        raise ConfigError(f"{name} and {full} are the same: give one of them")
    if name in flags:
        flags = {**flags, full: flags[name]}
        del flags[name]
    if holds(content, name):
        env = {plain_name(str(key)): value for key, value in content["env"].items()}
        vector = content.get("vector") or {}
        if isinstance(vector, Mapping):
            content = {**content, "vector": {**vector, "num_envs": env.pop("num_envs")}, "env": env}
    return flags, content


def _live(flags: dict[str, str | None], content: Mapping[str, Any]) -> dict[str, str | None]:
    """`--live` asks for the page, and so does an option that only the page has; the window likewise."""
    if "live" in flags:
        flags.setdefault("live.page", flags.pop("live"))
    options = [field.name for field in fields(LiveConfig) if field.name not in ("page", "window")]
    asked: dict[str, str | None] = {}
    for name in options:
        shown = "window" if name.startswith("window_") else "page"
        if _gives(flags, content, f"live.{name}") and not _gives(flags, content, f"live.{shown}"):
            asked[f"live.{shown}"] = "true"
    return asked


def _ends_otherwise(flags: Mapping[str, str | None], content: Mapping[str, Any]) -> bool:
    return any(_gives(flags, content, name) for name in ("session.total_seconds", "session.max_total_steps"))


def _gives(flags: Mapping[str, str | None], content: Mapping[str, Any], name: str) -> bool:
    return name in flags or holds(content, name)
