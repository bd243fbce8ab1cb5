"""Checks that an adapter keeps its contract, for the tests of this package and of yours.

    from taketwo.testing import check_env

    def test_my_environment_keeps_the_contract():
        check_env(MyEnvConfig().make)

Each raises `ContractError`, an `AssertionError`, that names what was broken.
"""

from taketwo.testing.contract import ContractError
from taketwo.testing.environments import check_env
from taketwo.testing.point import PointEnvironment, SteeringController
from taketwo.testing.policies import check_policy
from taketwo.testing.sinks import check_sink

__all__ = ["ContractError", "PointEnvironment", "SteeringController", "check_env", "check_policy", "check_sink"]
