"""Several environments in one session: flags, progress, summary, and what is shared of a policy."""

import json
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import av
import pytest
import yaml

from taketwo.cli.config import RunConfig, source_of
from taketwo.cli.flags import read_flags
from taketwo.cli.leaving import Leaving
from taketwo.cli.progress import PlainProgress, Standing
from taketwo.cli.resolve import Source, resolve
from taketwo.cli.schema import Component
from taketwo.cli.summary import figures, print_summary
from taketwo.cli.worlds import open_world
from taketwo.errors import ConfigError
from taketwo.session.config import SessionConfig
from taketwo.session.events import EpisodeStart, StepTaken
from taketwo.testing import PointEnvironment, SteeringController
from taketwo.types import ActionChunk, EpisodeInfo
from tests.cli.support import error_of, taketwo
from tests.session.vector_support import Each, run_vector
from tests.support import Keep

PUSH = ["--env.type=push", "--policy.type=scripted", "--env.quality=preview", "--env.width=64", "--env.height=48"]


# Flags and files


def configured(*words):
    return resolve(RunConfig, source_of(read_flags(words).flags))


def in_file(tmp_path, content, *words):
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(content))
    return configured(f"--config_path={path}", *words).vector


@pytest.mark.parametrize("flag", ["--env.num_envs=4", "--env.num-envs=4", "--vector.num_envs=4"])
def test_the_number_of_environments_can_be_given_by_two_flags(flag):
    assert configured(flag).vector.num_envs == 4
    assert configured().vector.num_envs == 1


@pytest.mark.parametrize(
    "content",
    [
        {"env": {"num_envs": 4}},
        {"env": {"type": "push", "num-envs": 4, "width": 64}},
        {"vector": {"num_envs": 4}},
        {"env": {"num_envs": 4}, "vector": {"shown_env": 1}},
        {"env": {"num_envs": 4}, "vector": None},
    ],
)
def test_and_by_two_keys_of_a_file(tmp_path, content):
    assert in_file(tmp_path, content).num_envs == 4
    assert in_file(tmp_path, content, "--env.num_envs=5").num_envs == 5
    assert in_file(tmp_path, content, "--vector.num_envs=6").num_envs == 6
    assert in_file(tmp_path, content, "--vector.shown_env=3").shown_env == 3


def test_both_at_once_are_refused(tmp_path):
    both = r"env\.num_envs and vector\.num_envs are the same: give one of them"
    with pytest.raises(ConfigError, match=both):
        configured("--env.num_envs=2", "--vector.num-envs=3")
    with pytest.raises(ConfigError, match=both):
        in_file(tmp_path, {"env": {"num_envs": 4}, "vector": {"num_envs": 4}})


BAD = {
    "--env.num_envs=0": "num_envs must be from 1 to 65536, not 0",
    "--env.num_envs=-3": "num_envs must be from 1 to 65536, not -3",
    "--env.num_envs=65537": "num_envs must be from 1 to 65536, not 65537",
    "--env.num_envs=some": "num_envs",
    "--env.num_envs": "num_envs",
    "--vector.shown_env=1": "--vector.shown_env must be from 0 to 0, not 1",
    "--env.num_envs=3 --vector.shown_env=3": "--vector.shown_env must be from 0 to 2, not 3",
    "--env.num_envs=3 --vector.shown_env=-1": "--vector.shown_env must be from 0 to 2, not -1",
}


@pytest.mark.parametrize("words", BAD)
def test_bad_values_are_refused_in_one_line(words):
    with pytest.raises(ConfigError) as error:
        configured(*words.split())
    assert BAD[words] in str(error.value)
    assert "\n" not in str(error.value)


# What is shared of a policy


@dataclass(frozen=True)
class Made:
    """The options of a policy of some kind, and all that were made of it."""

    kind: type
    made: list = field(default_factory=list)

    def make(self, spec):
        self.made.append(self.kind(self))
        return self.made[-1]


class Plain:
    cameras = ()

    def __init__(self, options):
        self.options, self.resets, self.closed, self.asked = options, [], 0, 0

    def reset(self, episode):
        self.resets.append(episode.env)

    def infer(self, observation):
        self.asked += 1
        return ActionChunk((observation.state[2:] - observation.state[:2])[None] * 0.3)

    def close(self):
        self.closed += 1


class ForClients(Plain):
    def for_client(self):
        self.options.made.append(Plain(self.options))
        return self.options.made[-1]


class InBatches(Plain):
    def infer_batch(self, observations):
        self.asked += 1
        return [Plain.infer(Plain(None), observation) for observation in observations]


class ReadsInBatches(InBatches):
    own_prompt = "wipe the table"


class Relays(Plain):
    relays_prompt_to = "a server"


class Points:
    def make(self):
        return PointEnvironment()


class Silent(PointEnvironment):
    """Without a prompt."""

    def _observe(self):
        return replace(super()._observe(), prompt=None)


class SilentPoints:
    def make(self):
        return Silent()


