"""What `check_policy` asks of policies that clients of a server can share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from taketwo.policies.base import InfersBatches, Policy, SharesWeights
from taketwo.testing.contract import ContractError, require
from taketwo.testing.rollouts import Rollout, check_chunk
from taketwo.types import EnvironmentSpec, Observation


def check_batches(
    policy: Policy, observations: Sequence[Observation], spec: EnvironmentSpec, tolerance: float | None
) -> None:
    """Whether `infer_batch` answers each observation as `infer` does, whatever was asked before.

    Args:
        tolerance: see `check_policy`.

    Raises:
        ContractError: it does not.
    """
    assert isinstance(policy, InfersBatches)
    chunks = policy.infer_batch(observations)
    count = len(observations)
    require(len(chunks) == count, f"infer_batch gives {len(chunks)} chunks for {count} observations")
    for chunk in chunks:
        check_chunk(chunk, spec)
    if tolerance is None:
        return
    for index in reversed(range(count)):  # in another order, so that what it remembers shows
        among, alone = chunks[index].actions, policy.infer(observations[index]).actions
        require(
            among.shape == alone.shape and (np.abs(among - alone) <= tolerance * np.maximum(1, np.abs(alone))).all(),
            f"infer_batch gives other actions for observation {index + 1} of {count} than infer: it mixes them up, "
            "remembers others, or draws noise (which batch_tolerance=None allows)",
        )


def check_clients(
    policy: Policy, first: Rollout, second: Rollout, spec: EnvironmentSpec, *, deterministic: bool
) -> None:
    """Whether the policies of `for_client` have states of their own, and live on when one of them is closed.

    Args:
        first: what `policy` itself answered.
        second: what it answered in another episode.
        deterministic: also require that they answer the same.

    Raises:
        ContractError: they have not.
    """
    assert isinstance(policy, SharesWeights)
    one, two = policy.for_client(), policy.for_client()
    try:
        for client in (one, two):
            require(tuple(client.cameras) == tuple(policy.cameras), "for_client gives a policy with other cameras")
        _play([(one, first), (two, second)], spec, deterministic, "while another client takes turns with it")
        one.close()
        when = "when another client's policy has been closed"
        with _failing(when):
            _play([(two, second)], spec, deterministic, when)
            _play([(policy, first)], spec, deterministic, when)
            policy.for_client().close()
    finally:
        one.close()
        two.close()


def _play(clients: Sequence[tuple[Policy, Rollout]], spec: EnvironmentSpec, deterministic: bool, when: str) -> None:
    """Ask each client's policy what its episode's was asked, in turns, and compare."""
    for policy, rollout in clients:
        policy.reset(rollout.episode)
    for step in range(max(len(rollout.chunks) for _, rollout in clients)):
        for policy, rollout in clients:
            if step >= len(rollout.chunks):
                continue
            chunk = policy.infer(rollout.observations[step])
            check_chunk(chunk, spec)
            require(
                not deterministic or np.array_equal(chunk.actions, rollout.chunks[step]),
                f"a policy of for_client gives other actions than its original {when}",
            )


@contextmanager
def _failing(when: str) -> Iterator[None]:
    try:
        yield
    except ContractError:
        raise
    except Exception as error:
        raise ContractError(f"a policy of for_client, or its original, fails {when}: {error!r}") from error
