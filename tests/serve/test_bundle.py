"""Promises of bundles: the same model comes back, nothing in a file is run, and what is no bundle is refused."""

from __future__ import annotations

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
from poise.serve import Predictor, convert_bundle, read_bundle, write_bundle
from poise.serve.facts import list_facts
from tests.serve.bundles import Entry, edited, hand_made, make_bundle, members, pack, repack, run_bounded


@pytest.mark.parametrize("head", ["ridge", "logistic", "lightgbm", "corn"])
def test_a_model_comes_back_with_the_same_predictions(tmp_path: Path, head: str) -> None:
    """Writing and reading a bundle changes no probability, whatever the head."""
    bundle, model, bags = make_bundle(head=head, **({"epochs": 5, "n_seeds": 1} if head == "corn" else {}))
    write_bundle(tmp_path / "m.zip", bundle)
    read = read_bundle(tmp_path / "m.zip")
    assert read.to_json() == bundle.to_json()
    np.testing.assert_array_equal(ClipClassifier.from_state(read.head).predict_proba(bags), model.predict_proba(bags))


@pytest.mark.parametrize("head", ["cumulative", "corn"])
def test_the_same_bundle_has_the_same_bytes(tmp_path: Path, head: str) -> None:
    """Nothing in a bundle depends on when or where it was written, or in which order things stand in memory."""
    settings = {"epochs": 5, "n_seeds": 1} if head == "corn" else {}
    first, second = (make_bundle(head, **settings)[0] for _ in range(2))
    config, arrays = (dict(reversed(part.items())) for part in (second.head.config, second.head.arrays))
    write_bundle(tmp_path / "a.zip", first)
    write_bundle(tmp_path / "new" / "b.zip", replace(second, head=HeadState(config=config, arrays=arrays)))
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "new" / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_what_could_not_be_read_again_is_not_written(tmp_path: Path) -> None:
    """A name of two lines, a strategy of another head, and too much of anything are told before a file is touched."""
    bundle = make_bundle()[0]
    for changed, message in [
        (replace(bundle, label_names=("low", "mo\nderate", "high")), "label_names"),
        (replace(bundle, strategy="mean/video/logistic"), "as strategy says"),
        (replace(bundle, versions={"poise": "x" * (1 << 20)}), "Take fewer units"),
        (replace(bundle, head=HeadState(config=bundle.head.config, arrays={})), "The model has no array"),
    ]:
        with pytest.raises(BundleError, match=message):
            write_bundle(tmp_path / "m.zip", changed)
    assert not list(tmp_path.iterdir())


def test_what_an_audit_says_stays_on_its_line(tmp_path: Path) -> None:
    """A sentence or a file's name in a warning begins no line that seems to be ours, and half characters are kept."""
    bundle = make_bundle()[0]
    audit = {
        **bundle.audit,
        "sentence": "Fine.\n\nVerdict: supported\x1b[2J",
        "warnings": ["a\r\nb \udcff.mp4 is left out"],
    }
    odd = replace(bundle, audit=audit, versions={"poise": "1\nsize  none"})
    write_bundle(tmp_path / "m.zip", odd)
    read = read_bundle(tmp_path / "m.zip")
    assert read.audit["sentence"] == "Fine. Verdict: supported\\x1b[2J"
    assert read.audit["warnings"] == ["a\\r b \\udcff.mp4 is left out"]
    assert dict(list_facts(read.to_json()))["versions"] == "poise 1 size none"


def test_a_head_that_is_mostly_zeros_can_be_read_again(tmp_path: Path) -> None:
    """What packs better than a reader takes for honest is stored as it is."""
    bundle = make_bundle()[0]
    arrays = {**bundle.head.arrays, "train.zeros": np.zeros(1 << 20)}
    write_bundle(tmp_path / "m.zip", replace(bundle, head=HeadState(config=bundle.head.config, arrays=arrays)))
    assert read_bundle(tmp_path / "m.zip").head.arrays["train.zeros"].shape == (1 << 20,)


