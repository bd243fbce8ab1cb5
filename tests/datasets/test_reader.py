import gc
import json
import multiprocessing
import pickle
import resource
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from taketwo.datasets.features import BOOKKEEPING, STATE, Feature, arrow_schema
from taketwo.datasets.layout import FilePlace, data_path, episodes_path, notes_path, session_path, video_path
from taketwo.datasets.metadata import EpisodeEntry, EpisodeNote, Info, episodes_table, load_episodes, tasks_table
from taketwo.datasets.reader import OPEN_ROW_FILES, OPEN_VIDEOS, Dataset, locate
from taketwo.errors import ConfigError, DatasetError
from taketwo.types import CameraSpec
from tests.datasets.foreign import FPS, LENGTHS, foreign_dataset

FIRST = FilePlace()
TOP = "observation.images.top"
WRIST = "observation.images.wrist"


@pytest.fixture(
    scope="module",
    params=[(version, kind) for version in ("0.4.4", "0.6.1") for kind in ("video", "image")],
    ids="-".join,
)
def foreign(request, tmp_path_factory):
    """What LeRobot recorded."""
    return foreign_dataset(tmp_path_factory.getbasetemp() / "foreign", *request.param)


@pytest.fixture
def videos(tmp_path_factory, tmp_path):
    """A copy of what LeRobot recorded as videos."""
    return foreign_dataset(tmp_path_factory.getbasetemp() / "foreign", "0.4.4", "video").copy(tmp_path)


@pytest.fixture
def images(tmp_path_factory, tmp_path):
    """A copy of what LeRobot recorded as images."""
    return foreign_dataset(tmp_path_factory.getbasetemp() / "foreign", "0.4.4", "image").copy(tmp_path)


def rewrite(path, change=lambda table: table, **options):
    """Replace a Parquet file by what `change` makes of its table."""
    pq.write_table(change(pq.read_table(path, partitioning=None)), path, **options)


def edit_info(root, change):
    path = root / "meta/info.json"
    plain = json.loads(path.read_text())
    change(plain)
    path.write_text(json.dumps(plain))


def assert_shows(pixels, truth, kind):
    """Codecs blur the edges of flat colours, and change the colours by a few levels."""
    assert pixels.shape == truth.shape and pixels.dtype == np.uint8
    difference = np.abs(pixels.astype(int) - truth)
    if kind == "image":
        assert difference.max() == 0
    else:
        assert np.percentile(difference, 90) <= 4


