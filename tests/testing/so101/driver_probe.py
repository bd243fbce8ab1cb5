"""Runs beside LeRobot: its own SO-101 follower and leader, told by lines of JSON what to do.

A request is `{"do": name, ...}`, an answer `{"value": ...}` or `{"error": type, "message": text}`. What LeRobot prints
goes to stderr, and what a person would type comes by `type`.
"""

import importlib
import json
import os
import threading
import time
from pathlib import Path

requests = os.fdopen(os.dup(0), "r")
answers = os.fdopen(os.dup(1), "w")
typed_read, typed_write = os.pipe()
os.dup2(typed_read, 0)
os.dup2(2, 1)

from lerobot.motors import Motor, MotorNormMode  # noqa: E402
from lerobot.motors.feetech import FeetechMotorsBus  # noqa: E402
from lerobot.motors.feetech.feetech import patch_setPacketTimeout  # noqa: E402
from lerobot.robots.so_follower import SO101Follower, SO101FollowerConfig  # noqa: E402
from lerobot.teleoperators.so_leader import SO101Leader, SO101LeaderConfig  # noqa: E402

devices = {}
waiting = {}


def make(which, port, calibration_dir, cameras=None):
    """Make a device that is not connected; the calibration is read from <calibration_dir>/<which>.json."""
    common = {"port": port, "id": which, "calibration_dir": Path(calibration_dir)}
    if which == "leader":
        devices[which] = SO101Leader(SO101LeaderConfig(**common))
    else:
        configs = {name: camera_config(dict(settings)) for name, settings in (cameras or {}).items()}
        devices[which] = SO101Follower(SO101FollowerConfig(**common, cameras=configs))


def camera_config(settings):
    from lerobot.cameras import CameraConfig
    from lerobot.utils.import_utils import register_third_party_plugins

    register_third_party_plugins()
    return CameraConfig.get_choice_class(settings.pop("type"))(**settings)


def set_patience(which, extra_ms):
    """Wait so much longer for packets than LeRobot's 50 ms; 0 for LeRobot as it is.

    A busy machine stops a process for longer than that, and then the driver fails without having looked whether its
    answer is there. All else is LeRobot's.
    """
    wait_longer(devices[which].bus.port_handler, extra_ms)


def wait_longer(port, extra_ms):
    lerobots = patch_setPacketTimeout.__get__(port)

    def longer(length):
        lerobots(length)
        port.packet_timeout += extra_ms

    port.setPacketTimeout = longer if extra_ms else lerobots


def connect(which, calibrate=True):
    devices[which].connect(calibrate=calibrate)


def observe(which):
    """Positions, and for a picture its shape and mean."""
    found = devices[which].get_observation() if which == "follower" else devices[which].get_action()
    return {
        key: value if isinstance(value, float) else [list(value.shape), float(value.mean())]
        for key, value in found.items()
    }


def act(action):
    return devices["follower"].send_action(action)


def is_calibrated(which):
    return devices[which].is_calibrated


def read(which, name, motor):
    return devices[which].bus.read(name, motor, normalize=False)


def disconnect(which):
    devices[which].disconnect()


def flush():
    """Drop what came too late: LeRobot would take it for the answer to its next question."""
    time.sleep(0.1)
    for device in devices.values():
        if device.bus.port_handler.is_open:
            device.bus.port_handler.ser.reset_input_buffer()


def drop(which):
    """Forget a device as a process that dies does: nothing is sent."""
    device = devices.pop(which, None)
    if device and device.bus.port_handler.is_open:
        device.bus.port_handler.closePort()


def start_calibrating(which):
    """Begin on a thread, as it asks a person."""
    failed = []

    def run():
        try:
            devices[which].calibrate()
        except Exception as error:  # noqa: BLE001 - told to whoever asked
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    waiting[which] = thread, failed
    thread.start()


def finish_calibrating(which, patience_s):
    thread, failed = waiting.pop(which)
    thread.join(patience_s)
    assert not thread.is_alive(), "it still calibrates"
    if failed:
        raise failed[0]


def type_(text):
    os.write(typed_write, text.encode())


def setup_motor(port, id_):
    """Give the only motor on the line an id, as `lerobot-setup-motors` does."""
    bus = FeetechMotorsBus(port, {"motor": Motor(id_, "sts3215", MotorNormMode.DEGREES)})
    wait_longer(bus.port_handler, 10_000)
    bus.setup_motor("motor")
    found = bus.ping(id_)
    bus.disconnect(disable_torque=False)
    return found


def find_cameras():
    importlib.import_module("lerobot_camera_virtual_so101")
    from lerobot_camera_virtual_so101 import VirtualSO101Camera

    return VirtualSO101Camera.find_cameras()


DOINGS = {
    "make": make,
    "set_patience": set_patience,
    "connect": connect,
    "observe": observe,
    "act": act,
    "is_calibrated": is_calibrated,
    "read": read,
    "disconnect": disconnect,
    "drop": drop,
    "flush": flush,
    "start_calibrating": start_calibrating,
    "finish_calibrating": finish_calibrating,
    "type": type_,
    "setup_motor": setup_motor,
    "find_cameras": find_cameras,
}

for line in requests:
    asked = json.loads(line)
    try:
        answer = {"value": DOINGS[asked.pop("do")](**asked)}
    except Exception as error:  # noqa: BLE001 - told to whoever asked
        answer = {"error": type(error).__name__, "message": str(error)}
    answers.write(json.dumps(answer) + "\n")
    answers.flush()
