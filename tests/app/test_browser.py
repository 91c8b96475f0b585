"""Promises of the app where it is used: a real browser and a real server, from the first page to the download."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from poise.serve import Predictor, read_bundle, write_bundle
from tests.app.browser import PATIENCE_S, Visitor, open_browser, serve
from tests.heads.report.studies import make_study
from tests.media import write_video

if TYPE_CHECKING:
    from playwright.sync_api import Browser

DESK, PHONE = {"width": 1280, "height": 1600}, {"width": 390, "height": 1600}
HOSTILE = "<img src=x onerror='window.hacked=1'>![x](http://evil.example/x.png)"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server has its temporary files."""
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="module")
def url(browser: Browser, temporary: Path) -> Iterator[str]:
    with serve(temporary) as address:
        yield address


def visit(browser: Browser, url: str, **settings: Any) -> Visitor:
    return Visitor(browser.new_context(viewport=settings.pop("viewport", DESK), **settings).new_page(), url)


@pytest.fixture
def visitor(browser: Browser, url: str) -> Iterator[Visitor]:
    """One who has just come, and who finds that nothing was fetched from elsewhere and no script failed."""
    someone = visit(browser, url)
    someone.open()
    yield someone
    assert not someone.fetched_elsewhere
    assert not someone.complaints
    someone.page.context.close()


@pytest.fixture(scope="module")
def shown(browser: Browser, url: str, supported_file: Path, recording: Path) -> Iterator[Visitor]:
    """One who looks at the prediction of a recording; tests only look, and play."""
    someone = visit(browser, url)
    someone.open()
    someone.load_model(supported_file)
    someone.send(recording)
    someone.wait_for_result()
    yield someone
    someone.page.context.close()


def test_the_page_opens_without_a_model_dark_and_alone(browser: Browser, url: str) -> None:
    """It says what to do, is dark whatever the machine prefers, and fetches nothing from anywhere else."""
    someone = visit(browser, url, color_scheme="light")
    someone.open()
    someone.page.get_by_text("No model is loaded").wait_for()
    colour = someone.page.locator(".stApp").evaluate("e => getComputedStyle(e).backgroundColor")
    assert max(int(part) for part in colour.strip("rgb()").split(",")) < 60
    load = someone.page.get_by_role("button", name="Load").first  # in the theme's light blue
    assert load.evaluate("e => getComputedStyle(e).color") == "rgb(0, 0, 0)"
    assert not someone.fetched_elsewhere
    assert not someone.complaints
    someone.page.context.close()


def test_a_model_is_loaded_from_a_path(visitor: Visitor, model_file: Path) -> None:
    """Typed and loaded, with its verdict; a failed audit is a visible warning before anything is predicted."""
    visitor.page.get_by_label("ZIP path on the server").fill(str(model_file))
    visitor.page.get_by_role("button", name="Load", exact=False).first.click()
    visitor.page.locator(".st-key-recording").wait_for()
    visitor.wait_for_word("Warning", "Too little data to tell")
    visitor.page.locator(".stMarkdownBadge").filter(has_text="too little data").wait_for()


def test_the_player_plays(shown: Visitor) -> None:
    """The browser decodes the recording, and its clock runs."""
    player = shown.page.locator(".st-key-player video")
    assert player.evaluate("async e => { e.muted = true; await e.play(); return e.duration }") == pytest.approx(
        6, abs=0.2
    )
    shown.page.wait_for_function("document.querySelector('.st-key-player video').currentTime > 0.2")
    assert player.evaluate("e => { e.pause(); return [e.videoWidth, e.videoHeight] }") == [96, 64]


def test_the_prediction_is_that_of_the_library(shown: Visitor, supported_file: Path, recording: Path) -> None:
    """Level and bars are what `Predictor` says, in the order of the levels."""
    expected = Predictor.from_bundle(supported_file).predict(recording)
    rows = shown.page.locator(".levels .row")
    assert [text.strip() for text in rows.locator("dt").all_inner_texts()] == list(expected.proba)
    shares = [float(text.strip(" \u00a0%")) for text in rows.locator(".share").all_inner_texts()]
    assert shares == [round(100 * share) for share in expected.proba.values()]
    level = shown.page.locator(".levels .level").inner_text()
    assert level == ("No level" if expected.abstains else expected.label)


