"""Observations become the requests that openpi's servers expect."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
from openpi_client.image_tools import resize_with_pad

from taketwo.errors import ConfigError
from taketwo.policies.layouts import REQUEST_LAYOUTS, LayoutName, build_layout
from taketwo.types import CameraSpec, EnvironmentSpec, Image, Observation


def spec(*, state: int = 14, actions: int = 14, cameras: tuple[str, ...] = ("top",)) -> EnvironmentSpec:
    return EnvironmentSpec(
        name="bench",
        action_names=tuple(f"a{i}" for i in range(actions)),
        action_units=("rad",) * actions,
        action_low=np.full(actions, -1.0),
        action_high=np.full(actions, 1.0),
        state_names=tuple(f"s{i}" for i in range(state)),
        control_hz=50.0,
        cameras={name: CameraSpec(48, 64) for name in cameras},
    )


def observation(of: EnvironmentSpec, prompt: str | None = "do it") -> Observation:
    rng = np.random.default_rng(0)
    images = {
        name: Image.of(rng.integers(0, 256, (size.height, size.width, 3), dtype=np.uint8), name)
        for name, size in of.cameras.items()
    }
    return Observation(state=np.arange(len(of.state_names), dtype=float), images=images, prompt=prompt)


def test_every_layout_that_can_be_chosen_exists() -> None:
    assert set(get_args(LayoutName)) == set(REQUEST_LAYOUTS)


def request_of(name: str, of: EnvironmentSpec, mapping: dict[str, str] | None = None, **options: Any) -> dict[str, Any]:
    layout = build_layout(name, mapping or {}, of, **({"height": 224, "width": 224} | options))
    return layout.request(observation(of))


def test_aloha_is_what_openpi_simulator_client_sends() -> None:
    bench = spec()
    request = request_of("aloha", bench)
    expected = resize_with_pad(observation(bench).images["top"].pixels, 224, 224).transpose(2, 0, 1)
    assert request.keys() == {"state", "images", "prompt"}
    np.testing.assert_array_equal(request["state"], np.arange(14.0))
    assert request["images"].keys() == {"cam_high"}
    assert request["images"]["cam_high"].shape == (3, 224, 224)
    np.testing.assert_array_equal(request["images"]["cam_high"], expected)
    assert request["prompt"] == "do it"


def test_aloha_sends_wrist_cameras_where_the_environment_has_them() -> None:
    request = request_of("aloha", spec(cameras=("angle", "left_wrist", "right_wrist", "top")))
    assert list(request["images"]) == ["cam_high", "cam_left_wrist", "cam_right_wrist"]


def test_libero_is_what_openpi_libero_client_sends() -> None:
    request = request_of("libero", spec(state=8, actions=7, cameras=("agentview", "robot0_eye_in_hand")))
    assert {key: getattr(value, "shape", value) for key, value in request.items()} == {
        "observation/image": (224, 224, 3),
        "observation/wrist_image": (224, 224, 3),
        "observation/state": (8,),
        "prompt": "do it",
    }


def test_droid_splits_the_state_into_joints_and_gripper() -> None:
    request = request_of("droid", spec(state=8, actions=8, cameras=("exterior", "wrist")))
    assert request["observation/exterior_image_1_left"].shape == (224, 224, 3)
    assert request["observation/wrist_image_left"].shape == (224, 224, 3)
    np.testing.assert_array_equal(request["observation/joint_position"], np.arange(7.0))
    np.testing.assert_array_equal(request["observation/gripper_position"], [7.0])


def test_without_a_prompt_its_entry_is_left_out_so_that_the_servers_default_counts() -> None:
    bench = spec()
    layout = build_layout("aloha", {}, bench, height=224, width=224)
    assert "prompt" not in layout.request(observation(bench, prompt=None))


def test_a_mapping_replaces_a_layouts_entries_and_adds_its_own() -> None:
    bench = spec(state=9, actions=7, cameras=("front", "side"))
    mapping = {
        "observation/image": "images.front",
        "observation/wrist_image": "images.side",
        "observation/state": "state[1:9]",
        "extra.gripper.width": "state[:1]",
        "extra.text": "prompt",
    }
    request = request_of("libero", bench, mapping)
    np.testing.assert_array_equal(request["observation/state"], np.arange(1.0, 9.0))
    np.testing.assert_array_equal(request["extra"]["gripper"]["width"], [0.0])
    assert request["extra"]["text"] == request["prompt"] == "do it"


def test_none_leaves_an_entry_out() -> None:
    bench = spec(cameras=("top", "left_wrist"))
    layout = build_layout("aloha", {"images.cam_left_wrist": "none"}, bench, height=224, width=224)
    assert layout.cameras == ("top",)


def test_a_custom_layout_holds_its_mapping_and_nothing_else() -> None:
    request = request_of("custom", spec(cameras=("top",)), {"a": "state", "b.c": "images.top"}, height=10, width=20)
    assert request.keys() == {"a", "b"}
    assert request["b"]["c"].shape == (10, 20, 3)


def test_axes_can_be_chosen_against_the_layouts_own() -> None:
    assert request_of("aloha", spec(), axes="hwc")["images"]["cam_high"].shape == (224, 224, 3)
    assert request_of("custom", spec(), {"a": "images.top"}, axes="chw")["a"].shape == (3, 224, 224)


def test_cameras_lists_each_that_is_used_once_and_no_other() -> None:
    bench = spec(cameras=("top", "angle", "front"))
    layout = build_layout("aloha", {"images.second": "images.top"}, bench, height=224, width=224)
    assert layout.cameras == ("top",)


def test_a_camera_that_is_not_used_is_not_rendered() -> None:
    bench = spec(cameras=("top", "angle"))
    shown = observation(bench)
    lazy = Image(lambda: np.zeros((48, 64, 3), np.uint8), camera="angle", height=48, width=64)
    build_layout("aloha", {}, bench, height=224, width=224).request(
        Observation(shown.state, {"top": shown.images["top"], "angle": lazy}, "do it")
    )
    assert not lazy.rendered


@pytest.mark.parametrize(
    ("name", "mapping", "bench", "message"),
    [
        ("alhoa", {}, spec(), "unknown layout 'alhoa'. Did you mean 'aloha'? Known: aloha, custom, droid, libero."),
        (
            "aloha",
            {},
            spec(cameras=("front",)),
            "layout 'aloha' needs a camera 'cam_high' or 'top' for 'images.cam_high', environment 'bench' has front; "
            "give mapping, such as {images.cam_high: images.front}",
        ),
        (
            "aloha",
            {},
            spec(cameras=()),
            "layout 'aloha' needs a camera 'cam_high' or 'top' for 'images.cam_high', environment 'bench' has no "
            "cameras; give mapping, such as {images.cam_high: images.top}",
        ),
        (
            "aloha",
            {},
            spec(state=8),
            "layout 'aloha' needs a state of 14 numbers, environment 'bench' has 8; "
            "give mapping for state, or another layout of aloha, custom, droid, libero",
        ),
        (
            "droid",
            {"observation/joint_position": "state[0:7]"},
            spec(actions=8),
            "layout 'droid' needs a state of 8 numbers, environment 'bench' has 14; "
            "give mapping for observation/gripper_position, observation/joint_position, "
            "or another layout of aloha, custom, droid, libero",
        ),
        (
            "libero",
            {},
            spec(state=8, actions=14),
            "layout 'libero' is for actions of 7 numbers, environment 'bench' takes 14; "
            "choose another layout of aloha, custom, droid, libero",
        ),
        (
            "aloha",
            {"x": "images.tpo"},
            spec(),
            "mapping of 'x': unknown camera 'tpo'. Did you mean 'top'? Known: top.",
        ),
        (
            "aloha",
            {"x": "state[0]"},
            spec(),
            "mapping of 'x' to 'state[0]': a source is state, state[0:7], prompt, none, or images. "
            "and a camera's name out of top",
        ),
        (
            "aloha",
            {"x": "state[7:15]"},
            spec(),
            "mapping of 'x' to 'state[7:15]': environment 'bench' has a state of 14 numbers, "
            "so a part goes from 0 to 14 at most",
        ),
        (
            "aloha",
            {"x": "state[3:3]"},
            spec(),
            "mapping of 'x' to 'state[3:3]': environment 'bench' has a state of 14 numbers, "
            "so a part goes from 0 to 14 at most",
        ),
        (
            "aloha",
            {"images": "images.top"},
            spec(),
            "mapping has both 'images' and 'images.cam_high' inside it",
        ),
        (
            "aloha",
            {"a..b": "state"},
            spec(),
            "mapping has the key 'a..b'; write names with single dots between, such as images.cam_high",
        ),
        (
            "custom",
            {},
            spec(),
            "layout 'custom' leaves the request empty; give mapping, such as {joints: state}",
        ),
    ],
)
def test_a_layout_that_does_not_fit_is_refused(
    name: str, mapping: dict[str, str], bench: EnvironmentSpec, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        build_layout(name, mapping, bench, height=224, width=224)
    assert str(caught.value) == message


def test_a_layout_with_its_state_mapped_takes_any_state() -> None:
    request = request_of("aloha", spec(state=20), {"state": "state[0:14]"})
    np.testing.assert_array_equal(request["state"], np.arange(14.0))
