"""Gymnasium's vector environments, with real ones."""

import os
import signal
import threading
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

from taketwo.envs.base import MakesOne, MakesVectors
from taketwo.envs.gym import GymConfig
from taketwo.envs.gym_batches import info_of
from taketwo.envs.gym_vector import GymVectorConfig, GymVectorEnvironment
from taketwo.errors import ConfigError, EnvironmentFault, RenderingError
from taketwo.testing import ContractError, check_env

MODES = ("disabled", "next_step", "same_step")


class Counter(gymnasium.Env):
    """Counts to `goal`, which its seed or its options tell, by steps of the action; shows a picture of the count."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012
    action_space = spaces.Box(0.5, 2.0, (1,), np.float32)
    observation_space = spaces.Dict(
        {
            "camera": spaces.Box(0, 255, (4, 6, 3), np.uint8),
            "count": spaces.Box(0, 1000, (1,), np.float32),
            "pair": spaces.Tuple([spaces.Discrete(100), spaces.Box(0, 100, (2,), np.float32)]),
        }
    )

    def __init__(self, render_mode=None, goal=None):
        self.render_mode = render_mode
        self._given_goal = goal
        self.rendered = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._goal = (options or {}).get("goal") or self._given_goal or int(self.np_random.integers(3, 9))
        self._count = 0.0
        return self._observation(), {"mood": "fresh"}

    def step(self, action):
        if not np.isfinite(action[0]) or not 0.5 <= action[0] <= 2.0:
            raise ValueError(f"takes no {action}")
        self._count += float(action[0])
        over = self._count >= self._goal
        info = {"metrics": {"count": self._count}}
        if over:
            info["is_success"] = self._goal % 2 == 0
        return self._observation(), self._count, over, False, info

    def render(self):
        self.rendered += 1
        return self._picture()

    def _picture(self):
        return np.full((4, 6, 3), int(self._count * 10) % 256, np.uint8)

    def _observation(self):
        count = np.array([self._count], np.float32)
        return {"camera": self._picture(), "count": count, "pair": (self._goal, np.full(2, self._count, np.float32))}


class Breaks(Counter):
    """Raises at an action of more than 1.5, dies at one of 2, hangs at one of 0.75."""

    def step(self, action):
        if action[0] == 0.75:
            threading.Event().wait()
        if action[0] == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        if action[0] > 1.5:
            raise RuntimeError("the motor\nburnt out")
        return super().step(action)


gymnasium.register("Counter-v0", Counter, max_episode_steps=50)
gymnasium.register("Breaks-v0", Breaks)


class Drift(VectorEnv):
    """Somebody's own simulator: NumPy arrays, one seed for all, a mode of their choice, no masks in its infos."""

    single_action_space = spaces.Discrete(3, start=-1)
    single_observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)

    def __init__(self, num_envs, mode, tell_final=True):
        self.num_envs = num_envs
        self.metadata = {"autoreset_mode": mode, "render_fps": 20}
        self.action_space = spaces.MultiDiscrete([3] * num_envs, start=[-1] * num_envs)
        self.observation_space = spaces.Box(-np.inf, np.inf, (num_envs, 2), np.float32)
        self._tell_final = tell_final

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, bool))
        if not hasattr(self, "_state"):
            self._state, self._age = np.zeros((self.num_envs, 2), np.float32), np.zeros(self.num_envs, int)
        self._anew(mask)
        return self._state.copy(), {}

    def _anew(self, mask):
        self._state[mask] = self.np_random.normal(size=(self.num_envs, 2))[mask]
        self._age[mask] = 0

    def step(self, actions):
        assert self.action_space.contains(actions)
        mode = self.metadata["autoreset_mode"]
        again = self._age >= 3 + np.arange(self.num_envs)
        assert mode is not AutoresetMode.DISABLED or not again.any(), "stepped beyond its end"
        self._state += actions[:, None]
        self._age += 1
        if mode is AutoresetMode.NEXT_STEP:
            self._anew(again)
        over = self._age >= 3 + np.arange(self.num_envs)
        infos = {"age": self._age.copy(), "success": over.copy()}
        if mode is AutoresetMode.SAME_STEP:
            if self._tell_final:
                infos["final_obs"] = self._state.copy()
            self._anew(over)
        return self._state.copy(), np.ones(self.num_envs), np.zeros(self.num_envs, bool), over, infos


