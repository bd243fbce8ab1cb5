"""Finding and loading LeRobot's checkpoints, by LeRobot's own factory."""

from __future__ import annotations

import copy
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

from taketwo.errors import ConfigError, MissingExtraError, PolicyError, blaming, one_line

HUB_ID = re.compile(r"[\w][\w.-]*/[\w.-]+")

HUB_FILES = ["*.json", "*.safetensors", "*.model", "*.txt"]
"""What a checkpoint consists of: settings, weights and statistics, tokenizers. Nothing that is unpickled."""

INSIDE = ("pretrained_model", "last/pretrained_model", "checkpoints/last/pretrained_model")
"""Where a checkpoint is inside the folders that `lerobot-train` makes."""

NEEDS_EVERY_OBSERVATION = frozenset({"tdmpc", "sac", "gaussian_actor", "lingbot_va"})
"""Types that look at one observation at a time and yet are only right if `select_action` sees each one: their
`predict_action_chunk` relies on what it keeps, or does not exist."""

READ_LANGUAGE = frozenset({"groot", "wall_x", "eo1", "evo1", "fastwam", "molmoact2", "vla_jepa", "lingbot_va"})
"""Types that take the instruction elsewhere than in a tokenizing step of their preprocessor."""


@dataclass(frozen=True)
class Checkpoint:
    """A loaded policy with its processors.

    Attributes:
        name: type and folder, for messages.
        policy: `lerobot.policies.pretrained.PreTrainedPolicy`.
        preprocessor: `PolicyProcessorPipeline` from a batch of observations to what the policy takes.
        postprocessor: the one from its actions, (B, D), to those in real units.
        dtype: of the forward pass, as `torch` names it; None for that of the weights.
        lock: held during a forward pass; those who share weights or processors share it.
    """

    name: str
    policy: Any
    preprocessor: Any
    postprocessor: Any
    dtype: str | None
    lock: threading.Lock

    @property
    def config(self) -> Any:
        """The `PreTrainedConfig`."""
        return self.policy.config

    @property
    def needs_every_observation(self) -> bool:
        """Whether an action depends on earlier observations, or on answers to them."""
        return (
            self.config.n_obs_steps > 1
            or getattr(self.config, "temporal_ensemble_coeff", None) is not None
            or self.config.type in NEEDS_EVERY_OBSERVATION
        )

    @property
    def reads_language(self) -> bool:
        """Whether the instruction decides what it does."""
        from lerobot.processor import TokenizerProcessorStep

        steps = self.preprocessor.steps
        return self.config.type in READ_LANGUAGE or any(isinstance(step, TokenizerProcessorStep) for step in steps)

    def reset(self) -> None:
        """Empty queues and histories."""
        with self.lock:
            for part in (self.policy, self.preprocessor, self.postprocessor):
                part.reset()

    def with_own_state(self) -> Checkpoint:
        """The same weights, with queues and histories of its own."""
        weights = chain(self.policy.parameters(), self.policy.buffers())
        with self.lock:
            policy = copy.deepcopy(self.policy, {id(tensor): tensor for tensor in weights})
        return replace(self, policy=policy)

    @contextmanager
    def inferring(self, seed: int) -> Iterator[None]:
        """One at a time, without gradients, with noise that comes from `seed` and leaves PyTorch's own alone."""
        import torch

        device = torch.device(self.config.device)
        devices = [torch.cuda.current_device()] if device.type == "cuda" else []
        with self.lock, torch.no_grad(), torch.random.fork_rng(devices), self._autocast(device.type):
            torch.default_generator.manual_seed(seed)
            if device.type == "cuda":
                torch.cuda.manual_seed(seed)
            elif device.type == "mps":
                torch.mps.manual_seed(seed)
            yield

    def _autocast(self, device: str) -> Any:
        import torch

        if self.dtype in ("bfloat16", "float16"):
            return torch.autocast(device, getattr(torch, self.dtype))
        if self.dtype is None and self.config.use_amp and device == "cuda":  # as LeRobot's own evaluation does
            return torch.autocast(device)
        return nullcontext()


