"""Promises of ``poise bundle``: the verdict first, one JSON document, older bundles made new or left as they are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from poise.heads import ClipClassifier
from poise.serve import read_bundle, write_bundle
from tests.serve.bundles import make_bundle, pack, repack
from tests.serve.legacy.old_networks import as_bags, make_clips, make_network, old_bundle, saved
from tests.test_cli import assert_refused, poise


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A bundle with two protocols and a warning."""
    bundle = make_bundle()[0]
    (row,) = bundle.validation
    rows = ({**row, "strategy": "majority", "baseline": True}, row, {**row, "protocol": "stratified:5", "n": 29})
    warned = {**bundle.audit, "warnings": ["Two speakers are one."]}
    write_bundle(tmp_path / "model.zip", replace(bundle, validation=rows, audit=warned))
    return tmp_path / "model.zip"


def test_show_tells_first_whether_a_model_holds(model: Path) -> None:
    """Then the figures, how it was made, its size and its limits."""
    shown = poise("bundle", "show", model)
    assert shown.exit_code == 0, shown.output
    parts = [
        "Supported: it is.",
        "Two speakers are one.",
        "logo:speaker, scored: all",
        "[majority]",
        "0.20 to 0.70",
        "stratified:5, scored: all",
        "low < moderate < high",
        "5 numbers for each clip",
        "windows of 5 s",
        "calibration",
        "30 recordings of 6 speakers",
        "0" * 64,
        "poise 0.1.0",
        f"{model.stat().st_size:,} bytes; 5 arrays of",
        "Not for decisions about people",
    ]
    places = [shown.stdout.index(part) for part in parts]
    assert places == sorted(places)


def test_show_names_a_verdict_that_the_sentence_does_not(model: Path, tmp_path: Path) -> None:
    """A sentence that says otherwise does not hide it; one that says it is not said twice."""
    bundle = read_bundle(model)
    write_bundle(tmp_path / "m.zip", replace(bundle, audit={**bundle.audit, "verdict": "leakage"}))
    assert "Verdict: leakage. Supported: it is." in poise("bundle", "show", tmp_path / "m.zip").stdout
    assert "Verdict:" not in poise("bundle", "show", model).stdout


def test_show_prints_one_document(model: Path) -> None:
    """With everything in bundle.json, the names of feature sets, shapes of arrays and the card."""
    document = json.loads(poise("bundle", "show", model, "--json").stdout)
    bundle = read_bundle(model)
    assert {name: document[name] for name in bundle.to_json()} == json.loads(json.dumps(bundle.to_json()))
    assert document["verdict"] == "supported"
    assert document["bytes"] == model.stat().st_size
    assert document["feature_sets"]["video"].startswith("motion@")
    assert document["arrays"]["head.coef"] == {"dtype": "float64", "shape": [1, 5]}
    assert document["card"] == bundle.card()


def test_show_says_that_nobody_knows_whether_an_older_bundle_holds(tmp_path: Path) -> None:
    """Unknown is no verdict in its favour, and how its features were made is assumed."""
    shown = poise("bundle", "show", old_bundle(tmp_path / "old.zip")).stdout
    for part in (
        "Unknown: this model was made by older software",
        "There are no figures.",
        "videomae-base, assumed: 768 numbers for each clip, float32",
        "wavlm-base-plus, assumed",
        "5 full windows, spread evenly",
        "trained on      not known",
        "digest          not known",
        "final_mlp.pt, saved as state_dict: attention over clips with 9 units",
        "versions        not known",
        "The audit's verdict is 'unknown': do not rely on what it predicts.",
        "How its features were made is assumed",
    ):
        assert part in shown


