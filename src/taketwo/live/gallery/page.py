"""The page on finished recordings."""

from __future__ import annotations

from pathlib import Path

from taketwo.live.config import LiveConfig
from taketwo.live.site import Site, check_installed


class GalleryPage:
    """Shows what is below a folder.

    Attributes:
        url: where to open it, with the token where there is one.
        count: how many entries there are at first.
    """

    def __init__(self, folder: Path, config: LiveConfig) -> None:
        """Takes the port. Nobody is answered before `start`.

        Args:
            config: its address and token count, the rest is for running sessions.

        Raises:
            ConfigError: there is no such folder, or the address cannot be had.
            MissingExtraError: a library is not installed.
        """
        check_installed()
        from taketwo.live.gallery.catalog import Gallery
        from taketwo.live.gallery.routes import gallery_routes

        self._gallery = Gallery(folder)
        try:
            self.count = len(self._gallery.listing()["sessions"])
            routes = gallery_routes(self._gallery)
            self._site = Site(config.host, config.port, config.token, config.allowed_hosts, routes)
        except BaseException:
            self._gallery.close()
            raise
        self.url = self._site.url

    def start(self) -> None:
        """Answer from now on."""
        self._site.start()

    def close(self) -> None:
        """Take leave of all who look, and remove what was made for them."""
        self._site.close()
        self._gallery.close()
