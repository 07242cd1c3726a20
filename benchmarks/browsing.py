"""What the benchmarks of the page share: headless Chromium with the page open, and what one does there."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.common.by import By

FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    *("--autoplay-policy=no-user-gesture-required", "--window-size=1280,1000"),
    *("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"),
)


class Page:
    """The page of a server in a browser."""

    def __init__(self, browser: Any, address: str) -> None:
        self.browser, self.address = browser, address
        self.open()

    def open(self) -> None:
        """Open it anew."""
        self.browser.get(self.address)
        self.wait("return document.getElementById('server').textContent === ''")

    def script(self, code: str, *values: Any) -> Any:
        """What a piece of JavaScript returns in the page."""
        return self.browser.execute_script(code, *values)

    def wait(self, code: str, seconds: float = 120) -> Any:
        """Wait until a piece of JavaScript returns something true."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if value := self.script(code):
                return value
            time.sleep(0.02)
        raise SystemExit(f"this did not happen in {seconds:g} s: {code} ({self.script(STATUS)})")

    def give(self, photo: Path, speech: Path | None = None, source: str = "file") -> None:
        """Choose photo and voice, and agree."""
        self.browser.find_element(By.ID, "photo-file").send_keys(str(photo))
        self.wait("return kptalk.photo.found")
        self.script("document.querySelector(`input[value=${arguments[0]}]`).click()", source)
        if speech is not None:
            self.browser.find_element(By.ID, "speech-file").send_keys(str(speech))
        self.script("document.getElementById('consent').checked = true")

    def make(self) -> None:
        """Press the button."""
        self.script("document.getElementById('make').click()")


STATUS = "return document.getElementById('status').textContent"


@contextmanager
def page(address: str, *flags: str) -> Iterator[Page]:
    """Chromium with the page of a server; ``flags`` are further ones of its command line."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or ""
    for flag in (*FLAGS, *flags):
        options.add_argument(flag)
    browser = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    browser.set_script_timeout(600)
    try:
        yield Page(browser, address)
    finally:
        browser.quit()
