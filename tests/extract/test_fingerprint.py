"""Promises of the fingerprint: all that changes the numbers is in it, and nothing is added without a decision."""

import copy
import dataclasses
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from poise.extract.clips import ClipSettings
from poise.extract.encoders import tiny
from poise.extract.encoders.registry import make_encoder
from poise.extract.encoders.speech import SpeechEncoder
from poise.extract.encoders.tiny import save_tiny_wavlm
from poise.extract.fingerprint import build_spec
from poise.extract.pipeline import extract
from poise.store.schema import fingerprint, set_name, spec_differences

COMMON = {
    "schema",
    "modality",
    "dtype",
    "clips.window_s",
    "clips.hop_s",
    "clips.min_tail_s",
    "decoder.backend",
    "decoder.contract",
    "encoder.name",
    "encoder.dim",
}
VIDEOMAE = COMMON | {
    "encoder.model_type",
    "encoder.weights",
    "encoder.n_frames",
    "encoder.frame_times",
    "encoder.preprocessing.resize.shortest_edge",
    "encoder.preprocessing.crop",
    "encoder.preprocessing.mode",
    "encoder.preprocessing.rescale",
    "encoder.preprocessing.mean",
    "encoder.preprocessing.std",
    "encoder.layer",
    "encoder.pooling",
    "encoder.precision",
}
WAVLM = COMMON | {
    "encoder.model_type",
    "encoder.weights",
    "encoder.sample_rate_hz",
    "encoder.do_normalize",
    "encoder.window",
    "encoder.layer",
    "encoder.pooling",
    "encoder.precision",
}
VIVIT = VIDEOMAE | {"encoder.preprocessing.offset"}
WHISPER = WAVLM - {"encoder.do_normalize"} | {
    "encoder.log_mel.feature_size",
    "encoder.log_mel.hop_length",
    "encoder.log_mel.n_fft",
    "encoder.log_mel.chunk_length",
    "encoder.log_mel.padding_value",
}
OF_LAYERS = {"encoder.layers", "encoder.n_layers"}
_MOTION_SETTINGS = """
    algorithm rate_hz height_px width_px samples_per_pixel luma grid bands_hz.slow bands_hz.middle bands_hz.fast
    noise_floor active_change still_active_share burst.mads burst.floor_per_s foreground_std crossing_speed_per_s
    flow.n_levels flow.n_iterations flow.blur_px flow.gradient_floor flow.max_share features
"""
_PROSODY_SETTINGS = """
    algorithm sample_rate_hz hop_s level.frame_s level.span_db level.silent_peak pitch.low_hz pitch.high_hz
    pitch.frame_s pitch.hop_s pitch.voicing_threshold pitch.silence_threshold pitch.octave_cost
    pitch.octave_jump_cost pitch.voicing_cost pitch.n_candidates pitch.reference_hz pause.quiet_loud_percentiles
    pause.below_peak_db pause.share_of_range pause.min_range_db pause.min_pause_s pause.min_speech_s
    syllable.blur_s syllable.dip_db syllable.apart_s steady.semitones steady.flux steady.min_s
    rhythm_bands_hz.phrase rhythm_bands_hz.syllable rhythm_bands_hz.sound spectrum.n_fft spectrum.floor
    spectrum.tilt_hz spectrum.hammarberg_hz spectrum.n_mels spectrum.n_mfcc spectrum.n_mfcc_spread features
"""
_LOG_MEL = {f"encoder.log_mel.{name}" for name in ["scale", "n_fft", "hop", "floor", "range_db", "divisor", "offset"]}
EFFNET = VIDEOMAE - {"encoder.layer", "encoder.pooling", "encoder.precision"} | {"encoder.statistics"}
SPEECH_EMBEDDING = (
    COMMON
    | _LOG_MEL
    | {
        "encoder.model_type",
        "encoder.weights",
        "encoder.sample_rate_hz",
        "encoder.window",
        "encoder.statistics",
    }
)
MOTION = COMMON | {f"encoder.{name}" for name in _MOTION_SETTINGS.split()}
PROSODY = COMMON | {f"encoder.{name}" for name in _PROSODY_SETTINGS.split()}

SETTINGS = {
    "videomae": VIDEOMAE,
    "timesformer": VIDEOMAE,
    "vivit": VIVIT,
    "vjepa2": VIDEOMAE,
    "wavlm": WAVLM,
    "hubert": WAVLM,
    "wav2vec2": WAVLM,
    "whisper": WHISPER,
    "videomae all": VIDEOMAE - {"encoder.layer"} | OF_LAYERS,
    "wavlm all": WAVLM - {"encoder.layer"} | OF_LAYERS,
    "effnet-lite0": EFFNET,
    "speech-embedding": SPEECH_EMBEDDING,
    "motion": MOTION,
    "prosody": PROSODY,
}
"""What the spec of every kind of encoder holds."""

