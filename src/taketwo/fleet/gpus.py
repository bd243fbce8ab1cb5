"""Who gets which GPU: drawing and inference on the same one end each other's processes now and then."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from taketwo.policies.base import PolicyConfig

DRIVER = Path("/proc/driver/nvidia/gpus")
"""A folder for each GPU that NVIDIA's driver has."""

ON_PROCESSOR = ("osmesa", "disable", "disabled", "off", "false", "0")
"""Values of `MUJOCO_GL` with which nothing is drawn on a GPU."""


@dataclass(frozen=True)
class Placement:
    """Who gets which GPU.

    Attributes:
        server: variables for the policy server.
        workers: variables for the workers.
        warning: what may go wrong; None where nothing.
    """

    server: Mapping[str, str] = field(default_factory=dict)
    workers: Mapping[str, str] = field(default_factory=dict)
    warning: str | None = None


def visible_gpus(driver: Path = DRIVER) -> list[str]:
    """The GPUs that processes may use, as `CUDA_VISIBLE_DEVICES` names them."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        names = [name.strip() for name in given.split(",")]
        return [name for name in names if name and name != "-1"]
    return [str(number) for number, _ in enumerate(driver.iterdir())] if driver.is_dir() else []


def infers_on_gpu(policy: PolicyConfig) -> bool:
    """Whether a policy may use a GPU: one that has the option `device`, unless that is the processor."""
    return str(getattr(policy, "device", "cpu")) != "cpu" or type(policy).__name__ == "OpenpiConfig"


def place(policy: PolicyConfig, *, shared: bool, gpus: list[str]) -> Placement:
    """Keep drawing and inference apart where there are GPUs enough, and warn where there are not.

    Policies that want a GPU look at pictures, so something is drawn.

    Args:
        shared: whether the workers share a policy server; each has the policy itself otherwise.
        gpus: as `visible_gpus` tells.
    """
    if not gpus or not infers_on_gpu(policy):
        return Placement()
    if shared and len(gpus) > 1:
        workers = {"CUDA_VISIBLE_DEVICES": ",".join(gpus[1:])}
        if gpus[1].isdecimal():
            workers["MUJOCO_EGL_DEVICE_ID"] = gpus[1]
        return Placement({"CUDA_VISIBLE_DEVICES": gpus[0]}, workers)
    if os.environ.get("MUJOCO_GL", "").lower() in ON_PROCESSOR:
        return Placement()
    remedy = (
        "MUJOCO_GL=osmesa draws on the processor"
        if len(gpus) == 1
        else "--inference=server gives the policy a GPU of its own"
    )
    return Placement(
        warning=f"policy and simulators use the same GPU: they can end each other's processes, and episodes are tried "
        f"again then; {remedy}"
    )
