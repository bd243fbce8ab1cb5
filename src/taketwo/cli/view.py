"""`taketwo view`: an episode of a dataset in the Rerun viewer, over the network, or in a file for it."""

from __future__ import annotations

import getpass
import ipaddress
import logging
import math
import shlex
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from taketwo.cli.bars import picture_bar
from taketwo.cli.flags import read_flags
from taketwo.cli.help import options_help
from taketwo.cli.progress import log_to
from taketwo.cli.resolve import Source, resolve
from taketwo.cli.stopping import ending_in_order
from taketwo.datasets.places import dataset_root
from taketwo.errors import ConfigError
from taketwo.gl import has_display

if TYPE_CHECKING:
    from taketwo.datasets.reader import Dataset
    from taketwo.viewing.rerun_log import EpisodeLog

log = logging.getLogger(__name__)

THIS_MACHINE = "127.0.0.1"

PLAYED = {"h264", "av1"}
"""Codecs of videos that are handed to viewers as they are: browsers have both, and the native viewer has AV1."""

HELP = """Usage: taketwo view --repo-id=USER/NAME --episode-index=N [--flag=value ...]

Shows an episode of a dataset in Rerun: cameras, state, actions, reward, done,
success and interventions on one time line. Flags are those of
lerobot-dataset-viz; dashes and underscores in names are alike.

  --mode=local               opens the viewer on this machine
  --mode=distant             serves it to a browser or to a viewer elsewhere,
                             until Ctrl-C
  --save=1 --output-dir=DIR  writes DIR/USER_NAME_episode_N.rrd, to be opened
                             by: rerun FILE

H.264 and AV1 videos are shown as they are, without decoding; other pictures
are made into JPEG. The native viewer needs the program ffmpeg for H.264;
without it, pictures are made into JPEG in local mode, and elsewhere
by --display-compressed-images."""


@dataclass(frozen=True)
class ViewConfig:
    """Everything that `taketwo view` needs to know.

    Attributes:
        repo_id: the dataset, such as me/cube; looked for in LeRobot's home where no root is given.
        episode_index: which episode, from 0.
        root: folder of the dataset, or one that holds it by its repo id; LeRobot's home where not given.
        mode: local opens a viewer on this machine; distant serves to others.
        save: write a file instead of opening a viewer (0 or 1); in distant mode, also keep what is served.
        output_dir: folder for the file; created if it is missing.
        host: address at which distant mode listens; any other than 127.0.0.1 lets other machines in.
        web_port: where distant mode serves the web viewer.
        grpc_port: where distant mode serves the data, and where a local viewer listens.
        ws_port: the old name of grpc_port.
        display_compressed_images: make all pictures into JPEG, also those of videos.
        batch_size: JPEG pictures made at a time; videos that are shown as they are need none.
        num_workers: threads that make JPEG pictures.
        tolerance_s: by how much a frame's time in its video may differ from its row's timestamp, in seconds.
    """

    episode_index: int
    repo_id: str | None = None
    root: Path | None = None
    mode: Literal["local", "distant"] = "local"
    save: bool = False
    output_dir: Path | None = None
    host: str = THIS_MACHINE
    web_port: int = 9090
    grpc_port: int = 9876
    ws_port: int | None = None
    display_compressed_images: bool = False
    batch_size: int = 32
    num_workers: int = 4
    tolerance_s: float = 1e-4

    def __post_init__(self) -> None:
        if self.repo_id is None and self.root is None:
            raise ConfigError("repo_id is needed, such as me/cube; or --root, the dataset's folder")
        for name in ("web_port", "grpc_port", "ws_port"):
            port = getattr(self, name)
            if port is not None and not 1 <= port <= 65535:
                raise ConfigError(f"{name} must be from 1 to 65535, not {port}")
        if self.mode == "distant" and self.web_port == (self.ws_port or self.grpc_port):
            raise ConfigError(f"web_port and grpc_port cannot both be {self.web_port}")
        if self.save and self.output_dir is None:
            raise ConfigError("output_dir is needed with --save=1: the folder for the .rrd file")
        if self.batch_size < 1:
            raise ConfigError(f"batch_size must be 1 or more, not {self.batch_size}")
        if self.num_workers < 0:
            raise ConfigError(f"num_workers must be 0 or more, not {self.num_workers}")
        if not (math.isfinite(self.tolerance_s) and self.tolerance_s >= 0):
            raise ConfigError(f"tolerance_s must be a finite number, 0 or more, not {self.tolerance_s}")


def main(words: Sequence[str]) -> int:
    """Run the command; returns its exit status."""
    line = read_flags(words, switches=("help", "display_compressed_images"))
    if line.arguments:
        raise ConfigError(f"unexpected word {line.arguments[0]!r}; options are flags, such as --repo-id=me/cube")
    if "help" in line.flags:
        print(f"{HELP}\n\n{options_help(ViewConfig, {})}")
        return 0
    config = resolve(ViewConfig, Source(line.flags), extra_flags=["help"])
    log_to(None, "info")
    return view(_with_one_port(config, line.flags))


