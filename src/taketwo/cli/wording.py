"""Numbers in words."""

from __future__ import annotations


def said_count(count: int, what: str) -> str:
    """A count with its noun: `1 episode`, `2 episodes`."""
    return f"{count:,}".replace(",", " ") + f" {what}{'' if count == 1 else 's'}"


def said_seconds(seconds: float) -> str:
    """A duration: `12.3 s`, `2 min 5 s`, `1 h 3 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def said_bytes(count: int) -> str:
    """A size on disk: `12 kB`, `3.4 MB`."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}" if size < 100 else f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