class TestWhatLeRobotRecorded:
    def test_what_it_says_of_itself(self, foreign):
        with Dataset.open(foreign.root) as dataset:
            assert dataset.fps == FPS
            assert dataset.cameras == {"top": CameraSpec(64, 96), "wrist": CameraSpec(64, 96)}
            assert sorted(dataset.tasks) == ["pull it", "push it"]
            assert [(episode.index, episode.length) for episode in dataset.episodes] == list(enumerate(LENGTHS))
            assert all(sorted(episode.tasks) == ["pull it", "push it"] for episode in dataset.episodes)
            assert dataset.session_config(0) is None

    def test_rows(self, foreign):
        with Dataset.open(foreign.root) as dataset:
            for episode, length in enumerate(LENGTHS):
                rows = dataset.rows(episode)
                assert set(rows) == set(dataset.info.features) - set(dataset.info.cameras)
                for column in (STATE, "action"):
                    np.testing.assert_array_equal(rows[column], foreign.truth[f"{episode}/{column}"])
                    assert rows[column].dtype == np.float32
                for column in ("capture_time", "next.reward", "next.success"):
                    np.testing.assert_array_equal(rows[column], foreign.truth[f"{episode}/{column}"][:, 0])
                    assert rows[column].dtype == dataset.info.features[column].dtype
                np.testing.assert_array_equal(rows["frame_index"], np.arange(length))
                np.testing.assert_array_equal(rows["index"], sum(LENGTHS[:episode]) + np.arange(length))
                assert dataset.row_tasks(episode) == foreign.truth[f"{episode}/task"].tolist()

    def test_frames_in_order(self, foreign):
        with Dataset.open(foreign.root) as dataset:
            for episode, length in enumerate(LENGTHS):
                for camera in ("top", "wrist"):
                    frames = list(dataset.frames(episode, camera))
                    assert len(frames) == length
                    for pixels, truth in zip(
                        frames, foreign.truth[f"{episode}/observation.images.{camera}"], strict=True
                    ):
                        assert_shows(pixels, truth, foreign.kind)

    def test_frames_at_random(self, foreign):
        rng = np.random.default_rng(1)
        with Dataset.open(foreign.root) as dataset:
            for _ in range(60):
                episode = int(rng.integers(3))
                number = int(rng.integers(LENGTHS[episode]))
                camera = ("top", "wrist")[rng.integers(2)]
                truth = foreign.truth[f"{episode}/observation.images.{camera}"][number]
                assert_shows(dataset.frame(episode, camera, number), truth, foreign.kind)

    def test_some_of_the_frames(self, foreign):
        truth = foreign.truth["0/observation.images.top"]
        with Dataset.open(foreign.root) as dataset:
            for wanted in (slice(4, 15, 5), slice(0, 100, 9), slice(7, 7, 1), slice(18, None, 1)):
                frames = list(dataset.frames(0, "top", wanted.start, wanted.stop, wanted.step))
                assert len(frames) == len(truth[wanted])
                for pixels, shown in zip(frames, truth[wanted], strict=True):
                    assert_shows(pixels, shown, foreign.kind)

    def test_two_readers_in_turn(self, foreign):
        with Dataset.open(foreign.root) as dataset:
            pairs = zip(dataset.frames(0, "top"), dataset.frames(2, "top"), strict=False)
            for number, (first, second) in enumerate(pairs):
                assert_shows(first, foreign.truth["0/observation.images.top"][number], foreign.kind)
                assert_shows(second, foreign.truth["2/observation.images.top"][number], foreign.kind)

    def test_times_of_frames(self, foreign):
        with Dataset.open(foreign.root) as dataset:
            for episode, length in enumerate(LENGTHS):
                np.testing.assert_allclose(dataset.frame_times(episode, "wrist"), np.arange(length) / FPS, atol=1e-4)

    def test_its_verdict_is_in_the_rows(self, foreign):
        dataset = Dataset.open(foreign.root)
        assert [episode.success for episode in dataset.episodes] == [False, True, False]
        assert [episode.outcome for episode in dataset.episodes] == [None] * 3
        assert [episode.index for episode in dataset.select(failed=True)] == [0, 2]
        assert [episode.index for episode in dataset.select(failed=False)] == [1]

    def test_after_closing_it_opens_again(self, foreign):
        dataset = Dataset.open(foreign.root)
        first = dataset.frame(1, "top", 3)
        dataset.close()
        np.testing.assert_array_equal(dataset.frame(1, "top", 3), first)
        dataset.close()

    def test_a_pickled_copy_reads_the_same(self, foreign):
        with Dataset.open(foreign.root) as dataset:
            before = dataset.frame(0, "top", 3)
            with pickle.loads(pickle.dumps(dataset)) as copy:
                np.testing.assert_array_equal(copy.frame(0, "top", 3), before)
                np.testing.assert_array_equal(copy.rows(2)["action"], dataset.rows(2)["action"])

    def test_a_forked_process_reads_on(self, foreign):
        fork = multiprocessing.get_context("fork")
        answers = fork.SimpleQueue()
        with Dataset.open(foreign.root) as dataset:
            frames = dataset.frames(0, "top")
            next(frames)

            def rest():
                return [pixels.mean() for pixels in frames] + [dataset.rows(2)["action"].sum()]

            process = fork.Process(target=lambda: answers.put(rest()))
            process.start()
            here = rest()
            there = answers.get()
            process.join()
        assert len(here) == LENGTHS[0]
        assert here == there