def view(config: ViewConfig) -> int:
    """Show an episode; returns the exit status.

    Raises:
        TakeTwoError: it cannot be read, shown or written.
    """
    from taketwo.datasets.reader import Dataset
    from taketwo.viewing.rerun_log import EpisodeLog, PictureConfig
    from taketwo.viewing.sdk import load_rerun

    load_rerun()
    if config.output_dir is not None and not config.save:
        log.warning("--output-dir does nothing without --save=1")
    if config.mode == "local" and not config.save:
        _check_display()
    if config.mode == "distant":
        _check_ports(config)
    root = dataset_root(config.repo_id, config.root)
    name = config.repo_id or root.resolve().name
    pictures = PictureConfig(_codecs(config), config.batch_size, config.num_workers)
    with Dataset.open(root) as dataset:
        episode = EpisodeLog(dataset, config.episode_index, name, pictures, config.tolerance_s)
        _tell(dataset, episode)
        if config.mode == "distant":
            return _serve(config, episode)
        if config.save:
            _save(config, episode)
        else:
            _open(config, episode)
    return 0


def _with_one_port(config: ViewConfig, flags: dict[str, str | None]) -> ViewConfig:
    """The old flag as the new one."""
    if config.ws_port is None:
        return config
    if "grpc_port" in flags:
        raise ConfigError("--ws-port is the old name of --grpc-port: give one of them")
    log.warning("--ws-port is the old name of --grpc-port; the address is rerun+http://... now, not ws://...")
    return replace(config, grpc_port=config.ws_port)


def _check_display() -> None:
    if not has_display():
        raise ConfigError(
            "there is no display for the viewer here: write a file by --save=1 --output-dir=., "
            "or look from another machine or a browser by --mode=distant"
        )


def _check_ports(config: ViewConfig) -> None:
    """Refuse now, and not after the episode is read, addresses that something else listens at."""
    host = _address(config.host)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for flag, port in (("grpc-port", config.grpc_port), ("web-port", config.web_port)):
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                raise ConfigError(
                    f"--{flag}: port {port} at {host} cannot be had: {error.strerror}; "
                    "give another, or end what uses it"
                ) from error


def _codecs(config: ViewConfig) -> set[str]:
    """Codecs that the viewer will play, as far as one can know."""
    if config.display_compressed_images:
        return set()
    if config.mode == "distant" and not _is_this_machine(config.host):
        return set()  # browsers play no video of a page that comes from elsewhere without TLS
    if config.mode == "local" and not config.save and shutil.which("ffmpeg") is None:
        return PLAYED - {"h264"}
    return PLAYED


def _is_this_machine(host: str) -> bool:
    return ipaddress.ip_address(_address(host)).is_loopback


def _address(host: str) -> str:
    try:
        return str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise ConfigError(f"--host: {host!r} is no address of this machine: {error.strerror}") from error


def _tell(dataset: Dataset, episode: EpisodeLog) -> None:
    cameras = ", ".join(f"{camera} ({shown})" for camera, shown in episode.shown_as.items()) or "no camera"
    index, length = episode.episode.index, episode.episode.length
    log.info("%s, episode %d: %d frames, %g s; %s", episode.name, index, length, length / dataset.fps, cameras)


def _save(config: ViewConfig, episode: EpisodeLog) -> Path:
    assert config.output_dir is not None
    path = _write(config.output_dir, episode)
    print(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB); look at it by: rerun {shlex.quote(str(path))}")
    if "h264" in episode.shown_as.values():
        log.info("its viewer needs the program ffmpeg for H.264; --display-compressed-images does without")
    return path


def _write(folder: Path, episode: EpisodeLog) -> Path:
    from taketwo.viewing.blueprint import blueprint
    from taketwo.viewing.targets import write_rrd

    name, index = episode.name, episode.episode.index
    layout = blueprint(list(episode.cameras.values()), episode.signals)
    stem = f"{name.replace('/', '_')}_episode_{index}"
    with picture_bar(episode.pictures) as made:
        return write_rrd(folder, stem, name, index, layout, lambda recording: episode.send(recording, made))


def _open(config: ViewConfig, episode: EpisodeLog) -> None:
    from taketwo.viewing.blueprint import blueprint
    from taketwo.viewing.targets import open_viewer

    layout = blueprint(list(episode.cameras.values()), episode.signals)
    with picture_bar(episode.pictures) as made:
        open_viewer(
            episode.name,
            episode.episode.index,
            config.grpc_port,
            layout,
            lambda recording: episode.send(recording, made),
        )


def _serve(config: ViewConfig, episode: EpisodeLog) -> int:
    """Serve until a signal comes; returns 128 and its number."""
    from taketwo.viewing.targets import serving

    with ending_in_order() as came, tempfile.TemporaryDirectory(prefix="taketwo-view-") as folder:
        try:
            rrd = _save(config, episode) if config.save else _write(Path(folder), episode)
            with serving(rrd, _address(config.host), config.grpc_port, config.web_port) as server:
                print(_directions(config, episode), flush=True)
                server.wait()
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)
    return 128 + (came[0] if came else signal.SIGINT)


def _directions(config: ViewConfig, episode: EpisodeLog) -> str:
    """What to run, and where, to look at what is served."""
    address = _address(config.host)
    everywhere = ipaddress.ip_address(address).is_unspecified
    here = socket.gethostname() if everywhere else f"[{address}]" if ":" in address else address
    data = f"rerun+http://{here}:{config.grpc_port}/proxy"
    lines = [
        f"Serving {episode.name}, episode {episode.episode.index}, until Ctrl-C.",
        f"  in a browser   http://{here}:{config.web_port}/?url={quote(data, safe='')}",
        f"  in the viewer  rerun {data}",
    ]
    if _is_this_machine(config.host):
        tunnel = " ".join(f"-L {port}:{here}:{port}" for port in (config.web_port, config.grpc_port))
        lines += [
            "From another machine, run this there first, and use the same addresses:",
            f"  ssh {tunnel} {getpass.getuser()}@{socket.gethostname()}",
        ]
    return "\n".join(lines)
