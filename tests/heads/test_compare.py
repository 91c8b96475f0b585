"""A comparison scores every strategy on identical rows and folds, and a study is written whole or not at all."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from poise.errors import OutputError, SplitError, StrategyError
from poise.heads.compare import compare as compare_and_audit
from poise.heads.comparison import Comparison
from poise.heads.metrics import METRICS
from poise.heads.splits import Protocol
from poise.heads.strategy import Strategy
from poise.heads.study import FILES, write_study
from poise.store.bags import Bags
from tests.heads.recordings import make_recordings

STRATEGIES = [Strategy.parse("mean/early/cumulative"), Strategy.parse("mean/video/cumulative:alpha=10")]
PROTOCOLS = [Protocol.parse("stratified:4"), Protocol.parse("logo:speaker")]


def compare(*args: object, **kwargs: object) -> Comparison:
    """A comparison without its audit, which takes longer than all that is tested here."""
    return compare_and_audit(*args, with_audit=False, **kwargs)


@pytest.fixture(scope="module")
def comparison():
    """Two strategies under two protocols, on recordings with copies."""
    bags, manifest = make_recordings(n_copies=12, signal=4.0)
    return compare(bags, manifest, strategies=STRATEGIES, protocols=PROTOCOLS, repeats=2)


def test_leaderboard_has_the_contracts_shape(comparison):
    """The keys that others rely on, no NaN, and a reason beside every null."""
    document = json.loads(json.dumps(comparison.to_json(study="x"), allow_nan=False))
    pairs = {(one["protocol"], one["a"], one["b"]) for one in document["comparisons"]}
    best = "mean/early/cumulative"
    others = ("mean/video/cumulative:alpha=10", "mean/early/ridge")
    assert pairs == {(protocol, best, other) for protocol in ("stratified:4", "logo:speaker") for other in others}
    assert document["audit"] is None
    assert document["audit_reason"]
    assert document["study"] == "x"
    for row in document["leaderboard"]:
        assert {
            "strategy",
            "protocol",
            "scored",
            "n",
            "metrics",
            "interval",
            "fold_mean",
            "fold_std",
            "seconds",
        } <= set(row)
        assert set(row["metrics"]) == set(METRICS)
        for part in ("metrics", "fold_mean", "fold_std", "interval"):
            undefined = {name for name, value in row[part].items() if value is None}
            assert undefined == set(row["reasons"].get(part, {}))


def test_audit_is_that_of_the_leader_and_counts_the_strategies_tried():
    """It stands in the document, with the ladder of the strategy that leads by speaker."""
    bags, manifest = make_recordings(n_copies=12, signal=4.0)
    found = compare_and_audit(bags, manifest, strategies=STRATEGIES, protocols=PROTOCOLS)
    told = json.loads(json.dumps(found.to_json(), allow_nan=False))["audit"]
    by_speaker = [row for row in found.rows if row.protocol == "logo:speaker" and not row.baseline]
    assert told["evidence"]["strategy"] == by_speaker[0].strategy
    assert told["verdict"] == "supported"
    rung = next(one for one in told["ladder"] if (one["protocol"], one["scored"]) == ("logo:speaker", "originals"))
    assert rung["qwk"] == by_speaker[0].metrics.values["qwk"]
    assert "2 strategies tried" in " ".join(told["findings"])


def test_baselines_come_first_then_the_best(comparison):
    """Each protocol begins with the dumb lines and goes on by falling kappa."""
    for protocol in ("stratified:4", "logo:speaker"):
        rows = [row for row in comparison.rows if row.protocol == protocol]
        names = [row.strategy for row in rows if row.baseline]
        assert names == ["majority", "prior", "group-only:speaker", "duration-only", "mean/early/ridge"]
        assert [row.baseline for row in rows] == [True] * 5 + [False] * 2
        kappa = [row.metrics.values["qwk"] for row in rows if not row.baseline]
        assert kappa == sorted(kappa, reverse=True)
        assert kappa[0] > 0.6


def test_interval_holds_the_pooled_metric(comparison):
    """The interval over speakers lies around the number it belongs to."""
    for row in comparison.rows:
        low, high = row.interval.values["accuracy"]
        assert low <= row.metrics.values["accuracy"] <= high
    assert comparison.cluster == "speaker"


def test_originals_are_scored_by_default_and_copies_when_asked(comparison):
    """Copies are trained on in both cases; without copies there is nothing to choose."""
    assert {(row.scored, row.n) for row in comparison.rows} == {("originals", 40)}
    bags, manifest = make_recordings(n_copies=12)
    rows = compare(bags, manifest, strategies=STRATEGIES[:1], protocols=PROTOCOLS[:1], score="all").rows
    assert {(row.scored, row.n) for row in rows} == {("all", 52)}
    bags, manifest = make_recordings()
    rows = compare(bags, manifest, strategies=STRATEGIES[:1], protocols=PROTOCOLS[:1], score="originals").rows
    assert {(row.scored, row.n) for row in rows} == {("all", 40)}


def test_recordings_that_a_strategy_cannot_use_are_left_out_for_all():
    """Every strategy is scored on the same recordings, and a warning says how many are not."""
    bags, manifest = make_recordings()
    audio = [clip if row not in (3, 8) else clip[:0] for row, clip in enumerate(bag.values["audio"] for bag in bags)]
    partial = Bags.from_arrays({"video": [bag.values["video"] for bag in bags], "audio": audio}, keys=bags.keys)
    found = compare(partial, manifest, strategies=STRATEGIES, protocols=PROTOCOLS)
    assert {row.n for row in found.rows} == {38}
    assert "2 of 40 recordings are left out" in found.warnings[0]
    assert f"({manifest.paths[3]}, {manifest.paths[8]})" in found.warnings[0]
    assert found.warnings[0].endswith("2 lack audio. To use them, choose a --fusion that they have.")
    alone = compare(partial, manifest, strategies=STRATEGIES[1:], protocols=PROTOCOLS[:1])
    assert {row.n for row in alone.rows} == {40}
    assert [text for text in alone.warnings if "left out" in text] == []
    assert alone.rows[4].strategy == "mean/video/ridge"


def test_an_error_after_recordings_were_left_out_says_so():
    """Where what is left has one label, what was left out is the reason, and is told."""
    bags, manifest = make_recordings()
    audio = [bag.values["audio"][: None if manifest.labels[row] == 1 else 0] for row, bag in enumerate(bags)]
    partial = Bags.from_arrays({"video": [bag.values["video"] for bag in bags], "audio": audio}, keys=bags.keys)
    with pytest.raises(SplitError, match="one class only") as caught:
        compare(partial, manifest, strategies=STRATEGIES, protocols=PROTOCOLS)
    assert "of 40 recordings are left out" in caught.value.__notes__[0]


def test_progress_counts_every_fit():
    """The last call says that all is done."""
    bags, manifest = make_recordings()
    calls = []
    compare(bags, manifest, strategies=STRATEGIES, progress=lambda *args: calls.append(args))
    assert [done for done, _, _ in calls] == list(range(1, len(calls) + 1))
    assert calls[-1][0] == calls[-1][1]
    assert calls[0][2] == "stratified:5  majority"


def test_progress_tells_of_the_learning_curve_and_of_attention_too():
    """Each part counts its own steps up to all of them."""
    bags, manifest = make_recordings(n_originals=24, n_speakers=3)
    calls = []
    networks = [Strategy.parse("attention/video/softmax:epochs=2,n_seeds=1")]
    found = compare(
        bags,
        manifest,
        strategies=networks,
        protocols=PROTOCOLS[1:],
        in_depth=True,
        progress=lambda *args: calls.append(args),
    )
    told = [(done, total) for done, total, text in calls if text.startswith(("learning curve", "attention"))]
    assert [done for done, _ in told[:-1]] == list(range(1, len(told)))
    assert told[-1][0] == told[-1][1]
    assert calls[-2][2] == "attention  attention/video/softmax:epochs=2,n_seeds=1"
    assert found.glances


def test_weight_free_features_are_a_baseline():
    """What no weights were needed for stands among the baselines, if every compared recording has it."""
    bags, manifest = make_recordings(signal=4.0)
    plain = Bags.from_arrays({"video": [bag.values["video"][:, :3] for bag in bags]})
    found = compare(bags, manifest, strategies=STRATEGIES[:1], protocols=PROTOCOLS[1:], weight_free=plain)
    names = [row.strategy for row in found.rows if row.baseline]
    assert names[-2:] == ["weight-free", "mean/early/ridge"]
    by_name = {row.strategy: row.metrics.values["qwk"] for row in found.rows}
    alone = compare(plain, manifest, strategies=[Strategy.parse("mean/video/ridge")], protocols=PROTOCOLS[1:])
    assert by_name["weight-free"] == alone.rows[-1].metrics.values["qwk"]
    gaps = Bags.from_arrays({"video": [bag.values["video"][: row > 1, :3] for row, bag in enumerate(bags)]})
    told = compare(bags, manifest, strategies=STRATEGIES[:1], protocols=PROTOCOLS[1:], weight_free=gaps)
    assert "weight-free" not in {row.strategy for row in told.rows}
    assert "2 of 40 recordings have no weight-free features, which are thus no baseline." in told.warnings
    with pytest.raises(StrategyError, match="40 bags and 39 weight-free ones"):
        compare(bags, manifest, strategies=STRATEGIES[:1], weight_free=plain[:39])


def test_a_strategy_that_cannot_be_fitted_leaves_the_others_alone():
    """It is named with the reason; where none is left its error is raised, with where it came from."""
    bags, manifest = make_recordings()
    wrong = Strategy.parse("mean/early/cumulative:center=room")
    found = compare(bags, manifest, strategies=[wrong, *STRATEGIES], protocols=PROTOCOLS)
    assert {row.strategy for row in found.rows if not row.baseline} == {str(one) for one in STRATEGIES}
    assert any(text.startswith(f"{wrong} is left out: ") for text in found.warnings)
    with pytest.raises(StrategyError, match="room") as caught:
        compare(bags, manifest, strategies=[wrong], protocols=PROTOCOLS)
    assert caught.value.__notes__ == [f"It was {wrong} under stratified:4 that could not be fitted."]


def test_the_board_is_a_table_for_pandas(comparison):
    """One row for each strategy and protocol, with the ends of its interval."""
    table = comparison.to_frame()
    assert len(table) == len(comparison.rows)
    assert table.loc[0, "strategy"] == comparison.rows[0].strategy
    last = comparison.rows[-1]
    assert tuple(table.loc[len(table) - 1, ["qwk_low", "qwk_high"]]) == last.interval.values["qwk"]
    assert set(METRICS) <= set(table.columns)


def test_result_does_not_depend_on_what_else_is_compared(comparison):
    """A strategy has the same numbers alone and in a grid."""
    bags, manifest = make_recordings(n_copies=12, signal=4.0)
    alone = compare(bags, manifest, strategies=STRATEGIES[:1], protocols=PROTOCOLS[1:], repeats=2)
    key = ("mean/early/cumulative", "logo:speaker")
    np.testing.assert_array_equal(alone.predictions[key].proba, comparison.predictions[key].proba)


def test_impossible_comparison_is_refused():
    """No strategy, other lengths, nothing usable, nothing original, no split."""
    bags, manifest = make_recordings(n_copies=5)
    with pytest.raises(StrategyError, match="44 bags and 45 rows"):
        compare(bags[:44], manifest, strategies=STRATEGIES)
    with pytest.raises(StrategyError, match="0 strategies"):
        compare(bags, manifest, strategies=[])
    for change in ({"seed": -1}, {"seed": 0.5}, {"repeats": 1.5}):
        with pytest.raises(StrategyError, match="a whole number from 0 on as the seed"):
            compare(bags, manifest, strategies=STRATEGIES, **change)
    with pytest.raises(StrategyError, match="no score 'nonsense'"):
        compare(bags, manifest, strategies=STRATEGIES, score="nonsense")
    clips = [bag.values["video"] for bag in bags]
    apart = {"video": [*clips[:20], *(clip[:0] for clip in clips[20:])]}
    apart["audio"] = [*(clip[:0] for clip in clips[:20]), *clips[20:]]
    with pytest.raises(StrategyError, match="of 45 recordings 20 lack audio, 25 lack video"):
        compare(Bags.from_arrays(apart), manifest, strategies=STRATEGIES)
    only_copies = Bags.from_arrays({"video": [clip if row >= 40 else clip[:0] for row, clip in enumerate(clips)]})
    with pytest.raises(StrategyError, match="None of the 5 usable recordings is an original"):
        compare(only_copies, manifest, strategies=STRATEGIES[1:])
    with pytest.raises(SplitError, match="cannot be split by room"):
        compare(bags, manifest, strategies=STRATEGIES, protocols=[Protocol.parse("logo:room")])


def test_study_holds_leaderboard_predictions_and_splits(tmp_path, comparison):
    """Four files that agree with each other; writing again replaces them."""
    folder = write_study(tmp_path / "study", comparison)
    write_study(folder, comparison)
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    board = json.loads((folder / "leaderboard.json").read_text())
    splits = json.loads((folder / "splits.json").read_text())
    assert board["study"] == str(folder)
    assert board["splits"]["logo:speaker"] == splits["protocols"]["logo:speaker"]["hash"]
    with open(folder / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 52 * 2 * 2 * 7
    names = ("mean/early/cumulative", "logo:speaker")
    own = [r for r in rows if (r["strategy"], r["protocol"]) == names]
    own = [r for r in own if r["scored"] == "1"]
    board_row = next(
        r for r in board["leaderboard"] if r["strategy"] == "mean/early/cumulative" and "logo" in r["protocol"]
    )
    assert np.mean([r["label"] == r["predicted"] for r in own]) == pytest.approx(board_row["metrics"]["accuracy"])
    assert sum(float(own[0][f"proba_{name}"]) for name in ("low", "moderate", "high")) == pytest.approx(1)


def test_folder_that_is_no_study_is_left_as_it_is(tmp_path, comparison):
    """Neither a folder with other files nor a file is overwritten, and a folder that cannot be made says so."""
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="holds 1 files but no study"):
        write_study(tmp_path, comparison)
    with pytest.raises(OutputError, match="is a file; a study is a folder"):
        write_study(tmp_path / "thesis.txt", comparison)
    with pytest.raises(OutputError, match="cannot be written"):
        write_study(tmp_path / "thesis.txt" / "study", comparison)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_without_speakers_intervals_draw_sources():
    """Sources are the groups where nobody says who speaks; three are needed."""
    bags, manifest = make_recordings(n_copies=12)
    found = compare(bags, replace(manifest, speakers=None), strategies=STRATEGIES[:1], protocols=PROTOCOLS[:1])
    assert found.cluster == "source"
    assert [row.strategy for row in found.rows][2] == "group-only:source"
