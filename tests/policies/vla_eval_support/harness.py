"""Run by a Python that has vla-eval: its real connection and episode runner, with a benchmark of two pictures.

Options, as JSON: url, episodes, first (number of the first episode), max_steps, image_format, mode (sync or live),
leave_out (keys of the observation), state_key, pictures (their dtype). Prints, as JSON: hello, mismatches, and each
episode's result and answers, or the error.
"""

import json
import sys

import anyio
import numpy as np
from vla_eval.benchmarks.base import StepBenchmark, StepResult, repeat_last_hold
from vla_eval.benchmarks.libero.benchmark import LIBEROBenchmark
from vla_eval.connection import Connection
from vla_eval.protocol.numpy_codec import set_image_format
from vla_eval.runners.live_runner import LiveEpisodeRunner
from vla_eval.runners.sync_runner import SyncEpisodeRunner
from vla_eval.specs import DimSpec, check_specs

OPTIONS = {"episodes": 1, "first": 0, "max_steps": 6, "image_format": "png", "mode": "sync", **json.loads(sys.argv[1])}


class Bench(StepBenchmark):
    """Done when its steps are; the pictures tell the step in every pixel."""

    def __init__(self):
        super().__init__()
        self.answers = []

    def get_tasks(self):
        return [{"name": "stack them", "suite": "bench"}]

    def reset(self, task):
        self.steps, self.answers = 0, []
        return 0

    def step(self, action):
        self.answers.append(action)
        self.steps += 1
        return StepResult(obs=self.steps, reward=0.0, done=self.steps >= OPTIONS["max_steps"], info={})

    def make_obs(self, raw_obs, task):
        pixels = np.full((32, 48, 3), raw_obs, OPTIONS.get("pictures", "uint8"))
        observation = {
            "images": {"agentview": pixels, "wrist": pixels[:16] + 100},
            OPTIONS.get("state_key", "states"): np.arange(8) + raw_obs / 100,
            "task_description": task["name"],
        }
        return {key: value for key, value in observation.items() if key not in OPTIONS.get("leave_out", ())}

    def check_done(self, step_result):
        return step_result.done

    def get_step_result(self, step_result):
        return {"success": step_result.done}

    def get_metadata(self):
        return {"max_steps": 50}

    def get_hold_action(self, last_action):
        return repeat_last_hold(last_action, 7)


def told(answer):
    actions = answer.get("actions")
    return {**answer, "actions": None if actions is None else np.asarray(actions).tolist()}


def mismatches(hello):
    """The harness' own verdict on what is declared, against its LIBERO."""
    libero = LIBEROBenchmark(send_wrist_image=True, send_state=True)
    specs = [
        {name: DimSpec.from_dict(part) for name, part in hello.get(key, {}).items()}
        for key in ("action_spec", "observation_spec")
    ]
    return check_specs(specs[0], libero.get_action_spec(), specs[1], libero.get_observation_spec())


async def main():
    set_image_format(OPTIONS["image_format"])
    bench, episodes = Bench(), []
    runner = SyncEpisodeRunner() if OPTIONS["mode"] == "sync" else LiveEpisodeRunner(hz=50, wait_first_action=True)
    async with Connection(OPTIONS["url"], timeout=20) as connection:
        for index in range(OPTIONS["first"], OPTIONS["first"] + OPTIONS["episodes"]):
            task = {**bench.get_tasks()[0], "episode_idx": index}
            try:
                result = await runner.run_episode(bench, task, connection, max_steps=OPTIONS["max_steps"])
            except Exception as error:  # noqa: BLE001 - told to the test
                result = {"error": f"{type(error).__name__}: {error}; {error.__cause__}"}
            episodes.append({**result, "answers": [told(answer) for answer in bench.answers]})
        hello = connection.server_info
    print(json.dumps({"hello": hello, "mismatches": mismatches(hello), "episodes": episodes}))


anyio.run(main)
