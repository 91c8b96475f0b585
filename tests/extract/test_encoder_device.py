"""Promises of where models run: precision, batches that fit into memory, and copies; all of it without a GPU."""

import contextlib
import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from poise.errors import EncoderError, ExtractSettingsError
from poise.extract.encoders.base import PreparedClip
from poise.extract.encoders.device import computing_in, encode_fitting, to_device
from poise.extract.encoders.readout import Readout, parse_layers
from poise.extract.encoders.registry import make_encoder, options_of
from poise.extract.encoders.tiny import save_tiny_wavlm
from poise.extract.workers.process import default_workers


@pytest.fixture(scope="module")
def wavlm(tmp_path_factory):
    return save_tiny_wavlm(tmp_path_factory.mktemp("weights") / "tiny-wavlm")


def clips_of(n_clips: int) -> list[PreparedClip]:
    rng = np.random.default_rng(0)
    return [
        PreparedClip(start_s=0.0, end_s=0.5, data=rng.standard_normal(8_000).astype(np.float32), times_s=np.zeros(0))
        for _ in range(n_clips)
    ]


class Cramped:
    """Doubles numbers, and runs out of memory above a batch size."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.tried: list[int] = []

    def __call__(self, items):
        self.tried.append(len(items))
        if len(items) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB\nand a page of advice")
        return np.array([[2.0 * item] for item in items], np.float32)


class TestMemory:
    @pytest.mark.parametrize(("most", "tried"), [(8, [7]), (3, [7, 3, 3, 1]), (2, [7, 3, 1, 1, 1, 1, 1, 1, 1])])
    def test_batches_are_halved_until_they_fit(self, most, tried):
        """All items come out in their order, and the size that fitted is told."""
        encode = Cramped(most)
        rows, batch_size = encode_fitting(encode, range(7), batch_size=7)
        np.testing.assert_array_equal(rows[:, 0], 2.0 * np.arange(7))
        assert encode.tried == tried
        assert batch_size == {8: 7, 3: 3, 2: 1}[most]

    def test_a_clip_that_does_not_fit_alone_is_an_error(self):
        """It names the ways out, and one line of what torch said."""
        with pytest.raises(EncoderError, match=r"Not even one clip .* 2.00 GiB. Use shorter clips") as caught:
            encode_fitting(Cramped(0), range(3), batch_size=3)
        assert "advice" not in str(caught.value)

    def test_an_encoder_goes_on_with_the_batch_that_fitted(self, wavlm):
        """The numbers are the same, and later batches are no larger."""
        encoder: Any = make_encoder(wavlm, "audio", device="cpu")
        clips = clips_of(5)
        expected = encoder.encode(clips)
        model, tried = encoder._model, []

        def cramped(input_values):
            tried.append(len(input_values))
            if len(input_values) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return model(input_values=input_values)

        encoder._model, encoder.batch_size = cramped, 16
        np.testing.assert_allclose(encoder.encode(clips), expected, atol=1e-5)
        assert tried == [5, 2, 2, 1]
        assert encoder.batch_size == 2

    def test_only_copies_to_a_gpu_are_pinned(self, monkeypatch):
        """On a processor there is no copy at all; to CUDA it starts from pinned memory and waits for nothing."""
        array = np.ones((2, 3), np.float32)
        assert to_device(array, torch.device("cpu")).data_ptr() == torch.from_numpy(array).data_ptr()
        asked = []
        pinned = SimpleNamespace(to=lambda device, *, non_blocking: asked.append((device.type, non_blocking)))
        monkeypatch.setattr(torch, "from_numpy", lambda _: SimpleNamespace(pin_memory=lambda: pinned))
        to_device(array, torch.device("cuda"))
        assert asked == [("cuda", True)]


class TestPrecision:
    def test_precisions_that_a_processor_is_slow_in_are_refused(self, wavlm, monkeypatch):
        """Before anything is loaded where the device is known, and when it turns out to be one otherwise."""
        with pytest.raises(ExtractSettingsError, match="7 times slower"):
            make_encoder(wavlm, "audio", device="cpu", precision="bfloat16")
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        encoder = make_encoder(wavlm, "audio", device="auto", precision="float16")
        with pytest.raises(ExtractSettingsError, match="7 times slower"):
            encoder.load()
        with pytest.raises(ExtractSettingsError, match="There is no precision 'int8'. Expected one of float32"):
            make_encoder(wavlm, "audio", precision="int8")

    def test_the_precision_is_a_setting(self, wavlm):
        """Other precisions are other numbers, and so other feature sets."""
        settings = {p: make_encoder(wavlm, "audio", precision=p).settings() for p in ("float32", "bfloat16")}
        assert settings["float32"] | {"precision": "bfloat16"} == settings["bfloat16"]
        assert options_of(settings["bfloat16"])["precision"] == "bfloat16"

    def test_the_model_computes_in_it_and_pooling_in_float32(self, wavlm, monkeypatch):
        """Shown with autocast on a processor: embeddings are float32 and near those of float32."""
        encoder: Any = make_encoder(wavlm, "audio", device="cpu")
        expected = encoder.encode(clips_of(2))
        encoder.precision = "bfloat16"
        seen = []
        read = Readout.read

        def spy(self, output, n_tokens=None):
            seen.append((output.last_hidden_state.dtype, torch.is_autocast_enabled("cpu")))
            return read(self, output, n_tokens)

        monkeypatch.setattr(Readout, "read", spy)
        embeddings = encoder.encode(clips_of(2))
        assert seen[0][1] is False
        assert embeddings.dtype == np.float32
        assert 0 < np.abs(embeddings - expected).max() < 0.05 * np.abs(expected).max()

    def test_float32_is_left_alone(self):
        """No autocast is entered for it."""
        with computing_in("float32", torch.device("cpu")):
            assert not torch.is_autocast_enabled("cpu")
        with computing_in("bfloat16", torch.device("cpu")):
            assert torch.get_autocast_dtype("cpu") == torch.bfloat16
        with contextlib.suppress(KeyError), computing_in("bfloat16", torch.device("cpu")):
            raise KeyError
        assert not torch.is_autocast_enabled("cpu")


class TestReadout:
    @pytest.mark.parametrize(
        ("text", "layers"), [("last", "last"), ("all", "all"), ("0,6,-1", [0, 6, -1]), (" 3 , 4", [3, 4]), ("7", [7])]
    )
    def test_layers_are_read_from_a_command_line(self, text, layers):
        """Words or numbers."""
        assert parse_layers(text) == layers

    @pytest.mark.parametrize("text", ["", "first", "1,,2", "1.5", "0..3", "1,"])
    def test_layers_that_are_neither_are_refused(self, text):
        """With what is understood."""
        with pytest.raises(ExtractSettingsError, match="Expected last, all, or numbers separated by commas"):
            parse_layers(text)

    def test_the_std_is_stable(self):
        """Large values that hardly differ keep their spread, and equal ones have none."""
        readout = Readout.choose("last", "mean-std", source="x", n_blocks=1, width=2, has_cls=False, tokens="frames")
        states = torch.tensor([[[4096.0, 7.0], [4096.5, 7.0], [4095.5, 7.0]]])
        (row,) = readout.read(SimpleNamespace(last_hidden_state=states))
        np.testing.assert_allclose(row.numpy(), [4096.0, 7.0, np.sqrt(0.5 / 3), 0.0], rtol=1e-6)
        (one,) = readout.read(SimpleNamespace(last_hidden_state=states[:, :1]))
        np.testing.assert_array_equal(one.numpy(), [4096.0, 7.0, 0.0, 0.0])

    def test_half_precision_is_pooled_in_float32(self):
        """A mean over thousands of values does not overflow."""
        readout = Readout.choose("last", "mean", source="x", n_blocks=1, width=1, has_cls=False, tokens="frames")
        states = torch.full((1, 4096, 1), 60_000.0, dtype=torch.float16)
        (row,) = readout.read(SimpleNamespace(last_hidden_state=states))
        assert row.dtype == torch.float32
        assert row.item() == float(states[0, 0, 0])
        assert json.dumps(readout.settings())


@pytest.mark.parametrize(
    ("device", "has_driver", "is_shared"),
    [("cpu", True, True), ("cpu", False, True), ("auto", True, False), ("auto", False, True), ("cuda", False, False)],
)
def test_a_core_is_left_to_models_only_where_they_run_on_the_processor(
    wavlm, tmp_path, monkeypatch, device, has_driver, is_shared
):
    """With a GPU there is a decoding process for each core."""
    monkeypatch.setattr("poise.extract.encoders.torch_model._NVIDIA", tmp_path if has_driver else tmp_path / "nothing")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(6), raising=False)
    assert default_workers([make_encoder(wavlm, "audio", device=device)]) == (5 if is_shared else 6)
