"""Promises of the schema: whatever is changed in a bundle, reading and serving it ends in one error that is ours."""

from __future__ import annotations

import contextlib
import copy
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from poise.errors import BundleError, EncoderError
from poise.extract import ClipSettings
from poise.extract.encoders.registry import make_encoder
from poise.extract.fingerprint import build_spec
from poise.heads import ClipClassifier
from poise.serve import Bundle, Predictor, write_bundle
from poise.serve.card import write_card
from poise.serve.schema import check_document
from poise.serve.values import parse_json
from poise.store import Bags

GONE = object()


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that can be served here: motion and prosody, joined clip by clip."""
    clips = ClipSettings(window_s=2.0, hop_s=2.0, min_tail_s=1.0)
    encoders = {"video": make_encoder("motion", "video"), "audio": make_encoder("prosody", "audio")}
    specs = {name: build_spec(encoder, clips, "pyav", "float16") for name, encoder in encoders.items()}
    rng, y = np.random.default_rng(0), np.arange(30) % 3
    bags = Bags.from_arrays(
        {name: [rng.standard_normal((2, encoder.dim)) for _ in y] for name, encoder in encoders.items()}
    )
    row = {"strategy": "mean/early/ridge", "protocol": "logo:speaker", "scored": "all", "n": 30}
    bundle = Bundle(
        label_names=("low", "moderate", "high"),
        extraction=specs,
        strategy="mean/early/ridge",
        head=ClipClassifier(fusion="early", head="ridge").fit(bags, y).export_state(),
        validation=({**row, "metrics": {"qwk": 0.5, "mae": None}, "interval": {"qwk": [0.2, 0.7]}},),
        audit={"verdict": "supported", "sentence": "Supported: it is.", "ladder": [], "warnings": []},
        training={"n_recordings": 30, "n_copies": 0, "n_speakers": 6, "digest": "0" * 64},
        versions={"poise": "0.1.0"},
    )
    path = tmp_path_factory.mktemp("schema") / "good.zip"
    write_bundle(path, bundle)
    return path


def put(document: dict[str, Any], place: str, value: Any) -> dict[str, Any]:
    """The document with another value at a dotted place."""
    changed = copy.deepcopy(document)
    *path, last = [int(part) if part.isdigit() else part for part in place.split(".")]
    inner: Any = changed
    for part in path:
        inner = inner[part]
    if value is GONE:
        del inner[last]
    else:
        inner[last] = value
    return changed


def repack(good: Path, path: Path, change: Callable[[dict[str, bytes]], dict[str, bytes]]) -> Path:
    with zipfile.ZipFile(good) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in change(contents).items():
            archive.writestr(name, content)
    return path


def with_value(good: Path, path: Path, place: str, value: Any) -> Path:
    def change(contents: dict[str, bytes]) -> dict[str, bytes]:
        document = put(json.loads(contents["bundle.json"]), place, value)
        return {**contents, "bundle.json": json.dumps(document).encode()}

    return repack(good, path, change)


ORIGIN = {"file": "a.pt", "sha256": "0" * 64, "style": "bare", "architecture": "MLP"}

WRONG = [
    ("label_names", ["low", "high"], "head.classes"),
    ("label_names", ["low", "low", "high"], "label_names"),
    ("label_names", ["low", "", "high"], "label_names"),
    ("label_names", "low", "label_names"),
    ("label_names", {"low": 0}, "label_names"),
    ("label_names", ["low", "mo\nderate", "high"], "label_names"),
    ("label_names", ["low", "mo\x1b[2Jderate", "high"], "label_names"),
    ("label_names", ["low", "x" * 300, "high"], "label_names"),
    ("label_names", [f"level {n}" for n in range(2000)], "label_names"),
    ("label_names", ["low"], "label_names"),
    ("strategy", 3, "strategy"),
    ("strategy", "magic", "'magic' is not a strategy"),
    ("strategy", "mean/early/magic", "no head 'magic'"),
    ("strategy", "mean/early/logistic", "head.settings.head is 'ridge', expected logistic, as strategy says"),
    ("strategy", "max/early/ridge", "head.settings.pooling is 'mean'"),
    ("strategy", "mean/mid/ridge", "head.settings.fusion is 'early'"),
    ("head", None, "head"),
    ("head.version", 9, "version 9"),
    ("head.temperature", GONE, "head.temperature is None, expected a number"),
    ("head.temperature", "warm", "head.temperature is 'warm', expected a number"),
    ("head.classes", 3, "head.classes"),
    ("head.classes", "012", "head.classes"),
    ("head.classes", ["0", "1", "2"], "head.classes"),
    ("head.classes", [0.0, 1.0, 2.0], "head.classes"),
    ("head.classes", [-1, 0, 1], "head.classes"),
    ("head.classes", [0, 1, 1], "head.classes"),
    ("head.classes", [0, 1, 2**65], "head.classes"),
    ("head.classes", [2, 1, 0], "head.classes"),
    ("head.classes", [0, 1], "'cuts' has the shape"),
    ("head.modalities", ["video", "audio"], "head.modalities"),
    ("head.modalities", {}, "head.modalities"),
    ("head.modalities", {"video": "30", "audio": 1}, "head.modalities.video"),
    ("head.modalities", {"video": True, "audio": 1}, "head.modalities.video"),
    ("head.modalities.video", 7, "encoder.dim"),
    ("head.modalities.smell", 7, "extraction"),
    ("head.modalities.audio", GONE, "extraction"),
    ("head.settings", None, "head.settings"),
    ("head.settings", [], "head.settings"),
    ("head.settings.fusion", 5, "head.settings.fusion is 5, expected early, as strategy says"),
    ("head.settings.fusion", "video", "head.settings.fusion is 'video'"),
    ("head.settings.fusion", ["early"], "fusion"),
    ("head.settings.pooling", None, "pooling"),
    ("head.settings.head", {"a": 1}, "head.settings.head"),
    ("head.settings.head", "lightgbm", "head.settings.head is 'lightgbm', expected ridge"),
    ("head.settings.layer", 2, "no feature set of extraction keeps layers apart"),
    ("head.settings.layer", "learnt", "no feature set of extraction keeps layers apart"),
    ("head.layers", [], "head.layers"),
    ("head.layers", {"video": 3}, "head.layers.video is 3, expected None, as extraction says"),
    ("head.modalities.video", 2**40, "head.modalities.video"),
    ("head.settings.lr", 10**200, "settings.lr has 665 bits"),
    ("head.settings.lr", [], "lr="),
    ("head.settings.class_weight", {"0": "x"}, "class weights"),
    ("head.settings.random_state", "x", "random state"),
    ("head.settings.magic", 1, "magic"),
    ("extraction", [], "extraction"),
    ("extraction.audio", GONE, "extraction"),
    ("extraction.video", 3, "extraction.video"),
    ("extraction.video.modality", "audio", "extraction.video.modality is 'audio', expected 'video'"),
    ("extraction.video.schema", GONE, "extraction.video.schema is None, expected 1, or the poise that made it"),
    ("extraction.video.schema", 2, "extraction.video.schema is 2"),
    ("extraction.video.schema", True, "extraction.video.schema is True"),
    ("extraction.video.assumed", "yes", "extraction.video.assumed is 'yes', expected true"),
    ("extraction.video.assumed", False, "extraction.video.assumed is False"),
    ("extraction.video.clips", GONE, "no extraction.video.clips"),
    ("extraction.video.clips", [2.0], "extraction.video.clips"),
    ("extraction.video.clips.window_s", "x", "window_s is 'x'"),
    ("extraction.video.clips.window_s", -1, "window_s"),
    ("extraction.video.clips.window_s", 10**250, "different clips"),
    ("extraction.video.clips.window_s", GONE, "extraction.video.clips"),
    ("extraction.video.clips.stride_s", 1, "extraction.video.clips"),
    ("extraction.video.decoder", GONE, "no extraction.video.decoder"),
    ("extraction.video.decoder", "pyav", "extraction.video.decoder"),
    ("extraction.video.decoder.backend", "opencv", "decoder.backend"),
    ("extraction.video.decoder.backend", ["pyav"], "decoder.backend"),
    ("extraction.video.decoder.contract", "x", "not the one"),
    ("extraction.video.dtype", GONE, "no extraction.video.dtype"),
    ("extraction.video.dtype", "float64", "extraction.video.dtype"),
    ("extraction.video.dtype", 16, "extraction.video.dtype"),
    ("extraction.video.encoder", GONE, "no extraction.video.encoder"),
    ("extraction.video.encoder", "motion", "extraction.video.encoder"),
    ("extraction.video.encoder.name", GONE, "no extraction.video.encoder.name"),
    ("extraction.video.encoder.name", 3, "encoder.name"),
    ("extraction.video.encoder.name", "/etc", "encoder.name"),
    ("extraction.video.encoder.name", "a\x00b", "encoder.name"),
    ("extraction.video.encoder.name", "", "no video encoder|encoder.name"),
    ("extraction.video.encoder.name", "nobody-has-this", "no video encoder"),
    ("extraction.video.encoder.name", "prosody", "encodes sound"),
    ("extraction.video.encoder.n_frames", "x", "n_frames"),
    ("extraction.video.encoder.n_frames", 10**9, "n_frames"),
    ("extraction.video.encoder.dim", None, "encoder.dim"),
    ("extraction.video.imported", {"collection": "x"}, "imported"),
    ("validation", None, "validation"),
    ("validation", [3], r"validation\[0\]"),
    ("validation.0.strategy", None, "strategy"),
    ("validation.0.strategy", "mean\x1b[2J", r"validation\[0\]\.strategy is .* expected a text of one line"),
    ("validation.0.protocol", "guess", "protocol"),
    ("validation.0.protocol", "logo:a\u2028b", r"validation\[0\]\.protocol is .* expected a text of one line"),
    ("validation.0.protocol", GONE, "no validation"),
    ("validation.0.scored", "both", r"validation\[0\].scored is 'both', expected originals or all"),
    ("validation.0.n", "x", r"validation\[0\].n"),
    ("validation.0.metrics", [], "metrics"),
    ("validation.0.metrics.qwk", "x", "metrics.qwk"),
    ("validation.0.interval", 3, "interval"),
    ("validation.0.interval.qwk", 3, "interval.qwk"),
    ("validation.0.interval.qwk", [0.1], "interval.qwk"),
    ("validation.0.interval.qwk", ["a", "b"], "interval.qwk"),
    ("validation.0.interval.qwk", [0.7, 0.2], "interval.qwk"),
    ("training", 3, "training"),
    ("training.n_recordings", "x", "n_recordings"),
    ("training.n_recordings", None, "n_recordings"),
    ("training.n_speakers", 0, "n_speakers"),
    ("training.label_counts", [1, 2], "training.label_counts is .* expected 3 counts"),
    ("training.label_counts", [1, 2, "x"], "training.label_counts"),
    ("training.digest", "x", "training.digest"),
    ("converted_from", "x", "converted_from is 'x', expected names with values"),
    ("converted_from", {}, "no converted_from.file"),
    ("converted_from", {"file": "a.pt", "style": "bare", "architecture": "MLP"}, "no converted_from.sha256"),
    ("converted_from", {**ORIGIN, "sha256": "x"}, "converted_from.sha256"),
    ("converted_from", ORIGIN, "validation is .* expected no line: an older bundle says nothing of it"),
    ("audit", [], "audit"),
    ("audit", GONE, "no audit"),
    ("audit.verdict", "fine", "audit.verdict is 'fine', expected supported or"),
    ("audit.verdict", "unknown", "audit.verdict is 'unknown', expected supported or"),
    ("audit.sentence", 3, "audit.sentence"),
    ("audit.ladder", [3], r"audit\.ladder\[0\]"),
    ("audit.ladder", [{"protocol": "x", "scored": "all"}], r"audit\.ladder\[0\]\.protocol: There is no protocol 'x'"),
    ("audit.ladder", [{"protocol": "logo:a\n# b"}], r"audit\.ladder\[0\]\.protocol is .* expected a text of one line"),
    ("audit.ladder", [{"protocol": "logo:a"}], r"no audit\.ladder\[0\]\.scored"),
    ("audit.ladder", [{"protocol": "logo:a", "scored": "some"}], r"audit\.ladder\[0\]\.scored is 'some'"),
    ("audit.ladder", [{"protocol": "logo:a", "scored": "all", "qwk": "high"}], r"audit\.ladder\[0\]\.qwk"),
    ("audit.ladder", [{"protocol": "logo:a", "scored": "all", "interval": [1]}], r"audit\.ladder\[0\]\.interval"),
    ("audit.warnings", [1], r"audit\.warnings\[0\]"),
    ("versions", [], "versions"),
    ("versions.poise", 1, "versions.poise"),
]


def test_the_untouched_bundle_is_served(good: Path) -> None:
    """What all others are changed from is accepted."""
    assert Predictor.from_bundle(good).model.head == "ridge"


@pytest.mark.parametrize(("place", "value", "message"), WRONG)
def test_a_changed_value_is_one_error_that_names_it(
    good: Path, tmp_path: Path, place: str, value: Any, message: str
) -> None:
    """A value of another kind, out of range or missing is never an accident further on."""
    with pytest.raises((BundleError, EncoderError), match=message):
        Predictor.from_bundle(with_value(good, tmp_path / "bad.zip", place, value))


def places(value: Any, prefix: str = "") -> list[str]:
    """Every place of a document, of a list the first."""
    inner = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    found = []
    for name, each in inner:
        place = f"{prefix}.{name}" if prefix else str(name)
        found += [place, *places(each, place)]
    return found


CONVERTED = {
    "converted_from": ORIGIN,
    "validation": [],
    "audit": {"verdict": "unknown", "sentence": "Unknown.", "ladder": [], "warnings": []},
    "training": {"n_recordings": None, "n_copies": None, "n_speakers": None, "digest": None},
}


def test_an_older_bundle_is_known_for_what_it_is(good: Path) -> None:
    """What was converted has no figures and no verdict, and nothing else may say that it has none."""
    with zipfile.ZipFile(good) as archive:
        document = json.loads(archive.read("bundle.json"))
    check_document({**document, **CONVERTED})
    for place, value, message in [
        ("audit", document["audit"], "audit.verdict is 'supported', expected unknown"),
        ("training", document["training"], "training.n_recordings is 30, expected null"),
        ("validation", document["validation"], "expected no line"),
    ]:
        with pytest.raises(BundleError, match=message):
            check_document({**document, **CONVERTED, place: value})


def test_layers_of_a_head_are_those_that_its_encoders_keep(good: Path) -> None:
    """The number of a layer, and of layers that are weighed, is held against what was extracted."""
    with zipfile.ZipFile(good) as archive:
        document = json.loads(archive.read("bundle.json"))
    layered = put(document, "extraction.video.encoder.n_layers", 4)
    check_document(put(layered, "head.settings.layer", "-4"))
    check_document(put(layered, "head.layers", {"video": 4}))
    with pytest.raises(BundleError, match="head.settings.layer is '4', expected one of the 4 layers"):
        check_document(put(layered, "head.settings.layer", "4"))
    with pytest.raises(BundleError, match="head.layers.video is 3, expected 4"):
        check_document(put(layered, "head.layers", {"video": 3}))


def test_windows_of_imported_features_need_not_be_said_but_are_windows(good: Path) -> None:
    """What a card tells of them is what they are."""
    with zipfile.ZipFile(good) as archive:
        document = json.loads(archive.read("bundle.json"))
    imported = put(document, "extraction.video.imported", {"collection": "x"})
    check_document(imported)
    check_document(put(imported, "extraction.video.clips", GONE))
    for odd in (None, {}, [], "5 s", {"window_s": "x", "hop_s": 1.0, "min_tail_s": 1.0}, {"window_s": 2.0}):
        with pytest.raises(BundleError, match=r"extraction\.video\.clips"):
            check_document(put(imported, "extraction.video.clips", odd))


def test_any_value_anywhere_is_accepted_or_refused_cleanly(good: Path, tmp_path: Path) -> None:
    """Every place of the document takes every kind of value: no other error than ours leaves."""
    with zipfile.ZipFile(good) as archive:
        document = json.loads(archive.read("bundle.json"))
    served = refused = 0
    for place in places(document):
        for value in (GONE, None, True, 0, -1, 2**70, 1.5, "", "x", [], [1], ["x"], {}, {"x": 1}, [[]], "é" * 200):
            changed = put(document, place, value)
            try:
                check_document(changed)
            except BundleError:
                refused += 1
                continue
            write_card(changed)
            with contextlib.suppress(BundleError, EncoderError):
                Predictor.from_bundle(with_value(good, tmp_path / "changed.zip", place, value))._doubts_of_model()
                served += 1
    assert refused > 300
    assert served > 50


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1e999}', "1e999 is not a number of ordinary size"),
        (b'{"a": ' + b"9" * 5000 + b"}", "9999999999… is not a number of ordinary size"),
        (b'{"a": Infinity}', "Infinity is not a number"),
        (b'{"a": "\\ud800"}', "surrogates not allowed"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "nested too deeply"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": {"b": 1, "b": 2}}', "a name stands twice"),
        (b" " * (1 << 20) + b"1", "longer than 1,048,576 bytes"),
    ],
)
def test_json_that_python_would_take_is_refused(content: bytes, message: str) -> None:
    """Numbers beyond a float, half characters, deep nests and doubled names do not get in."""
    with pytest.raises(ValueError, match=message):
        parse_json(content)


def doubled(content: bytes) -> bytes:
    """The same weights with one name twice in the header."""
    size = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + size].rstrip()
    name, entry = re.search(rb'("head\.cuts"):(\{[^}]*\})', header).groups()  # type: ignore[union-attr]
    header = header[:-1] + b"," + name + b":" + entry + b"}"
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + content[8 + size :]


def changed_array(name: str, change: Callable[[Any], Any]) -> Callable[[bytes], bytes]:
    def edit(content: bytes) -> bytes:
        arrays = safetensors.numpy.load(content)
        return safetensors.numpy.save({**arrays, name: np.ascontiguousarray(change(arrays[name]))})

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (doubled, "a name stands twice|duplicate"),
        (changed_array("head.coef", lambda a: a * 0 + 1e308), "'coef' holds"),
        (changed_array("head.cuts", lambda a: a[::-1]), "expected rising ones"),
        (changed_array("head.coef", lambda a: a.astype(bool)), "not all finite numbers"),
        (changed_array("head.coef", lambda a: a[:, :3]), "'coef' has the shape"),
        (changed_array("head.standardiser.scale", lambda a: a * 0), "standardisation is damaged"),
        (changed_array("head.standardiser.kept", lambda a: a[::-1]), "standardisation is damaged"),
        (changed_array("head.standardiser.kept", lambda a: a - 1), "columns that"),
        (lambda content: content[:0], r"head\.safetensors: it does not begin with the length"),
        (lambda content: content[:20], r"head\.safetensors: it does not begin with the length"),
        (lambda content: b"\xff" * 8 + content[8:], r"head\.safetensors: it does not begin with the length"),
    ],
)
def test_changed_weights_are_one_error(
    good: Path, tmp_path: Path, edit: Callable[[bytes], bytes], message: str
) -> None:
    """Weights that would give no probabilities, and files that hold no weights, are refused."""

    def change(contents: dict[str, bytes]) -> dict[str, bytes]:
        return {**contents, "head.safetensors": edit(contents["head.safetensors"])}

    with pytest.raises(BundleError, match=message):
        Predictor.from_bundle(repack(good, tmp_path / "bad.zip", change))
