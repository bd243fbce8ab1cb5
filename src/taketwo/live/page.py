"""The page on a running session."""

from __future__ import annotations

from taketwo.live.config import LiveConfig
from taketwo.live.sink import LiveSink
from taketwo.live.site import Site, check_installed
from taketwo.live.state import EditablePrompt, LiveState
from taketwo.session.commands import Commands


class LivePage:
    """Shows one session and takes commands for it.

    Attributes:
        url: where to open it, with the token where there is one.
        sink: what the session is to feed.
    """

    def __init__(
        self,
        config: LiveConfig,
        commands: Commands,
        prompt: EditablePrompt | None = None,
        prompt_note: str | None = None,
    ) -> None:
        """Takes the port. Nobody is answered before `start`.

        Args:
            commands: where the page puts what the operator wants.
            prompt: where an edited prompt goes; None where it cannot be edited.
            prompt_note: why it cannot.

        Raises:
            ConfigError: the address cannot be had.
            MissingExtraError: a library is not installed.
        """
        check_installed()
        from taketwo.live.app import Live

        self._state = LiveState(commands, prompt, prompt_note)
        live = Live(self._state)
        close = live.audience.close
        self._site = Site(config.host, config.port, config.token, config.allowed_hosts, live.routes(), close)
        self.url = self._site.url
        self.sink = LiveSink(self._state, live.frames, live.audience, fps=config.fps, quality=config.quality)

    def start(self) -> None:
        """Answer from now on."""
        self._site.start()

    def close(self) -> None:
        """Tell viewers that the session has ended, and take leave of them, waiting for none that does not read."""
        self._state.close()
        self._site.close()
