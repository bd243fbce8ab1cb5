"""A virtual SO-101 rig, for tests and demonstrations without hardware.

Two arms of six Feetech STS3215 servos each, on pseudo-terminals, with the servos' memory table and packet protocol;
physics and pictures by MuJoCo. LeRobot's own drivers, unmodified, work on it. Linux only, and needs `taketwo[push]` for
MuJoCo.

    from taketwo.testing.so101 import VirtualRig, wave

    with VirtualRig() as rig:
        rig.leader.hand = wave()
        ...  # --robot.port={rig.follower_port} --teleop.port={rig.leader_port}
"""

from taketwo.testing.so101.arm import FOLLOWER, JOINTS, LEADER, LIMITS, REST
from taketwo.testing.so101.hand import Hand, Keyframes, hold, sweep, wave
from taketwo.testing.so101.picking import pick_and_place
from taketwo.testing.so101.protocol import ErrorBit
from taketwo.testing.so101.rig import PLUGIN, Arm, RigConfig, VirtualRig

__all__ = [
    "FOLLOWER",
    "JOINTS",
    "LEADER",
    "LIMITS",
    "PLUGIN",
    "REST",
    "Arm",
    "ErrorBit",
    "Hand",
    "Keyframes",
    "RigConfig",
    "VirtualRig",
    "hold",
    "pick_and_place",
    "sweep",
    "wave",
]
