"""Promises of the audit: kinds of recordings and their verdicts, the JSON contract, what is reused and refused."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from poise.errors import SplitError, StrategyError
from poise.heads.audit import VERDICTS, Audit, audit, default_strategy
from poise.heads.audit.chance import stand_in
from poise.heads.splits import Protocol, make_folds
from poise.heads.strategy import Strategy
from poise.heads.validate import OutOfFold
from poise.manifest import Manifest
from poise.store.bags import Bags
from tests.heads.audit.cases import KINDS, make_case, make_kind

FIXED = Strategy.parse("mean/early/cumulative:alpha=0.1")
"""Without inner folds, for what does not depend on them."""


def look(bags: Bags, manifest: Manifest, **settings: object) -> Audit:
    return audit(bags, manifest, **{"strategy": FIXED, "n_permutations": 60, **settings})


@pytest.fixture(scope="module")
def copied() -> tuple[Bags, Manifest]:
    return make_kind("noise with copies", 0)


@pytest.fixture(scope="module")
def found(copied: tuple[Bags, Manifest]) -> Audit:
    return look(*copied)


@pytest.mark.parametrize(
    "kind",
    [
        "noise with copies, nobody named",
        "noise with undeclared copies",
        "level is the speaker",
        "level is one of four speakers",
        "signal within speakers",
        "noise",
        "three speakers",
        "signal, nobody named",
        "signal, each its own speaker",
        "signal, two levels",
    ],
)
def test_verdict_is_what_the_recordings_were_made_for(kind):
    """One draw of each kind; the slow trial has more."""
    assert look(*make_kind(kind, 1)).verdict == KINDS[kind][0]


N_DRAWS = 10
"""Of each kind; more take minutes."""


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_verdicts_over_many_draws(kind):
    """Hardly anything is called supported that is not, and most draws are called what they are."""
    verdicts = Counter(audit(*make_kind(kind, seed), n_permutations=100).verdict for seed in range(N_DRAWS))
    wanted = KINDS[kind][0]
    assert verdicts[wanted] >= N_DRAWS * (0.4 if kind == "weak signal" else 0.7)
    if "signal" not in kind:
        assert verdicts["supported"] <= 2
    if kind.startswith("noise") and "copies" not in kind:
        assert verdicts["leakage"] + verdicts["confounded"] <= 2


def test_json_keeps_the_contract(found):
    """The keys that others rely on, the ladder in order, and no NaN."""
    document = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert document["verdict"] == "leakage"
    assert document["verdict"] in VERDICTS
    assert document["sentence"].startswith("Leakage: random folds say quadratic kappa")
    assert [(rung["protocol"], rung["scored"], rung["n"]) for rung in document["ladder"]] == [
        (protocol, scored, n)
        for protocol in ("stratified:5", "group:source:5", "logo:speaker")
        for scored, n in (("originals", 42), ("all", 79))
    ]
    for rung in document["ladder"]:
        assert rung["interval"][0] <= rung["qwk"] <= rung["interval"][1]
        assert rung["group_only"]["column"] == "speaker"
        assert set(rung["majority"]) == {"qwk", "accuracy"}
        assert rung["interval_groups"] == ("speaker" if rung["protocol"] == "logo:speaker" else "source")
    evidence = document["evidence"]
    assert {"overlap", "groups", "copies", "permutation", "drops", "reasons"} <= set(evidence)
    assert evidence["copies"]["p"] > 0.01
    assert 0.2 < evidence["copies"]["auc"] < 0.8
    assert evidence["permutation"]["n_permutations"] == 60
    assert (evidence["n_recordings"], evidence["n_copies"], evidence["n_speakers"]) == (79, 37, 7)


def test_every_null_has_its_reason():
    """Without speakers, copies or levels to spare, what is undefined says why."""
    bags, manifest = make_kind("noise, nobody named", 0)
    document = look(bags, manifest, n_permutations=0).to_json()
    evidence = document["evidence"]
    for name in ("n_speakers", "groups", "copies"):
        assert evidence[name] is None
        assert evidence["reasons"][name]
    assert evidence["permutation"]["p"] is None
    assert "no permutation was asked for" in evidence["permutation"]["reason"]
    assert [rung["protocol"] for rung in document["ladder"]] == ["stratified:5"]
    assert document["ladder"][0]["group_only"] is None
    assert any("no column 'speaker'" in text for text in document["warnings"])


def test_the_same_again_is_the_same(copied, found):
    """Nothing but the seed decides."""
    assert look(*copied).to_json() == found.to_json()


def test_predictions_that_are_there_are_used(copied):
    """Only where they are of these rows and folds; else the strategy is fitted."""
    bags, manifest = copied
    folds = make_folds(Protocol.parse("logo:speaker"), manifest, keys=bags.keys)
    number = np.empty(79, dtype=np.int64)
    for fold in folds:
        number[fold.test] = fold.fold
    perfect = OutOfFold(
        rows=np.arange(79),
        proba=np.eye(3)[manifest.labels][None],
        predicted=manifest.labels[None],
        fold=number[None],
        seconds=0.0,
    )
    rungs = look(bags, manifest, known={"logo:speaker": perfect}, n_permutations=0).ladder
    assert [rung.qwk for rung in rungs if rung.protocol == "logo:speaker"] == [1, 1]
    other = replace(perfect, fold=(number[None] + 1) % 7)
    fewer = replace(perfect, rows=np.arange(1, 80))
    for strange in (other, fewer):
        rungs = look(bags, manifest, known={"logo:speaker": strange}, n_permutations=0).ladder
        assert all(rung.qwk < 0.5 for rung in rungs if rung.protocol == "logo:speaker")


def test_undeclared_copies_are_named_and_kept_together():
    """The pairs are told by their paths, and grouped folds do not part them."""
    bags, manifest = make_kind("noise with undeclared copies", 1)
    report = look(bags, manifest)
    pair = report.evidence["overlap"]["pairs"][0]
    assert report.evidence["overlap"]["n_pairs"] == 37
    assert int(pair["b"][1:-4]) == int(pair["a"][1:-4]) + 42
    assert pair["same_label"]
    assert any("undeclared copies" in text for text in report.warnings)
    assert [rung.protocol for rung in report.ladder if not rung.made] == ["logo:speaker"]
    assert "one speaker" in next(rung for rung in report.ladder if not rung.made).reasons["rung"]


def test_copies_that_differ_are_told_from_originals_without_a_label():
    """Their detection depends on features alone: other labels change nothing."""
    bags, manifest = make_kind("noise with copies", 0)
    sides = {
        name: [bag.values[name] + 3.0 * manifest.is_copy[row] * (np.arange(96) == 5) for row, bag in enumerate(bags)]
        for name in bags.modalities
    }
    marked = Bags.from_arrays(sides, keys=bags.keys)
    one = look(marked, manifest, n_permutations=0).evidence["copies"]
    labels = np.random.default_rng(5).permutation(manifest.labels[:42])[manifest.sources]
    other = look(marked, replace(manifest, labels=labels), n_permutations=0).evidence["copies"]
    assert one["auc"] == other["auc"] > 0.9


def test_copies_of_one_level_are_warned_of():
    """Being a copy then predicts the level."""
    labels = np.repeat([0, 1, 2], 14)
    report = look(*make_case(speakers=np.arange(42) % 7, labels=labels, n_copies=20), n_permutations=0)
    assert report.evidence["copies"]["p"] < 0.01
    assert any(text.startswith("Copies: being a copy predicts the level") for text in report.findings)
    assert any("Make as many copies of each level" in text for text in report.warnings)


def test_a_rung_that_cannot_be_made_says_why():
    """One speaker has all recordings of a level: without that one nothing can be learnt."""
    speakers = np.arange(48) % 6
    report = look(*make_case(speakers=speakers, labels=(speakers == 0).astype(np.int64), voice=2.0))
    last = report.ladder[-1]
    assert (last.protocol, last.made, last.qwk) == ("logo:speaker", False, None)
    assert "nothing can be learnt" in last.reasons["rung"]
    assert last.to_json()["reasons"]["rung"] == last.reasons["rung"]
    assert report.verdict == "confounded"
    assert "speakers cannot be kept apart: logo:speaker, fold 1" in report.sentence


def test_one_level_is_too_little():
    """No fold can be made, and the sentence says what is missing."""
    bags, manifest = make_kind("noise", 0)
    report = look(bags, replace(manifest, labels=np.zeros(48, dtype=np.int64)))
    assert report.verdict == "too little data"
    assert "1 level with 3 recordings or more, where 2 are needed" in report.sentence
    assert not any(rung.made for rung in report.ladder)


def test_few_recordings_are_too_little():
    """Twelve recordings tell nothing, whatever they say."""
    bags, manifest = make_case(speakers=np.arange(12) % 4, labels=np.arange(12) // 4, signal=1.2)
    report = look(bags, manifest)
    assert report.verdict == "too little data"
    assert "12 original recordings, where 20 or more are needed" in report.sentence


def test_a_speaker_that_is_missing_in_a_row_is_told():
    """People cannot be kept apart, and the line is named."""
    bags, manifest = make_kind("signal within speakers", 1)
    speakers = manifest.speakers.copy()
    speakers[3] = ""
    report = look(bags, replace(manifest, speakers=speakers))
    assert report.verdict == "too little data"
    assert "r3.mp4" in report.sentence
    assert report.evidence["groups_column"] == "source"


def test_recordings_without_a_modality_are_left_out():
    """They are counted, and another strategy may use them."""
    bags, manifest = make_kind("noise", 0)
    audio = [bag.values["audio"][: 0 if row in (3, 8) else None] for row, bag in enumerate(bags)]
    partial = Bags.from_arrays({"video": [bag.values["video"] for bag in bags], "audio": audio}, keys=bags.keys)
    report = look(partial, manifest, n_permutations=0)
    assert (report.evidence["n_recordings"], report.evidence["n_left_out"]) == (46, 2)
    mid = Strategy.parse("mean/mid/cumulative:alpha=0.1")
    assert look(partial, manifest, strategy=mid, n_permutations=0).evidence["n_recordings"] == 48
    (left, *_) = look(partial, manifest, n_permutations=0).warnings
    assert "are left out" in left
    assert "lack audio" in left
    some = look(bags, manifest, rows=np.arange(40), n_permutations=0)
    assert not [text for text in some.warnings if "left out" in text]
    assert some.evidence["n_recordings"] == 40


def test_p_is_corrected_for_the_strategies_that_were_tried():
    """Picking the best of many finds something in noise."""
    bags, manifest = make_kind("signal within speakers", 1)
    alone, many = (look(bags, manifest, n_tried=n) for n in (1, 10))
    assert alone.verdict == "supported"
    tested = many.evidence["permutation"]
    assert tested["n_permutations"] == 200  # with 60, no p could be small enough
    assert tested["p_corrected"] == pytest.approx(10 * tested["p"])
    assert "corrected for 10 strategies tried" in many.sentence
    assert any("for 10 strategies tried" in text for text in many.findings)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mean/early/cumulative", "mean/early/cumulative"),
        ("mean-std/mid/logistic:alpha=1,class_weight=balanced", "mean-std/mid/logistic"),
        (
            "attention/gated/corn:clips=first:3,center=speaker,layer=learnt",
            "mean/mid/cumulative:clips=first:3,center=speaker",
        ),
        ("max/late/lightgbm", "max/mid/cumulative"),
    ],
)
def test_a_linear_head_stands_in_where_a_thousand_fits_take_too_long(text, expected):
    """On the same clips and modalities; the evidence says so."""
    assert str(stand_in(Strategy.parse(text))) == expected


def test_other_heads_and_centring_are_audited_too():
    """The ladder is the strategy's own, the permutation test that of its stand-in."""
    bags, manifest = make_kind("signal within speakers", 1)
    report = look(bags, manifest, strategy=Strategy.parse("mean/early/ridge:alpha=1,center=speaker"))
    assert report.evidence["permutation"]["strategy"] == "mean/early/cumulative:center=speaker"
    assert "in place of mean/early/ridge" in report.evidence["permutation"]["note"]
    assert "tested with mean/early/cumulative:center=speaker)" in report.sentence
    assert report.verdict == "supported"


