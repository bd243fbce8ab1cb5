"""The MuJoCo model of the push world, built from primitive shapes.

Robots are discs seen from above, with two slides and a hinge for joints and three velocity servos that act in their
own frame. The object lies on the floor by its weight, so that all friction is Coulomb's, between surfaces. Robots
touch with a sphere: that has a closed form against every other shape, which makes a step several times cheaper.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taketwo.envs.push.scenery import CAMERAS, FLOOR_AND_WALLS, LIGHTS, LOOKS, robot_looks, shape_geoms, target_looks
from taketwo.envs.push.shapes import HALF_HEIGHT, SHAPES, ObjectName, Shape

TIMESTEP_S = 0.005
SUBSTEPS = 8
CONTROL_HZ = 1 / (TIMESTEP_S * SUBSTEPS)

ARENA_HALF = 3.0
"""Metres from the middle of the square arena to each wall."""

ROBOT_RADIUS = 0.18

ROBOT_MASS_KG = 12.0

ROBOT_FORCE_N = 76.0
"""Most that a robot pushes with, along either of its axes."""

OBJECT_MASS_KG = 22.0

FRICTION = 0.4
"""Coulomb's coefficient of all surfaces. Object on floor holds 0.4 * 22 kg * 9.81 m/s^2 = 86 N: more than one robot
pushes with, and less than two."""

MAX_SPEED = 0.8
"""Metres per second, forward and to the left each."""

MAX_YAW_RATE = 2.0
"""Radians per second."""

SERVO_GAIN = 400.0
"""Newtons for each metre per second that a robot is too slow."""

TOUCH_M = 0.005
"""Nearer than this counts as touching, since a robot that pushes loses touch for milliseconds all the time; forces
act only where surfaces meet."""

AXES = ("forward", "left", "yaw_rate")
"""What a robot is told, in its own frame."""

NOBODY, OBJECT = -2, -1
"""Owners of geoms that are no robot's."""


@dataclass(frozen=True, eq=False)
class PushModel:
    """A compiled model, which any number of worlds share.

    Attributes:
        mujoco: the `mujoco.MjModel`. Its positions are (x, y, yaw) per robot, then the object's free joint.
        robots: how many.
        name: of the object.
        shape: of the object.
        owner: (number of geoms,) robot that a geom belongs to, or `OBJECT`, or `NOBODY`.
    """

    mujoco: Any
    robots: int
    name: ObjectName
    shape: Shape
    owner: NDArray[np.int64]


def build(name: ObjectName, robots: int) -> PushModel:
    """Compile the world. A GL back-end must have been chosen, since MuJoCo fixes it when it is imported."""
    import mujoco

    model = mujoco.MjModel.from_xml_string(xml(name, robots))
    bodies = [model.body(model.geom_bodyid[geom]).name for geom in range(model.ngeom)]
    owners = {"object": OBJECT} | {f"robot_{robot}": robot for robot in range(robots)}
    owner = np.array([owners.get(body, NOBODY) for body in bodies])
    return PushModel(model, robots, name, SHAPES[name], owner)


def xml(name: ObjectName, robots: int) -> str:
    """The model in MJCF."""
    shape = SHAPES[name]
    return f"""<mujoco model="push_{name}">
  <compiler angle="radian"/>
  <option timestep="{TIMESTEP_S}" cone="elliptic" impratio="10" integrator="implicitfast"/>
  <default>
    <geom friction="{FRICTION} 0.005 0.0001"/>
    <default class="solid"><geom material="object" contype="3" conaffinity="3"/></default>
    <default class="look"><geom contype="0" conaffinity="0" group="1" mass="0"/></default>
  </default>
  {LOOKS}
  <worldbody>
    {LIGHTS}
    {CAMERAS}
    {FLOOR_AND_WALLS.format(half=ARENA_HALF, middle=ARENA_HALF + 0.05, length=ARENA_HALF + 0.1)}
    <body name="target" mocap="true">{target_looks(shape)}</body>
    {"".join(_robot(robot) for robot in range(robots))}
    <body name="object" pos="0 0 {HALF_HEIGHT}">
      <freejoint name="object"/>
      {shape_geoms(shape, HALF_HEIGHT, OBJECT_MASS_KG)}
    </body>
  </worldbody>
  <actuator>{"".join(_servos(robot) for robot in range(robots))}</actuator>
</mujoco>"""


def _robot(robot: int) -> str:
    return f"""<body name="robot_{robot}" pos="0 0 {ROBOT_RADIUS}">
      <joint name="robot_{robot}.x" type="slide" axis="1 0 0"/>
      <joint name="robot_{robot}.y" type="slide" axis="0 1 0"/>
      <joint name="robot_{robot}.yaw" type="hinge" axis="0 0 1"/>
      <site name="robot_{robot}" group="5"/>
      <geom type="sphere" size="{ROBOT_RADIUS}" mass="{ROBOT_MASS_KG}" group="3" margin="{TOUCH_M}" gap="{TOUCH_M}"/>
      {robot_looks(robot, ROBOT_RADIUS)}
    </body>"""


def _servos(robot: int) -> str:
    """Velocity servos on the robot's own axes: a force of `gain * (wanted - measured)`, up to its limit."""
    limits = (
        (MAX_SPEED, SERVO_GAIN, ROBOT_FORCE_N, "1 0 0 0 0 0"),
        (MAX_SPEED, SERVO_GAIN, ROBOT_FORCE_N, "0 1 0 0 0 0"),
    )
    turn = (MAX_YAW_RATE, 10.0, 20.0, "0 0 0 0 0 1")
    return "".join(
        f"""<general name="robot_{robot}.{axis}" site="robot_{robot}" gear="{gear}" ctrllimited="true"
        ctrlrange="{-most} {most}" forcelimited="true" forcerange="{-force} {force}" biastype="affine"
        gainprm="{gain}" biasprm="0 0 {-gain}"/>"""
        for axis, (most, gain, force, gear) in zip(AXES, (*limits, turn), strict=True)
    )
