"""Promises of the pages: what a visitor does, what is seen of it, and a sentence for all that goes wrong."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

import poise.app.pages
from poise.app import session
from poise.app.server import SCRIPT
from poise.app.session import Visit
from poise.app.settings import MODEL_VARIABLE, VARIABLE, AppSettings
from poise.heads.report.wording import figure
from tests.heads.report.studies import make_study
from tests.media import write_video

PATIENCE_S = 120

Open = Callable[..., AppTest]


@pytest.fixture
def open_app(monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Open the app as a new visitor of a server with these settings."""

    def open_it(page: str = "", **settings: Any) -> AppTest:
        monkeypatch.setenv(VARIABLE, json.dumps(asdict(AppSettings(**settings))))
        session.settings.cache_clear()
        if page:
            opened = AppTest.from_function(show_study, default_timeout=PATIENCE_S)
        else:
            opened = AppTest.from_file(str(SCRIPT), default_timeout=PATIENCE_S)
        return settle(opened.run())

    monkeypatch.delenv(MODEL_VARIABLE, raising=False)
    session.models.cache_clear()
    yield open_it
    session.settings.cache_clear()


def show_study() -> None:
    from poise.app.study_page import show_study_page

    show_study_page()


def visit_of(at: AppTest) -> Visit:
    visit: Visit = at.session_state["visit"]
    return visit


def settle(at: AppTest) -> AppTest:
    """Run the page until nothing is being done any more, as its polling does in a browser."""
    assert not at.exception
    if "visit" not in at.session_state:
        return at
    visit = visit_of(at)
    for _ in range(10):
        jobs = [job for job in (visit.loading, visit.preview, visit.predicting) if job is not None]
        waiting = [job for job in jobs if not job.is_over]
        assert all(job.wait(PATIENCE_S) for job in waiting)
        if not waiting and visit.loading is None:
            break
        at.run()
        assert not at.exception
    return at.run()


def said(elements: Any) -> str:
    """What elements say, as it is read."""
    return " ".join(str(one.value) for one in elements).replace("\\", "").replace("\u2060", "")


def upload(at: AppTest, key: str, name: str, data: bytes) -> AppTest:
    at.file_uploader(key=key).set_value((name, data, "application/octet-stream")).run()
    return settle(at)


def kinds(at: AppTest) -> set[str]:
    return {element.type for element in at.main}


def test_without_a_model_the_page_says_what_to_do(open_app: Open) -> None:
    """There is no place for a recording yet, and the settings are open."""
    at = open_app()
    assert "No model is loaded" in said(at.info)
    assert [one.key for one in at.file_uploader] == ["model-upload"]
    assert at.expander[0].label == "Model settings"
    assert not at.error


