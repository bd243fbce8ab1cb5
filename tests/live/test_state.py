"""What the page is told of real sessions."""

import json
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from taketwo import __version__
from taketwo.session.events import Intervention
from taketwo.testing import PointEnvironment, SteeringController
from taketwo.types import Decision, FailureEstimate
from tests.live.support import PATIENCE_S, Still, live, showing, until
from tests.support import run_session

DESCRIBED = {
    "policy": {"type": "scripted"},
    "session": {"max_hz": 50.0, "num_episodes": 3, "total_seconds": None},
}


def described(sinks, commands, **options):
    """A session with a configuration, as `taketwo run` has one."""
    from taketwo.session.config import SessionConfig
    from taketwo.session.loop import Session

    environment = options.pop("environment", None) or PointEnvironment()
    controller = options.pop("controller", None) or SteeringController()
    return Session(
        environment, controller, SessionConfig(**options), sinks, commands=commands, described_as=DESCRIBED
    ).run()


def test_before_the_session_there_is_a_state_already():
    with live() as opened:
        state = opened.state()
        assert state["session"]["status"] == "starting"
        assert state["episode"] is None and state["episodes"] == [] and state["cameras"] == []
        assert (state["taketwo"], state["mode"]) == (__version__, "live")


def test_a_session_that_runs_is_told():
    with showing(seed=5) as opened:
        until(lambda: len(opened.session.keep.steps) > 10)
        state = opened.state()
        assert state["session"]["environment"] == "point"
        assert (state["session"]["status"], state["session"]["seed"]) == ("running", 5)
        assert state["session"]["control_hz"] == 50.0
        assert state["session"]["elapsed_s"] > 0.1
        episode = state["episode"]
        assert episode["index"] == 0 and episode["step"] > 10
        assert episode["time_s"] == pytest.approx(episode["step"] / 50)
        assert (episode["marked"], episode["interventions"]) == (None, 0)
        assert state["signals"] == {
            "action": {"names": ["x", "y"], "units": ["m", "m"]},
            "state": {"names": ["x", "y", "target_x", "target_y"]},
        }
        assert state["cameras"] == [{"name": "top", "height": 48, "width": 64}]
        assert 30 < state["timing"]["rate_hz"] < 70


def test_finished_episodes_are_told_as_they_were():
    with live(prompt=None) as opened:
        result = described([opened.page.sink], opened.commands, num_episodes=3, max_hz=500.0)
        state = opened.state()
        assert [told["outcome"] for told in state["episodes"]] == ["success"] * 3
        for told, episode in zip(state["episodes"], result.episodes, strict=True):
            for name in ("index", "seed", "reason", "steps", "first_frame", "frames"):
                assert told[name] == getattr(episode, name)
            assert told["reward_max"] == pytest.approx(episode.reward_max)
        assert state["episode"] is None
        assert (state["session"]["status"], state["session"]["reason"]) == ("ended", "all episodes done")
        assert (state["session"]["policy"], state["session"]["num_episodes"]) == ("scripted", 3)
        assert state["timing"]["late_ms_p50"] >= 0


def test_lateness_is_told_only_of_a_session_with_a_rate():
    with live() as opened:
        run_session(sinks=[opened.page.sink], num_episodes=1)
        assert opened.state()["timing"]["late_ms_p99"] is None


class Breaks(PointEnvironment):
    def step(self, action):
        if self._steps == 3:
            raise ValueError("the simulator exploded")
        return super().step(action)


def test_a_fault_is_told_with_its_reason():
    with live() as opened:
        run_session(Breaks(), Still(), sinks=[opened.page.sink], num_episodes=3)
        state = opened.state()
        assert [episode["outcome"] for episode in state["episodes"]] == ["fault"]
        assert "the simulator exploded" in state["episodes"][0]["reason"]
        assert state["session"]["status"] == "ended"
        assert "the simulator exploded" in state["session"]["reason"]


def test_what_is_no_number_is_null():
    class Deaf(PointEnvironment):
        def step(self, action):
            return super().step(np.zeros(2))

    class Blank(Still):
        def decide(self, observation):
            return Decision(asked=np.zeros(2), sent=np.array([np.nan, np.inf]))

    with live() as opened, opened.events() as events:
        run_session(Deaf(), Blank(), sinks=[opened.page.sink], num_episodes=1, max_episode_steps=5)
        samples = until(lambda: _next(events, "samples"))
        assert samples["action"][0] == [None, None]


