"""Which prompt counts, told by the console script."""

import json
import re

import numpy as np
import pytest

from tests.cli.support import QUICK, error_of, install_plugin, taketwo
from tests.support_server import serving

pytest.importorskip("gym_aloha")

RUN = ["run", *QUICK, "--session.num_episodes=1", "--video.mode=off", "--output_dir=out", "--control.action_horizon=5"]


def session_of(folder):
    return json.loads((folder / "out" / "session.json").read_text())


def answers(**told):
    """A server's answer to every request, with what it tells of the prompt."""
    return lambda request: {"actions": np.zeros((10, 14))} | ({"taketwo": told} if told else {})


def honest(request):
    used = request.get("prompt", "wipe the table")
    source = "observation" if "prompt" in request else "default_prompt"
    return answers(prompt_used=used, prompt_source=source, prompt_read=True)(request)


def run_remote(folder, infer, *words):
    with serving(infer) as server:
        done = taketwo(*RUN, "--policy.type=remote", f"--policy.port={server.port}", *words, cwd=folder)
    return done, server.requests


def test_the_trace_shows_what_was_sent_seen_and_used_in_process(tmp_path):
    done = taketwo(*RUN[:-1], "--policy.type=noop", "--prompt=hand it over", "--prompt_trace", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (
        "prompt at step 0\n"
        "  client sent  'hand it over'\n"
        "  runtime saw  'hand it over'\n"
        "  policy used  (reads no prompt; got 'hand it over', from observation)\n"
    ) in done.stderr
    assert done.stderr.count("prompt at step") == 1
    assert done.stderr.count("the policy reads no prompt: what you send changes nothing") == 1


def test_the_trace_shows_what_a_server_used_as_often_as_is_asked(tmp_path):
    done, _ = run_remote(tmp_path, honest, "--prompt=hand it over", "--prompt_trace", "--prompt_echo_every=5")
    assert done.returncode == 0, done.stderr
    assert re.findall(r"prompt at step (\d+)\n", done.stderr) == ["0", "5", "10"]
    assert done.stderr.count("\n  server used  'hand it over' (from observation)\n") == 3
    assert "prompt [client" not in done.stderr  # the same lines twice would be one too many


def test_a_server_of_openpi_which_tells_nothing_is_no_fault(tmp_path):
    done, _ = run_remote(tmp_path, answers(), "--prompt=hand it over", "--prompt_trace")
    assert done.returncode == 0, done.stderr
    assert "\n  server used  (not told)\n" in done.stderr


@pytest.mark.parametrize("executor", ["open_loop", "asynchronous"])
def test_a_prompt_that_does_not_get_to_the_server_ends_the_session_as_a_fault(tmp_path, executor):
    done, requests = run_remote(
        tmp_path,
        honest,
        *["--policy.mapping={prompt: none}", "--prompt=hand it over", "--prompt_trace", "--quiet"],
        f"--control.executor={executor}",
    )
    assert done.returncode == 1
    assert error_of(done) == (
        "the policy server used another prompt than was sent: sent 'hand it over', used 'wipe the table' "
        "(from default_prompt); what was sent does not get there: look whether --policy.layout or --policy.mapping "
        "carries it"
    )
    session = session_of(tmp_path)
    assert (session["complete"], session["counts"]) == (True, {"fault": 1})
    assert len(requests) == 1


def test_a_prompt_that_does_not_get_to_the_server_goes_unnoticed_without_the_trace(tmp_path):
    done, _ = run_remote(tmp_path, honest, "--policy.mapping={prompt: none}", "--prompt=hand it over")
    assert done.returncode == 0, done.stderr


def test_a_made_up_token_is_told_once_stored_and_in_every_request(tmp_path):
    done, requests = run_remote(tmp_path, honest, "--prompt=hand it over", "--prompt_id=auto", "--prompt_trace")
    assert done.returncode == 0, done.stderr
    (token,) = re.findall(r"^every prompt begins with \[prompt_id=([0-9a-f]{8})\]$", done.stderr, re.MULTILINE)
    prompt = f"[prompt_id={token}] hand it over"
    assert {request["prompt"] for request in requests} == {prompt}
    assert done.stderr.count(repr(prompt)) == 3
    session = session_of(tmp_path)
    assert session["config"]["prompt_id"] == token
    assert session["config"]["prompt"] == "hand it over"
    assert session["episodes"][0]["prompts"] == [prompt]


def test_the_environments_own_prompt_gets_a_token_that_was_given(tmp_path):
    done, requests = run_remote(tmp_path, honest, "--prompt_id=run-7")
    assert done.returncode == 0, done.stderr
    assert {request["prompt"] for request in requests} == {"[prompt_id=run-7] Transfer cube"}


def test_a_token_without_a_prompt_to_stand_in_is_refused(tmp_path):
    words = ["run", "--env.type=gym", "--env.id=still_plugin:Noise-v0", "--env.render=false", "--policy.type=noop"]
    plugins = install_plugin(tmp_path)
    done = taketwo(*words, "--prompt_id=auto", cwd=tmp_path, PYTHONPATH=plugins)
    assert done.returncode == 2
    assert error_of(done).startswith("--prompt_id needs a prompt to stand in, and environment ")
    assert error_of(done).endswith(" has none of its own: give --prompt or --prompt_file")
    (tmp_path / "prompt.txt").write_text("look closely")
    limits = ["--session.max_total_steps=2", "--session.num_episodes=1", "--prompt_file=prompt.txt"]
    done = taketwo(*words, *limits, "--prompt_id=k1", "--output_dir=out", cwd=tmp_path, PYTHONPATH=plugins)
    assert done.returncode == 0, done.stderr
    assert session_of(tmp_path)["episodes"][0]["prompts"] == ["[prompt_id=k1] look closely"]


def test_a_token_that_a_log_would_not_show_as_it_is_is_refused(tmp_path):
    done = taketwo("run", "--prompt_id=two words", cwd=tmp_path)
    assert done.returncode == 2
    assert error_of(done).startswith("--prompt_id must be auto, or 1 to 32 letters")


@pytest.mark.parametrize(("server", "used"), [(honest, "'hand it over' (from observation)"), (answers(), "(not told)")])
def test_of_several_environments_the_trace_shows_what_the_shown_ones_server_used(tmp_path, server, used):
    done, requests = run_remote(tmp_path, server, "--prompt=hand it over", "--prompt_trace", "--env.num_envs=2")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("prompt at step") == 1
    assert f"\n  server used  {used}\n" in done.stderr
    assert [request["prompt"] for request in requests] == ["hand it over"] * 2 * 3
