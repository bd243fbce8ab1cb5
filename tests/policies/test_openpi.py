"""Checkpoints of openpi in process.

openpi itself needs JAX and gigabytes of weights, so the package is faked at its outermost edge: the modules, names
and signatures that the policy uses (`training.config.get_config`, `policies.policy_config.create_trained_policy`,
`Policy.infer`, `transforms.InjectDefaultPrompt`, `models.model.ModelType`) are as in openpi's `src/openpi`, and the
fake model makes actions out of the state and the noise that it is given.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from taketwo.errors import ConfigError, PolicyError
from taketwo.policies.base import InfersBatches, ReadsPrompt, SharesWeights
from taketwo.policies.openpi import DEFAULT_CHECKPOINTS, OpenpiConfig, OpenpiPolicy
from taketwo.policies.prompting import TellsPrompt
from taketwo.types import ActionChunk, EpisodeInfo
from tests.policies.test_layouts import observation, spec

FAKE_OPENPI = {
    "__init__.py": "",
    "models/__init__.py": "",
    "models/model.py": """
import enum

class ModelType(enum.Enum):
    PI0 = "pi0"
    PI0_FAST = "pi0_fast"
    PI05 = "pi05"
""",
    "transforms.py": """
import dataclasses
import numpy as np

@dataclasses.dataclass(frozen=True)
class Group:
    inputs: tuple = ()
    outputs: tuple = ()

@dataclasses.dataclass(frozen=True)
class InjectDefaultPrompt:
    prompt: str | None

    def __call__(self, data):
        if self.prompt is not None and "prompt" not in data:
            data["prompt"] = np.asarray(self.prompt)
        return data

class TokenizePrompt:
    def __call__(self, data):
        if (prompt := data.pop("prompt", None)) is None:
            raise ValueError("Prompt is required")
        return {**data, "tokenized_prompt": str(prompt)}
""",
    "training/__init__.py": "",
    "training/config.py": """
import dataclasses
import difflib
import pathlib
from openpi import transforms
from openpi.models.model import ModelType

@dataclasses.dataclass(frozen=True)
class ModelConfig:
    model_type: ModelType
    action_horizon: int = 50
    action_dim: int = 32

@dataclasses.dataclass(frozen=True)
class DataConfig:
    data_transforms: transforms.Group
    model_transforms: transforms.Group

@dataclasses.dataclass(frozen=True)
class DataConfigFactory:
    default_prompt: str | None = None

    def create(self, assets_dirs, model_config):
        inputs = (transforms.InjectDefaultPrompt(self.default_prompt), transforms.TokenizePrompt())
        return DataConfig(transforms.Group(), transforms.Group(inputs=inputs))

@dataclasses.dataclass(frozen=True)
class TrainConfig:
    name: str
    model: ModelConfig
    data: DataConfigFactory = DataConfigFactory()
    policy_metadata: dict | None = None
    assets_dirs: pathlib.Path = pathlib.Path("assets")

_CONFIGS = [
    TrainConfig("pi0_aloha_sim", ModelConfig(ModelType.PI0), DataConfigFactory("Transfer cube")),
    TrainConfig("pi05_aloha", ModelConfig(ModelType.PI05), policy_metadata={"reset_pose": [0, -1.5, 1.5, 0, 0, 0]}),
    TrainConfig("pi0_fast_aloha", ModelConfig(ModelType.PI0_FAST), DataConfigFactory("fold the towel")),
]
_CONFIGS_DICT = {config.name: config for config in _CONFIGS}

def get_config(config_name):
    if config_name not in _CONFIGS_DICT:
        closest = difflib.get_close_matches(config_name, _CONFIGS_DICT.keys(), n=1, cutoff=0.0)
        closest_str = f" Did you mean '{closest[0]}'? " if closest else ""
        raise ValueError(f"Config '{config_name}' not found.{closest_str}")
    return _CONFIGS_DICT[config_name]
