"""The page of a run: what is in it, and that it needs nothing else."""

import errno
import os
import re
from dataclasses import replace
from html.parser import HTMLParser
from urllib.parse import unquote

import pytest

from taketwo.errors import RecordingError
from taketwo.fleet.report import write_report
from taketwo.types import Outcome
from tests.fleet.results_support import a_result, a_run

VOID = {"meta", "wbr", "br"}


class Page(HTMLParser):
    """Text, tags and links of a page, whose elements have to be closed in their order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.words, self._open = [], [], [], []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.links += [value for name, value in attributes if name in ("href", "src")]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] != "style":
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def page_of(folder, run):
    write_report(folder / "report.html", run, folder / "episodes")
    return Page((folder / "report.html").read_text())


def test_the_page_tells_rates_intervals_outcomes_and_reasons(tmp_path):
    page = page_of(tmp_path, a_run({"stack": "ssft", "push": "sX"}, name="my run", wall_s=75.0, fingerprint="abc123"))
    text = page.text
    for said in ("my run", "60.0 %", "3 of 5 attempts", "stack", "push", "all tasks", "1 min 15 s", "abc123"):
        assert said in text
    assert "the worker was killed by signal 9" in text
    assert "Faults, which are in no success rate: 1" in text
    assert "Episodes that were not solved: 2" in text
    labels = [attributes["aria-label"] for tag, attributes in page.tags if tag == "svg"]
    assert any(label.startswith("stack: 50.0 %") for label in labels)
    assert any(label.startswith("all tasks: 60.0 %") for label in labels)


def test_the_page_needs_nothing_else(tmp_path):
    write_report(tmp_path / "report.html", a_run({"stack": "sft"}), tmp_path / "episodes")
    text = (tmp_path / "report.html").read_text()
    assert "<script" not in text
    assert "http" not in text
    assert not re.search(r"@import|url\(", text)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_failed_episodes_link_to_what_was_recorded(tmp_path):
    film = tmp_path / "episodes" / "000001" / "dataset" / "videos" / "observation.images.my top" / "file-000.mp4"
    film.parent.mkdir(parents=True)
    film.touch()
    loose = tmp_path / "episodes" / "000001" / "video.mp4"
    loose.touch()
    page = page_of(tmp_path, a_run({"stack": "sff"}))
    assert [unquote(link) for link in page.links] == [
        str(path.relative_to(tmp_path)) for path in (film, loose, tmp_path / "episodes" / "000001" / "dataset")
    ]
    assert all(" " not in link for link in page.links)
    assert "my top" in page.text


def test_successes_are_not_among_the_listed_episodes(tmp_path):
    assert "not solved:" not in page_of(tmp_path, a_run({"stack": "ss"})).text


def test_names_and_reasons_are_shown_and_do_nothing(tmp_path):
    evil = "<script>alert('1')</script>&\"'"
    run = a_run({evil: "f"}, name=evil, config={"prompt": evil}, ended=evil, fingerprint=evil)
    page = page_of(tmp_path, replace(run, results={0: a_result(0, Outcome.FAULT, reason=evil, timings_s={evil: 1.0})}))
    assert "script" not in {tag for tag, _ in page.tags}
    assert page.text.count(evil) > 5


def test_a_run_without_any_result_has_a_page(tmp_path):
    text = page_of(tmp_path, a_run({"stack": ".."})).text
    assert "no episode was attempted to its end" in text
    assert "0 of 2 planned" in text


def test_a_run_that_its_results_stopped_says_so(tmp_path):
    text = page_of(tmp_path, a_run({"stack": "sss"}, until="half_width:0.1")).text
    assert "half_width:0.1" in text
    assert "confidence sequences" in text


def test_many_failed_episodes_are_cut_and_counted(tmp_path):
    page = page_of(tmp_path, a_run({"stack": "f" * 300, "push": "f" * 300, "lift": "f" * 5}))
    rows = [attributes for tag, attributes in page.tags if attributes.get("data-label") == "steps"]
    assert len(rows) == 500
    assert "Episodes that were not solved: 605" in page.text
    assert "100 more in results.json" in page.text
    assert "5 more in results.json" in page.text


def bars_of(page):
    return [
        attributes for tag, attributes in page.tags if tag == "rect" and "y" in attributes and "rx" not in attributes
    ]


def test_the_histogram_has_every_episode_in_one_bar(tmp_path):
    run = a_run({"stack": "s" * 40})
    results = {index: a_result(index, steps=7 * index) for index in range(40)}
    write_report(tmp_path / "report.html", replace(run, results=results), tmp_path / "episodes")
    titles = re.findall(r"success: (\d+) of [\d.]+ to [\d.]+ steps", (tmp_path / "report.html").read_text())
    assert sum(map(int, titles)) == 40
    assert len(titles) > 5


def test_outcomes_of_the_same_length_stand_on_each_other(tmp_path):
    run = a_run({"stack": "sssf"})
    results = {index: replace(result, steps=30) for index, result in run.results.items()}
    success, failure = bars_of(page_of(tmp_path, replace(run, results=results)))
    assert (success["y"], success["height"]) == ("25.00%", "75.00%")
    assert (failure["y"], failure["height"]) == ("0.00%", "25.00%")


def test_the_longest_episode_is_inside_the_last_bar(tmp_path):
    run = a_run({"stack": "ss"})
    results = {0: a_result(0, steps=0), 1: a_result(1, steps=240)}
    write_report(tmp_path / "report.html", replace(run, results=results), tmp_path / "episodes")
    assert "success: 1 of 240 to 250 steps" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("steps", [[0], [5, 5, 5], [0, 100_000], [99, 100]])
def test_a_histogram_of_odd_lengths_stays_inside_its_frame(tmp_path, steps):
    run = a_run({"stack": "s" * len(steps)})
    results = {index: a_result(index, steps=count) for index, count in enumerate(steps)}
    bars = bars_of(page_of(tmp_path, replace(run, results=results)))
    assert bars
    for bar in bars:
        left, width, top, height = (float(bar[name].rstrip("%")) for name in ("x", "width", "y", "height"))
        assert left >= 0
        assert left + width <= 100.01
        assert top >= -0.01
        assert top + height <= 100.01


def test_a_page_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    def fail(_):  # no disk is full on demand
        raise OSError(errno.ENOSPC, "No space left on device")

    page_of(tmp_path, a_run({"stack": "s"}))
    before = (tmp_path / "report.html").read_bytes()
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(RecordingError, match=r"report\.html"):
        write_report(tmp_path / "report.html", a_run({"stack": "f"}), tmp_path / "episodes")
    assert (tmp_path / "report.html").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
