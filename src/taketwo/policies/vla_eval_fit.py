"""Whether a model server of vla-eval and an environment go together, by what the server says in its greeting."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from taketwo.errors import PolicyError
from taketwo.policies.layouts import Layout, Picture, Prompt, StatePart
from taketwo.types import EnvironmentSpec
from taketwo.wire.vla_eval import PICTURE, RAW, Component, components, mismatch

log = logging.getLogger(__name__)

STATE_KEYS = (("states",), ("state",))
"""Benchmarks send either; most model servers read both, some only one."""


def check_fit(
    hello: Mapping[str, Any],
    name: str,
    spec: EnvironmentSpec,
    layout: Layout,
    taken: Mapping[str, Component],
    state_convention: str | None,
) -> None:
    """Compare what the server declares with what there is.

    Servers leave out what they do not know: `actions: raw` is common, and StarVLA's tells of the gripper alone. So
    only what contradicts is a mismatch, and the width of every action is checked again when it comes.

    Args:
        hello: the payload of the server's HELLO.
        name: the server's address.
        layout: what it is sent.
        taken: the parts of the environment's actions, as far as the user told.
        state_convention: that of the environment's state, if the user told.

    Raises:
        PolicyError: they do not go together.
    """
    try:
        actions, wanted = components(hello.get("action_spec")), components(hello.get("observation_spec"))
    except ValueError as error:
        raise PolicyError(f"the model server at {name} sent an unusable greeting: {error}") from error
    faults = [
        *_action_faults(actions, taken, spec),
        *_observation_faults(wanted, layout, state_convention),
        *_request_faults(hello.get("observation_params"), layout, name),
    ]
    if faults:
        raise PolicyError(f"the model server at {name} does not fit environment {spec.name!r}: {'; '.join(faults)}")


def _action_faults(given: Mapping[str, Component], taken: Mapping[str, Component], spec: EnvironmentSpec) -> list[str]:
    total = sum(part.dims for part in given.values())
    faults = []
    if total > spec.action_dim:
        faults.append(f"it gives actions of {total} numbers, the environment takes {spec.action_dim}")
    for name, part in taken.items():
        if name not in given:
            faults.append(f"it does not declare {name!r} of action_spec, but {', '.join(given) or 'nothing'}")
        elif reason := mismatch(given[name], part):
            faults.append(f"its actions have {name} as {reason}")
    return faults


def _observation_faults(wanted: Mapping[str, Component], layout: Layout, convention: str | None) -> list[str]:
    faults = []
    pictures, states = _pictures(layout), _states(layout)
    asked = sum(part.convention == PICTURE.convention for part in wanted.values())
    if asked > pictures:
        faults.append(f"it looks at {asked} pictures and gets {pictures}, see mapping")
    state = wanted.get("state")
    if state is None:
        return faults
    if not states:
        faults.append("it reads the state and gets none, see mapping")
    elif state.dims and state.dims not in states:
        faults.append(f"it reads a state of {state.dims} numbers and gets {states[0]}, see mapping")
    if state.convention != RAW and convention is None:
        log.info("the model server reads the state as %s; give state_convention to compare it", state.convention)
    elif state.convention != RAW and convention is not None:
        reason = mismatch(Component(0, convention), state)
        faults += [f"it is given the state as {reason}"] if reason else []
    return faults


def _request_faults(params: Any, layout: Layout, name: str) -> list[str]:
    """What the server asks of benchmarks by name; only two of the names are common to all."""
    asked = dict(params) if isinstance(params, Mapping) else {}
    faults = []
    if asked.pop("send_wrist_image", False) and _pictures(layout) < 2:
        faults.append("it looks at a second picture, from the wrist, and gets one at most, see mapping")
    if asked.pop("send_state", False) and not _states(layout):
        faults.append("it reads the state and gets none, see mapping")
    if asked:
        told = ", ".join(f"{key}={value}" for key, value in asked.items())
        log.warning("the model server at %s expects what cannot be compared: %s", name, told)
    return faults


def _pictures(layout: Layout) -> int:
    return sum(isinstance(source, Picture) for source in layout.entries.values())


def _states(layout: Layout) -> list[int]:
    parts = (layout.entries.get(key) for key in STATE_KEYS)
    return [part.stop - part.start for part in parts if isinstance(part, StatePart)]


def reads_prompt(hello: Mapping[str, Any], layout: Layout) -> bool:
    """Whether the server reads instructions; one that declares nothing is taken to."""
    declared = components(hello.get("observation_spec"))
    sent = any(isinstance(source, Prompt) for source in layout.entries.values())
    return sent and (not declared or "language" in declared)
