"""Makes the pictures of the page and the window for the documentation: real sessions, a real browser, docs/images/.

    MUJOCO_GL=egl python scripts/screenshots.py [--only page window] [--output docs/images]
                                                [--chromium /usr/bin/chromium]

Needs `taketwo[aloha,live,window]`, Playwright, Chromium and Xvfb. Takes about two minutes.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageGrab
from playwright.sync_api import Browser, Page, sync_playwright

PATIENCE_S = 90.0
"""For a session to get as far as a picture wants it."""

LARGEST_BYTES = 180_000
"""A picture in the documentation is smaller."""

SMALL_BYTES = 120_000
"""Up to here it keeps all its colours."""

COLOURS = 256

TAKETWO = Path(sys.executable).parent / "taketwo"

SESSION = (
    "run", "--env.quality=preview", "--policy.grasp_noise=0.02", "--policy.tremor=0.003", "--session.seed=5", "--quiet",
)  # fmt: skip
"""Some of its episodes fail."""

LIVE = ("--live", "--video.mode=off", "--session.num_episodes=12")


@dataclass(frozen=True)
class Shot:
    """One picture.

    Attributes:
        name: of the file, without its ending.
        width: of the window, in CSS pixels.
        height: of the window.
        scheme: `light` or `dark`.
        scale: device pixels a CSS pixel.
        path: what follows the page's address.
        plots: whether to show the page from its plots on.
    """

    name: str
    width: int
    height: int
    scheme: str
    scale: int = 1
    path: str = ""
    plots: bool = False


ONE_CAMERA = (
    Shot("live_1440_light", 1440, 900, "light"),
    Shot("live_375_light", 375, 812, "light", scale=2),
)

FOUR_CAMERAS = (
    Shot("live_1440_dark_four_cameras", 1440, 900, "dark"),
    Shot("live_1440_light_plots", 1440, 500, "light", plots=True),
    Shot("live_375_dark_four_cameras", 375, 812, "dark", scale=2),
)

GALLERY = (
    Shot("gallery_1440_light", 1440, 420, "light"),
    Shot("gallery_session_1440_light", 1440, 900, "light", path="#/session/cube%2Fsession.json/episode/2"),
    Shot("gallery_session_1440_dark", 1440, 900, "dark", path="#/session/cube%2Fsession.json/episode/3"),
    Shot("gallery_session_375_dark", 375, 812, "dark", scale=2, path="#/session/cube%2Fsession.json/episode/3"),
)


WINDOW = "window"

SCREEN = (1400, 900)
"""Width and height of the screen that the window is on, in pixels."""


def main() -> None:
    """Make all pictures, or some."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[1] / "docs/images")
    parser.add_argument("--chromium", type=Path, default=Path("/usr/bin/chromium"))
    parser.add_argument("--only", nargs="+", choices=("page", WINDOW), default=("page", WINDOW))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        if "page" in options.only:
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=str(options.chromium), args=["--no-sandbox"])
                make_all(browser, Path(folder), options.output)
                browser.close()
        if WINDOW in options.only:
            take_window(Path(folder), options.output)


def make_all(browser: Browser, folder: Path, output: Path) -> None:
    """Those of the page: show a running session with one camera, one with four, and what two others recorded."""
    one = ("--env.cameras=angle", "--session.max_hz=25", "--output_dir=one")
    with served(folder, *SESSION, *LIVE, *one) as url:
        far_enough(url)
        for shot in ONE_CAMERA:
            take_live(browser, url, shot, output)
    four = ("--env.cameras=angle,top,left_wrist,right_wrist", "--session.max_hz=20", "--output_dir=four")
    with served(folder, *SESSION, *LIVE, *four, "--env.width=400", "--env.height=300") as url:
        far_enough(url)
        for shot in FOUR_CAMERAS:
            take_live(browser, url, shot, output)
    cameras = "--env.cameras=angle,top"
    record(folder, cameras, "--session.num_episodes=9", "--output_dir=outputs/cube", "--dataset.root=outputs/cube/data")
    record(folder, "--env.task=insertion", "--session.num_episodes=4", "--output_dir=outputs/insertion")
    with served(folder, "gallery", "outputs") as url:
        for shot in GALLERY:
            take_recorded(browser, url, shot, output)


def record(folder: Path, *arguments: str) -> None:
    """Run a session as fast as it goes."""
    subprocess.run([TAKETWO, *SESSION, *arguments], cwd=folder, check=True)


