"""The page as its user sees it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select, WebDriverWait

DEADLINE_S = 30

T = TypeVar("T")


@dataclass(frozen=True)
class Page:
    browser: webdriver.Chrome
    downloads: Path

    def open(self, url: str) -> None:
        """Open the page and wait for its list of models, unless it has to ask for a key."""
        self.browser.get(url)
        self.wait(lambda: self.models() != ["whisper-1"] or self.problem())

    def find(self, element_id: str) -> WebElement:
        return self.browser.find_element(By.ID, element_id)

    def wait(self, condition: Callable[[], T]) -> T:
        """What the condition gives once it is true; the page may put other elements into their place while it looks."""
        wait = WebDriverWait(
            self.browser, DEADLINE_S, poll_frequency=0.05, ignored_exceptions=[StaleElementReferenceException]
        )
        return wait.until(lambda _: condition())

    def press(self, element_id: str) -> None:
        self.wait(self.find(element_id).is_enabled)
        self.find(element_id).click()

    def press_tab(self) -> None:
        ActionChains(self.browser).send_keys(Keys.TAB).perform()

    def transcribe(self, file: Path) -> None:
        self.find("file").send_keys(str(file))
        self.press("start")

    def choose(self, element_id: str, label: str) -> None:
        Select(self.find(element_id)).select_by_visible_text(label)

    def choices(self, element_id: str) -> list[str]:
        return [option.text for option in Select(self.find(element_id)).options if option.is_enabled()]

    def models(self) -> list[str]:
        return [str(option.get_attribute("value")) for option in Select(self.find("model")).options]

    def wait_for_end(self) -> None:
        self.wait(lambda: self.find("start").is_displayed() and self.find("status").text.startswith("Done"))

    @property
    def transcript(self) -> str:
        return self.find("transcript").text

    @property
    def status(self) -> str:
        return self.find("status").text

    def problem(self) -> str:
        """The message shown; empty when there is none."""
        return self.find("problem-text").text

    def download(self, file_format: str) -> str:
        """The content of the file that a download button gives."""
        before = set(self.downloads.iterdir())
        self.browser.find_element(By.CSS_SELECTOR, f"[data-format={file_format}]").click()

        def finished() -> list[Path]:
            # Chromium reserves the name by an empty file, which the finished one then replaces.
            there = (path for path in self.downloads.glob(f"*.{file_format}") if path not in before)
            return [path for path in there if path.stat().st_size]

        (path,) = self.wait(finished)
        return path.read_text(encoding="utf-8")

    def requests(self) -> list[tuple[str, str]]:
        """Method and URL of everything that the browser asked for since the last call, whoever was asked."""
        messages = [json.loads(entry["message"])["message"] for entry in self.browser.get_log("performance")]
        sent = [m["params"]["request"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        return [(request["method"], request["url"]) for request in sent]

    def complaints(self) -> list[str]:
        """What the browser's console says."""
        return [entry["message"] for entry in self.browser.get_log("browser")]
