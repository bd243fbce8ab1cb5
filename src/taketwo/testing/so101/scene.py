"""The follower on a table with a cube, in MJCF, from primitive shapes; no textures, which without a GPU take most time.

Distances between joints are those of the SO-101's published model; looks, masses' places and the gripper are ours.
Axes: x forward, y left, z up, the origin under the base on the table. With all joints at zero the upper arm stands
upright, the forearm and the gripper point forward. Positive: pan to the right, lift forward, elbow and wrist down,
gripper open.
"""

from __future__ import annotations

from taketwo.testing.so101.arm import JOINTS, LIMITS

TIMESTEP_S = 0.0025

STALL_NM = 2.94
"""Of the STS3215 at 12 V: 30 kg cm (data sheet)."""

GEAR = 'damping="0.60" frictionloss="0.052" armature="0.028"'
"""Of an STS3215, as identified for Open Duck Mini and used in the SO-101's published model. The damping is the
motor's own speed limit, about 4.9 rad/s at full torque; a gear that nothing drives turns as hard, so that a limp arm
sinks slowly."""

CUBE_HALF_M = 0.0125
CUBE_START = (0.23, 0.0, CUBE_HALF_M)

CAMERAS = ("front", "top", "wrist")

_LOOKS = """
  <statistic extent="1" center=".2 0 .1"/>
  <visual>
    <headlight ambient=".35 .35 .35" diffuse=".35 .35 .35" specular=".1 .1 .1"/>
    <map znear="0.005" zfar="20"/>
  </visual>
  <asset>
    <material name="table" rgba=".7 .56 .4 1"/>
    <material name="mat" rgba=".32 .4 .42 1"/>
    <material name="mark" rgba=".85 .85 .8 1"/>
    <material name="wall" rgba=".78 .8 .8 1"/>
    <material name="print" rgba=".95 .78 .15 1" specular=".2"/>
    <material name="motor" rgba=".12 .12 .13 1" specular=".3"/>
    <material name="cube" rgba=".8 .12 .1 1"/>
  </asset>"""

_SURROUNDINGS = f"""
    <light pos=".4 -.6 1.4" dir="-.2 .4 -1" diffuse=".6 .6 .6" castshadow="true"/>
    <geom name="table" type="plane" size="3 3 1" material="table" contype="1" conaffinity="0"/>
    <geom class="look" type="box" size="3 .01 1.5" pos="0 1.2 1.5" material="wall"/>
    <geom class="look" type="box" size=".01 3 1.5" pos="-.8 0 1.5" material="wall"/>
    <geom class="look" type="box" size=".14 .2 .0004" pos=".22 0 0" material="mat"/>
    <geom class="look" type="box" size=".03 .03 .0008" pos=".19 -.12 0" material="mark"/>
    <camera name="front" pos=".58 -.13 .29" xyaxes=".24 .97 0 -.38 .09 .92" fovy="45"/>
    <camera name="top" pos=".2 0 .75" xyaxes="0 -1 0 1 0 0" fovy="45"/>
    <body name="cube" pos="{CUBE_START[0]} {CUBE_START[1]} {CUBE_START[2]}">
      <freejoint name="cube"/>
      <geom name="cube" type="box" size="{CUBE_HALF_M} {CUBE_HALF_M} {CUBE_HALF_M}" mass="0.02" material="cube"
        contype="2" conaffinity="1" friction="1.2 0.01 0.001" condim="4"/>
    </body>"""

_ARM = """
    <body name="base" childclass="arm">
      <geom type="box" size=".055 .04 .012" pos="0 0 .012" material="print" mass=".1"/>
      <geom type="box" size=".022 .016 .022" pos=".034 0 .036" material="motor" mass=".05"/>
      <body name="shoulder" pos=".0388 0 .0624">
        {shoulder_pan}
        <geom type="box" size=".024 .02 .03" pos=".018 0 .028" material="print" mass=".045"/>
        <geom type="box" size=".018 .026 .013" pos=".0304 0 .0542" material="motor" mass=".055"/>
        <body name="upper_arm" pos=".0304 0 .0542">
          {shoulder_lift}
          <geom type="capsule" size=".014" fromto="0 0 .01 .028 0 .1" material="print" mass=".048"/>
          <geom type="box" size=".013 .024 .018" pos=".028 0 .1126" material="motor" mass=".055"/>
          <body name="forearm" pos=".028 0 .1126">
            {elbow_flex}
            <geom type="capsule" size=".013" fromto=".01 0 0 .115 0 .004" material="print" mass=".049"/>
            <geom type="box" size=".018 .022 .012" pos=".128 0 .005" material="motor" mass=".055"/>
            <body name="wrist" pos=".1349 0 .0052">
              {wrist_flex}
              <geom type="capsule" size=".014" fromto=".008 0 0 .03 0 0" material="print" mass=".024"/>
              <geom type="box" size=".012 .018 .018" pos=".042 0 0" material="motor" mass=".055"/>
              <body name="hand" pos=".0611 0 0">
                {wrist_roll}
                <geom type="box" size=".011 .026 .02" pos=".008 .004 0" material="print" mass=".025"/>
                <geom type="box" size=".011 .012 .018" pos=".02 .018 0" material="motor" mass=".055"/>
                <geom name="fixed_jaw" class="jaw" type="box" size=".042 .003 .011" pos=".06 -.006 0" mass=".01"/>
                <camera name="wrist" pos="-.012 0 .062" xyaxes="0 -1 0 .62 0 .78" fovy="75"/>
                <site name="grasp" pos=".085 .003 0" size=".004" group="5"/>
                <body name="moving_jaw" pos=".0202 .0188 0">
                  {gripper}
                  <geom name="moving_jaw" class="jaw" type="box" size=".041 .003 .011" pos=".041 -.0055 0" mass=".012"/>
                </body>
              </body>
            </body>
          </body>
        </body>
      </body>
    </body>"""

_AXES = dict(zip(JOINTS, ("0 0 -1", "0 1 0", "0 1 0", "0 1 0", "1 0 0", "0 0 1"), strict=True))


def xml() -> str:
    """The whole model. Its positions are the six joints', then the cube's free joint."""
    joints = {name: _joint(name, low, high) for name, (low, high) in zip(JOINTS, LIMITS.tolist(), strict=True)}
    return f"""<mujoco model="virtual_so101">
  <compiler angle="radian" autolimits="true"/>
  <option timestep="{TIMESTEP_S}" integrator="implicitfast" cone="elliptic" impratio="10"/>
  <default>
    <default class="look"><geom contype="0" conaffinity="0" mass="0"/></default>
    <default class="arm"><geom contype="0" conaffinity="3"/><joint {GEAR}/>
      <default class="jaw"><geom material="print" friction="1.2 0.01 0.001" condim="4"/></default>
    </default>
  </default>{_LOOKS}
  <worldbody>{_ARM.format(**joints)}{_SURROUNDINGS}
  </worldbody>
  <actuator>{"".join(_motor(name) for name in JOINTS)}</actuator>
</mujoco>"""


def _joint(name: str, low: float, high: float) -> str:
    return f'<joint name="{name}" axis="{_AXES[name]}" range="{low} {high}"/>'


def _motor(name: str) -> str:
    """Gains and torque limit are set as the servo's registers say."""
    return f"""<general name="{name}" joint="{name}" biastype="affine" forcerange="{-STALL_NM} {STALL_NM}"/>"""
