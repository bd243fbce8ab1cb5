"""OpenVLA's checkpoints act through taketwo as they do by hand, and what does not fit is told before weights are read.

The 7B weights cannot be had here: most tests load a tiny checkpoint with code of its own, that has the same surface,
through the real transformers. With `TAKETWO_OPENVLA_SOURCE`, a folder with OpenVLA's own `prismatic/extern/hf/*.py`,
its real classes are run too, with tiny sizes and random weights.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from taketwo.errors import ConfigError, PolicyError
from taketwo.policies.base import ReadsPrompt, SharesWeights
from taketwo.policies.openvla import OpenVLAConfig, OpenVLAPolicy
from taketwo.policies.openvla_checkpoint import PROMPT, VICUNA_PROMPT, chosen_unnorm_key, prompt_template
from taketwo.policies.openvla_conventions import Conventions
from taketwo.types import FloatArray, Pixels
from tests.policies.openvla_support.environment import run_in_openvla
from tests.policies.test_openvla_rest import observation, spec


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("openvla") / "tiny"
    run_in_openvla("checkpoints.py", "tiny", folder)
    return folder


@pytest.fixture(scope="session")
def seen(tiny: Path) -> Any:
    """What became of the checkpoint as it is."""
    return probe(tiny, "lab")


@pytest.fixture
def own(tiny: Path, tmp_path: Path) -> Path:
    """A copy of the checkpoint that may be spoilt."""
    return Path(shutil.copytree(tiny, tmp_path / "own"))


def probe(checkpoint: Path | str, unnorm_key: str | None, **options: Any) -> Any:
    given = [f"{key}={json.dumps(value)}" for key, value in options.items()]
    return run_in_openvla("probe.py", checkpoint, unnorm_key or "none", *given)


def test_actions_are_those_of_the_checkpoint_by_hand(seen: Any) -> None:
    np.testing.assert_array_equal(np.squeeze(seen["actions"], 1), seen["by_hand"])
    assert np.shape(seen["actions"]) == (3, 1, 7)
    assert len(np.unique(seen["by_hand"], axis=0)) > 1, "the stand-in overlooks its picture, so this proves nothing"
    assert seen["same_again"]
    assert seen["timings"] == ["infer_ms"]


def test_the_hidden_states_are_those_that_the_tokens_were_read_from(seen: Any) -> None:
    embedding = seen["embedding"]
    assert embedding["shapes"] == [[7, 16]] * 4
    assert embedding["dtype"] == "float32"
    assert embedding["differ_by_picture"] > 1e-3
    assert embedding["differ_by_prompt"] > 1e-3
    # The stand-in's actions are its tokens from 256 on. Bins, and limits of -1 and 2, as OpenVLA has them:
    assert _actions_of(seen, "lab") == pytest.approx(seen["actions"][0][0])


def _actions_of(seen: Any, unnorm_key: str) -> list[float]:
    tokens = np.array(seen["embedding"]["tokens"]) - 256
    edges = np.linspace(-1, 1, 256)
    normalized = ((edges[:-1] + edges[1:]) / 2)[np.clip(tokens, 0, 254)]
    low, high = {"lab": (-1.0, 2.0)}[unnorm_key]
    return [*(0.5 * (normalized[:6] + 1) * (high - low) + low), normalized[6]]


def test_clients_share_the_weights_and_outlive_each_other(seen: Any) -> None:
    assert seen["capabilities"] == [True, True, False]
    assert seen["together"]
    assert seen["client_after_close"]
    assert seen["closed"] == ["PolicyError", "the OpenVLA policy is closed"]
    assert seen["no_prompt"][0] == "PolicyError"
    assert "give --prompt" in seen["no_prompt"][1]


def test_half_precision_runs(tiny: Path) -> None:
    seen = probe(tiny, "bench", dtype="bfloat16", attention="eager")
    np.testing.assert_array_equal(np.squeeze(seen["actions"], 1), seen["by_hand"])


def test_statistics_beside_the_weights_count_first_and_embeddings_can_be_left_out(own: Path) -> None:
    statistics = {"action": {"q01": [10.0] * 7, "q99": [20.0] * 7, "mask": [True] * 7}}
    (own / "dataset_statistics.json").write_text(json.dumps({"kitchen_no_noops": statistics}))
    seen = probe(own, "kitchen_no_noops", embedding=False)
    assert seen["embedding"] is None
    assert np.min(seen["actions"]) >= 10
    np.testing.assert_array_equal(np.squeeze(seen["actions"], 1), seen["by_hand"])
    assert probe(own, "lab")["error"] == ["ConfigError", "unnorm_key: unknown data set 'lab'. Known: kitchen_no_noops."]


def error_in(checkpoint: Path | str, unnorm_key: str | None = "lab", **options: Any) -> tuple[str, str]:
    kind, message = probe(checkpoint, unnorm_key, **options)["error"]
    assert "\n" not in message
    return kind, message


def test_code_is_run_only_where_it_is_trusted(own: Path) -> None:
    touched = own / "touched"
    code = own / "configuration_tiny.py"
    code.write_text(f"open({str(touched)!r}, 'w')\n{code.read_text()}")
    kind, message = error_in(own, trust_remote_code=False)
    assert (kind, message.split(" for ")[0]) == ("ConfigError", "trust_remote_code must be true")
    assert not touched.exists()
    assert "error" not in probe(own, "lab")
    assert touched.exists()


def test_what_does_not_fit_is_told_before_any_weights_are_read(own: Path) -> None:
    (own / "model.safetensors").unlink()
    kind, message = error_in(own, None)
    assert (kind, message) == ("ConfigError", "unnorm_key must be given: the checkpoint knows bench, lab")
    kind, message = error_in(own, "lap")
    assert (kind, message) == (
        "ConfigError",
        "unnorm_key: unknown data set 'lap'. Did you mean 'lab'? Known: bench, lab.",
    )
    assert error_in(own, device="gpu")[1].startswith("device must be such as cuda")
    config = json.loads((own / "config.json").read_text())
    config["norm_stats"] = {"lab": {"action": {"q01": [0.0] * 8}}}
    (own / "config.json").write_text(json.dumps(config))
    kind, message = error_in(own)
    assert kind == "ConfigError"
    assert message.startswith("unnorm_key: 'lab' is for actions of 8 numbers, environment 'bench' takes 7: a0, ")
    config["norm_stats"] = {"lab": {}}
    (own / "config.json").write_text(json.dumps(config))
    assert error_in(own) == (
        "PolicyError",
        "the checkpoint's statistics of 'lab' have no limits of actions (q01, q99)",
    )


def test_weights_that_are_pickled_are_not_read(own: Path) -> None:
    (own / "model.safetensors").rename(own / "pytorch_model.bin")
    kind, message = error_in(own)
    assert kind == "PolicyError"
    assert message.startswith(f"checkpoint '{own}' has no safetensors files")


def test_a_package_that_the_checkpoint_needs_is_named(own: Path) -> None:
    code = own / "modeling_tiny.py"
    code.write_text(f"import absent_package\n{code.read_text()}")
    kind, message = error_in(own)
    assert kind == "PolicyError"
    assert "absent_package" in message
    assert "taketwo[openvla]" in message


def test_a_model_without_predict_action_is_refused(own: Path) -> None:
    code = own / "modeling_tiny.py"
    code.write_text(code.read_text().replace("def predict_action", "def predict"))
    assert error_in(own) == ("PolicyError", f"checkpoint '{own}' has no predict_action: it is not one of OpenVLA's")


def test_a_path_that_is_no_checkpoint_is_told(tmp_path: Path) -> None:
    for path in (tmp_path, "nobody/nothing"):
        kind, message = error_in(path)
        assert kind == "ConfigError"
        assert message.startswith("path ")


def test_damaged_statistics_are_told(own: Path) -> None:
    (own / "dataset_statistics.json").write_text("{")
    kind, message = error_in(own)
    assert kind == "PolicyError"
    assert "dataset_statistics.json cannot be read" in message


@pytest.mark.skipif(
    "TAKETWO_OPENVLA_SOURCE" not in os.environ, reason="TAKETWO_OPENVLA_SOURCE names no folder with OpenVLA's own code"
)
@pytest.mark.parametrize(("dtype", "attention"), [("float32", "sdpa"), ("bfloat16", "sdpa"), ("float32", "eager")])
def test_openvlas_own_classes_act_as_they_do_by_hand(tmp_path: Path, dtype: str, attention: str) -> None:
    folder = tmp_path / "prismatic"
    run_in_openvla("checkpoints.py", "prismatic", folder, os.environ["TAKETWO_OPENVLA_SOURCE"])
    seen = probe(folder, "libero_object_no_noops", dtype=dtype, attention=attention)
    np.testing.assert_allclose(np.squeeze(seen["actions"], 1), seen["by_hand"], rtol=1e-12)
    assert seen["embedding"]["shapes"] == [[7, 64]] * 4
    assert seen["embedding"]["differ_by_picture"] > 1e-3
    assert seen["together"]
    statistics = json.loads((folder / "config.json").read_text())["norm_stats"]["libero_object_no_noops"]["action"]
    # Tokens count backwards from the end of the vocabulary, 32064 less the 64 that pad it.
    bins = np.clip(32000 - np.array(seen["embedding"]["tokens"]) - 1, 0, 254)
    edges = np.linspace(-1, 1, 256)
    normalized = ((edges[:-1] + edges[1:]) / 2)[bins]
    low, high = np.array(statistics["q01"]), np.array(statistics["q99"])
    expected = np.where(statistics["mask"], 0.5 * (normalized + 1) * (high - low) + low, normalized)
    np.testing.assert_allclose(seen["actions"][0][0], expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("given", "known", "expected"),
    [
        (None, ["bridge_orig"], "bridge_orig"),
        ("bridge_orig", ["bridge_orig", "viola"], "bridge_orig"),
        ("libero_object", ["libero_object_no_noops"], "libero_object_no_noops"),
        ("libero_object", ["libero_object", "libero_object_no_noops"], "libero_object"),
    ],
)
def test_the_key_of_the_statistics_is_found(given: str | None, known: list[str], expected: str) -> None:
    assert chosen_unnorm_key(given, dict.fromkeys(known)) == expected


@pytest.mark.parametrize(
    ("given", "known", "message"),
    [
        (None, ["b", "a"], "unnorm_key must be given: the checkpoint knows a, b"),
        (None, [], "unnorm_key must be given: the checkpoint knows no data set"),
        ("bridge", ["bridge_orig"], "unnorm_key: unknown data set 'bridge'. Did you mean 'bridge_orig'?"),
    ],
)
def test_a_key_that_is_not_known_is_refused(given: str | None, known: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        chosen_unnorm_key(given, dict.fromkeys(known))
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("path", "model_config", "template"),
    [
        ("openvla/openvla-7b", {"llm_backbone_id": "llama2-7b-pure"}, PROMPT),
        ("openvla/openvla-v01-7b", {}, VICUNA_PROMPT),
        ("/models/mine", {"llm_backbone_id": "vicuna-v15-7b"}, VICUNA_PROMPT),
        ("/models/run-v01", {"llm_backbone_id": "llama2-7b-pure"}, PROMPT),
    ],
)
def test_the_prompt_goes_by_the_language_model(path: str, model_config: dict[str, str], template: str) -> None:
    assert prompt_template(path, model_config) == template


def test_both_prompts_are_openvlas() -> None:
    assert PROMPT.format("open the drawer") == "In: What action should the robot take to open the drawer?\nOut:"
    assert VICUNA_PROMPT.format("open the drawer").endswith(
        " questions. USER: What action should the robot take to open the drawer? ASSISTANT:"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": " "}, "path must name a checkpoint"),
        ({"path": "runs/openvla-7b+object--image_aug"}, "center_crop must be true"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        OpenVLAConfig(**options)


@pytest.mark.parametrize(
    ("versions", "message"),
    [
        ({}, "PyTorch is not installed: pip install 'taketwo[openvla]'"),
        ({"torch": "2.2.0"}, "transformers is not installed: pip install 'taketwo[openvla]'"),
        ({"torch": "2.2.0", "transformers": "4.57.6"}, "OpenVLA's checkpoints act wrongly with transformers 4.57.6"),
        ({"torch": "2.2.0", "transformers": "5.0.0rc1"}, "need 4.40 or later, before 4.48"),
    ],
)
def test_packages_that_are_missing_or_too_new_are_told(tmp_path: Path, versions: dict[str, str], message: str) -> None:
    for name in ("torch", "transformers"):  # empty packages, since only their presence and version are looked at
        text = f"__version__ = {versions[name]!r}" if name in versions else f"raise ImportError({name!r})"
        (tmp_path / f"{name}.py").write_text(text)
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from taketwo.errors import TakeTwoError
from taketwo.policies.openvla import OpenVLAConfig
from tests.policies.test_openvla_rest import spec
try:
    OpenVLAConfig("nobody/nothing").make(spec())
except TakeTwoError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert message in done.stdout


class Model:
    """Stands for the loaded model: keeps what it was asked, and gives an action that tells the gripper's sign."""

    def __init__(self) -> None:
        self.asked: list[tuple[Pixels, str]] = []

    def predict(self, pixels: Pixels, instruction: str) -> tuple[FloatArray, Any]:
        self.asked.append((pixels, instruction))
        return np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.9]), np.ones((7, 4), np.float32)


def test_pictures_and_grippers_go_through_the_conventions() -> None:
    model = Model()
    conventions = Conventions("agentview", rotate_180=True, jpeg_roundtrip=True, center_crop=True, gripper="libero")
    policy = OpenVLAPolicy(model, conventions)
    assert isinstance(policy, ReadsPrompt) and isinstance(policy, SharesWeights)
    assert policy.cameras == ("agentview",)
    chunk = policy.infer(observation())
    ((pixels, instruction),) = model.asked
    np.testing.assert_array_equal(pixels, conventions.picture(observation()))
    assert instruction == "Pick up the Cube"
    np.testing.assert_array_equal(chunk.actions, [[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, -1.0]])
    assert chunk.embedding is not None


def test_a_closed_policy_gives_no_client() -> None:
    policy = OpenVLAPolicy(Model(), Conventions("agentview", False, False, False, "none"))
    policy.close()
    policy.close()
    with pytest.raises(PolicyError, match="closed"):
        policy.for_client()


def test_a_camera_that_is_missing_is_told_before_anything_is_loaded() -> None:
    with pytest.raises(ConfigError, match="camera: unknown camera 'top'"):
        OpenVLAConfig("nobody/nothing", camera="top").make(spec())