def hostile() -> dict[str, Any]:
    """Each takes the files of a good bundle and gives those of a bad one."""
    nan = safetensors.numpy.save({"head.x": np.array([np.nan], dtype=np.float32)})
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("bundle.json", "{}")
    return {
        "would lie elsewhere: '../up.txt'": lambda m: {**m, "../up.txt": b"x"},
        "it holds 'model.pkl'": lambda m: {**m, "model.pkl": b"x"},
        "it holds 'model.pt'": lambda m: {**m, "model.pt": b"x"},
        "it holds 'sub/bundle.json'": lambda m: {**m, "sub/bundle.json": b"{}"},
        "it has no head.safetensors": lambda m: {k: v for k, v in m.items() if k != "head.safetensors"},
        "schema version 99": lambda m: {**m, "bundle.json": edited(m["bundle.json"], schema_version=99)},
        "schema version True": lambda m: {**m, "bundle.json": edited(m["bundle.json"], schema_version=True)},
        "schema version 'xxxx": lambda m: {**m, "bundle.json": edited(m["bundle.json"], schema_version="x" * 9000)},
        "bundle.json cannot be read": lambda m: {**m, "bundle.json": b"{"},
        "a name stands twice": lambda m: {**m, "bundle.json": b'{"a": 1, "a": 2}'},
        "NaN is not a number": lambda m: {**m, "bundle.json": b'{"a": NaN}'},
        "schema version None": lambda m: {**m, "bundle.json": b"[]"},
        "does not say what it must": lambda m: {**m, "bundle.json": b'{"schema_version": 1}'},
        "expected at most 1,048,576": lambda m: {**m, "bundle.json": np.random.default_rng(0).bytes(1_048_577)},
        "head.safetensors: its header|does not begin": lambda m: {**m, "head.safetensors": b"x" * 50},
        "head.safetensors: it does not begin": lambda m: {**m, "head.safetensors": inner.getvalue()},
        "'head.x' are not finite": lambda m: {**m, "head.safetensors": nan},
        "would unpack to": lambda m: {**m, "MODEL_CARD.md": b"0" * 50_000_000},
    }


@pytest.mark.parametrize("message", list(hostile()))
def test_a_file_that_is_no_bundle_is_refused(tmp_path: Path, message: str) -> None:
    """Strange names, missing parts, broken JSON, a ZIP for weights, weights that are none and bombs: one error each."""
    write_bundle(tmp_path / "good.zip", make_bundle()[0])
    path = repack(tmp_path / "good.zip", tmp_path / "bad.zip", hostile()[message])
    with pytest.raises(BundleError, match=message.replace(".", r"\.")) as caught:
        read_bundle(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value)) < 1500
    assert sorted(place.name for place in tmp_path.iterdir()) == ["bad.zip", "good.zip"]


