"""Real sessions of the point, recorded as `taketwo run` records them, and a gallery of them to ask."""

import http.client
import json
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from urllib.parse import quote, urlsplit

from taketwo.datasets.sink import DatasetConfig
from taketwo.envs.grid import WithGrid
from taketwo.envs.several import Several
from taketwo.live.config import LiveConfig
from taketwo.live.gallery.page import GalleryPage
from taketwo.recording.plain import plain
from taketwo.recording.session_file import SessionFile
from taketwo.recording.video import VideoConfig
from taketwo.session.commands import Commands
from taketwo.session.config import SessionConfig
from taketwo.session.loop import Session
from taketwo.session.vector import VectorSession
from taketwo.testing import PointEnvironment, SteeringController
from taketwo.types import CameraSpec, Image
from tests.session.vector_support import Each


class TwoCameras(PointEnvironment):
    """The point, seen by `angle` too."""

    def __init__(self):
        super().__init__()
        self.spec = replace(self.spec, cameras={name: CameraSpec(48, 64) for name in ("top", "angle")})

    def _observe(self):
        seen = super()._observe()
        angle = Image.of(seen.images["top"].pixels[:, ::-1].copy(), "angle")
        return replace(seen, images={**seen.images, "angle": angle})


class Discarding(SteeringController):
    """Has the episode discarded after the n-th step of the session, from 0."""

    def __init__(self, commands, step):
        super().__init__()
        self._commands, self._left = commands, step

    def decide(self, observation):
        if self._left == 0:
            self._commands.discard_episode()
        self._left -= 1
        return super().decide(observation)


def record(
    folder, *, episodes=2, seed=0, video=None, dataset=None, resume=False, environment=None, steps=None, discard_at=None
):
    """Record a session into a folder; returns its file. `dataset` is the dataset's folder."""
    environment = environment or PointEnvironment()
    video = video or VideoConfig()
    settings = SessionConfig(num_episodes=episodes, seed=seed, max_episode_steps=steps)
    config = {
        "env": {"type": "point", "cameras": list(environment.spec.cameras)},
        "policy": {"type": "steering"},
        "session": plain(asdict(settings)),
        "video": plain(asdict(video)),
        "dataset": {"root": str(dataset) if dataset else None, "repo_id": None},
        "resume": resume,
        "output_dir": str(folder),
    }
    file = SessionFile(folder, video.subsample)
    film = video.make(environment.spec, folder)
    rows = DatasetConfig(root=dataset).make(environment.spec, 50.0, resume=resume) if dataset else None
    commands = Commands()
    controller = SteeringController() if discard_at is None else Discarding(commands, discard_at)
    sinks = [sink for sink in (file, film, rows) if sink is not None]
    result = Session(environment, controller, settings, sinks, commands=commands, described_as=config).run()
    assert result.fault is None, result.fault
    shown = sum(episode.frames for episode in result.episodes)
    file.complete(result, film.report(shown) if film else None, rows.report() if rows else None)
    return file.path


def record_vector(folder, *, num_envs=3, episodes=2, seed=0, shown_env=0, video=None, dataset=None, discard_at=None):
    """The same with several points that step together; one of them is filmed."""
    environment = Several([TwoCameras() for _ in range(num_envs)])
    video = video or VideoConfig()
    settings = SessionConfig(num_episodes=episodes, seed=seed)
    config = {
        "env": {"type": "point"},
        "policy": {"type": "steering"},
        "vector": {"num_envs": num_envs, "shown_env": shown_env},
        "session": plain(asdict(settings)),
        "video": plain(asdict(video)),
        "dataset": {"root": str(dataset) if dataset else None, "repo_id": None},
        "output_dir": str(folder),
    }
    grid = WithGrid(environment, shown_env)
    file = SessionFile(folder, video.subsample, shown_env)
    film = video.make(grid.shown_spec, folder)
    rows = DatasetConfig(root=dataset).make(environment.spec, 50.0) if dataset else None
    commands = Commands()
    controllers = [SteeringController(0.05 / (1 + env)) for env in range(num_envs)]
    if discard_at is not None:
        controllers[shown_env] = Discarding(commands, discard_at)
    result = VectorSession(
        grid,
        Each(controllers),
        settings,
        [sink for sink in (file, rows) if sink is not None],
        shown=[film] if film else [],
        shown_env=shown_env,
        shown_spec=grid.shown_spec,
        commands=commands,
        described_as=config,
    ).run()
    assert result.fault is None, result.fault
    shown = sum(episode.frames for episode in result.episodes if episode.env == shown_env)
    file.complete(result, film.report(shown) if film else None, rows.report() if rows else None)
    return file.path


class Asked:
    """A gallery that is served, and what it answers."""

    def __init__(self, url):
        self.url = urlsplit(url)

    def get(self, path, method="GET", **headers):
        """Status, headers and body; the path goes out as it is."""
        connection = http.client.HTTPConnection(self.url.hostname, self.url.port, timeout=20)
        try:
            connection.putrequest(method, path, skip_host="Host" in headers, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name.replace("_", "-"), value)
            connection.endheaders()
            answer = connection.getresponse()
            return answer.status, dict(answer.headers), answer.read()
        finally:
            connection.close()

    def json(self, path):
        status, headers, body = self.get(path)
        assert status == 200, body
        assert headers["content-type"] == "application/json"
        return json.loads(body, parse_constant=lambda name: (_ for _ in ()).throw(ValueError(name)))

    def listing(self):
        return {line["id"]: line for line in self.json("/api/gallery")["sessions"]}

    def session(self, name):
        return self.json(f"/api/gallery/session?id={quote(name, safe='')}")

    def signals(self, name, episode):
        return self.json(f"/api/gallery/signals?id={quote(name, safe='')}&episode={episode}")

    def refusal(self, path, status):
        """What it says when it refuses."""
        got, _, body = self.get(path)
        assert got == status, (got, body)
        said = json.loads(body)
        assert said["ok"] is False
        return said["said"]


@contextmanager
def gallery_of(folder: Path):
    """Serve a folder."""
    page = GalleryPage(folder, LiveConfig(port=0))
    try:
        page.start()
        yield Asked(page.url)
    finally:
        page.close()