def test_the_timeline_tells_each_clip_and_plays_it(shown: Visitor) -> None:
    """Its clips stand in order under the player; to point at one tells it, to click plays its seconds and no more."""
    clips = shown.page.locator(".timeline .clip")
    assert clips.count() == 3
    box, player = clips.nth(1).bounding_box(), shown.page.locator(".st-key-player video").bounding_box()
    assert box is not None
    assert player is not None
    assert box["height"] > 30
    assert box["y"] > player["y"] + player["height"] - 1
    clips.nth(1).hover()
    told = shown.page.locator(".timeline .told")
    assert told.inner_text().startswith("2 to 4 s · counts for ")
    assert "alone it says" in told.inner_text()
    shown.page.locator(".st-key-player video").evaluate(
        "e => { e.muted = true; window.landed = []; e.onseeked = () => landed.push(e.currentTime) }"
    )
    clips.nth(2).click()
    shown.page.wait_for_function("landed.length == 1")
    clips.nth(1).click()
    shown.page.wait_for_function("landed.length == 2")
    assert shown.page.evaluate("landed") == pytest.approx([4, 2], abs=0.5)
    # a slow machine plays a little more of it, but not on to the end
    shown.page.wait_for_function(
        "(e => e.paused && e.currentTime >= 4)(document.querySelector('.st-key-player video'))"
    )
    assert shown.page.evaluate("document.querySelector('.st-key-player video').currentTime") < 5.9
    assert shown.page.locator(".timeline .playhead").is_visible()


def test_the_timeline_can_be_used_by_keyboard(shown: Visitor) -> None:
    """Clips are buttons with a name: they can be reached, are read out, and obey the space bar."""
    clip = shown.page.locator(".timeline").get_by_role("button", name="Play 4 to 6 s")
    clip.focus()
    assert shown.page.locator(".timeline .told").inner_text().startswith("4 to 6 s")
    shown.page.keyboard.press("Space")
    shown.page.wait_for_function("document.querySelector('.st-key-player video').currentTime >= 4")


def test_the_result_can_be_downloaded(shown: Visitor, recording: Path) -> None:
    """As JSON, under the recording's name, with the model that said it."""
    with shown.page.expect_download() as waiting:
        shown.page.get_by_role("button", name="Download the result").click()
    assert waiting.value.suggested_filename == "r0.json"
    result = json.loads(Path(waiting.value.path()).read_text())
    assert result["path"] == recording.name
    assert len(result["clips"]) == 3
    assert result["model"]["file"] == "supported.zip"


def test_timings_details_and_card_stand_below(shown: Visitor) -> None:
    """Seconds in words, everything as JSON, how the model was validated, and its card."""
    assert shown.page.get_by_text("in all, for a recording of 6.00 s").is_visible()
    assert shown.page.get_by_text("How it was validated.").is_visible()
    shown.page.locator("summary").filter(has_text="Details as JSON").click()
    shown.page.get_by_test_id("stJson").wait_for()
    shown.page.locator("summary").filter(has_text="Model card").click()
    shown.page.get_by_text("Intended use").first.wait_for()


def test_a_recording_that_browsers_do_not_play_gets_a_copy_that_they_do(
    visitor: Visitor, model_file: Path, tmp_path: Path
) -> None:
    """MPEG-4 in AVI is predicted as it is, and played as H.264."""
    film = write_video(
        tmp_path / "old.avi", seconds=6.0, fps=12, codec="mpeg4", sound_codec="mp3", time_base_per_frame=1
    )
    visitor.load_model(model_file)
    visitor.send(film)
    visitor.wait_for_result()
    assert visitor.page.get_by_text("smaller copy that browsers can play").is_visible()
    player = visitor.page.locator(".st-key-player video")
    assert player.evaluate("async e => { e.muted = true; await e.play(); return e.videoWidth }") == 96
    visitor.page.wait_for_function("document.querySelector('.st-key-player video').currentTime > 0.1")


