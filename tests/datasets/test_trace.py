import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from taketwo.control.config import ControlConfig
from taketwo.datasets.trace import Trace, TraceLog, logged_steps, write_trace
from taketwo.envs.aloha import AlohaConfig
from taketwo.envs.traced import Traced
from taketwo.errors import DatasetError, EnvironmentFault, RecordingError
from taketwo.policies.scripted import ScriptedConfig
from taketwo.session.config import SessionConfig
from taketwo.session.events import EpisodeEnd, StepTaken, TerminalObservation
from taketwo.session.loop import Session
from taketwo.types import SIMULATOR_STATE

ODD_NAN = np.frombuffer(b"\x01\x02\x03\x00\x00\x00\xf8\x7f")
"""A NaN whose payload a conversion would lose."""

STATE = {
    "task": "cube",
    "steps": -5,
    "time": -0.0,
    "undefined": float("nan"),
    "begun": True,
    "matrix": np.arange(6, dtype=np.int32).reshape(2, 3),
    "columns_first": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "payload": ODD_NAN,
    "single": np.array([np.nan, -0.0, 1e-45], np.float32),
    "half": np.array([1.5], np.float16),
    "large": np.array([2**64 - 1], np.uint64),
    "flags": np.array([True, False, True]),
    "none": np.zeros((0, 4)),
    "point": np.array(3.0),
    "scalar": np.float32(0.1),
    "action": "also a name",
}


def same(a, b):
    """Whether two snapshots are the same in every type and bit."""
    return list(a) == list(b) and all(
        type(a[name]) is type(b[name])
        and (
            (a[name].dtype, a[name].shape, a[name].tobytes()) == (b[name].dtype, b[name].shape, b[name].tobytes())
            if isinstance(a[name], np.ndarray | np.generic)
            else repr(a[name]) == repr(b[name])
        )
        for name in a
    )


class TraceSink:
    """Writes one trace of each episode, as a recorder does."""

    name = "trace"
    lossless = required = True

    def __init__(self, folder):
        self.folder = folder
        self.states = []
        self.actions = []
        self.log = TraceLog(folder / "0.log", batch_rows=25)

    def cameras(self, frame):
        return ()

    def on(self, event):
        if isinstance(event, StepTaken | TerminalObservation):
            self.states.append(event.observation.extras[SIMULATOR_STATE])
        if isinstance(event, StepTaken):
            self.actions.append(event.decision.sent)
            self.log.add(self.states[-1], event.decision.sent)
        elif isinstance(event, TerminalObservation):
            self.log.end(self.states[-1])
        elif isinstance(event, EpisodeEnd):
            write_trace(self.folder / "0.log", self.folder / "0.parquet")


@pytest.fixture(scope="module", params=["transfer_cube", "insertion"])
def rollout(request, tmp_path_factory):
    """An episode of the scripted policy: the sink that traced it."""
    environment = AlohaConfig(task=request.param, cameras=()).make()
    controller = ControlConfig().make(ScriptedConfig().make(environment.spec), environment.spec)
    sink = TraceSink(tmp_path_factory.mktemp(request.param))
    result = Session(Traced(environment), controller, SessionConfig(seed=3, num_episodes=1), [sink]).run()
    environment.close()
    assert result.fault is None
    return sink


def logged(path, steps, ended=True, state=STATE, batch_rows=2):
    log = TraceLog(path, batch_rows)
    for k in range(steps):
        log.add(state | {"steps": k}, np.array([k, np.nan]))
    log.end(state | {"steps": steps}) if ended else log.close()
    return path


def test_a_rollout_comes_back_with_every_bit(rollout):
    trace = Trace.load(rollout.folder / "0.parquet")
    assert len(trace) == len(rollout.actions) > 100
    assert trace.states == len(trace) + 1
    assert trace.actions.dtype == np.float64
    assert trace.actions.tobytes() == np.stack(rollout.actions).tobytes()
    assert all(same(trace.state(k), state) for k, state in enumerate(rollout.states))


