import json
import math
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from taketwo import __version__
from taketwo.errors import RecordingError
from taketwo.recording.session_file import AT_ONCE, SessionFile
from taketwo.session.events import EpisodeEnd
from taketwo.session.result import LoopStats, SessionResult
from taketwo.session.watchers import Drawn
from taketwo.testing import check_sink
from taketwo.types import Outcome
from tests.recording.filming import episode_of, play, session_of

EPISODES = (
    episode_of(0, 10, 0, Outcome.SUCCESS),
    episode_of(1, 7, 11, Outcome.TIMEOUT, reward_max=math.nan, reward_sum=-math.inf),
    episode_of(2, 4, 19, Outcome.FAULT),
)
RESULT = SessionResult(
    episodes=EPISODES,
    reason="3 episodes done",
    fault=None,
    loop=LoopStats(
        overruns=1,
        jitter_ms_p50=None,
        jitter_ms_p99=math.inf,
        stalls=2,
        lost_s=0.5,
        wall_s=10.5,
        drawn={"top": Drawn(12, 0.5)},
    ),
    waited_s={"video": 0.25},
    dropped={"video": 0},
)


def strictly(path):
    """JSON without NaN and such."""
    return json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda name: pytest.fail(f"{name} in JSON"))


def started(folder, episodes, subsample=1, **options):
    sink = SessionFile(folder, subsample)
    events = list(session_of([(e.steps, e.outcome) for e in episodes], **options))
    assert play(sink, events) is None
    return sink


def test_the_final_file_tells_everything(tmp_path):
    sink = started(tmp_path, EPISODES, subsample=2)
    video = {"path": "film_seed5_3eps.mp4", "frames": 12, "fps": 25.0, "duration_s": 0.48, "dropped": 0, "warnings": []}
    sink.complete(RESULT, video)
    assert sink.path == tmp_path / "session.json"
    told = strictly(sink.path)
    assert told["episodes"][1] == {
        "index": 1,
        "seed": 101,
        "steps": 7,
        "outcome": "timeout",
        "reason": "told so",
        "env": 0,
        "init_state": None,
        "seeded": True,
        "metrics": {},
        "terminated": True,
        "truncated": False,
        "reward_sum": None,
        "reward_max": None,
        "first_frame": 6,
        "guarded_steps": 0,
        "interventions": 0,
        "prompts": [],
    }
    assert [episode["first_frame"] for episode in told["episodes"]] == [0, 6, 10]
    assert told["success_rate"] == 0.5
    assert told["counts"] == {"success": 1, "timeout": 1, "fault": 1}
    assert told["steps_per_second"] == pytest.approx(2.0)
    assert told["loop"] == {
        "overruns": 1,
        "jitter_ms_p50": None,
        "jitter_ms_p99": None,
        "stalls": 2,
        "lost_s": 0.5,
        "paused_s": 0.0,
        "drawn": {"top": {"pictures": 12, "seconds": 0.5}},
        "waited_s": {"video": 0.25},
        "dropped": {"video": 0},
    }
    assert told["video"] == video
    assert told["config"] == {"session": {"seed": 5}}
    assert (told["complete"], told["reason"], told["taketwo"]) == (True, "3 episodes done", __version__)
    assert datetime.fromisoformat(told["started_at"]).tzinfo is not None
    assert list(tmp_path.iterdir()) == [sink.path]


def test_what_was_done_is_there_after_each_episode(tmp_path):
    sink = SessionFile(tmp_path)
    seen = []
    for event in session_of([(3, Outcome.SUCCESS), (4, Outcome.FAILURE)]):
        sink.on(event)
        if isinstance(event, EpisodeEnd):
            seen.append(strictly(tmp_path / "session.json"))
    assert [len(told["episodes"]) for told in seen] == [1, 2]
    assert [told["success_rate"] for told in seen] == [1.0, 0.5]
    assert [told["complete"] for told in seen] == [False, False]
    assert seen[0]["reason"] is None


def test_without_an_attempt_there_is_no_success_rate(tmp_path):
    sink = started(tmp_path, [episode_of(outcome=Outcome.FAULT), episode_of(outcome=Outcome.STOPPED)])
    told = strictly(sink.path)
    assert told["success_rate"] is None
    assert told["counts"] == {"fault": 1, "stopped": 1}


def test_an_earlier_sessions_file_is_left_alone(tmp_path):
    first = started(tmp_path, EPISODES)
    before = first.path.read_bytes()
    second = started(tmp_path, EPISODES)
    second.complete(RESULT, None)
    assert second.path == tmp_path / "session_2.json"
    assert first.path.read_bytes() == before


def test_configuration_values_that_json_lacks_are_written_plainly(tmp_path):
    config = {"a": np.float32(math.nan), "b": (1, math.inf), "c": Path("out"), "d": np.arange(2), "e": Outcome.SUCCESS}
    sink = started(tmp_path, [], config=config)
    assert strictly(sink.path)["config"] == {"a": None, "b": [1, None], "c": "out", "d": [0, 1], "e": "success"}


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "out").write_text("")
    error = play(SessionFile(tmp_path / "out" / "deeper"), session_of([(1, Outcome.SUCCESS)]))
    assert isinstance(error, RecordingError)
    assert str(tmp_path / "out") in str(error)


def test_a_file_that_cannot_be_replaced_keeps_its_old_content(tmp_path):
    sink = started(tmp_path, EPISODES)
    before = sink.path.read_bytes()
    blocker = tmp_path / ".session.json.new"
    blocker.symlink_to("/dev/full")  # each write to it finds the disk full
    with pytest.raises(RecordingError, match=r"cannot write .*session\.json: No space left"):
        sink.complete(RESULT, None)
    assert sink.path.read_bytes() == before
    assert not blocker.is_symlink()


def test_the_sink_keeps_the_contract_of_sinks(tmp_path):
    check_sink(lambda: SessionFile(tmp_path))


def test_a_file_of_many_episodes_is_written_in_time_and_not_at_every_one_of_them(tmp_path):
    """It would take as long as the square of their number."""
    seconds, written = [0.0], []
    sink = SessionFile(tmp_path, now=lambda: seconds[0])
    for event in session_of([(1, Outcome.SUCCESS)] * (AT_ONCE + 10)):
        seconds[0] += 0.25 * isinstance(event, EpisodeEnd)
        sink.on(event)
        if isinstance(event, EpisodeEnd):
            written.append(len(strictly(tmp_path / "session.json")["episodes"]))
    assert written[:AT_ONCE] == list(range(1, AT_ONCE + 1))
    assert [count - AT_ONCE for count in written[AT_ONCE:]] == [0, 0, 0, 4, 4, 4, 4, 8, 8, 8]
    assert len(strictly(tmp_path / "session.json")["episodes"]) == AT_ONCE + 10


def test_the_last_of_many_is_written_while_the_next_goes_on(tmp_path):
    seconds = [0.0]
    sink = SessionFile(tmp_path, now=lambda: seconds[0])
    *events, step, _, _, _ = session_of([(1, Outcome.SUCCESS)] * (AT_ONCE + 2))
    for event in events:
        sink.on(event)
    assert len(strictly(tmp_path / "session.json")["episodes"]) == AT_ONCE
    seconds[0] = 1.0
    sink.on(step)
    assert len(strictly(tmp_path / "session.json")["episodes"]) == AT_ONCE + 1
