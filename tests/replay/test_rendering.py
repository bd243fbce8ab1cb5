import os
import signal
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
import pytest

from taketwo.datasets.layout import trace_path
from taketwo.datasets.trace import Trace
from taketwo.envs.aloha import AlohaConfig, AlohaEnvironment
from taketwo.errors import ConfigError, EnvironmentFault, RecordingError, RenderingError
from taketwo.replay.rendering import Scene, Shot, film, rendered_frames
from tests.replay.recording import SMALL

SHOT = Shot(("top", "angle"), 48, 64, Fraction(50), 10, "veryfast")


@pytest.fixture(scope="module")
def aloha():
    environment = SMALL.make()
    yield environment
    environment.close()


def trace_of(cube, index):
    return Trace.load(cube.root / trace_path(index))


def scenes(cube, *indices):
    return [
        Scene(index, cube.root / trace_path(index), trace_of(cube, index).states, f"cube_ep{index:03d}", "cube")
        for index in indices
    ]


def decoded(path):
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        return [frame.to_ndarray(format="rgb24") for frame in frames], [float(frame.time) for frame in frames]


def test_frames_are_those_of_the_recording_bit_for_bit(cube, aloha):
    trace = trace_of(cube, 1)
    frames = [frame for (frame,) in rendered_frames(aloha, trace, range(trace.states), ["top"], 48, 64)]
    assert len(frames) == len(cube.pictures[1]) == cube.result.episodes[1].steps + 1
    assert all(np.array_equal(frame, seen) for frame, seen in zip(frames, cube.pictures[1], strict=True))


def test_any_part_can_be_drawn_alone_in_any_order(cube, aloha):
    trace = trace_of(cube, 0)
    for start, stop in ((120, 123), (0, 2), (60, 61)):
        frames = [frame for _, frame in rendered_frames(aloha, trace, range(start, stop), ["angle", "top"], 48, 64)]
        assert np.array_equal(frames, cube.pictures[0][start:stop])


def test_an_unknown_camera_is_told(cube, aloha):
    with pytest.raises(ConfigError, match="angle"):
        next(rendered_frames(aloha, trace_of(cube, 0), [0], ["top", "angel"], 48, 64))


def test_states_of_another_simulator_are_told(cube):
    environment = AlohaConfig(task="insertion", cameras=()).make()
    with pytest.raises(EnvironmentFault, match="cannot be restored"):
        next(rendered_frames(environment, trace_of(cube, 0), [0], ["top"], 48, 64))
    environment.close()


@pytest.fixture(scope="module", params=[1, 2, None], ids=["here", "two workers", "auto"])
def filmed(request, cube, aloha, tmp_path_factory):
    folder = tmp_path_factory.mktemp("filmed")
    advanced = []
    made = {
        scene.index: paths
        for scene, paths in film(SMALL, aloha, scenes(cube, 0, 2), SHOT, folder, request.param, advanced.append)
    }
    return folder, made, advanced


def test_every_frame_is_in_its_place(cube, filmed):
    _, made, _ = filmed
    for index, paths in made.items():
        frames, times = decoded(paths[0])
        assert len(frames) == len(cube.pictures[index])
        assert times == pytest.approx([k / 50 for k in range(len(frames))])
        for k, (frame, seen) in enumerate(zip(frames, cube.pictures[index], strict=True)):
            errors = [
                np.abs(frame.astype(int) - cube.pictures[index][other].astype(int)).mean()
                for other in {max(0, k - 3), k, min(len(frames) - 1, k + 3)}
            ]
            assert np.abs(frame.astype(int) - seen.astype(int)).mean() == min(errors)


def test_each_camera_has_a_file_of_its_own_and_nothing_else_is_left(filmed):
    folder, made, advanced = filmed
    assert sorted(path.name for path in folder.iterdir()) == [
        "cube_ep000_angle_64x48.mp4",
        "cube_ep000_top_64x48.mp4",
        "cube_ep002_angle_64x48.mp4",
        "cube_ep002_top_64x48.mp4",
    ]
    assert [path.name for path in made[0]] == ["cube_ep000_top_64x48.mp4", "cube_ep000_angle_64x48.mp4"]
    assert sum(advanced) == sum(len(decoded(path)[0]) for paths in made.values() for path in paths)


def test_several_processes_make_the_very_same_file(cube, aloha, tmp_path):
    shot = Shot(("angle",), 64, 96, Fraction(50), 23, "veryfast")
    for workers in (1, 2):
        list(film(SMALL, aloha, scenes(cube, 0), shot, tmp_path, workers))
    one, two = sorted(tmp_path.iterdir())
    assert two.name == "cube_ep000_angle_96x64_2.mp4"
    assert one.read_bytes() == two.read_bytes()


@dataclass(frozen=True)
class DyingConfig(AlohaConfig):
    """A simulator that dies when it draws in another process."""

    kind: str = "kill"

    def make(self):
        return Dying(self)


class Dying(AlohaEnvironment):
    def __init__(self, config):
        super().__init__(config)
        self.kind = config.kind

    def render(self, camera, height, width):
        if self.kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise ValueError("the graphics card\nis on fire")


@pytest.mark.parametrize(("kind", "message"), [("kill", "has died; --workers=1"), ("raise", "card is on fire")])
def test_what_happens_to_a_worker_is_told_and_nothing_is_left(cube, aloha, tmp_path, kind, message):
    with pytest.raises(RenderingError, match=message) as error:
        list(film(DyingConfig(kind=kind), aloha, scenes(cube, 0), SHOT, tmp_path / "out", 2))
    assert "\n" not in str(error.value)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_told(cube, aloha, tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(RecordingError, match="choose a folder"):
        list(film(SMALL, aloha, scenes(cube, 0), SHOT, tmp_path / "out", 1))