def test_convert_writes_a_bundle_with_the_same_predictions(tmp_path: Path) -> None:
    """And says on the way what is not known."""
    old, new = old_bundle(tmp_path / "old.zip"), tmp_path / "sub" / "new.zip"
    done = poise("bundle", "convert", old, "--out", new)
    assert done.exit_code == 0, done.output
    assert f"Written to {new}: low < moderate < high" in done.stdout
    assert "Note: Unknown: this model was made by older software" in done.stderr
    first, second = (
        ClipClassifier.from_state(read_bundle(path).head).predict_proba(as_bags(make_clips())) for path in (old, new)
    )
    np.testing.assert_array_equal(first, second)
    again = poise("bundle", "convert", old, "--out", new, "--json")
    document = json.loads(again.stdout)
    assert document["out"] == document["path"] == str(new)
    assert document["converted_from"]["style"] == "state_dict"
    assert document["verdict"] == "unknown"
    once = new.read_bytes()
    poise("bundle", "convert", old, "--out", new)
    assert new.read_bytes() == once


def test_convert_replaces_nothing_but_models(model: Path, tmp_path: Path) -> None:
    """Neither the older bundle itself nor anything else; and what is new already is left as it is."""
    old = old_bundle(tmp_path / "old.zip")
    before = old.read_bytes()
    assert_refused(poise("bundle", "convert", old, "--out", old), 1, "is not a model, so it is left as it is")
    assert old.read_bytes() == before
    assert_refused(poise("bundle", "convert", old, "--out", tmp_path), 1, "is a folder")
    assert_refused(poise("bundle", "convert", model, "--out", tmp_path / "n.zip"), 1, "there is nothing to convert")
    assert_refused(poise("bundle", "convert", old), 2, "--out")
    assert not (tmp_path / "n.zip").exists()


def test_objects_are_unpickled_only_when_asked(tmp_path: Path) -> None:
    """The way out is named, and works."""
    old = pack(tmp_path / "old.zip", {"model.pt": saved({"model": make_network(), "aux": {}})})
    new = tmp_path / "new.zip"
    for command in (["show", old], ["convert", old, "--out", new]):
        assert_refused(poise("bundle", *command), 1, f"{old}: model.pt: it holds Python objects", "--trust-pickle")
    done = poise("bundle", "convert", old, "--out", new, "--trust-pickle")
    assert done.exit_code == 0, done.output
    assert poise("bundle", "show", new).exit_code == 0
    assert poise("bundle", "show", old, "--trust-pickle").exit_code == 0
    asked = ["predict", tmp_path, "--model", old, "--video", tmp_path, "--audio", tmp_path]
    assert_refused(poise(*asked), 1, "it holds Python objects", "--trust-pickle")
    assert "it holds Python objects" not in poise(*asked, "--trust-pickle").stderr


def test_a_file_that_is_no_model_is_one_clear_block(tmp_path: Path) -> None:
    """Nothing, a text, and a bundle whose head cannot be built."""
    (tmp_path / "text.zip").write_text("text")
    for name, part in [("nothing.zip", "There is no model at"), ("text.zip", "it is not a whole ZIP")]:
        assert_refused(poise("bundle", "show", tmp_path / name), 1, str(tmp_path / name), part)
    write_bundle(tmp_path / "good.zip", make_bundle()[0])
    empty = safetensors.numpy.save({})
    repack(tmp_path / "good.zip", tmp_path / "m.zip", lambda files: {**files, "head.safetensors": empty})
    assert_refused(poise("bundle", "show", tmp_path / "m.zip"), 1, f"{tmp_path / 'm.zip'}: The model has no array")


def test_control_characters_of_a_bundle_are_shown_and_not_done(tmp_path: Path) -> None:
    """A sentence of a stranger does not clear the screen."""
    bundle = make_bundle()[0]
    evil = {**bundle.audit, "sentence": "a\x1b[2Jb", "warnings": ["c\x1b[2Jd"]}
    write_bundle(tmp_path / "m.zip", replace(bundle, audit=evil, versions={"x\x1b": "y\x1b"}))
    shown = poise("bundle", "show", tmp_path / "m.zip").stdout
    assert "\x1b" not in shown
    assert r"a\x1b[2Jb" in shown
