"""Policy, executor, filters and guard behind one face."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from taketwo.control.base import ActionFilter, Executor
from taketwo.control.guard import HandoverGuard
from taketwo.errors import EnvironmentFault
from taketwo.types import Decision, EnvironmentSpec, EpisodeInfo, FloatArray, Observation


class Controller:
    """Executor, then filters on the single executed action, then guard.

    Filters and guard begin every episode from the measured state where it is the same quantities as the
    action (`spec.state_names` equals `spec.action_names`), and from the first action elsewhere.
    """

    def __init__(
        self,
        executor: Executor,
        spec: EnvironmentSpec,
        filters: Sequence[ActionFilter] = (),
        guard: HandoverGuard | None = None,
        *,
        clip: bool = False,
    ) -> None:
        """Nothing moves yet.

        Args:
            filters: applied in this order.
            clip: keep what is sent within the environment's action limits. Off by default: then an
                environment gets what the policy asked for, bit for bit.
        """
        self._executor = executor
        self._spec = spec
        self._filters = tuple(filters)
        self._guard = guard
        self._clip = clip
        self._begun = False

    @property
    def stalls(self) -> int:
        """How often a step had to wait because no action was ready in time."""
        return self._executor.stalls

    @property
    def asks(self) -> bool:
        """Whether `decide` would ask the policy about the observation that it is given, and wait for the answer."""
        return self._executor.asks

    def reset(self, episode: EpisodeInfo, observation: Observation) -> None:
        """Forget the last episode: policy, chunks, filters and guard.

        Raises:
            EnvironmentFault: the measured state is not finite.
            ConfigError: the guard cannot see a grasp here.
        """
        self._executor.reset(episode)
        initial = self._measured(observation)
        if initial is not None:
            self._begin_filters(initial)
        self._begun = initial is not None
        if self._guard is not None:
            self._guard.reset(initial, observation)

    def decide(self, observation: Observation) -> Decision:
        """The action for this step: `asked` by the policy, and `sent` after filters, guard and limits."""
        planned = self._executor.next_action(observation)
        asked = np.array(planned.action, dtype=np.float64)
        if not self._begun:
            self._begin_filters(asked)
            self._begun = True
        sent, guarded = asked.copy(), False
        for action_filter in self._filters:
            sent = action_filter(sent, observation)
        if self._guard is not None:
            sent, guarded = self._guard(sent, observation)
        if self._clip:
            sent = np.clip(sent, self._spec.action_low, self._spec.action_high)
        used, read = planned.prompt_used, planned.prompt_read
        return Decision(asked=asked, sent=sent, guarded=guarded, prompt_used=used, prompt_read=read)

    def close(self) -> None:
        """Stop background work and close the policy."""
        self._executor.close()

    def _measured(self, observation: Observation) -> FloatArray | None:
        """The state as an action, or None where they are different things."""
        if self._spec.state_names != self._spec.action_names:
            return None
        state = np.array(observation.state, dtype=np.float64)
        if not np.isfinite(state).all():
            names = [self._spec.state_names[i] for i in np.flatnonzero(~np.isfinite(state))]
            raise EnvironmentFault(f"the measured state has NaN or infinite values in {', '.join(names)}")
        return state

    def _begin_filters(self, initial: FloatArray) -> None:
        for action_filter in self._filters:
            action_filter.reset(initial)
