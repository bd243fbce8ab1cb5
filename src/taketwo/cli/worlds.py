"""What a session runs in: one environment, or several that step together, each with its policies and its loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from taketwo.cli.config import RunConfig
from taketwo.cli.leaving import Leaving
from taketwo.cli.making import closing, made, one
from taketwo.cli.prompts import Prompt, prompting, watched
from taketwo.cli.resolve import Source
from taketwo.control.controller import Controller
from taketwo.control.vector import Batched, Concurrent, Controllers, Seat, Table
from taketwo.envs.base import Environment, MakesVectors, Renders, Snapshots, VectorEnvironment
from taketwo.envs.grid import WithGrid
from taketwo.envs.several import Several
from taketwo.errors import ConfigError
from taketwo.policies.base import InfersBatches, Policy, RelaysPrompt, SharesWeights
from taketwo.policies.prompting import TellsPrompt
from taketwo.session.config import SessionConfig
from taketwo.session.loop import Session
from taketwo.session.sinks import Sink
from taketwo.session.vector import VectorSession
from taketwo.types import EnvironmentSpec


@dataclass(frozen=True)
class Driver:
    """What decides in a session.

    Attributes:
        close: frees it, and the policy.
        policy: the policy as it was made.
        watchers: sinks that belong to it.
    """

    controller: Controller | Controllers
    close: Callable[[], None]
    policy: Policy
    watchers: Sequence[Sink]


class World(Protocol):
    """The environments of a session.

    Attributes:
        spec: what each of them is.
        shown_spec: what the one is that is filmed and shown.
        drawn_by: what knows all cameras; None where that cannot be asked.
    """

    spec: EnvironmentSpec
    shown_spec: EnvironmentSpec
    drawn_by: Renders | None

    def driver(self) -> Driver:
        """The policy, and what stands between it and the environments.

        Raises:
            TakeTwoError: it cannot be made.
        """
        ...

    def session(
        self, driver: Driver, config: SessionConfig, sinks: Sequence[Sink], shown: Sequence[Sink], **options: Any
    ) -> Session | VectorSession:
        """The session.

        Args:
            sinks: of all environments.
            shown: of the one that is shown.
            options: what both kinds of session take besides.
        """
        ...


def open_world(config: RunConfig, source: Source, prompt: Prompt, stack: ExitStack, leaving: Leaving) -> World:
    """Make the environments; the stack closes them.

    Raises:
        TakeTwoError: they cannot be made.
    """
    if config.vector.wanted_for(config.env.options):
        return _Many(config, source, prompt, stack, leaving)
    return _One(config, source, prompt, stack, leaving)


class _One:
    def __init__(self, config: RunConfig, source: Source, prompt: Prompt, stack: ExitStack, leaving: Leaving) -> None:
        environment = made("env", config.env.options, source, lambda: one(config.env))
        stack.push(leaving.closing("the environment", environment.close))
        self._config, self._source = config, source
        self._environment = prompting(config, traced(config, environment), prompt)
        self.spec = self.shown_spec = self._environment.spec
        self.drawn_by: Renders | None = environment if isinstance(environment, Renders) else None

    def driver(self) -> Driver:
        """One controller around one policy."""
        asked = _make_policy(self._config, self._source, self.spec)
        policy, watchers = watched(self._config, asked, self.spec)
        controller = _make_controller(self._config, self._source, policy, self.spec)
        return Driver(controller, controller.close, asked, watchers)

    def session(
        self, driver: Driver, config: SessionConfig, sinks: Sequence[Sink], shown: Sequence[Sink], **options: Any
    ) -> Session:
        """The loop for one."""
        assert isinstance(driver.controller, Controller)
        return Session(self._environment, driver.controller, config, [*sinks, *shown], **options)


class _Many:
    def __init__(self, config: RunConfig, source: Source, prompt: Prompt, stack: ExitStack, leaving: Leaving) -> None:
        if config.control.executor == "asynchronous":
            raise ConfigError(
                "--control.executor: environments that step together wait for the policy; asynchronous is for one alone"
            )
        options = config.env.options
        environment = made("env", options, source, lambda: _make_environments(config, prompt))
        stack.push(leaving.closing("the environments", environment.close))
        self._config, self._source = config, source
        self._environment = WithGrid(environment, config.vector.shown_env)
        self.spec, self.shown_spec = environment.spec, self._environment.shown_spec
        self.drawn_by: Renders | None = None

    def driver(self) -> Driver:
        """A controller for each, around what of the policy each can have."""
        config, source = self._config, self._source
        with ExitStack() as stack:
            first = _make_policy(config, source, self.spec)
            stack.callback(closing, "the policy", first.close)
            table, policies = self._share(first, stack)
            watchers: list[Sink] = []
            controllers = []
            for env, policy in enumerate(policies):
                told: Policy = TellsPrompt(policy, first)
                if env == config.vector.shown_env:
                    told, watchers = watched(config, policy, self.spec, first)
                controllers.append(_make_controller(config, source, told, self.spec))
            stack.pop_all()
        controller = Controllers(controllers, table)
        shared = isinstance(first, SharesWeights) and not isinstance(first, InfersBatches)
        close = partial(_close_both, controller, first) if shared else controller.close
        return Driver(controller, close, first, watchers)

    def _share(self, first: Policy, stack: ExitStack) -> tuple[Table | None, Sequence[Policy]]:
        """What each environment asks, out of the policy that was made."""
        count = self._config.vector.num_envs
        if isinstance(first, InfersBatches):
            table = Table(Batched(first))
            return table, [Seat(table, env) for env in range(count)]
        policies: list[Policy] = [] if isinstance(first, SharesWeights) else [first]
        while len(policies) < count:
            own = first.for_client() if isinstance(first, SharesWeights) else self._another()
            stack.callback(closing, "the policy", own.close)
            policies.append(own)
        if isinstance(first, RelaysPrompt):
            table = Table(Concurrent(policies))
            return table, [Seat(table, env) for env in range(count)]
        return None, policies

    def _another(self) -> Policy:
        return _make_policy(self._config, self._source, self.spec)

    def session(
        self, driver: Driver, config: SessionConfig, sinks: Sequence[Sink], shown: Sequence[Sink], **options: Any
    ) -> VectorSession:
        """The loop for all."""
        assert isinstance(driver.controller, Controllers)
        return VectorSession(
            self._environment,
            driver.controller,
            config,
            sinks,
            shown=shown,
            shown_env=self._config.vector.shown_env,
            shown_spec=self.shown_spec,
            **options,
        )


def traced(config: RunConfig, environment: Environment) -> Environment:
    """The environment, telling its full state at every step where that is kept."""
    if not (config.dataset.wanted and config.dataset.trace and isinstance(environment, Snapshots)):
        return environment
    from taketwo.envs.traced import Traced

    return Traced(environment)


def _make_environments(config: RunConfig, prompt: Prompt) -> VectorEnvironment:
    options = config.env.options
    if not isinstance(options, MakesVectors):
        return Several.made_by(
            lambda: prompting(config, traced(config, options.make()), prompt), config.vector.num_envs
        )
    environment = options.make_vector(config.vector.num_envs)
    if config.prompt_id is not None and prompt() is None:
        environment.close()
        raise ConfigError(f"--prompt_id needs --prompt or --prompt_file where {environment.spec.name!r} is simulated")
    return environment


def _make_policy(config: RunConfig, source: Source, spec: EnvironmentSpec) -> Policy:
    return made("policy", config.policy.options, source, lambda: config.policy.options.make(spec))


def _make_controller(config: RunConfig, source: Source, policy: Policy, spec: EnvironmentSpec) -> Controller:
    """The controller, which owns the policy from then on; without one the policy is closed here."""
    with ExitStack() as stack:
        stack.callback(closing, "the policy", policy.close)
        controller = made("control", config.control, source, lambda: config.control.make(policy, spec))
        stack.pop_all()
    return controller


def _close_both(controller: Controllers, policy: Policy) -> None:
    try:
        controller.close()
    finally:
        policy.close()
