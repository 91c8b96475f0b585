"""Promises of the pretrained encoders: transformers' own numbers, from weights that are really there."""

import json
import shutil
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from poise.errors import EncoderError, ExtractSettingsError, UnknownEncoderError, WeightsNotFoundError
from poise.extract.encoders.base import PreparedClip
from poise.extract.encoders.registry import ALIASES, make_encoder
from poise.extract.encoders.tiny import save_tiny_videomae, save_tiny_wavlm
from poise.extract.encoders.weights import find_weights


@pytest.fixture(scope="module")
def videomae(tmp_path_factory):
    return save_tiny_videomae(tmp_path_factory.mktemp("weights") / "tiny-videomae")


@pytest.fixture(scope="module")
def wavlm(tmp_path_factory):
    return save_tiny_wavlm(tmp_path_factory.mktemp("weights") / "tiny-wavlm")


def copy_of(folder: Path, tmp_path: Path, **changes: object) -> Path:
    """A copy of a checkpoint whose preprocessor_config.json differs; None takes a number away."""
    copy = tmp_path / f"copy-of-{folder.name}"
    shutil.copytree(folder, copy)
    file = copy / "preprocessor_config.json"
    content = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))
    return copy


def clip_of(data: np.ndarray) -> PreparedClip:
    return PreparedClip(start_s=0.0, end_s=1.0, data=data, times_s=np.zeros(0))


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    return float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))


