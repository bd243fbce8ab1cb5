"""Loads a checkpoint through taketwo and by hand, and prints what both make of the same pictures, as JSON.

usage: probe.py CHECKPOINT UNNORM_KEY [OPTION=JSON ...]

Runs in the Python that has transformers. What is done by hand follows OpenVLA's own
`experiments/robot/openvla_utils.py`: processor, prompt, `predict_action`.
"""

import json
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "src"))

import numpy as np
import torch
from PIL import Image as Picture
from transformers import AutoModelForVision2Seq, AutoProcessor

from taketwo.errors import TakeTwoError
from taketwo.policies.base import InfersBatches, ReadsPrompt, SharesWeights
from taketwo.policies.openvla import OpenVLAConfig
from taketwo.types import CameraSpec, EnvironmentSpec, Image, Observation

INSTRUCTION = "Pick up the Cube"
ASKED = "In: What action should the robot take to pick up the cube?\nOut:"


def spec(action_dim=7):
    return EnvironmentSpec(
        name="bench",
        action_names=tuple(f"a{i}" for i in range(action_dim)),
        action_units=("m",) * action_dim,
        action_low=np.full(action_dim, -1.0),
        action_high=np.full(action_dim, 1.0),
        state_names=(),
        control_hz=5.0,
        cameras={"front": CameraSpec(224, 224)},
    )


def observation(pixels, prompt=INSTRUCTION):
    return Observation(state=np.zeros(0), images={"front": Image.of(pixels)}, prompt=prompt)


def error_of(call):
    try:
        call()
    except TakeTwoError as error:
        return [type(error).__name__, str(error)]
    return None


def by_hand(path, unnorm_key, pictures, dtype):
    processor = AutoProcessor.from_pretrained(path, trust_remote_code=True)
    model = AutoModelForVision2Seq.from_pretrained(path, torch_dtype=dtype, trust_remote_code=True).eval()
    statistics = Path(path) / "dataset_statistics.json"
    if statistics.exists():
        model.norm_stats = json.loads(statistics.read_text())
    with torch.inference_mode():
        return [
            model.predict_action(
                **processor(ASKED, Picture.fromarray(pixels)).to("cpu", dtype=dtype),
                unnorm_key=unnorm_key,
                do_sample=False,
            ).tolist()
            for pixels in pictures
        ]


def logits_of(policy, states):
    """What the model's own output layer makes of the hidden states: the tokens that were read out of them."""
    head = policy._model._model.get_output_embeddings()
    with torch.inference_mode():
        return head(torch.from_numpy(states).to(head.weight.dtype)).float()


def main(path, unnorm_key, *options):
    settings = {"trust_remote_code": True, "jpeg_roundtrip": False, "embedding": True, "dtype": "float32"}
    settings |= {key: json.loads(value) for key, value in (option.split("=", 1) for option in options)}
    settings["unnorm_key"] = unnorm_key if unnorm_key != "none" else None
    failed = error_of(lambda: OpenVLAConfig(path=path, **settings).make(spec()))
    if failed:
        print(json.dumps({"error": failed}))
        return
    rng = np.random.default_rng(0)
    # Coarse patches: fine noise looks grey to a model, whatever the noise.
    coarse = rng.integers(0, 256, (3, 7, 7, 3), dtype=np.uint8)
    pictures = list(coarse.repeat(32, axis=1).repeat(32, axis=2))
    policy = OpenVLAConfig(path=path, **settings).make(spec())
    chunks = [policy.infer(observation(pixels)) for pixels in pictures]
    again = policy.infer(observation(pictures[0]))
    other = policy.infer(observation(pictures[0], "Open the drawer"))
    client = policy.for_client()
    together = at_once(policy, client, pictures)
    policy.close()
    after = client.infer(observation(pictures[0]))
    report = {
        "actions": [chunk.actions.tolist() for chunk in chunks],
        "embedding": None,
        "same_again": np.array_equal(again.actions, chunks[0].actions),
        "client_after_close": np.array_equal(after.actions, chunks[0].actions),
        "together": together == [chunk.actions.tolist() for chunk in chunks],
        "closed": error_of(lambda: policy.infer(observation(pictures[0]))),
        "no_prompt": error_of(lambda: client.infer(observation(pictures[0], None))),
        "capabilities": [isinstance(policy, kind) for kind in (ReadsPrompt, SharesWeights, InfersBatches)],
        "timings": list(chunks[0].timings_ms),
        "by_hand": by_hand(path, settings["unnorm_key"], pictures, getattr(torch, settings["dtype"])),
    }
    if chunks[0].embedding is not None:
        states = [chunk.embedding for chunk in (*chunks, other)]
        report["embedding"] = {
            "shapes": [list(state.shape) for state in states],
            "dtype": str(states[0].dtype),
            "differ_by_picture": float(np.abs(states[0] - states[1]).max()),
            "differ_by_prompt": float(np.abs(states[0] - states[3]).max()),
            "tokens": logits_of(client, states[0]).argmax(-1).tolist(),
        }
    print(json.dumps(report))


def at_once(first, second, pictures):
    """Actions of two clients that ask at the same time, hidden states included, picture by picture."""
    found = {}

    def ask(policy, numbers):
        for number in numbers:
            chunk = policy.infer(observation(pictures[number]))
            assert chunk.embedding is None or chunk.embedding.shape[0] == 7
            found[number] = chunk.actions.tolist()

    threads = [threading.Thread(target=ask, args=(policy, n)) for policy, n in ((first, (0, 2)), (second, (1,)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [found[number] for number in range(len(pictures))]


if __name__ == "__main__":
    main(*sys.argv[1:])
