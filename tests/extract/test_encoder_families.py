"""Promises of every family of pretrained encoders: transformers' own numbers, layers, pooling, and travel by pickle."""

import json
import pickle
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from poise.errors import EncoderError, ExtractSettingsError
from poise.extract.encoders import tiny
from poise.extract.encoders.base import Encoder, PreparedClip
from poise.extract.encoders.readout import WITH_CLS
from poise.extract.encoders.registry import make_encoder, options_of
from poise.extract.encoders.speech import SpeechEncoder
from poise.extract.encoders.video import VIDEO_FAMILIES
from poise.extract.encoders.whisper import WhisperEncoder
from poise.store.schema import embedding_shape

VIDEO = ("videomae", "timesformer", "vivit", "vjepa2")
SPEECH = ("wavlm", "hubert", "wav2vec2")
AUDIO = (*SPEECH, "whisper")
CLASSES = {
    "videomae": "VideoMAEModel",
    "timesformer": "TimesformerModel",
    "vivit": "VivitModel",
    "vjepa2": "VJEPA2Model",
    "wavlm": "WavLMModel",
    "hubert": "HubertModel",
    "wav2vec2": "Wav2Vec2Model",
    "whisper": "WhisperModel",
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny model of each family, saved when it is first asked for."""
    root = tmp_path_factory.mktemp("families")

    def saved(family: str) -> Path:
        if not (root / family).is_dir():
            getattr(tiny, f"save_tiny_{family}")(root / family)
        return root / family

    return saved


def modality_of(family: str) -> Any:
    return "video" if family in VIDEO else "audio"


def make(folder: Path, **options: Any) -> Encoder:
    return make_encoder(folder, modality_of(folder.name), n_frames=None, device="cpu", **options)


def clip_of(data: np.ndarray) -> PreparedClip:
    return PreparedClip(start_s=0.0, end_s=1.0, data=data, times_s=np.zeros(0))


def frames_of(n_frames: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """Frames with coarse and fine structure, shape (n_frames, height, width, 3), uint8."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 200, (n_frames, 8, 8, 3)).repeat(-(-height // 8), axis=1).repeat(-(-width // 8), axis=2)
    return (coarse[:, :height, :width] + rng.integers(0, 56, (n_frames, height, width, 3))).astype(np.uint8)


def samples_of(n_samples: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(n_samples) + 0.02).astype(np.float32)


def a_clip(encoder: Any, seed: int = 0) -> PreparedClip:
    """A clip as the encoder's own ``prepare`` leaves it."""
    if encoder.modality == "audio":
        return clip_of(encoder.prepare_samples(samples_of(16_000 + 2_000 * seed, seed)))
    frames = frames_of(encoder.n_frames, 120, 90, seed)
    return clip_of(np.stack([encoder.prepare_frame(frame) for frame in frames]))


def picture_processor(folder: Path, **changes: Any) -> Any:
    """Transformers' own processor of a family; that of V-JEPA 2 needs torchvision, whose steps VideoMAE's takes too."""
    from transformers import VivitImageProcessor
    from transformers.models.videomae.image_processing_pil_videomae import VideoMAEImageProcessorPil

    if folder.name == "vjepa2":
        given = json.loads((folder / "video_preprocessor_config.json").read_text())
        return VideoMAEImageProcessorPil(**{**given, **changes})
    return (VivitImageProcessor if folder.name == "vivit" else VideoMAEImageProcessorPil).from_pretrained(
        folder, **changes
    )


@lru_cache(maxsize=16)
def model_of(folder: Path) -> Any:
    """Transformers' own class."""
    import transformers

    options = {"add_pooling_layer": False} if folder.name == "vivit" else {}
    model = getattr(transformers, CLASSES[folder.name]).from_pretrained(folder, **options).eval()
    return model.get_encoder() if folder.name == "whisper" else model


def reference(folder: Path, values: Any) -> Any:
    """What transformers' own class gives, with all hidden states."""
    import torch

    with torch.inference_mode():
        return model_of(folder)(values, output_hidden_states=True)


def reference_of_clip(folder: Path, encoder: Any, clip: PreparedClip) -> Any:
    """The same for a prepared clip, through transformers' own normalisation."""
    import torch
    from transformers import AutoFeatureExtractor

    if encoder.modality == "video":
        processor = picture_processor(folder, do_resize=False, do_center_crop=False)
        frames = [frame.transpose(1, 2, 0) for frame in clip.data]
        return reference(folder, processor(frames, return_tensors="pt")["pixel_values"])
    if folder.name == "whisper":
        values = AutoFeatureExtractor.from_pretrained(folder)(clip.data, sampling_rate=16_000, return_tensors="pt")
        return reference(folder, values["input_features"])
    return reference(folder, torch.from_numpy(clip.data)[None])


def tokens_of(folder: Path, states: Any, clip: PreparedClip) -> np.ndarray:
    """The tokens that are pooled, shape (n_tokens, dim)."""
    tokens = states[0].numpy()
    if folder.name == "whisper":
        return tokens[: -(-len(clip.data) // 320)]
    return tokens[1:] if folder.name in WITH_CLS else tokens


class TestNumbers:
    @pytest.mark.parametrize("size", [(240, 320), (500, 405), (231, 299)])
    @pytest.mark.parametrize("family", VIDEO)
    def test_pictures_are_those_of_transformers_own_processor(self, folders, family, size):
        """Resized and cropped alike, to the last bit but for Pillow's rounding, and normalised alike."""
        import torch

        encoder: Any = make(folders(family))
        frames = frames_of(2, *size)
        prepared = np.stack([encoder.prepare_frame(frame) for frame in frames])
        raw = picture_processor(folders(family), do_rescale=False, do_normalize=False, offset=False)
        expected = np.stack(raw(list(frames), return_tensors="np")["pixel_values"][0])
        assert np.abs(prepared.astype(int) - expected).max() <= 1
        normalise = picture_processor(folders(family), do_resize=False, do_center_crop=False)
        values = normalise([frame.transpose(1, 2, 0) for frame in prepared], return_tensors="np")["pixel_values"]
        own = encoder.preprocessing.normalise(torch.from_numpy(prepared[None])).numpy()
        np.testing.assert_allclose(own, np.stack(values), atol=2e-6)

    @pytest.mark.parametrize("family", VIDEO)
    def test_embeddings_of_pictures_are_those_of_transformers_from_end_to_end(self, folders, family):
        """Cosine above 0.9999 with the model's own processor and class, from frames as they were decoded."""
        encoder: Any = make(folders(family))
        frames = frames_of(encoder.n_frames, 120, 90)
        output = reference(
            folders(family), picture_processor(folders(family))(list(frames), return_tensors="pt")["pixel_values"]
        )
        (own,) = encoder.encode([a_clip(encoder)])
        expected = tokens_of(folders(family), output.last_hidden_state, a_clip(encoder)).mean(axis=0)
        assert own @ expected / np.linalg.norm(own) / np.linalg.norm(expected) > 0.9999

    @pytest.mark.parametrize("family", [*VIDEO, *AUDIO])
    def test_embeddings_are_those_of_transformers_own_class(self, folders, family):
        """Within a thousandth of what lies between two clips, from the same prepared clip."""
        encoder = make(folders(family))
        clips = [a_clip(encoder, seed) for seed in range(2)]
        own = encoder.encode(clips)
        output = reference_of_clip(folders(family), encoder, clips[0])
        expected = tokens_of(folders(family), output.last_hidden_state, clips[0]).mean(axis=0)
        assert np.abs(own[0] - expected).max() < 1e-3 * np.abs(own[0] - own[1]).max()

    @pytest.mark.parametrize("family", SPEECH)
    def test_samples_are_those_of_transformers_own_extractor(self, folders, family):
        """Normalised alike."""
        from transformers import AutoFeatureExtractor

        samples = samples_of(12_345)
        extractor = AutoFeatureExtractor.from_pretrained(folders(family))
        expected = extractor(samples, sampling_rate=16_000, return_tensors="np")["input_values"][0]
        encoder: Any = make(folders(family))
        np.testing.assert_allclose(encoder.prepare_samples(samples), expected, atol=1e-6)

    @pytest.mark.parametrize("family", [*VIDEO, *AUDIO])
    def test_all_layers_are_the_hidden_states_of_transformers(self, folders, family):
        """From 0, which goes into the first block, to the last; numbers choose among them, from either end."""
        encoder = make(folders(family), layers="all")
        clip = a_clip(encoder)
        (own,) = encoder.encode([clip])
        states = reference_of_clip(folders(family), encoder, clip).hidden_states
        expected = np.stack([tokens_of(folders(family), state, clip).mean(axis=0) for state in states])
        assert own.dtype == np.float32
        assert own.shape == encoder.shape == expected.shape == (3, 64)
        np.testing.assert_allclose(own, expected, atol=1e-4 * np.abs(expected).max())
        chosen = make(folders(family), layers=[-1, 0])
        np.testing.assert_allclose(chosen.encode([clip])[0], own[[2, 0]], atol=1e-6)

    @pytest.mark.parametrize("family", [*VIDEO, *AUDIO])
    def test_mean_and_std_stand_side_by_side(self, folders, family):
        """The population's standard deviation over the tokens that the mean is over."""
        encoder = make(folders(family), pooling="mean-std")
        clip = a_clip(encoder)
        tokens = tokens_of(
            folders(family), reference_of_clip(folders(family), encoder, clip).last_hidden_state, clip
        ).astype(np.float64)
        (own,) = encoder.encode([clip])
        assert own.shape == encoder.shape == (128,)
        np.testing.assert_allclose(own, np.concatenate([tokens.mean(axis=0), tokens.std(axis=0)]), atol=1e-4)

    @pytest.mark.parametrize("family", WITH_CLS)
    def test_the_cls_token_is_the_first_one(self, folders, family):
        """Alone, of any layer."""
        encoder = make(folders(family), pooling="cls", layers=[1, 2])
        clip = a_clip(encoder)
        states = reference_of_clip(folders(family), encoder, clip).hidden_states
        expected = np.stack([states[number][0, 0].numpy() for number in (1, 2)])
        np.testing.assert_allclose(encoder.encode([clip])[0], expected, atol=1e-5)

    @pytest.mark.parametrize("family", [*VIDEO, *AUDIO])
    def test_an_embedding_does_not_depend_on_its_neighbours(self, folders, family):
        """Alone or in a batch, a clip gives the same numbers; no clips give none."""
        encoder = make(folders(family), layers=[1, -1], pooling="mean-std")
        clips = [a_clip(encoder, seed) for seed in range(3)]
        alone = np.concatenate([encoder.encode([clip]) for clip in clips])
        np.testing.assert_allclose(encoder.encode(clips), alone, atol=1e-5)
        assert encoder.encode([]).shape == (0, 2, 128)


class TestWhisper:
    @pytest.mark.parametrize("n_samples", [480_000, 160_000, 51_234, 400])
    def test_only_frames_that_the_clip_covers_are_pooled(self, folders, n_samples):
        """As many as transformers itself counts from the mask of the spectrogram."""
        from transformers import AutoFeatureExtractor, WhisperModel

        samples = samples_of(n_samples)
        extractor = AutoFeatureExtractor.from_pretrained(folders("whisper"))
        mask = extractor(samples, sampling_rate=16_000, return_attention_mask=True, return_tensors="pt").attention_mask
        model = WhisperModel.from_pretrained(folders("whisper"))
        n_frames = int(model._get_feat_extract_output_lengths(mask.sum()))
        encoder: Any = make(folders("whisper"))
        clip = clip_of(encoder.prepare_samples(samples))
        output = reference_of_clip(folders("whisper"), encoder, clip)
        expected = output.last_hidden_state[0, :n_frames].mean(dim=0).numpy()
        np.testing.assert_allclose(encoder.encode([clip])[0], expected, atol=1e-5)

    def test_weights_of_the_bare_model_are_read_too(self, tmp_path):
        """Their names lack a prefix."""
        whole, bare = tmp_path / "whole" / "whisper", tmp_path / "bare" / "whisper"
        tiny.save_tiny_whisper(whole)
        tiny.save_tiny_whisper(bare, whole=False)
        clip = clip_of(samples_of(16_000))
        output = reference_of_clip(bare, make(bare), clip)
        expected = output.last_hidden_state[0, :50].mean(dim=0).numpy()
        np.testing.assert_allclose(make(bare).encode([clip])[0], expected, atol=1e-5)
        encoder: Any = make(whole)
        encoder.load()
        assert not hasattr(encoder._model, "decoder")

    def test_clips_longer_than_the_window_are_refused_before_any_work(self, folders):
        """By the length of the windows, and by the samples should one come."""
        encoder: Any = make(folders("whisper"))
        encoder.check_window(30.0)
        with pytest.raises(ExtractSettingsError, match=r"at most 30 s, got windows of 31 s. Use --window 30"):
            encoder.check_window(31.0)
        with pytest.raises(EncoderError, match=r"at most 30 s, got 31 s"):
            encoder.prepare_samples(samples_of(31 * 16_000))
        make(folders("wavlm")).check_window(3600.0)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"hop_length": None}, "lacks hop_length"),
            ({"dither": 1e-4}, r"random numbers \(dither 0.0001\)"),
            ({"feature_size": 128}, r"makes spectrograms of \(128, 3000\), the model expects \(80, 3000\)"),
            ({"chunk_length": 10}, r"makes spectrograms of \(80, 1000\)"),
        ],
    )
    def test_spectrograms_that_are_not_the_models_are_refused(self, tmp_path, changes, message):
        """Configuration and preprocessing must come from one checkpoint, and give the same numbers twice."""
        folder = tiny.save_tiny_whisper(tmp_path / "whisper")
        file = folder / "preprocessor_config.json"
        content = {**json.loads(file.read_text()), **changes}
        file.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))
        with pytest.raises(EncoderError, match=message):
            make(folder)


