"""LeRobot's own drivers, unmodified, in a process of their own, on the virtual rig."""

import json
import time

import numpy as np
import pytest

from taketwo.testing.so101 import JOINTS, LEADER, LIMITS, ErrorBit, RigConfig, VirtualRig, hold, wave
from tests.peers import VERSIONS
from tests.testing.so101.peer import Drivers, LeRobotError
from tests.testing.so101.support import Ticking

POSE = np.array([0.3, -0.5, 0.4, 0.5, -0.4, 0.9])
TRIES = {"0.4.4": 1, "0.6.1": 3}
"""Of a driver to read all positions."""


@pytest.fixture(scope="module", params=VERSIONS)
def lerobot(request):
    drivers = Drivers(request.param)
    yield drivers
    drivers.close()


@pytest.fixture
def rig(tmp_path):
    with VirtualRig(RigConfig(realtime=False, line_speed=False, latency_ms=0)) as rig:
        for name in ("follower", "leader"):
            getattr(rig, name).mounting.write_calibration(tmp_path / f"{name}.json")
        yield rig


@pytest.fixture
def arms(lerobot, rig, tmp_path):
    """Makes LeRobot's devices on the rig, and forgets them at the end."""
    made = []

    def make(which, **options):
        lerobot.ask("make", which=which, port=getattr(rig, which).port, calibration_dir=str(tmp_path), **options)
        made.append(which)

    yield make
    for which in made:
        lerobot.ask("drop", which=which)


@pytest.fixture
def connected(lerobot, arms):
    """Connects a device that waits long enough for packets on a busy machine."""

    def connect(which, **options):
        arms(which, **options)
        lerobot.ask("set_patience", which=which, extra_ms=10_000)
        lerobot.ask("connect", which=which)

    return connect


def normalised(pose):
    """A pose in radians as LeRobot has it: degrees from the middle of the range, and percent for the gripper."""
    degrees = np.degrees(pose - LIMITS.mean(axis=1))
    degrees[4] = np.degrees(pose[4] - LIMITS[4].mean())
    percent = 100 * (pose[5] - LIMITS[5, 0]) / (LIMITS[5, 1] - LIMITS[5, 0])
    return dict(zip([f"{name}.pos" for name in JOINTS], [*degrees[:5], percent], strict=True))


def apart(found, expected):
    """Largest difference, degrees or percent."""
    return max(abs(found[key] - value) for key, value in expected.items())


def test_lerobot_as_it_is_connects_and_observes(lerobot, arms):
    for tries_left in reversed(range(5)):
        arms("follower")
        try:
            lerobot.ask("connect", which="follower")
            assert len(lerobot.ask("observe", which="follower")) == 6
            return
        except LeRobotError:  # on a busy machine its 50 ms may be over before it has looked
            if not tries_left:
                raise
            lerobot.ask("drop", which="follower")


def test_both_arms_connect_and_are_calibrated(lerobot, rig, connected):
    for which in ("follower", "leader"):
        connected(which)
        assert lerobot.ask("is_calibrated", which=which)
    assert all(servo["Torque_Enable"] for servo in rig.follower.bus.servos)
    assert rig.leader.limp
    assert rig.follower.servo("gripper")["Max_Torque_Limit"] == 500
    assert [servo["P_Coefficient"] for servo in rig.follower.bus.servos] == [16] * 6
    assert [servo["Return_Delay_Time"] for servo in rig.leader.bus.servos] == [0] * 6


def test_the_leaders_positions_are_the_hands(lerobot, rig, connected):
    rig.leader.hand = hold(POSE)
    rig.advance(0.1)
    connected("leader")
    assert apart(lerobot.ask("observe", which="leader"), normalised(POSE)) < 0.2


def test_the_follower_goes_where_it_is_sent(lerobot, rig, connected):
    connected("follower")
    goal = normalised(POSE)
    assert apart(lerobot.ask("act", action=goal), goal) < 1e-9
    rig.advance(3)
    assert np.degrees(np.abs(rig.world.positions - POSE)).max() < 4  # it sags at LeRobot's P of 16
    assert apart(lerobot.ask("observe", which="follower"), normalised(rig.world.positions)) < 0.2


def test_the_follower_follows_the_leader(lerobot, rig, connected):
    rig.leader.hand = wave(period_s=6.0)
    connected("follower")
    connected("leader")
    errors = []
    for step in range(60):
        action = lerobot.ask("observe", which="leader")
        lerobot.ask("act", action=action)
        rig.advance(1 / 20)
        if step > 20:
            errors.append(apart(lerobot.ask("observe", which="follower"), action))
    assert max(errors) < 15  # it lags, and sags