class TestRowsAnywhereInAFile:
    @pytest.mark.parametrize("options", [{"row_group_size": 9}, {}, {"row_group_size": 6, "write_statistics": False}])
    def test_row_groups_that_are_not_episodes(self, images, options):
        with Dataset.open(images) as dataset:
            before = [dataset.rows(episode) for episode in range(3)]
            pictures = [list(dataset.frames(episode, "top")) for episode in range(3)]
        rewrite(images / data_path(FIRST), **options)
        with Dataset.open(images) as dataset:
            for episode in (0, 1, 2, 2, 0, 1):
                for column, values in dataset.rows(episode).items():
                    np.testing.assert_array_equal(values, before[episode][column])
                np.testing.assert_array_equal(np.stack(list(dataset.frames(episode, "top"))), pictures[episode])
                for number in (6, 1, 5, 0, 2):
                    np.testing.assert_array_equal(dataset.frame(episode, "top", number), pictures[episode][number])

    def test_lists_of_any_length_hold_the_same_numbers(self, videos):
        def loosen(table):
            column = pa.array(table.column("action").to_pylist(), pa.list_(pa.float64()))
            return table.set_column(table.schema.get_field_index("action"), "action", column)

        before = Dataset.open(videos).rows(1)["action"]
        rewrite(videos / data_path(FIRST), loosen)
        after = Dataset.open(videos).rows(1)["action"]
        np.testing.assert_array_equal(after, before)
        assert after.dtype == np.float32

    def test_columns_of_more_dimensions(self, videos):
        def add(table):
            grid = np.arange(table.num_rows * 6).reshape(-1, 2, 3).tolist()
            return table.append_column("grid", pa.array(grid, pa.list_(pa.list_(pa.int64()))))

        rewrite(videos / data_path(FIRST), add)
        edit_info(videos, lambda info: info["features"].update(grid={"dtype": "int64", "shape": [2, 3], "names": None}))
        np.testing.assert_array_equal(
            Dataset.open(videos).rows(1, ["grid"])["grid"], np.arange(120, 120 + 42).reshape(7, 2, 3)
        )


class TestVerdicts:
    def test_without_statistics_the_rows_are_asked(self, videos):
        entries = [replace(entry, stats={}) for entry in load_episodes(videos, Info.load(videos))]
        pq.write_table(episodes_table(entries), videos / episodes_path(FIRST))
        assert [episode.success for episode in Dataset.open(videos).episodes] == [False, True, False]

    def test_without_a_verdict_nothing_has_failed(self, videos):
        edit_info(videos, lambda info: info["features"].pop("next.success"))
        dataset = Dataset.open(videos)
        assert [episode.success for episode in dataset.episodes] == [None] * 3
        assert dataset.select(failed=True) == []
        assert len(dataset.select(failed=False)) == 3

    @pytest.fixture
    def noted(self, videos):
        """Three episodes: a timeout, a stopped one, and one that LeRobot added."""
        write_notes(videos, note(0, "timeout", False), note(1, "stopped", None))
        return Dataset.open(videos)

    def test_a_note_has_the_last_word(self, noted):
        assert [episode.outcome for episode in noted.episodes] == ["timeout", "stopped", None]
        assert [episode.success for episode in noted.episodes] == [False, None, False]
        assert [episode.index for episode in noted.select(failed=True)] == [0, 2]
        assert [episode.index for episode in noted.select(outcome="timeout")] == [0]
        assert [episode.index for episode in noted.select(outcome="timeout", failed=False)] == []

    def test_a_note_of_another_episode_is_not_used(self, videos):
        write_notes(videos, replace(note(0, "success", True), length=19))
        assert Dataset.open(videos).episode(0).outcome is None

    def test_tasks(self, noted):
        assert [episode.index for episode in noted.select(task="push it", failed=True)] == [0, 2]

    def test_unknown_outcomes_and_tasks_are_told(self, noted):
        with pytest.raises(ConfigError, match=r"unknown outcome 'timout'. Did you mean 'timeout'\?"):
            noted.select(outcome="timout")
        with pytest.raises(ConfigError, match=r"unknown task 'push'. Did you mean 'push it'\?"):
            noted.select(task="push")

    def test_the_configuration_of_its_session(self, noted):
        assert noted.session_config(0) is None
        path = noted.root / session_path(0)
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"config": {"env": {"type": "aloha"}}, "taketwo": "0"}))
        assert noted.session_config(0) == {"env": {"type": "aloha"}}
        assert noted.session_config(2) is None
        path.write_text('{"config": 3')
        with pytest.raises(DatasetError, match=r"session-000.json is damaged"):
            noted.session_config(1)


