"""What several tests use: sinks that keep events, and sessions over the point environment."""

from taketwo.session.config import SessionConfig
from taketwo.session.events import StepTaken
from taketwo.session.loop import Session
from taketwo.testing import PointEnvironment, SteeringController


class Keep:
    """A sink that keeps what it gets."""

    def __init__(self, name="keep", lossless=True, required=False, cameras=()):
        self.name, self.lossless, self.required = name, lossless, required
        self._cameras = cameras
        self.events = []

    def cameras(self, frame):
        return self._cameras

    def on(self, event):
        self.events.append(event)

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def steps(self):
        return self.of(StepTaken)


def run_session(environment=None, controller=None, sinks=(), **options):
    """Run a session of the point; options that Session takes by keyword go there, the rest to its config."""
    keywords = {key: options.pop(key) for key in ("prompt", "clock", "commands") if key in options}
    environment = environment or PointEnvironment()
    return Session(
        environment, controller or SteeringController(), SessionConfig(**options), list(sinks), **keywords
    ).run()
