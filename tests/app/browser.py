"""A real browser and a real server for the tests that need both. No test lives here."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PATIENCE_S = 180
"""A loaded machine with few cores takes its time; nothing here measures it."""

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
)


def find_browser() -> str:
    """The Chromium of this machine; skips where there is none."""
    pytest.importorskip("playwright", reason="the browser tests need Playwright: pip install playwright")
    found = next((path for name in _NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"the browser tests need one of {', '.join(_NAMES)}, as of `apt install chromium`")
    return found


@contextmanager
def open_browser() -> Iterator[Browser]:
    """A Chromium without a window."""
    path = find_browser()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(_FLAGS), timeout=1000 * PATIENCE_S)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def serve(folder: Path, *arguments: str) -> Iterator[str]:
    """The app at a port that the system chose, with a temporary folder of its own; its address."""
    command = [sys.executable, "-c", "from poise.cli import main; main()", "app", "--port", "0", *arguments]
    environment = {**os.environ, "TMPDIR": str(folder), "OMP_NUM_THREADS": "1"}
    environment.pop("CONFIDENCE_MODEL_ZIP", None)
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
        assert process.stdout is not None
        with process.stdout as said:
            line = said.readline()
            try:
                assert line.startswith("The app is at "), (folder / "server.log").read_text()
                yield line.split()[4]
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(PATIENCE_S)


class Visitor:
    """One who visits the app: what he does, and what went wrong behind his back.

    Parameters
    ----------
    page : Page
        A page of the browser.
    url : str
        Of the app.
    """

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.fetched_elsewhere: list[str] = []
        self.complaints: list[str] = []
        page.set_default_timeout(1000 * PATIENCE_S)
        page.set_default_navigation_timeout(1000 * PATIENCE_S)
        own = (url, f"blob:{url}", "data:", f"ws{url.removeprefix('http')}")
        page.on("request", lambda one: one.url.startswith(own) or self.fetched_elsewhere.append(one.url))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def open(self, where: str = "") -> None:
        self.page.goto(f"{self.url}{where}")
        self.page.locator("h1").wait_for()

    def load_model(self, file: Path) -> None:
        """Upload a model, and wait until it is in use."""
        self.page.locator(".st-key-model-upload input[type=file]").set_input_files(file)
        self.page.locator(".st-key-recording input[type=file]").wait_for(state="attached")

    def send(self, file: Path | dict[str, object]) -> None:
        """Upload a recording."""
        self.page.locator(".st-key-recording input[type=file]").set_input_files(file)  # type: ignore[arg-type]

    def wait_for_result(self) -> None:
        self.page.locator(".timeline").wait_for()
        self.page.locator(".levels").wait_for()

    def wait_for_word(self, kind: Literal["Error", "Warning"], text: str) -> str:
        """Wait for an error or a warning with this text, and give all that it says."""
        found = self.page.get_by_test_id(f"stAlertContent{kind}").filter(has_text=text)
        found.wait_for()
        return found.inner_text()
