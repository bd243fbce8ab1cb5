"""The page in a real browser, on real sessions of ALOHA and on real recordings."""

import re
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from taketwo.control.config import ControlConfig
from taketwo.envs.aloha import AlohaConfig
from taketwo.policies.scripted import ScriptedConfig
from taketwo.session.config import SessionConfig
from taketwo.session.events import EpisodeEnd, EpisodeStart, Intervention
from taketwo.session.loop import Session
from tests.live.gallery_making import TwoCameras, gallery_of, record, record_vector
from tests.live.support import PATIENCE_S, live, until
from tests.support import Keep

CHROMIUM = Path("/usr/bin/chromium")

playwright_api = pytest.importorskip("playwright.sync_api", reason="pages are looked at with Playwright")

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"pages are looked at with {CHROMIUM}")

WATCH_VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  violations.push(`${event.violatedDirective} ${event.blockedURI}`);
});
"""

LATER = "frame => document.querySelector('canvas').dataset.frame > frame"

PICTURE = """(canvas) => {
  const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
  copy.drawImage(canvas, 0, 0);
  const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
  return { frame: Number(canvas.dataset.frame), pixels: Array.from(data.filter((_, k) => k % 4 === 0)) };
}"""


UNREACHED = ("ERR_CONNECTION_REFUSED", "WebSocket connection to")
"""What Chromium itself says of a server that has ended."""


@pytest.fixture(scope="module")
def browser():
    with playwright_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def tab(browser):
    """A fresh tab that must not complain."""
    with opened(browser) as tab:
        yield tab


@contextmanager
def opened(browser, width=1440, height=900, expected=UNREACHED, **options):
    """A tab; at its end nothing but what is expected may stand in its console, and no security policy be violated."""
    context = browser.new_context(viewport={"width": width, "height": height}, **options)
    context.add_init_script(WATCH_VIOLATIONS)
    tab = context.new_page()
    tab.set_default_timeout(PATIENCE_S * 1000)
    complaints = []
    tab.on("console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    try:
        yield tab
        assert tab.evaluate("violations") == []
        assert [text for text in complaints if not any(words in text for words in expected)] == []
    finally:
        context.close()


class Aloha:
    """A session of ALOHA on a thread of its own, with the page that shows it."""

    def __init__(self, opened, cameras, max_hz):
        self.page, self.commands, self.prompt = opened.page, opened.commands, opened.prompt
        self.url = opened.page.url
        self.state = opened.state
        self.keep = Keep()
        self.result = None
        self._cameras, self._max_hz = cameras, max_hz
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        until(lambda: self.keep.steps or not self._thread.is_alive(), "the first step")

    def _run(self):
        environment = AlohaConfig(cameras=self._cameras, width=160, height=120, quality="preview").make()
        controller = ControlConfig().make(ScriptedConfig().make(environment.spec), environment.spec)
        self.result = Session(
            environment,
            controller,
            SessionConfig(num_episodes=1000, max_hz=self._max_hz, max_episode_steps=100_000),
            [self.page.sink, self.keep],
            prompt=self.prompt,
            commands=self.commands,
            described_as={"policy": {"type": "scripted"}, "session": {"num_episodes": 1000, "max_hz": self._max_hz}},
        ).run()
        environment.close()

    def join(self):
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        return self.result

    def end(self):
        self.commands.stop("the test is over")
        assert self.join().fault is None


@contextmanager
def aloha(cameras=("top",), max_hz=20.0):
    with live(prompt="Transfer cube") as opened_page:
        session = Aloha(opened_page, cameras, max_hz)
        try:
            yield session
        finally:
            session.end()


@pytest.fixture
def session():
    with aloha() as session:
        yield session


def expect(locator):
    return playwright_api.expect(locator)


def button(tab, name):
    return tab.get_by_role("button", name=name, exact=True)


def shows(tab, session):
    """The page, once it shows pictures."""
    tab.goto(session.url)
    tab.wait_for_selector("canvas[data-frame]")


def wait_for(tab, script, argument=None):
    """Until a function in the page gives true. Playwright's own is an `eval`, which the page's policy forbids."""
    return until(lambda: tab.evaluate(script, argument), script)


def press(tab, key):
    tab.locator("body").press(key)


def said(tab):
    return tab.get_by_role("status", name="Answers")


def ended(session):
    return session.keep.of(EpisodeEnd)


def test_pictures_move_and_the_page_tells_what_runs(tab, session):
    shows(tab, session)
    canvas = tab.locator(".camera canvas")
    first = canvas.evaluate(PICTURE)
    assert np.ptp(first["pixels"]) > 50, "the picture is blank"
    wait_for(tab, LATER, first["frame"] + 20)
    later = canvas.evaluate(PICTURE)
    assert np.abs(np.subtract(first["pixels"], later["pixels"], dtype=float)).max() > 30
    expect(tab.get_by_role("banner")).to_contain_text("transfer cube")
    expect(tab.get_by_role("banner")).to_contain_text("scripted")
    expect(tab.get_by_role("region", name="Session")).to_contain_text("Running")
    expect(tab).to_have_title("Episode 1 · transfer cube · Take Two")


def test_a_prompt_edited_on_the_page_is_in_the_observations_that_follow(tab, session):
    shows(tab, session)
    field = tab.get_by_role("textbox", name="Prompt")
    expect(field).to_have_value("Transfer cube")
    field.fill("Hand the cube over, softly")
    field.press("Enter")
    until(lambda: session.keep.steps[-1].observation.prompt == "Hand the cube over, softly", "the prompt")
    expect(said(tab)).to_contain_text("Hand the cube over")
    expect(field).not_to_be_focused()
    expect(field).to_have_value("Hand the cube over, softly")
    expect(button(tab, "Send")).to_be_hidden()


def test_keys_do_nothing_while_somebody_types_and_escape_only_leaves_the_field(tab, session):
    shows(tab, session)
    field = tab.get_by_role("textbox", name="Prompt")
    field.click()
    field.press("End")
    field.press_sequentially(" first, if so")
    field.press("ArrowRight")
    field.press("ArrowLeft")
    expect(field).to_have_value("Transfer cube first, if so")
    field.press("Escape")
    expect(field).to_have_value("Transfer cube")
    expect(field).not_to_be_focused()
    wait_for(tab, LATER, len(session.keep.steps) + 5)
    commands = session.commands
    assert not ended(session) and not commands.paused and commands.marked is None and commands.stop_reason is None
    assert not session.keep.of(Intervention)


def test_the_right_arrow_ends_the_episode_and_the_next_begins(tab, session):
    shows(tab, session)
    press(tab, "ArrowRight")
    until(lambda: ended(session), "the end of the episode")
    assert ended(session)[0].episode.reason == "ended by the operator"
    expect(tab.get_by_role("list", name="Episodes")).to_contain_text("Episode 2: under way")
    expect(tab.get_by_role("log")).to_contain_text("Episode 1: ")


def test_the_left_arrow_takes_the_episode_again_with_the_same_seed(tab, session):
    shows(tab, session)
    press(tab, "ArrowLeft")
    until(lambda: len(session.keep.of(EpisodeStart)) == 2, "the second take")
    assert ended(session)[0].episode.outcome == "discarded"
    first, again = session.keep.of(EpisodeStart)
    assert first.episode.seed == again.episode.seed
    expect(tab.get_by_role("list", name="Episodes")).to_contain_text("discarded")


def test_space_pauses_and_goes_on(tab, session):
    shows(tab, session)
    press(tab, "Space")
    expect(tab.get_by_role("region", name="Session")).to_contain_text("Paused")
    assert session.commands.paused
    expect(tab.locator(".badge")).to_have_text("paused")
    press(tab, "Space")
    expect(tab.get_by_role("region", name="Session")).to_contain_text("Running")
    assert not session.commands.paused


def test_a_verdict_is_marked_by_a_letter_and_taken_back_by_it(tab, session):
    shows(tab, session)
    press(tab, "s")
    expect(button(tab, "Success")).to_have_attribute("aria-pressed", "true")
    assert session.commands.marked is True
    press(tab, "f")
    expect(button(tab, "Failure")).to_have_attribute("aria-pressed", "true")
    assert session.commands.marked is False
    press(tab, "f")
    expect(button(tab, "Failure")).to_have_attribute("aria-pressed", "false")
    assert session.commands.marked is None


def test_the_letter_i_has_the_policy_begin_again(tab, session):
    shows(tab, session)
    press(tab, "i")
    until(lambda: session.keep.of(Intervention), "the intervention")
    expect(tab.get_by_role("region", name="Session")).to_contain_text("1 intervention")


def test_a_key_that_is_held_down_acts_once(tab, session):
    shows(tab, session)
    for _ in range(5):  # a key that goes down again without having come up repeats
        tab.keyboard.down("ArrowRight")
    tab.keyboard.up("ArrowRight")
    expect(tab.get_by_role("list", name="Episodes")).to_contain_text("Episode 2: under way")
    frame = len(session.keep.steps)
    until(lambda: len(session.keep.steps) > frame + 5, "more steps")
    assert len(ended(session)) == 1


def test_escape_stops_and_what_was_shown_last_stays(tab, session):
    shows(tab, session)
    press(tab, "Escape")
    assert session.join().reason == "stopped by the operator"
    expect(tab.get_by_role("region", name="Session")).to_contain_text("Ended")
    session.page.close()
    expect(tab.locator("#banners")).to_contain_text("stopped by the operator")
    expect(tab.locator(".connection")).to_have_text("session is over")
    expect(tab.get_by_role("list", name="Episodes")).to_contain_text("Episode 1: stopped")
    expect(button(tab, "Stop session")).to_be_disabled()
    assert tab.locator(".camera canvas").evaluate(PICTURE)["frame"] > 0


def test_a_button_that_was_clicked_does_not_take_the_space_key(tab, session):
    shows(tab, session)
    button(tab, "Success").click()
    expect(button(tab, "Success")).to_have_attribute("aria-pressed", "true")
    tab.keyboard.press("Space")
    expect(tab.get_by_role("region", name="Session")).to_contain_text("Paused")
    assert session.commands.marked is True


def test_all_can_be_reached_and_pressed_with_the_keyboard_in_the_order_in_which_it_stands(tab, session):
    shows(tab, session)
    order = []
    for _ in range(16):
        tab.keyboard.press("Tab")
        order.append(tab.evaluate("(document.activeElement.ariaLabel ?? document.activeElement.innerText).trim()"))
    expected = [
        "Take Two",
        "theme",
        "top",
        "Pause",
        "End episode",
        "Intervene",
        "Redo episode",
        "Success",
        "Stop session",
    ]
    places = [next((k for k, name in enumerate(order) if words in name), None) for words in expected]
    assert None not in places and places == sorted(places), order
    button(tab, "Pause").focus()
    tab.keyboard.press("Enter")
    expect(tab.get_by_role("region", name="Session")).to_contain_text("Paused")


def test_a_camera_is_enlarged_by_a_click_and_by_enter(tab):
    with aloha(cameras=("top", "angle", "left_wrist")) as session:
        shows(tab, session)
        cameras = tab.get_by_role("region", name="Cameras").get_by_role("button")
        before = cameras.nth(1).bounding_box()["width"]
        cameras.nth(1).click()
        expect(cameras.nth(1)).to_have_attribute("aria-pressed", "true")
        assert cameras.nth(1).bounding_box()["width"] > 1.2 * before
        cameras.nth(1).press("Enter")
        expect(cameras.nth(1)).to_have_attribute("aria-pressed", "false")
        assert session.commands.stop_reason is None


def test_a_hidden_tab_watches_nothing(tab, session):
    shows(tab, session)
    tab.evaluate("Object.defineProperty(document, 'hidden', { value: true, configurable: true })")
    tab.evaluate("document.dispatchEvent(new Event('visibilitychange'))")

    def stands_still():
        before, steps = session.state()["frames_encoded"], len(session.keep.steps)
        until(lambda: len(session.keep.steps) > steps + 8)
        return session.state()["frames_encoded"] == before

    until(stands_still, "the end of the pictures")
    tab.evaluate("Object.defineProperty(document, 'hidden', { value: false, configurable: true })")
    tab.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    frame = tab.locator(".camera canvas").evaluate(PICTURE)["frame"]
    wait_for(tab, LATER, frame)


def test_a_lost_connection_is_told_and_found_again(tab, session):
    sockets = []
    tab.route_web_socket("**/api/events", lambda socket: sockets.append((socket, socket.connect_to_server())))
    shows(tab, session)
    refused = []
    tab.route_web_socket("**/api/events", lambda socket: (refused.append(socket), socket.close()))
    sockets[0][0].close()
    expect(tab.get_by_role("alert")).to_contain_text("Connection lost")
    expect(tab.get_by_role("region", name="Session")).to_contain_text("No connection")
    tab.route_web_socket("**/api/events", lambda socket: socket.connect_to_server())
    expect(tab.get_by_role("alert")).to_be_hidden()
    expect(tab.get_by_role("region", name="Session")).to_contain_text("Running")


def test_curves_are_drawn_and_the_choice_of_them_is_remembered(tab, session):
    shows(tab, session)
    action = tab.get_by_role("region", name="Action", exact=True)
    expect(action.get_by_role("listitem")).to_have_count(6)
    expect(action.get_by_role("listitem").first).to_contain_text("left arm")
    expect(action.locator(".value").first).to_have_text(re.compile(r"\d"))
    action.get_by_text("6 of 14 shown").click()
    action.get_by_role("button", name="None").click()
    action.get_by_label("left arm waist").check()
    expect(action.get_by_role("listitem")).to_have_count(1)
    tab.reload()
    expect(action.get_by_text("1 of 14 shown")).to_be_visible()
    expect(action.get_by_role("listitem")).to_contain_text("left arm waist")


def test_the_theme_is_the_systems_until_it_is_chosen_and_then_remembered(browser, session):
    with opened(browser, color_scheme="dark") as tab:
        shows(tab, session)
        dark = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        button(tab, "Use the light theme").click()
        light = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        assert light != dark
        tab.reload()
        assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == light


@pytest.mark.parametrize("width", [375, 1440])
@pytest.mark.parametrize("cameras", [("top",), ("top", "angle", "left_wrist", "right_wrist")])
def test_nothing_is_cut_off_on_a_phone_and_on_a_desk(browser, width, cameras):
    with opened(browser, width=width, height=812) as tab, aloha(cameras) as session:
        shows(tab, session)
        expect(tab.locator(".camera canvas")).to_have_count(len(cameras))
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        for name in ("Pause", "End episode", "Redo episode", "Success", "Failure", "Stop session"):
            box = button(tab, name).bounding_box()
            assert box["height"] >= 44 and box["x"] >= 0 and box["x"] + box["width"] <= width
            assert box["y"] + box["height"] <= 812, f"{name} cannot be seen without scrolling"


# ---- the gallery ----


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """A folder of one session with dataset, and one without."""
    folder = tmp_path_factory.mktemp("outputs")
    record(folder / "data", episodes=4, seed=3, dataset=folder / "data/cube", environment=TwoCameras(), discard_at=3)
    record(folder / "plain", episodes=2, seed=7)
    record_vector(folder / "several", shown_env=1, seed=9, dataset=folder / "several/points")
    with gallery_of(folder) as gallery:
        yield gallery.url.geturl()


def open_session(tab, recordings, seed, first="Episode 1"):
    tab.goto(recordings)
    tab.get_by_role("link").filter(has_text=f"seed {seed}").click()
    expect(tab.get_by_role("region", name="Episode", exact=True)).to_contain_text(first)


def episodes(tab):
    return tab.get_by_role("group", name="Episodes").get_by_role("button")


def test_the_gallery_lists_sessions_and_finds_them_by_words(tab, recordings):
    tab.goto(recordings)
    expect(tab.get_by_role("link").filter(has_text="seed")).to_have_count(3)
    tab.get_by_label("Filter sessions").fill("seed 7")
    expect(tab.get_by_role("link").filter(has_text="seed")).to_have_count(1)
    expect(tab.get_by_role("status").filter(has_text="1 of 3 sessions")).to_be_visible()


def test_an_episode_is_chosen_by_click_arrow_and_address_and_the_video_goes_there(tab, recordings):
    open_session(tab, recordings, seed=3)
    video = tab.locator("video")
    wait_for(tab, "() => document.querySelector('video').readyState >= 2")
    episodes(tab).nth(2).click()
    expect(episodes(tab).nth(2)).to_have_attribute("aria-current", "true")
    wait_for(
        tab, "() => document.querySelector('video').currentTime > 0.02 && !document.querySelector('video').seeking"
    )
    third = video.evaluate("video => video.currentTime")
    press(tab, "ArrowRight")
    expect(episodes(tab).nth(3)).to_have_attribute("aria-current", "true")
    wait_for(tab, "third => document.querySelector('video').currentTime > third", third)
    assert "/episode/4" in tab.url
    tab.goto("about:blank")
    tab.go_back()
    expect(episodes(tab).nth(3)).to_have_attribute("aria-current", "true")


def test_the_plots_go_with_the_video_and_the_video_with_the_plots(tab, recordings):
    open_session(tab, recordings, seed=3)
    wait_for(tab, "() => document.querySelector('video').readyState >= 2")
    episodes(tab).nth(1).click()
    action = tab.get_by_role("region", name="Action", exact=True)
    head = action.locator(".playhead")
    start = head.bounding_box()["x"]
    plot = action.locator(".u-over").bounding_box()
    action.locator(".u-over").click(position={"x": plot["width"] * 0.7, "y": 20})
    until(lambda: abs(head.bounding_box()["x"] - plot["x"] - 0.7 * plot["width"]) < 0.2 * plot["width"], "the playhead")
    assert head.bounding_box()["x"] > start
    press(tab, "Space")
    wait_for(tab, "() => !document.querySelector('video').paused || document.querySelector('video').ended")


def test_only_episodes_of_the_chosen_outcome_are_stepped_through(tab, recordings):
    open_session(tab, recordings, seed=3)
    tab.get_by_role("group", name="Show only").get_by_role("button", name="success").click()
    outcomes = [name.split()[2] for name in episodes(tab).evaluate_all("all => all.map((one) => one.ariaLabel)")]
    press(tab, "ArrowRight")
    chosen = tab.locator("[aria-current=true]").get_attribute("aria-label")
    assert "discarded" in outcomes and chosen.split()[2] == "success"


def test_a_session_without_dataset_says_how_to_get_plots(tab, recordings):
    open_session(tab, recordings, seed=7)
    expect(tab.get_by_role("region", name="Plots")).to_contain_text("--dataset.repo_id")


def test_the_configuration_is_shown_in_groups(tab, recordings):
    open_session(tab, recordings, seed=7)
    tab.get_by_text("Configuration").click()
    expect(tab.get_by_role("heading", name="policy")).to_be_visible()
    expect(tab.locator(".config")).to_contain_text("steering")


def test_a_session_that_is_not_there_is_told_with_a_way_back(browser, recordings):
    with opened(browser, expected=["404"]) as tab:
        tab.goto(f"{recordings}#/session/nothing")
        expect(tab.get_by_role("alert")).to_contain_text("This cannot be shown")
        tab.get_by_role("link", name="To the list of sessions").click()
        expect(tab.get_by_role("heading", name="Sessions")).to_be_visible()


def test_episodes_of_several_environments_are_told_apart_and_each_has_its_video_and_plots(tab, recordings):
    open_session(tab, recordings, seed=9, first="Environment 0, episode 1")
    expect(episodes(tab)).to_have_count(6)
    names = episodes(tab).evaluate_all("all => all.map((one) => one.ariaLabel.split(':')[0])")
    assert names == [f"Environment {env}, episode {number}" for env in range(3) for number in (1, 2)]
    strip = tab.locator(".strip.wraps")
    apart = """all => all.map((label) => {
      const [one, other] = [label, label.nextElementSibling].map((part) => part.getBoundingClientRect());
      return other.left - one.right;
    })"""
    for width_px in (120, 160, 200, 260):  # a label never stands at the end of a line, away from its first episode
        strip.evaluate("(strip, width) => { strip.style.width = `${width}px`; }", width_px)
        gaps = tab.locator(".strip .whose").evaluate_all(apart)
        assert len(gaps) == 3 and all(0 <= gap < 10 for gap in gaps)
    strip.evaluate("strip => { strip.style.width = ''; }")
    source = "() => document.querySelector('video').currentSrc"
    for k, inside in ((3, False), (5, True)):  # of environment 1, which was filmed, and of another
        episodes(tab).nth(k).click()
        expect(tab.get_by_role("region", name="Episode", exact=True)).to_contain_text(names[k])
        wait_for(
            tab, "() => document.querySelector('video').readyState >= 2 && !document.querySelector('video').seeking"
        )
        assert ("/points/" in tab.evaluate(source)) == inside
        assert tab.evaluate("() => document.querySelector('video').currentTime") > 0.02
        expect(tab.get_by_role("region", name="Action", exact=True)).to_be_visible()
    chapters = tab.locator(".chapters .chapter")
    expect(chapters).to_have_count(6)  # the file of the dataset's camera has them all
    boxes = chapters.evaluate_all("all => all.map((one) => one.getBoundingClientRect().left)")
    assert boxes == sorted(boxes)
    head, mine = tab.locator(".chapter-line .here"), tab.locator(f".chapter[title^='{names[5]}']")
    edge_px = 10  # of the gaps between chapters
    until(lambda: abs(head.bounding_box()["x"] - mine.bounding_box()["x"]) < edge_px, "the playhead")
