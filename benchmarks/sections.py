"""Sections of a Markdown file that benchmarks write anew, each between marks of its own."""

from __future__ import annotations

from pathlib import Path


def put_section(path: Path, name: str, content: str) -> None:
    """Put text between the marks of a section, or at the end of the file with marks; the rest stays as it is."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    section = f"{begin}\n{content}{end}\n"
    if begin in text and end in text:
        before, rest = text.split(begin, 1)
        after = rest.split(end, 1)[1].removeprefix("\n")
    else:
        before, after = (text.rstrip("\n") + "\n\n").lstrip("\n"), ""
    path.write_text(before + section + after, encoding="utf-8")