class TestSettings:
    @pytest.mark.parametrize("family", [*VIDEO_FAMILIES, SpeechEncoder, WhisperEncoder])
    def test_what_a_configuration_leaves_out_is_what_transformers_takes(self, family):
        """Files hold only what differs from the defaults of transformers' own configuration."""
        import transformers

        for model_type in family.model_types:
            config = transformers.AutoConfig.for_model(model_type)
            for key, value in family.defaults.items():
                assert getattr(config, key) == value, (model_type, key)

    @pytest.mark.parametrize("family", [*VIDEO, *AUDIO])
    @pytest.mark.parametrize("options", [{}, {"layers": "all"}, {"layers": [-1, 0], "pooling": "mean-std"}])
    def test_a_spec_gives_its_encoder_again(self, folders, family, options):
        """And says the shape of its embeddings."""
        encoder = make(folders(family), **options)
        spec = {"encoder": {"name": encoder.name, "dim": encoder.dim, **encoder.settings()}}
        again = make_encoder(folders(family), modality_of(family), **options_of(spec["encoder"]))
        assert again.settings() == encoder.settings()
        assert json.loads(json.dumps(encoder.settings())) == encoder.settings()
        assert embedding_shape(spec) == encoder.shape == again.shape

    def test_the_same_layers_are_the_same_settings(self, folders):
        """Counted from the end, or all by name."""
        first = make(folders("wavlm"), layers="all").settings()
        assert first == make(folders("wavlm"), layers=[0, 1, -1]).settings()
        assert first["layers"] == [0, 1, 2]
        assert first["n_layers"] == 3
        assert options_of({"name": "motion"}) == {
            "n_frames": None,
            "layers": "last",
            "pooling": "mean",
            "precision": "float32",
        }

    @pytest.mark.parametrize("family", ["videomae", "vjepa2", "wavlm", "whisper"])
    def test_a_cls_token_that_is_not_there_is_refused(self, folders, family):
        """The message names the models that have one."""
        with pytest.raises(ExtractSettingsError, match="Models with one are timesformer and vivit"):
            make(folders(family), pooling="cls")

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"layers": [3]}, "has no layer 3. Expected numbers from 0, .* to 2"),
            ({"layers": [-4]}, "or from -3 to -1"),
            ({"layers": [True]}, "has no layer True"),
            ({"layers": ["1"]}, "has no layer '1'"),
            ({"layers": []}, "Expected at least one, and none twice"),
            ({"layers": [2, -1]}, "Expected at least one, and none twice"),
            ({"layers": "first"}, "Layers cannot be 'first'"),
            ({"layers": 5}, "Layers cannot be 5"),
            ({"pooling": "max"}, "There is no pooling 'max'. Expected mean, cls, mean-std"),
        ],
    )
    def test_layers_and_poolings_that_do_not_exist_are_refused(self, folders, options, message):
        """With what there is."""
        with pytest.raises(ExtractSettingsError, match=message):
            make(folders("wavlm"), **options)

    def test_an_adapter_changes_the_width_of_the_last_hidden_state_alone(self, tmp_path):
        """Numbered layers are before it."""
        from transformers import Wav2Vec2Config, Wav2Vec2Model

        folder = tiny.save_tiny_wav2vec2(tmp_path / "wav2vec2")
        config = Wav2Vec2Config.from_pretrained(folder)
        config.add_adapter, config.output_hidden_size = True, 32
        Wav2Vec2Model(config).save_pretrained(folder)
        for options, shape in (({}, (32,)), ({"layers": [-1]}, (1, 64))):
            encoder = make(folder, **options)
            assert encoder.encode([a_clip(encoder)]).shape == (1, *shape) == (1, *encoder.shape)