""",
    "policies/__init__.py": "",
    "policies/policy.py": """
import time
import numpy as np
from openpi.models.model import ModelType

class Policy:
    def __init__(self, model, *, transforms=(), metadata=None):
        self._model, self._transforms, self._metadata = model, transforms, metadata or {}
        self.requests, self.followed, self.busy = [], [], False

    def infer(self, obs, *, noise=None):
        assert not self.busy, "two threads at once split the same random key"
        self.busy = True
        try:
            return self._infer(dict(obs), noise)
        finally:
            self.busy = False

    def _infer(self, inputs, noise):
        self.requests.append(inputs)
        if inputs["images"]["cam_high"].shape[0] != 3:
            raise ValueError("expected channels\\nfirst")
        for transform in self._transforms:
            inputs = transform(inputs)
        self.followed.append(inputs["tokenized_prompt"])
        if self._model.model_type is ModelType.PI0_FAST:
            assert noise is None, "sample_actions() got an unexpected keyword argument 'noise'"
            noise = np.zeros((self._model.action_horizon, self._model.action_dim), np.float32)
        assert noise.dtype == np.float32 and noise.shape == (self._model.action_horizon, self._model.action_dim)
        time.sleep(0.001)
        actions = inputs["state"].astype(np.float32) + noise[:, :14]
        return {"state": inputs["state"], "actions": actions, "policy_timing": {"infer_ms": 12.5}}

    @property
    def metadata(self):
        return self._metadata
""",
    "policies/policy_config.py": """
from openpi.policies.policy import Policy

LOADED = []

def create_trained_policy(
    train_config, checkpoint_dir, *, repack_transforms=None, sample_kwargs=None, default_prompt=None, norm_stats=None,
    pytorch_device=None,
):
    LOADED.append((train_config.name, checkpoint_dir))
    if "broken" in str(checkpoint_dir):
        raise ValueError("Asset id is required\\nto load norm stats.")
    data = train_config.data.create(train_config.assets_dirs, train_config.model)
    return Policy(train_config.model, transforms=data.model_transforms.inputs, metadata=train_config.policy_metadata)
""",
}


@pytest.fixture(autouse=True)
def forgotten_modules() -> Iterator[None]:
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "openpi"]:
        del sys.modules[name]


@pytest.fixture
def openpi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, source in FAKE_OPENPI.items():
        path = tmp_path / "site" / "openpi" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    monkeypatch.syspath_prepend(tmp_path / "site")


@pytest.fixture
def checkpoint(tmp_path: Path) -> str:
    (tmp_path / "10000" / "params").mkdir(parents=True)
    return str(tmp_path / "10000")


def made(config: str, folder: str, **options: Any) -> OpenpiPolicy:
    return OpenpiConfig(config, folder, **options).make(spec())


def inner(policy: OpenpiPolicy) -> Any:
    """The fake of openpi's own policy."""
    assert policy._loaded is not None
    return policy._loaded.policy


def ask(policy: OpenpiPolicy, prompt: str | None = "do it") -> ActionChunk:
    return policy.infer(observation(spec(), prompt))


@pytest.mark.usefixtures("openpi")
def test_the_checkpoint_is_given_what_openpi_clients_send_and_its_whole_chunk_comes_back(checkpoint: str) -> None:
    policy = made("pi0_aloha_sim", checkpoint)
    chunk = ask(policy)
    (request,) = inner(policy).requests
    assert policy.cameras == ("top",)
    assert request["images"]["cam_high"].shape == (3, 224, 224)
    np.testing.assert_array_equal(request["state"], np.arange(14.0))
    assert chunk.actions.shape == (50, 14)
    assert chunk.actions.dtype == np.float64
    chunk.actions[0] = 0.0  # may be written to
    assert chunk.timings_ms["model_ms"] == 12.5
    assert chunk.timings_ms["infer_ms"] >= 1.0


