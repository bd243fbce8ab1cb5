from dataclasses import replace

import numpy as np
import pytest

from taketwo.envs.grid import WithGrid, numbered
from taketwo.envs.several import Several
from taketwo.errors import RenderingError
from taketwo.images import resize_with_pad
from taketwo.session.events import StepTaken, TerminalObservation
from taketwo.testing import PointEnvironment, SteeringController
from taketwo.types import Image, VectorStep
from tests.session.vector_support import Each, SelfResetting, run_vector
from tests.support import Keep


def grid_of(count, shown=0, height=48, width=64):
    several = Several([PointEnvironment(height, width) for _ in range(count)])
    return several, WithGrid(several, shown)


def seeds(count):
    return {env: env + 1 for env in range(count)}


def right(envs):
    return {env: np.array([0.05, 0.0]) for env in envs}


def tiles(picture, rows, columns):
    height, width = picture.shape[0] // rows, picture.shape[1] // columns
    return [
        picture[row * height : (row + 1) * height, column * width : (column + 1) * width]
        for row in range(rows)
        for column in range(columns)
    ]


def drawn(env, point, height, width):
    """What a point's camera shows now, as large as a tile, with its number."""
    return numbered(resize_with_pad(point.render("top", point.spec.cameras["top"].height, 64), height, width), env)


def test_the_grid_shows_the_same_instant_of_every_environment():
    several, grid = grid_of(4)
    observations = grid.reset(seeds(4))
    for _ in range(4):
        shown = tiles(observations[0].images["grid"].pixels, 2, 2)
        for env, (tile, point) in enumerate(zip(shown, several.environments, strict=True)):
            assert np.array_equal(tile, drawn(env, point, 24, 32))
        observations = {env: result.observation for env, result in grid.step(right(range(4))).results.items()}
    assert len({tile.tobytes() for tile in shown}) == 4


@pytest.mark.parametrize(
    ("count", "rows", "columns", "shown"), [(1, 1, 1, 1), (2, 1, 2, 2), (3, 2, 2, 3), (5, 2, 3, 5), (20, 4, 4, 16)]
)
def test_it_is_as_large_as_the_camera_and_shows_the_first_sixteen(count, rows, columns, shown):
    several, grid = grid_of(count)
    picture = grid.reset(seeds(count))[0].images["grid"]
    assert grid.shown_spec.cameras["grid"] == grid.spec.cameras["top"]
    assert (picture.height, picture.width) == (48, 64)
    assert picture.pixels.shape == (48, 64, 3)
    there = tiles(picture.pixels, rows, columns)
    assert [tile.any() for tile in there] == [k < shown for k in range(len(there))]
    assert sum(point.pictures_made for point in several.environments) == shown


def test_only_the_shown_environment_has_it():
    _, grid = grid_of(3, shown=1)
    first = grid.reset(seeds(3))
    assert ["grid" in first[env].images for env in range(3)] == [False, True, False]
    step = grid.step(right(range(3)))
    assert ["grid" in step.results[env].observation.images for env in range(3)] == [False, True, False]
    assert list(grid.spec.cameras) == ["top"]
    assert list(grid.shown_spec.cameras) == ["top", "grid"]


def test_nothing_is_drawn_when_nobody_looks():
    several, grid = grid_of(3)
    grid.reset(seeds(3))
    for _ in range(5):
        grid.step(right(range(3)))
    assert [point.pictures_made for point in several.environments] == [0, 0, 0]


def test_each_tile_is_drawn_once_for_the_grid_and_the_camera_together():
    several, grid = grid_of(2)
    first = grid.reset(seeds(2))
    for camera in ("grid", "top", "grid"):
        _ = first[0].images[camera].pixels
    assert [point.pictures_made for point in several.environments] == [1, 1]


def test_one_that_waits_keeps_its_last_picture():
    _, grid = grid_of(2)
    grid.reset(seeds(2))
    for _ in range(3):
        step = grid.step(right(range(2)))
    before = tiles(step.results[0].observation.images["grid"].pixels, 1, 2)
    for _ in range(3):
        step = grid.step(right([0]))
    after = tiles(step.results[0].observation.images["grid"].pixels, 1, 2)
    assert np.array_equal(before[1], after[1])
    assert not np.array_equal(before[0], after[0])


class Forgets(Several):
    """Cannot draw those that wait any more."""

    def step(self, actions):
        for env in set(range(self.num_envs)) - actions.keys():
            self.environments[env]._images.next_instant()
        return super().step(actions)