IN_THE_SPEC = {"video", "audio", "clips", "n_frames", "layers", "pooling", "precision", "decoder", "dtype"}
CHANGES_NO_NUMBER = {
    "manifest": "which recordings, and not how",
    "store": "where to",
    "device": "where the model runs; floating point may differ in the last digits",
    "workers": "how many decode at once",
    "engine": "where it is computed",
    "limits": "when a decoder is given up",
    "retry_failed": "which recordings",
    "shard": "which recordings",
    "progress": "what is told meanwhile",
}


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The spec of every kind of encoder."""
    folder = tmp_path_factory.mktemp("models")
    found = {}
    for name in SETTINGS:
        family, _, layers = name.partition(" ")
        video = {"videomae", "timesformer", "vivit", "vjepa2", "effnet-lite0", "motion"}
        modality: Any = "video" if family in video else "audio"
        source = family
        if family not in {"effnet-lite0", "speech-embedding", "motion", "prosody"}:
            source = str(folder / family)
            getattr(tiny, f"save_tiny_{family}")(source)
        options: Any = {"layers": layers} if layers else {}
        encoder = make_encoder(source, modality, n_frames=None, **options)
        found[name] = build_spec(encoder, ClipSettings(), "pyav", "float16")
    return found


def leaves(value: Any, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, (*prefix, name))
    else:
        yield prefix


@pytest.mark.parametrize(("name", "settings"), SETTINGS.items())
def test_every_setting_of_the_fingerprint_is_listed_here(
    specs: dict[str, dict[str, Any]], name: str, settings: set[str]
) -> None:
    """A setting added or taken away makes all stored features another set: that needs a decision, and this list."""
    assert {".".join(path) for path in leaves(specs[name])} == settings


@pytest.mark.parametrize("name", SETTINGS)
def test_changing_any_one_setting_makes_another_feature_set(specs: dict[str, dict[str, Any]], name: str) -> None:
    """Whichever leaf of the spec changes, the fingerprint does, and the difference is told by its name."""
    spec = specs[name]
    seen = {fingerprint(spec)}
    for path in leaves(spec):
        changed = copy.deepcopy(spec)
        inner = changed
        for step in path[:-1]:
            inner = inner[step]
        inner[path[-1]] = [inner[path[-1]], "changed"]
        assert [difference.split(":")[0] for difference in spec_differences(spec, changed)] == [".".join(path)]
        seen.add(fingerprint(changed))
    assert len(seen) == 1 + len(list(leaves(spec)))


def test_the_weight_free_encoders_have_the_fingerprints_they_always_had(specs: dict[str, dict[str, Any]]) -> None:
    """A golden value: if it changes, everybody's stored features are extracted anew."""
    assert set_name(specs["motion"]) == "motion@95a69143db24eb57"
    assert set_name(specs["prosody"]) == "prosody@bfa6fdb0fc2e023b"


def test_the_encoders_with_packaged_weights_have_the_fingerprints_they_always_had(
    specs: dict[str, dict[str, Any]],
) -> None:
    """Golden values too: the weights are those of one release, and a new one must show whether it has others."""
    assert set_name(specs["effnet-lite0"]) == "effnet-lite0@21a22d28deab6859"
    assert set_name(specs["speech-embedding"]) == "speech-embedding@899228d3d015495d"


def test_the_first_pretrained_encoders_have_the_settings_they_always_had(specs: dict[str, dict[str, Any]]) -> None:
    """Golden values, but for the weights' own hash: choices that came later left the default as it was."""
    assert specs["videomae"]["encoder"] | {"weights": ""} == {
        "name": "videomae",
        "dim": 64,
        "model_type": "videomae",
        "weights": "",
        "preprocessing": {
            "resize": {"shortest_edge": 224},
            "mode": "bilinear, antialiased, uint8",
            "crop": [224, 224],
            "rescale": 0.00392156862745098,
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
        },
        "n_frames": 16,
        "frame_times": "centres of equal parts",
        "layer": "last",
        "pooling": "mean over patch tokens",
        "precision": "float32",
    }
    assert specs["wavlm"]["encoder"] | {"weights": ""} == {
        "name": "wavlm",
        "dim": 64,
        "model_type": "wavlm",
        "weights": "",
        "sample_rate_hz": 16_000,
        "do_normalize": True,
        "window": "own length, never padded",
        "layer": "last",
        "pooling": "mean over frames",
        "precision": "float32",
    }


def test_every_parameter_of_extract_is_in_the_spec_or_changes_no_number() -> None:
    """A new parameter fails here until it was decided which."""
    assert set(inspect.signature(extract).parameters) == IN_THE_SPEC | set(CHANGES_NO_NUMBER)
    assert {field.name for field in dataclasses.fields(ClipSettings)} == {"window_s", "hop_s", "min_tail_s"}


@pytest.mark.parametrize("what", ["weights", "config", "preprocessor"])
def test_content_of_the_checkpoint_counts_and_its_place_does_not(tmp_path: Path, what: str) -> None:
    """Other weights, configuration or preprocessing are another feature set; a copy elsewhere is the same."""
    save_tiny_wavlm(tmp_path / "one" / "model", seed=0)
    save_tiny_wavlm(tmp_path / "two" / "model", seed=1 if what == "weights" else 0)
    if what != "weights":
        path = tmp_path / "two" / "model" / {"config": "config.json", "preprocessor": "preprocessor_config.json"}[what]
        path.write_text(path.read_text().rstrip().removesuffix("}") + ', "added": 1}')
    save_tiny_wavlm(tmp_path / "three" / "model", seed=0)

    def spec(folder: str) -> dict[str, Any]:
        return build_spec(make_encoder(tmp_path / folder / "model", "audio"), ClipSettings(), "pyav", "float16")

    assert fingerprint(spec("one")) == fingerprint(spec("three")) != fingerprint(spec("two"))


def test_the_revision_of_weights_is_known_and_not_in_the_fingerprint(tmp_path: Path) -> None:
    """It is kept with the run: the same bytes under another commit are the same encoder."""
    save_tiny_wavlm(tmp_path / "snapshots" / "0a1b2c")
    encoder = make_encoder(tmp_path / "snapshots" / "0a1b2c", "audio")
    assert isinstance(encoder, SpeechEncoder)
    assert encoder.origin()["revision"] == "0a1b2c"
    assert "revision" not in encoder.settings()