def note(index, outcome, success):
    return EpisodeNote(index, LENGTHS[index], outcome, "so", success, 1, 0, "2026-01-02T03:04:05+00:00", 1.0)


def write_notes(root, *notes):
    path = root / notes_path(FIRST)
    path.parent.mkdir(parents=True)
    path.write_text("".join(each.to_line() for each in notes))


class TestWrongQuestions:
    @pytest.mark.parametrize("index", [3, -1])
    def test_an_episode_out_of_range(self, videos, index):
        dataset = Dataset.open(videos)
        for ask in (
            dataset.episode,
            dataset.rows,
            dataset.session_config,
            lambda index: dataset.frame(index, "top", 0),
        ):
            with pytest.raises(ConfigError, match=rf"there is no episode {index}: .* has episodes 0 to 2$"):
                ask(index)

    def test_a_frame_out_of_range(self, videos):
        with pytest.raises(ConfigError, match="there is no frame 7: episode 1 has frames 0 to 6"):
            Dataset.open(videos).frame(1, "top", 7)

    def test_unknown_names(self, videos):
        dataset = Dataset.open(videos)
        with pytest.raises(ConfigError, match=r"unknown camera 'tip'. Did you mean 'top'\? Known: top, wrist"):
            dataset.frame(0, "tip", 0)
        with pytest.raises(ConfigError, match=r"unknown column 'acton'. Did you mean 'action'\?"):
            dataset.rows(0, ["acton"])
        with pytest.raises(ConfigError, match="unknown column"):
            dataset.rows(0, [TOP])


def truncate(path, part=0.7):
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])


