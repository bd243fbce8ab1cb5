"""Our pictures against MuJoCo's own renderer, bit for bit, in scenes that its shadow map depends on."""

import numpy as np
import pytest

from taketwo.gl import choose_backend

choose_backend()
mujoco = pytest.importorskip("mujoco")

from taketwo.envs.mujoco_rendering import MujocoRenderer  # noqa: E402

BOXED_FLOOR = '<geom type="box" size=".5 .5 .02"/>'
SUN = '<light directional="true" pos="1 -1 2" dir="-1 1 -2"/>'

SCENES = {
    "directional light": BOXED_FLOOR + SUN,
    "spot light": BOXED_FLOOR + '<light pos="0 -1 2" dir="0 1 -2" cutoff="60"/>',
    "two shadow lights": BOXED_FLOOR + SUN + '<light directional="true" pos="-1 -1 2" dir="1 1 -2"/>',
    "infinite plane": '<geom type="plane" size="0 0 .1"/>' + SUN,
    "reflecting plane": '<geom type="plane" size="1 1 .1" material="mirror"/>' + SUN,
    "moving light": BOXED_FLOOR + f'<body pos="0 0 1"><joint type="hinge" axis="0 0 1"/><geom size=".05"/>{SUN}</body>',
    "moving site": BOXED_FLOOR
    + SUN
    + '<body><joint type="hinge" axis="0 0 1"/><geom size=".05"/><site pos="1.2 0 .6" size=".1"/></body>',
}

MODEL = """<mujoco>
<visual><quality shadowsize="1024"/></visual><statistic extent="2" center="0 0 0"/>
<asset><material name="mirror" reflectance=".5"/></asset>
<worldbody>{scene}
<camera name="above" pos="0 -.6 1.2" euler="25 0 0"/><camera name="side" pos="0 -2 .5" euler="80 0 0"/>
<body><freejoint/><geom type="box" size=".1 .1 .1" rgba="1 0 0 1"/><geom type="capsule" size=".03 .3"/></body>
</worldbody></mujoco>"""

# Near, farther away, out of the shadow map altogether, and back: what was drawn before must not be left behind.
POSITIONS = [(0, 0, 0.3), (0.2, 0.1, 0.2), (-0.9, 1.2, 0.4), (40, 40, 40), (0.9, -0.9, 0.8), (0, 0, 0.3)]


def poses(model, data):
    generator = np.random.default_rng(0)
    for position in POSITIONS:
        data.qpos[-7:-4] = position
        data.qpos[-4:] = generator.normal(size=4)
        data.qpos[:-7] += 1.7
        mujoco.mj_forward(model, data)
        yield


@pytest.mark.parametrize("scene", SCENES)
def test_pictures_are_those_of_mujoco_bit_for_bit(scene):
    model = mujoco.MjModel.from_xml_string(MODEL.format(scene=SCENES[scene]))
    data = mujoco.MjData(model)
    ours, theirs = MujocoRenderer(model), mujoco.Renderer(model, 96, 128)
    shown = set()
    for _ in poses(model, data):
        for camera in ("above", "side"):
            theirs.update_scene(data, camera=camera)
            expected = theirs.render()
            assert np.array_equal(ours.render(data, camera, 96, 128), expected)
            shown.add(expected.tobytes())
    assert len(shown) > len(POSITIONS)
    theirs.close()
    ours.close()


def test_a_renderer_draws_several_sizes_by_turns():
    model = mujoco.MjModel.from_xml_string(MODEL.format(scene=SCENES["directional light"]))
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    ours = MujocoRenderer(model)
    sizes = [(64, 64), (120, 160), (64, 64), (120, 160)]
    pictures = [ours.render(data, "above", *size) for size in sizes]
    assert [picture.shape[:2] for picture in pictures] == sizes
    assert np.array_equal(pictures[0], pictures[2]) and np.array_equal(pictures[1], pictures[3])
    ours.close()


def test_a_renderer_that_is_dropped_takes_nothing_of_anothers_with_it():
    """GL numbers its objects from one in each context: freed in another's, they would be that one's."""
    model = mujoco.MjModel.from_xml_string(MODEL.format(scene=SCENES["directional light"]))
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    stays, dropped = MujocoRenderer(model), MujocoRenderer(model)
    dropped.render(data, "above", 96, 128)
    (canvas,) = dropped._canvases.values()
    context = canvas._gl  # as a frame of a traceback may hold on to it, so that MuJoCo's objects would go first
    picture = stays.render(data, "above", 96, 128)
    del dropped, canvas
    assert context._context is None
    assert np.array_equal(stays.render(data, "above", 96, 128), picture)
    stays.close()
