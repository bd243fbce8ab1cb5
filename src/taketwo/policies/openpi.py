"""openpi's checkpoints in process, loaded by openpi itself where it is installed.

openpi (https://github.com/Physical-Intelligence/openpi) is in no package index: it is used from a checkout, in the
environment that its own lock file describes. Its models sample one observation at a time and take no part of a
running chunk (`sample_actions` in `openpi/models/pi0.py`, `pi0_fast.py` and `models_pytorch/pi0_pytorch.py`), so
there are neither batches nor real-time chunking here.
"""

from __future__ import annotations

import importlib.util
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from taketwo.errors import ConfigError, PolicyError, one_line
from taketwo.policies.answers import actions_in
from taketwo.policies.layouts import Axes, Layout, LayoutName, build_layout, check_picture_size
from taketwo.seeding import policy_generator
from taketwo.types import ActionChunk, EnvironmentSpec, EpisodeInfo, FloatArray, Observation

HOW_TO_GET_IT = (
    "git clone --recurse-submodules https://github.com/Physical-Intelligence/openpi, there "
    "'GIT_LFS_SKIP_SMUDGE=1 uv sync' and 'uv pip install taketwo', and run that environment's .venv/bin/taketwo"
)
"""In one line what openpi's README says. Its client alone, `openpi-client`, cannot load checkpoints."""

PROMPT_KEY = ("prompt",)
"""Where all of openpi's input transforms look for the instruction."""


@dataclass(frozen=True)
class OpenpiConfig:
    """A checkpoint of openpi (pi0, pi0-FAST, pi0.5), loaded by the openpi package.

    Attributes:
        config: name of the training config that the checkpoint belongs to, such as pi0_aloha_sim.
        dir: the checkpoint's folder, such as checkpoints/pi0_aloha_sim/exp/10000, or a gs:// URL.
        layout: which observation the config's transforms expect; see taketwo.policies.layouts.
        mapping: key to source, in place of the layout's entries or beside them: images.NAME, state,
            state[0:7], prompt, or none; a dot in a key opens a map, such as {images.cam_high: images.top}.
        image_height: height of the pictures that the checkpoint is given, in pixels; others are scaled and padded.
        image_width: width of the pictures that the checkpoint is given, in pixels.
        image_axes: order of a picture's axes; the layout's own where not given.
    """

    config: str
    dir: str
    layout: LayoutName = "aloha"
    mapping: Mapping[str, str] = field(default_factory=dict)
    image_height: int = 224
    image_width: int = 224
    image_axes: Axes | None = None

    def __post_init__(self) -> None:
        check_picture_size(self.image_height, self.image_width)

    def make(self, spec: EnvironmentSpec) -> OpenpiPolicy:
        """Load it, which takes minutes and, for a gs:// URL that is not in openpi's cache, a download.

        Raises:
            ConfigError: there is no such config or folder, or the layout does not fit the environment.
            PolicyError: openpi is not installed, or cannot load the checkpoint.
        """
        layout = build_layout(
            self.layout, self.mapping, spec, height=self.image_height, width=self.image_width, axes=self.image_axes
        )
        _check_folder(self.dir)
        loaded = _load(self.config, self.dir)
        if loaded.own_prompt is None and PROMPT_KEY not in layout.entries:
            raise ConfigError(
                f"mapping gives the checkpoint no prompt, and config {self.config!r} has none of its own: "
                "map one, such as {prompt: prompt}"
            )
        return OpenpiPolicy(loaded, layout)


