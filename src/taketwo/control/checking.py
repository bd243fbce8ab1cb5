"""Every chunk is checked once, when it comes from the policy; what follows may rely on it."""

from __future__ import annotations

from dataclasses import replace

from taketwo.errors import ConfigError, one_of
from taketwo.policies.base import Policy
from taketwo.policies.checking import checked_actions
from taketwo.policies.wrapping import PolicyWrapper
from taketwo.types import ActionChunk, EnvironmentSpec, Observation


class CheckedPolicy(PolicyWrapper):
    """A policy whose chunks are sure to be (H, D) finite float64, H >= 1, in memory of their own."""

    def __init__(self, policy: Policy, spec: EnvironmentSpec) -> None:
        """Wrap a policy.

        Raises:
            ConfigError: it looks at a camera that the environment does not have.
        """
        for camera in policy.cameras:
            if camera not in spec.cameras:
                raise ConfigError(
                    f"the policy looks at a camera that is missing: {one_of('camera', camera, spec.cameras)}"
                )
        super().__init__(policy)
        self._spec = spec

    def infer(self, observation: Observation) -> ActionChunk:
        """Ask the policy and check its answer.

        Raises:
            PolicyError: the answer is no chunk of actions for this environment.
        """
        chunk = super().infer(observation)
        return replace(chunk, actions=checked_actions(chunk, self._spec))
