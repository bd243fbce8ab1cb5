import numpy as np
import pytest

from taketwo.envs.several import Several
from taketwo.errors import ConfigError, EnvironmentFault, RenderingError
from taketwo.testing import PointEnvironment, check_env
from tests.session.vector_support import Breaks


class Closes(PointEnvironment):
    closed = 0

    def __init__(self, fails=False):
        super().__init__()
        self._fails = fails

    def close(self):
        self.closed += 1
        if self._fails:
            raise RuntimeError("stuck")


def test_it_keeps_the_contract_of_environments_that_step_together():
    check_env(lambda: Several.made_by(PointEnvironment, 3))


def test_each_is_what_it_would_be_alone():
    several, alone = Several.made_by(PointEnvironment, 3), PointEnvironment()
    together = several.reset({env: env + 5 for env in range(3)})
    first = alone.reset(6)
    assert np.array_equal(together[1].state, first.state)
    for k in range(5):
        step = several.step({env: np.array([0.01 * k, 0.02]) for env in range(3)})
        result = alone.step(np.array([0.01 * k, 0.02]))
        assert np.array_equal(step.results[1].observation.state, result.observation.state)
        assert step.results[1].reward == result.reward


def test_those_that_get_no_action_and_no_seed_stay_where_they_are():
    several = Several.made_by(PointEnvironment, 3)
    several.reset({0: 1, 1: 2, 2: 3})
    before = several.environments[1]._position.copy()
    step = several.step({0: np.full(2, 0.1), 2: np.full(2, 0.1)})
    assert sorted(step.results) == [0, 2]
    assert sorted(several.reset({0: 4})) == [0]
    assert np.array_equal(several.environments[1]._position, before)


def test_options_go_to_the_environment_that_they_are_for():
    class Listens(PointEnvironment):
        def reset(self, seed, options=None):
            self.told = options
            return super().reset(seed, options)

    several = Several.made_by(Listens, 2)
    several.reset({0: 1, 1: 2}, {1: {"init_state": 7}})
    assert [environment.told for environment in several.environments] == [None, {"init_state": 7}]


@pytest.mark.parametrize(("how", "said"), [("raises", "the environment failed: ValueError"), ("fault", "too hot")])
def test_one_that_fails_is_told_and_the_others_go_on(how, said):
    several = Several([PointEnvironment(), Breaks(how, step=0), PointEnvironment()])
    several.reset({0: 1, 1: 2, 2: 3})
    step = several.step({env: np.zeros(2) for env in range(3)})
    assert sorted(step.results) == [0, 2]
    assert sorted(step.faults) == [1]
    assert isinstance(step.faults[1], EnvironmentFault)
    assert said in str(step.faults[1])
    several.reset({1: 9})
    assert sorted(several.step({env: np.zeros(2) for env in range(3)}).results) == [0, 1, 2]


def test_an_error_of_another_kind_is_a_fault_of_that_environment_too():
    class Dark(PointEnvironment):
        def step(self, action):
            raise RenderingError("no context")

    several = Several([PointEnvironment(), Dark()])
    several.reset({0: 1, 1: 2})
    step = several.step({0: np.zeros(2), 1: np.zeros(2)})
    assert sorted(step.results) == [0]
    assert str(step.faults[1]) == "no context"


def test_where_one_cannot_be_made_those_before_it_are_closed():
    made = []

    def make():
        if len(made) == 2:
            raise ConfigError("no third")
        made.append(Closes())
        return made[-1]

    with pytest.raises(ConfigError, match="no third"):
        Several.made_by(make, 3)
    assert [environment.closed for environment in made] == [1, 1]


def test_all_are_closed_once_also_where_one_fails_to():
    environments = [Closes(), Closes(fails=True), Closes()]
    with pytest.raises(RuntimeError, match="stuck"):
        Several(environments).close()
    assert [environment.closed for environment in environments] == [1, 1, 1]