@pytest.mark.parametrize("way", ["option", "variable", "path", "upload"])
def test_a_model_comes_from_anywhere(
    open_app: Open, model_file: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """The option, CONFIDENCE_MODEL_ZIP, a path that is typed and an upload each load the same model."""
    if way == "option":
        at = open_app(model=str(model_file))
    elif way == "variable":
        monkeypatch.setenv(MODEL_VARIABLE, str(model_file))
        at = open_app()
    else:
        at = open_app()
    if way == "path":
        at.text_input(key="model-path").set_value(str(model_file))
        button(at, "Load").click().run()
        settle(at)
    if way == "upload":
        upload(at, "model-upload", "model.zip", model_file.read_bytes())
    assert "model.zip" in said(at.markdown)
    assert "low < high" in said(at.caption)
    assert [one.key for one in at.file_uploader] == ["model-upload", "recording"]


def button(at: AppTest, label: str) -> Any:
    return next(one for one in at.button if one.label == label)


def test_a_model_whose_audit_does_not_support_it_carries_a_warning(
    open_app: Open, model_file: Path, supported_file: Path
) -> None:
    """Before any recording, in the audit's words; a supported one has a mark, and its sentence beside the card."""
    at = open_app(model=str(model_file))
    assert "Too little data to tell" in said(at.warning)
    assert "too little data" in said(at.markdown)
    at = open_app(model=str(supported_file))
    assert not at.warning
    assert "verified: supported" in said(at.markdown)
    assert "How it was validated. On speakers it has not heard" in said(at.caption)


def test_the_model_card_stands_below(open_app: Open, model_file: Path) -> None:
    """Open for whoever wants it, with and without a recording."""
    at = open_app(model=str(model_file))
    assert "Model card" in [one.label for one in at.expander]
    assert "Intended use" in said(at.markdown)


@pytest.mark.parametrize("path", ["/no/such/model.zip", "", "/tmp", "a\tb<script>"])
def test_a_wrong_path_is_a_sentence_and_the_model_before_stays(open_app: Open, model_file: Path, path: str) -> None:
    """The page goes on with what it has, and says so."""
    at = open_app(model=str(model_file))
    at.text_input(key="model-path").set_value(path)
    button(at, "Load").click().run()
    settle(at)
    assert "cannot be read" in said(at.error) or "No path was given" in said(at.error)
    assert f"model.zip ({digest_of(model_file)}), which was loaded before, stays in use" in said(at.caption)
    assert "recording" in [one.key for one in at.file_uploader]


@pytest.mark.parametrize("data", [b"", b"no zip at all", b"PK\x03\x04broken"])
def test_a_wrong_zip_is_a_sentence(open_app: Open, data: bytes) -> None:
    """An upload that is no model is named, and nothing is loaded."""
    at = upload(open_app(), "model-upload", "my[model].zip", data)
    assert "my[model].zip" in said(at.error)
    assert visit_of(at).model is None


def test_reload_reads_the_file_anew(open_app: Open, model_file: Path, supported_file: Path, tmp_path: Path) -> None:
    """A model that was trained anew takes the old one's place, and says so; one that is gone leaves it."""
    file = tmp_path / "model.zip"
    file.write_bytes(model_file.read_bytes())
    at = open_app(model=str(file))
    assert at.warning
    file.write_bytes(supported_file.read_bytes())
    assert told_by(button(at, "Reload").click().run()) == [f"model.zip ({digest_of(supported_file)}) was loaded."]
    assert not at.warning
    assert f"sha256 {digest_of(supported_file)}" in said(at.caption)
    (again,) = told_by(button(at, "Reload").click().run())
    assert again.endswith("was loaded, the same as before.")
    file.unlink()
    button(at, "Reload").click().run()
    settle(at)
    assert "cannot be read" in said(at.error)
    assert visit_of(at).model is not None


def told_by(at: AppTest) -> list[str]:
    """What is told in passing once a model has been loaded."""
    job = visit_of(at).loading
    if job is not None:
        assert job.wait(PATIENCE_S)
        at.run()
    return [one.value.replace("\\", "") for one in at.toast]


def digest_of(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:8]


def test_visitors_name_no_paths_where_the_server_does_not_let_them(open_app: Open, model_file: Path) -> None:
    """The first model is loaded all the same; a study's folder is not asked for either."""
    at = open_app(model=str(model_file), allow_paths=False)
    assert "model-path" not in [one.key for one in at.text_input]
    first = visit_of(at).model
    assert first is not None
    button(at, "Reload").click().run()
    settle(at)
    assert visit_of(at).model is not first
    assert visit_of(at).model.predictor is first.predictor
    at = open_app("study", allow_paths=False)
    assert not at.text_input
    assert "without a study" in said(at.info)


def test_trust_is_asked_for_only_where_the_server_allows_it(open_app: Open) -> None:
    """The box says what it means, and is empty at first."""
    assert not open_app().checkbox
    (box,) = open_app(trust_pickle=True).checkbox
    assert not box.value
    assert "let it run code on the server" in box.label


def test_a_recording_is_predicted_and_shown(open_app: Open, model_file: Path, recording: Path) -> None:
    """There are a player, level, timeline, timings, details and a download, and the warning stays beside them."""
    at = upload(open_app(model=str(model_file)), "recording", "my answer.mp4", recording.read_bytes())
    found = visit_of(at).predicting.result
    assert found.path == "my answer.mp4"
    assert {"video", "bidi_component", "json"} <= kinds(at)
    drawn = [json.loads(one.proto.json)["html"] for one in at.main if one.type == "bidi_component"]
    assert sum('class="timeline"' in one for one in drawn) == sum('class="levels"' in one for one in drawn) == 1
    assert json.loads(at.json[0].value)["label"] == found.label
    assert "encoding" in said(at.caption)
    assert [one.label for one in at.get("download_button")] == ["Download the result", "Download the card"]
    assert "Too little data to tell" in said(at.warning)


def test_what_speaks_against_a_prediction_is_told_once(open_app: Open, supported_file: Path, tmp_path: Path) -> None:
    """A recording that is far too short, dark and silent: no level, with reasons, and no word twice."""
    import numpy as np

    write_video(
        tmp_path / "dark.mp4", seconds=0.6, fps=12, picture=lambda *_: np.zeros((2, 2, 3), np.uint8),
        sound=np.full(28_800, 1e-4, np.float32),
    )  # fmt: skip
    at = upload(open_app(model=str(supported_file)), "recording", "dark.mp4", (tmp_path / "dark.mp4").read_bytes())
    assert "No level, because it is shorter" in said(at.error).replace("*", "")
    sentences = [one.value for one in (*at.error, *at.warning, *at.info)]
    assert len(sentences) == len(set(sentences))


def test_a_new_model_predicts_the_open_recording_anew(
    open_app: Open, model_file: Path, supported_file: Path, recording: Path
) -> None:
    """What is seen is always of the model that is named."""
    at = upload(open_app(model=str(model_file)), "recording", "a.mp4", recording.read_bytes())
    first = visit_of(at).predicting
    upload(at, "model-upload", "supported.zip", supported_file.read_bytes())
    assert visit_of(at).predicting is not first
    assert visit_of(at).predicting.result.verdict == "supported"
    assert json.loads(at.json[0].value)["model"]["file"] == "supported.zip"


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("text.mp4", b"this is no film", "begins with 'this is '"),
        ("empty.mp4", b"", "empty"),
        ("letter.docx", b"PK\x03\x04" + b"\0" * 20, "letter.docx: The file is no recording that the app takes"),
        ("list.mp4", b"#EXTM3U\nfile:///etc/passwd\n", "begins with '#EXTM3U"),
        ("x.mp4", b"\0\0\0\x18ftypmp42" + b"\xff" * 5000, "x.mp4"),
        ("<img src=x onerror=alert(1)>.mp4", b"no", "<img src=x onerror=alert(1)>.mp4"),
    ],
)
def test_a_bad_recording_is_a_sentence(open_app: Open, model_file: Path, name: str, data: bytes, message: str) -> None:
    """Text, nothing, a letter, a playlist, noise and a hostile name are told, and the page is as usable as before."""
    at = upload(open_app(model=str(model_file)), "recording", name, data)
    assert message in said(at.error)
    assert not at.exception
    assert "poise-upload" not in said(at.error)
    assert "recording" in [one.key for one in at.file_uploader]


