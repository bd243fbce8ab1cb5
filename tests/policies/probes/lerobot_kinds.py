"""Runs a policy with a history and noise (Diffusion), and one that reads language (SmolVLA), by our adapter.

    python lerobot_kinds.py SRC FOLDER

Both have random weights and are made in FOLDER. The last line printed is a JSON object.
"""

import dataclasses
import json
import sys
from pathlib import Path

import lerobot_tiny
import numpy as np
import torch

sys.path.insert(0, sys.argv[1])

from lerobot.policies.factory import get_policy_class, make_pre_post_processors

from taketwo.policies.base import InfersBatches, ReadsPrompt, SharesWeights
from taketwo.policies.lerobot import LeRobotConfig
from taketwo.types import (
    RUNNING_CHUNK,
    CameraSpec,
    EnvironmentSpec,
    EpisodeInfo,
    Image,
    Observation,
    RunningChunk,
)

NAMES = tuple(f"joint_{number}" for number in range(lerobot_tiny.DIM))
SPEC = EnvironmentSpec(
    name="bench",
    action_names=NAMES,
    action_units=("rad",) * lerobot_tiny.DIM,
    action_low=np.full(lerobot_tiny.DIM, -np.inf),
    action_high=np.full(lerobot_tiny.DIM, np.inf),
    state_names=NAMES,
    control_hz=50.0,
    cameras={"top": CameraSpec(48, 64)},
    prompt="Pick the cube",
)


def observations(number, seed=0):
    """Observations of nothing in particular, each unlike the others."""
    generator = np.random.default_rng(seed)
    return [
        Observation(
            generator.uniform(-1, 1, lerobot_tiny.DIM),
            {"top": Image.of(generator.integers(0, 256, (48, 64, 3), dtype=np.uint8), "top")},
            prompt="Pick the cube",
        )
        for _ in range(number)
    ]


def gap(left, right):
    return float(np.abs(np.asarray(left) - np.asarray(right)).max())


def acts(policy, seen, seed=1):
    """The first action for each observation of an episode, (T, D)."""
    policy.reset(EpisodeInfo(0, seed))
    return np.stack([policy.infer(observation).actions[0] for observation in seen])


def batch_of(observation, key):
    """An observation as LeRobot's rollouts have it."""
    pixels = torch.from_numpy(observation.images["top"].pixels).permute(2, 0, 1)[None].float() / 255
    return {
        "observation.state": torch.from_numpy(observation.state)[None].float(),
        key: pixels,
        "task": [observation.prompt],
    }


class Own:
    """LeRobot's own loading, with the noise of one seed for each step."""

    def __init__(self, folder, key):
        from lerobot.configs.policies import PreTrainedConfig

        config = PreTrainedConfig.from_pretrained(folder)
        self.policy = get_policy_class(config.type).from_pretrained(folder)
        self.before, self.after = make_pre_post_processors(self.policy.config, str(folder))
        self.key = key

    def selected(self, seen, seeds):
        """`select_action` over the observations: (T, D)."""
        self.policy.reset()
        actions = []
        for observation, seed in zip(seen, seeds, strict=True):
            torch.manual_seed(seed)
            actions.append(
                self.after(self.policy.select_action(self.before(batch_of(observation, self.key))))[0].numpy()
            )
        return np.stack(actions)

    def chunk(self, observation, seed, **further):
        """The chunk for an observation, (H, D), beside what the model itself gave."""
        torch.manual_seed(seed)
        raw = self.policy.predict_action_chunk(self.before(batch_of(observation, self.key)), **further)
        return self.after(raw)[0].detach().numpy(), raw[0]


def drawn_seeds(number, seed=1):
    """The seeds that the adapter gives PyTorch in an episode; told here as a part of what is tested."""
    from taketwo.seeding import policy_generator

    generator = policy_generator(seed)
    return [int(generator.integers(2**63)) for _ in range(number)]


def history(folder):
    lerobot_tiny.diffusion(folder)
    seen = observations(12)
    policy = LeRobotConfig(str(folder), device="cpu").make(SPEC)
    own = Own(folder, "observation.images.top").selected(seen, drawn_seeds(len(seen)))
    state = torch.get_rng_state()
    first = acts(policy, seen)
    untouched = torch.equal(state, torch.get_rng_state())
    beside, order = policy.for_client(), []
    beside.reset(EpisodeInfo(0, 9))
    policy.reset(EpisodeInfo(0, 1))
    for observation, other in zip(seen, observations(len(seen), seed=5), strict=True):
        order.append(policy.infer(observation).actions[0])
        beside.infer(other)
    shared = next(policy._checkpoint.policy.parameters()) is next(beside._checkpoint.policy.parameters())
    beside.close()
    return {
        "chunk": policy.infer(seen[0]).actions.shape,
        "own_rollout": gap(first, own),
        "moves": gap(first, first[:1]),
        "same_seed": gap(first, acts(policy, seen)),
        "other_seed": gap(first, acts(policy, seen, seed=2)),
        "global_noise_untouched": untouched,
        "beside_another_client": gap(first, np.stack(order)),
        "weights_shared": shared,
        "kinds": [isinstance(policy, kind) for kind in (SharesWeights, InfersBatches, ReadsPrompt)],
    }


def language(folder):
    lerobot_tiny.smolvla(folder, folder.parent / "vlm")
    seen = observations(4)
    policy = LeRobotConfig(str(folder), device="cpu").make(SPEC)
    policy.reset(EpisodeInfo(0, 1))
    chunk = policy.infer(seen[0]).actions
    own = Own(folder, "observation.images.camera1")
    (seed,) = drawn_seeds(1)
    expected, raw = own.chunk(seen[0], seed)

    def first(observation):
        policy.reset(EpisodeInfo(0, 1))
        return policy.infer(observation).actions

    running = RunningChunk(chunk[3:], delay_steps=2)
    later = dataclasses.replace(seen[1], extras={RUNNING_CHUNK: running})
    continued, _ = own.chunk(seen[1], seed, prev_chunk_left_over=raw[None, 3:], inference_delay=2)
    fresh, joined = first(seen[1]), first(later)
    together = policy.infer_batch([later, seen[2], later, seen[3]])
    long_delay = dataclasses.replace(seen[1], extras={RUNNING_CHUNK: RunningChunk(chunk[1:], delay_steps=8)})
    held = first(long_delay)
    return {
        "shape": chunk.shape,
        "own_chunk": gap(chunk, expected),
        "other_prompt": gap(chunk, first(dataclasses.replace(seen[0], prompt="Place the peg"))),
        "no_prompt": gap(
            first(dataclasses.replace(seen[0], prompt=None)), first(dataclasses.replace(seen[0], prompt=""))
        ),
        "own_prompt": policy.own_prompt,
        "own_continuation": gap(joined, continued),
        "seam": {"fresh": gap(fresh[:2], chunk[3:5]), "continued": gap(joined[:2], chunk[3:5])},
        "held": {"fresh": gap(fresh[:8], chunk[1:9]), "continued": gap(held[:8], chunk[1:9])},
        "together": [chunk.actions.shape for chunk in together],
        "kinds": [isinstance(policy, kind) for kind in (SharesWeights, InfersBatches, ReadsPrompt)],
    }


def main():
    folder = Path(sys.argv[2])
    print(json.dumps({"history": history(folder / "diffusion"), "language": language(folder / "smolvla")}))


if __name__ == "__main__":
    main()
