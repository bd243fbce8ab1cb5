"""`check_policy`."""

from __future__ import annotations

from taketwo.envs.base import Environment
from taketwo.policies.base import InfersBatches, NeedsExtras, Policy, ReadsPrompt, SharesWeights
from taketwo.testing.capabilities import check_batches, check_clients
from taketwo.testing.contract import require
from taketwo.testing.rollouts import alike, roll_out
from taketwo.types import EnvironmentSpec


def check_policy(
    policy: Policy,
    environment: Environment,
    *,
    deterministic: bool = True,
    batch_tolerance: float | None = 1e-3,
) -> None:
    """Whether a policy keeps the contract of `taketwo.policies.base`, also of what it can do beyond `Policy`.

    Give the policy itself: a wrapper hides its capabilities. It is closed at the end.

    Args:
        environment: one of its own.
        deterministic: also require that the same seed gives the same actions.
        batch_tolerance: largest difference between an action of `infer_batch` and one of `infer`, absolute for
            actions up to 1 and relative beyond. None for a policy that draws noise: they differ anyway.

    Raises:
        ContractError: with what was broken.
    """
    spec = environment.spec
    try:
        _check_told(policy, spec)
        first = roll_out(policy, environment, seed=7)
        other = roll_out(policy, environment, seed=8)
        again = roll_out(policy, environment, seed=7)
        if deterministic:
            require(alike(first, again), "the same seed gives other actions, or reset does not forget the last episode")
        if isinstance(policy, InfersBatches):
            check_batches(policy, first.observations, spec, batch_tolerance if deterministic else None)
        if isinstance(policy, SharesWeights):
            check_clients(policy, first, other, spec, deterministic=deterministic)
    finally:
        policy.close()
    policy.close()


def _check_told(policy: Policy, spec: EnvironmentSpec) -> None:
    """What the policy tells of itself."""
    unknown = set(policy.cameras) - set(spec.cameras)
    require(not unknown, f"cameras names {sorted(unknown)}, which the environment does not have")
    if isinstance(policy, ReadsPrompt):
        own = policy.own_prompt
        require(own is None or isinstance(own, str), f"own_prompt is {own!r}, neither text nor None")
    if isinstance(policy, NeedsExtras):
        names = policy.extras
        require(
            isinstance(names, tuple) and all(isinstance(name, str) for name in names),
            f"extras is {names!r}, not a tuple of names",
        )
