"""Real-time chunking (Black et al. 2025, arXiv:2506.07339) as LeRobot has it: a chunk goes on with the running one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from taketwo.types import RunningChunk

if TYPE_CHECKING:
    from taketwo.policies.lerobot.checkpoint import Checkpoint

ACTION = "action"


def can_continue(policy: Any) -> bool:
    """Whether LeRobot has real-time chunking for this policy."""
    told = getattr(policy, "supports_rtc", None)
    if callable(told):
        return bool(told())
    # Before 0.6 policies do not tell; those that have it can set it up, and so can pi0_fast, which then ignores it.
    return hasattr(policy, "init_rtc_processor") and policy.config.type != "pi0_fast"


def enable(policy: Any) -> None:
    """Set it up, with the checkpoint's own settings or else LeRobot's defaults."""
    from lerobot.policies.rtc.configuration_rtc import RTCConfig

    policy.config.rtc_config = getattr(policy.config, "rtc_config", None) or RTCConfig()
    policy.config.rtc_config.enabled = True
    if hasattr(policy, "init_rtc_processor"):
        policy.init_rtc_processor()


def continuation(
    checkpoint: Checkpoint, batch: dict[str, Any], running: Sequence[RunningChunk]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The preprocessed batch, and what `predict_action_chunk` is told beside it.

    The actions that are left go through the policy's own preprocessor with the observation, which normalises them,
    and takes them relative to the state where the policy is trained so.

    Args:
        running: one for each observation, all of one shape and delay.
    """
    import torch

    left_over = torch.from_numpy(np.stack([chunk.actions for chunk in running])).float()
    processed = checkpoint.preprocessor({**batch, ACTION: left_over})
    delay = running[0].delay_steps
    further = {"prev_chunk_left_over": processed.pop(ACTION), "inference_delay": delay}
    horizon = checkpoint.config.rtc_config.execution_horizon
    if delay > horizon:  # what is executed before the answer comes is fixed, however short the horizon
        further["execution_horizon"] = delay
    return processed, further