def test_a_rollout_is_small(rollout):
    """Some 85 of the 262 numbers change, and these cannot be compressed much."""
    raw = rollout.states[0]["state"].nbytes
    assert (rollout.folder / "0.parquet").stat().st_size / len(rollout.actions) < 0.4 * raw


def test_traced_gives_what_the_environment_gives():
    environment = AlohaConfig(cameras=("top",), width=64, height=48).make()
    traced = Traced(environment)
    assert traced.spec is environment.spec
    first = traced.reset(4)
    assert {"object_poses", "touched_by"} < set(first.extras)
    assert same(first.extras[SIMULATOR_STATE], environment.snapshot())
    result = traced.step(environment.home_action())
    assert same(result.observation.extras[SIMULATOR_STATE], environment.snapshot())
    assert not same(result.observation.extras[SIMULATOR_STATE], first.extras[SIMULATOR_STATE])
    assert result.observation.images["top"].pixels.shape == (48, 64, 3)
    traced.close()


def test_every_kind_of_value_keeps_its_type_and_bits(tmp_path):
    assert write_trace(logged(tmp_path / "log", 5), tmp_path / "trace.parquet") == 5
    trace = Trace.load(tmp_path / "trace.parquet")
    for k in range(6):
        assert same(trace.state(k), STATE | {"steps": k})
    assert trace.actions.tobytes() == np.array([[k, np.nan] for k in range(5)]).tobytes()
    with pytest.raises(IndexError):
        trace.state(6)
    with pytest.raises(IndexError):
        trace.state(-1)


def test_a_state_may_be_changed_by_who_asked_for_it(tmp_path):
    write_trace(logged(tmp_path / "log", 2), tmp_path / "trace.parquet")
    trace = Trace.load(tmp_path / "trace.parquet")
    trace.state(1)["matrix"][:] = 9
    assert same(trace.state(1), STATE | {"steps": 1})


def test_an_episode_cut_short_keeps_the_state_after_it(tmp_path):
    log = logged(tmp_path / "log", 5)
    assert write_trace(log, tmp_path / "trace.parquet", steps=3) == 3
    trace = Trace.load(tmp_path / "trace.parquet")
    assert (len(trace), trace.states) == (3, 4)
    assert trace.actions[:, 0].tolist() == [0, 1, 2]
    assert trace.state(3)["steps"] == 3
    assert logged_steps(log) == 5


def test_a_trace_whose_last_state_is_lost(tmp_path):
    log = logged(tmp_path / "log", 4, ended=False)
    write_trace(log, tmp_path / "trace.parquet")
    trace = Trace.load(tmp_path / "trace.parquet")
    assert (len(trace), trace.states) == (4, 4)
    with pytest.raises(IndexError):
        trace.state(4)


def test_a_log_that_was_cut_off_in_the_middle_is_read_up_to_there(tmp_path):
    log = logged(tmp_path / "log", 9)
    whole = log.read_bytes()
    found = set()
    for length in range(len(whole) - 1, 0, -97):
        log.write_bytes(whole[:length])
        try:
            steps = logged_steps(log)
        except DatasetError:
            break  # not even the header is there
        found.add(steps)
        if steps:
            assert write_trace(log, tmp_path / "trace.parquet") == steps
            assert same(Trace.load(tmp_path / "trace.parquet").state(steps - 1), STATE | {"steps": steps - 1})
    assert found == {0, 2, 4, 6, 8, 9}


def test_more_steps_than_there_are_cannot_be_written(tmp_path):
    log = logged(tmp_path / "log", 3)
    with pytest.raises(DatasetError, match=r"has 3 steps .* and 4 are wanted"):
        write_trace(log, tmp_path / "trace.parquet", steps=4)
    assert not (tmp_path / "trace.parquet").exists()


def test_an_episode_without_a_step_has_no_log(tmp_path):
    log = TraceLog(tmp_path / "log", batch_rows=2)
    log.end(STATE)
    assert not (tmp_path / "log").exists()
    assert logged_steps(tmp_path / "log") == 0