class TestDamage:
    """Each is told as one line that names the file."""

    def check(self, said, ask, *, opens=True, root=None):
        if opens:
            dataset = Dataset.open(root)
        with pytest.raises(DatasetError, match=said) as caught:
            ask(dataset if opens else Dataset.open(root))
        assert "\n" not in str(caught.value)

    def test_missing_rows(self, videos):
        (videos / data_path(FIRST)).unlink()
        self.check("file-000.parquet is missing$", lambda dataset: dataset.rows(0), root=videos)

    @pytest.mark.parametrize("part", [0, 0.3, 0.99])
    def test_cut_off_rows(self, videos, part):
        truncate(videos / data_path(FIRST), part)
        self.check("file-000.parquet is damaged: ", lambda dataset: dataset.rows(0), root=videos)

    def test_scribbles_in_rows(self, videos):
        path = videos / data_path(FIRST)
        content = bytearray(path.read_bytes())
        content[4:2000] = b"\xa5" * 1996
        path.write_bytes(content)
        self.check("file-000.parquet is damaged: ", lambda dataset: dataset.rows(0), root=videos)

    def test_fewer_rows_than_the_episode(self, videos):
        rewrite(videos / data_path(FIRST), lambda table: table.slice(0, 38))
        self.check("has 11 rows of episode 2, and there should be 13", lambda dataset: dataset.rows(2), root=videos)
        assert len(Dataset.open(videos).rows(1)["action"]) == 7

    def test_more_rows_than_the_episode(self, videos):
        entries = load_episodes(videos, Info.load(videos), stats=True)
        entries[0] = replace(entries[0], length=19)
        pq.write_table(episodes_table(entries), videos / episodes_path(FIRST))
        self.check("has 20 rows of episode 0, and there should be 19", lambda dataset: dataset.rows(0), root=videos)

    def test_a_missing_column(self, videos):
        rewrite(videos / data_path(FIRST), lambda table: table.drop_columns(["action"]))
        self.check("has no column 'action'", lambda dataset: dataset.rows(2), root=videos)
        assert Dataset.open(videos).rows(2, [STATE])[STATE].shape == (13, 4)

    def test_a_column_of_another_width(self, videos):
        edit_info(videos, lambda info: info["features"]["action"].update(shape=[3]))
        self.check(r"'action' of .* is not float32 \[3\]", lambda dataset: dataset.rows(2), root=videos)

    def test_a_task_that_is_not_known(self, videos):
        def change(table):
            numbers = pa.array([7] * table.num_rows, pa.int64())
            return table.set_column(table.schema.get_field_index("task_index"), "task_index", numbers)

        rewrite(videos / data_path(FIRST), change)
        self.check("episode 0 has rows of a task", lambda dataset: dataset.row_tasks(0), root=videos)

    def test_a_missing_video(self, videos):
        (videos / video_path(TOP, FIRST)).unlink()
        self.check("file-000.mp4 is missing$", lambda dataset: dataset.frame(0, "top", 0), root=videos)
        assert Dataset.open(videos).frame(0, "wrist", 0).any()

    @pytest.mark.parametrize("part", [0, 0.4, 0.8])
    def test_a_cut_off_video(self, videos, part):
        truncate(videos / video_path(TOP, FIRST), part)
        last = "file-000.mp4 (is damaged: |has no frame)"
        self.check(last, lambda dataset: list(dataset.frames(2, "top")), root=videos)
        assert Dataset.open(videos).frame(0, "wrist", 0).any()

    def test_fewer_frames_than_rows(self, videos):
        # Eight rows more than there are frames after the last one.
        entries = load_episodes(videos, Info.load(videos), stats=True)
        entries[2] = replace(entries[2], length=21)
        pq.write_table(episodes_table(entries), videos / episodes_path(FIRST))
        said = "file-000.mp4 has no frame 13 of episode 2, which has 21 rows"
        self.check(said, lambda dataset: list(dataset.frames(2, "top")), root=videos)
        assert Dataset.open(videos).frame_times(2, "top").size == 13

    def test_a_picture_that_is_none(self, images):
        def spoil(table):
            pictures = table.column(TOP).to_pylist()
            pictures[3]["bytes"] = b"nothing"
            pictures[4] = None
            pictures[5]["bytes"] = None
            column = pa.array(pictures, table.schema.field(TOP).type)
            return table.set_column(table.schema.get_field_index(TOP), TOP, column)

        rewrite(images / data_path(FIRST), spoil)
        said = f"file-000.parquet: '{TOP}' of frame 3 of episode 0 is damaged"
        self.check(said, lambda dataset: dataset.frame(0, "top", 3), root=images)
        for number in (4, 5):
            said = f"file-000.parquet has no picture '{TOP}' of frame {number} of episode 0"
            self.check(said, lambda dataset, number=number: dataset.frame(0, "top", number), root=images)
        assert Dataset.open(images).frame(0, "top", 6).any()

    def test_paths_that_are_none(self, videos):
        edit_info(videos, lambda info: info.update(data_path="data/{chunk}.parquet", video_path=None))
        self.check(
            "meta/info.json is damaged: the path template .* cannot be filled in: 'chunk'",
            lambda dataset: dataset.rows(0),
            root=videos,
        )
        self.check(
            "meta/info.json is damaged: the path template None cannot be filled in: there is none",
            lambda d: d.frame(0, "top", 0),
            root=videos,
        )

    @pytest.mark.parametrize(
        "path", ["meta/tasks.parquet", "meta/episodes/chunk-000/file-000.parquet", "meta/info.json"]
    )
    def test_cut_off_metadata(self, videos, path):
        truncate(videos / path)
        self.check(f"{Path(path).name} is damaged", lambda dataset: None, opens=False, root=videos)

    def test_missing_episodes(self, videos):
        shutil.rmtree(videos / "meta/episodes")
        self.check("has 0 episodes and meta/info.json says 3", lambda dataset: None, opens=False, root=videos)

    def test_another_version(self, videos):
        edit_info(videos, lambda info: info.update(codebase_version="v2.1"))
        self.check("of version v2.1, and this reads v3.0", lambda dataset: None, opens=False, root=videos)

    def test_a_change_that_was_interrupted(self, videos):
        (videos / ".taketwo").mkdir()
        Dataset.open(videos)
        (videos / ".taketwo/commit.json").write_text("{}")
        self.check(f"run taketwo dataset repair {videos}$", lambda dataset: None, opens=False, root=videos)

    @pytest.mark.parametrize("make", [Path.mkdir, Path.touch, lambda path: None])
    def test_a_foreign_folder(self, tmp_path, make):
        make(tmp_path / "there")
        self.check("is no LeRobot dataset", lambda dataset: None, opens=False, root=tmp_path / "there")


