"""An OpenVLA checkpoint of Hugging Face's format: found to fit, loaded, and asked."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from taketwo.errors import ConfigError, MissingExtraError, PolicyError, one_line, one_of
from taketwo.policies.openvla_conventions import Conventions, warn_of_mismatch
from taketwo.types import EnvironmentSpec, FloatArray, Pixels

if TYPE_CHECKING:
    from taketwo.policies.openvla import OpenVLAConfig

log = logging.getLogger(__name__)

PROMPT = "In: What action should the robot take to {}?\nOut:"

VICUNA_PROMPT = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions. "
    "USER: What action should the robot take to {}? ASSISTANT:"
)
"""The template of openvla-v01, which is built on Vicuna 1.5; both are those of OpenVLA's `vla-scripts/deploy.py`."""

MODEL_CLASS = "AutoModelForVision2Seq"
"""Under this name OpenVLA's checkpoints bring their code."""

TRANSFORMERS = ((4, 40), (4, 48))
"""From the first version, up to and without the second: with these the checkpoints' own code gives the same hidden
states. With 4.48 it gives others, and with 4.57 it overlooks the picture, both without a word."""

STATISTICS_FILE = "dataset_statistics.json"
"""Statistics of the data that a checkpoint was fine-tuned on; they count before those of its configuration."""


class OpenVLAModel:
    """A checkpoint's model and processor; one prediction at a time, from any thread."""

    def __init__(self, model: Any, processor: Any, *, unnorm_key: str, template: str, hidden_states: bool) -> None:
        """Takes a loaded transformers model that has `predict_action`."""
        self._model = model
        self._processor = processor
        self._unnorm_key = unnorm_key
        self._template = template
        self._hidden_states = hidden_states
        self._turn = threading.Lock()  # the hook below must not see another thread's tokens

    def predict(self, pixels: Pixels, instruction: str) -> tuple[FloatArray, NDArray[np.float32] | None]:
        """See `Predicts`. The same picture and instruction lead to the same action."""
        import torch
        from PIL import Image

        prompt = self._template.format(instruction.lower())
        inputs = self._processor(prompt, Image.fromarray(pixels)).to(self._model.device, dtype=self._model.dtype)
        # `predict_action` adds a token to the text, and none to its mask, which eager attention cannot bear. A single
        # text has no padding and needs no mask.
        inputs.pop("attention_mask", None)
        with self._turn, torch.inference_mode(), self._seen_states() as states:
            action = self._model.predict_action(**inputs, unnorm_key=self._unnorm_key, do_sample=False)
        return np.asarray(action, np.float64), torch.stack(states).cpu().numpy() if states else None

    @contextmanager
    def _seen_states(self) -> Iterator[list[Any]]:
        """The hidden state behind each token that is made meanwhile: what the last position gives the output layer.

        `predict_action` passes on the tokens alone, so they are picked up where they go by.
        """
        states: list[Any] = []
        if not self._hidden_states:
            yield states
            return
        layer = self._model.get_output_embeddings()
        hook = layer.register_forward_pre_hook(lambda _, inputs: states.append(inputs[0][0, -1].float()))
        try:
            yield states
        finally:
            hook.remove()


def chosen_unnorm_key(given: str | None, statistics: Mapping[str, Any]) -> str:
    """The key of the statistics that scale actions back.

    A name that is known with `_no_noops` behind it stands for that: OpenVLA's LIBERO checkpoints were trained on such
    copies of the data sets.

    Raises:
        ConfigError: there is none of this name, or several and none is named.
    """
    if given is None:
        if len(statistics) != 1:
            raise ConfigError(
                f"unnorm_key must be given: the checkpoint knows {', '.join(sorted(statistics)) or 'no data set'}"
            )
        return next(iter(statistics))
    for name in (given, f"{given}_no_noops"):
        if name in statistics:
            return name
    raise ConfigError(f"unnorm_key: {one_of('data set', given, statistics)}")


def prompt_template(path: str, model_config: Mapping[str, Any]) -> str:
    """The template around the instruction: by the language model, which for openvla-v01 is Vicuna."""
    vicuna = str(model_config.get("llm_backbone_id", "")).startswith("vicuna") or "openvla-v01" in path
    return VICUNA_PROMPT if vicuna else PROMPT