def test_one_that_waits_and_cannot_be_drawn_any_more_stays_as_it_was_drawn_last():
    several = Forgets([PointEnvironment(), PointEnvironment()])
    grid = WithGrid(several, 0)
    first = grid.reset(seeds(2))
    before = tiles(first[0].images["grid"].pixels, 1, 2)[1]
    grid.step(right(range(2)))  # nobody looks
    picture = grid.step(right([0])).results[0].observation.images["grid"].pixels
    assert np.array_equal(tiles(picture, 1, 2)[1], before)


def test_one_that_has_not_begun_is_black():
    _, grid = grid_of(2)
    picture = grid.reset({0: 1})[0].images["grid"].pixels
    first, second = tiles(picture, 1, 2)
    assert first.any()
    assert not second.any()


def test_others_that_are_reset_between_two_steps_are_seen_where_they_begin():
    several, grid = grid_of(2)
    grid.reset(seeds(2))
    seen = grid.step(right(range(2))).results[0].observation
    grid.reset({1: 77})
    shown = tiles(seen.images["grid"].pixels, 1, 2)
    assert all(
        np.array_equal(tile, drawn(env, point, 48, 32))
        for env, (tile, point) in enumerate(zip(shown, several.environments, strict=True))
    )


def test_a_picture_that_nobody_looked_at_before_the_next_step_cannot_be_had():
    _, grid = grid_of(2)
    first = grid.reset(seeds(2))[0]
    grid.step(right(range(2)))
    with pytest.raises(RenderingError, match="'grid' was not rendered before the environment moved on"):
        _ = first.images["grid"].pixels


def test_a_picture_of_the_shown_one_that_cannot_be_drawn_is_told():
    class Dark(PointEnvironment):
        def render(self, camera, height, width):
            raise RenderingError("no context")

    grid = WithGrid(Several([Dark(), PointEnvironment()]), 0)
    with pytest.raises(RenderingError, match="no context"):
        _ = grid.reset(seeds(2))[0].images["grid"].pixels


@pytest.mark.parametrize("late", [False, True])
def test_at_the_end_of_an_episode_it_shows_the_end_also_where_the_next_has_begun(late):
    simulator = SelfResetting(2, limit=6, late=late)
    grid = WithGrid(simulator, 0)
    keep = Keep(cameras=("grid", "top"))
    run_vector(grid, Each([SteeringController(0.01)] * 2), shown=[keep], shown_spec=grid.shown_spec, num_episodes=3)
    ends = keep.of(TerminalObservation)
    assert len(ends) == 3
    for event in (*ends, *keep.of(StepTaken)):
        seen = event.observation.images
        alone = numbered(resize_with_pad(seen["top"].pixels, 48, 32), 0)
        assert np.array_equal(tiles(seen["grid"].pixels, 1, 2)[0], alone)


@pytest.mark.parametrize("background", [0, 128, 255])
def test_numbers_are_small_differ_and_can_be_read_on_any_background(background):
    tile = np.full((120, 160, 3), background, np.uint8)
    labels = [numbered(tile, env) for env in (0, 7, 15)]
    assert len({label.tobytes() for label in labels}) == 3
    for label in labels:
        corner = label[:20, :24]
        assert corner.min() < 60 and corner.max() > 220
        assert (label[20:] == background).all() and (label[:, 24:] == background).all()
    assert (tile == background).all()


def test_a_single_environment_has_no_number():
    several, grid = grid_of(1)
    picture = grid.reset(seeds(1))[0].images["grid"].pixels
    assert np.array_equal(picture, several.environments[0].render("top", 48, 64))


def test_environments_without_a_camera_have_no_grid():
    class Blind(PointEnvironment):
        def __init__(self):
            super().__init__()
            self.spec = replace(self.spec, cameras={})

        def _observe(self):
            return replace(super()._observe(), images={})

    grid = WithGrid(Several([Blind(), Blind()]), 0)
    assert grid.shown_spec is grid.spec
    assert not grid.reset(seeds(2))[0].images


def test_it_passes_on_what_it_does_not_change():
    class Closes:
        spec = PointEnvironment().spec
        num_envs, resets_itself, closed = 3, True, 0

        def step(self, actions):
            return VectorStep({}, faults={2: "broken"}, unseen=frozenset({1}))

        def close(self):
            self.closed += 1

    inner = Closes()
    grid = WithGrid(inner, 0)
    assert (grid.num_envs, grid.resets_itself) == (3, True)
    step = grid.step({})
    assert (step.faults, step.unseen) == ({2: "broken"}, {1})
    grid.close()
    assert inner.closed == 1


def test_pictures_are_images_like_any_other():
    _, grid = grid_of(2)
    picture = grid.reset(seeds(2))[0].images["grid"]
    assert isinstance(picture, Image)
    assert not picture.rendered
    assert picture.pixels is picture.pixels
