"""Promises to packages that bring encoders: found by name, called with what they ask for, named in errors."""

import pickle
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from poise.errors import EncoderError, ExtractSettingsError, UnknownEncoderError
from poise.extract.clips import ClipSettings
from poise.extract.encoders.base import AudioEncoder, PreparedClip, VideoEncoder
from poise.extract.encoders.plugins import plugin_names
from poise.extract.encoders.registry import make_encoder
from poise.extract.fingerprint import build_spec

MODULE = """
    import numpy as np
    from poise.extract.encoders.base import AudioEncoder, VideoEncoder

    class Loudness(AudioEncoder):
        name, dim, n_layers, sample_rate_hz, min_samples, max_clip_s = "own name", 1, 2, 8_000, 80, 60.0
        uses_every_core = True

        def __init__(self, *, device="none"):
            self.device = device

        def settings(self):
            return {"window": "all", "n_layers": 2}

        def origin(self):
            return {"device": self.device}

        def load(self):
            self.batch_size = 5

        def prepare_samples(self, samples):
            return samples * 2

        def encode(self, clips):
            return np.array([[[np.abs(clip.data).max()], [len(clip.data)]] for clip in clips], np.float32)

    class Grey(VideoEncoder):
        name, dim = "grey", 1

        def __init__(self, n_frames=3, other="left alone"):
            self.n_frames, self.other = n_frames, other

        def settings(self):
            return {"n_frames": self.n_frames}

        def frame_times(self, start_s, end_s):
            return np.linspace(start_s, end_s, self.n_frames, endpoint=False)

        def prepare_frame(self, frame):
            return frame.mean(axis=(0, 1))

        def encode(self, clips):
            return np.array([[clip.data.mean()] for clip in clips], np.float32)

    def broken():
        raise RuntimeError("no licence")

    def number():
        return 7
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put a real, tiny distribution on sys.path."""

    def put(name: str, points: str, *, version: str = "1.2") -> Path:
        folder = tmp_path / name
        info = folder / f"{name}-{version}.dist-info"
        info.mkdir(parents=True)
        (folder / f"{name}_encoders.py").write_text(textwrap.dedent(MODULE))
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[poise.encoders]\n{points}\n")
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.delitem(sys.modules, f"{name}_encoders", raising=False)
        return folder

    return put


def clip_of(data: np.ndarray) -> PreparedClip:
    return PreparedClip(start_s=0.0, end_s=1.0, data=data, times_s=np.zeros(0))


def test_an_encoder_of_another_package_is_found_by_its_name(install) -> None:
    """Its own numbers come out, under the name of the entry point, with the package in the spec."""
    install("acme", "acme-loudness = acme_encoders:Loudness")
    encoder = make_encoder("acme-loudness", "audio", device="cpu")
    assert isinstance(encoder, AudioEncoder)
    assert (encoder.name, encoder.shape, encoder.sample_rate_hz, encoder.min_samples) == (
        "acme-loudness",
        (2, 1),
        8_000,
        80,
    )
    assert encoder.max_clip_s == 60.0
    assert encoder.uses_every_core
    assert encoder.origin() == {"device": "cpu"}
    encoder.load()
    assert encoder.batch_size == 5
    samples = encoder.prepare_samples(np.array([0.25, -0.5], np.float32))
    np.testing.assert_array_equal(encoder.encode([clip_of(samples)]), [[[1.0], [2.0]]])
    spec = build_spec(encoder, ClipSettings(), "pyav", "float16")
    assert spec["encoder"] == {
        "name": "acme-loudness",
        "dim": 1,
        "n_layers": 2,
        "window": "all",
        "distribution": {"name": "acme", "version": "1.2"},
    }
    assert pickle.loads(pickle.dumps(encoder.for_reading())).prepare_samples(samples).max() == 1.0


def test_it_is_given_the_arguments_that_it_declares(install) -> None:
    """And no others; a number of frames only if there is one."""
    install("acme", "acme-grey = acme_encoders:Grey")
    encoder = make_encoder("acme-grey", "video", n_frames=4, device="cpu")
    assert isinstance(encoder, VideoEncoder)
    assert len(encoder.frame_times(0.0, 1.0)) == 4
    assert encoder.prepare_frame(np.full((2, 2, 3), 9, np.uint8)).tolist() == [9.0, 9.0, 9.0]
    assert encoder.settings() == {"n_frames": 4, "distribution": {"name": "acme", "version": "1.2"}}
    assert make_encoder("acme-grey", "video", n_frames=None).settings()["n_frames"] == 3


def test_the_version_of_the_package_is_in_the_spec(install) -> None:
    """Nothing else tells whether its numbers changed."""
    install("acme", "acme-grey = acme_encoders:Grey", version="2.0")
    assert make_encoder("acme-grey", "video").settings()["distribution"] == {"name": "acme", "version": "2.0"}


def test_names_of_poise_win(install) -> None:
    """A package cannot change what a name of poise means."""
    install("acme", "motion = acme_encoders:Grey\nvideomae-base = acme_encoders:Grey")
    assert "distribution" not in make_encoder("motion", "video").settings()
    with pytest.raises(EncoderError) as caught:
        make_encoder("videomae-base", "audio")
    assert "acme" not in str(caught.value)


def test_one_name_in_two_packages_is_an_error(install) -> None:
    """Both are named."""
    install("acme", "tone = acme_encoders:Loudness")
    install("umbrella", "tone = umbrella_encoders:Loudness")
    with pytest.raises(EncoderError, match=r"2 packages bring an encoder 'tone': acme 1.2, umbrella 1.2"):
        make_encoder("tone", "audio")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("acme_encoders:broken", "cannot be made: RuntimeError: no licence"),
        ("acme_encoders:nothing", "cannot be made: AttributeError"),
        ("acme_missing:Loudness", "cannot be made: ModuleNotFoundError"),
        ("acme_encoders:number", "is a int. Expected a VideoEncoder or an AudioEncoder"),
        ("builtins:dict", "is a dict. Expected a VideoEncoder"),
    ],
)
def test_a_package_that_brings_no_encoder_is_named(install, target, message) -> None:
    """Whatever goes wrong in it."""
    install("acme", f"tone = {target}")
    with pytest.raises(EncoderError, match=f"The encoder 'tone' of acme 1.2 {message}"):
        make_encoder("tone", "audio")


def test_an_encoder_of_the_other_modality_is_refused(install) -> None:
    """The message says where it belongs."""
    install("acme", "tone = acme_encoders:Loudness")
    with pytest.raises(UnknownEncoderError, match="of acme 1.2 is for audio, not video. Give it with --audio"):
        make_encoder("tone", "video")


def test_unknown_names_are_told_what_packages_bring(install) -> None:
    """As a list, and as a suggestion."""
    install("acme", "acme-grey = acme_encoders:Grey")
    assert "acme-grey" in plugin_names()
    with pytest.raises(UnknownEncoderError, match=r"Did you mean 'acme-grey'\? .*another package brings \(acme-grey\)"):
        make_encoder("acme-gray", "video")


@pytest.mark.parametrize("options", [{"layers": "all"}, {"layers": [1]}, {"pooling": "cls"}, {"precision": "float16"}])
@pytest.mark.parametrize("name", ["acme-grey", "motion"])
def test_choices_that_only_transformers_have_are_refused(install, name, options) -> None:
    """For encoders of other packages and for those without weights."""
    install("acme", "acme-grey = acme_encoders:Grey")
    (option,) = options
    with pytest.raises(ExtractSettingsError, match=f"{name} is no pretrained .* no {option} to choose"):
        make_encoder(name, "video", **options)
