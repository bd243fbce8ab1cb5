"""How the push world looks: materials, lights, cameras, and shapes that touch nothing."""

from __future__ import annotations

from taketwo.envs.push.shapes import Shape

ROBOT_COLOURS = (
    "0.13 0.42 0.86",
    "0.93 0.38 0.13",
    "0.56 0.27 0.75",
    "0.10 0.62 0.58",
    "0.85 0.20 0.40",
    "0.95 0.72 0.10",
    "0.38 0.55 0.20",
    "0.35 0.38 0.45",
)
"""Red, green and blue of each robot, from 0 to 1. There are as many as there may be robots."""

LOOKS = """<visual>
    <headlight ambient="0.40 0.40 0.42" diffuse="0.20 0.20 0.20" specular="0.05 0.05 0.05"/>
    <quality shadowsize="2048" offsamples="4"/>
    <map znear="0.02" zfar="8" shadowclip="0.9"/>
    <global offwidth="640" offheight="480"/>
  </visual>
  <statistic center="0 0 0" extent="6"/>
  <asset>
    <texture name="sky" type="skybox" builtin="flat" rgb1="0.66 0.69 0.73" rgb2="0.66 0.69 0.73"
      width="16" height="96"/>
    <texture name="floor" type="2d" builtin="checker" rgb1="0.86 0.87 0.88" rgb2="0.83 0.84 0.855" mark="edge"
      markrgb="0.76 0.77 0.79" width="256" height="256"/>
    <material name="floor" texture="floor" texrepeat="1 1" texuniform="true" specular="0.05" shininess="0.1"/>
    <material name="wall" rgba="0.97 0.97 0.975 1" specular="0.1" shininess="0.2"/>
    <material name="object" rgba="0.83 0.61 0.33 1" specular="0.2" shininess="0.3"/>
    <material name="lid" rgba="0.93 0.74 0.47 1" specular="0.15" shininess="0.3"/>
    <material name="zone" rgba="0.16 0.70 0.36 0.80" specular="0" shininess="0"/>
    <material name="rim" rgba="0.05 0.45 0.20 1" specular="0" shininess="0"/>
    <material name="dark" rgba="0.13 0.14 0.17 1" specular="0.5" shininess="0.6"/>
    <material name="glow" rgba="1 1 0.92 1" emission="0.9"/>
  </asset>"""

LIGHTS = """<light directional="true" pos="-2.8 -3.6 6.6" dir="0.35 0.45 -0.82" diffuse="0.52 0.51 0.49"
      specular="0.2 0.2 0.2" castshadow="true"/>"""

CAMERAS = """<camera name="overview" pos="0 -7.2 8.2" xyaxes="1 0 0 0 0.7628 0.6465" fovy="41"/>
    <camera name="top" pos="0 0 8.5" xyaxes="1 0 0 0 1 0" fovy="41.5"/>"""

FLOOR_AND_WALLS = """<geom name="floor" type="plane" size="{half} {half} 0.1" material="floor"
      contype="2" conaffinity="2"/>
    <geom type="box" size="{length} 0.05 0.08" pos="0 {middle} 0.08" material="wall"/>
    <geom type="box" size="{length} 0.05 0.08" pos="0 -{middle} 0.08" material="wall"/>
    <geom type="box" size="0.05 {half} 0.08" pos="{middle} 0 0.08" material="wall"/>
    <geom type="box" size="0.05 {half} 0.08" pos="-{middle} 0 0.08" material="wall"/>"""

_RIM = 0.03
"""Metres by which the target's rim stands out."""


def shape_geoms(shape: Shape, half_height: float, mass: float) -> str:
    """The object: parts that touch, and a lid of a lighter colour, so that its top stands out."""
    area = sum(4 * x * y for _, _, x, y in shape.boxes)
    solid = "".join(
        _box(part, 0.0, half_height, f'class="solid" mass="{mass * 4 * part[2] * part[3] / area}"')
        for part in shape.boxes
    )
    if shape.radius is not None:
        solid = _disc(shape.radius, 0.0, half_height, f'class="solid" mass="{mass}"')
    return solid + _flat(shape, half_height, 0.0, 'class="look" material="lid"', 0.002)


def target_looks(shape: Shape) -> str:
    """Where the object is to be: its footprint on the floor, or rings where any turn will do."""
    if shape.oriented:
        rim = _flat(shape, 0.001, _RIM, 'class="look" material="rim"', 0.001)
        return rim + _flat(shape, 0.002, 0.0, 'class="look" material="zone"', 0.001)
    radius = shape.radius if shape.radius is not None else max(abs(shape.outline[:, 1]))
    rings = ((radius + _RIM, "rim"), (radius, "zone"), (0.13, "rim"), (0.10, "wall"))
    return "".join(
        _disc(size, 0.001 * (k + 1), 0.001, f'class="look" material="{material}"')
        for k, (size, material) in enumerate(rings)
    )


def robot_looks(robot: int, radius: float) -> str:
    """A round rover: dark skirt, coloured shell, and a visor with two lamps in front; its frame is `radius` up."""
    red_green_blue = ROBOT_COLOURS[robot]
    shell = f'class="look" rgba="{red_green_blue} 1"'
    lamps = "".join(
        f'<geom class="look" type="sphere" size="0.018" pos="{0.90 * radius} {side} 0.035" material="glow"/>'
        for side in (-0.055, 0.055)
    )
    return f"""{_disc(radius, -0.115, 0.055, 'class="look" material="dark"')}
      {_disc(0.96 * radius, -0.01, 0.055, shell)}
      <geom class="look" type="ellipsoid" size="{0.96 * radius} {0.96 * radius} 0.07" pos="0 0 0.045"
        rgba="{red_green_blue} 1"/>
      <geom class="look" type="box" size="0.03 0.085 0.03" pos="{0.83 * radius} 0 0.035" material="dark"/>
      <geom class="look" type="box" size="0.065 0.017 0.004" pos="-0.02 0 0.113" material="wall"/>
      {lamps}"""


def _flat(shape: Shape, z: float, grown: float, looks: str, half_height: float) -> str:
    """The footprint, each part `grown` by so much on all sides."""
    if shape.radius is not None:
        return _disc(shape.radius + grown, z, half_height, looks)
    parts = ((x, y, length + grown, width + grown) for x, y, length, width in shape.boxes)
    return "".join(_box(part, z, half_height, looks) for part in parts)


def _box(part: tuple[float, float, float, float], z: float, half_height: float, looks: str) -> str:
    x, y, length, width = part
    return f'<geom type="box" size="{length} {width} {half_height}" pos="{x} {y} {z}" {looks}/>'


def _disc(radius: float, z: float, half_height: float, looks: str) -> str:
    return f'<geom type="cylinder" size="{radius} {half_height}" pos="0 0 {z}" {looks}/>'
