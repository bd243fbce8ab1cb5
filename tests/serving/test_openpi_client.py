"""openpi's real client, chunk broker and runtime drive the real gym_aloha through our server, to success."""

import numpy as np
import pytest
from openpi_client import image_tools
from openpi_client.action_chunk_broker import ActionChunkBroker
from openpi_client.runtime.agents.policy_agent import PolicyAgent
from openpi_client.runtime.environment import Environment
from openpi_client.runtime.runtime import Runtime
from openpi_client.runtime.subscriber import Subscriber

from taketwo.envs.aloha import AlohaConfig
from taketwo.policies.scripted import ScriptedConfig
from taketwo.serving.environments import AlohaSimConfig
from tests.serving.support import served

HORIZON = 5


class AlohaForOpenpi(Environment):
    """gym_aloha's task as openpi's runtime wants it. Beside openpi's keys it sends where the objects are, which the
    scripted policy looks at instead of pictures."""

    def __init__(self, seed):
        self._environment = AlohaConfig(width=224, height=224, quality="preview").make()
        self._seed = seed
        self._ended = False

    def reset(self):
        self._seen = self._environment.reset(self._seed)
        self._ended = False

    def is_episode_complete(self):
        return self._ended

    def get_observation(self):
        pixels = image_tools.resize_with_pad(self._seen.images["top"].pixels, 224, 224)
        touched = {arm: sorted(geoms) for arm, geoms in self._seen.extras["touched_by"].items()}
        return {
            "state": self._seen.state,
            "images": {"cam_high": np.transpose(pixels, (2, 0, 1))},
            "prompt": "Transfer cube",
            "taketwo": {"extras": {"object_poses": self._seen.extras["object_poses"], "touched_by": touched}},
        }

    def apply_action(self, action):
        result = self._environment.step(np.asarray(action["actions"]))
        self._seen, self._ended = result.observation, result.terminated
        self.success = result.success

    def close(self):
        self._environment.close()


class Steps(Subscriber):
    def __init__(self):
        self.count = 0

    def on_episode_start(self):
        pass

    def on_step(self, observation, action):
        self.count += 1

    def on_episode_end(self):
        pass


@pytest.mark.parametrize("seed", [11, 803261128])
def test_openpis_runtime_hands_the_cube_over_with_the_scripted_policy_behind_our_server(seed):
    environment = AlohaForOpenpi(seed)
    spec = AlohaSimConfig().make().spec
    steps = Steps()
    try:
        with served(lambda: ScriptedConfig(chunk_size=HORIZON).make(spec), AlohaSimConfig()) as server:
            broker = ActionChunkBroker(server.client(), action_horizon=HORIZON)
            Runtime(environment, PolicyAgent(broker), [steps], max_hz=0, max_episode_steps=300).run()
        assert environment.success
        assert 100 < steps.count < 300
    finally:
        environment.close()


def test_the_served_environment_is_the_one_that_there_is():
    for task in ("transfer_cube", "insertion"):
        real = AlohaConfig(task=task).make()
        told = AlohaSimConfig(task=task).make().spec
        try:
            assert told.name == real.spec.name
            assert told.action_names == real.spec.action_names
            assert told.action_units == real.spec.action_units
            assert told.state_names == real.spec.state_names
            assert told.control_hz == real.spec.control_hz
            assert set(told.cameras) == set(real.spec.cameras)
        finally:
            real.close()