@pytest.mark.usefixtures("openpi")
def test_the_prompt_is_the_observations_else_the_checkpoints(checkpoint: str) -> None:
    policy = made("pi0_aloha_sim", checkpoint)
    assert isinstance(policy, ReadsPrompt)
    assert policy.own_prompt == "Transfer cube"
    told = TellsPrompt(policy)
    for prompt, used, source in [("wave", "wave", "observation"), (None, "Transfer cube", "checkpoint")]:
        chunk = told.infer(observation(spec(), prompt))
        assert inner(policy).followed[-1] == used
        assert (chunk.prompt_used, chunk.prompt_source, chunk.prompt_read) == (used, source, True)


@pytest.mark.usefixtures("openpi")
def test_where_the_mapping_leaves_the_prompt_out_the_checkpoints_own_is_told_as_used(checkpoint: str) -> None:
    policy = made("pi0_aloha_sim", checkpoint, mapping={"prompt": "none"})
    chunk = TellsPrompt(policy).infer(observation(spec(), "wave"))
    assert inner(policy).followed == ["Transfer cube"]
    assert (chunk.prompt_used, chunk.prompt_source) == ("Transfer cube", "checkpoint")


@pytest.mark.usefixtures("openpi")
def test_no_prompt_anywhere_is_told(checkpoint: str) -> None:
    policy = made("pi05_aloha", checkpoint)
    assert policy.own_prompt is None
    with pytest.raises(PolicyError, match="'pi05_aloha' has no prompt of its own and the observation has none"):
        ask(policy, None)
    with pytest.raises(ConfigError, match=r"^mapping gives the checkpoint no prompt"):
        made("pi05_aloha", checkpoint, mapping={"prompt": "none"})


@pytest.mark.usefixtures("openpi")
def test_the_noise_comes_from_the_episodes_seed_alone(checkpoint: str) -> None:
    policy = made("pi0_aloha_sim", checkpoint)

    def episode(policy: OpenpiPolicy, seed: int) -> list[np.ndarray]:
        policy.reset(EpisodeInfo(0, seed))
        return [ask(policy).actions for _ in range(2)]

    first, other, again = episode(policy, 7), episode(policy, 8), episode(policy, 7)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first[0], first[1])


@pytest.mark.usefixtures("openpi")
def test_a_model_that_decodes_tokens_is_given_no_noise(checkpoint: str) -> None:
    policy = made("pi0_fast_aloha", checkpoint)
    np.testing.assert_array_equal(ask(policy).actions[0], np.arange(14.0))


@pytest.mark.usefixtures("openpi")
def test_clients_share_the_weights_and_neither_noise_nor_fate(checkpoint: str) -> None:
    from openpi.policies import policy_config

    first = made("pi0_aloha_sim", checkpoint)
    assert isinstance(first, SharesWeights)
    assert not isinstance(first, InfersBatches)
    second = first.for_client()
    assert inner(second) is inner(first)
    assert len(policy_config.LOADED) == 1
    alone = first.for_client()
    for policy in (first, second, alone):
        policy.reset(EpisodeInfo(0, 3))
    expected = [ask(alone).actions for _ in range(2)]
    for row in expected:  # in turn: one's drawing does not move the other's
        np.testing.assert_array_equal(ask(first).actions, row)
        np.testing.assert_array_equal(ask(second).actions, row)
    first.close()
    first.close()
    assert ask(second).actions.shape == (50, 14)
    with pytest.raises(PolicyError, match="closed"):
        ask(first)