def test_a_bad_file_is_a_sentence_and_the_next_one_works(
    visitor: Visitor, model_file: Path, recording: Path, tmp_path: Path
) -> None:
    """Under its own name, as text, without a trace of the program; then a good one is predicted."""
    name = "<img src=x onerror='window.hacked=1'>.mp4"
    visitor.load_model(model_file)
    visitor.send({"name": name, "mimeType": "video/mp4", "buffer": b"\0\0\0\x18ftypmp42" + b"\xff" * 3000})
    visitor.wait_for_word("Error", name)
    assert "Traceback" not in visitor.page.content()
    assert "poise-upload" not in visitor.page.content()
    assert visitor.page.evaluate("window.hacked") is None
    visitor.send({"name": "letter.docx", "mimeType": "application/msword", "buffer": b"PK\x03\x04" + b"\0" * 3000})
    visitor.wait_for_word("Error", "letter.docx: The file is no recording that the app takes")
    visitor.send(recording)
    visitor.wait_for_result()


def test_a_wrong_zip_is_a_sentence(visitor: Visitor, tmp_path: Path) -> None:
    """A ZIP with something else in it, and texts that are called one or not, are told; nothing is loaded."""
    import zipfile

    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("notes.txt", "no model")
    for name in ("text.zip", "text.txt"):
        (tmp_path / name).write_text("no ZIP")
    for name in ("other.zip", "text.zip", "text.txt"):
        visitor.page.locator(".st-key-model-upload input[type=file]").set_input_files(tmp_path / name)
        visitor.wait_for_word("Error", name)
    assert visitor.page.locator(".st-key-recording").count() == 0


def test_a_page_that_is_loaded_anew_begins_anew(
    visitor: Visitor, model_file: Path, recording: Path, temporary: Path
) -> None:
    """Also in the middle of a prediction; what was being done is ended and what lay on the disk is gone."""
    visitor.load_model(model_file)
    visitor.send(recording)
    visitor.page.locator(".st-key-cancel-prediction, .levels").first.wait_for()
    visitor.page.reload()
    visitor.page.get_by_text("No model is loaded").wait_for()
    visitor.load_model(model_file)
    visitor.send(recording)
    visitor.wait_for_result()
    wait_until_empty(temporary)


def wait_until_empty(temporary: Path) -> None:
    """No upload lies anywhere in the server's folder any more."""
    deadline = time.monotonic() + PATIENCE_S
    while list(temporary.rglob("poise-upload-*")):
        assert time.monotonic() < deadline, list(temporary.rglob("*"))
        time.sleep(0.2)


def test_two_visitors_do_not_meet(
    browser: Browser, url: str, model_file: Path, supported_file: Path, recording: Path
) -> None:
    """Each has his own model and recording, also when both are predicted at once."""
    first, second = visit(browser, url), visit(browser, url)
    for someone, model in ((first, model_file), (second, supported_file)):
        someone.open()
        someone.load_model(model)
    first.send(recording)
    second.send(recording.with_name("r1.mp4"))
    for someone in (first, second):
        someone.wait_for_result()
    first.wait_for_word("Warning", "Too little data to tell")
    assert second.page.get_by_text("Too little data to tell").count() == 0
    for someone, name in ((first, "r0.mp4"), (second, "r1.mp4")):
        someone.page.locator("summary").filter(has_text="Details as JSON").click()
        someone.page.get_by_test_id("stJson").get_by_text(name).wait_for()
        someone.page.context.close()


def test_names_of_levels_cannot_do_anything(
    visitor: Visitor, model_file: Path, recording: Path, tmp_path: Path
) -> None:
    """Markup in a model's level is shown as text wherever the level stands, and nothing is run or fetched."""
    bundle = read_bundle(model_file)
    write_bundle(tmp_path / "hostile.zip", replace(bundle, label_names=(HOSTILE, "high")))
    visitor.load_model(tmp_path / "hostile.zip")
    visitor.send(recording)
    visitor.wait_for_result()
    visitor.page.locator("summary").filter(has_text="Model card").click()
    visitor.page.get_by_text("Intended use").first.wait_for()
    assert HOSTILE in visitor.page.locator(".levels dt").first.inner_text()
    assert visitor.page.locator("img[src*=evil], img[src=x]").count() == 0
    assert visitor.page.evaluate("window.hacked") is None


