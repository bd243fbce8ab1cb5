"""PettingZoo's parallel environments as one environment, with real ones and a small one for what those do not do."""

import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("pettingzoo")

from gymnasium import spaces
from pettingzoo import ParallelEnv

from taketwo.envs.pettingzoo import PettingZooConfig, PettingZooEnvironment
from taketwo.envs.push import PushConfig
from taketwo.envs.push.parallel import PushParallel
from taketwo.envs.several import Several
from taketwo.errors import ConfigError, EnvironmentFault, RenderingError
from taketwo.testing import check_env

SPREAD = "mpe2.simple_spread_v3"
PUSH = "taketwo.envs.push.parallel:PushParallel"


class Relay(ParallelEnv):
    """A scout who chooses between left, right and nothing, and a carrier who pulls; who ends when is given."""

    metadata = {"name": "relay_v0", "render_fps": 5}  # noqa: RUF012

    def __init__(self, lives=(2, 4), terminates=(False, True), agents=("scout", "carrier"), newcomer=None):
        self.possible_agents = list(agents)
        self.agents = []
        self.given = []
        self._lives = dict(zip(agents, lives, strict=False))
        self._terminates = dict(zip(agents, terminates, strict=False))
        self._newcomer = newcomer
        self._spaces = {
            "scout": (spaces.Discrete(3, start=-1), spaces.Box(0, 255, (2, 4, 3), np.uint8)),
            "carrier": (spaces.Box(-1, 1, (2,), np.float32), spaces.Dict({"load": spaces.Box(-9, 9, (2,))})),
            "talker": (spaces.MultiDiscrete([2, 3]), spaces.Box(0, 1, (1,))),
        }

    def action_space(self, agent):
        return self._spaces[agent][0]

    def observation_space(self, agent):
        return self._spaces[agent][1]

    def reset(self, seed=None, options=None):
        self.agents = (options or {}).get("agents", list(self.possible_agents))
        self._load = np.random.default_rng(seed).uniform(-1, 1, 2).astype(np.float32)
        self._age = 0
        return self._observations(), {agent: {} for agent in self.agents}

    def step(self, actions):
        self.given.append(actions)
        assert set(actions) == set(self.agents)
        assert all(self.action_space(agent).contains(action) for agent, action in actions.items())
        self._age += 1
        self._load = self._load + actions.get("carrier", 0)
        told = self._observations()
        over = {agent: self._age >= self._lives[agent] for agent in self.agents}
        terminated = {agent: over[agent] and self._terminates[agent] for agent in self.agents}
        truncated = {agent: over[agent] and not self._terminates[agent] for agent in self.agents}
        infos = {agent: {"success": over[agent], "age": self._age, "name": agent} for agent in self.agents}
        rewards = {agent: 1 + index for index, agent in enumerate(self.agents)}
        self.agents = [agent for agent in self.agents if not over[agent]] + ([self._newcomer] if self._newcomer else [])
        return told, rewards, terminated, truncated, infos

    def close(self):
        pass

    def _observations(self):
        views = {
            "scout": np.full((2, 4, 3), self._age, np.uint8),
            "carrier": {"load": self._load},
            "talker": np.zeros(1, np.float32),
        }
        return {agent: views[agent] for agent in self.agents}


class NamesTheDeadToo(Relay):
    """Keeps agents in its list that have ended."""

    def step(self, actions):
        self.agents = list(actions)
        answer = super().step(actions)
        self.agents = list(self.possible_agents)
        return answer


class ShowsNothingLater(Relay):
    """Begins its second episode without an observation for one agent."""

    def _observations(self):
        told = super()._observations()
        return {"scout": told["scout"]} if self.given and not self._age else told


def make_scout():
    """What a user's `module:name` may be."""
    return Relay()


@pytest.fixture
def relay():
    return PettingZooEnvironment(Relay())


@pytest.mark.parametrize(
    "config",
    [
        PettingZooConfig(),
        PettingZooConfig(kwargs={"continuous_actions": True}, render=False),
        PettingZooConfig(env="mpe2.simple_speaker_listener_v4", render=False),
        PettingZooConfig(env="mpe2.simple_world_comm_v3", render=False),
        PettingZooConfig(env=PUSH, kwargs={"max_episode_steps": 30}, render=False),
        PettingZooConfig(env="tests.envs.test_pettingzoo:make_scout", render=False),
    ],
    ids=lambda config: config.env,
)
def test_it_keeps_the_contract(config):
    check_env(config.make)


