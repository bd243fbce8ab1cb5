"""Both arms as physics has them, moved by hand, without a clock."""

import json
import time

import numpy as np
import pytest

from taketwo.errors import ConfigError
from taketwo.testing.so101 import JOINTS, LIMITS, REST, Keyframes, RigConfig, VirtualRig, hold, pick_and_place, wave
from taketwo.testing.so101.registers import REGISTERS, encode
from taketwo.testing.so101.scene import CUBE_HALF_M

POSE = np.array([0.3, -0.5, 0.4, 0.5, -0.4, 0.9])


@pytest.fixture
def rig():
    with VirtualRig(RigConfig(realtime=False)) as rig:
        yield rig


def write(servo, name, value):
    servo.write(REGISTERS[name].address, encode(REGISTERS[name], value))


def enable(arm):
    for servo in arm.bus.servos:
        write(servo, "Torque_Enable", 1)


def go(arm, pose):
    """Give the servos the goals of a pose in radians."""
    for servo, raw in zip(arm.bus.servos, arm.mounting.raw(pose), strict=True):
        write(servo, "Goal_Position", round(raw) - servo["Homing_Offset"])


def shown(arm):
    return np.array([servo["Present_Position"] for servo in arm.bus.servos])


def at(arm):
    """Joint positions in radians, as the servos show them."""
    offsets = [servo["Homing_Offset"] for servo in arm.bus.servos]
    return arm.mounting.positions(shown(arm) + offsets)


def test_the_follower_goes_where_its_servos_are_told(rig):
    enable(rig.follower)
    go(rig.follower, POSE)
    rig.advance(0.02)
    assert any(servo["Moving"] for servo in rig.follower.bus.servos)
    rig.advance(3)
    assert (
        np.degrees(np.abs(at(rig.follower) - POSE)).max() < 3
    )  # a proportional controller sags under the arm's weight
    assert np.abs(rig.world.positions - at(rig.follower)).max() < 0.01
    assert not any(servo["Moving"] for servo in rig.follower.bus.servos)


def test_a_stiffer_controller_sags_less(rig):
    enable(rig.follower)
    go(rig.follower, POSE)
    errors = []
    for p in (8, 32):
        for servo in rig.follower.bus.servos:
            write(servo, "P_Coefficient", p)
        rig.advance(3)
        errors.append(np.abs(at(rig.follower) - POSE).max())
    assert errors[1] < errors[0] / 2


def test_the_follower_is_no_faster_than_its_motors(rig):
    enable(rig.follower)
    go(rig.follower, np.array([1.5, *REST[1:]]))
    fastest = 0
    for _ in range(100):
        rig.advance(0.01)
        fastest = max(fastest, rig.follower.servo("shoulder_pan")["Present_Velocity"])
    assert 1000 < fastest < 3400  # steps per second; 4.9 rad/s are 3200


def test_a_limp_arm_sinks_and_one_with_torque_does_not(rig):
    rig.follower.hand = hold(np.array([0, 0.6, -0.6, 0, 0, 0.1]))
    rig.advance(3)
    rig.follower.hand = None
    enable(rig.follower)
    before = rig.world.positions[1]
    rig.advance(2)
    assert rig.world.positions[1] - before < 0.1
    for servo in rig.follower.bus.servos:
        write(servo, "Torque_Enable", 0)
    rig.advance(2)
    assert rig.world.positions[1] - before > 0.3


def test_joints_stop_at_their_limits(rig):
    rig.follower.hand = hold(np.array([3.0, -0.5, 0.3, 0.3, 3.5, 2.5]))
    rig.advance(4)
    assert np.all(rig.world.positions < LIMITS[:, 1] + 0.02)


def test_a_blocked_gripper_reports_load_and_then_overload(rig):
    gripper = rig.follower.servo("gripper")
    write(gripper, "Overload_Torque", 25)
    enable(rig.follower)
    write(gripper, "Min_Position_Limit", 0)
    write(gripper, "Goal_Position", gripper["Present_Position"] - 900)  # further than it closes
    rig.advance(1.0)
    assert gripper["Present_Load"] < -900
    assert gripper["Present_Current"] < 0
    assert not gripper.errors
    rig.advance(2.0)
    assert gripper["Status"] == 0x20
    assert -220 < gripper["Present_Load"] < 0


def test_max_torque_limits_how_hard_a_joint_pushes(rig):
    gripper = rig.follower.servo("gripper")
    write(gripper, "Max_Torque_Limit", 300)
    enable(rig.follower)
    write(gripper, "Min_Position_Limit", 0)
    write(gripper, "Goal_Position", gripper["Present_Position"] - 900)
    rig.advance(1.0)
    assert gripper["Present_Load"] == pytest.approx(-300, abs=5)


def test_the_leader_is_where_the_hand_has_it(rig):
    rig.leader.hand = wave()
    for _ in range(5):
        rig.advance(0.3)
        began = 0.005  # the hand took hold at the first tick
        assert np.abs(at(rig.leader) - wave()(rig.time_s - began)).max() < 0.002