def test_an_existing_log_is_not_overwritten(tmp_path):
    (tmp_path / "log").write_text("mine")
    with pytest.raises(RecordingError):
        logged(tmp_path / "log", 1)
    assert (tmp_path / "log").read_text() == "mine"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"inner": 1}, "'odd' is a dict"),
        (None, "'odd' is a NoneType"),
        ([1, 2], "'odd' is a list"),
        (2**63, "more than 64 bits"),
        (np.array(["a"]), "<U1"),
        (np.zeros(2, complex), "complex128"),
        (np.zeros(2, ">f8"), ">f8"),
        (np.array([None]), "object"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_name(tmp_path, value, message):
    with pytest.raises(EnvironmentFault, match=message) as error:
        TraceLog(tmp_path / "log", 2).add({"odd": value}, np.zeros(2))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"q": np.zeros(4), "n": 1}, "'q' was float64 of shape .3. and is float64 of shape .4."),
        ({"q": np.zeros(3)}, "'n' was int and is missing"),
        ({"q": np.zeros(3), "n": 1, "new": "x"}, "'new' was missing and is str"),
        ({"n": 1, "q": np.zeros(3)}, "order"),
    ],
)
def test_a_state_that_changes_its_parts_is_refused(tmp_path, changed, message):
    log = TraceLog(tmp_path / "log", 2)
    log.add({"q": np.zeros(3), "n": 1}, np.zeros(2))
    with pytest.raises(EnvironmentFault, match=message):
        log.add(changed, np.zeros(2))


def damaged_by_cutting(path):
    path.write_bytes(path.read_bytes()[:-40])


def damaged_by_one_bit(path):
    with pq.ParquetFile(path) as file:
        actions = file.metadata.row_group(0).column(file.metadata.num_columns - 1)
    content = bytearray(path.read_bytes())
    content[actions.data_page_offset + actions.total_compressed_size - 5] ^= 1
    path.write_bytes(content)


def emptied(path):
    path.write_bytes(b"")


def replaced_by_another_table(path):
    pq.write_table(pa.table({"action": [1.0]}), path)


def without_a_column(path):
    pq.write_table(pq.read_table(path).drop_columns(["state.payload"]), path)


def with_an_action_missing(path):
    table = pq.read_table(path)
    actions = table.column("action").to_pylist()
    actions[1] = None
    field = table.schema.field("action")
    place = table.schema.get_field_index("action")
    pq.write_table(table.set_column(place, field, pa.array(actions, field.type)), path)


def of_a_later_version(path):
    table = pq.read_table(path)
    mark = table.schema.metadata[b"taketwo.trace"].replace(b'"version": 1', b'"version": 2')
    pq.write_table(table.replace_schema_metadata({b"taketwo.trace": mark}), path)


@pytest.mark.parametrize(
    "damage",
    [
        damaged_by_cutting,
        damaged_by_one_bit,
        emptied,
        replaced_by_another_table,
        without_a_column,
        with_an_action_missing,
        of_a_later_version,
    ],
)
def test_a_damaged_trace_is_told_in_one_line(tmp_path, damage):
    path = tmp_path / "trace.parquet"
    write_trace(logged(tmp_path / "log", 5), path)
    Trace.load(path)
    damage(path)
    with pytest.raises(DatasetError, match="is damaged") as error:
        Trace.load(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def test_a_missing_trace_is_told(tmp_path):
    with pytest.raises(DatasetError, match="there is no trace"):
        Trace.load(tmp_path / "trace.parquet")


def test_a_log_that_is_something_else_is_told(tmp_path):
    (tmp_path / "log").write_bytes(b"hello")
    with pytest.raises(DatasetError, match="is damaged"):
        write_trace(tmp_path / "log", tmp_path / "trace.parquet")


def test_a_folder_that_cannot_be_written_leaves_nothing(tmp_path):
    log = logged(tmp_path / "log", 2)
    (tmp_path / "blocked").write_text("a file")
    with pytest.raises(RecordingError, match="cannot write"):
        write_trace(log, tmp_path / "blocked" / "trace.parquet")
    (tmp_path / "trace.parquet").mkdir()
    with pytest.raises(RecordingError, match="cannot write"):
        write_trace(log, tmp_path / "trace.parquet")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["blocked", "log", "trace.parquet"]