def run_world(kind, num_envs=3, env=None, **more):
    options = Made(kind)
    config = replace(
        configured(f"--env.num_envs={num_envs}"),
        env=Component("point", env or Points()),
        policy=Component("made", options),
        session=SessionConfig(num_episodes=2, seed=5),
        **more,
    )
    with ExitStack() as stack:
        world = open_world(config, Source({}), lambda: None, stack, Leaving())
        driver = world.driver()
        result = world.session(driver, config.session, [], driver.watchers).run()
        driver.close()
    assert result.fault is None, result.fault
    assert [str(episode.outcome) for episode in result.episodes] == ["success"] * 2 * num_envs
    return options.made, result


@pytest.mark.parametrize("kind", [Plain, Relays])
def test_a_policy_with_a_state_of_its_own_is_made_for_each_environment_and_closed_once(kind):
    made, result = run_world(kind)
    assert [policy.resets for policy in made] == [[0, 0], [1, 1], [2, 2]]
    assert [policy.closed for policy in made] == [1, 1, 1]
    assert sum(policy.asked for policy in made) == sum(episode.steps for episode in result.episodes)


def test_weights_are_loaded_once_and_each_environment_has_a_state_of_its_own():
    (first, *clients), _ = run_world(ForClients)
    assert [type(policy) for policy in (first, *clients)] == [ForClients, Plain, Plain, Plain]
    assert (first.asked, first.resets) == (0, [])
    assert [policy.resets for policy in clients] == [[0, 0], [1, 1], [2, 2]]
    assert [policy.closed for policy in (first, *clients)] == [1, 1, 1, 1]


def test_a_policy_that_infers_batches_is_asked_for_all_at_once_and_closed_once():
    (policy,), result = run_world(InBatches)
    longest = max(sum(e.steps for e in result.episodes if e.env == env) for env in range(3))
    assert policy.asked == longest
    assert policy.closed == 1


@pytest.mark.parametrize(
    ("kind", "used"),
    [
        (ReadsInBatches, "policy used  'wipe the table' (from checkpoint)"),
        (InBatches, "policy used  (reads no prompt; got none)"),
        (Relays, "server used  (not told)"),
    ],
)
def test_the_prompt_is_told_by_what_the_policy_itself_can(caplog, kind, used):
    with caplog.at_level("INFO", "taketwo.prompt"):
        run_world(kind, num_envs=2, env=SilentPoints(), prompt_trace=True)
    (told,) = (record.getMessage() for record in caplog.records if "prompt at step" in record.getMessage())
    assert told.splitlines()[-1].strip() == used


def test_policies_are_closed_where_a_later_one_cannot_be_made():
    class Runs(Made):
        def make(self, spec):
            if len(self.made) == 2:
                raise ConfigError("out of memory")
            return super().make(spec)

    options, config = Runs(Plain), configured("--env.num_envs=3")
    config = replace(config, env=Component("point", Points()), policy=Component("made", options))
    with ExitStack() as stack:
        world = open_world(config, Source({}), lambda: None, stack, Leaving())
        with pytest.raises(ConfigError, match="out of memory"):
            world.driver()
    assert [policy.closed >= 1 for policy in options.made] == [True, True]


# Progress and summary


def played(num_envs=3, **options):
    """Events and result of a session of points of different speeds, and the lines of its progress."""
    keep = Keep()
    controller = Each([SteeringController(0.05 / (env + 1)) for env in range(num_envs)])
    result = run_vector(controller=controller, sinks=[keep], **options)
    lines = []
    sink = PlainProgress(SessionConfig(**options), lines.append, lambda: 0.0, num_envs=num_envs)
    for event in keep.events:
        sink.on(event)
    return keep.events, result, lines


def test_every_episode_of_every_environment_gets_a_line():
    _, result, lines = played(num_episodes=2, seed=5)
    assert lines == [
        f"Environment {e.env}, episode {e.index + 1}/2: success in {e.steps} steps (seed {e.seed})"
        for e in result.episodes
    ]
    assert len(lines) == 6


def test_now_and_then_a_line_says_how_many_are_done():
    standing = Standing(SessionConfig(num_episodes=2), num_envs=3)
    events, _, _ = played(num_episodes=2, seed=5)
    places = []
    for event in events:
        standing.take(event)
        places.append(" ".join(standing.place.split()))
    assert places[1] == "0/6 episodes in 3 environments: step 0"
    assert places[-1] == f"6/6 episodes in 3 environments: step {standing.steps}"
    unlimited = Standing(SessionConfig(max_total_steps=9), num_envs=3)
    assert unlimited.place.startswith("0 episodes in 3 environments")


@pytest.mark.parametrize("options", [{"num_episodes": 2}, {"total_seconds": 2.0}, {"max_total_steps": 60}])
def test_the_fraction_done_grows_to_one(options):
    events, result, _ = played(**options)
    standing = Standing(SessionConfig(**options), num_envs=3)
    fractions = []
    for event in events:
        standing.take(event)
        fractions.append(standing.fraction)
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1.0, abs=0.05)
    assert standing.steps == sum(episode.steps for episode in result.episodes)


