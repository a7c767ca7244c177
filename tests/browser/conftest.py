"""Headless Chromium, from the system's packages, on the page of a service."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from selenium import webdriver

from serve_app.api.application import Services, create_app
from serve_app.settings import TINY_EN, ApiKey, HttpSettings, ModelSettings, Settings
from serve_app.testing import FakeTranscriber, InMemoryMediaStore
from serve_app.transcript.protocols import Transcriber
from tests.browser.page import Page
from tests.loopback import serving

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--lang=en-GB",
)

Serve = Callable[..., str]


@pytest.fixture(scope="session")
def chromium() -> tuple[str, str]:
    """The browser and its driver; skips where they are not installed."""
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("Chromium is not installed: apt-get install chromium chromium-driver")
    return browser, driver


@pytest.fixture(scope="session")
def browser(chromium: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = chromium[0]
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(chromium[1]))
    yield driver
    driver.quit()


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts services for one test; gives their URLs."""
    servers = contextlib.ExitStack()

    def start(
        transcriber: Transcriber | None = None, *, enable_ui: bool = True, keys: frozenset[str] = frozenset()
    ) -> str:
        store = InMemoryMediaStore()
        services = Services(
            settings=Settings(
                models={"tiny.en": TINY_EN, "acme/multilingual": ModelSettings(source=TINY_EN.source)},
                http=HttpSettings(enable_ui=enable_ui),
            ),
            transcriber=transcriber or FakeTranscriber(),
            media_store=store,
            api_keys=lambda: [*map(ApiKey, keys)],
        )
        return servers.enter_context(serving(create_app(services)))

    with servers:
        yield start


@pytest.fixture
def page(browser: webdriver.Chrome, tmp_path: Path) -> Page:
    """The page, not yet opened; its downloads go to the test's own directory."""
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    browser.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(downloads), "eventsEnabled": False}
    )
    browser.get("about:blank")
    for kind in ("browser", "performance"):
        browser.get_log(kind)  # what earlier tests left
    return Page(browser, downloads)