def test_several_of_them_keep_the_contract():
    check_env(lambda: Several.made_by(PettingZooConfig(render=False).make, 3))


def test_it_is_the_same_episode_as_pettingzoos_own():
    from mpe2 import simple_spread_v3

    ours, theirs = PettingZooConfig(env=SPREAD, render=False).make(), simple_spread_v3.parallel_env()
    agents = ("agent_0", "agent_1", "agent_2")
    assert ours.agents == agents and ours.spec.control_hz == 10 and ours.spec.name == "simple_spread_v3"
    shown, _ = theirs.reset(seed=4)
    assert np.array_equal(ours.reset(4).state, np.concatenate([shown[agent] for agent in agents]).astype(np.float64))
    generator = np.random.default_rng(0)
    for step in range(25):
        actions = generator.integers(5, size=3)
        result = ours.step(actions + generator.uniform(-0.4, 0.4, 3))
        shown, rewards, _, truncated, _ = theirs.step(dict(zip(agents, map(int, actions), strict=True)))
        assert np.array_equal(result.observation.state, np.concatenate([shown[a] for a in agents]).astype(np.float64))
        assert result.reward == pytest.approx(sum(rewards.values()))
        assert result.info["rewards"] == pytest.approx(rewards)
        assert result.truncated is all(truncated.values()) is (step == 24)
    assert not result.terminated and result.success is None
    with pytest.raises(EnvironmentFault, match="no episode under way"):
        ours.step(np.zeros(3))


def test_our_own_world_is_the_same_with_all_robots_as_one_as_without_pettingzoo():
    ours, single = PettingZooEnvironment(PushParallel(PushConfig(cameras=()))), PushConfig(cameras=()).make()
    assert ours.spec.control_hz == single.spec.control_hz
    ours.reset(8), single.reset(8)
    for action in np.random.default_rng(0).uniform(-0.5, 0.5, (20, 6)):
        result, expected = ours.step(action), single.step(action.astype(np.float32).astype(np.float64))
        assert np.allclose(result.observation.state[:3], expected.observation.state[:3], atol=1e-6)
        assert result.success is expected.success
        assert result.info["metrics"] == expected.info["metrics"]
        assert result.reward == pytest.approx(2 * expected.reward)
    ours.close(), single.close()


def test_agents_stand_side_by_side_with_what_each_has(relay):
    spec = relay.spec
    assert spec.name == "relay_v0"
    assert spec.action_names == ("scout.action_0", "carrier.action_0", "carrier.action_1")
    assert spec.action_low.tolist() == [-1, -1, -1] and spec.action_high.tolist() == [1, 1, 1]
    assert spec.state_names == ("carrier.load_0", "carrier.load_1")
    assert set(spec.cameras) == {"scout.pixels"}
    shown = relay.reset(1)
    assert shown.images["scout.pixels"].pixels.shape == (2, 4, 3)
    moved = relay.step(np.array([0.8, 0.25, 0.5])).observation.state - shown.state
    assert moved == pytest.approx([0.25, 0.5])


@pytest.mark.parametrize("made", [Relay, NamesTheDeadToo])
def test_an_agent_that_ends_early_keeps_its_last_observation_and_gets_no_action(made):
    parallel = made()
    relay = PettingZooEnvironment(parallel)
    relay.reset(1)
    results = [relay.step(np.zeros(3)) for _ in range(4)]
    assert [set(given) for given in parallel.given] == [{"scout", "carrier"}] * 2 + [{"carrier"}] * 2
    assert [result.observation.images["scout.pixels"].pixels[0, 0, 0] for result in results] == [1, 2, 2, 2]
    assert [result.terminated or result.truncated for result in results] == [False, False, False, True]
    assert [result.reward for result in results] == [3, 3, 1, 1]
    assert [result.success for result in results] == [False, False, False, True]
    assert results[0].info["age"] == 1 and "name" not in results[0].info
    assert results[0].info["agents"]["scout"]["name"] == "scout"
    assert relay.reset(2).images["scout.pixels"].pixels[0, 0, 0] == 0


