"""Every finding: where it is found, and where it looks alike and is not."""

from unittest import mock

import numpy as np
import pytest
from PIL import Image, ImageFilter

from taketwo.datasets import quality
from taketwo.datasets.features import ACTION, CAPTURE_TIME, STATE, SUCCESS
from taketwo.datasets.quality import check
from taketwo.datasets.quality_findings import KINDS, Finding, said, stretches, worst_first
from taketwo.datasets.quality_pictures import SAMPLED_HZ, block_means, luma, sharpness
from taketwo.datasets.reader import Dataset
from taketwo.errors import ConfigError
from taketwo.recording.frame_watch import FrameWatch
from tests.datasets.making import (
    FPS,
    HEIGHT,
    WIDTH,
    change_rows,
    change_stats,
    change_video,
    data_file,
    episode,
    film,
    make_dataset,
    texture,
    video_file,
    wave,
)

LONG = 80
"""Rows of 4 s, as long as a freeze needs to be told of."""


def checked(root, every=None, **options):
    """Check a dataset; looks at one picture in `every`, and by default at as many as users' checks do."""
    looked_at_hz = FPS / every if every else SAMPLED_HZ
    with Dataset.open(root) as dataset, mock.patch.object(quality, "SAMPLED_HZ", looked_at_hz):
        return check(dataset, **options)


def found(result, kind):
    return [finding for finding in result.findings if finding.kind == kind]


def kinds(result):
    return {finding.kind for finding in result.findings}


@pytest.fixture
def made(tmp_path):
    """Makes a dataset and checks it."""

    def make(*episodes, **options):
        root = make_dataset(tmp_path / "dataset", list(episodes), **options)
        return checked(root, every=1)

    return make


@pytest.fixture
def root(tmp_path):
    """A dataset of two sound episodes, for a test to damage."""
    return make_dataset(tmp_path / "dataset", [episode(), episode(cameras={"top": film(60, seed=1)})])


@pytest.mark.parametrize("video", [True, False], ids=["video", "images"])
def test_nothing_is_found_in_a_sound_dataset(made, video):
    result = made(episode(), episode(), episode(), video=video)
    assert result.findings == ()
    assert result.skipped == ()
    assert result.worst is None
    assert [measured.length for measured in result.episodes] == [60, 60, 60]


# Pictures


def blurred(pictures, radius=2.0):
    return [np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(radius))) for picture in pictures]


def test_blur_of_a_few_tenths_of_a_second_is_found_where_it_is(made):
    pictures = film(60)
    pictures[30:42] = blurred(pictures[30:42])
    (blur,) = found(made(episode(cameras={"top": pictures}), episode()), "blur")
    assert (blur.episode, blur.camera, blur.severity) == (0, "top", "warning")
    assert blur.rows[0] in (30, 31)
    assert blur.rows[1] == 41
    assert blur.value < blur.threshold


def test_one_blurred_picture_is_not_told_of(made):
    pictures = film(60)
    pictures[30:32] = blurred(pictures[30:32])
    assert not found(made(episode(cameras={"top": pictures})), "blur")


def test_plain_scene_beside_a_rich_one_is_not_called_blurred(made):
    gradient = np.linspace(60, 190, WIDTH).astype(np.uint8)
    plain = [np.roll(np.tile(gradient[None, :, None], (HEIGHT, 1, 3)), row, axis=0) for row in range(60)]
    result = made(episode(cameras={"top": film(60), "wrist": plain}))
    assert not found(result, "blur")
    assert result.sharpness["wrist"] is None
    assert any("'wrist'" in line for line in result.skipped)


def stuck(length=LONG, first=20, last=70):
    pictures = film(length)
    pictures[first:last] = [pictures[first]] * (last - first)
    return pictures