def test_a_study_is_opened(visitor: Visitor, tmp_path_factory: pytest.TempPathFactory) -> None:
    """On its own page: the verdict, the ladder as a drawing, and every other view."""
    folder = make_study(tmp_path_factory.mktemp("browser") / "study", in_depth=False)
    visitor.page.get_by_role("link", name="Study").click()
    visitor.page.get_by_label("Study folder on the server").fill(str(folder))
    visitor.page.get_by_role("button", name="Open").click()
    visitor.page.locator(".report-plot svg").first.wait_for()
    assert visitor.page.locator(".facts dd").count() == 6
    for name, found in (
        ("Leaderboard", "[data-testid=stDataFrame]"),
        ("Folds", "[data-testid=stVegaLiteChart] canvas, [data-testid=stVegaLiteChart] svg"),
        ("Confusion", ".report-plot svg"),
    ):
        visitor.page.get_by_role("radiogroup").or_(visitor.page.get_by_test_id("stButtonGroup")).get_by_text(
            name
        ).click()
        visitor.page.locator(found).first.wait_for()
    with visitor.page.expect_download() as waiting:
        visitor.page.get_by_role("button", name="Download the whole report").click()
    assert Path(waiting.value.path()).read_text().startswith("<!DOCTYPE html>")


def test_a_recording_stays_open_while_the_other_page_is_looked_at(
    visitor: Visitor, model_file: Path, recording: Path
) -> None:
    """Its result is there again at once, under its name, until the visitor closes it."""
    visitor.load_model(model_file)
    visitor.send(recording)
    visitor.wait_for_result()
    visitor.page.get_by_role("link", name="Study").click()
    visitor.page.get_by_label("Study folder on the server").wait_for()
    visitor.page.get_by_role("link", name="Predict").click()
    visitor.wait_for_result()
    visitor.page.get_by_text("r0.mp4 is open.").wait_for()
    visitor.page.get_by_role("button", name="Close", exact=True).click()
    visitor.page.locator(".timeline").wait_for(state="detached")


def test_a_phone_shows_the_level_first_and_nothing_beside_the_page(
    browser: Browser, url: str, model_file: Path, recording: Path
) -> None:
    """Nothing is wider than the page, both pages are named above it, and the level stands above the player."""
    someone = visit(browser, url, viewport=PHONE)
    someone.open()
    links = someone.page.locator(".st-key-pages a")
    for number, heading in ((1, "Can these figures"), (0, "The level of an answer")):
        links.nth(number).click()
        someone.page.locator("h1").filter(has_text=heading).wait_for()
        open_page, other = (links.nth(place).locator("p") for place in (number, 1 - number))
        weights = [one.evaluate("e => Number(getComputedStyle(e).fontWeight)") for one in (open_page, other)]
        assert weights[0] > weights[1]
    someone.load_model(model_file)
    someone.send(recording)
    someone.wait_for_result()
    assert someone.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    level, player = someone.page.locator(".levels").bounding_box(), someone.page.locator("video").bounding_box()
    assert level is not None
    assert player is not None
    assert level["y"] < player["y"]
    assert player["width"] == pytest.approx(level["width"], abs=2)
    someone.page.context.close()


def test_a_large_recording_is_refused_a_model_is_not_and_light_is_light(
    browser: Browser, tmp_path: Path, model_file: Path
) -> None:
    """A server with --max-upload 1 and --theme light: a recording of 2 MB is refused in words, a model is read."""
    with serve(tmp_path, "--max-upload", "1", "--theme", "light", "--model", str(model_file), "--no-paths") as url:
        someone = visit(browser, url, color_scheme="dark")
        someone.open()
        someone.page.locator(".st-key-recording input[type=file]").wait_for(state="attached")
        colour = someone.page.locator(".stApp").evaluate("e => getComputedStyle(e).backgroundColor")
        assert min(int(part) for part in colour.strip("rgb()").split(",")) > 200
        noise = np.random.default_rng(0).bytes(2 << 20)
        someone.send({"name": "large.mp4", "mimeType": "video/mp4", "buffer": noise})
        someone.page.get_by_text("1.0MB or smaller").or_(someone.page.get_by_text("must be 1")).first.wait_for()
        assert someone.page.locator(".levels").count() == 0
        assert someone.page.get_by_label("ZIP path on the server").count() == 0
        someone.page.get_by_text("Model settings").click()
        someone.page.locator(".st-key-model-upload input[type=file]").set_input_files(
            {"name": "large.zip", "mimeType": "application/zip", "buffer": noise}
        )
        someone.wait_for_word("Error", "large.zip")
        someone.page.context.close()
