"""Promises of WavLM's fused attention: transformers' own numbers, or transformers' own attention."""

import copy
from typing import Any

import numpy as np
import pytest
import torch

from poise.extract.encoders import wavlm_attention
from poise.extract.encoders.base import PreparedClip
from poise.extract.encoders.registry import make_encoder
from poise.extract.encoders.tiny import save_tiny_wavlm
from poise.extract.encoders.wavlm_attention import fuse_attention


def model_of(*, stable: bool = False) -> Any:
    """A WavLM whose position bias and gates matter as much as those of trained ones."""
    from transformers import WavLMConfig, WavLMModel

    config = WavLMConfig(
        hidden_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=128,
        conv_dim=(32,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        do_stable_layer_norm=stable,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = WavLMModel(config).eval().requires_grad_(requires_grad=False)
        for layer in model.encoder.layers:
            layer.attention.gru_rel_pos_linear.weight.normal_(std=0.5)
            layer.attention.gru_rel_pos_const.normal_(std=2.0)
        model.encoder.layers[0].attention.rel_attn_embed.weight.normal_(std=2.0)
    return model


def samples_of(n_clips: int, n_samples: int) -> torch.Tensor:
    return torch.randn(n_clips, n_samples, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("stable", [False, True])
@pytest.mark.parametrize(("n_clips", "n_samples"), [(1, 400), (2, 16_000), (1, 320_000)])
def test_the_fused_form_gives_transformers_own_numbers(stable: bool, n_clips: int, n_samples: int) -> None:
    """Within 1e-5 after every block, for one frame and for more frames than the bias tells apart."""
    own = model_of(stable=stable)
    fused = copy.deepcopy(own)
    assert fuse_attention(fused)
    with torch.inference_mode():
        expected = own(samples_of(n_clips, n_samples), output_hidden_states=True)
        given = fused(samples_of(n_clips, n_samples), output_hidden_states=True)
    for state, other in zip(expected.hidden_states, given.hidden_states, strict=True):
        assert float((state - other).abs().max()) < 1e-5


def test_the_fused_kernel_is_really_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """By every layer, and the bias is made once for all of them."""
    model = model_of()
    fuse_attention(model)
    seen = []
    fused = wavlm_attention._fused
    monkeypatch.setattr(
        wavlm_attention, "_fused", lambda *arguments: seen.append(arguments[2] is None) or fused(*arguments)
    )
    with torch.inference_mode():
        model(samples_of(1, 4_000))
    assert seen == [True, False, False]


@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask:UserWarning")
def test_a_mask_goes_to_transformers_own_form() -> None:
    """Poise never gives one, but whoever does gets the right numbers."""
    own = model_of()
    fused = copy.deepcopy(own)
    fuse_attention(fused)
    mask = torch.ones(2, 16_000, dtype=torch.long)
    mask[1, 9_000:] = 0
    with torch.inference_mode():
        expected = own(samples_of(2, 16_000), attention_mask=mask).last_hidden_state
        given = fused(samples_of(2, 16_000), attention_mask=mask).last_hidden_state
    np.testing.assert_array_equal(given.numpy(), expected.numpy())


@pytest.mark.parametrize("fault", ["numbers", "bias", "error", "renamed"])
def test_a_layer_that_does_not_agree_is_left_alone(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another transformers or another PyTorch may compute something else: then its own form runs."""
    model = model_of()
    right = wavlm_attention._position_bias
    if fault == "numbers":
        monkeypatch.setattr(wavlm_attention, "_position_bias", lambda *given: right(*given).flip(2))
    elif fault == "bias":
        fused = wavlm_attention._fused

        def other(*given: Any) -> Any:
            mixed, weights, bias = fused(*given)
            return mixed, weights, bias + 1

        monkeypatch.setattr(wavlm_attention, "_fused", other)
    elif fault == "error":
        monkeypatch.setattr(wavlm_attention, "_fused", lambda *_: 1 / 0)
    else:
        del model.encoder.layers[0].attention.gru_rel_pos_linear
    before = [layer.attention.forward for layer in model.encoder.layers]
    assert not fuse_attention(model)
    assert [layer.attention.forward for layer in model.encoder.layers] == before


def test_an_encoder_falls_back_on_transformers_own_form(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It works either way, with the same numbers."""
    folder = save_tiny_wavlm(tmp_path / "wavlm")
    clip = PreparedClip(start_s=0.0, end_s=1.0, data=samples_of(1, 16_000)[0].numpy(), times_s=np.zeros(0))
    fused: Any = make_encoder(folder, "audio", device="cpu")
    expected = fused.encode([clip])
    assert hasattr(fused._model.encoder.layers[0].attention, "unfused_forward")
    monkeypatch.setattr(wavlm_attention, "_agrees", lambda _: False)
    own: Any = make_encoder(folder, "audio", device="cpu")
    np.testing.assert_allclose(own.encode([clip]), expected, atol=3e-6)
    assert not hasattr(own._model.encoder.layers[0].attention, "unfused_forward")
