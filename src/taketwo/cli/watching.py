"""What shows a running session of `taketwo run`: page, window, and Rerun."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from taketwo.cli.config import RunConfig
from taketwo.cli.making import closing, made
from taketwo.cli.resolve import Source
from taketwo.control.prompt import PromptSource
from taketwo.session.commands import Commands
from taketwo.session.sinks import Sink
from taketwo.types import EnvironmentSpec


@contextmanager
def page(
    config: RunConfig, source: Source, commands: Commands, prompt: Callable[[], str | None]
) -> Iterator[Sink | None]:
    """The live page, open from now until the end of the body, if it is wanted; yields its sink.

    Args:
        prompt: where the prompt comes from; it can be edited on the page where that is a `PromptSource`.

    Raises:
        ConfigError: its address cannot be had.
        MissingExtraError: a library is not installed.
    """
    if not config.live.page:
        yield None
        return
    from taketwo.live.page import LivePage

    editable = prompt if isinstance(prompt, PromptSource) else None
    note = None if editable is not None else f"it is read from {config.prompt_file}: edit it there"
    opened = made("live", config.live, source, lambda: LivePage(config.live, commands, editable, note))
    try:
        opened.start()
        print(f"live: {opened.url}", file=sys.stderr, flush=True)
        yield opened.sink
    finally:
        closing("the live page", opened.close)


def viewers(
    config: RunConfig, source: Source, spec: EnvironmentSpec, commands: Commands, not_begun: ExitStack
) -> Iterator[Sink]:
    """The sinks of the window and of Rerun, where they are wanted.

    Args:
        not_begun: gets what closes them; a session that begins does so itself.

    Raises:
        TakeTwoError: one of them cannot be opened, and the session should not begin without it.
    """
    if config.live.window:
        from taketwo.live.window import open_window

        every_n, episodes = config.live.window_every, config.session.num_episodes
        window = made(
            "live", config.live, source, lambda: open_window(spec, commands, every_n=every_n, num_episodes=episodes)
        )
        if window is not None:
            not_begun.callback(closing, "the window", window.close)
            yield window
    if config.display_data:
        rerun = made("display", config.display, source, lambda: config.display.make(spec))
        not_begun.callback(closing, "Rerun", rerun.close)
        yield rerun
