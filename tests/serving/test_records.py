"""Recordings hold what happened, within their bound, whatever becomes of the process and the disk; and replay it."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import msgpack
import numpy as np
import pytest

from taketwo.errors import ConfigError, PolicyError, RecordingError
from taketwo.serving.environments import CustomConfig
from taketwo.serving.records import RecordWriter, record_files
from taketwo.serving.records_reader import RecordsError, read_records, read_runs, recording_files
from taketwo.serving.records_replay import Place, replay
from taketwo.serving.records_summary import pictures_in
from taketwo.types import ActionChunk
from taketwo.wire.protocol import decode, encode
from tests.serving.support import served

HEADER = {
    "taketwo": "0",
    "policy": {"type": "noop"},
    "env": {"type": "CUSTOM"},
    "default_prompt": None,
}


def inference(number, size=100, client=1, **changes):
    record = {
        "kind": "inference",
        "time": float(number),
        "client": client,
        "request": number.to_bytes(4, "big") + bytes(size),
        "response": encode({"actions": np.zeros((2, 2))}),
        "prompt_used": "go",
        "prompt_source": "observation",
        "queue_ms": 0.5,
        "infer_ms": 2.0,
        "batch_size": 1,
    }
    return record | changes


def numbers(records):
    return [int(record["time"]) for record in records if record["kind"] == "inference"]


def write(folder, records, **options):
    writer = RecordWriter(folder, **{"max_bytes": 100_000_000, "header": HEADER} | options)
    for record in records:
        writer.put(record)
    writer.close()
    return writer


def size_of(folder):
    """Of the files that are there, also while the oldest are removed."""
    size = 0
    for path in folder.iterdir():
        with suppress(FileNotFoundError):
            size += path.stat().st_size
    return size


def wait_for(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


# Writing and reading


def test_what_is_put_comes_back_as_it_was_and_in_order(tmp_path):
    records = [
        {"kind": "connected", "time": 1.0, "client": 1, "address": "127.0.0.1:1"},
        {"kind": "reset", "time": 1.5, "client": 1, "index": 2, "seed": 2**32 - 1},
        *(inference(number) for number in range(50)),
        {"kind": "error", "time": 60.0, "client": 1, "request": None, "message": "state is missing"},
        {"kind": "disconnected", "time": 61.0, "client": 1, "address": "127.0.0.1:1"},
    ]
    writer = write(tmp_path / "new" / "folder", records)
    header, *read = read_records(tmp_path / "new" / "folder")
    assert read == records
    assert {name: header[name] for name in ("kind", "policy", "env")} == {"kind": "server"} | {
        name: HEADER[name] for name in ("policy", "env")
    }
    assert (writer.dropped, writer.failed) == (0, None)


def test_any_messagepack_library_reads_a_file(tmp_path):
    write(tmp_path, [inference(7)])
    (path,) = record_files(tmp_path)
    with path.open("rb") as file:
        kinds = [record["kind"] for record in msgpack.Unpacker(file, max_buffer_size=0)]
    assert kinds == ["server", "inference"]


def test_the_folder_never_grows_beyond_its_bound_and_keeps_the_newest(tmp_path):
    writer = RecordWriter(tmp_path, max_bytes=1_000_000, header=HEADER)
    largest = 0
    for number in range(400):
        writer.put(inference(number, size=10_000))
        largest = max(largest, size_of(tmp_path))
    writer.close()
    kept = numbers(read_records(tmp_path))
    assert largest <= 1_000_000
    assert size_of(tmp_path) > 600_000
    assert kept == list(range(400 - len(kept), 400))
    assert writer.dropped == 0
    for path in record_files(tmp_path):
        assert next(read_records(path))["policy"] == HEADER["policy"]


def test_the_bound_counts_what_earlier_servers_recorded_and_nothing_else(tmp_path):
    (tmp_path / "notes.txt").write_bytes(bytes(2_000_000))
    write(tmp_path, (inference(number, size=10_000) for number in range(90)), max_bytes=1_000_000)
    first = record_files(tmp_path)
    write(tmp_path, (inference(number, size=10_000) for number in range(1000, 1060)), max_bytes=1_000_000)
    left = record_files(tmp_path)
    assert first[0] not in left and first[-1] in left
    assert sum(path.stat().st_size for path in left) <= 1_000_000
    assert numbers(read_records(tmp_path))[-60:] == list(range(1000, 1060))
    assert (tmp_path / "notes.txt").stat().st_size == 2_000_000


def test_names_sort_also_where_the_clock_was_set_back(tmp_path):
    write(tmp_path, [inference(1)])
    (path,) = record_files(tmp_path)
    path.rename(tmp_path / "inferences-29990101T000000Z-000009.msgpack")
    write(tmp_path, [inference(2)])
    write(tmp_path, [inference(3)])
    assert [path.stem.rpartition("-")[2] for path in record_files(tmp_path)] == ["000009", "000010", "000011"]
    assert numbers(read_records(tmp_path)) == [1, 2, 3]


def test_the_runs_of_a_server_are_told_apart_though_they_are_in_many_files(tmp_path):
    for start in (0, 100):
        write(tmp_path, (inference(start + number, size=10_000) for number in range(40)), file_bytes=100_000)
    assert len(record_files(tmp_path)) > 6
    assert [numbers(run.records) for run in read_runs(tmp_path)] == [list(range(40)), list(range(100, 140))]


def test_a_run_need_not_be_read_to_its_end(tmp_path):
    for start in (0, 100):
        write(tmp_path, (inference(start + number) for number in range(3)))
    assert [int(next(run.records)["time"]) for run in read_runs(tmp_path)] == [0, 100]


def test_reading_ends_though_each_record_that_is_read_makes_another(tmp_path):
    """As a running server does that is asked again what it has recorded, and records that too."""
    write(tmp_path, [inference(1), inference(2)])
    (path,) = record_files(tmp_path)
    read = []
    for record in read_records(tmp_path):
        read.append(record)
        assert len(read) < 10
        with path.open("ab") as file:
            file.write(encode(inference(99)))
    assert numbers(read) == [1, 2]


def test_a_server_that_recorded_nothing_leaves_no_file(tmp_path):
    write(tmp_path, [])
    assert record_files(tmp_path) == []
    with pytest.raises(RecordsError, match="no inferences are recorded in"):
        list(read_records(tmp_path))


# What does not fit


def test_what_does_not_fit_into_the_queue_is_counted_and_the_count_is_in_its_place(tmp_path, caplog):
    writer = RecordWriter(tmp_path, max_bytes=100_000_000, header=HEADER, queue_bytes=20_000)
    writer.put(inference(1))
    writer.put(inference(2, size=50_000))
    writer.put(inference(3, size=50_000))
    writer.put(inference(4))
    writer.put(inference(5, size=50_000))
    writer.close()
    told = [(record["kind"], record.get("count")) for record in read_records(tmp_path)][1:]
    assert told == [("inference", None), ("dropped", 2), ("inference", None), ("dropped", 1)]
    assert writer.dropped == 3
    assert len([record for record in caplog.records if "as fast as they come" in record.message]) == 1


def test_there_is_room_again_when_the_disk_has_caught_up(tmp_path):
    # Room for two: the one before may be in its file already, and not yet off the count.
    writer = RecordWriter(tmp_path, max_bytes=100_000_000, header=HEADER, queue_bytes=50_000)
    for number in range(20):
        writer.put(inference(number, size=20_000))
        wait_for(lambda last=number: record_files(tmp_path) and numbers(read_records(tmp_path))[-1:] == [last])
    writer.close()
    assert writer.dropped == 0


def test_putting_waits_for_nobody_while_the_disk_hangs(tmp_path, monkeypatch):
    """A pipe that nobody reads, in the place of the first file, stands for a disk that hangs."""
    pipe_out, pipe_in = os.pipe()
    opened = threading.Event()

    def open_pipe(path, *rest):
        if not str(path).endswith(".msgpack"):
            return real_open(path, *rest)
        opened.set()
        return pipe_in

    real_open = os.open
    monkeypatch.setattr(os, "open", open_pipe)
    writer = RecordWriter(tmp_path, max_bytes=100_000_000, header=HEADER, queue_bytes=1_000_000)
    writer.put(inference(0))
    assert opened.wait(20)
    for number in range(2000):
        writer.put(inference(number, size=10_000))
    assert writer.dropped > 1800
    assert writer.failed is None
    os.close(pipe_out)  # the write under way fails now
    wait_for(lambda: writer.failed is not None)
    writer.close()
    assert writer.dropped > 1990


def test_a_full_disk_ends_the_recording_and_not_the_server(tmp_path, caplog):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=500k", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("only root can mount a small disk")
    try:
        writer = RecordWriter(disk, max_bytes=100_000_000, header=HEADER)
        for number in range(100):
            writer.put(inference(number, size=10_000))
        wait_for(lambda: writer.failed is not None)
        writer.put(inference(100))
        writer.close()
        kept = numbers(read_records(disk))
        assert kept == list(range(len(kept))) and len(kept) > 40
        assert writer.dropped == 101 - len(kept)
        assert "No space left on device; free some space" in writer.failed
        assert [record.levelname for record in caplog.records] == ["WARNING"]  # and nothing of a cut-off record
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_file_that_may_not_grow_ends_the_recording_with_whole_records(tmp_path, caplog):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (55_555, before[1]))
    try:
        writer = write(tmp_path, (inference(number, size=10_000) for number in range(20)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    caplog.clear()
    assert numbers(read_records(tmp_path)) == [0, 1, 2, 3, 4]
    assert "File too large" in writer.failed and writer.dropped == 15
    assert not caplog.records


def test_a_folder_that_vanishes_ends_the_recording(tmp_path, caplog):
    folder = tmp_path / "records"
    writer = RecordWriter(folder, max_bytes=100_000_000, header=HEADER)
    writer.put(inference(1))
    wait_for(lambda: folder.exists() and record_files(folder))
    shutil.rmtree(folder)
    writer.put(inference(2))
    wait_for(lambda: writer.failed is not None)
    writer.put(inference(3))
    writer.close()
    assert writer.dropped == 2
    assert len([record for record in caplog.records if "no longer recorded" in record.message]) == 1


def test_a_file_that_is_removed_is_followed_by_another(tmp_path):
    writer = RecordWriter(tmp_path, max_bytes=100_000_000, header=HEADER)
    writer.put(inference(1))
    wait_for(lambda: numbers(read_records(tmp_path)) == [1] if record_files(tmp_path) else False)
    record_files(tmp_path)[0].unlink()
    writer.put(inference(2))
    writer.close()
    assert writer.failed is None
    assert numbers(read_records(tmp_path)) == [2]


def test_a_bound_too_small_to_be_useful_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="max_bytes must be 1000000 or more"):
        RecordWriter(tmp_path, max_bytes=10_000, header=HEADER)


def test_a_folder_that_cannot_be_written_is_told_at_the_start(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordingError, match=r"cannot write .*file.*choose a folder"):
        RecordWriter(tmp_path / "file", max_bytes=1_000_000, header=HEADER)


# Several servers, and kills

KILLED = """
    import sys, time
    sys.path.insert(0, {root!r})
    from pathlib import Path
    from tests.serving.test_records import HEADER, inference
    from taketwo.serving.records import RecordWriter
    writer = RecordWriter(Path({folder!r}), max_bytes=100_000_000, header=HEADER)
    number = 0
    while True:
        writer.put(inference(number, size=100_000))
        number += 1
        time.sleep(0.001)