def test_dropped_steps_are_counted_all_the_same():
    events, result, _ = played(num_episodes=2)
    standing = Standing(SessionConfig(num_episodes=2), num_envs=3)
    for event in events:
        if not isinstance(event, StepTaken) or event.index == 1:
            standing.take(event)
    assert standing.steps == sum(episode.steps for episode in result.episodes)


def test_a_step_does_not_look_at_all_environments():
    """There may be thousands, and each takes as many steps."""

    class Unsummed(dict):
        def values(self):
            raise AssertionError("all were looked at")

        __iter__ = items = keys = values

    standing = Standing(SessionConfig(num_episodes=2), num_envs=3, under_way=Unsummed())
    events, result, _ = played(num_episodes=2)
    for event in events:
        standing.take(event)
        assert standing.fraction is not None
    assert standing.steps == sum(episode.steps for episode in result.episodes)


def test_the_rate_is_of_all_environments_together_and_goes_on_over_their_episodes():
    seconds = [0.0]
    standing = Standing(SessionConfig(num_episodes=9), num_envs=2, now=lambda: seconds[0])
    step = next(event for event in played(num_episodes=1)[0] if isinstance(event, StepTaken))
    for k in range(10):
        for env in range(2):
            seconds[0] += 0.25
            if k == 5:
                standing.take(EpisodeStart(EpisodeInfo(1, seed=1, env=env)))
            standing.take(replace(step, index=k, frame=k, env=env))
    assert standing.steps_per_s is not None


def test_the_summary_has_a_row_for_each_environment_and_the_rate_over_all(capsys):
    _, result, _ = played(num_episodes=2, seed=5)
    print_summary(result, 50.0, 0.0, [])
    said = capsys.readouterr().out
    rows = [line.split() for line in said.splitlines()]
    for env in range(3):
        steps = sum(e.steps for e in result.episodes if e.env == env)
        assert [str(env), "2", str(steps), "100", "%", "success,", "success"] in rows
    assert "6/6 (100 %)" in said
    assert f"{sum(e.steps for e in result.episodes)} in " in said


def test_figures_are_means_over_all_attempts_of_all_environments():
    _, result, _ = played(num_episodes=1, seed=5)
    told = [replace(e, metrics={"pushes": float(e.env), "success": 1.0}) for e in result.episodes]
    told[2] = replace(told[2], metrics={})
    (first, time), (second, pushes) = figures(told, 50.0)
    mean = sum(e.steps for e in told) / 3 / 50
    assert float(time.split(" ± ")[0]) == pytest.approx(mean, rel=1e-3)
    assert "to succeed" in time or "finished" in first
    assert (second, pushes) == ("pushes", "0.5 ± 0.71 in 2 of 3 episodes")


# The command


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    done = taketwo(
        "run", *PUSH, "--env.num_envs=3", "--vector.shown_env=1", "--session.num_episodes=2", "--session.seed=5",
        "--session.max_episode_steps=5", "--video.cameras=grid", "--dataset.root=data", "--output_dir=out", cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder, done


def test_the_command_runs_all_and_films_one(ran):
    folder, done = ran
    told = json.loads((folder / "out/session.json").read_text())
    assert [(e["env"], e["index"]) for e in told["episodes"]] == [(env, k) for k in range(2) for env in range(3)]
    assert told["counts"] == {"timeout": 6}
    assert told["config"]["vector"] == {"num_envs": 3, "shown_env": 1}
    assert "Environment 2, episode 2/2: timeout in 5 steps" in done.stderr
    assert "Stored episode 2/2 (6 frames)" in done.stderr
    (film,) = (folder / "out").glob("*_seed5_2eps.mp4")
    with av.open(str(film)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (64, 48)
        assert sum(1 for _ in container.decode(video=0)) == 12
    assert told["dataset"]["episodes"] == 6
    assert told["dataset"]["rows"] == 30
    assert all("collisions" in episode["metrics"] for episode in told["episodes"])


def test_a_session_file_runs_the_same_session_again(ran, tmp_path):
    folder, _ = ran
    done = taketwo(
        "run", f"--config_path={folder}/out/session.json", "--env.num_envs=2", "--vector.shown_env=0",
        "--dataset.root=none", "--video.mode=off", f"--output_dir={tmp_path}", "--quiet",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    before = json.loads((folder / "out/session.json").read_text())["episodes"]
    after = json.loads((tmp_path / "session.json").read_text())["episodes"]
    assert [{**e, "first_frame": 0} for e in after] == [{**e, "first_frame": 0} for e in before if e["env"] < 2]


def test_an_asynchronous_executor_is_refused(tmp_path):
    done = taketwo("run", *PUSH, "--env.num_envs=2", "--control.executor=asynchronous", cwd=tmp_path)
    assert done.returncode == 2
    assert error_of(done).startswith("--control.executor: environments that step together wait for the policy")
    assert not list(tmp_path.rglob("*.mp4"))


def test_a_camera_that_there_is_not_is_told_with_the_grid_among_those_that_there_are(tmp_path):
    done = taketwo("run", *PUSH, "--env.num_envs=2", "--video.cameras=gird", cwd=tmp_path)
    assert done.returncode == 2
    assert "Did you mean 'grid'?" in error_of(done)
