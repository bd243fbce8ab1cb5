"""Records datasets out of real sessions, and changes them."""

import json
import shutil
from dataclasses import asdict

from taketwo.cli.resolve import to_plain
from taketwo.control.config import ControlConfig
from taketwo.datasets.sink import DatasetConfig
from taketwo.envs.aloha import AlohaConfig
from taketwo.envs.base import Snapshots
from taketwo.envs.traced import Traced
from taketwo.policies.scripted import ScriptedConfig
from taketwo.session.config import SessionConfig
from taketwo.session.events import EpisodeStart, StepTaken, TerminalObservation
from taketwo.session.loop import Session

SMALL = AlohaConfig(width=64, height=48, quality="preview")


class Pictures:
    """A sink that keeps the pictures of a camera as they were rendered, terminal ones included, by episode."""

    name, lossless, required = "pictures", True, True

    def __init__(self, camera):
        self.camera = camera
        self.episodes = []

    def cameras(self, frame):
        return (self.camera,)

    def on(self, event):
        if isinstance(event, EpisodeStart):
            self.episodes.append([])
        if isinstance(event, StepTaken | TerminalObservation):
            self.episodes[-1].append(event.observation.images[self.camera].pixels)


def record(root, environment, controller, described_as, sinks=(), **session):
    """Record a session into a dataset at `root`; returns its result."""
    spec = environment.spec
    sink = DatasetConfig(root=root).make(spec, spec.control_hz)
    config = SessionConfig(**session)
    result = Session(
        Traced(environment) if isinstance(environment, Snapshots) else environment,
        controller,
        config,
        [sink, *sinks],
        described_as={"session": asdict(config), **described_as},
    ).run()
    environment.close()
    assert result.fault is None, result.fault
    return result


def record_aloha(root, config=SMALL, sinks=(), **session):
    """Record the scripted policy in ALOHA."""
    environment = config.make()
    controller = ControlConfig().make(ScriptedConfig().make(environment.spec), environment.spec)
    described_as = {"env": {"type": "aloha", **to_plain(config)}}
    return record(root, environment, controller, described_as, sinks, **session)


def copied(root, folder):
    """A copy of a dataset that may be changed."""
    target = folder / "cube"
    shutil.copytree(root, target)
    return target


def edit_notes(root, **changes):
    """Change what is noted of every episode."""
    for path in (root / "meta/taketwo/episodes").glob("*/*.jsonl"):
        notes = [json.loads(line) | changes for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps(note) + "\n" for note in notes))


def edit_session(root, change):
    """Change the stored configuration by a function on it."""
    (path,) = (root / "meta/taketwo/sessions").iterdir()
    content = json.loads(path.read_text())
    change(content["config"])
    path.write_text(json.dumps(content))


def without_trace(root):
    """Make it a dataset whose simulator kept no trace."""
    edit_notes(root, traced=False)
    shutil.rmtree(root / "traces")


def without_notes(root):
    """Make it a dataset as LeRobot records one."""
    shutil.rmtree(root / "meta/taketwo")
    shutil.rmtree(root / "traces")