@pytest.mark.parametrize(
    ("terminates", "terminated"), [((False, False), False), ((True, False), True), ((False, True), True)]
)
def test_an_episode_is_terminated_where_that_has_happened_to_any_agent(terminates, terminated):
    relay = PettingZooEnvironment(Relay(terminates=terminates))
    relay.reset(1)
    results = [relay.step(np.zeros(3)) for _ in range(4)]
    assert not any(result.terminated or result.truncated for result in results[:3])
    assert (results[3].terminated, results[3].truncated) == (terminated, not terminated)


def test_render_is_a_camera_drawn_only_when_looked_at():
    environment = PettingZooConfig(kwargs={"dynamic_rescaling": True}).make()
    observation = environment.reset(0)
    assert not observation.images["render"].rendered
    assert observation.images["render"].pixels.shape == (700, 700, 3)
    stale = environment.step(np.ones(3)).observation
    environment.step(np.ones(3))
    with pytest.raises(RenderingError):
        _ = stale.images["render"].pixels
    environment.close()


def test_agents_that_change_are_a_fault(relay):
    with pytest.raises(EnvironmentFault, match="relay_v0 has begun with agents carrier; it had scout, carrier"):
        relay.reset(1, {"agents": ["carrier"]})
    visited = PettingZooEnvironment(Relay(newcomer="talker"))
    visited.reset(1)
    with pytest.raises(EnvironmentFault, match="agent talker has come in the middle of an episode"):
        visited.step(np.zeros(3))


def test_an_agent_without_a_first_observation_is_a_fault():
    relay = PettingZooEnvironment(ShowsNothingLater())
    relay.reset(1)
    relay.step(np.zeros(3))
    with pytest.raises(EnvironmentFault, match="relay_v0 has begun without an observation for carrier"):
        relay.reset(2)


def test_an_order_that_changes_is_none():
    relay = PettingZooEnvironment(Relay())
    state = relay.reset(3).state
    assert np.array_equal(relay.reset(3, {"agents": ["carrier", "scout"]}).state, state)
    assert relay.step(np.array([1.0, 0.5, 0.5])).reward == 3


def test_a_wrong_width_is_refused(relay):
    relay.reset(1)
    with pytest.raises(EnvironmentFault, match=r"relay_v0 takes \(3,\) actions, got \(2,\)"):
        relay.step(np.zeros(2))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"env": "mpe9.simple_spread_v3"}, "mpe9"),
        ({"env": "mpe2"}, r"no attribute 'parallel_env'; give a module with parallel_env, or module:name"),
        ({"env": "mpe2.simple_spread_v3:env"}, "not a parallel environment; .*aec_to_parallel"),
        ({"env": "pathlib:Path", "render": False}, "not a parallel environment"),
        ({"env": ""}, "cannot be imported"),
        ({"kwargs": {"wheels": 4}}, "wheels"),
        ({"kwargs": {"local_ratio": 4}}, "local_ratio"),
        ({"env": "tests.envs.test_pettingzoo:make_scout"}, r"render_mode.*--env.render=false"),
        ({"control_hz": -1.0}, "control_hz must be more than 0"),
    ],
)
def test_what_cannot_be_made_is_said_in_one_line(options, words):
    with pytest.raises(ConfigError, match=words) as caught:
        PettingZooConfig(**options).make()
    assert "\n" not in str(caught.value)


def test_spaces_that_cannot_be_used_are_said_with_the_agent():
    with pytest.raises(ConfigError, match="agent talker: actions must be Box or Discrete"):
        PettingZooEnvironment(Relay(agents=("scout", "talker")))


def test_one_without_agents_is_refused():
    with pytest.raises(ConfigError, match="Relay begins without agents"):
        PettingZooEnvironment(Relay(agents=()))


def test_without_pettingzoo_it_is_a_line():
    code = (
        "import sys; sys.modules['pettingzoo'] = None\n"
        "from taketwo.envs.pettingzoo import PettingZooConfig; PettingZooConfig().make()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "MissingExtraError: pettingzoo is not installed: pip install 'taketwo[pettingzoo]'" in done.stderr