def make(num_envs=3, **options):
    return GymVectorConfig(**{"render": False, **options}).make_vector(num_envs)


def step_all(environment, value=0.0, envs=None):
    envs = range(environment.num_envs) if envs is None else envs
    return environment.step({env: np.full(environment.spec.action_dim, value) for env in envs})


@pytest.fixture
def counters(request):
    environment = make(**{"id": "Counter-v0", **getattr(request, "param", {})})
    yield environment
    environment.close()


@pytest.mark.parametrize("vectorization_mode", ["sync", "async"])
@pytest.mark.parametrize("autoreset_mode", MODES)
@pytest.mark.parametrize("id", ["CartPole-v1", "Counter-v0"])
def test_gymnasiums_own_keep_the_contract(id, vectorization_mode, autoreset_mode):  # noqa: A002
    check_env(lambda: make(id=id, vectorization_mode=vectorization_mode, autoreset_mode=autoreset_mode))


@pytest.mark.parametrize("autoreset_mode", MODES)
def test_those_that_render_keep_the_contract(autoreset_mode):
    check_env(lambda: make(id="Counter-v0", autoreset_mode=autoreset_mode, render=True))


def test_those_that_render_in_processes_keep_the_contract():
    check_env(lambda: make(id="Counter-v0", vectorization_mode="async", render=True))


def test_an_environments_own_vectors_keep_the_contract():
    check_env(lambda: make(vectorization_mode="vector_entry_point", render=True))


@pytest.mark.parametrize("mode", AutoresetMode)
def test_anybodys_vectors_keep_the_contract(mode):
    check_env(lambda: GymVectorEnvironment(Drift(3, mode)))


class DriftsOn(Drift):
    """Says that it waits to be reset, and resets itself in the step where an episode ends, after many steps."""

    def __init__(self):
        super().__init__(3, AutoresetMode.DISABLED)

    def step(self, actions):
        self._state += actions[:, None]
        self._age += 1
        over = self._age >= 20 + np.arange(self.num_envs)
        self._anew(over)
        return self._state.copy(), np.ones(self.num_envs), np.zeros(self.num_envs, bool), over, {}


class Poles(CartPoleVectorEnv):
    """The same lie, by Gymnasium's own simulator for many."""

    def step(self, actions):
        told = super().step(actions)
        over = told[2] | told[3]
        self.state[:, over] = self.np_random.uniform(-0.05, 0.05, (4, over.sum()))
        self.steps[over] = 0
        self.prev_done[:] = False
        return self.state.T.astype(np.float32), *told[1:]

    def reset(self, *, seed=None, options=None):
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, bool))
        kept = None if self.state is None else self.state.copy()
        super().reset(seed=seed)
        if kept is not None:
            self.state[:, ~mask] = kept[:, ~mask]
        return self.state.T.astype(np.float32), {}


@pytest.mark.parametrize("make_vectors", [DriftsOn, lambda: Poles(3)])
def test_vectors_that_reset_themselves_and_say_that_they_do_not_are_found_out(make_vectors, monkeypatch):
    monkeypatch.setattr(Poles, "metadata", {**Poles.metadata, "autoreset_mode": AutoresetMode.DISABLED})
    with pytest.raises(ContractError, match="has reset itself"):
        check_env(lambda: GymVectorEnvironment(make_vectors(), name="lies"))


def test_vectors_that_do_not_show_the_last_observation_keep_the_contract():
    check_env(lambda: GymVectorEnvironment(Drift(3, AutoresetMode.SAME_STEP, tell_final=False)))


def test_wrapped_vectors_keep_the_contract():
    from gymnasium.wrappers.vector import RecordEpisodeStatistics

    vectors = gymnasium.make_vec("CartPole-v1", 2, "sync", vector_kwargs={"autoreset_mode": "Disabled"})
    check_env(lambda: GymVectorEnvironment(RecordEpisodeStatistics(vectors)))


def test_the_configuration_makes_vectors_only():
    assert isinstance(GymVectorConfig(), MakesVectors)
    assert not isinstance(GymVectorConfig(), MakesOne)