def test_numbers_of_numpys_own_kinds_are_told_too():
    class Rewards(PointEnvironment):
        def step(self, action):
            return replace(super().step(action), reward=np.float32(0.5))

    class Watched(Still):
        def decide(self, observation):
            estimate = FailureEstimate(np.float32(0.25), np.float64(0.75), np.float32(0.5))
            return replace(super().decide(observation), failure=estimate)

    with live() as opened:
        with opened.events() as events:
            run_session(Rewards(), Watched(), sinks=[opened.page.sink], num_episodes=1, max_episode_steps=5)
            samples = until(lambda: _next(events, "samples"))
            assert (samples["p_fail"][0], samples["high"][0], samples["low"][0]) == (0.25, 0.75, 0.5)
        assert opened.state()["episodes"][0]["reward_max"] == 0.5


def _next(events, kind):
    message = events.recv(timeout=PATIENCE_S)
    if isinstance(message, bytes):
        return None
    told = json.loads(message, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    return told if told["type"] == kind else None


def test_an_edited_prompt_reaches_the_next_observation_and_the_page():
    with showing() as opened:
        told = {"text": "first", "used": "first", "read": None, "editable": True, "note": None}
        assert opened.state()["prompt"] == told
        status, said = opened.command("set_prompt", prompt="  second  ")
        assert status == 200 and "'second'" in said
        until(lambda: opened.session.keep.steps[-1].observation.prompt == "second")
        until(lambda: opened.state()["prompt"]["text"] == opened.state()["prompt"]["used"] == "second")
        prompts = [step.observation.prompt for step in opened.session.keep.steps]
        change = prompts.index("second")
        assert set(prompts[:change]) == {"first"} and set(prompts[change:]) == {"second"}


@pytest.mark.parametrize("blank", [None, "", "  \n"])
def test_a_blank_prompt_leaves_the_environments_own(blank):
    with showing() as opened:
        assert opened.command("set_prompt", prompt=blank)[0] == 200
        until(lambda: opened.state()["prompt"]["text"] == "Move the point onto the target")


def test_a_prompt_that_cannot_be_edited_says_why():
    with live(editable=False, note="it comes from a file") as opened:
        assert opened.state()["prompt"]["editable"] is False
        assert opened.state()["prompt"]["note"] == "it comes from a file"
        assert opened.command("set_prompt", prompt="mine") == (409, "it comes from a file")


def test_an_episode_ends_is_redone_and_marked_from_the_page():
    with showing() as opened:
        assert opened.command("mark_success", episode=0)[0] == 200
        assert opened.state()["episode"]["marked"] == "success"
        assert opened.command("mark_failure")[0] == 200
        assert opened.state()["episode"]["marked"] == "failure"
        assert opened.command("unmark")[0] == 200
        assert opened.state()["episode"]["marked"] is None
        opened.command("mark_success")
        assert opened.command("end_episode", episode=0) == (200, "episode 1 ends after this step")
        until(lambda: (opened.state()["episode"] or {}).get("index") == 1)
        assert opened.command("redo_episode", episode=1)[0] == 200
        until(lambda: len(opened.state()["episodes"]) == 2 and opened.state()["episode"])
        state = opened.state()
        assert [episode["outcome"] for episode in state["episodes"]] == ["success", "discarded"]
        assert (state["episode"]["index"], state["episode"]["seed"]) == (1, state["episodes"][1]["seed"])
        assert state["episode"]["marked"] is None


def test_a_session_is_paused_and_goes_on_from_the_page():
    with showing() as opened:
        assert opened.command("pause")[0] == 200
        assert opened.state()["session"]["status"] == "paused"
        opened.session.stand_still()
        step = opened.state()["episode"]["step"]
        assert opened.command("resume")[0] == 200
        until(lambda: opened.state()["episode"]["step"] > step + 3)
        assert opened.state()["session"]["status"] == "running"


def test_a_session_is_stopped_from_the_page_and_says_so():
    with showing() as opened:
        assert opened.command("stop", episode=77) == (200, "the session ends after this step")
        until(lambda: opened.state()["session"]["status"] == "ended")
        assert opened.state()["session"]["reason"] == "stopped by the operator"
        assert opened.command("pause") == (409, "the session has ended")
        assert not opened.commands.paused


def test_stepping_in_resets_the_policy_within_the_episode():
    with showing() as opened:
        until(lambda: len(opened.session.keep.steps) > 5)
        resets = opened.session.controller.resets
        assert opened.command("intervene", episode=0)[0] == 200
        until(lambda: opened.state()["episode"]["interventions"] == 1)
        assert opened.session.controller.resets == resets + 1
        (told,) = opened.session.keep.of(Intervention)
        assert told.kind == "retry"
        opened.command("end_episode")
        until(lambda: (opened.state()["episode"] or {}).get("index") == 1)
        assert opened.state()["episode"]["interventions"] == 0


def test_the_state_of_many_episodes_stays_quick_to_tell():
    with live() as opened:
        run_session(PointEnvironment(), Still(), sinks=[opened.page.sink], num_episodes=500, max_episode_steps=1)
        body = opened.ask("GET", "/api/state")[2]
        assert len(msgspec.json.decode(body)["episodes"]) == 500