def test_many_recordings_are_dealt_on_their_leading_axes():
    """A thousand fits stay cheap, and the note says what was seen."""
    random = np.random.default_rng(0)
    speakers, labels = np.arange(304) % 25, random.integers(0, 3, 304)
    report = look(*make_case(speakers=speakers, labels=labels, signal=1.2), n_permutations=20)
    assert report.ladder[-1].protocol == "group:speaker:10"
    assert "64 leading principal axes" in report.evidence["permutation"]["note"]
    assert report.verdict == "supported"


def test_progress_counts_up_to_all():
    """The last call says that all is done."""
    calls: list[tuple[int, int, str]] = []
    look(*make_kind("noise", 0), n_permutations=10, progress=lambda *call: calls.append(call))
    assert [done for done, _, _ in calls] == sorted(done for done, _, _ in calls)
    assert calls[-1][0] == calls[-1][1]
    assert any("logo:speaker" in text for _, _, text in calls)


def test_what_cannot_be_audited_is_refused():
    """Other lengths, numbers out of range, no label, nothing usable, other modalities."""
    bags, manifest = make_kind("noise", 0)
    with pytest.raises(StrategyError, match="40 bags and 48 rows"):
        audit(bags[:40], manifest)
    for wrong in ({"n_permutations": -1}, {"n_tried": 0}, {"seed": -1}):
        with pytest.raises(StrategyError, match="expected permutations and a seed from 0 on"):
            audit(bags, manifest, **wrong)
    with pytest.raises(SplitError, match="48 of 48 recordings have no label"):
        audit(bags, replace(manifest, labels=np.full(48, -1)))
    nothing = Bags.from_arrays({"video": [bag.values["video"][:0] for bag in bags]})
    with pytest.raises(StrategyError, match="None of 48 recordings has what mean/video/cumulative"):
        audit(nothing, manifest, strategy=Strategy.parse("mean/video/cumulative"))
    with pytest.raises(StrategyError, match="features are of features; expected video or audio"):
        default_strategy(Bags.from_array(np.zeros((3, 2))))
