"""The page is looked at as a browser's parser sees it."""

import errno
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from taketwo.datasets import quality_report
from taketwo.datasets.features import ACTION, CAPTURE_TIME, STATE
from taketwo.datasets.quality import check
from taketwo.datasets.quality_findings import Finding
from taketwo.datasets.quality_plots import BINS, Line, plot, thumbnail
from taketwo.datasets.quality_report import summary_rows, write_report
from taketwo.datasets.reader import Dataset
from taketwo.errors import RecordingError
from tests.datasets.making import FPS, data_file, episode, film, make_dataset, video_file, wave

VOID = {"meta", "img", "path", "rect", "br"}
EVIL = "<script>alert('x')</script> & \"quotes\" 컵"


class Page(HTMLParser):
    """Tags with their attributes, texts, and whether every tag is closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self._open = [], [], []
        self.feed(text)
        self.close()
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open[-1:] != ["style"]:
            self.texts.append(data)

    def of(self, wanted, style=None):
        return [found for tag, found in self.tags if tag == wanted and style in (None, found.get("class"))]

    @property
    def text(self):
        return " ".join(self.texts)


def damaged_dataset(root):
    """Three episodes: sound, with a jump and blank pictures, and with a text for a task that is no text."""
    action, pictures = wave(), film(60)
    action[33:, 1] += 0.8
    pictures[10:50] = [np.zeros_like(pictures[0])] * 40
    times = np.arange(60) / FPS
    times[40:] += 1
    bad = episode(action=action, cameras={"top": pictures}, capture_time=times)
    return make_dataset(root, [episode(), bad, episode(task=EVIL)])


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return damaged_dataset(tmp_path_factory.mktemp("report") / "cup & <b>plate")


@pytest.fixture(scope="module")
def result(root):
    with Dataset.open(root) as dataset:
        return check(dataset)


def reported(root, result, path):
    with Dataset.open(root) as dataset:
        write_report(path, dataset, result)
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def text(root, result, tmp_path_factory):
    return reported(root, result, tmp_path_factory.mktemp("page") / "report.html")


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def test_it_loads_nothing_and_runs_nothing(page, text):
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object", "base", "form", "a"})
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert all(image["src"].startswith("data:image/jpeg;base64,") for image in page.of("img"))
    assert "http" not in text
    assert "url(" not in text
    assert "@import" not in text


def test_all_text_is_escaped(page, text):
    assert EVIL in page.text
    assert "cup & <b>plate" in page.text
    assert "<script" not in text
    assert not page.of("b", "plate")


def test_it_has_both_themes_and_fits_a_telephone(text, page):
    assert "prefers-color-scheme:dark" in text
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.of("meta")


def test_every_finding_is_told_with_what_to_do(page, result):
    assert {finding.kind for finding in result.findings} == {"action_jump", "blank", "gap"}
    for finding in result.findings:
        assert finding.message in page.text
        assert finding.advice in page.text


def test_the_worst_episode_is_open_and_the_others_are_not(page):
    assert ["open" in attributes for attributes in page.of("details")] == [False, True, False]


def test_found_places_are_marked_in_the_plots_they_belong_to(text):
    first, bad, last = text.split("<details")[1:]
    marked = {
        re.search("<b>(.*?)</b>", figure)[1]: len(re.findall('class="mark"', figure))
        for figure in bad.split('<figure class="plot">')[1:]
    }
    assert marked == {"sharpness": 0, "brightness": 1, "time between captures": 1, "lift": 0, "grip": 1}
    assert 'class="mark"' not in first + last


def test_mark_lies_where_the_place_is():
    drawn = plot("x", [Line(wave(61)[:, 0], "state")], 61, [(30, 45)])
    (left, width) = re.search('class="mark" x="(.*?)" y="0" width="(.*?)"', drawn).groups()
    assert (float(left), float(width)) == (300, 150)


def test_pictures_are_of_moments_and_of_what_was_found(page):
    captions = [image["alt"] for image in page.of("img")]
    assert "row 0 · 0.00 s" in captions
    assert "row 29 · 1.45 s · blank pictures" in captions
    assert "row 32 · 1.60 s · action jumps" in captions
    assert len(page.of("figure", "thumb found")) == 3


def test_columns_with_names_of_their_own_get_plots_of_their_own(tmp_path):
    root = make_dataset(tmp_path / "d", [episode(state=wave(width=3))], names=("lift", "grip"), notes=False)
    with Dataset.open(root) as dataset:
        text = reported(root, check(dataset), tmp_path / "report.html")
    titles = re.findall('<figure class="plot"><figcaption><b>(.*?)</b>', text)
    assert titles[-5:] == [f"{STATE} 0", f"{STATE} 1", f"{STATE} 2", f"{ACTION} lift", f"{ACTION} grip"]


def test_sound_dataset_without_cameras_or_capture_times(tmp_path):
    root = make_dataset(tmp_path / "d", [episode(cameras={})], leave_out=[CAPTURE_TIME])
    with Dataset.open(root) as dataset:
        result = check(dataset)
    page = Page(reported(root, result, tmp_path / "report.html"))
    assert "Nothing was found." in page.text
    assert f"there is no column {CAPTURE_TIME}" in page.text
    assert summary_rows(result) == []


@pytest.mark.parametrize("file", [data_file, video_file])
def test_damaged_dataset_gets_a_page(tmp_path, file):
    root = make_dataset(tmp_path / "d", [episode()])
    file(root).write_bytes(b"not this")
    with Dataset.open(root) as dataset:
        result = check(dataset)
    page = Page(reported(root, result, tmp_path / "report.html"))
    assert "damaged file" in page.text


def test_only_so_many_episodes_are_shown_in_full(root, result, tmp_path, monkeypatch):
    monkeypatch.setattr(quality_report, "DETAILED_EPISODES", 2)
    page = Page(reported(root, result, tmp_path / "report.html"))
    assert len(page.of("details")) == 2
    assert "2 of 3 episodes" in page.text
    assert "Episode 1" in page.text  # the one with findings comes before those without
    assert "The other episodes" in page.text


def test_fifty_long_episodes_stay_small():
    values = np.random.default_rng(0).normal(size=100_000)
    assert len(plot("x", [Line(values, "state")], len(values), [])) < 5000
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    assert len(thumbnail(noise, "x", False)) < 25_000


def test_no_peak_is_lost_in_a_long_line():
    values = np.zeros(20 * BINS)
    values[1234] = 1
    heights = {float(y) for y in re.findall(r"[ML]\d+ (\d+)", plot("x", [Line(values, "state")], len(values), []))}
    assert len(heights) == 2


@pytest.mark.parametrize("values", [[], [np.nan, np.nan], [3.0], [1.0, np.nan, 2.0], [5.0, 5.0]])
def test_any_line_can_be_drawn(values):
    drawn = plot("x", [Line(np.array(values), "state")], len(values), [])
    assert "nan" not in drawn
    Page(drawn)


def test_file_that_is_there_is_replaced_and_nothing_is_left_beside_it(root, result, tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    assert reported(root, result, path).startswith("<!doctype html>")
    assert list(tmp_path.iterdir()) == [path]


def test_place_that_cannot_be_written_is_told(root, result, tmp_path, monkeypatch):
    with Dataset.open(root) as dataset:
        with pytest.raises(RecordingError, match="cannot write"):
            write_report(tmp_path / "nowhere" / "report.html", dataset, result)

        def full(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        (tmp_path / "report.html").write_text("old")
        monkeypatch.setattr(quality_report, "replace_durably", full)
        with pytest.raises(RecordingError, match="No space left"):
            write_report(tmp_path / "report.html", dataset, result)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_summary_has_a_row_per_kind_worst_first(result):
    rows = [(row.severity, row.title, row.count, row.where) for row in summary_rows(result)]
    assert rows == [
        ("error", "blank pictures", 1, "episode 1"),
        ("warning", "capture gaps", 1, "episode 1"),
        ("warning", "action jumps", 1, "episode 1"),
    ]


def test_summary_names_few_episodes_and_shows_the_worst(result):
    def gap(index, seconds):
        return Finding(index, "gap", "warning", f"{seconds} s", value=seconds, threshold=0.1)

    def summary(findings, episodes):
        many = tuple(replace(result.episodes[0], index=index) for index in range(episodes))
        (row,) = summary_rows(replace(result, findings=tuple(findings), episodes=many))
        return row.where, row.count, row.example

    assert summary([gap(2, 1), gap(5, 9), gap(5, 2)], 10) == ("episodes 2, 5", 2, "episode 5: 9 s")
    assert summary([gap(index, 1) for index in range(10)], 10)[0] == "all 10 episodes"
    assert summary([gap(index, 1) for index in range(11)], 20)[0] == "11 of 20 episodes: 0, 1, 2, 3, 4, 5, 6, 7, …"
    lost = Finding(None, "success", "warning", "no column")
    assert summary([lost], 10) == ("the dataset", 1, "no column")