class TestFrames:
    @pytest.mark.parametrize(("family", "own"), [("videomae", 16), ("timesformer", 8), ("vivit", 8), ("vjepa2", 8)])
    def test_no_number_of_frames_means_the_checkpoints_own(self, folders, family, own):
        """And any that the model cannot take is refused with the way out."""
        encoder: Any = make(folders(family))
        assert encoder.n_frames == own == len(encoder.frame_times(0.0, 1.0))
        with pytest.raises(EncoderError, match=f"Use --frames {own}"):
            make_encoder(folders(family), "video", n_frames=7)
        with pytest.raises(EncoderError, match=f"Use --frames {own}"):
            make_encoder(folders(family), "video", n_frames=2 * own)

    def test_rotary_positions_take_fewer_frames(self, folders):
        """V-JEPA 2 runs on any whole number of tubelets, as transformers' own class does."""
        encoder: Any = make_encoder(folders("vjepa2"), "video", n_frames=4, device="cpu")
        clip = a_clip(encoder)
        expected = reference_of_clip(folders("vjepa2"), encoder, clip).last_hidden_state.mean(dim=1)[0].numpy()
        np.testing.assert_allclose(encoder.encode([clip])[0], expected, atol=1e-5)

    def test_a_timesformer_that_looks_at_single_frames_is_refused(self, tmp_path):
        """Its output is of frames, not of clips."""
        folder = tiny.save_tiny_timesformer(tmp_path / "timesformer")
        config = json.loads((folder / "config.json").read_text()) | {"attention_type": "space_only"}
        (folder / "config.json").write_text(json.dumps(config))
        with pytest.raises(EncoderError, match="space_only"):
            make(folder)

    def test_the_shorter_edge_of_vjepa_is_what_its_processor_makes_of_the_crop(self, tmp_path):
        """Whatever the file says."""
        from transformers.models.vjepa2.video_processing_vjepa2 import VJEPA2VideoProcessor

        folder = tiny.save_tiny_vjepa2(tmp_path / "vjepa2")
        file = folder / "video_preprocessor_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"size": {"shortest_edge": 999}}))
        encoder: Any = make(folder)
        assert encoder.preprocessing.shortest_edge == VJEPA2VideoProcessor.from_pretrained(folder).size.shortest_edge

    def test_a_vivit_may_do_without_the_offset(self, tmp_path):
        """If its file says so."""
        import torch

        folder = tiny.save_tiny_vivit(tmp_path / "vivit")
        file = folder / "preprocessor_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"offset": False, "rescale_factor": 1 / 255}))
        encoder: Any = make(folder)
        frames = frames_of(1, 64, 64)
        expected = picture_processor(folder, do_resize=False)(list(frames), return_tensors="np")["pixel_values"][0]
        own = encoder.preprocessing.normalise(torch.from_numpy(frames.transpose(0, 3, 1, 2)[None]))
        np.testing.assert_allclose(own[0].numpy(), expected, atol=2e-6)
        assert "offset" not in encoder.settings()["preprocessing"]

    def test_a_crop_that_is_larger_than_the_picture_is_refused(self, tmp_path):
        """There would be no pixels for its border."""
        folder = tiny.save_tiny_timesformer(tmp_path / "timesformer")
        file = folder / "preprocessor_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"size": {"shortest_edge": 63}}))
        with pytest.raises(EncoderError, match="the crop 64 x 64 is larger than what is left"):
            make(folder)


class TestReading:
    @pytest.mark.parametrize("family", [*VIDEO, *AUDIO])
    def test_decoding_processes_get_no_model(self, folders, family):
        """Pickled before and after loading: small, able to prepare clips, and able to load for itself."""
        encoder = make(folders(family), layers="all")
        clip = a_clip(encoder)
        before = pickle.dumps(encoder.for_reading())
        expected = encoder.encode([clip])
        after = pickle.dumps(encoder.for_reading())
        assert max(len(before), len(after)) < 50_000
        sent = pickle.loads(after)
        np.testing.assert_array_equal(a_clip(sent).data, clip.data)
        np.testing.assert_array_equal(sent.encode([clip]), expected)
        assert encoder.for_reading().settings() == encoder.settings()