def load_checkpoint(config: OpenVLAConfig, spec: EnvironmentSpec, conventions: Conventions) -> OpenVLAModel:
    """Load a checkpoint; what does not fit is told before its weights are read.

    Raises:
        ConfigError: there is no such checkpoint, its code is not trusted, it has no such statistics, or its actions
            are not as long as the environment's.
        MissingExtraError: PyTorch or transformers is not installed.
        PolicyError: it cannot be loaded.
    """
    torch, transformers = _libraries()
    model_config = _model_config(config, transformers)
    if "auto_map" in model_config and not config.trust_remote_code:
        raise ConfigError(
            f"trust_remote_code must be true for {config.path!r}: the checkpoint brings code of its own, which then "
            "runs on this machine; do this only where you trust its source"
        )
    own_statistics = _own_statistics(config.path)
    statistics = model_config.get("norm_stats") if own_statistics is None else own_statistics
    unnorm_key = chosen_unnorm_key(config.unnorm_key, statistics or {})
    _check_action_dim(unnorm_key, statistics or {}, spec)
    device = _device(config.device, torch)
    processor, model = _from_pretrained(config, torch, transformers)
    if not hasattr(model, "predict_action"):
        raise PolicyError(f"checkpoint {config.path!r} has no predict_action: it is not one of OpenVLA's")
    if own_statistics is not None:
        model.norm_stats = own_statistics
    warn_of_mismatch(unnorm_key, conventions)
    log.info("OpenVLA %s on %s, statistics of %s", config.path, device, unnorm_key)
    return OpenVLAModel(
        model.to(device).eval(),
        processor,
        unnorm_key=unnorm_key,
        template=prompt_template(config.path, model_config),
        hidden_states=config.embedding,
    )


def _libraries() -> tuple[Any, Any]:
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError("PyTorch", "openvla") from error
    try:
        import transformers
    except ImportError as error:
        raise MissingExtraError("transformers", "openvla") from error
    first, end = TRANSFORMERS
    if not first <= tuple(map(int, transformers.__version__.split(".")[:2])) < end:
        raise PolicyError(
            f"OpenVLA's checkpoints act wrongly with transformers {transformers.__version__}: they need "
            f"{first[0]}.{first[1]} or later, before {end[0]}.{end[1]}; pip install 'taketwo[openvla]'"
        )
    return torch, transformers


def _model_config(config: OpenVLAConfig, transformers: Any) -> dict[str, Any]:
    """The content of `config.json`; none of the checkpoint's code runs."""
    try:
        content, _ = transformers.PretrainedConfig.get_config_dict(config.path, revision=config.revision or "main")
    except Exception as error:
        raise ConfigError(
            f"path must be a folder with a checkpoint, or the name of one on the Hub, not {config.path!r}: "
            f"{one_line(error)}"
        ) from error
    if not content:
        raise ConfigError(f"path {config.path!r} has no config.json: it is not a checkpoint of Hugging Face's format")
    return dict(content)


def _own_statistics(path: str) -> dict[str, Any] | None:
    """The statistics that lie beside a checkpoint's weights; None where there are none."""
    file = Path(path) / STATISTICS_FILE
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PolicyError(f"{file} cannot be read: {one_line(error)}") from error
    if not isinstance(content, dict):
        raise PolicyError(f"{file} must hold a map of data sets, not a {type(content).__name__}")
    return content


def _check_action_dim(unnorm_key: str, statistics: Mapping[str, Any], spec: EnvironmentSpec) -> None:
    try:
        action_dim = len(statistics[unnorm_key]["action"]["q01"])
    except (KeyError, TypeError) as error:
        raise PolicyError(
            f"the checkpoint's statistics of {unnorm_key!r} have no limits of actions (q01, q99)"
        ) from error
    if action_dim != spec.action_dim:
        raise ConfigError(
            f"unnorm_key: {unnorm_key!r} is for actions of {action_dim} numbers, environment {spec.name!r} takes "
            f"{spec.action_dim}: {', '.join(spec.action_names)}"
        )


def _device(name: str | None, torch: Any) -> Any:
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device must be such as cuda, cuda:1 or cpu, not {name!r}") from error
    if device.type == "cuda" and not (device.index or 0) < torch.cuda.device_count():
        raise ConfigError(f"device {name!r} is not there: PyTorch sees {torch.cuda.device_count()} CUDA devices")
    return device


def _from_pretrained(config: OpenVLAConfig, torch: Any, transformers: Any) -> tuple[Any, Any]:
    """Processor and model. Weights come from safetensors alone, since the other format is pickle."""
    folder = Path(config.path)
    if folder.is_dir() and not any(folder.glob("*.safetensors")):  # in folders, transformers does not insist on them
        raise PolicyError(
            f"checkpoint {config.path!r} has no safetensors files, and weights that are pickled are not read: "
            "save it again by transformers' save_pretrained"
        )
    source = {"revision": config.revision or "main", "trust_remote_code": config.trust_remote_code}
    try:
        processor = transformers.AutoProcessor.from_pretrained(config.path, **source)
        model = getattr(transformers, MODEL_CLASS).from_pretrained(
            config.path,
            torch_dtype=getattr(torch, config.dtype),
            attn_implementation=config.attention,
            low_cpu_mem_usage=True,
            use_safetensors=True,
            **source,
        )
    except ImportError as error:
        raise PolicyError(
            f"checkpoint {config.path!r} needs a package: {one_line(error)}; pip install 'taketwo[openvla]' has what "
            "OpenVLA's own need"
        ) from error
    except Exception as error:
        raise PolicyError(
            f"checkpoint {config.path!r} cannot be loaded: {_with_versions(error, transformers)}"
        ) from error
    return processor, model


def _with_versions(error: Exception, transformers: Any) -> str:
    """What went wrong, with the version of the library, which is the commonest cause."""
    return f"{type(error).__name__}: {one_line(error)} (transformers {transformers.__version__})"
