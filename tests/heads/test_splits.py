"""Protocols parse, folds keep groups and copies together, and what cannot be split says so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from poise.errors import ProtocolError, SplitError
from poise.heads.splits import Protocol, bound_groups, hash_folds, make_folds
from tests.heads.recordings import make_manifest, make_recordings


@pytest.mark.parametrize("text", ["kfold:3", "stratified:5", "group:speaker:4", "logo:source"])
def test_protocol_prints_what_it_was_parsed_from(text):
    """The text of a protocol is its name."""
    assert str(Protocol.parse(text)) == text


def test_five_folds_are_the_default():
    """The number of folds may be left out."""
    assert [str(Protocol.parse(text)) for text in ("kfold", "group:speaker")] == ["kfold:5", "group:speaker:5"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stratifed:5", "Did you mean 'stratified'"),
        ("holdout", "no protocol 'holdout'.*Expected kfold:5"),
        ("group", "'group' is not a protocol"),
        ("logo:speaker:3", "is not a protocol"),
        ("kfold:speaker:3", "is not a protocol"),
        ("kfold:1", "'1' is not a number of folds"),
        ("group:speaker:x", "'x' is not a number of folds"),
        ("kfold:" + "9" * 5000, "'9{20}…' is not a number of folds"),
    ],
)
def test_wrong_protocol_is_refused(text, message):
    """Every slip is named with what was expected."""
    with pytest.raises(ProtocolError, match=message):
        Protocol.parse(text)


@pytest.mark.parametrize("text", ["kfold:4", "stratified:4", "group:source:4", "group:speaker:4", "logo:speaker"])
@pytest.mark.parametrize("seed", [0, 1])
def test_every_recording_is_predicted_once_and_groups_never_cross(text, seed):
    """In each repeat the test sides part the rows; no group stands on both sides of a grouped fold."""
    _, manifest = make_recordings(n_copies=30, n_speakers=7)
    protocol = Protocol.parse(text)
    folds = make_folds(protocol, manifest, repeats=2, seed=seed)
    for repeat in range(2):
        tested = np.concatenate([fold.test for fold in folds if fold.repeat == repeat])
        assert sorted(tested) == list(range(len(manifest)))
    for fold in folds:
        assert not set(fold.train) & set(fold.test)
        for column in (protocol.column, "source") if protocol.column else ():
            groups = manifest.groups(column)
            assert not set(groups[fold.train]) & set(groups[fold.test])


def test_copy_never_leaves_its_source_even_where_their_groups_differ():
    """Groups that a copy ties together are one, through any number of links."""
    manifest = make_manifest([0, 1, 2, 0, 1, 1, 1, 0, 2], sources=[0, 1, 2, 3, 4, 1, 4, 3, 8])
    manifest = replace(manifest, extra={"day": np.array(list("aabcdbbee"))})
    groups = bound_groups(manifest, "day")
    assert groups.tolist() == [0, 0, 0, 1, 0, 0, 0, 1, 1]
    for fold in make_folds(Protocol.parse("logo:day"), manifest):
        assert not set(manifest.sources[fold.train]) & set(manifest.sources[fold.test])


def test_the_same_bytes_never_stand_on_both_sides_of_a_grouped_fold():
    """Equal keys bind their groups together, beside copies; random folds part them as they part all."""
    manifest = make_manifest([0, 1, 2, 0, 1, 2, 0, 1], speakers=list("abcdefgh"), sources=[0, 1, 2, 3, 4, 5, 3, 7])
    keys = ["k0", "k1", "k0", "k3", "k4", "k1", "k6", "k2"]
    groups = bound_groups(manifest, "speaker", keys=keys)
    assert groups.tolist() == [0, 1, 0, 2, 3, 1, 2, 4]
    for text in ("group:speaker:3", "group:source:3", "logo:speaker", "logo:source"):
        for fold in make_folds(Protocol.parse(text), manifest, keys=keys):
            assert not {keys[row] for row in fold.train} & {keys[row] for row in fold.test}
    for seed in range(3):
        plain, keyed = (make_folds(Protocol.parse("kfold:2"), manifest, keys=k, seed=seed) for k in (None, keys))
        assert hash_folds(plain, manifest) == hash_folds(keyed, manifest)


def test_files_that_bind_all_groups_together_leave_one():
    """When one file is said to be of every speaker, the error says that it binds them."""
    manifest = make_manifest([0, 1, 0, 1], speakers=list("abab"))
    with pytest.raises(SplitError, match="one group only .groups that a copy or the same file binds together"):
        make_folds(Protocol.parse("logo:speaker"), manifest, keys=["k", "k", "l", "m"])


def test_grouped_folds_hold_like_labels():
    """Grouped folds are stratified as far as groups allow."""
    _, manifest = make_recordings(n_originals=60)
    for fold in make_folds(Protocol.parse("group:source:5"), manifest):
        assert np.bincount(manifest.labels[fold.test]).tolist() == [4, 4, 4]


def test_grouped_folds_work_where_every_level_is_rarer_than_folds():
    """Where grouped stratification is impossible, plain grouped folds are made."""
    manifest = make_manifest([0, 0, 1, 1, 2, 2], speakers=list("abcdef"))
    assert len(make_folds(Protocol.parse("group:speaker:6"), manifest)) == 6


def test_seeds_and_repeats_change_the_folds_and_their_hash():
    """The hash tells splits apart and is the same for the same split."""
    _, manifest = make_recordings()
    protocol = Protocol.parse("stratified:4")
    hashes = [hash_folds(make_folds(protocol, manifest, seed=seed), manifest) for seed in (0, 0, 1)]
    assert hashes[0] == hashes[1] != hashes[2]
    twice = make_folds(protocol, manifest, repeats=2)
    assert not np.array_equal(twice[0].test, twice[4].test)


def test_only_the_rows_asked_for_are_split():
    """Rows that are left out stand on neither side."""
    _, manifest = make_recordings()
    rows = np.arange(0, 40, 2)
    for fold in make_folds(Protocol.parse("stratified:4"), manifest, rows=rows):
        assert set(fold.train) | set(fold.test) == set(rows)


@pytest.mark.parametrize(
    ("text", "labels", "speakers", "message"),
    [
        ("kfold:3", [1, 1, 1, 1], None, "one label .moderate.: there is one class only"),
        ("kfold:3", [0, -1, 1], None, "1 of 3 recordings have no label"),
        ("kfold:5", [0, 1, 0], None, "3 recordings, fewer members than 5 folds. Use the protocol kfold:3"),
        (
            "stratified:3",
            [0, 0, 0, 1, 1],
            None,
            "'moderate' has 2 .*fewer members than 3 folds.*stratified:2",
        ),
        ("stratified:2", [0, 0, 0, 1], None, "'moderate' has 1 recordings, .*Use kfold:2"),
        ("group:speaker:3", [0, 1, 0, 1], list("aabb"), "2 groups of speaker, fewer than 3 folds. Use group:speaker:2"),
        ("logo:speaker", [0, 1, 0, 1], list("aaaa"), "one group only"),
        ("logo:speaker", [0, 0, 1, 1], list("aabb"), "logo:speaker, fold 1: all 2 training recordings have one label"),
        ("logo:speaker", [0, 1, 0, 1], None, "cannot be split by speaker: .*no column 'speaker'"),
        ("logo:room", [0, 1, 0, 1], None, "cannot be split by room"),
        ("logo:speaker", [0, 1, 0, 1], ["a", "b", "", "b"], "no speaker given"),
    ],
)
def test_impossible_split_says_why_and_what_to_do(text, labels, speakers, message):
    """One clear error for labels, groups and folds that do not go together."""
    with pytest.raises(SplitError, match=message):
        make_folds(Protocol.parse(text), make_manifest(labels, speakers=speakers))


def test_protocols_are_ordered_by_what_they_keep_apart():
    """Random folds, then sources, then any other column, then speakers."""
    texts = ["logo:speaker", "group:source:5", "stratified:5", "group:camera:5"]
    ordered = sorted(texts, key=lambda text: Protocol.parse(text).hardness)
    assert ordered == ["stratified:5", "group:source:5", "group:camera:5", "logo:speaker"]