@pytest.mark.usefixtures("openpi")
def test_two_threads_do_not_infer_at_once(checkpoint: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    first = made("pi0_aloha_sim", checkpoint)
    clients = [first.for_client() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:  # the fake fails when it is entered twice
        chunks = [chunk for _ in range(5) for chunk in pool.map(ask, clients)]
    assert len(chunks) == 20


@pytest.mark.usefixtures("openpi")
def test_what_the_config_tells_clients_can_be_read(checkpoint: str) -> None:
    assert made("pi05_aloha", checkpoint).metadata == {"reset_pose": [0, -1.5, 1.5, 0, 0, 0]}
    assert made("pi0_aloha_sim", checkpoint).metadata == {}


@pytest.mark.usefixtures("openpi")
def test_a_wrong_config_name_is_told_with_the_nearest(checkpoint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        made("pi0_aloha_simm", checkpoint)
    assert str(caught.value) == (
        "config must be one that openpi has: Config 'pi0_aloha_simm' not found. Did you mean 'pi0_aloha_sim'?"
    )


@pytest.mark.usefixtures("openpi")
def test_a_folder_that_is_no_checkpoint_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^dir must be a checkpoint's folder or a gs:// URL; there is no folder"):
        made("pi0_aloha_sim", str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match=r"^dir .* has neither params nor model.safetensors"):
        made("pi0_aloha_sim", str(tmp_path))


@pytest.mark.usefixtures("openpi")
def test_a_checkpoint_of_pytorch_and_one_at_a_url_are_left_to_openpi(tmp_path: Path) -> None:
    from openpi.policies import policy_config

    (tmp_path / "model.safetensors").touch()
    for folder in (str(tmp_path), "gs://openpi-assets/checkpoints/pi0_aloha_sim"):
        made("pi0_aloha_sim", folder)
        assert policy_config.LOADED[-1] == ("pi0_aloha_sim", folder)


@pytest.mark.usefixtures("openpi")
def test_failures_of_openpi_are_told_in_one_line(tmp_path: Path, checkpoint: str) -> None:
    (tmp_path / "broken" / "params").mkdir(parents=True)
    with pytest.raises(PolicyError) as caught:
        made("pi0_aloha_sim", str(tmp_path / "broken"))
    assert str(caught.value).endswith("as 'pi0_aloha_sim': ValueError: Asset id is required to load norm stats.")
    with pytest.raises(PolicyError, match=r"^openpi's 'pi0_aloha_sim' failed: ValueError: expected channels first$"):
        ask(made("pi0_aloha_sim", checkpoint, image_axes="hwc"))


def test_without_openpi_it_is_told_how_to_get_it(checkpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(PolicyError) as caught:
        made("pi0_aloha_sim", checkpoint)
    message = str(caught.value)
    assert message.startswith("openpi is not installed")
    assert "git clone" in message
    assert "uv sync" in message
    assert "\n" not in message


def test_an_openpi_without_its_libraries_is_told_from_none(
    tmp_path: Path, checkpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site" / "openpi" / "models").mkdir(parents=True)
    (tmp_path / "site" / "openpi" / "models" / "model.py").write_text("import jax_that_is_not_there")
    monkeypatch.syspath_prepend(tmp_path / "site")
    with pytest.raises(PolicyError, match=r"does not import \(No module named 'jax_that_is_not_there'\)"):
        made("pi0_aloha_sim", checkpoint)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_height": 0}, "image_height must be from 1 to 4096 pixels, not 0"),
        ({"layout": "libero"}, "layout 'libero' needs a state of 8 numbers"),
    ],
)
def test_options_that_do_not_fit_are_told_before_anything_is_loaded(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        made("pi0_aloha_sim", "gs://anything", **options)


def test_the_presets_fit_robots_of_their_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    robots = {
        "ALOHA": spec(),
        "ALOHA_SIM": spec(),
        "DROID": spec(state=8, actions=8, cameras=("exterior_image_1_left", "wrist_image_left")),
        "LIBERO": spec(state=8, actions=7, cameras=("agentview", "robot0_eye_in_hand")),
    }
    assert robots.keys() == DEFAULT_CHECKPOINTS.keys()
    for preset, config in DEFAULT_CHECKPOINTS.items():
        with pytest.raises(PolicyError, match="openpi is not installed"):  # past every check of the environment
            config.make(robots[preset])
