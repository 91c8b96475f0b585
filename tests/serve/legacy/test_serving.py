"""Promises of serving an older bundle: a file is judged as the old network would, and nobody is told that it holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from poise.errors import BundleError, WeightsNotFoundError
from poise.extract import ClipSettings
from poise.extract.encoders import tiny
from poise.extract.encoders.registry import make_encoder
from poise.extract.file_encoder import encode_file
from poise.extract.fingerprint import build_spec
from poise.serve import Predictor, convert_bundle
from poise.serve.legacy import list_differences
from poise.serve.legacy.recipe import make_specs
from tests.media import tone, write_video
from tests.serve.legacy.old_networks import make_network, old_bundle

CLIPS = ClipSettings(window_s=10.0, hop_s=10.0, min_tail_s=3.0)


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A VideoMAE and a WavLM of 768 dimensions, with random weights."""
    folder = tmp_path_factory.mktemp("encoders")
    with pytest.MonkeyPatch.context() as patch:
        for sizes in (tiny._TRANSFORMER, tiny._SPEECH):
            patch.setitem(sizes, "hidden_size", 768)
            patch.setitem(sizes, "num_hidden_layers", 1)
        video, audio = tiny.save_tiny_videomae(folder / "v"), tiny.save_tiny_wavlm(folder / "a")
    return {"video": str(video), "audio": str(audio)}


def test_a_file_is_judged_as_the_old_network_would(tmp_path: Path, encoders: dict[str, str]) -> None:
    """The recipe, the selection of clips and the network together, read as it is and made new; and no word of trust."""
    write_video(tmp_path / "answer.mp4", seconds=13.5, fps=4, size=(64, 48), sound=tone(13.5))
    network = make_network()
    old = old_bundle(tmp_path / "old.zip", network)
    convert_bundle(old, tmp_path / "new.zip")
    made = [make_encoder(encoders["video"], "video"), make_encoder(encoders["audio"], "audio")]
    found = encode_file(tmp_path / "answer.mp4", made, clips=CLIPS, decoder="pyav")
    clips = np.hstack([found["video"].embeddings, found["audio"].embeddings])
    assert clips.shape == (2, 1536)
    with torch.no_grad():
        expected = network(torch.from_numpy(clips)).numpy()
    for path in (old, tmp_path / "new.zip"):
        prediction = Predictor.from_bundle(path, encoders=encoders).predict(tmp_path / "answer.mp4")  # type: ignore[arg-type]
        np.testing.assert_allclose(list(prediction.proba.values()), expected, rtol=0, atol=1e-5)
        assert prediction.label == ("low", "moderate", "high")[int(expected.argmax())]
        assert [(clip.start_s, clip.end_s) for clip in prediction.clips] == [
            (0.0, 10.0),
            (10.0, pytest.approx(13.5, abs=0.1)),
        ]
        assert not prediction.trusted
        assert any("Unknown: this model was made by older software" in doubt for doubt in prediction.doubts)


def test_encoders_that_are_not_those_of_the_recipe_are_refused(
    tmp_path: Path, encoders: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of another size, of another kind, or nowhere."""
    old = old_bundle(tmp_path / "old.zip")
    small = str(tiny.save_tiny_videomae(tmp_path / "small"))
    with pytest.raises(BundleError, match=r"encoder\.dim: 768 / 64"):
        Predictor.from_bundle(old, encoders={**encoders, "video": small})  # type: ignore[arg-type]
    hubert = str(tiny.save_tiny_hubert(tmp_path / "hubert"))
    with pytest.raises(BundleError, match=r"encoder\.model_type: \"wavlm\" / \"hubert\""):
        Predictor.from_bundle(old, encoders={**encoders, "audio": hubert})  # type: ignore[arg-type]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsNotFoundError):
        Predictor.from_bundle(old)


def test_of_an_assumed_spec_only_what_it_says_counts(encoders: dict[str, str]) -> None:
    """And of any other everything, but for the name."""
    made = build_spec(make_encoder(encoders["video"], "video"), CLIPS, "pyav", "float32")
    assumed = make_specs()["video"]
    assert list_differences(assumed, made) == []
    other = build_spec(
        make_encoder(encoders["video"], "video"), ClipSettings(window_s=5.0, hop_s=5.0), "pyav", "float32"
    )
    assert list_differences(assumed, other) == ["clips.hop_s: 10.0 / 5.0", "clips.window_s: 10.0 / 5.0"]
    known = {name: value for name, value in assumed.items() if name != "assumed"}
    assert any(line.startswith("encoder.weights: not set") for line in list_differences(known, made))
    assert list_differences(made, made) == []
    renamed = {**made, "encoder": {**made["encoder"], "name": "other"}}
    assert list_differences(made, renamed) == []
