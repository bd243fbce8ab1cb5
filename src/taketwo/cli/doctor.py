"""`taketwo doctor`: what works on this machine, and how to fix the rest."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

from taketwo import __version__, gl
from taketwo.cli import encoders
from taketwo.cli.drawing_speed import HEIGHT, WIDTH, Speed, measure_in_process_of_its_own
from taketwo.cli.extras import extras, install, installed, missing
from taketwo.cli.flags import read_flags
from taketwo.cli.gpu_drawing import way_to_gpu
from taketwo.cli.help import options_help
from taketwo.cli.resolve import Source, resolve
from taketwo.cli.tables import print_table
from taketwo.envs.libero import package as libero_package
from taketwo.errors import ConfigError, MissingExtraError, one_line

Status = Literal["ok", "note", "fail"]

PORTS = {8000: "policy server"}
LOW_SPACE_GIB = 1.0


@dataclass(frozen=True)
class DoctorConfig:
    """Options of `taketwo doctor`.

    Attributes:
        output_dir: folder whose free space and permission are checked.
        json: print JSON instead of a table.
    """

    output_dir: Path = Path("outputs")
    json: bool = False


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Attributes:
        status: `ok`; `note`, missing but not needed by `taketwo run`; `fail`, missing and needed.
        advice: what to do; empty where there is nothing to do.
        figures: what was measured, by name with its unit.
    """

    name: str
    status: Status
    found: str
    advice: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)


def main(words: Sequence[str]) -> int:
    """Print the findings; returns 0 where `taketwo run` with no flag can run, and 1 where not."""
    line = read_flags(words, switches=("json", "help"))
    if "help" in line.flags:
        print(_help())
        return 0
    if line.arguments:
        raise ConfigError(f"taketwo doctor takes no argument, got {line.arguments[0]!r}")
    config = resolve(DoctorConfig, Source(line.flags))
    checks = examine(config.output_dir)
    able = all(check.status != "fail" for check in checks)
    if config.json:
        print(json.dumps({"ok": able, "checks": [asdict(check) for check in checks]}, indent=2))
    else:
        _print_table(checks, able)
    return 0 if able else 1


def examine(output_dir: Path) -> list[Check]:
    """Run all checks."""
    return [
        check_python(),
        *check_extras(),
        *check_libero(),
        *check_drawing(),
        check_encoders(),
        check_display(),
        check_gpu(),
        *(check_port(port, what) for port, what in PORTS.items()),
        check_output(output_dir),
    ]


def check_python() -> Check:
    """The interpreter and taketwo itself; an older Python could not have come this far."""
    python = ".".join(map(str, sys.version_info[:3]))
    return Check("taketwo", "ok", f"{__version__} on Python {python} ({sys.executable})")


def check_extras() -> list[Check]:
    """The extra that the default run needs, and the others."""
    checks = []
    for extra, packages in extras().items():
        lacking = missing(extra)
        advice = install(extra) if lacking else ""
        found = ", ".join(f"{package} {installed(package)}" for package in packages if package not in lacking)
        if lacking:
            found = "not installed: " + ", ".join(lacking)
        status: Status = "ok" if not lacking else "fail" if extra == "aloha" else "note"
        checks.append(Check(f"extra {extra}", status, found, advice))
    return checks


def check_libero() -> list[Check]:
    """LIBERO's scenes and objects, where LIBERO itself is installed."""
    if missing("libero"):
        return []
    try:
        folder = libero_package.assets_folder(libero_package.package_folder(), None)
    except (ConfigError, MissingExtraError) as error:
        return [Check("LIBERO's assets", "note", "not found", f"--env.{one_line(error)}")]
    return [Check("LIBERO's assets", "ok", str(folder))]


def check_drawing() -> list[Check]:
    """Which back-ends draw, which one is chosen and why, how fast it is, and how to have it faster."""
    if installed("mujoco") is None:
        return [Check("rendering", "fail", "cannot be tried without mujoco", install("aloha"))]
    asked = os.environ.get("MUJOCO_GL", "").strip().lower()
    if asked in gl.OFF:
        return [Check("rendering", "fail", f"turned off by MUJOCO_GL={asked}", "unset MUJOCO_GL")]
    probes = _try_backends([*gl.BACKENDS, *([asked] if asked else [])])
    chosen = asked or next((name for name, found in probes.items() if found.ok), "")
    checks = [_described(name, found, chosen) for name, found in probes.items()]
    if not chosen:
        return [*checks, Check("rendering", "fail", "no back-end works", gl.INSTALL["egl"])]
    if not probes[chosen].ok:
        return [*checks, Check("rendering", "fail", f"MUJOCO_GL={chosen} does not work", "unset MUJOCO_GL")]
    speeds, missed = measure_in_process_of_its_own(chosen)
    return [*checks, _chosen(chosen, bool(asked), probes, speeds), *_drawn(speeds, missed)]


def _try_backends(names: Sequence[str]) -> dict[str, gl.Probe]:
    """Each of them draws a picture, all at the same time."""
    names = list(dict.fromkeys(names))
    with ThreadPoolExecutor() as pool:
        return dict(zip(names, pool.map(gl.probe, names), strict=True))


def _described(name: str, found: gl.Probe, chosen: str) -> Check:
    if not found.ok:
        return Check(f"rendering: {name}", "note", found.message, gl.INSTALL.get(name, ""))
    why_not = ""
    if name != chosen:
        why_not = f"; not used, since {chosen} works" if name != "egl" else "; not used, since MUJOCO_GL says otherwise"
    return Check(f"rendering: {name}", "ok", f"{found.renderer}{why_not}")


