"""Promises of ``poise audit``: the verdict first, one JSON document, and an exit code that CI can ask for."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from poise.cli import app
from poise.store import FeatureStore
from tests.store.features import make_features, make_spec

LABELS = ["low", "moderate", "high"]
QUICK = ("--strategy", "mean/early/cumulative:alpha=0.1", "--permutations", "40")


def poise(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store and manifests of 36 recordings of six speakers whose first features show the label."""
    folder = tmp_path_factory.mktemp("audited")
    store = FeatureStore.create(folder / "features")
    random = np.random.default_rng(0)
    names = [f"s{speaker}_{take}" for speaker in range(6) for take in range(6)]
    for modality in ("video", "audio"):
        with store.writer(make_spec(name=f"test-{modality}", modality=modality)) as writer:
            for place, name in enumerate(names):
                values = random.standard_normal((3, 8)).astype(np.float32)
                values[:, 0] += 2 * (place % 3)
                writer.add(make_features(name, embeddings=values))
    shown = [LABELS[place % 3] for place in range(36)]
    for table, labels in (("manifest.csv", shown), ("shuffled.csv", random.permutation(shown))):
        rows = [
            f"{name}.mp4,{label},s{place // 6}" for place, (name, label) in enumerate(zip(names, labels, strict=True))
        ]
        (folder / table).write_text("\n".join(["path,label,speaker", *rows]))
    return folder


def arguments_of(study: Path, manifest: str = "manifest.csv") -> list[str]:
    return [str(study / manifest), "--store", str(study / "features"), "--labels", ",".join(LABELS), *QUICK]


def test_the_verdict_comes_first_and_supported_exits_with_zero(study):
    """Then the ladder, and a plain line for each question; nothing else on stdout."""
    done = poise("audit", *arguments_of(study))
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].startswith("Supported: on speakers it has not heard quadratic kappa is ")
    assert lines[2] == "mean/early/cumulative:alpha=0.1"
    assert [line.split()[0] for line in lines if line.strip().startswith(("stratified", "logo"))] == [
        "stratified:5",
        "logo:speaker",
    ]
    assert [line.split(":")[0] for line in lines[-3:]] == ["Overlap", "Level and speaker", "Chance"]


def test_every_other_verdict_exits_with_one_and_says_nothing_more(study):
    """CI sees the exit code, people the same page."""
    done = poise("audit", *arguments_of(study, "shuffled.csv"))
    assert done.exit_code == 1
    assert done.stdout.startswith("No evidence: ")
    assert "Error" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("manifest", "code"), [("manifest.csv", 0), ("shuffled.csv", 1)])
def test_json_is_one_document_with_the_same_exit_code(study, manifest, code):
    """The contract's keys, whatever the verdict."""
    done = poise("audit", *arguments_of(study, manifest), "--json")
    assert done.exit_code == code
    document = json.loads(done.stdout)
    assert {"verdict", "sentence", "ladder", "evidence", "findings", "warnings"} <= set(document)
    assert (document["verdict"] == "supported") == (code == 0)
    assert document["evidence"]["permutation"]["n_permutations"] == 40
    assert {"protocol", "scored", "n", "qwk", "accuracy", "interval"} <= set(document["ladder"][0])


def test_a_rung_that_cannot_be_made_is_told(study, tmp_path):
    """With one speaker there is nobody to leave out."""
    text = (study / "manifest.csv").read_text()
    for number in range(1, 6):
        text = text.replace(f",s{number}\n", ",s0\n")
    (tmp_path / "alone.csv").write_text(text.replace(",s5", ",s0"))
    done = poise("audit", tmp_path / "alone.csv", *arguments_of(study)[1:])
    assert done.exit_code == 1
    assert done.stdout.startswith("Too little data to tell: 1 speaker, where 4 or more are needed.")
    assert "No logo:speaker: logo:speaker: the 36 recordings are of one speaker" not in done.stdout
    assert "\nlogo:speaker: the 36 recordings are of one speaker" in done.stdout


def test_notes_go_to_stderr(study, tmp_path):
    """What is undeclared or not said about speakers is a note."""
    rows = [line.rpartition(",")[0] for line in (study / "manifest.csv").read_text().splitlines()]
    (tmp_path / "nobody.csv").write_text("\n".join(rows))
    done = poise("audit", tmp_path / "nobody.csv", *arguments_of(study)[1:])
    assert done.exit_code == 1
    assert "Note: The manifest has no column 'speaker'" in done.stderr
    assert "Note:" not in done.stdout
    assert "it may know the people rather than the level" in done.stdout


def test_a_strategy_that_does_not_exist_is_a_usage_error(study):
    """Before any feature is read."""
    done = poise("audit", *arguments_of(study)[:5], "--strategy", "mean/early/cumulativ")
    assert done.exit_code == 2
    assert "Did you mean 'cumulative'?" in done.stderr
    assert done.stdout == ""


def test_help_says_what_the_exit_codes_mean():
    """Whoever asks for it in CI finds it there."""
    text = " ".join(poise("audit", "-h").stdout.split())
    assert "Exit code 0 for the verdict supported, 1 for every other one" in text
