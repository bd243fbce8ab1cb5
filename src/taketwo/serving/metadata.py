"""What openpi's clients are told when they connect: the server's metadata."""

from __future__ import annotations

from typing import Any

from taketwo import __version__
from taketwo.policies.base import HasMetadata, ReadsPrompt
from taketwo.policies.prompting import reads_prompt
from taketwo.serving.environments import ServedEnvironment
from taketwo.serving.hosting import PolicyHost
from taketwo.wire.description import PROTOCOL, describe_spec


def metadata_of(
    host: PolicyHost, environment: ServedEnvironment, *, default_prompt: str | None, all_cameras: bool
) -> dict[str, Any]:
    """The metadata: the policy's own, `action_dim` for everybody, and the rest as `taketwo.wire.description` says.

    Args:
        all_cameras: ask for every camera, also those that the policy does not look at, such as for a recording
            that other policies are to be asked from.
    """
    policy, spec, layout = host.policy, environment.spec, environment.layout
    size = next(iter(spec.cameras.values()), None)
    own = policy.metadata if isinstance(policy, HasMetadata) else {}
    return {
        **{key: value for key, value in own.items() if key != "taketwo"},
        "action_dim": spec.action_dim,
        "taketwo": {
            "protocol": PROTOCOL,
            "version": __version__,
            "reset": True,
            "extras": list(host.extras),
            "cameras": list(spec.cameras if all_cameras else policy.cameras),
            **describe_spec(spec, named=environment.named),
            "layout": {
                "name": environment.layout_name,
                "mapping": layout.mapping,
                "axes": layout.axes,
                "height": size.height if size else None,
                "width": size.width if size else None,
            },
            "prompt": {
                "default": default_prompt,
                "checkpoint": policy.own_prompt if isinstance(policy, ReadsPrompt) else None,
                "read": reads_prompt(policy),
            },
        },
    }