DEFAULT_CHECKPOINTS: Mapping[str, OpenpiConfig] = {
    "ALOHA": OpenpiConfig("pi05_aloha", "gs://openpi-assets/checkpoints/pi05_base", "aloha"),
    "ALOHA_SIM": OpenpiConfig("pi0_aloha_sim", "gs://openpi-assets/checkpoints/pi0_aloha_sim", "aloha"),
    "DROID": OpenpiConfig("pi05_droid", "gs://openpi-assets/checkpoints/pi05_droid", "droid"),
    "LIBERO": OpenpiConfig("pi05_libero", "gs://openpi-assets/checkpoints/pi05_libero", "libero"),
}
"""What openpi's own server loads for an environment when no checkpoint is named (`scripts/serve_policy.py`)."""


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A checkpoint in memory, for any number of policies.

    Attributes:
        name: its training config's.
        policy: openpi's `Policy`.
        own_prompt: the instruction that openpi puts in where an observation has none.
        noise_shape: (action horizon, action dimensions) of the noise that its actions are made from; None for a
            model that decodes tokens, greedily, and draws nothing.
        turn: held while `policy` infers: it splits a random key of its own each time.
    """

    name: str
    policy: Any
    own_prompt: str | None
    noise_shape: tuple[int, int] | None
    turn: threading.Lock = field(default_factory=threading.Lock, compare=False)


class OpenpiPolicy:
    """Asks a loaded checkpoint. Its noise is drawn here, from the episode's seed, and not from openpi's own key."""

    def __init__(self, loaded: LoadedCheckpoint, layout: Layout) -> None:
        self.own_prompt = loaded.own_prompt
        self._loaded: LoadedCheckpoint | None = loaded
        self._layout = layout
        self._generator = policy_generator(0)

    @property
    def cameras(self) -> tuple[str, ...]:
        """The cameras whose pictures the checkpoint is given."""
        return self._layout.cameras

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What the training config tells clients, such as the `reset_pose` of openpi's ALOHA."""
        return dict(self._open().policy.metadata)

    def for_client(self) -> OpenpiPolicy:
        """Another one over the same weights, with a random generator of its own."""
        return OpenpiPolicy(self._open(), self._layout)

    def reset(self, episode: EpisodeInfo) -> None:
        """Begin the episode's own noise; nothing else is kept between requests."""
        self._generator = policy_generator(episode.seed)

    def infer(self, observation: Observation) -> ActionChunk:
        """The checkpoint's whole chunk, (H, D).

        Raises:
            PolicyError: there is no instruction to follow, openpi fails, or it gives no array of numbers.
        """
        loaded = self._open()
        request = self._layout.request(observation)
        prompt = request.get("prompt", self.own_prompt)
        if prompt is None:
            raise PolicyError(
                f"openpi's config {loaded.name!r} has no prompt of its own and the observation has none: "
                "give one with --prompt, or to a server with --default_prompt"
            )
        began = time.perf_counter()
        answer = _asked(loaded, request, self._noise(loaded))
        timings = {"infer_ms": (time.perf_counter() - began) * 1000} | _model_time(answer)
        if PROMPT_KEY in self._layout.entries:
            return ActionChunk(_actions(answer), timings_ms=timings)
        # The observation's prompt does not get through, so that here alone is known which one counts.
        return ActionChunk(
            _actions(answer), prompt_used=prompt, prompt_source="checkpoint", prompt_read=True, timings_ms=timings
        )

    def close(self) -> None:
        """Let go of the weights; they are freed when the last policy over them has."""
        self._loaded = None

    def _open(self) -> LoadedCheckpoint:
        if self._loaded is None:
            raise PolicyError("the policy was closed")
        return self._loaded

    def _noise(self, loaded: LoadedCheckpoint) -> Mapping[str, Any]:
        if loaded.noise_shape is None:
            return {}
        return {"noise": self._generator.standard_normal(loaded.noise_shape, dtype=np.float32)}


def _check_folder(given: str) -> None:
    """What openpi would only find out after seconds of imports, in the middle of a traceback."""
    if "://" in given:
        return
    folder = Path(given)
    if not folder.is_dir():
        raise ConfigError(f"dir must be a checkpoint's folder or a gs:// URL; there is no folder {given!r}")
    if not any((folder / part).exists() for part in ("params", "model.safetensors")):
        raise ConfigError(
            f"dir {given!r} has neither params nor model.safetensors in it: "
            "give the folder of one step, such as checkpoints/pi0_aloha_sim/exp/10000"
        )


def _load(name: str, folder: str) -> LoadedCheckpoint:
    if importlib.util.find_spec("openpi") is None:
        raise PolicyError(f"openpi is not installed, and is in no package index: {HOW_TO_GET_IT}")
    try:
        from openpi.models.model import ModelType
        from openpi.policies import policy_config
        from openpi.training import config as training_config
    except ImportError as error:
        raise PolicyError(f"openpi is there but does not import ({one_line(error)}): {HOW_TO_GET_IT}") from error
    try:
        train_config = training_config.get_config(name)
    except ValueError as error:
        raise ConfigError(f"config must be one that openpi has: {one_line(error)}") from error
    try:
        policy = policy_config.create_trained_policy(train_config, folder)
        data = train_config.data.create(train_config.assets_dirs, train_config.model)
    except Exception as error:
        raise PolicyError(
            f"openpi cannot load {folder} as {name!r}: {type(error).__name__}: {one_line(error)}"
        ) from error
    model = train_config.model
    greedy = model.model_type is ModelType.PI0_FAST
    return LoadedCheckpoint(
        name=name,
        policy=policy,
        own_prompt=_own_prompt([*data.data_transforms.inputs, *data.model_transforms.inputs]),
        noise_shape=None if greedy else (model.action_horizon, model.action_dim),
    )


def _own_prompt(transforms: Iterable[Any]) -> str | None:
    """The instruction of the first transform that puts one in, as in `openpi.transforms.InjectDefaultPrompt`.

    A config's `default_prompt` gets into the policy by this transform alone, wherever the config keeps it.
    """
    from openpi.transforms import InjectDefaultPrompt

    prompts = (transform.prompt for transform in transforms if isinstance(transform, InjectDefaultPrompt))
    return next((str(prompt) for prompt in prompts if prompt is not None), None)


def _asked(loaded: LoadedCheckpoint, request: dict[str, Any], noise: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        with loaded.turn:
            answer: Mapping[str, Any] = loaded.policy.infer(request, **noise)
    except Exception as error:
        raise PolicyError(f"openpi's {loaded.name!r} failed: {type(error).__name__}: {one_line(error)}") from error
    return answer


def _model_time(answer: Mapping[str, Any]) -> dict[str, float]:
    """The model's share of the time by openpi's own clock, which with JAX stops before all has been computed."""
    told = answer.get("policy_timing", {}).get("infer_ms")
    return {} if told is None else {"model_ms": float(told)}


def _actions(answer: Mapping[str, Any]) -> FloatArray:
    try:
        return actions_in(answer, "actions")
    except ValueError as error:
        raise PolicyError(f"openpi gave unusable actions: {error}") from error
