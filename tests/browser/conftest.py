"""A real service on a free port, a real database behind it, a real browser in front of it."""

from __future__ import annotations

import os
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Dialog, Error, Locator, Page, expect, sync_playwright

from api.server import Server
from tests.browser.scene import Player, busy_study
from tests.simulation import start_study
from tuner.service import Service, utc_now
from tuner.settings import Settings

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
# Without a user of its own Chromium has no sandbox, and containers have a small /dev/shm.
# Pages that Chromium takes for hidden neither draw nor refresh.
FLAGS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
FLAGS += ["--disable-backgrounding-occluded-windows", "--disable-renderer-backgrounding"]
WORDS_OF_THE_PAGES = "Compare Copy Columns Export Tokens Next trial topics another Sign in Stop the study Save Add node-a"
SECONDS_TO_WAIT = 45  # a machine that does other things too may be many times slower


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The system's Chromium; where there is none, tests are skipped on a laptop and fail on CI."""
    executable = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if executable is None:
        reason = "no Chromium found; install the package chromium"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    expect.set_options(timeout=SECONDS_TO_WAIT * 1000)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield chromium
        chromium.close()


class Site:
    """A service that runs in a thread of this process."""

    def __init__(self, home: Path, port: int = 0) -> None:
        self.listening = socket.create_server(("127.0.0.1", port))
        ready = threading.Event()
        self.token = ""

        def announce(url: str, user: str, _worker: str) -> None:
            self.url, self.token = url, user
            ready.set()

        # Leases outlive the test: the scene is played with times that lie in the past.
        settings = Settings(home=home, port=self.listening.getsockname()[1], lease_seconds=3600)
        self.server = Server(settings, announce)
        self.thread = threading.Thread(target=self.server.run, args=([self.listening],))
        self.thread.start()
        assert ready.wait(SECONDS_TO_WAIT), "the service did not start"

    @property
    def service(self) -> Service:
        service: Service = self.server.app.state.service
        return service

    def close(self) -> None:
        self.server.should_exit = True
        self.thread.join(SECONDS_TO_WAIT)
        self.listening.close()
        assert not self.thread.is_alive(), "the service did not end"


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The service that most tests share; those that change a study start one of their own in it."""
    running = Site(tmp_path_factory.mktemp("site"))
    start_study(running.service, utc_now(), name=WORDS_OF_THE_PAGES)  # a test that looks for one of them too loosely always fails
    yield running
    running.close()


@pytest.fixture(scope="session")
def busy(site: Site) -> Player:
    """A study in the middle of its life, which tests look at and do not change."""
    return busy_study(site.service, name="topics")


@pytest.fixture
def own_site(tmp_path: Path) -> Iterator[Site]:
    """An empty service of the test's own."""
    running = Site(tmp_path / "own")
    yield running
    running.close()


class Visitor:
    """Someone's window. What must never happen is noted, and fails the test at its end."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.page.set_default_timeout(SECONDS_TO_WAIT * 1000)
        self.complaints: list[str] = []
        self.page.on("console", self._console)
        self.page.on("pageerror", self._error)
        self.page.on("dialog", self._dialog)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")

    def _error(self, error: Error) -> None:
        self.complaints.append(f"error: {error}")

    def _dialog(self, dialog: Dialog) -> None:
        self.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def leave(self) -> None:
        """Others may use the window from now on."""
        self.page.unroute_all()
        self.page.goto("about:blank")
        for event, listener in (("console", self._console), ("pageerror", self._error), ("dialog", self._dialog)):
            self.page.remove_listener(event, listener)

    def open(self, site: Site, path: str) -> Page:
        self.page.goto(f"{site.url}{path}")
        return self.page

    def sign_in(self, site: Site, token: str | None = None) -> None:
        """By the printed link, without drawing the page that it leads to."""
        self.page.request.get(f"{site.url}/login?token={token or site.token}", max_redirects=0)

    def forgive(self, words: str) -> None:
        """What the browser itself notes of every refused request."""
        assert all(words in complaint for complaint in self.complaints), self.complaints
        self.complaints.clear()


@pytest.fixture(scope="session")
def admins_page(browser: Browser, site: Site) -> Iterator[Page]:
    """One for all tests, signed in: what pages load is fetched and compiled once."""
    window = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-GB")
    window.request.get(f"{site.url}/login?token={site.token}", max_redirects=0)
    yield window.new_page()
    window.close()


@pytest.fixture
def admin(admins_page: Page) -> Iterator[Visitor]:
    """Someone who may do everything on the shared service."""
    someone = Visitor(admins_page)
    yield someone
    someone.leave()
    assert someone.complaints == []


@pytest.fixture
def visitor(browser: Browser) -> Iterator[Visitor]:
    """Someone who is not signed in anywhere."""
    window = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-GB")
    someone = Visitor(window.new_page())
    yield someone
    window.close()
    assert someone.complaints == []


def panel(page: Page, name: str) -> Locator:
    """A figure, in sight: those out of sight are not drawn."""
    found = page.locator(f'[data-figure="{name}"]')
    found.scroll_into_view_if_needed()
    return found
