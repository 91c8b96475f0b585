"""Take the pictures of docs/app.md: `python docs/make_screenshot.py poise-demo`, after `make demo`.

Needs the extra `dev` and a Chromium, as of `apt install chromium`. What is seen is the demo's own: its model, a
recording that it made of a ninth speaker, and its study.
"""

import sys
from pathlib import Path

from playwright.sync_api import Browser, Page

sys.path.insert(0, str(Path(__file__).parent.parent))  # the tests' browser

from poise.app.server import find_port, running
from poise.app.settings import AppSettings
from tests.app.browser import open_browser

DOCS = Path(__file__).parent
RECORDING = "ninth_speaker_moderate.mp4"
PATIENCE_MS = 180_000
SETTLED_MS = 1500


def main(demo: Path) -> None:
    """Take all pictures."""
    settings = AppSettings(model=str(demo / "model.zip"), study=str(demo / "study"))
    with open_browser() as browser, running(settings, host="127.0.0.1", port=find_port("127.0.0.1", 0)) as server:
        picture(browser, server.url, demo, DOCS / "app.png", width=1200, height=1190)
        picture(browser, server.url, demo, DOCS / "app-phone.png", width=400, height=1380)
        picture_study(browser, server.url, DOCS / "app-study.png")


def picture(browser: Browser, url: str, demo: Path, out: Path, *, width: int, height: int) -> None:
    """A prediction, from the model's name to its card."""
    page = open_page(browser, url, width, height)
    page.locator(".st-key-recording input[type=file]").set_input_files(demo / RECORDING)
    page.locator(".timeline").wait_for()
    page.evaluate("document.querySelector('.st-key-player video').currentTime = 6.4")
    page.locator(".timeline .clip").nth(1).hover()
    finish(page, out)


def picture_study(browser: Browser, url: str, out: Path) -> None:
    """A study's verdict and its ladder."""
    page = open_page(browser, f"{url}/study", 1200, 1080)
    page.locator(".report-plot svg").first.wait_for()
    finish(page, out)


def open_page(browser: Browser, url: str, width: int, height: int) -> Page:
    """A page of the app."""
    page = browser.new_page(viewport={"width": width, "height": height})
    page.set_default_timeout(PATIENCE_MS)
    page.goto(url)
    return page


def finish(page: Page, out: Path) -> None:
    """Take the picture once nothing moves any more."""
    page.wait_for_timeout(SETTLED_MS)
    page.evaluate("document.querySelector('.stMain').scrollTo(0, 0)")
    page.wait_for_timeout(SETTLED_MS)
    page.screenshot(path=str(out))
    page.close()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "poise-demo"))
