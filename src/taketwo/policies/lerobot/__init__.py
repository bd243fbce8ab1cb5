"""Policies that LeRobot trained: any `PreTrainedPolicy` (ACT, Diffusion, SmolVLA, pi0 ...) with its own processors."""

from taketwo.policies.lerobot.config import LeRobotConfig

__all__ = ["LeRobotConfig"]