def test_a_recording_above_the_limit_is_refused(open_app: Open, model_file: Path) -> None:
    """Also where the browser and Streamlit have let it through."""
    at = open_app(model=str(model_file), max_upload_mb=1)
    upload(at, "recording", "large.mp4", b"\0\0\0\x18ftypmp42" + b"\0" * (1 << 20))
    assert "larger than 1 MB" in said(at.error)


def test_a_prediction_can_be_cancelled_and_begun_again(
    open_app: Open, model_file: Path, recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it runs there is a button; afterwards the page says so, and another button begins anew."""
    at = open_app(model=str(model_file))
    go_on = False
    predictor = visit_of(at).model.predictor
    whole = predictor.predict

    def slow(*given: Any, cancelled: Callable[[], bool], **more: Any) -> Any:
        while not go_on and not cancelled():
            time.sleep(0.01)
        return whole(*given, cancelled=cancelled, **more)

    monkeypatch.setattr(predictor, "predict", slow)
    at.file_uploader(key="recording").set_value(("a.mp4", recording.read_bytes(), "video/mp4")).run()
    job = visit_of(at).predicting
    assert at.get("progress")
    at.button(key="cancel-prediction").click().run()
    assert job.wait(PATIENCE_S)
    assert "was cancelled" in said(settle(at).info)
    go_on = True
    button(at, "Predict again").click().run()
    settle(at)
    assert visit_of(at).predicting.result is not None


def test_loading_can_be_cancelled(open_app: Open, model_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its page is usable at once, and nothing is loaded behind the visitor's back."""
    at = open_app()
    ready = False

    def slow(path: str) -> bytes:
        while not ready:
            time.sleep(0.01)
        return Path(path).read_bytes()

    monkeypatch.setattr("poise.app.settings_panel.read_model_file", slow)
    at.text_input(key="model-path").set_value(str(model_file))
    button(at, "Load").click().run()
    job = visit_of(at).loading
    at.button(key="cancel-loading").click().run()
    ready = True
    assert job.wait(PATIENCE_S)
    assert "Loading was cancelled" in said(settle(at).error)
    assert visit_of(at).model is None


def test_closing_a_recording_ends_its_work(
    open_app: Open, model_file: Path, recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is done with a recording that is taken away is ended."""
    at = open_app(model=str(model_file))

    def endless(*_: Any, cancelled: Callable[[], bool], **__: Any) -> None:
        while not cancelled():
            time.sleep(0.01)

    monkeypatch.setattr(visit_of(at).model.predictor, "predict", endless)
    at.file_uploader(key="recording").set_value(("a.mp4", recording.read_bytes(), "video/mp4")).run()
    job = visit_of(at).predicting
    at.file_uploader(key="recording").set_value(None).run()
    assert job.wait(PATIENCE_S)
    assert visit_of(at).predicting is None
    assert "video" not in kinds(at)


def test_an_error_that_nobody_expected_is_a_sentence(open_app: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its class is told, its traceback is in the server's log, and the page has not ended."""

    def fail() -> None:
        raise ZeroDivisionError("no <b>reason</b>")

    monkeypatch.setattr(poise.app.pages, "show_predict_page", fail)
    at = open_app()
    assert "Something went wrong: ZeroDivisionError: no <b>reason</b>" in said(at.error)


def test_settings_that_cannot_be_read_are_a_sentence(open_app: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where somebody started Streamlit by hand."""
    open_app()
    monkeypatch.setenv(VARIABLE, "nonsense")
    session.settings.cache_clear()
    at = AppTest.from_file(str(SCRIPT), default_timeout=PATIENCE_S).run()
    assert "Start the app with “poise app”" in said(at.error)
    assert not at.exception


@pytest.fixture(scope="module")
def study_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_study(tmp_path_factory.mktemp("pages") / "study", in_depth=False)


def test_a_study_is_opened_from_the_verdict_to_the_folds(open_app: Open, study_folder: Path) -> None:
    """The verdict is above every view: ladder, leaderboard, folds, confusion, and the whole report."""
    at = open_app("study", study=str(study_folder))
    verdict = said([*at.success, *at.warning, *at.error])
    assert "hardest test" in verdict or "harder test" in verdict or "chance" in verdict
    assert list(at.dataframe[0].value["protocol"])[-1] == "logo:speaker"
    at.get("button_group")[0].set_value("Leaderboard").run()
    assert "[majority]" in set(at.dataframe[0].value["strategy"])
    at.get("button_group")[0].set_value("Folds").run()
    folds = at.dataframe[0].value
    assert len(folds) == 5
    assert not at.exception
    at.selectbox(key="strategy-folds").set_value("majority").run()
    assert list(at.dataframe[0].value["accuracy"]) != list(folds["accuracy"])
    at.get("button_group")[0].set_value("Confusion").run()
    assert not at.exception
    assert "bidi_component" in kinds(at)
    assert [one.label for one in at.get("download_button")] == ["Download the whole report"]


@pytest.mark.parametrize("folder", ["/no/such/study", "", "/tmp", "a\0b"])
def test_what_is_no_study_is_a_sentence(open_app: Open, study_folder: Path, folder: str) -> None:
    """A folder that is not there, none at all, one with something else, and a name that cannot be one."""
    at = open_app("study", study=str(study_folder))
    at.text_input(key="study-path").set_value(folder)
    button(at, "Open").click().run()
    assert at.error
    assert not at.exception


def show_a_table() -> None:
    from poise.app.study_page import _show_table

    _show_table([{"strategy": "a", "accuracy": 0.625}, {"strategy": "b", "accuracy": None}], key="table")


def test_figures_of_a_study_are_rounded_as_in_its_report() -> None:
    """What lies in the middle too: a browser would round it up."""
    at = AppTest.from_function(show_a_table, default_timeout=PATIENCE_S).run()
    first, second = at.dataframe[0].value["accuracy"]
    assert f"{first}" == figure(0.625) == "0.62"
    assert first != second


def test_a_study_of_a_server_without_paths_is_the_one_it_was_started_with(open_app: Open, study_folder: Path) -> None:
    """It is open at once, and cannot be exchanged."""
    at = open_app("study", study=str(study_folder), allow_paths=False)
    assert at.dataframe
    assert not at.text_input
