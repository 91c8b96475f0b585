"""Promises of what is done with an upload: the numbers of `poise predict`, under the visitor's own names."""

import json
from functools import partial
from pathlib import Path

import pytest

from poise.app.jobs import Watch
from poise.app.models import LoadedModel, ModelCache
from poise.app.recordings import Recording, describe_timings, predict_upload, preview_upload, write_result
from poise.errors import CancelledError, EncoderError, MediaError, PoiseError
from poise.serve import Predictor
from tests.app.predictions import make_prediction
from tests.media import write_video


def uploaded(file: Path, name: str = "answer.mp4") -> Recording:
    return Recording(id="1", name=name, data=file.read_bytes())


@pytest.fixture(scope="module")
def model(model_file: Path) -> LoadedModel:
    return ModelCache(Predictor).load(model_file.read_bytes(), model_file.name)


def test_an_upload_gets_what_the_command_line_says(model: LoadedModel, model_file: Path, recording: Path) -> None:
    """Label, probabilities and clips are those of `predict` on the file, and steps are told on the way."""
    watch = Watch(lambda: True)
    found = predict_upload(model, uploaded(recording, "../my answer.mp4"), watch, max_mb=10)
    expected = Predictor.from_bundle(model_file).predict(recording)
    assert found.path == "my answer.mp4"
    assert (found.label, found.proba, found.clips) == (expected.label, expected.proba, expected.clips)
    assert (watch.step.what, watch.step.share) == ("encoding", 1.0)


def test_the_result_is_what_predict_prints_and_the_model_that_said_it(model: LoadedModel, recording: Path) -> None:
    """The download holds every key of `predict --json`, and the name, digest and verdict of the model."""
    found = predict_upload(model, uploaded(recording), Watch(lambda: True), max_mb=10)
    result = json.loads(write_result(found, model))
    assert result.items() >= json.loads(json.dumps(found.to_json())).items()
    assert result["model"]["file"] == "model.zip"
    assert result["model"]["sha256"] == model.digest
    assert result["model"]["verdict"] == "too little data"


def test_an_error_names_the_upload(model: LoadedModel, tmp_path: Path) -> None:
    """What is wrong with a recording is told under the name it came with, and never where it lay."""
    mute = write_video(tmp_path / "mute.mp4", seconds=3.0, fps=12, sound=None).read_bytes()
    damaged = b"\0\0\0\x18ftypmp42" + b"\0" * 300
    predict, preview = partial(predict_upload, model), preview_upload
    for act, data, name, what in [
        (predict, mute, "/home/me/mute.mp4", r"^mute\.mp4.*audio"),
        (predict, damaged, "my.mp4", r"^my\.mp4"),
        (preview, damaged, "my.mp4", r"^my\.mp4"),
        (predict, b"", "x.mp4", "empty"),
        (preview, b"", "x.mp4", "empty"),
    ]:
        with pytest.raises(MediaError, match=what) as caught:
            act(Recording(id="1", name=name, data=data), Watch(lambda: True), max_mb=10)
        assert "poise-upload" not in str(caught.value)


def test_an_error_of_an_encoder_is_told_as_well(
    model: LoadedModel, recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no fault of the recording, and is told without private paths."""

    def fail(file: Path, **_: object) -> None:
        raise EncoderError(f"no memory for {file}")

    monkeypatch.setattr(model.predictor, "predict", fail)
    with pytest.raises(PoiseError, match=r"no memory for answer\.mp4") as caught:
        predict_upload(model, uploaded(recording), Watch(lambda: True), max_mb=10)
    assert not isinstance(caught.value, MediaError)


def test_work_that_is_cancelled_ends_as_cancelled(model: LoadedModel, recording: Path) -> None:
    """A prediction and a preview that nobody wants any more are no errors of the recording."""
    watch = Watch(lambda: True)
    watch.cancel()
    with pytest.raises(CancelledError):
        predict_upload(model, uploaded(recording), watch, max_mb=10)
    with pytest.raises(CancelledError):
        preview_upload(uploaded(recording), watch, max_mb=10)


def test_timings_are_told_in_words() -> None:
    """What took no time worth telling is left out, and so is a length that is not known."""
    told = describe_timings(make_prediction())
    assert told == "waiting for decoders 0.50 s, encoding 1.25 s, 1.80 s in all, for a recording of 15 s"
    assert describe_timings(make_prediction(duration_s=float("nan"), timings={})) == ""
