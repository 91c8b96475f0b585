"""Promises of the cautions: what flatters a leaderboard is said in words, and nothing else is."""

from dataclasses import replace

import pytest

from poise.errors import ManifestError
from poise.heads.cautions import find_cautions
from poise.heads.defaults import default_protocols
from poise.heads.splits import Protocol
from poise.manifest import Manifest
from tests.heads.recordings import make_recordings

RANDOM, BY_SPEAKER = Protocol.parse("stratified:5"), Protocol.parse("logo:speaker")


@pytest.fixture
def manifest() -> Manifest:
    """Recordings of several speakers, without copies."""
    found = make_recordings()[1]
    assert found.speakers is not None
    return found


def keys_of(manifest: Manifest) -> list[str]:
    return [f"k{row}" for row in range(len(manifest))]


def test_nothing_is_said_when_speakers_are_kept_apart(manifest: Manifest) -> None:
    """A complete speaker column and a grouped protocol need no caution."""
    assert find_cautions(manifest, keys_of(manifest), [RANDOM, BY_SPEAKER]) == []


def test_folds_that_mix_speakers_are_named(manifest: Manifest) -> None:
    """No speaker column, an empty cell, or random folds alone: each says that figures flatter."""
    without = replace(manifest, speakers=None, extra={"speeker": ("a",) * len(manifest)})
    (caution,) = find_cautions(without, keys_of(manifest), [RANDOM])
    assert "no column 'speaker': recordings of one person" in caution
    assert "Add a column 'speaker' that says who speaks, or rename the one that says it (speeker)" in caution
    assert "the figures flatter" in caution
    speakers = manifest.speakers.copy()  # type: ignore[union-attr]
    speakers[3] = ""
    (caution,) = find_cautions(replace(manifest, speakers=speakers), keys_of(manifest), [RANDOM])
    assert f"No speaker is given in {manifest.line(3)}" in caution
    (caution,) = find_cautions(manifest, keys_of(manifest), [RANDOM])
    assert "No protocol keeps speakers together" in caution


def test_a_level_that_no_recording_has_is_named(manifest: Manifest) -> None:
    """Its probability of 0 says nothing of the recordings."""
    more = replace(manifest, label_names=(*manifest.label_names, "very high"))
    (caution,) = find_cautions(more, keys_of(manifest), [BY_SPEAKER])
    assert caution.startswith("No recording has the level 'very high': nothing is learnt of it")


def test_an_incomplete_speaker_column_has_no_default_protocol(manifest: Manifest) -> None:
    """One empty cell must not quietly take the honest protocol away."""
    speakers = manifest.speakers.copy()  # type: ignore[union-attr]
    speakers[3] = ""
    with pytest.raises(ManifestError, match="no speaker given"):
        default_protocols(replace(manifest, speakers=speakers))


def test_the_same_bytes_under_two_rows_are_named(manifest: Manifest) -> None:
    """Equal keys are one recording; that it has two labels is said too; a declared copy is no surprise."""
    keys = keys_of(manifest)
    keys[5] = keys[0]
    labels = manifest.labels.copy()
    labels[5] = (labels[0] + 1) % manifest.n_classes
    (caution,) = find_cautions(replace(manifest, labels=labels), keys, [BY_SPEAKER])
    assert f"{manifest.line(5)} is the same as {manifest.line(0)}, with different labels" in caution
    sources = manifest.sources.copy()
    sources[5] = 0
    assert find_cautions(replace(manifest, sources=sources), keys, [BY_SPEAKER]) == []


def test_a_grouping_that_was_not_possible_is_said_instead_of_recommended(manifest: Manifest) -> None:
    """The reason stands where the advice to validate by speaker would be of no use."""
    (caution,) = find_cautions(manifest, keys_of(manifest), [RANDOM], hindrance="Speakers cannot be kept apart")
    assert caution.startswith("Speakers cannot be kept apart. So the validation is stratified:5")
    assert "say nothing about people it has not heard" in caution
