"""The page in a real browser."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from streamvision.types import StreamState
from streamvision.web import EngineReadiness, Tokens
from tests.web.fakes import FakeBoard, filming, serving, status

pytestmark = pytest.mark.e2e

WAIT_S = 20
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--disable-extensions",
)  # fmt: skip


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    driver, chromium = shutil.which("chromedriver"), shutil.which("chromium")
    if driver is None or chromium is None:
        pytest.skip("Debian's chromium and chromium-driver are not installed")
    options = ChromeOptions()
    options.binary_location = chromium
    for flag in FLAGS:
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = Chrome(options=options, service=Service(executable_path=driver))
    chrome.set_page_load_timeout(WAIT_S)
    yield chrome
    chrome.quit()


@pytest.fixture
def board() -> FakeBoard:
    return FakeBoard(
        status("gate"),
        status("yard", state=StreamState.BACKING_OFF, cause="connection refused", frame_age_s=42.0, tracks={}),
        status("door", state=StreamState.AUTH_FAILED, cause="the camera wants other credentials", frame_age_s=None),
    )


@pytest.fixture
def page(browser: Chrome) -> Iterator[Chrome]:
    """The browser at desktop size, left on an empty page so that nothing goes on asking."""
    browser.set_window_size(1400, 900)
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.get_log("browser")
    yield browser
    browser.get("about:blank")


def until(page: Chrome, condition: Callable[[], object]) -> None:
    WebDriverWait(page, WAIT_S, poll_frequency=0.05).until(lambda _: condition())


def text(page: Chrome, selector: str) -> str:
    return page.execute_script("return document.querySelector(arguments[0])?.innerText ?? ''", selector)


def width_of(page: Chrome, selector: str) -> int:
    return page.execute_script("return document.querySelector(arguments[0])?.naturalWidth ?? 0", selector)


def card(stream: str) -> str:
    return f'.card[data-stream="{stream}"]'


def asked_hosts(page: Chrome) -> set[str]:
    urls = page.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    return {urlsplit(url).netloc for url in urls if not url.startswith("blob:")}


def test_every_stream_is_shown_with_state_cause_rates_and_age(page: Chrome, board: FakeBoard) -> None:
    with serving(board) as base:
        page.get(base)
        until(page, lambda: len(page.find_elements(By.CSS_SELECTOR, ".card")) == 3)
        assert "live" in text(page, f"{card('gate')} .pill")
        assert "reconnecting" in text(page, f"{card('yard')} .pill")
        assert "connection refused" in text(page, f"{card('yard')} .cause")
        assert "no picture for 42 s" in text(page, f"{card('yard')} .note")
        assert "wrong credentials" in text(page, f"{card('door')} .pill")
        assert text(page, f"{card('gate')} [data-name=analysed]") == "9.9 /s"
        assert text(page, f"{card('gate')} [data-name=age]") == "84 ms"
        assert text(page, "#summary") == "1 of 3 live"
        until(page, lambda: text(page, "#health") == "healthy")


def test_a_change_of_state_is_seen_without_reloading(page: Chrome, board: FakeBoard) -> None:
    with serving(board) as base:
        page.get(base)
        until(page, lambda: "live" in text(page, f"{card('gate')} .pill"))
        board.statuses = [status("gate", state=StreamState.STALLED, cause="silent for 5 s", frame_age_s=5.0)]
        until(page, lambda: "stalled" in text(page, f"{card('gate')} .pill"))
        until(page, lambda: len(page.find_elements(By.CSS_SELECTOR, ".card")) == 1)
        assert "silent for 5 s" in text(page, f"{card('gate')} .cause")


def test_an_event_appears_as_it_happens(page: Chrome, board: FakeBoard) -> None:
    board.events.add("zone", "start")
    with serving(board) as base:
        page.get(base)
        until(page, lambda: "person 17 entered yard" in text(page, "#event-list"))
        until(page, lambda: page.find_elements(By.CSS_SELECTOR, "#events-live.on"))
        board.events.add("line", "instant")
        until(page, lambda: "person 17 crossed fence, a to b" in text(page, ".event.fresh"))
        assert len(page.find_elements(By.CSS_SELECTOR, ".event")) == 2


def test_events_can_be_narrowed_to_one_stream(page: Chrome, board: FakeBoard) -> None:
    board.events.add(stream="gate")
    board.events.add(stream="yard")
    with serving(board) as base:
        page.get(base)
        until(page, lambda: len(page.find_elements(By.CSS_SELECTOR, ".event")) == 2)
        Select(page.find_element(By.ID, "events-stream")).select_by_value("yard")
        until(page, lambda: len(page.find_elements(By.CSS_SELECTOR, ".event")) == 1)
        board.events.add(stream="gate")
        board.events.add("line", "instant", stream="yard")
        until(page, lambda: len(page.find_elements(By.CSS_SELECTOR, ".event")) == 2)
        assert "gate" not in text(page, "#event-list")


def test_live_pictures_have_pixels_and_only_live_streams_are_asked(page: Chrome, board: FakeBoard) -> None:
    with serving(board) as base, filming(board, "gate", "yard"):
        page.get(base)
        until(page, lambda: width_of(page, f"{card('gate')} img") > 0)
        first = page.execute_script("return document.querySelector('.card img').src")
        until(page, lambda: page.execute_script("return document.querySelector('.card img').src") != first)
        assert width_of(page, f"{card('yard')} img") == 0


def test_a_click_enlarges_the_picture_and_escape_ends_the_watching(page: Chrome, board: FakeBoard) -> None:
    with serving(board) as base, filming(board, "gate"):
        page.get(base)
        until(page, lambda: width_of(page, f"{card('gate')} img") > 0)
        page.find_element(By.CSS_SELECTOR, f"{card('gate')} .picture").click()
        until(page, lambda: width_of(page, "#large-picture") > 0)
        assert text(page, "#large-title") == "gate"
        until(page, lambda: board.live.watchers() == 1)
        page.find_element(By.TAG_NAME, "body").send_keys(Keys.ESCAPE)
        until(page, lambda: not page.find_element(By.ID, "large").is_displayed())
        board.statuses = []
        until(page, lambda: board.live.watchers() == 0)


def test_the_page_says_when_the_daemon_is_gone_and_comes_back_alone(page: Chrome, board: FakeBoard) -> None:
    with serving(board) as base:
        port = urlsplit(base).port
        assert port
        page.get(base)
        until(page, lambda: text(page, "#health") == "healthy")
    until(page, lambda: "unreachable" in text(page, "#banner"))
    again = FakeBoard(status("gate"))
    again.events.add()
    with serving(again, port=port):
        until(page, lambda: not page.find_element(By.ID, "banner").is_displayed())
        until(page, lambda: text(page, "#health") == "healthy")
        until(page, lambda: "entered yard" in text(page, "#event-list"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"silent": ["analysis"]}, "silent: analysis"),
        ({"engine": EngineReadiness("loading")}, "engines loading"),
        ({"engine": EngineReadiness("failed", detail="no such device")}, "engine failed: street"),
    ],
)
def test_the_header_tells_the_daemons_health(
    page: Chrome, board: FakeBoard, change: dict[str, object], words: str
) -> None:
    for name, value in change.items():
        setattr(board, name, value)
    with serving(board) as base:
        page.get(base)
        until(page, lambda: text(page, "#health") == words)


@pytest.mark.parametrize("width", [320, 390, 768])
def test_a_phone_scrolls_in_one_direction_only(page: Chrome, board: FakeBoard, width: int) -> None:
    board.statuses.append(status("a-very-long-name-of-a-camera-that-somebody-gave-to-the-north-entrance"))
    board.events.add()
    metrics = {"width": width, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    with serving(board) as base:
        page.get(base)
        until(page, lambda: len(page.find_elements(By.CSS_SELECTOR, ".card")) == 4)
        assert page.execute_script("return document.documentElement.scrollWidth") == width


def test_nothing_is_complained_about_and_nobody_else_is_asked(page: Chrome, board: FakeBoard) -> None:
    board.events.add()
    with serving(board) as base, filming(board, "gate"):
        page.get(base)
        until(page, lambda: width_of(page, f"{card('gate')} img") > 0)
        until(page, lambda: page.find_elements(By.CSS_SELECTOR, "#events-live.on"))
        assert page.get_log("browser") == []
        assert asked_hosts(page) == {urlsplit(base).netloc}


def test_names_are_text_and_never_markup(page: Chrome) -> None:
    evil = "<img src=x onerror=document.title='broken'>"
    board = FakeBoard(status(evil, state=StreamState.STALLED, cause=evil))
    board.events.add(stream=evil)
    with serving(board) as base:
        page.get(base)
        until(page, lambda: text(page, ".card h3") == evil)
        until(page, lambda: evil in text(page, "#event-list"))
        assert page.title == "streamvision"


def test_a_token_is_asked_for_and_then_used_for_everything(page: Chrome, board: FakeBoard) -> None:
    board.events.add()
    with serving(board, Tokens(read="let me see")) as base, filming(board, "gate"):
        page.get(base)
        until(page, lambda: page.find_element(By.ID, "token-form").is_displayed())
        page.find_element(By.ID, "token").send_keys("wrong", Keys.ENTER)
        until(page, lambda: "not accepted" in text(page, "#token-wrong"))
        field = page.find_element(By.ID, "token")
        field.clear()
        field.send_keys("let me see", Keys.ENTER)
        until(page, lambda: width_of(page, f"{card('gate')} img") > 0)
        until(page, lambda: page.find_elements(By.CSS_SELECTOR, "#events-live.on"))
        page.find_element(By.CSS_SELECTOR, f"{card('gate')} .picture").click()
        until(page, lambda: width_of(page, "#large-picture") > 0)
        page.execute_script("sessionStorage.clear()")


def test_every_control_has_a_name_and_can_be_reached_by_keyboard(page: Chrome, board: FakeBoard) -> None:
    with serving(board) as base, filming(board, "gate"):
        page.get(base)
        until(page, lambda: len(page.find_elements(By.CSS_SELECTOR, ".card")) == 3)
        for control in page.find_elements(By.CSS_SELECTOR, "main button, main select"):
            assert control.accessible_name
            assert control.get_property("tabIndex") >= 0
        page.execute_script("document.querySelector('.card .picture').focus()")
        page.switch_to.active_element.send_keys(Keys.ENTER)
        until(page, lambda: page.find_element(By.ID, "large").is_displayed())
        assert page.switch_to.active_element.accessible_name == "Close"


def test_a_free_port_is_free_again_after_the_server(board: FakeBoard) -> None:
    with serving(board) as base:
        port = urlsplit(base).port
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))


def test_the_page_is_complete_in_the_package() -> None:
    import streamvision.web.app as app

    folder = Path(app.__file__).parent / "static"
    assert {file.name for file in folder.iterdir()} == {name for name, _ in app._FILES.values()}


@pytest.mark.parametrize(
    ("kind", "phase", "data", "words"),
    [
        ("zone", "end", {"reason": "left"}, "person 17 left yard, after 4.2 s"),
        ("zone", "end", {"reason": "lost"}, "person 17 last seen in yard, after 4.2 s"),
        ("line", "instant", {"direction": "b_to_a"}, "person 17 crossed fence, b to a"),
        ("outage", "start", {"track": None, "cause": "connection refused"}, "camera lost, connection refused"),
        ("outage", "end", {"track": None, "evidence": {"outage_s": 75}}, "camera is back, after 75 s"),
        ("queue", "update", {"track": None}, "queue update"),
    ],
)
def test_events_are_told_in_words(
    page: Chrome, board: FakeBoard, kind: str, phase: str, data: dict[str, object], words: str
) -> None:
    one = board.events.add(kind, phase)
    body = json.loads(one.json)
    body["data"] |= data
    board.events.kept = [replace(one, json=json.dumps(body))]
    with serving(board) as base:
        page.get(base)
        until(page, lambda: text(page, ".event-what") == words)