def test_a_disconnected_follower_is_limp(lerobot, rig, connected):
    connected("follower")
    assert not rig.follower.limp
    lerobot.ask("disconnect", which="follower")
    assert rig.follower.limp


def test_a_process_that_dies_leaves_the_torque_on(lerobot, rig, connected):
    connected("follower")
    lerobot.ask("drop", which="follower")
    assert not rig.follower.limp
    connected("follower")


def test_a_motor_as_delivered_gets_its_id(lerobot, rig):
    for servo in rig.follower.bus.servos:
        servo.silent = True
    motor = rig.follower.servo("wrist_flex")
    motor.silent, motor["ID"], motor["Baud_Rate"] = False, 1, 1  # 500 kbaud
    assert lerobot.ask("setup_motor", port=rig.follower.port, id_=4) == 777
    assert (motor.id, motor["Baud_Rate"]) == (4, 0)


def test_a_leader_that_was_never_calibrated_is_calibrated_by_hand(lerobot, tmp_path):
    with VirtualRig(RigConfig(realtime=False, line_speed=False, latency_ms=0, calibrated=False)) as rig:
        reads = count_answers(rig.leader)
        rig.leader.hand = hold(LIMITS.mean(axis=1))
        rig.advance(0.1)
        lerobot.ask("make", which="leader", port=rig.leader.port, calibration_dir=str(tmp_path))
        lerobot.ask("set_patience", which="leader", extra_ms=10_000)
        lerobot.ask("connect", which="leader", calibrate=False)
        assert not lerobot.ask("is_calibrated", which="leader")
        lerobot.ask("start_calibrating", which="leader")
        lerobot.ask("type", text="\n")
        wait_for(lambda: rig.leader.servo("gripper")["Homing_Offset"] != 0)
        sweep_all(rig, reads)
        lerobot.ask("type", text="\n")
        lerobot.ask("finish_calibrating", which="leader", patience_s=30)
        assert lerobot.ask("is_calibrated", which="leader")
        lerobot.ask("drop", which="leader")
    found = json.loads((tmp_path / "leader.json").read_text())
    for name, values in LEADER.calibration().items():
        assert found[name] == {key: pytest.approx(value, abs=2) for key, value in values.items()}, name


def sweep_all(rig, reads):
    """Lead every joint to both ends of its range, and stay until the driver has looked there."""
    middle = LIMITS.mean(axis=1)
    for number in range(6):
        for end in LIMITS[number]:
            pose = middle.copy()
            pose[number] = end
            rig.leader.hand = hold(pose)
            rig.advance(0.01)
            before = len(reads)
            wait_for(lambda before=before: len(reads) >= before + 3)


def count_answers(arm):
    """A list that grows with every request that the arm's bus answers."""
    answered, answer = [], arm.bus.answer

    def counting(request, baud_rate):
        found = answer(request, baud_rate)
        answered.append(request.instruction)
        return found

    arm.bus.answer = counting
    return answered


def wait_for(condition, patience_s=30):
    end = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.002)


def error_of(lerobot, said, do, **arguments):
    """The error that says this; again where a busy machine made LeRobot say that nothing came in time."""
    for _ in range(5):
        with pytest.raises(LeRobotError) as caught:
            lerobot.ask(do, **arguments)
        if said in str(caught.value):
            break
        lerobot.ask("flush")
    assert said in str(caught.value)
    return caught.value


@pytest.fixture
def refused(lerobot, arms):
    """The error, which says this, of connecting the follower."""

    def connect(said, **options):
        for _ in range(5):
            arms("follower", **options)
            with pytest.raises(LeRobotError) as caught:
                lerobot.ask("connect", which="follower")
            lerobot.ask("drop", which="follower")
            if said in str(caught.value):
                break
        assert said in str(caught.value)
        return caught.value

    return connect


def test_a_missing_motor_is_named_on_connecting(rig, refused):
    rig.follower.servo("elbow_flex").silent = True
    error = refused("Missing motor IDs:\n  - 3 (expected model: 777)\n\nFull")
    assert error.kind == "RuntimeError"


def test_another_model_is_named_on_connecting(rig, refused):
    rig.follower.servo("wrist_roll")["Model_Number"] = 2825
    refused("5 (wrist_roll): expected 777, found 2825")


def test_mixed_firmware_is_refused_on_connecting(rig, refused):
    rig.follower.servo("gripper")["Firmware_Minor_Version"] = 9
    refused("Some Motors use different firmware versions")