def find_checkpoint(path: str, revision: str | None) -> Path:
    """The folder of a checkpoint; one on the Hub is downloaded, or taken from the Hub's cache.

    Raises:
        ConfigError: there is none.
        MissingExtraError: LeRobot is not installed.
    """
    folder = Path(path).expanduser()
    if folder.is_dir():
        if (folder / "config.json").is_file():
            return folder
        inner = next((folder / name for name in INSIDE if (folder / name / "config.json").is_file()), None)
        hint = f": give {inner}" if inner else ""
        raise ConfigError(f"path must be the folder of a checkpoint; {folder} has no config.json{hint}")
    if not HUB_ID.fullmatch(path):
        raise ConfigError(f"path must be the folder of a checkpoint, or an id on the Hub; there is no folder {path}")
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise MissingExtraError("lerobot", "lerobot") from error
    try:
        found = snapshot_download(
            path, revision=revision, allow_patterns=HUB_FILES, ignore_patterns=["checkpoints/*", "training_state/*"]
        )
    except Exception as error:
        reason = one_line(error)
        raise ConfigError(f"path {path!r} is no folder here, and cannot be had from the Hub: {reason}") from error
    if not (Path(found) / "config.json").is_file():
        raise ConfigError(f"path must be a checkpoint; {path!r} on the Hub has no config.json")
    return Path(found)


def read_config(folder: Path, device: str, n_action_steps: int | None) -> Any:
    """The checkpoint's `PreTrainedConfig`, for a device that is there.

    Args:
        n_action_steps: in place of the stored one; None keeps that.

    Raises:
        ConfigError: it cannot be read, or its kind has no such value.
        MissingExtraError: LeRobot is not installed.
    """
    if find_spec("lerobot") is None:
        raise MissingExtraError("lerobot", "lerobot")
    from lerobot.configs.policies import PreTrainedConfig
    from lerobot.utils.import_utils import register_third_party_plugins

    # Configurations are read by their types, which the factory makes known, and plugins add to.
    import_module("lerobot.policies.factory")
    register_third_party_plugins()
    given = [f"--device={_device(device)}"]
    with _reading(f"path must be a policy of LeRobot; {folder}/config.json cannot be read"):
        config = PreTrainedConfig.from_pretrained(folder, cli_overrides=given)
    if n_action_steps is not None:
        with _reading(f"n_action_steps {n_action_steps} does not fit {folder}"):
            given.append(f"--n_action_steps={n_action_steps}")
            config = PreTrainedConfig.from_pretrained(folder, cli_overrides=given)
    config.pretrained_path = folder
    if getattr(config, "use_peft", False):
        raise ConfigError(f"path must be a whole policy; {folder} holds a PEFT adapter: merge it into its base first")
    return config


@contextmanager
def _reading(trouble: str) -> Iterator[None]:
    try:
        yield
    except (Exception, SystemExit) as error:  # draccus leaves by SystemExit where a value does not parse
        reason = one_line(error.__cause__ or error)  # it says that it failed, and its cause why
        raise ConfigError(f"{trouble}: {reason}") from error


def _device(asked: str) -> str:
    import torch

    there = [
        name for name, has in (("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available())) if has
    ]
    there.append("cpu")
    if asked == "auto":
        return there[0]
    if asked not in there:
        raise ConfigError(f"device {asked} is not available here; there is {', '.join(there)}")
    return asked


def load(config: Any, folder: Path, *, dtype: str | None, compiled: bool) -> Checkpoint:
    """Weights and processors of a checkpoint, ready for inference on the configuration's device.

    Raises:
        ConfigError: this kind of policy cannot be compiled.
        PolicyError: LeRobot cannot load it.
    """
    from lerobot.policies.factory import get_policy_class, make_pre_post_processors

    name = f"{config.type} of {folder}"
    # LeRobot prints to stdout, which is for the command's own results.
    with blaming(PolicyError, f"{name} cannot be loaded"), redirect_stdout(sys.stderr):
        policy = get_policy_class(config.type).from_pretrained(folder, config=config)
        if dtype == "float32":
            policy.float()
        preprocessor, postprocessor = make_pre_post_processors(
            config, str(folder), preprocessor_overrides={"device_processor": {"device": config.device}}
        )
    checkpoint = Checkpoint(name, policy, preprocessor, postprocessor, dtype, threading.Lock())
    if compiled:
        if checkpoint.needs_every_observation:
            raise ConfigError(f"compile is for policies that answer in chunks; {config.type} answers step by step")
        import torch

        policy.predict_action_chunk = torch.compile(policy.predict_action_chunk)
    return checkpoint