@pytest.mark.parametrize("vectorization_mode", ["sync", "async"])
def test_each_episode_is_the_one_that_its_seed_gives_alone(vectorization_mode):
    environment, alone = make(vectorization_mode=vectorization_mode), GymConfig(render=False).make()
    for seeds in ({0: 5, 1: 6, 2: 7}, {1: 8}):
        begun = environment.reset(seeds)
        others = set(range(3)) - seeds.keys()
        for env, seed in seeds.items():
            assert np.array_equal(begun[env].state, alone.reset(seed).state)
        shown = [step_all(environment, 1.0, sorted(seeds)).results for _ in range(4)]
        for env, seed in seeds.items():
            alone.reset(seed)
            for results in shown:
                assert results.keys().isdisjoint(others)
                assert np.array_equal(results[env].observation.state, alone.step(np.ones(1)).observation.state)
    environment.close()


def test_spec_is_that_of_a_single_environment(counters):
    single = GymConfig(id="Counter-v0", render=False).make().spec
    several = counters.spec
    for name in ("name", "action_names", "action_units", "state_names", "control_hz", "cameras", "max_episode_steps"):
        assert getattr(several, name) == getattr(single, name)
    assert several.state_names == ("count_0", "pair.0_0", "pair.1_0", "pair.1_1")
    assert np.array_equal(several.action_low, single.action_low)


@pytest.mark.parametrize("counters", [{"autoreset_mode": mode} for mode in MODES], indirect=True)
def test_the_last_observation_and_what_is_told_with_it_are_the_episodes_own(counters):
    counters.reset({0: 1, 1: 2, 2: 3})
    told = {}
    for _ in range(9):
        step = step_all(counters, 1.0, [env for env in range(3) if env not in told])
        told |= {env: result for env, result in step.results.items() if result.terminated}
    for result in told.values():
        count, goal, *_ = result.observation.state
        assert count == goal == result.reward == result.info["metrics"]["count"]
        assert result.observation.time_s == pytest.approx(goal / 10)
        assert result.observation.images["camera"].pixels[0, 0, 0] == count * 10
        assert result.success is bool(goal % 2 == 0)
        assert "mood" not in result.info
    assert len({result.observation.state[1] for result in told.values()}) > 1


@pytest.mark.parametrize(("mode", "later"), [("same_step", 0), ("next_step", 1)])
def test_the_next_episode_begins_in_the_step_that_the_mode_says(mode, later):
    environment = make(id="Counter-v0", kwargs={"goal": 2}, autoreset_mode=mode)
    assert environment.resets_itself
    environment.reset({0: 1, 1: 2, 2: 3})
    assert not step_all(environment, 1.0).begun
    step = step_all(environment, 2.0, [0])
    assert step.results[0].terminated and set(step.results) == {0}
    if later:
        with pytest.raises(EnvironmentFault, match=r"environment 0 of Counter-v0 has no episode .*by itself"):
            step_all(environment, 1.0, [0])
        step = step_all(environment, 1.0, [2])
        assert step.results[2].observation.time_s > 0
    assert step.begun[0].time_s == 0 and step.begun[0].state[0] == 0
    again = step_all(environment, 1.0, [0])
    assert again.results[0].observation.time_s == pytest.approx(0.1) and 0 not in again.begun
    environment.close()


def test_without_any_action_the_simulator_goes_on_to_the_next_episode():
    environment = make(1, id="Counter-v0", kwargs={"goal": 2}, autoreset_mode="next_step")
    environment.reset({0: 1})
    assert step_all(environment, 2.0).results[0].terminated
    step = environment.step({})
    assert set(step.begun) == {0} and not step.results
    environment.close()


@pytest.mark.parametrize("mode", ["next_step", "same_step"])
def test_an_environment_that_waits_goes_on_and_its_results_are_left_out(mode):
    """Its next beginning is told, since a session that has cut its episode short waits for that."""
    environment = make(2, id="Counter-v0", kwargs={"goal": 2}, autoreset_mode=mode)
    environment.reset({0: 1, 1: 2})
    steps = [step_all(environment, 0.5, [0]) for _ in range(3)]
    assert all(set(step.results) == {0} for step in steps)
    begun = [1 in step_all(environment, 0.5, []).begun for _ in range(10)]
    assert 2 <= sum(begun) <= 3
    environment.close()


def test_an_environment_that_ends_while_it_waits_is_reset_before_it_goes_on():
    environment = make(2, id="Counter-v0", kwargs={"goal": 1})
    environment.reset({0: 1, 1: 2}, {0: {"goal": 40}})
    results = [step_all(environment, 0.5, [0]).results for _ in range(30)]
    assert results[-1][0].observation.state[0] == 15
    with pytest.raises(EnvironmentFault, match="environment 1 of Counter-v0 has no episode under way: reset it first"):
        step_all(environment, 0.5, [0, 1])
    assert environment.reset({1: 4})[1].state[0] == 0
    assert step_all(environment, 0.5).results[0].observation.state[0] == 15.5
    environment.close()