def test_a_port_that_is_not_there_cannot_be_connected(rig, refused):
    rig.follower.serial.unplug()
    assert refused("Could not connect on port").kind == "ConnectionError"


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (lambda arm: setattr(arm.servo("elbow_flex"), "silent", True), "There is no status packet!"),
        (lambda arm: setattr(arm.faults, "loss", 1.0), "There is no status packet!"),
        (lambda arm: setattr(arm.faults, "corruption", 1.0), "There is no status packet!"),
        (lambda arm: setattr(arm.faults, "extra_latency_s", 0.3), "There is no status packet!"),
        (lambda arm: arm.faults.__setattr__("carry", lambda status: status[:-1] + b"\x00"), "Incorrect status packet!"),
    ],
    ids=["silent", "lost", "corrupt requests", "late", "corrupt statuses"],
)
def test_a_fault_of_the_line_is_told_as_for_real_motors(lerobot, rig, connected, fault, said):
    connected("follower")
    lerobot.ask("set_patience", which="follower", extra_ms=0)
    fault(rig.follower)
    error = error_of(lerobot, said, "observe", which="follower")
    assert error.kind == "ConnectionError"
    tries = TRIES[lerobot.version]
    assert f"Failed to sync read 'Present_Position' on ids=[1, 2, 3, 4, 5, 6] after {tries} tries." in str(error)


def test_it_works_again_when_the_fault_is_over(lerobot, rig, connected):
    connected("follower")
    lerobot.ask("set_patience", which="follower", extra_ms=0)
    rig.follower.faults.loss = 1.0
    error_of(lerobot, "There is no status packet!", "observe", which="follower")
    rig.follower.heal()
    lerobot.ask("set_patience", which="follower", extra_ms=10_000)
    lerobot.ask("observe", which="follower")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"forced_errors": int(ErrorBit.OVERLOAD)}, "[RxPacketError] Overload error!"),
        ({"temperature_c": 75.0}, "[RxPacketError] Overheat error!"),
        ({"voltage_v": 3.0}, "[RxPacketError] Input voltage error!"),
    ],
)
def test_what_a_motor_reports_is_told_by_name(lerobot, rig, connected, change, said):
    connected("follower")
    for name, value in change.items():
        setattr(rig.follower.servo("gripper"), name, ErrorBit(value) if name == "forced_errors" else value)
    error = error_of(lerobot, said, "read", which="follower", name="Present_Temperature", motor="gripper")
    assert error.kind == "RuntimeError"


def test_an_unplugged_port_gives_the_errors_of_a_device_that_went_away(lerobot, rig, connected):
    connected("follower")
    rig.follower.serial.unplug()
    error = error_of(lerobot, "Input/output error", "observe", which="follower")
    assert error.kind in ("error", "SerialException")  # termios.error from flushing, or pyserial's own
    lerobot.ask("drop", which="follower")
    rig.follower.serial.plug()
    connected("follower")


def test_lerobot_observes_positions_and_pictures_together(lerobot, rig, connected):
    with Ticking(rig):
        cameras = {"front": rig.camera_settings("front", 64, 48), "hand": rig.camera_settings("wrist", 32, 24)}
        connected("follower", cameras=cameras)
        found = lerobot.ask("observe", which="follower")
        lerobot.ask("disconnect", which="follower")
    assert found["front"][0] == [48, 64, 3]
    assert found["hand"][0] == [24, 32, 3]
    assert found["front"][1] > 20
    assert "shoulder_pan.pos" in found


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"camera": "frnt"}, "Did you mean 'front'"),
        ({"address": "/nowhere/cameras"}, "no virtual SO-101 rig at '/nowhere/cameras'"),
    ],
)
def test_lerobot_is_told_why_a_camera_cannot_be_opened(rig, refused, change, said):
    with Ticking(rig):
        error = refused(said, cameras={"front": rig.camera_settings("front", 64, 48) | change})
    assert error.kind == "ConnectionError"


def test_lerobot_notices_a_camera_that_stops(lerobot, rig, connected):
    with Ticking(rig):
        connected("follower", cameras={"front": rig.camera_settings("front", 64, 48)})
        lerobot.ask("observe", which="follower")
        rig.cameras.faults.silent = {"front"}
        end = time.monotonic() + 30
        with pytest.raises(LeRobotError, match="latest frame is too old"):
            while time.monotonic() < end:
                lerobot.ask("observe", which="follower")
        rig.cameras.faults.silent = set()
        rig.cameras.faults.unplugged = {"front"}
        with pytest.raises(LeRobotError, match="the camera has gone"):
            while time.monotonic() < end:
                try:
                    lerobot.ask("observe", which="follower")
                except LeRobotError as error:
                    if "too old" not in str(error):
                        raise


def test_lerobot_finds_the_cameras_of_rigs_that_run(lerobot, rig):
    found = lerobot.ask("find_cameras")
    ids = [f"{rig.cameras.path}:{name}" for name in ("front", "top", "wrist")]
    assert set(ids) <= {camera["id"] for camera in found}
