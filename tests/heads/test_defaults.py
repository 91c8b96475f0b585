"""The default protocols are the harshest that the recordings in use allow, and say so where one is not possible."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from poise.errors import ManifestError, SplitError
from poise.heads.compare import compare
from poise.heads.defaults import choose_defaults, default_protocols
from poise.heads.splits import make_folds
from poise.heads.strategy import Strategy
from poise.store.bags import Bags
from tests.heads.recordings import make_manifest, make_recordings


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"n_copies": 10}, ["stratified:5", "logo:speaker"]),
        ({"n_copies": 10, "n_speakers": 1}, ["stratified:5", "group:source:5"]),
        ({"n_speakers": 1}, ["stratified:5"]),
        ({"n_originals": 9}, ["stratified:3", "logo:speaker"]),
    ],
)
def test_default_is_the_harshest_grouping_the_manifest_allows(changes, expected):
    """Random folds for contrast, then speakers, else sources."""
    _, manifest = make_recordings(**changes)
    protocols = default_protocols(manifest)
    assert [str(protocol) for protocol in protocols] == expected
    assert all(make_folds(protocol, manifest) for protocol in protocols)


def test_default_is_plain_folds_where_a_level_is_too_rare_to_stratify():
    """A level with one recording cannot be in every fold."""
    assert [str(one) for one in default_protocols(make_manifest([0, 0, 0, 1, 1, 2]))] == ["kfold:5"]


def test_level_that_is_named_but_empty_does_not_spoil_the_default():
    """Stratified folds stay the default where a level between others has no recording."""
    assert [str(one) for one in default_protocols(make_manifest([0, 0, 2, 2, 2]))] == ["stratified:2"]


def test_default_is_chosen_on_the_rows_that_are_used():
    """Speakers, levels and copies that are left out count for nothing."""
    manifest = make_manifest([0, 1] * 6 + [2], speakers=["a"] * 10 + ["b", "b", "c"])
    assert [str(one) for one in default_protocols(manifest)] == ["kfold:5", "logo:speaker"]
    chosen = choose_defaults(manifest, rows=np.arange(12))
    assert [str(one) for one in chosen.protocols] == ["stratified:5", "logo:speaker"]
    chosen = choose_defaults(manifest, rows=np.arange(10))
    assert [str(one) for one in chosen.protocols] == ["stratified:5"]
    assert "Speakers cannot be kept apart here" in chosen.hindrance
    assert "of one speaker" in chosen.hindrance


def test_two_speakers_with_a_level_each_fall_back_with_the_reason():
    """Where no training side would have two levels, random folds are left, and why is said."""
    manifest = make_manifest([0] * 5 + [1] * 5, speakers=["a"] * 5 + ["b"] * 5)
    chosen = choose_defaults(manifest)
    assert [str(one) for one in chosen.protocols] == ["stratified:5"]
    assert "all 5 training recordings have one label" in chosen.hindrance
    copies = replace(manifest, sources=np.array([0, 0, 2, 2, 4, 5, 5, 7, 7, 9]))
    assert [str(one) for one in choose_defaults(copies).protocols] == ["stratified:5", "group:source:5"]


def test_copies_that_cannot_be_kept_with_their_sources_are_named():
    """Two sources of a level each cannot be held out by source: the default says that figures flatter."""
    chosen = choose_defaults(make_manifest([0, 0, 1, 1], sources=[0, 0, 2, 2]))
    assert [str(one) for one in chosen.protocols] == ["stratified:2"]
    assert "A copy and its source may stand on both sides" in chosen.note


def test_what_cannot_be_split_at_all_is_an_error_without_an_option():
    """One recording of the second level: no split leaves two levels to train on, and no option is blamed."""
    with pytest.raises(SplitError, match="5 usable recordings cannot be split.*give more recordings") as caught:
        choose_defaults(make_manifest([0, 0, 0, 0, 1]))
    assert "--cv" not in str(caught.value)
    with pytest.raises(SplitError, match="one class only"):
        choose_defaults(make_manifest([0, 0, 0]))
    with pytest.raises(ManifestError, match="no speaker given"):
        choose_defaults(make_manifest([0, 1, 0, 1], speakers=["a", "", "b", "b"]))


def test_a_comparison_survives_what_is_left_out_of_it():
    """A missing modality that leaves one speaker is a caution, not an error; the same files stay together."""
    bags, manifest = make_recordings(n_speakers=2)
    one = manifest.speakers == "s0"
    audio = [bag.values["audio"] if one[row] else bag.values["audio"][:0] for row, bag in enumerate(bags)]
    video = [bag.values["video"] for bag in bags]
    keys = [*bags.keys[:2], bags.keys[0], *bags.keys[3:]]
    partial = Bags.from_arrays({"video": video, "audio": audio}, keys=keys)
    found = compare(partial, manifest, strategies=[Strategy.parse("mean/early/ridge")], with_audit=False)
    assert list(found.folds) == ["stratified:5"]
    assert any("Speakers cannot be kept apart here" in text for text in found.warnings)
    assert any("Protocols by group keep such rows on one side" in text for text in found.warnings)
    people = replace(manifest, speakers=np.array([f"s{row}" for row in range(40)]))  # more than are left out one by one
    found = compare(partial, people, strategies=[Strategy.parse("mean/video/ridge")], with_audit=False)
    for fold in found.folds["group:speaker:10"]:
        assert (0 in fold.test) == (2 in fold.test)