@pytest.mark.parametrize("video", [True, False], ids=["video", "images"])
@pytest.mark.parametrize("every", [1, 2, 5])
def test_picture_that_repeats_while_the_robot_moves_is_frozen(tmp_path, video, every):
    root = make_dataset(tmp_path / "d", [episode(LONG, cameras={"top": stuck()})], video=video)
    (frozen,) = found(checked(root, every=every), "frozen")
    assert frozen.severity == "error"
    assert frozen.rows == (20, 69)
    assert frozen.value == pytest.approx(50 / FPS)


def test_live_watch_finds_the_same_freeze(tmp_path):
    pictures, state = stuck(), wave(LONG)
    watch = FrameWatch("top", FPS)
    for row in range(LONG):
        watch.look(row, pictures[row], state[row].astype(float))
    (live,) = watch.runs
    root = make_dataset(tmp_path / "d", [episode(LONG, state=state, cameras={"top": pictures})])
    (frozen,) = found(checked(root, every=1), "frozen")
    assert frozen.rows == (live.first_frame, live.last_frame)


def test_still_picture_of_a_still_robot_is_not_frozen(made):
    state, action = wave(LONG), wave(LONG)
    state[20:70], action[20:70] = state[20], action[20]
    state += np.random.default_rng(0).normal(0, 0.003, state.shape).astype(np.float32)  # the sensors' noise
    assert not found(made(episode(LONG, state=state, action=action, cameras={"top": stuck()})), "frozen")


def test_short_repetition_is_not_frozen(made):
    assert not found(made(episode(LONG, cameras={"top": stuck(first=20, last=50)})), "frozen")