@contextmanager
def served(folder: Path, command: str, *arguments: str, environment: Mapping[str, str] = os.environ) -> Iterator[str]:
    """A command of Take Two, run in a folder, that serves a page: its address, as soon as it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    flag = "--port" if command == "gallery" else "--live.port"
    words = [str(TAKETWO), command, *arguments, f"{flag}={port}"]
    process = subprocess.Popen(words, cwd=folder, stdout=subprocess.DEVNULL, env=environment)
    try:
        url = f"http://127.0.0.1:{port}/"
        wait_until(lambda: answers(url), process)
        yield url
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def answers(url: str) -> bool:
    """Whether the page is there."""
    try:
        return bool(state_of(url))
    except OSError:
        return False


def state_of(url: str) -> dict[str, Any]:
    """What the server tells of itself."""
    with urllib.request.urlopen(f"{url}api/state", timeout=10) as response:
        state: dict[str, Any] = json.load(response)
    return state


def far_enough(url: str) -> None:
    """Some episodes have ended."""
    wait_until(lambda: len(state_of(url)["episodes"]) >= 3)


def amid_an_episode(url: str) -> bool:
    """Whether the arms are at work."""
    episode = state_of(url)["episode"]
    return episode is not None and 60 < episode["step"] < 120


def wait_until(holds: Any, process: subprocess.Popen[bytes] | None = None) -> None:
    """Until `holds()` is true.

    Raises:
        SystemExit: it does not become true in time, or the process has ended.
    """
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > deadline or (process is not None and process.poll() is not None):
            raise SystemExit("the session did not get as far as the pictures want it")
        time.sleep(0.05)


@contextmanager
def tab(browser: Browser, shot: Shot) -> Iterator[Page]:
    """A fresh window of the shot's size and colours."""
    size = {"width": shot.width, "height": shot.height}
    context = browser.new_context(
        viewport=size,  # type: ignore[arg-type]
        color_scheme=shot.scheme,  # type: ignore[arg-type]
        device_scale_factor=shot.scale,
        reduced_motion="reduce",
    )
    try:
        yield context.new_page()
    finally:
        context.close()


def take_live(browser: Browser, url: str, shot: Shot, output: Path) -> None:
    """A picture of the running session, in the middle of an episode."""
    with tab(browser, shot) as page:
        page.goto(url)
        page.wait_for_selector(".camera canvas[data-frame]")
        if shot.plots:
            page.keyboard.press("i")
            page.locator(".plots-head").evaluate("head => window.scrollTo(0, head.offsetTop - 16)")
            page.locator(".toast").wait_for(state="detached")
        wait_until(lambda: amid_an_episode(url))
        page.wait_for_timeout(500)
        save(page_picture(page), output / f"{shot.name}.png")


def take_recorded(browser: Browser, url: str, shot: Shot, output: Path) -> None:
    """A picture of the gallery, with the video where the arms meet."""
    with tab(browser, shot) as page:
        page.goto(url + shot.path)
        if shot.path:
            page.wait_for_selector("video")
            page.wait_for_selector(".playhead", state="attached")
            page.locator("video").evaluate("video => { video.currentTime += 1.4 }")
            page.wait_for_timeout(1500)
        else:
            page.wait_for_selector(".session")
        save(page_picture(page), output / f"{shot.name}.png")


def page_picture(page: Page) -> Image.Image:
    """What the browser shows."""
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


def take_window(folder: Path, output: Path) -> None:
    """A picture of the window in the middle of an episode; the page tells when that is."""
    flags = ("--env.cameras=angle,top", "--env.width=640", "--env.height=480", "--session.max_hz=20")
    with screen() as display:
        shown = os.environ | {"DISPLAY": display, "WAYLAND_DISPLAY": ""}
        live = (*LIVE, "--live.window=true", "--output_dir=window")
        with served(folder, *SESSION, *live, *flags, environment=shown) as url:
            wait_until(lambda: amid_an_episode(url))
            wait_until(lambda: ImageGrab.grab(xdisplay=display).getbbox() is not None)
            picture = ImageGrab.grab(xdisplay=display).convert("RGB")
    save(picture.crop(picture.getbbox()), output / "window.png")  # around it the screen is black


@contextmanager
def screen() -> Iterator[str]:
    """An X server whose screen nobody sees: its display."""
    reading, writing = os.pipe()
    size = "x".join(map(str, SCREEN))
    process = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writing), "-screen", "0", f"{size}x24", "-nolisten", "tcp"], pass_fds=[writing]
    )
    os.close(writing)
    try:
        with os.fdopen(reading) as told:
            yield f":{told.readline().strip()}"
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def save(picture: Image.Image, path: Path) -> None:
    """Write a PNG; with fewer colours, which flat areas do not miss, where it would be too large.

    Raises:
        SystemExit: it is too large for the documentation all the same.
    """
    picture.save(path, optimize=True)
    if path.stat().st_size > SMALL_BYTES:
        picture.quantize(COLOURS, kmeans=2, dither=Image.Dither.NONE).save(path, optimize=True)
    size = path.stat().st_size
    if size > LARGEST_BYTES:
        raise SystemExit(f"{path} has {size} bytes, more than {LARGEST_BYTES}")
    print(f"{path}: {size // 1000} kB")  # noqa: T201


if __name__ == "__main__":
    main()
