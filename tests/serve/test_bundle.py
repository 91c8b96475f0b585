"""Promises of bundles: the same model comes back, nothing in a file is run, and what is no bundle is refused."""

import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from poise.errors import BundleError, OutputError
from poise.heads import ClipClassifier, HeadState
from poise.serve import Bundle, Predictor, read_bundle, write_bundle
from poise.store import Bags


def make_bundle(**settings: Any) -> tuple[Bundle, ClipClassifier, Bags]:
    rng = np.random.default_rng(0)
    y = np.arange(30) % 3
    bags = Bags.from_arrays({"video": [rng.standard_normal((2 + i % 3, 5)) + y[i] for i in range(30)]})
    model = ClipClassifier(fusion="video", **settings).fit(bags, y)
    spec = {
        "schema": 1,
        "modality": "video",
        "encoder": {"name": "motion", "dim": 5},
        "clips": {"window_s": 5.0, "hop_s": 5.0, "min_tail_s": 3.0},
        "decoder": {"backend": "pyav", "contract": 1},
        "dtype": "float16",
    }
    row = {"strategy": "mean/video/ridge", "protocol": "logo:speaker", "scored": "all", "n": 30}
    bundle = Bundle(
        label_names=("low", "moderate", "high"),
        extraction={"video": spec},
        strategy="mean/video/ridge",
        head=model.export_state(),
        validation=({**row, "metrics": {"qwk": 0.5, "accuracy": 0.6, "mae": None}, "interval": {"qwk": [0.2, 0.7]}},),
        audit={"verdict": "supported", "sentence": "Supported: it is.", "ladder": [], "warnings": []},
        training={"n_recordings": 30, "n_copies": 0, "n_speakers": 6, "digest": "0" * 64},
        versions={"poise": "0.1.0"},
    )
    return bundle, model, bags


@pytest.mark.parametrize("head", ["ridge", "logistic", "lightgbm", "corn"])
def test_a_model_comes_back_with_the_same_predictions(tmp_path: Path, head: str) -> None:
    """Writing and reading a bundle changes no probability, whatever the head."""
    bundle, model, bags = make_bundle(head=head, **({"epochs": 5, "n_seeds": 1} if head == "corn" else {}))
    write_bundle(tmp_path / "m.zip", bundle)
    read = read_bundle(tmp_path / "m.zip")
    assert read.label_names == bundle.label_names
    np.testing.assert_array_equal(ClipClassifier.from_state(read.head).predict_proba(bags), model.predict_proba(bags))


def test_the_same_bundle_has_the_same_bytes(tmp_path: Path) -> None:
    """Nothing in a bundle depends on when or where it was written."""
    for name in ("a.zip", "new/b.zip"):
        write_bundle(tmp_path / name, make_bundle()[0])
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "new" / "b.zip").read_bytes()


