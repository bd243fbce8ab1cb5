"""`taketwo gallery`: finished recordings in a browser."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from taketwo.cli.flags import read_flags
from taketwo.cli.help import options_help
from taketwo.cli.making import closing
from taketwo.cli.progress import log_to
from taketwo.cli.resolve import Source, in_full, resolve
from taketwo.cli.stopping import stopping
from taketwo.cli.wording import said_count
from taketwo.errors import ConfigError
from taketwo.gl import has_display
from taketwo.live.config import LiveConfig

log = logging.getLogger(__name__)

HELP = """Usage: taketwo gallery DIR [--flag=value ...]

Shows the recordings below a folder on a web page: sessions and datasets, their
episodes with outcomes, videos, and plots in step with them. The page is for
this machine; with another --host it is for all who know the token in its
address. A session that is still running shows up too.

Exit status: 0 when it was stopped by Ctrl-C or SIGTERM; 2 for a wrong flag."""


@dataclass(frozen=True)
class GalleryConfig:
    """Everything that `taketwo gallery` needs to know, besides the folder.

    Attributes:
        port: where the page is; 0 takes any free port.
        host: the address that it listens on; any that other machines reach needs a token, which is made up where
            none is given.
        token: who opens the page has to know it.
        allowed_hosts: names that the page may be asked for by, besides addresses, localhost and this machine's own.
        open: open it in a browser here.
    """

    port: int = 8090
    host: str = "127.0.0.1"
    token: str | None = field(default=None, repr=False)
    allowed_hosts: tuple[str, ...] = ()
    open: bool = False

    def __post_init__(self) -> None:
        self.page()

    def page(self) -> LiveConfig:
        """The options of the page.

        Raises:
            ConfigError: one of them cannot be.
        """
        return LiveConfig(port=self.port, host=self.host, token=self.token, allowed_hosts=self.allowed_hosts)


def main(words: Sequence[str]) -> int:
    """Run the command; returns its exit status."""
    line = read_flags(words, switches=("help", "open"))
    if "help" in line.flags:
        print(f"{HELP}\n\n{options_help(GalleryConfig, {})}")
        return 0
    source = Source(line.flags)
    config = resolve(GalleryConfig, source, extra_flags=["help"])
    if not line.arguments:
        raise ConfigError("which folder? Give the one with the recordings, as in: taketwo gallery outputs")
    if len(line.arguments) > 1:
        raise ConfigError(f"unexpected word {line.arguments[1]!r}: a gallery has one folder, and all below it")
    log_to(None, "info")
    return show(Path(line.arguments[0]), config, source)


def show(folder: Path, config: GalleryConfig, source: Source) -> int:
    """Serve until Ctrl-C or SIGTERM; returns the exit status.

    Raises:
        TakeTwoError: it cannot begin.
    """
    from taketwo.live.gallery.page import GalleryPage

    ended = threading.Event()
    with stopping(lambda _reason: ended.set(), "ending the gallery"):
        try:
            page = GalleryPage(folder, config.page())
        except ConfigError as error:
            raise in_full(error, "", GalleryConfig, source) from error
        try:
            page.start()
            print(f"{said_count(page.count, 'recording')} in {folder}, until Ctrl-C: {page.url}", flush=True)
            if config.open:
                _open(page.url)
            ended.wait()
        finally:
            closing("the gallery", page.close)
    return 0


def _open(url: str) -> None:
    import webbrowser

    # Without a display Python would take a browser for terminals, and wait for its end.
    if not has_display():
        log.warning("there is no display here for a browser: open the address in one elsewhere")
    elif not webbrowser.open(url):
        log.warning("there is no browser here: open the address in one elsewhere")