def test_options_are_for_those_environments_that_they_name(counters):
    begun = counters.reset({0: 3, 1: 3, 2: 3}, {1: {"goal": 77}})
    goals = [begun[env].state[1] for env in range(3)]
    assert goals[1] == 77 and goals[0] == goals[2] != 77


@pytest.mark.parametrize("counters", [{"autoreset_mode": "same_step"}], indirect=True)
def test_those_that_reset_themselves_begin_all_at_once_and_alike(counters):
    with pytest.raises(EnvironmentFault, match="has begun no episode"):
        counters.step({})
    with pytest.raises(EnvironmentFault, match="begin all 3 environments at once"):
        counters.reset({0: 1})
    with pytest.raises(EnvironmentFault, match="cannot have options of their own"):
        counters.reset({0: 1, 1: 2, 2: 3}, {1: {"goal": 7}})
    same = counters.reset({0: 1, 1: 2, 2: 3}, {env: {"goal": 7} for env in range(3)})
    assert [same[env].state[1] for env in range(3)] == [7, 7, 7]


def test_all_pictures_are_drawn_by_one_call_and_only_when_looked_at():
    vectors = SyncVectorEnv([lambda: Counter("rgb_array")] * 3, autoreset_mode="Disabled")
    environment = GymVectorEnvironment(vectors)
    vectors.call("rendered")
    at_first = vectors.call("rendered")
    begun = environment.reset({0: 1, 1: 2, 2: 3})
    step = step_all(environment, 1.0)
    assert vectors.call("rendered") == at_first
    pictures = [step.results[env].observation.images["render"].pixels for env in range(3)]
    assert vectors.call("rendered") == tuple(number + 1 for number in at_first)
    assert all(picture[0, 0, 0] == 10 for picture in pictures)
    with pytest.raises(RenderingError):
        _ = begun[0].images["render"].pixels
    environment.reset({0: 9})
    later = step_all(environment, 2.0)
    assert [later.results[env].observation.images["render"].pixels[0, 0, 0] for env in range(3)] == [20, 30, 30]
    environment.close()


def test_where_the_simulator_draws_the_next_episode_already_the_end_is_unseen():
    environment = make(1, id="Counter-v0", kwargs={"goal": 2}, autoreset_mode="same_step", render=True)
    environment.reset({0: 1})
    before = step_all(environment, 1.0).results[0].observation
    assert before.images["render"].pixels[0, 0, 0] == 10
    step = step_all(environment, 1.0)
    assert step.unseen == {0} and step.results[0].observation is before
    assert step.results[0].info["final_obs"]["count"] == 2
    assert step.begun[0].images["render"].pixels[0, 0, 0] == 0
    environment.close()


def test_a_time_limit_of_ones_own_is_told():
    environment = make(1, id="Counter-v0", autoreset_mode="same_step", kwargs={"max_episode_steps": 9})
    assert environment.spec.max_episode_steps == 9
    environment.close()


def test_the_time_limit_is_left_to_the_session_where_it_can_reset():
    kwargs = {"goal": 1000}
    for mode, ends in ((None, False), ("next_step", True)):
        environment = make(1, id="Counter-v0", kwargs=kwargs, autoreset_mode=mode)
        assert environment.spec.max_episode_steps == 50
        environment.reset({0: 1})
        assert any(step_all(environment, 1.0).results[0].truncated for _ in range(50)) is ends
        environment.close()


@pytest.mark.parametrize(("value", "words"), [(1.9, "RuntimeError: the motor burnt out"), (2.0, "process has ended")])
@pytest.mark.parametrize("broken", [0, 2])
def test_a_process_that_fails_is_told_in_a_line_and_nothing_hangs(value, words, broken):
    environment = make(id="Breaks-v0", vectorization_mode="async")
    environment.reset({0: 1, 1: 2, 2: 3})
    with pytest.raises(EnvironmentFault, match=f"an environment of Breaks-v0 has failed: .*{words}$") as caught:
        environment.step({env: np.array([value if env == broken else 1.0]) for env in range(3)})
    assert "\n" not in str(caught.value)
    with pytest.raises(EnvironmentFault, match=words):
        environment.reset({0: 1})
    processes = environment._env.processes
    environment.close()
    environment.close()
    assert not any(process.is_alive() for process in processes)


