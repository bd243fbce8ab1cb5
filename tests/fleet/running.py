"""Runs the fleet's commands on the walking environment, in real processes."""

import json
import os
import subprocess
import time
from pathlib import Path

from tests.cli.support import SCRIPT

ROOT = Path(__file__).parents[2]

WALK = ["--env.type=walk", "--policy.type=waver", "--output_dir=run"]

SAME = ("trial", "outcome", "reason", "episode_seed", "steps", "sim_s", "reward_sum", "reward_max", "recorded")
"""What of a result does not depend on who ran it."""


def install_walking(folder):
    """What has to be on PYTHONPATH for workers to find the environment and the policy."""
    info = folder / "walking-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: walking\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[taketwo.envs]\nwalk = tests.fleet.walking:WalkConfig\n"
        "[taketwo.policies]\nwaver = tests.fleet.walking:WaverConfig\n"
    )
    return os.pathsep.join([str(folder), str(ROOT)])


def start(command, *flags, cwd, path):
    """A command, under way."""
    return subprocess.Popen(
        [SCRIPT, command, *WALK, *flags],
        cwd=cwd, env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def run(command, *flags, cwd, path):
    """A command, at its end; it must never show a traceback."""
    process = start(command, *flags, cwd=cwd, path=path)
    out, err = process.communicate(timeout=120)
    assert "Traceback" not in err, err
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def results(folder):
    """The results of a run by trial, without what depends on who ran it."""
    content = json.loads((folder / "results.json").read_text())
    found = [trial["result"] for trial in content["trials"]]
    return [{name: result[name] for name in SAME} if result else None for result in found]


def told(folder, name):
    """One value of each result, in the order of the plan."""
    content = json.loads((folder / "results.json").read_text())
    return [trial["result"] and trial["result"][name] for trial in content["trials"]]


def children(process):
    """The processes that a process has begun and that live."""
    try:
        text = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    except FileNotFoundError:
        return []
    return list(map(int, text.split()))


def lives(pid):
    """Whether there is such a process, other than a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_for(condition, timeout_s=60.0):
    """Wait until a condition holds."""
    until = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.01)
    return found


def done(folder):
    """The trials that are done: their folder's number, and what tells whether it was written again."""
    there = {}
    for path in folder.glob("episodes/*/result.json"):
        stat = path.stat()
        there[int(path.parent.name)] = (stat.st_ino, stat.st_mtime_ns)
    return there