def test_slow_change_is_not_frozen(made):
    ground = texture()
    pictures = [np.clip(ground.astype(int) + row // 3, 0, 255).astype(np.uint8) for row in range(LONG)]
    assert not found(made(episode(LONG, cameras={"top": pictures})), "frozen")


@pytest.mark.parametrize(("length", "severity"), [(1, "warning"), (50, "error")])
def test_flat_pictures_are_blank_and_nothing_else(made, length, severity):
    pictures = film(LONG)
    pictures[10 : 10 + length] = [np.zeros_like(pictures[0])] * length
    result = made(episode(LONG, cameras={"top": pictures}))
    (blank,) = result.findings
    assert (blank.kind, blank.severity, blank.rows) == ("blank", severity, (10, 9 + length))


@pytest.mark.parametrize(("kind", "low", "high"), [("dark", 0, 40), ("bright", 235, 255)])
def test_wrong_exposure_is_found(made, kind, low, high):
    pictures = film(60)
    for row in range(20, 40):
        pictures[row] = (low + (high - low) * (pictures[row] / 255)).astype(np.uint8)
    (exposure,) = made(episode(cameras={"top": pictures})).findings
    assert (exposure.kind, exposure.severity, exposure.rows) == (kind, "warning", (20, 39))


def test_dark_corner_or_white_table_is_no_wrong_exposure(made):
    pictures = film(60)
    for picture in pictures:
        picture[: HEIGHT // 2] = 255
        picture[HEIGHT // 2 :, : WIDTH // 2] = 0
    assert not kinds(made(episode(cameras={"top": pictures}))) & {"dark", "bright"}


def test_video_that_lacks_frames_at_its_end_is_found(root):
    change_video(root, lambda number, packet: packet if number < 110 else None)
    (frames,) = checked(root).findings
    assert (frames.episode, frames.kind, frames.severity, frames.camera) == (1, "frames", "error", "top")
    assert (frames.value, frames.threshold) == (50, 60)


def test_frames_at_wrong_times_are_found(root):
    def later(number, packet):
        if number >= 100:
            packet.pts += packet.duration // 4
            packet.dts += packet.duration // 4
        return packet

    change_video(root, later)
    (times,) = checked(root).findings
    assert (times.episode, times.kind, times.severity) == (1, "frame_times", "error")
    assert times.rows == (40, 59)
    assert times.value == pytest.approx(0.25 / FPS, rel=0.05)


# Numbers


@pytest.mark.parametrize(("column", "kind"), [("action", "action_jump"), ("state", "state_jump")])
def test_jump_is_found_with_its_dimension(made, column, kind):
    values = wave()
    values[33:, 1] += 0.8
    (jump,) = made(episode(), episode(**{column: values})).findings
    assert (jump.episode, jump.kind, jump.severity) == (1, kind, "warning")
    assert jump.rows == (32, 33)
    assert jump.dimensions == ("grip",)
    assert jump.value > jump.threshold


def test_spike_is_one_place(made):
    action = wave()
    action[33, 0] += 0.8
    (jump,) = made(episode(action=action)).findings
    assert jump.places == ((32, 34),)
    assert jump.dimensions == ("lift",)


@pytest.mark.parametrize("low", [-np.pi, 0.0])
def test_an_angle_that_wraps_is_no_jump(made, low):
    angle = np.column_stack([np.linspace(low + 1, low + 8, 60), wave(60, 1)[:, 0]])
    angle[:, 0] = (angle[:, 0] - low) % (2 * np.pi) + low
    assert np.ptp(np.diff(angle[:, 0])) > 6
    assert not found(made(episode(state=angle.astype(np.float32))), "state_jump")


@pytest.mark.parametrize(("length", "size"), [(6.0, 2.5), (1.0, 2 * np.pi)], ids=["less than a turn", "no angle"])
def test_what_does_not_wrap_is_a_jump(made, length, size):
    values = np.column_stack([np.linspace(-length / 2, length / 2, 60)] * 2)
    values[30:, 1] += size if length < 2 else -size
    (jump,) = found(made(episode(state=values.astype(np.float32))), "state_jump")
    assert jump.value == pytest.approx(size, abs=0.2)


def test_fast_smooth_motion_is_no_jump(made):
    phase = np.cumsum(np.concatenate([np.full(30, 0.05), np.linspace(0.05, 0.6, 30)]))
    action = np.sin(phase[:, None] + np.arange(2)).astype(np.float32)
    assert np.abs(np.diff(action, axis=0)).max() > 0.5
    assert not found(made(episode(action=action)), "action_jump")


def test_gripper_that_opens_and_closes_is_no_jump(made):
    action = wave()
    action[:, 1] = (np.arange(60) // 20) % 2
    assert not found(made(episode(action=action)), "action_jump")


def test_constant_dimension_and_sensor_steps_never_jump(made):
    action, state = wave(), wave()
    action[:, 1] = 7.0
    state[:, 1] = 0.0015 * (np.arange(60) == 30)
    assert made(episode(action=action, state=state)).findings == ()


def test_jump_that_most_episodes_make_is_a_note(made):
    action = wave()
    action[33:, 1] += 0.8
    jumps = found(made(*[episode(action=action)] * 3, episode()), "action_jump")
    assert [jump.severity for jump in jumps] == ["note"] * 3
    assert "as in 3 of 4 episodes" in jumps[0].message


def test_shaking_values_are_found(made):
    state = wave()
    state[:, 0] += np.random.default_rng(0).normal(0, 0.2, 60)
    (noise,) = found(made(episode(state=state)), "noise")
    assert (noise.column, noise.dimensions, noise.severity) == (STATE, ("lift",), "warning")


@pytest.mark.parametrize("unit", [1, 100], ids=["radians", "degrees"])
def test_fine_sensor_noise_is_not_shaking(made, unit):
    state = unit * (wave(speed=0.001) + np.random.default_rng(0).normal(0, 0.003, (60, 2)).astype(np.float32))
    state[:, 1] = unit * wave()[:, 1]
    state[:10, 0] -= unit * np.linspace(1, 0.1, 10)
    assert not made(episode(state=state)).findings


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_found_and_spoils_no_other_judgement(made, bad):
    state, action = wave(), wave()
    state[[7, 8, 20], 1] = bad
    action[33:, 1] += 0.8
    result = made(episode(state=state, action=action))
    assert [finding.kind for finding in result.findings] == ["not_a_number", "action_jump"]
    assert result.findings[0].places == ((7, 8), (20, 20))
    assert result.findings[0].dimensions == ("grip",)
    assert result.findings[0].severity == "error"


def test_capture_time_that_is_no_number_is_found(made):
    times = np.arange(60) / FPS
    times[10:12] = np.nan
    (bad,) = made(episode(capture_time=times)).findings
    assert (bad.kind, bad.column, bad.rows) == ("not_a_number", CAPTURE_TIME, (10, 11))
    assert bad.message == "capture_time is NaN or infinite at rows 10 to 11"


def test_freeze_is_found_beside_a_broken_sensor(made):
    state = wave(LONG)
    state[:, 1] = np.nan
    assert found(made(episode(LONG, state=state, cameras={"top": stuck()})), "frozen")


def test_action_that_never_changes_is_found(made):
    (still,) = made(episode(), episode(action=np.ones((60, 2), np.float32))).findings
    assert (still.episode, still.kind, still.column) == (1, "constant", ACTION)


def test_state_that_never_changes_while_the_action_does_is_found(made):
    (still,) = made(episode(), episode(state=np.ones((60, 2), np.float32))).findings
    assert (still.episode, still.kind, still.column) == (1, "constant", STATE)


def test_action_that_comes_back_to_its_limit_is_noted(made):
    action = wave(120, speed=0.2)
    action[:, 0] = np.minimum(1.5 * action[:, 0], 1)
    (limit,) = found(made(episode(120, action=action)), "saturated")
    assert (limit.severity, limit.dimensions) == ("note", ("lift",))
    assert "highest" in limit.message
    assert len(limit.places) == 4


def test_action_that_rests_at_home_is_not_at_its_limit(made):
    action = wave(120)
    action[:40], action[100:] = -1, -1
    assert not found(made(episode(120, action=action)), "saturated")


# Times


def test_capture_gap_is_found(made):
    times = np.arange(60) / FPS
    times[30:] += 0.2
    (gap,) = made(episode(capture_time=times)).findings
    assert (gap.kind, gap.severity, gap.rows) == ("gap", "warning", (29, 30))
    assert gap.value == pytest.approx(0.25)


def test_jitter_is_no_gap(made):
    times = np.arange(60) / FPS + np.random.default_rng(0).uniform(0, 0.2 / FPS, 60)
    assert made(episode(capture_time=times)).findings == ()


def test_session_without_a_clock_has_no_gaps_and_no_rate(made):
    times = np.cumsum(np.random.default_rng(0).uniform(0.01, 0.3, 60))
    assert made(episode(capture_time=times, note={"measured_hz": None})).findings == ()


@pytest.mark.parametrize("measured_hz", [None, float(FPS)])
def test_time_that_goes_back_is_found_with_and_without_a_clock(made, measured_hz):
    times = np.arange(60) / FPS
    times[30] = times[28]
    (gap,) = [
        finding
        for finding in made(episode(capture_time=times, note={"measured_hz": measured_hz})).findings
        if finding.severity == "error"
    ]
    assert (gap.kind, gap.rows) == ("gap", (29, 30))


def test_rate_below_fps_is_found_by_the_note(made):
    result = made(episode(note={"measured_hz": 0.94 * FPS}), episode(note={"measured_hz": 0.96 * FPS}))
    (slow,) = result.findings
    assert (slow.episode, slow.kind, slow.severity) == (0, "slow", "warning")


def test_rate_below_fps_is_found_by_the_capture_times_where_there_is_no_note(made):
    (slow,) = made(episode(), episode(capture_time=np.arange(60) / (FPS / 2)), notes=False).findings
    assert (slow.episode, slow.kind) == (1, "slow")
    assert slow.value == pytest.approx(FPS / 2)


def test_timestamp_off_its_row_is_found(root):
    def shift(values):
        values[70:75] += 0.002
        return values

    change_rows(root, "timestamp", shift)
    (off,) = found(checked(root), "timestamps")
    assert (off.episode, off.severity, off.rows) == (1, "error", (10, 14))
    assert off.value == pytest.approx(0.002, rel=0.05)


def test_timestamp_within_the_tolerance_of_lerobot_is_not(root):
    change_rows(root, "timestamp", lambda values: values + 0.9e-4)
    assert not found(checked(root), "timestamps")


@pytest.mark.parametrize("column", ["frame_index", "index"])
def test_rows_with_wrong_numbers_are_found(root, column):
    def repeat(values):
        values[70] = values[69]
        return values

    change_rows(root, column, repeat)
    (rows,) = found(checked(root), "rows")
    assert (rows.episode, rows.severity, rows.column, rows.rows) == (1, "error", column, (10, 10))


# What the dataset tells of itself


def test_missing_success_column_is_found_once(made):
    result = made(episode(), episode(), notes=False, leave_out=[SUCCESS])
    (success,) = result.findings
    assert (success.episode, success.kind, success.severity) == (None, "success", "warning")


def test_episode_without_a_verdict_is_found(made):
    result = made(episode(), episode(success=np.zeros(60, bool), note={"outcome": "unjudged", "success": None}))
    (success,) = result.findings
    assert (success.episode, success.kind) == (1, "success")
    assert "unjudged" in success.message


def test_failed_episode_has_a_verdict(made):
    assert not made(episode(), episode(success=np.zeros(60, bool)), notes=False).findings


def test_empty_task_is_found(made):
    (task,) = made(episode(), episode(task=" ")).findings
    assert (task.episode, task.kind, task.severity) == (1, "tasks", "warning")


def test_row_of_an_unknown_task_is_found(root):
    change_rows(root, "task_index", lambda values: values + (np.arange(120) == 100) * 5)
    (task,) = found(checked(root), "tasks")
    assert (task.episode, task.severity, task.rows) == (1, "error", (40, 40))


def test_very_short_episode_is_noted(made):
    (length,) = made(episode(), episode(8)).findings
    assert (length.episode, length.kind, length.severity) == (1, "length", "note")


@pytest.mark.parametrize("length", [14, 260])
def test_episode_of_unusual_length_is_noted(made, length):
    (unusual,) = made(*[episode(60)] * 4, episode(length)).findings
    assert (unusual.episode, unusual.kind, unusual.severity) == (4, "length", "note")


def test_salvaged_episode_is_noted(made):
    (salvaged,) = made(episode(note={"salvaged": True})).findings
    assert (salvaged.kind, salvaged.severity) == ("salvaged", "note")


@pytest.mark.parametrize("statistic", ["min", "max", "count"])
def test_statistics_that_differ_are_found(root, statistic):
    change_stats(root, lambda stats: stats[ACTION][statistic].__setitem__(0, stats[ACTION][statistic][0] + 1))
    (stats,) = checked(root).findings
    assert (stats.episode, stats.kind, stats.column) == (None, "stats", ACTION)
    assert stats.value == pytest.approx(stats.threshold + 1)


def test_missing_or_damaged_statistics_are_found(root):
    change_stats(root, lambda stats: stats.pop(STATE))
    (stats,) = checked(root).findings
    assert (stats.kind, stats.column) == ("stats", STATE)
    (root / "meta/stats.json").write_text("{")
    (stats,) = checked(root).findings
    assert (stats.kind, stats.severity) == ("stats", "error")


def test_what_a_dataset_does_not_have_is_said_to_be_not_judged(made):
    result = made(episode(), notes=False, leave_out=[CAPTURE_TIME])
    assert result.findings == ()
    assert len(result.skipped) == 1
    assert CAPTURE_TIME in result.skipped[0]


# Damage


def spoil(path):
    """Garbage from a quarter of the file on."""
    data = bytearray(path.read_bytes())
    data[len(data) // 4 :] = b"\0" * (len(data) - len(data) // 4)
    path.write_bytes(data)


@pytest.mark.parametrize("harm", [spoil, lambda path: path.unlink()], ids=["spoilt", "gone"])
@pytest.mark.parametrize(("file", "camera"), [(data_file, None), (lambda root, n: video_file(root, "top", n), "top")])
def test_damaged_file_is_a_finding_and_the_others_are_checked(tmp_path, file, camera, harm):
    action = wave()
    action[33:, 1] += 0.8
    root = make_dataset(tmp_path / "d", [episode(), episode(), episode(action=action)], file_mb=0)
    harm(file(root, 1))
    result = checked(root)
    (damaged,) = found(result, "damaged")
    assert (damaged.episode, damaged.severity, damaged.camera) == (1, "error", camera)
    assert [jump.episode for jump in found(result, "action_jump")] == [2]
    assert [measured.index for measured in result.episodes] == [0, 1, 2]


def test_dataset_with_no_readable_row_is_checked(tmp_path):
    root = make_dataset(tmp_path / "d", [episode()])
    spoil(data_file(root))
    assert kinds(checked(root)) == {"damaged"}


# How it runs


def test_chosen_episodes_and_progress(tmp_path):
    action = wave()
    action[33:, 1] += 0.8
    root = make_dataset(tmp_path / "d", [episode(action=action), episode(), episode(action=action)])
    told = []
    result = checked(root, episodes=[2, 1, 2], progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 2), (2, 2)]
    assert [measured.index for measured in result.episodes] == [1, 2]
    assert {finding.episode for finding in result.findings} == {2}
    assert any("statistics" in line for line in result.skipped)


def test_an_unknown_episode_is_refused(root):
    with pytest.raises(ConfigError, match="episode 2"):
        checked(root, episodes=[0, 2])


def test_ten_pictures_a_second_are_looked_at(root):
    result = checked(root)
    assert result.every == FPS // 10
    assert result.episodes[1].cameras["top"].rows.tolist() == list(range(0, 60, FPS // 10))


def test_dataset_without_episodes_or_cameras(tmp_path):
    root = make_dataset(tmp_path / "d", [episode(cameras={})])
    assert checked(root).findings == ()
    assert checked(root, episodes=[]).findings == ()


# The pieces


def test_sharpness_is_the_variance_of_the_laplacian():
    grey = np.random.default_rng(0).integers(0, 256, (9, 12), dtype=np.uint8)
    rows, columns = np.meshgrid(range(1, 8), range(1, 11), indexing="ij")
    wide = grey.astype(int)
    values = [
        wide[i - 1, j] + wide[i + 1, j] + wide[i, j - 1] + wide[i, j + 1] - 4 * wide[i, j]
        for i, j in zip(rows.ravel(), columns.ravel(), strict=True)
    ]
    assert sharpness(grey) == pytest.approx(np.var(values), rel=1e-5)


def test_luma_agrees_with_pillow():
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    assert np.abs(luma(pixels).astype(int) - np.asarray(Image.fromarray(pixels).convert("L"))).max() <= 1


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (8, 8), (17, 30)])
def test_pictures_of_any_size_are_measured(shape):
    grey = np.full(shape, 7, np.uint8)
    assert block_means(grey).min() == block_means(grey).max() == 7
    assert sharpness(grey) == 0


def test_stretches():
    assert stretches(np.array([1, 1, 0, 0, 1, 0, 1], bool)) == [(0, 1), (4, 4), (6, 6)]
    assert stretches(np.zeros(3, bool)) == stretches(np.zeros(0, bool)) == []


def test_places_in_words():
    assert said([(3, 3)]) == "at row 3"
    assert said([(3, 9)]) == "at rows 3 to 9"
    assert said([(3, 9), (12, 12)]) == "in 2 places, first at rows 3 to 9"
    assert said([(3, 9), (12, 12)], (12, 12)) == "in 2 places, the worst at row 12"


def test_worst_comes_first():
    order = [
        Finding(2, "damaged", "error", ""),
        Finding(None, "success", "warning", ""),
        Finding(0, "success", "warning", ""),
        Finding(0, "length", "note", ""),
    ]
    assert worst_first(reversed(order)) == order
    assert all(finding.title and finding.advice for finding in order)
    assert all(kind.advice.endswith(".") for kind in KINDS.values())
