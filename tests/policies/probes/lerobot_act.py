"""Runs a trained ACT policy by our adapter and by LeRobot's own rollout code, over the same observations.

    python lerobot_act.py SRC CHECKPOINT DATASET

SRC is our source folder, DATASET what it was trained on. The last line printed is a JSON object.
"""

import dataclasses
import itertools
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import torch

sys.path.insert(0, sys.argv[1])

from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.policies.factory import make_pre_post_processors

from taketwo.errors import TakeTwoError
from taketwo.policies.base import InfersBatches, ReadsPrompt, SharesWeights
from taketwo.policies.lerobot import LeRobotConfig
from taketwo.types import CameraSpec, EnvironmentSpec, EpisodeInfo, Image, Observation

STEPS = 25
COMMIT = "0" * 40
EPISODE = EpisodeInfo(0, 1)


def environment(names, **cameras):
    """An environment of ALOHA's shape with these cameras (height, width)."""
    return EnvironmentSpec(
        name="bench",
        action_names=tuple(names),
        action_units=("rad",) * len(names),
        action_low=np.full(len(names), -np.inf),
        action_high=np.full(len(names), np.inf),
        state_names=tuple(names),
        control_hz=50.0,
        cameras={name: CameraSpec(*size) for name, size in cameras.items()},
        prompt="Hand over the cube",
    )


def observations(root, camera):
    """The first rows of the data set as observations, and as LeRobot's rollouts have them."""
    dataset = LeRobotDataset("me/demos", root=root, video_backend="pyav")
    for index in range(STEPS):
        row = dataset[index]
        pixels = (row[f"observation.images.{camera}"] * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous()
        state = row["observation.state"].numpy()
        yield (
            Observation(state.astype(np.float64), {camera: Image.of(pixels.numpy(), camera)}, prompt="Hand over"),
            {
                "observation.state": torch.from_numpy(state)[None],
                f"observation.images.{camera}": pixels.permute(2, 0, 1)[None].float() / 255,
                "task": ["Hand over"],
            },
        )


def own_rollout(checkpoint, batches, **changes):
    """LeRobot's `select_action` over the observations, with its own loading: (T, D)."""
    policy = ACTPolicy.from_pretrained(checkpoint)
    for name, value in changes.items():
        setattr(policy.config, name, value)
    if policy.config.temporal_ensemble_coeff is not None:
        policy = type(policy)(policy.config)
        policy.load_state_dict(ACTPolicy.from_pretrained(checkpoint).state_dict())
    policy.eval().reset()
    before, after = make_pre_post_processors(policy.config, checkpoint)
    return np.stack([after(policy.select_action(before(dict(batch))))[0].numpy() for batch in batches])


def rollout(policy, seen):
    """The same by the adapter: each chunk is used up before the next one is asked for."""
    policy.reset(EPISODE)
    actions = []
    while len(actions) < len(seen):
        actions.extend(policy.infer(seen[len(actions)]).actions)
    return np.stack(actions[: len(seen)])


def said(make):
    """The message with which this is refused, and the kind of error."""
    try:
        make()
    except TakeTwoError as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


def gap(left, right):
    return float(np.abs(left - right).max())


def scaled(config, names, camera, seen, size):
    """Twice as large pictures, from a camera of another name: made of the same pixels, and of finer ones."""
    height, width = size
    policy = config.make(environment(names, eye=(2 * height, 2 * width)))
    pixels = seen.images[camera].pixels
    large = pixels.repeat(2, 0).repeat(2, 1)
    small = np.asarray(PIL.Image.fromarray(large).resize((width, height), PIL.Image.Resampling.BILINEAR))
    by_hand = dataclasses.replace(seen, images={"eye": Image.of(small)})
    actions = policy.infer(dataclasses.replace(seen, images={"eye": Image.of(large)})).actions
    return actions, policy.infer(by_hand).actions


def from_hub(config, spec, seen):
    """The same checkpoint as it lies in the Hub's cache once it was downloaded."""
    cache = Path(os.environ["HF_HOME"]) / "hub" / "models--me--act"
    shutil.copytree(config.path, cache / "snapshots" / COMMIT)
    (cache / "refs").mkdir()
    (cache / "refs" / "v1").write_text(COMMIT)
    return dataclasses.replace(config, path="me/act", revision="v1").make(spec).infer(seen).actions


def chosen_cameras(config, names, camera, size):
    """Which camera of two is looked at, by a mapping, and by the name that it had in the data set."""
    two = environment(names, **{camera: size, "other": size})

    def renamed(folder):
        key = f"observation.images.{camera}"
        for name in ("config.json", "policy_preprocessor.json"):
            file = folder / name
            file.write_text(file.read_text().replace(f'"{key}"', '"observation.images.camera1"'))
        file = folder / "policy_preprocessor.json"
        steps = json.loads(file.read_text())
        steps["steps"][0]["config"]["rename_map"] = {key: "observation.images.camera1"}
        file.write_text(json.dumps(steps))

    return [
        dataclasses.replace(config, mapping={camera: "other"}).make(two).cameras,
        dataclasses.replace(config, mapping={f"observation.images.{camera}": "other"}).make(two).cameras,
        dataclasses.replace(config, path=damaged(config.path, "renamed", renamed)).make(two).cameras,
    ]


def damaged(checkpoint, name, change):
    """A copy of the checkpoint with something wrong."""
    folder = Path(f"{checkpoint}-{name}")
    shutil.copytree(checkpoint, folder)
    change(folder)
    return str(folder)


def with_settings(**settings):
    def change(folder):
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | settings))

    return change