def test_the_card_says_how_it_was_validated(tmp_path: Path) -> None:
    """The model card is readable text with levels, strategy, protocol and figures."""
    write_bundle(tmp_path / "m.zip", make_bundle()[0])
    card = zipfile.ZipFile(tmp_path / "m.zip").read("MODEL_CARD.md").decode()
    for part in ("low < moderate < high", "mean/video/ridge", "logo:speaker", "0.50", "undefined", "Not for decisions"):
        assert part in card


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pack(path: Path, contents: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return path


def edited(content: bytes, **changes: Any) -> bytes:
    return json.dumps({**json.loads(content), **changes}).encode()


def hostile() -> dict[str, Any]:
    """Each takes the members of a good bundle and gives those of a bad one."""
    nan = safetensors.numpy.save({"head.x": np.array([np.nan], dtype=np.float32)})
    return {
        "it holds '../up.txt'": lambda m: {**m, "../up.txt": b"x"},
        "it holds 'model.pkl'": lambda m: {**m, "model.pkl": b"x"},
        "it holds 'head-above_0.txt'": lambda m: {**m, "head-above_0.txt": b"tree"},
        "it has no head.safetensors": lambda m: {k: v for k, v in m.items() if k != "head.safetensors"},
        "schema version 99": lambda m: {**m, "bundle.json": edited(m["bundle.json"], schema_version=99)},
        "schema version True": lambda m: {**m, "bundle.json": edited(m["bundle.json"], schema_version=True)},
        "bundle.json cannot be read": lambda m: {**m, "bundle.json": b"{"},
        "a name stands twice": lambda m: {**m, "bundle.json": b'{"a": 1, "a": 2}'},
        "NaN is not a number": lambda m: {**m, "bundle.json": b'{"a": NaN}'},
        "schema version None": lambda m: {**m, "bundle.json": b"[]"},
        "does not say what it must": lambda m: {**m, "bundle.json": b'{"schema_version": 1}'},
        "larger than 1,048,576 bytes": lambda m: {**m, "bundle.json": np.random.default_rng(0).bytes(1_048_577)},
        "head.safetensors cannot be read": lambda m: {**m, "head.safetensors": b"x" * 50},
        "'head.x' are not finite": lambda m: {**m, "head.safetensors": nan},
        "would unpack to": lambda m: {**m, "MODEL_CARD.md": b"0" * 50_000_000},
    }


@pytest.mark.parametrize("message", list(hostile()))
def test_a_file_that_is_no_bundle_is_refused(tmp_path: Path, message: str) -> None:
    """Strange names, missing parts, broken JSON, weights that are not finite and bombs each get one error."""
    write_bundle(tmp_path / "good.zip", make_bundle()[0])
    path = pack(tmp_path / "bad.zip", hostile()[message](members(tmp_path / "good.zip")))
    with pytest.raises(BundleError, match=message.replace(".", r"\.")):
        read_bundle(path)


def test_a_file_that_is_no_zip_or_is_cut_is_refused(tmp_path: Path) -> None:
    """Text, half a ZIP, a flipped byte and twice the same name are errors that name the file."""
    write_bundle(tmp_path / "good.zip", make_bundle()[0])
    data = (tmp_path / "good.zip").read_bytes()
    flipped = bytearray(data)
    flipped[200] ^= 0xFF
    for content in (b"text", data[: len(data) // 2], bytes(flipped)):
        (tmp_path / "bad.zip").write_bytes(content)
        with pytest.raises(BundleError, match=r"bad\.zip"):
            read_bundle(tmp_path / "bad.zip")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("bundle.json", "{}")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("bundle.json", "{}")
    (tmp_path / "twice.zip").write_bytes(buffer.getvalue())
    with pytest.raises(BundleError, match="some with the same name"):
        read_bundle(tmp_path / "twice.zip")
    pack(tmp_path / "lzma.zip", members(tmp_path / "good.zip"), zipfile.ZIP_LZMA)
    with pytest.raises(BundleError, match="compressed in an unusual way"):
        read_bundle(tmp_path / "lzma.zip")


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """A file where the folder should be is named, with the option to change."""
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="Give another --out"):
        write_bundle(tmp_path / "file" / "m.zip", make_bundle()[0])


def test_a_bundle_that_cannot_be_served_says_why() -> None:
    """Imported features, another encoder than in training and a modality without settings are refused."""
    bundle = make_bundle()[0]
    imported = {"video": {**bundle.extraction["video"], "imported": {"collection": "x"}}}
    with pytest.raises(BundleError, match="features were imported.*poise extract"):
        Predictor(replace(bundle, extraction=imported))
    with pytest.raises(BundleError, match=r"'motion' of this machine is not the one.*encoder\.algorithm: not set / 1"):
        Predictor(bundle)
    with pytest.raises(BundleError, match="needs video, but says nothing about how it was extracted"):
        Predictor(replace(bundle, extraction={}))
    with pytest.raises(BundleError, match=r"array 'standardiser\.kept'|no array"):
        Predictor(replace(bundle, head=HeadState(config=bundle.head.config, arrays={})))