def _chosen(name: str, asked: bool, probes: Mapping[str, gl.Probe], speeds: Sequence[Speed]) -> Check:
    renderer = probes[name].renderer
    why = "as MUJOCO_GL says" if asked else "the first one that works"
    if not gl.in_software(renderer):
        return Check("rendering", "ok", f"{name}, {why}; on a GPU: {renderer}")
    egl = probes["egl"]
    on_gpu = egl.ok and not gl.in_software(egl.renderer)
    gpu = f"unset MUJOCO_GL, since egl draws on {egl.renderer}" if on_gpu else way_to_gpu()
    cheaper = (
        f"--env.quality=preview{_gain(speeds)}, smaller pictures (--env.width, --env.height), fewer of them "
        "(--video.subsample=2), fewer cameras (--env.cameras)"
    )
    found = f"{name}, {why}; in software, on the processor: {renderer}"
    return Check("rendering", "ok", found, f"faster on a GPU: {gpu}\nfaster without: {cheaper}")


def _gain(speeds: Sequence[Speed]) -> str:
    """How much cheaper previews were here, such as ` (3 to 5 times)`."""
    known = {(speed.camera, speed.quality): speed.pictures_per_s for speed in speeds if not speed.error}
    gains = sorted(
        round(preview / known[camera, "exact"])
        for (camera, quality), preview in known.items()
        if quality == "preview" and (camera, "exact") in known
    )
    if not gains:
        return ""
    return f" ({gains[0]} times)" if gains[0] == gains[-1] else f" ({gains[0]} to {gains[-1]} times)"


def _drawn(speeds: Sequence[Speed], missed: str) -> list[Check]:
    """A line for each camera with its speeds, and one for what could not be measured."""
    checks: dict[str, Check] = {}
    for speed in speeds:
        name = f"pictures: {speed.camera}"
        if speed.error:
            checks[name] = Check(name, "note", one_line(speed.error))
            continue
        before = checks.get(name, Check(name, "ok", f"{WIDTH}x{HEIGHT}:"))
        said = f"{before.found}{',' if before.figures else ''} {speed.pictures_per_s:.0f}/s {speed.quality}"
        checks[name] = replace(
            before,
            found=said,
            figures={**before.figures, f"{speed.quality}_per_s": round(speed.pictures_per_s, 1)},
        )
    load, processors = os.getloadavg()[0], os.cpu_count() or 1
    busy = (
        f"measured while others were at work: load {load:.1f} on {processors} processors" if load > processors else ""
    )
    return [*checks.values(), *(Check("pictures", "note", said) for said in (missed, busy) if said)]


def check_encoders() -> Check:
    """H.264 is needed; other encoders are listed."""
    working = encoders.working_encoders()
    if "libx264" not in working:
        return Check("video encoder", "fail", "no H.264: libx264 does not open", "pip install --force-reinstall av")
    hardware = [name for name in working if name in encoders.HARDWARE]
    software = [name for name in working if name not in hardware]
    return Check("video encoder", "ok", f"{', '.join(software)}; in hardware: {', '.join(hardware) or 'none'}")


def check_display() -> Check:
    """A display is only for windows; recording needs none."""
    for name in ("WAYLAND_DISPLAY", "DISPLAY"):
        if os.environ.get(name):
            return Check("display", "ok", f"{name}={os.environ[name]}")
    return Check("display", "note", "none; recording needs none")


def check_gpu() -> Check:
    """NVIDIA GPUs, as nvidia-smi lists them."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return Check("GPU", "note", "no nvidia-smi; nothing here needs a GPU")
    query = [tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20)
    except subprocess.TimeoutExpired:
        return Check("GPU", "note", "nvidia-smi does not answer")
    if done.returncode != 0 or not done.stdout.strip():
        return Check("GPU", "note", f"nvidia-smi fails: {one_line(done.stdout + done.stderr)[:80]}")
    return Check("GPU", "ok", "; ".join(done.stdout.strip().splitlines()))


def check_port(port: int, what: str) -> Check:
    """Whether a server could listen on the loopback address."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError as error:
            return Check(f"port {port}", "note", f"{what}: taken ({error.strerror})", "fine if it is your own server")
    return Check(f"port {port}", "ok", f"{what}: free")


def check_output(folder: Path) -> Check:
    """Permission and space where recordings go, without leaving anything behind."""
    existing = folder.absolute()
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        return Check("output folder", "fail", f"{folder}: {error.strerror}", "choose another with --output_dir")
    free_gib = shutil.disk_usage(existing).free / 2**30
    if free_gib < LOW_SPACE_GIB:
        return Check("output folder", "note", f"{folder}: {free_gib:.2f} GiB free", "make room, or use --output_dir")
    return Check("output folder", "ok", f"{folder}: {free_gib:.0f} GiB free")


def _print_table(checks: Sequence[Check], able: bool) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    marks = {"ok": ("ok", "green"), "note": ("--", "yellow"), "fail": ("FAIL", "bold red")}
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in checks:
        found = Text(check.found)
        if check.advice:
            found.append(f"\n-> {check.advice}", style="bold" if check.status == "fail" else "")
        table.add_row(Text(*marks[check.status]), check.name, found)
    console = Console(highlight=False)
    print_table(console, table)
    console.print()
    if able:
        console.print("Ready: [bold]taketwo run[/bold]")
    else:
        failed = ", ".join(check.name for check in checks if check.status == "fail")
        console.print(Text(f"taketwo run cannot work yet: see {failed}.", style="red"))


def _help() -> str:
    return f"Usage: taketwo doctor [--flag=value ...]\n\n{(__doc__ or '').strip()}\n\n{options_help(DoctorConfig, {})}"