def test_processes_that_hang_are_ended(monkeypatch):
    monkeypatch.setattr("taketwo.envs.gym_processes.CLOSE_TIMEOUT_S", 0.2)
    environment = make(2, id="Breaks-v0", vectorization_mode="async")
    environment.reset({0: 1, 1: 2})
    environment._env.step_async(np.array([[1.0], [0.75]], np.float32))  # what a step waits for when it is given up
    environment.close()
    assert not any(process.is_alive() for process in environment._env.processes)


def test_an_interrupt_from_the_terminal_does_not_end_the_processes():
    before = signal.getsignal(signal.SIGINT)
    environment = make(vectorization_mode="async")
    environment.reset({0: 1, 1: 2, 2: 3})
    for process in environment._env.processes:
        os.kill(process.pid, signal.SIGINT)
    assert len(step_all(environment).results) == 3
    assert signal.getsignal(signal.SIGINT) is before
    environment.close()


def test_wrong_widths_and_numbers_are_refused(counters):
    counters.reset({0: 1, 1: 2, 2: 3})
    with pytest.raises(EnvironmentFault, match=r"Counter-v0 takes \(1,\) actions, got \(2,\)"):
        counters.step({0: np.zeros(2)})
    with pytest.raises(EnvironmentFault, match="has environments 0 to 2, not 3"):
        counters.step({3: np.ones(1)})
    with pytest.raises(EnvironmentFault, match="has environments 0 to 2, not -1"):
        counters.reset({-1: 0})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"id": "CartPole-v99"}, "CartPole"),
        ({"id": "no_such_module:Thing-v0"}, "no_such_module"),
        ({"kwargs": {"wheels": 4}}, "wheels"),
        ({"kwargs": {"wheels": 4}, "vectorization_mode": "async"}, "wheels"),
        ({"id": "Counter-v0", "vectorization_mode": "vector_entry_point"}, "vector entry point"),
        ({"vectorization_mode": "vector_entry_point", "autoreset_mode": "disabled"}, "autoreset_mode"),
        ({"kwargs": {"max_episode_steps": 9}}, "max_episode_steps where the session resets"),
        ({"control_hz": 0.0}, "control_hz"),
        ({"num_envs": 0}, "num_envs must be 1 or more"),
    ],
)
def test_what_cannot_be_made_is_said_in_one_line(options, words):
    with pytest.raises(ConfigError, match=words) as caught:
        make(**options)
    assert "\n" not in str(caught.value)


def test_vectors_that_do_not_tell_their_mode_are_refused():
    with pytest.raises(
        ConfigError, match="Drift: its metadata tell autoreset_mode None, which must be one of Disabled"
    ):
        GymVectorEnvironment(Drift(2, None))


def test_what_is_told_of_all_is_not_taken_apart():
    infos = {
        "each": np.array([1.0, 2.0, 3.0]),
        "of_some": np.array([4.0, 0.0, 0.0]),
        "_of_some": np.array([True, False, False]),
        "names": ["a", "b", "c"],
        "limits": np.array([0.0, 5.0]),
        "ragged": [[1], [1, 2]],
        "level": np.array(7),
        "_unmasked": np.array([True]),
        "inner": {"each": np.arange(3), "limits": (1, 2)},
    }
    last = info_of(infos, 2, 3)
    assert last.pop("limits").tolist() == [0.0, 5.0]
    assert last.pop("_unmasked").tolist() == [True]
    assert last == {
        "each": 3.0,
        "names": "c",
        "ragged": [[1], [1, 2]],
        "level": 7,
        "inner": {"each": 2, "limits": (1, 2)},
    }
    assert info_of(infos, 0, 3)["of_some"] == 4.0


def test_the_filters_for_warnings_are_afterwards_what_they_were():
    before = list(warnings.filters)
    one, other = (make(1, id="Counter-v0", vectorization_mode="async") for _ in range(2))
    hushed = list(warnings.filters)
    one.close()
    assert list(warnings.filters) == hushed != before
    other.close()
    other.close()
    assert list(warnings.filters) == before
    with pytest.raises(ConfigError, match="wheels"):
        make(kwargs={"wheels": 4}, vectorization_mode="async")
    assert list(warnings.filters) == before