def refusals(config, names, camera, size, policy, seen):
    """What is said to everything that does not fit."""
    height, width = size
    spec = environment(names, **{camera: size})
    checkpoint = config.path

    def changed(**changes):
        return lambda: dataclasses.replace(config, **changes).make(spec)

    def at(environment_spec):
        return lambda: config.make(environment_spec)

    ensembling = damaged(checkpoint, "step-by-step", with_settings(temporal_ensemble_coeff=0.01, n_action_steps=1))
    found = {
        "actions": said(at(environment(names[:7], **{camera: size}))),
        "state": said(at(dataclasses.replace(spec, state_names=("x", "y", "z")))),
        "no camera": said(at(environment(names))),
        "two cameras": said(at(environment(names, left=size, right=size))),
        "size": said(at(environment(names, **{camera: (height, width + 16)}))),
        "mapping": said(changed(mapping={"topp": camera})),
        "mapped camera": said(changed(mapping={camera: "topp"})),
        "left out": said(changed(mapping={camera: "none"})),
        "no folder": said(changed(path="/nowhere/at/all")),
        "not a checkpoint": said(changed(path=str(Path(checkpoint).parent.parent))),
        "Hub": said(changed(path="nobody/nothing")),
        "damaged": said(changed(path=damaged(checkpoint, "cut", lambda f: (f / "config.json").write_text("{")))),
        "unknown type": said(changed(path=damaged(checkpoint, "type", with_settings(type="nonsense")))),
        "no weights": said(changed(path=damaged(checkpoint, "empty", lambda f: (f / "model.safetensors").unlink()))),
        "too many steps": said(changed(n_action_steps=1000)),
        "cuda": said(changed(device="cuda")),
        "compiled": said(changed(path=ensembling, compile=True)),
        "state later": said(lambda: policy.infer(dataclasses.replace(seen, state=np.zeros(3)))),
        "picture later": said(lambda: policy.infer(dataclasses.replace(seen, images={}))),
    }
    policy.close()
    policy.close()
    return {**found, "closed": said(lambda: policy.infer(seen))}


def ensembled(config, spec, seen, batches, plain):
    """The same checkpoint, told to ensemble as ACT's authors do."""
    changes = {"temporal_ensemble_coeff": 0.01, "n_action_steps": 1}
    folder = damaged(config.path, "ensembling", with_settings(**changes))
    policy = dataclasses.replace(config, path=folder).make(spec)
    actions = rollout(policy, seen)
    beside, among = policy.for_client(), []
    policy.reset(EPISODE)
    beside.reset(EPISODE)
    for observation, other in zip(seen, reversed(seen), strict=True):
        among.append(policy.infer(observation).actions[0])
        beside.infer(other)
    return {
        "ensembling": gap(actions, own_rollout(config.path, batches, **changes)),
        "ensembling_differs": gap(actions, plain),
        "clients_apart": gap(actions, np.stack(among)),
    }


def main():
    _, _, checkpoint, root = sys.argv
    info = json.loads(Path(f"{root}/meta/info.json").read_text())
    names = info["features"]["action"]["names"]
    (camera,) = (key.removeprefix("observation.images.") for key in info["features"] if "images" in key)
    size = tuple(info["features"][f"observation.images.{camera}"]["shape"][:2])
    spec = environment(names, **{camera: size})
    seen, batches = zip(*observations(root, camera), strict=True)
    config = LeRobotConfig(checkpoint, device="cpu")
    policy = config.make(spec)
    own = own_rollout(checkpoint, batches)
    single = np.stack([policy.infer(observation).actions for observation in seen[::6]])
    together = np.stack([chunk.actions for chunk in policy.infer_batch(seen[::6])])
    large, by_hand = scaled(config, names, camera, seen[0], size)
    half = dataclasses.replace(config, dtype="bfloat16").make(spec).infer(seen[0]).actions
    answer = {
        "shape": single[0].shape,
        "dtype": str(single.dtype),
        "cameras": policy.cameras,
        "size": float(np.abs(own).max()),
        "moves": gap(own, own[:1]),
        "own_rollout": gap(rollout(policy, seen), own),
        "three_at_a_time": gap(
            rollout(dataclasses.replace(config, n_action_steps=3).make(spec), seen),
            own_rollout(checkpoint, batches, n_action_steps=3),
        ),
        "batch": gap(single, together),
        "apart": min(gap(one, other) for one, other in itertools.pairwise(together)),
        "batches": isinstance(policy, InfersBatches) and not isinstance(policy, SharesWeights),
        "reads_prompt": isinstance(policy, ReadsPrompt),
        "scaled_down": gap(large, single[0]),
        "scaled_exactly": gap(large, by_hand),
        "bfloat16": gap(half, single[0]),
        "from_hub": gap(from_hub(config, spec, seen[0]), single[0]),
        "chosen_cameras": chosen_cameras(config, names, camera, size),
        **ensembled(config, spec, seen, batches, own),
        "refused": refusals(config, names, camera, size, policy, seen[0]),
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