def frames_of(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Sixteen frames with coarse and fine structure, shape (16, height, width, 3), uint8."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 200, (16, 8, 8, 3)).repeat(-(-height // 8), axis=1).repeat(-(-width // 8), axis=2)
    return (coarse[:, :height, :width] + rng.integers(0, 56, (16, height, width, 3))).astype(np.uint8)


class TestVideoMAE:
    @pytest.mark.parametrize("size", [(240, 320), (720, 405), (224, 224), (150, 201), (231, 299)])
    def test_embeddings_are_those_of_transformers_own_processor_and_model(self, videomae, size):
        """Cosine above 0.9999 with VideoMAEImageProcessor and VideoMAEModel on the same frames."""
        import torch
        from transformers import VideoMAEModel
        from transformers.models.videomae.image_processing_pil_videomae import VideoMAEImageProcessorPil

        frames = frames_of(*size)
        processor = VideoMAEImageProcessorPil.from_pretrained(videomae)
        pixels = processor(list(frames), return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            expected = VideoMAEModel.from_pretrained(videomae).eval()(pixels).last_hidden_state.mean(dim=1)[0].numpy()
        encoder = make_encoder(str(videomae), "video", device="cpu")
        prepared = np.stack([encoder.prepare_frame(frame) for frame in frames])
        (embedding,) = encoder.encode([clip_of(prepared)])
        assert prepared.dtype == np.uint8
        assert cosine(embedding, expected) > 0.9999
        np.testing.assert_allclose(embedding, expected, atol=5e-3)

    def test_an_embedding_does_not_depend_on_its_neighbours(self, videomae):
        """Alone or in a batch, a clip gives the same numbers."""
        encoder = make_encoder(videomae, "video", device="cpu")
        clips = [
            clip_of(np.stack([encoder.prepare_frame(frame) for frame in frames_of(240, 320, seed)]))
            for seed in range(3)
        ]
        alone = np.concatenate([encoder.encode([clip]) for clip in clips])
        np.testing.assert_allclose(encoder.encode(clips), alone, atol=1e-5)
        assert encoder.encode([]).shape == (0, encoder.dim)

    def test_frames_are_spread_evenly_over_the_span(self, videomae):
        """Sixteen times, centred in equal parts of the span."""
        times = make_encoder(videomae, "video").frame_times(10.0, 18.0)
        np.testing.assert_allclose(times, 10.25 + 0.5 * np.arange(16))

    def test_preprocessing_numbers_come_from_the_checkpoint(self, videomae, tmp_path):
        """Other mean and std in preprocessor_config.json are another input to the model, and other settings."""
        other = make_encoder(copy_of(videomae, tmp_path, image_mean=[0.5] * 3, image_std=[0.5] * 3), "video")
        own = make_encoder(videomae, "video")
        clip = clip_of(np.stack([own.prepare_frame(frame) for frame in frames_of(240, 320)]))
        assert np.abs(own.encode([clip]) - other.encode([clip])).max() > 1e-2
        assert own.settings() != other.settings()

    def test_a_checkpoint_may_resize_to_an_exact_size(self, videomae, tmp_path):
        """The picture is squeezed to it and then cropped, as the checkpoint says."""
        from transformers.models.videomae.image_processing_pil_videomae import VideoMAEImageProcessorPil

        folder = copy_of(videomae, tmp_path, size={"height": 256, "width": 240})
        frame = frames_of(300, 400)[0]
        processor = VideoMAEImageProcessorPil.from_pretrained(folder, do_rescale=False, do_normalize=False)
        expected = processor([frame], return_tensors="np")["pixel_values"][0, 0]
        prepared = make_encoder(folder, "video").prepare_frame(frame)
        assert np.abs(prepared.astype(int) - expected).max() <= 1

    def test_older_size_notation_is_understood(self, videomae, tmp_path):
        """Checkpoints of 2022 write plain numbers."""
        old = make_encoder(copy_of(videomae, tmp_path, size=224, crop_size=224), "video")
        frame = frames_of(240, 320)[0]
        np.testing.assert_array_equal(old.prepare_frame(frame), make_encoder(videomae, "video").prepare_frame(frame))

    @pytest.mark.parametrize(
        "changes", [{"image_mean": None}, {"size": {"longest_edge": 5}}, {"resample": 1}, {"do_rescale": False}]
    )
    def test_preprocessing_that_is_not_understood_is_refused(self, videomae, tmp_path, changes):
        """Class defaults are never used in its place."""
        folder = copy_of(videomae, tmp_path, **changes)
        with pytest.raises(EncoderError, match="as a VideoMAE checkpoint has them"):
            make_encoder(folder, "video")

    def test_a_picture_size_that_is_not_the_models_is_refused(self, videomae, tmp_path):
        """Configuration and preprocessing must come from one checkpoint."""
        folder = copy_of(videomae, tmp_path, crop_size={"height": 196, "width": 196})
        with pytest.raises(EncoderError, match="the model expects"):
            make_encoder(folder, "video")

    def test_another_number_of_frames_is_refused(self, videomae):
        """The model has position embeddings for its own number only."""
        with pytest.raises(EncoderError, match="Use --frames 16"):
            make_encoder(videomae, "video", n_frames=8)


class TestWavLM:
    @pytest.mark.parametrize("do_normalize", [True, False])
    @pytest.mark.parametrize("n_samples", [160_000, 51_234, 400])
    def test_embeddings_are_those_of_transformers_own_extractor_and_model(self, tmp_path, do_normalize, n_samples):
        """Cosine above 0.9999 with AutoFeatureExtractor and WavLMModel on the same samples, normalised or not."""
        import torch
        from transformers import AutoFeatureExtractor, WavLMModel

        folder = save_tiny_wavlm(tmp_path / "wavlm", do_normalize=do_normalize)
        samples = (0.1 * np.random.default_rng(0).standard_normal(n_samples) + 0.02).astype(np.float32)
        values = AutoFeatureExtractor.from_pretrained(folder)(samples, sampling_rate=16_000, return_tensors="pt")
        with torch.inference_mode():
            model = WavLMModel.from_pretrained(folder).eval()
            expected = model(values["input_values"]).last_hidden_state.mean(dim=1)[0].numpy()
        encoder = make_encoder(folder, "audio", device="cpu")
        (embedding,) = encoder.encode([clip_of(encoder.prepare_samples(samples))])
        assert cosine(embedding, expected) > 0.9999
        np.testing.assert_allclose(embedding, expected, atol=1e-4)

    def test_an_embedding_does_not_depend_on_its_neighbours(self, wavlm):
        """Clips of other lengths in the batch do not pad this one."""
        encoder = make_encoder(wavlm, "audio", device="cpu")
        rng = np.random.default_rng(0)
        clips = [clip_of(rng.standard_normal(n).astype(np.float32)) for n in (32_000, 16_000, 32_000, 8_123)]
        alone = np.concatenate([encoder.encode([clip]) for clip in clips])
        np.testing.assert_allclose(encoder.encode(clips), alone, atol=1e-5)

    def test_missing_numbers_are_refused(self, wavlm, tmp_path):
        """do_normalize differs between the sizes of WavLM, so no default is safe."""
        with pytest.raises(EncoderError, match="lacks do_normalize"):
            make_encoder(copy_of(wavlm, tmp_path, do_normalize=None), "audio")


class TestNames:
    def test_a_folder_gives_its_name_to_the_feature_set(self, videomae):
        """The last part of the path, whatever leads to it."""
        assert make_encoder(f"{videomae}/", "video").name == "tiny-videomae"

    def test_a_misspelt_name_gets_a_suggestion(self):
        """And the list of what there is."""
        with pytest.raises(UnknownEncoderError, match=r"Did you mean 'videomae-base'\? .*motion"):
            make_encoder("videomea-base", "video")
        with pytest.raises(UnknownEncoderError, match="Hugging Face id"):
            make_encoder("xyz", "audio")

    @pytest.mark.parametrize(("name", "modality"), [("motion", "audio"), ("prosody", "video"), ("wavlm-base", "video")])
    def test_an_encoder_of_the_other_modality_is_refused(self, name, modality):
        """The message says where it belongs."""
        with pytest.raises(UnknownEncoderError, match="Give it with --"):
            make_encoder(name, modality)

    def test_a_checkpoint_of_the_other_modality_is_refused(self, videomae):
        """By its model type."""
        with pytest.raises(UnknownEncoderError, match="encodes picture, not sound"):
            make_encoder(videomae, "audio")

    def test_an_unknown_model_type_is_refused(self, videomae, tmp_path):
        """Only what was built and tested runs."""
        folder = copy_of(videomae, tmp_path)
        (folder / "config.json").write_text('{"model_type": "bert"}')
        with pytest.raises(EncoderError, match="type 'bert'"):
            make_encoder(folder, "video")

    def test_weight_free_encoders_need_no_files(self):
        """They are made from their names alone."""
        assert make_encoder("motion", "video").modality == "video"
        assert make_encoder("prosody", "audio").modality == "audio"


class TestWeights:
    def test_a_missing_folder_is_named(self, tmp_path):
        """It is not taken for a Hugging Face id."""
        with pytest.raises(WeightsNotFoundError, match="There is no folder"):
            make_encoder(str(tmp_path / "nowhere"), "video")

    @pytest.mark.parametrize("name", [ALIASES["video"]["videomae-base"], ALIASES["audio"]["wavlm-base-plus"]])
    def test_absent_weights_fail_within_seconds_and_name_the_ways_out(self, name, tmp_path):
        """Neither cached nor reachable: one error with three ways out."""
        code = (
            "from poise.errors import WeightsNotFoundError\n"
            "from poise.extract.encoders.weights import find_weights\n"
            f"try:\n    find_weights({name!r})\n"
            "except WeightsNotFoundError as error:\n    print(error)\n"
        )
        for setting in ({"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}):
            env = {"HF_HOME": str(tmp_path), "PATH": "", **setting}
            began = time.monotonic()
            result = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
            assert time.monotonic() - began < 15
            for way in ("local folder", "HF_HOME", "--video motion --audio prosody"):
                assert way in result.stdout

    def test_weights_in_the_cache_need_no_network(self, videomae, tmp_path):
        """A snapshot in HF_HOME is used as it is, and its commit is known."""
        revision = "a" * 40
        repository = tmp_path / "hub" / "models--MCG-NJU--videomae-base"
        shutil.copytree(videomae, repository / "snapshots" / revision)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(revision)
        code = (
            "from poise.extract.encoders.registry import make_encoder\n"
            "encoder = make_encoder('videomae-base', 'video')\n"
            "print(encoder.name, encoder.dim, encoder.weights.revision)\n"
        )
        env = {"HF_HOME": str(tmp_path), "HF_ENDPOINT": "http://127.0.0.1:9", "PATH": ""}
        result = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
        assert result.stdout.split() == ["videomae-base", "64", revision]

    def test_newer_video_models_have_their_numbers_in_another_file(self, videomae, tmp_path):
        """It is read where the older name is not there, also from the cache, and changes nothing else."""
        folder = copy_of(videomae, tmp_path)
        shutil.copy(folder / "preprocessor_config.json", folder / "video_preprocessor_config.json")
        both = find_weights(str(folder))
        assert both.preprocessor_file.name == "preprocessor_config.json"
        (folder / "preprocessor_config.json").unlink()
        newer = find_weights(str(folder))
        assert newer.preprocessor_file.name == "video_preprocessor_config.json"
        assert newer.digest == both.digest
        revision = "b" * 40
        repository = tmp_path / "hub" / "models--facebook--vjepa2"
        shutil.copytree(folder, repository / "snapshots" / revision)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(revision)
        code = (
            "from poise.extract.encoders.weights import find_weights\n"
            "print(find_weights('facebook/vjepa2').preprocessor_file.name)\n"
        )
        env = {"HF_HOME": str(tmp_path), "HF_ENDPOINT": "http://127.0.0.1:9", "PATH": ""}
        result = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
        assert result.stdout.split() == ["video_preprocessor_config.json"]

    @pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
    def test_a_missing_or_broken_json_file_is_named(self, videomae, tmp_path, name):
        """The numbers in it are needed."""
        folder = copy_of(videomae, tmp_path)
        (folder / name).write_text("[1, 2]")
        with pytest.raises(EncoderError, match="Expected a JSON object"):
            find_weights(str(folder))
        (folder / name).write_text("{")
        with pytest.raises(EncoderError, match="cannot be read as JSON"):
            find_weights(str(folder))
        (folder / name).unlink()
        with pytest.raises(EncoderError, match=f"{name} is missing"):
            find_weights(str(folder))

    def test_a_folder_without_weights_is_refused(self, videomae, tmp_path):
        """A shard that is missing counts as no weights."""
        folder = copy_of(videomae, tmp_path)
        (folder / "model.safetensors").unlink()
        with pytest.raises(WeightsNotFoundError, match="holds no weights"):
            find_weights(str(folder))
        (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-1.safetensors"}}')
        with pytest.raises(WeightsNotFoundError, match="holds no weights"):
            find_weights(str(folder))

    def test_the_digest_is_of_content_and_not_of_names(self, videomae, tmp_path):
        """A copy elsewhere is the same encoder; other weights under the same name are not."""
        copy = find_weights(str(copy_of(videomae, tmp_path)))
        assert copy.digest == find_weights(str(videomae)).digest
        other = find_weights(str(save_tiny_videomae(tmp_path / "tiny-videomae", seed=1)))
        assert copy.digest != other.digest

    def test_unreadable_weights_are_an_error(self, videomae, tmp_path):
        """Weights that vanish between finding and hashing."""
        weights = find_weights(str(copy_of(videomae, tmp_path)))
        weights.files[0].unlink()
        with pytest.raises(EncoderError, match="Copy the weights again"):
            weights.digest  # noqa: B018

    def test_damaged_weights_are_an_error_when_loaded(self, videomae, tmp_path):
        """Whatever the reader of the format raises."""
        folder = copy_of(videomae, tmp_path)
        (folder / "model.safetensors").write_bytes(b"\x00" * 100)
        with pytest.raises(EncoderError, match="cannot be loaded"):
            make_encoder(folder, "video").load()

    def test_weights_that_are_not_in_the_file_are_never_random(self, wavlm, tmp_path):
        """A checkpoint that lacks some of the model is refused."""
        from safetensors.numpy import load_file, save_file

        folder = copy_of(wavlm, tmp_path)
        tensors = load_file(folder / "model.safetensors")
        dropped = next(name for name in tensors if "encoder.layers.1" in name)
        del tensors[dropped]
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(EncoderError, match="would be random"):
            make_encoder(folder, "audio").load()

    def test_pickled_weights_load_too(self, wavlm, tmp_path):
        """Older checkpoints have only pytorch_model.bin."""
        import torch
        from safetensors.torch import load_file

        folder = copy_of(wavlm, tmp_path)
        torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
        clip = clip_of(np.random.default_rng(0).standard_normal(16_000).astype(np.float32))
        old, new = make_encoder(folder, "audio"), make_encoder(wavlm, "audio")
        np.testing.assert_array_equal(old.encode([clip]), new.encode([clip]))

    def test_an_unknown_device_is_refused(self, wavlm):
        """The message names the way out."""
        with pytest.raises(ExtractSettingsError, match="no device 'warp'. Expected auto, cpu"):
            make_encoder(wavlm, "audio", device="warp")
        with pytest.raises(EncoderError, match="--device auto"):
            make_encoder(wavlm, "audio", device="cuda:99").load()

    def test_settings_need_neither_torch_nor_transformers(self, videomae, wavlm):
        """Knowing what is stored already must be fast."""
        code = (
            "import sys\n"
            "from poise.extract.encoders.registry import make_encoder\n"
            f"make_encoder({str(videomae)!r}, 'video').settings(), make_encoder({str(wavlm)!r}, 'audio').settings()\n"
            "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'librosa')))\n"
        )
        subprocess.run([sys.executable, "-c", code], check=True)

    def test_loading_is_silent(self, videomae, capfd):
        """No progress bar, no remarks: the report is the caller's."""
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            make_encoder(videomae, "video").load()
        assert capfd.readouterr() == ("", "")