def test_the_leader_with_torque_goes_to_its_goals_and_back_to_the_hand(rig):
    rig.leader.hand = hold(REST)
    rig.advance(0.1)
    enable(rig.leader)
    go(rig.leader, POSE)
    rig.advance(2)
    assert np.abs(at(rig.leader) - POSE).max() < 0.002
    for servo in rig.leader.bus.servos:
        write(servo, "Torque_Enable", 0)
    rig.advance(0.1)
    assert np.abs(at(rig.leader) - REST).max() < 0.002


def test_calibrated_servos_show_half_a_turn_in_the_middle_of_their_ranges(rig):
    rig.leader.hand = hold(LIMITS.mean(axis=1))
    rig.advance(0.1)
    assert np.abs(shown(rig.leader) - 2047).max() <= 1


def test_servos_as_delivered_have_the_factorys_calibration():
    with VirtualRig(RigConfig(realtime=False, calibrated=False)) as rig:
        for arm in (rig.follower, rig.leader):
            for servo in arm.bus.servos:
                assert servo["Homing_Offset"] == 0
                assert (servo["Min_Position_Limit"], servo["Max_Position_Limit"]) == (0, 4095)


def test_the_calibration_file_says_what_the_servos_hold(rig, tmp_path):
    found = json.loads(rig.follower.mounting.write_calibration(tmp_path / "deep" / "follower.json").read_text())
    assert tuple(found) == JOINTS
    for name, values in found.items():
        servo = rig.follower.servo(name)
        assert values == {
            "id": servo.id,
            "drive_mode": 0,
            "homing_offset": servo["Homing_Offset"],
            "range_min": servo["Min_Position_Limit"],
            "range_max": servo["Max_Position_Limit"],
        }


def test_the_calibration_survives_a_power_cycle_and_torque_does_not(rig):
    enable(rig.follower)
    offset = rig.follower.servo("elbow_flex")["Homing_Offset"]
    rig.follower.power_cycle()
    assert rig.follower.limp
    assert rig.follower.servo("elbow_flex")["Homing_Offset"] == offset != 0


def test_the_same_hand_makes_the_same_motion():
    paths = []
    for _ in range(2):
        with VirtualRig(RigConfig(realtime=False)) as rig:
            rig.follower.hand = wave()
            rig.advance(1.5)
            paths.append(rig.world.snapshot)
    assert np.array_equal(*paths)


def test_the_cube_lies_on_the_table_and_can_be_put_back(rig):
    start = rig.world.cube
    rig.advance(1)
    assert np.abs(rig.world.cube - start).max() < 0.001
    assert rig.world.cube[2] == pytest.approx(CUBE_HALF_M, abs=0.001)
    rig.follower.hand = pick_and_place(to=(0.19, -0.12))
    rig.advance(10)
    assert np.linalg.norm(rig.world.cube - start) > 0.1
    rig.reset_scene()
    assert np.allclose(rig.world.cube, start)


def test_a_follower_that_copies_the_leader_picks_the_cube_up_and_places_it(rig):
    rig.leader.hand = pick_and_place(to=(0.19, -0.12))
    for servo in rig.follower.bus.servos:
        write(servo, "P_Coefficient", 16)  # LeRobot's
    write(rig.follower.servo("gripper"), "Overload_Torque", 25)
    enable(rig.follower)
    highest = 0
    for _ in range(300):
        rig.advance(1 / 30)
        for follower, leader in zip(rig.follower.bus.servos, rig.leader.bus.servos, strict=True):
            write(follower, "Goal_Position", leader["Present_Position"])
        assert not any(servo.errors for servo in rig.follower.bus.servos)
        highest = max(highest, rig.world.cube[2])
    assert highest > 0.06
    assert np.abs(rig.world.cube - [0.19, -0.12, CUBE_HALF_M]).max() < 0.02


def test_keyframes_pass_through_their_poses_and_hold_still_outside():
    frames = Keyframes([1.0, 2.0, 3.0], [REST, POSE, REST])
    assert np.array_equal(frames(0.0), REST)
    assert np.allclose(frames(2.0), POSE)
    assert np.allclose(frames(1.5), (REST + POSE) / 2)
    assert np.array_equal(frames(9.0), REST)
    assert np.allclose(Keyframes([0.0, 1.0], [REST, POSE], repeat_s=2.0)(2.5), frames(1.5))


def test_a_rig_in_real_time_moves_on_by_itself():
    with VirtualRig() as rig:
        end = time.monotonic() + 20
        while rig.time_s < 0.05:
            assert time.monotonic() < end
            time.sleep(0.005)


def test_a_folder_that_is_too_long_for_a_socket_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="folder must be a path of at most 99 bytes"):
        RigConfig(folder=str(tmp_path / ("x" * 100)))


def test_a_rig_in_real_time_is_not_moved_by_hand():
    with VirtualRig() as rig, pytest.raises(ConfigError, match="realtime"):
        rig.advance(1.0)


def test_two_rigs_do_not_share_a_folder_and_a_closed_one_leaves_nothing(tmp_path):
    with VirtualRig(RigConfig(folder=str(tmp_path / "rig"), realtime=False)) as rig:
        assert rig.follower_port == str(tmp_path / "rig" / "follower")
        with pytest.raises(ConfigError, match=r"folder .* has 'follower' already"):
            VirtualRig(RigConfig(folder=str(tmp_path / "rig"), realtime=False))
        assert rig.follower.serial.path.exists()
    assert list((tmp_path / "rig").iterdir()) == []
