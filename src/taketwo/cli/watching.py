"""What shows a running session of `taketwo run`: page, window, and Rerun."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from taketwo.cli.config import RunConfig
from taketwo.cli.making import closing, made
from taketwo.cli.resolve import Source
from taketwo.control.prompt import PromptSource
from taketwo.session.commands import Commands
from taketwo.session.sinks import Sink
from taketwo.types import EnvironmentSpec

if TYPE_CHECKING:
    from taketwo.live.window import WindowSink
    from taketwo.viewing.stream import RerunSink


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


@contextmanager
def viewers(
    config: RunConfig, source: Source, spec: EnvironmentSpec, commands: Commands
) -> Iterator[Sequence[WindowSink | RerunSink]]:
    """The sinks of the window and of Rerun, where they are wanted, open until the end of the body.

    Raises:
        TakeTwoError: one of them cannot be opened, and the session should not begin without it.
    """
    with ExitStack() as stack:
        sinks: list[WindowSink | RerunSink] = []
        if config.live.window:
            window = made("live", config.live, source, lambda: _window(config, spec, commands))
            if window is not None:
                stack.callback(closing, "the window", window.close)
                sinks.append(window)
        if config.display_data:
            rerun = made("display", config.display, source, lambda: config.display.make(spec))
            stack.callback(closing, "Rerun", rerun.close)
            sinks.append(rerun)
        yield sinks


def _window(config: RunConfig, spec: EnvironmentSpec, commands: Commands) -> WindowSink | None:
    from taketwo.live.window import open_window

    return open_window(spec, commands, every_n=config.live.window_every, num_episodes=config.session.num_episodes)
