"""Promises of `poise demo`: real features find a real signal, and the controls find nothing."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from poise.cli import app
from poise.demo.tour import BY_SPEAKER, MARKER, SHIPPED, run
from poise.errors import OutputError
from poise.serve import read_bundle
from poise.store import FeatureStore


@pytest.mark.slow
def test_the_demo_finds_the_signal_and_the_controls_find_none(tmp_path: Path) -> None:
    """By speaker, QWK is at least 0.5; with shuffled labels at most 0.2; random encoders find nothing like it."""
    found = run(tmp_path / "demo")
    assert found.report.counts["stored"] == 48
    assert found.second_report.counts["already"] == 48
    assert found.second_report.n_clips_encoded == 0
    by_speaker = found.qwk(SHIPPED, BY_SPEAKER)
    assert by_speaker is not None
    assert by_speaker >= 0.5
    assert abs(found.shuffled_qwk) <= 0.2
    random = found.qwk(SHIPPED, BY_SPEAKER, found.random)
    assert random is not None
    assert random < by_speaker - 0.3
    for one in ("mean/video/cumulative", "mean/audio/cumulative"):
        alone = found.qwk(one, BY_SPEAKER)
        assert alone is not None
        assert 0.2 < alone < by_speaker
    assert {label: len(p.clips) for label, p in found.predictions.items()} == {"low": 3, "moderate": 3, "high": 3}
    names = {s.encoder for s in FeatureStore.open(tmp_path / "demo" / "features").feature_sets()}
    assert names == {"motion", "prosody", "videomae-random", "wavlm-random"}
    assert FeatureStore.open(tmp_path / "demo" / "features").verify().ok
    json.dumps(found.to_json(), allow_nan=False)
    study = json.loads((tmp_path / "demo" / "study" / "leaderboard.json").read_text())
    *command, out = study["settings"]["command"]
    assert out == str(tmp_path / "demo" / "study")
    again = CliRunner().invoke(app, [*command[1:], str(tmp_path / "again")])
    assert again.exit_code == 0, again.output
    made = json.loads((tmp_path / "again" / "leaderboard.json").read_text())
    figures = [
        [(row["strategy"], row["protocol"], row["metrics"]) for row in one["leaderboard"]] for one in (study, made)
    ]
    assert figures[0] == figures[1]
    assert "corrected for 5 strategies tried" in read_bundle(tmp_path / "demo" / "model.zip").audit["sentence"]


def test_the_demo_leaves_other_folders_alone(tmp_path: Path) -> None:
    """A folder with other files is refused, and so is a file in the way."""
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(OutputError, match="holds other files and is no earlier demo"):
        run(tmp_path)
    with pytest.raises(OutputError, match="cannot be written to"):
        run(tmp_path / "thesis.txt" / "demo")
    assert not (tmp_path / MARKER).exists()