class TestLocate:
    @pytest.fixture(autouse=True)
    def home(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HF_LEROBOT_HOME", str(tmp_path / "home"))
        monkeypatch.chdir(tmp_path)
        make_info(tmp_path / "home/me/cube")
        return tmp_path / "home"

    def test_a_folder(self, tmp_path):
        make_info(tmp_path / "here/it")
        assert locate("here/it") == Path("here/it")
        assert locate(str(tmp_path / "here/it")) == tmp_path / "here/it"

    def test_a_repo_id(self, home, tmp_path):
        assert locate("me/cube") == home / "me/cube"
        (tmp_path / "me/cube").mkdir(parents=True)
        assert locate("me/cube") == home / "me/cube"

    def test_a_repo_id_that_lies_elsewhere(self, tmp_path):
        make_info(tmp_path / "elsewhere")
        assert locate("me/cube", tmp_path / "elsewhere") == tmp_path / "elsewhere"
        with pytest.raises(DatasetError, match=r"there is no dataset 'me/cube': .*nowhere has no meta/info.json"):
            locate("me/cube", tmp_path / "nowhere")

    def test_what_is_not_there(self, tmp_path):
        with pytest.raises(DatasetError, match=r"there is no dataset 'me/cup': .*home/me/cup has no meta/info.json"):
            locate("me/cup")
        with pytest.raises(DatasetError, match=r"there is no such folder with meta/info.json"):
            locate(str(tmp_path / "nothing"))
        with pytest.raises(DatasetError, match=r"it has no meta/info.json"):
            locate("./home")

    @pytest.mark.parametrize("text", ["me/../../etc", "a b", "me/cube/there", ""])
    def test_what_is_no_name(self, text):
        with pytest.raises(ConfigError, match="is not a dataset's name"):
            locate(text)


def make_info(root):
    (root / "meta").mkdir(parents=True)
    (root / "meta/info.json").write_text("{}")


MANY, LENGTH = 1000, 20


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Ten data files of 100 episodes each, without pictures."""
    root = tmp_path_factory.mktemp("many") / "many"
    features = {STATE: Feature("float32", (14,))} | BOOKKEEPING
    entries = [
        EpisodeEntry(index, ("push it",), LENGTH, FilePlace(0, index // 100), index * LENGTH) for index in range(MANY)
    ]
    schema = arrow_schema(features)
    for file in range(10):
        path = root / data_path(FilePlace(0, file))
        path.parent.mkdir(parents=True, exist_ok=True)
        with pq.ParquetWriter(path, schema) as writer:
            for entry in entries[file * 100 : file * 100 + 100]:
                writer.write_table(rows_of(entry, schema))
    info = Info(50, features, total_episodes=MANY, total_frames=MANY * LENGTH, total_tasks=1)
    (root / "meta/episodes/chunk-000").mkdir(parents=True)
    (root / "meta/info.json").write_text(info.to_json())
    pq.write_table(tasks_table(["push it"]), root / "meta/tasks.parquet")
    pq.write_table(episodes_table(entries), root / episodes_path(FIRST))
    return root


def rows_of(entry, schema):
    frames = np.arange(entry.length)
    columns = {
        STATE: np.full((entry.length, 14), entry.index, np.float32).tolist(),
        "timestamp": frames / 50,
        "frame_index": frames,
        "episode_index": np.full(entry.length, entry.index),
        "index": entry.first_row + frames,
        "task_index": np.zeros(entry.length, int),
    }
    return pa.Table.from_pydict(columns, schema)


class TestManyEpisodes:
    def test_opening_reads_no_rows(self, many, tmp_path):
        root = Path(shutil.copytree(many, tmp_path / "many"))
        shutil.rmtree(root / "data")
        dataset = Dataset.open(root)
        assert len(dataset.episodes) == MANY
        with pytest.raises(DatasetError, match=r"file-009.parquet is missing"):
            dataset.rows(999)

    def test_every_episode_has_its_rows_and_few_files_are_open(self, many):
        with Dataset.open(many) as dataset:
            for index in (*range(0, 1000, 37), 999, 0):
                assert set(dataset.rows(index, [STATE])[STATE].ravel().tolist()) == {index}
            assert 1 <= open_files(many / "data") <= OPEN_ROW_FILES
        assert open_files(many / "data") == 0

    def test_memory_stays_flat(self, many):
        """Files are opened and closed all the time, and what was read of them goes with them."""
        gc.disable()
        try:
            with Dataset.open(many) as dataset:
                dataset.rows(0)
                before = resident_mb()
                for index in range(200):
                    dataset.rows((index * 137) % MANY)
                assert resident_mb() - before < 20
        finally:
            gc.enable()


def test_few_videos_are_open(videos):
    """Each episode in a file of its own."""
    entries = load_episodes(videos, Info.load(videos), stats=True)
    spans = {key: entries[0].videos[key] for key in (TOP, WRIST)}
    copies = []
    for number in range(12):
        place = FilePlace(0, number)
        for key in (TOP, WRIST):
            if number:
                shutil.copy(videos / video_path(key, FIRST), videos / video_path(key, place))
        own = {key: replace(span, place=place) for key, span in spans.items()}
        copies.append(replace(entries[0], index=number, videos=own))
    pq.write_table(episodes_table(copies), videos / episodes_path(FIRST))
    edit_info(videos, lambda info: info.update(total_episodes=12))
    with Dataset.open(videos) as dataset:
        for number in range(12):
            assert dataset.frame(number, "top", 2).shape == dataset.frame(number, "wrist", 2).shape
        assert 1 <= open_files(videos / "videos") <= OPEN_VIDEOS
    assert open_files(videos / "videos") == 0


def resident_mb():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def open_files(folder):
    """How many files below a folder this process has open."""
    return sum(folder.resolve() in handle.resolve().parents for handle in Path("/proc/self/fd").iterdir())


def test_cameras_of_converted_datasets_have_their_channels_first(images):
    def turn(info):
        info["features"][TOP] |= {"shape": [3, 64, 96], "names": ["channels", "height", "width"]}

    edit_info(images, turn)
    assert Dataset.open(images).cameras["top"] == CameraSpec(64, 96)


def test_an_empty_dataset(videos):
    shutil.rmtree(videos / "meta/episodes")
    edit_info(videos, lambda info: info.update(total_episodes=0, total_frames=0))
    dataset = Dataset.open(videos)
    assert dataset.episodes == [] and dataset.select(failed=True) == []
    with pytest.raises(ConfigError, match=r"there is no episode 0: .* has no episodes"):
        dataset.rows(0)