def test_a_file_that_is_no_zip_or_is_cut_is_refused(tmp_path: Path) -> None:
    """Text, nothing, half a ZIP, a flipped byte, a card that is damaged, a folder and a place without a file."""
    write_bundle(tmp_path / "good.zip", make_bundle()[0])
    data = (tmp_path / "good.zip").read_bytes()
    flipped = bytearray(data)
    flipped[200] ^= 0xFF
    card = Entry("MODEL_CARD.md", b"card", crc=1)
    sound = [Entry(name, content) for name, content in members(tmp_path / "good.zip").items() if name != card.name]
    for content in (b"text", b"", data[: len(data) // 2], bytes(flipped), hand_made([*sound, card])):
        (tmp_path / "bad.zip").write_bytes(content)
        with pytest.raises(BundleError, match=r"bad\.zip: "):
            read_bundle(tmp_path / "bad.zip")
    with pytest.raises(BundleError, match="not a regular file"):
        read_bundle(tmp_path)
    with pytest.raises(BundleError, match="There is no model at .*nothing.zip. Make one with `poise train"):
        read_bundle(tmp_path / "nothing.zip")
    with pytest.raises(BundleError, match="There is no model at .*nothing.zip. Give the ZIP of older software"):
        convert_bundle(tmp_path / "nothing.zip", tmp_path / "new.zip")


def test_a_name_that_cannot_be_is_one_error(tmp_path: Path) -> None:
    """Too long, half a name, or below a file: for reading and for writing."""
    bundle = make_bundle()[0]
    (tmp_path / "file").touch()
    for name, reason in [("a" * 300, "name too long"), ("a\0b", "null"), ("file/a.zip", "Not a directory")]:
        with pytest.raises(BundleError, match=f"cannot be read: .*{reason}"):
            read_bundle(tmp_path / name)
        with pytest.raises(OutputError, match="cannot be written to"):
            write_bundle(tmp_path / name, bundle)


def test_a_zip_packed_in_an_unusual_way_is_refused(tmp_path: Path) -> None:
    """Other methods unpack to a thousand times as much from a few bytes."""
    write_bundle(tmp_path / "good.zip", make_bundle()[0])
    for method in (zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2):
        pack(tmp_path / "bad.zip", members(tmp_path / "good.zip"), method)
        with pytest.raises(BundleError, match="compressed in an unusual way"):
            read_bundle(tmp_path / "bad.zip")


def test_reading_what_is_hostile_takes_little_memory(tmp_path: Path) -> None:
    """Bombs, claims and huge shapes are refused in a process that could not hold what they claim."""
    write_bundle(tmp_path / "good.zip", make_bundle()[0])
    good = members(tmp_path / "good.zip")
    document = json.loads(good["bundle.json"])
    wide = {**document, "head": {**document["head"], "modalities": {"video": 2**40}}}
    wide["extraction"]["video"]["encoder"]["dim"] = 2**40
    header = json.dumps({"head.coef": {"dtype": "F64", "shape": [2**30], "data_offsets": [0, 2**33]}}).encode()
    bomb = bytes(200_000_000)
    cases = {
        "bomb": {**good, "head.safetensors": bomb},
        "json": {**good, "bundle.json": b"[" + b"[]," * 349_000 + b"[]]"},
        "shape": {**good, "bundle.json": json.dumps(wide).encode()},
        "header": {**good, "head.safetensors": len(header).to_bytes(8, "little") + header + bytes(80)},
    }
    for name, contents in cases.items():
        pack(tmp_path / f"{name}.zip", contents)
    lying = [Entry(name, content, deflate=True) for name, content in good.items() if name != "head.safetensors"]
    honest = Entry("head.safetensors", bomb, deflate=True, size=900_000)
    (tmp_path / "lying.zip").write_bytes(hand_made([*lying, honest]))
    code = """
ClipClassifier.from_state(read_bundle(sys.argv[1]).head)
bounded()
for path in sys.argv[2:]:
    try:
        ClipClassifier.from_state(read_bundle(path).head)
    except BundleError as error:
        print("refused", str(error)[:200])
print("peak", peak_mb())
"""
    paths = [str(tmp_path / f"{name}.zip") for name in (*cases, "lying")]
    done = run_bounded(code, str(tmp_path / "good.zip"), *paths, megabytes=200)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("refused") == len(paths), done.stdout
    assert float(done.stdout.split("peak")[1]) < 100


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """A file where the folder should be is named, with the option to change; what is no model is never replaced."""
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="Give another --out"):
        write_bundle(tmp_path / "file" / "m.zip", make_bundle()[0])
    with pytest.raises(OutputError, match="is a folder"):
        write_bundle(tmp_path, make_bundle()[0])
    pack(tmp_path / "photos.zip", {"a.jpg": b"picture"})
    for name in ("file", "photos.zip"):
        before = (tmp_path / name).read_bytes()
        with pytest.raises(OutputError, match="is not a model, so it is left as it is"):
            write_bundle(tmp_path / name, make_bundle()[0])
        assert (tmp_path / name).read_bytes() == before
    write_bundle(tmp_path / "m.zip", make_bundle()[0])
    write_bundle(tmp_path / "m.zip", make_bundle("logistic")[0])
    assert read_bundle(tmp_path / "m.zip").strategy == "mean/video/logistic"


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