"""


def test_a_kill_costs_no_record_that_was_written_and_frees_the_folder(tmp_path, caplog):
    code = textwrap.dedent(KILLED.format(root=str(Path(__file__).parents[2]), folder=str(tmp_path)))
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        wait_for(lambda: record_files(tmp_path) and record_files(tmp_path)[0].stat().st_size > 3_000_000)
        with pytest.raises(RecordingError, match="another server records into"):
            RecordWriter(tmp_path, max_bytes=1_000_000, header=HEADER)
        seen = numbers(read_records(tmp_path))
        process.send_signal(signal.SIGKILL)
    caplog.clear()
    kept = numbers(read_records(tmp_path))
    assert len(kept) >= len(seen) >= 25
    assert kept == list(range(len(kept)))
    write(tmp_path, [inference(9999)])
    assert numbers(read_records(tmp_path)) == [*kept, 9999]


def test_a_record_that_was_cut_off_is_left_out_and_told_and_everything_else_is_there(tmp_path, caplog):
    write(tmp_path, [inference(number) for number in range(3)])
    (path,) = record_files(tmp_path)
    whole = path.read_bytes()
    lengths = [len(whole) - 1, len(whole) - 100]
    for length in lengths:
        path.write_bytes(whole[:length])
        caplog.clear()
        assert numbers(read_records(tmp_path)) == [0, 1]
        assert ["cut off" in record.message for record in caplog.records] == [True]
    write(tmp_path, [inference(9)])
    assert numbers(read_records(tmp_path)) == [0, 1, 9]


# Files that are something else


@pytest.mark.parametrize(
    "content", [b"PK\x03\x04 a zip archive", b"", encode({"actions": [1]}), encode([1, 2]), b"\xc1"]
)
def test_a_foreign_file_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "thing.bin"
    path.write_bytes(content)
    if not content:  # as a server leaves it that was killed between making and writing it
        assert list(read_records(path)) == []
        return
    with pytest.raises(RecordsError, match=r"thing\.bin is no recording of taketwo serve") as error:
        list(read_records(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "broken",
    [
        b"\xc1\xc1\xc1",
        encode(5),
        encode({"kind": "inference", "time": 1.0, "client": 1}),
        encode(inference(1, client="one")),
        encode(inference(1, response=encode({}), request="text")),
    ],
)
def test_a_damaged_file_is_told_with_the_place(tmp_path, broken):
    write(tmp_path, [inference(1)])
    (path,) = record_files(tmp_path)
    place = path.stat().st_size
    with path.open("ab") as file:
        file.write(broken + encode(inference(2)))
    with pytest.raises(RecordsError, match=f"is damaged at byte {place}: "):
        list(read_records(tmp_path))


def test_records_of_a_kind_that_is_not_known_yet_are_no_fault(tmp_path):
    write(tmp_path, [{"kind": "weather", "time": 1.0}, inference(1)])
    assert numbers(read_records(tmp_path)) == [1]


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(RecordsError, match=r"cannot read .*nowhere: No such file"):
        recording_files(tmp_path / "nowhere")


# Replay


DESCRIBED = CustomConfig(action_names=("seed", "count", "time"), state_names=("x",))
ENVIRONMENT = DESCRIBED.make()


class Remembering:
    """Acts on all that it should get, and remembers: episode seed, requests since the reset, time."""

    cameras = ()
    own_prompt = "by heart"
    made = 0

    def __init__(self, error=0.0, rows=2):
        type(self).made += 1
        self.error, self.rows = error, rows
        self.seed = self.count = -1
        self.prompts = []
        self.closed = False

    def reset(self, episode):
        self.seed, self.count = episode.seed, 0

    def infer(self, observation):
        self.prompts.append(observation.prompt)
        self.count += 1
        actions = np.tile([self.seed, self.count, observation.time_s + observation.state[0]], (self.rows, 1))
        actions[-1, 1] += self.error * self.count
        return ActionChunk(actions.astype(np.float64))

    def close(self):
        self.closed = True


class Stateless:
    """Shared by all clients of a server."""

    cameras = ()

    def reset(self, episode):
        raise AssertionError("nobody resets what all share")

    def infer(self, observation):
        return self.infer_batch([observation])[0]

    def infer_batch(self, observations):
        return [ActionChunk(np.full((1, 3), observation.state[0])) for observation in observations]

    def close(self):
        pass


@contextmanager
def recording_server(folder, make, default_prompt=None):
    """The real server, in this process, which records; yields what makes a client of it."""
    writer = RecordWriter(folder, max_bytes=10_000_000, header=HEADER | {"default_prompt": default_prompt})
    try:
        with served(make, DESCRIBED, records=writer, default_prompt=default_prompt) as server:
            yield server.client
    finally:
        writer.close()


def reset(seed):
    return {"taketwo": {"reset": {"index": 0, "seed": seed}}}


def record_two_clients(folder, make, default_prompt=None):
    """Two clients in turn; the first begins a second episode, and tells the prompt and the time once."""
    with recording_server(folder, make, default_prompt) as client:
        one, two = client(), client()
        one.infer(reset(11))
        for number in range(4):
            one.infer({"state": np.array([0.5])})
            two.infer({"state": np.array([number / 3])})
        one.infer(reset(12))
        one.infer({"state": np.zeros(1), "prompt": "stop", "taketwo": {"time_s": 3.25}})
        with pytest.raises(RuntimeError, match="state is missing"):
            two.infer({})
        two.infer({"state": np.ones(1)})


def replayed(folder, make, **options):
    return replay(next(read_runs(folder)), ENVIRONMENT, make, **options)


def test_a_policy_with_a_memory_gives_the_same_again_bit_for_bit(tmp_path):
    record_two_clients(tmp_path, Remembering)
    policies = []

    def make():
        policies.append(Remembering())
        return policies[-1]

    result = replayed(tmp_path, make)
    assert (result.requests, result.identical) == (10, 10)
    assert result.lengths == {(2, 2): 10}
    assert result.names == ("seed", "count", "time")
    assert not result.largest.any() and result.places == (None, None, None)
    assert result.within(0.0)
    assert len(policies) == 2 and all(policy.closed for policy in policies)


def test_the_time_begins_anew_with_each_episode(tmp_path):
    with recording_server(tmp_path, Remembering) as client:
        asking = client()
        for seed in (1, 2):
            asking.infer(reset(seed))
            times = [asking.infer({"state": np.zeros(1)})["actions"][0, 2] for _ in range(3)]
            assert times == [0.0, 0.04, 0.08]
    result = replayed(tmp_path, Remembering)
    assert (result.requests, result.identical) == (6, 6)


def test_the_policy_of_a_client_that_has_gone_is_used_again(tmp_path):
    with recording_server(tmp_path, Remembering) as client:
        for seed in (1, 2, 3):
            asking = client()
            asking.infer(reset(seed))
            asking.infer({"state": np.zeros(1)})
            asking._ws.close()
    made = []
    result = replayed(tmp_path, lambda: made.append(Remembering()) or made[-1])
    assert (result.requests, result.identical, len(made)) == (3, 3, 1)


def test_the_recorded_default_prompt_counts_and_what_a_client_said_counts_more(tmp_path):
    record_two_clients(tmp_path, Remembering, default_prompt="by default")
    used = [record["prompt_used"] for record in read_records(tmp_path) if record["kind"] == "inference"]
    policy = Remembering()
    result = replayed(tmp_path, lambda: policy, client=1)
    assert policy.prompts == ["by default"] * 4 + ["stop"]
    assert used.count("by default") == 9 and result.other_prompts == 0


def test_a_policy_that_acts_on_another_prompt_is_told(tmp_path):
    record_two_clients(tmp_path, Remembering)

    class Other(Remembering):
        own_prompt = "by another heart"

    assert replayed(tmp_path, Other).other_prompts == 9  # all but the one whose client said what to do


def test_a_difference_is_told_with_its_size_and_its_place(tmp_path):
    record_two_clients(tmp_path, Remembering)
    result = replayed(tmp_path, lambda: Remembering(error=1e-3))
    assert result.identical == 0
    np.testing.assert_allclose(result.largest, [0, 5e-3, 0], rtol=1e-9)
    assert result.places == (None, Place(client=2, request=5, row=1), None)
    counts = np.array([1, 2, 3, 4, 1, 1, 2, 3, 4, 5]) * 1e-3
    np.testing.assert_allclose(result.mean[1], counts.sum() / 20, rtol=1e-9)
    np.testing.assert_allclose(result.rms[1], np.sqrt((counts**2).sum() / 20), rtol=1e-9)
    assert result.within(5.1e-3) and not result.within(4.9e-3)


def test_chunks_of_another_length_are_compared_over_what_both_have_and_are_never_within(tmp_path):
    record_two_clients(tmp_path, Remembering)
    result = replayed(tmp_path, lambda: Remembering(rows=5))
    assert result.lengths == {(2, 5): 10}
    assert result.identical == 0 and not result.largest.any()
    assert not result.within(1.0)


def test_what_is_no_number_differs_without_bound_unless_both_are_none(tmp_path):
    record_two_clients(tmp_path, Remembering)

    class Broken(Remembering):
        def infer(self, observation):
            chunk = super().infer(observation)
            chunk.actions[0, 0] = np.nan
            return chunk

    result = replayed(tmp_path, Broken)
    assert result.largest.tolist() == [np.inf, 0, 0]
    assert not result.within(1e9)


def test_a_policy_that_all_share_is_asked_like_on_the_server(tmp_path):
    record_two_clients(tmp_path, Stateless)
    made = []
    result = replayed(tmp_path, lambda: made.append(1) or Stateless())
    assert (result.requests, result.identical, len(made)) == (10, 10, 1)


def test_one_client_or_the_first_requests_can_be_replayed_alone(tmp_path):
    record_two_clients(tmp_path, Remembering)
    told = []
    assert replayed(tmp_path, Remembering, client=2).requests == 5
    assert replayed(tmp_path, Remembering, first=3, answered=told.append).requests == 3
    assert told == [1, 2, 3]
    assert replayed(tmp_path, Remembering, client=7).requests == 0


def test_no_policy_is_made_for_a_recording_that_asks_nothing(tmp_path):
    write(tmp_path, [{"kind": "connected", "time": 1.0, "client": 1, "address": "x"}])

    def make():
        raise AssertionError("made")

    assert replayed(tmp_path, make).requests == 0


def test_records_that_begin_in_mid_episode_are_told(tmp_path, caplog):
    record_two_clients(tmp_path, Remembering)
    records = [record for record in read_records(tmp_path) if record["kind"] == "inference"]
    shutil.rmtree(tmp_path)
    write(tmp_path, records[3:])
    replayed(tmp_path, Remembering)
    assert [record.message[:9] for record in caplog.records if "mid-episode" in record.message] == [
        "client 2:",
        "client 1:",
    ]


def test_a_policy_that_fails_is_told_with_the_request(tmp_path):
    record_two_clients(tmp_path, Remembering)

    class Fails(Remembering):
        def infer(self, observation):
            if self.count == 3:
                raise ValueError("out of\nluck")
            return super().infer(observation)

    policy = Fails()
    with pytest.raises(PolicyError, match="client 1, request 4: the policy failed: ValueError: out of"):
        replayed(tmp_path, lambda: policy, client=1)
    assert policy.closed


def test_a_policy_of_another_width_is_told(tmp_path):
    record_two_clients(tmp_path, Remembering)

    class Narrow(Remembering):
        def infer(self, observation):
            return ActionChunk(np.zeros((2, 2)))

    with pytest.raises(PolicyError, match=r"client 1, request 1: .*shape \(2, 2\), recorded are \(2, 3\)"):
        replayed(tmp_path, Narrow)


def test_a_camera_that_was_not_recorded_is_told(tmp_path):
    record_two_clients(tmp_path, Remembering)
    environment = CustomConfig(action_names=("seed", "count", "time"), state_names=("x",), cameras=("top",)).make()

    class Looks(Remembering):
        cameras = ("top",)

    run = next(read_runs(tmp_path))
    with pytest.raises(PolicyError, match=r"client 1, request 1: images\.top is missing"):
        replay(run, environment, Looks)


def test_the_recorded_bytes_are_those_of_the_wire(tmp_path):
    with recording_server(tmp_path, Remembering) as client:
        answer = client().infer({"state": np.array([0.25], np.float32)})
    (record,) = [record for record in read_records(tmp_path) if record["kind"] == "inference"]
    assert decode(record["request"])["state"].dtype == np.float32
    np.testing.assert_array_equal(decode(record["response"])["actions"], answer["actions"])
    assert record["prompt_used"] == "by heart" and record["prompt_source"] == "checkpoint"


def test_a_request_of_maps_in_a_thousand_maps_is_summed_up_like_any_other():
    deep = {"images": {"top": np.zeros((4, 6, 3), np.uint8)}}
    inner = deep
    for _ in range(1000):
        inner["further"] = {}
        inner = inner["further"]
    assert list(pictures_in(deep)) == [("images.top", (4, 6, 3))]
