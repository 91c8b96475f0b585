"""Late fusion, levels that are not there, temperatures and processes: the same whatever the head."""

from __future__ import annotations

import numpy as np
import pytest

from poise.errors import BundleError, StrategyError
from poise.heads.classifier import ClipClassifier
from poise.heads.fitting import decode
from poise.heads.plan import run_tasks
from poise.heads.problem import Problem
from poise.heads.splits import Protocol, make_folds
from poise.heads.state import HeadState
from poise.heads.strategy import Strategy
from poise.heads.validate import cross_validate
from poise.store.bags import Bags
from tests.heads.recordings import make_recordings


def without(bags: Bags, *, video: set[int] = frozenset(), audio: set[int] = frozenset()) -> Bags:
    """The same recordings, some of which lack a modality."""
    lacking = {"video": video, "audio": audio}
    return Bags.from_arrays(
        {
            name: [bag.values[name][: 0 if row in rows else None] for row, bag in enumerate(bags)]
            for name, rows in lacking.items()
        },
        keys=bags.keys,
    )


def test_late_fusion_is_the_mean_of_two_classifiers():
    """Each is the one of its modality alone; where one is missing the other speaks alone."""
    bags, manifest = make_recordings(signal=2.0)
    gaps = without(bags, video={1, 5}, audio={2})
    late = ClipClassifier("mean", "late", "cumulative", alpha=1.0).fit(gaps, manifest.labels)
    has_video, has_audio = ([row for row in range(40) if row not in rows] for rows in ({1, 5}, {2}))
    video = ClipClassifier("mean", "video", "cumulative", alpha=1.0).fit(gaps[has_video], manifest.labels[has_video])
    audio = ClipClassifier("mean", "audio", "cumulative", alpha=1.0).fit(gaps[has_audio], manifest.labels[has_audio])
    found = late.predict_proba(gaps)
    np.testing.assert_allclose(found[1], audio.predict_proba(gaps[[1]])[0], atol=1e-9)
    np.testing.assert_allclose(found[2], video.predict_proba(gaps[[2]])[0], atol=1e-9)
    both = [row for row in range(40) if row not in {1, 2, 5}]
    mean = (video.predict_proba(gaps[both]) + audio.predict_proba(gaps[both])) / 2
    np.testing.assert_allclose(found[both], mean, atol=1e-9)
    for shares in late.attention(gaps):
        assert shares.sum() == pytest.approx(1)


@pytest.mark.parametrize("strategy", ["mean/late/cumulative", "mean/mid/ridge", "max/mid/lightgbm:n_trees=5"])
def test_recordings_may_lack_a_modality(strategy):
    """They are trained on and predicted, and what one lacks changes nothing for the others."""
    bags, manifest = make_recordings(signal=3.0, dim=6)
    gaps = without(bags, video={0, 7}, audio={3})
    model = ClipClassifier.from_strategy(Strategy.parse(strategy)).fit(gaps, manifest.labels)
    proba = model.predict_proba(gaps)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    alone = np.vstack([model.predict_proba(gaps[[row]]) for row in range(40)])
    np.testing.assert_allclose(alone, proba, atol=1e-12)
    state = model.export_state()
    np.testing.assert_array_equal(ClipClassifier.from_state(state).predict_proba(gaps), proba)


def test_recordings_of_one_modality_must_have_two_levels():
    """Else there is nothing that late fusion could learn from it."""
    bags, manifest = make_recordings()
    silent = {row for row in range(40) if manifest.labels[row] != 1}
    with pytest.raises(StrategyError, match="recordings that have audio are all of one level"):
        ClipClassifier("mean", "late").fit(without(bags, audio=silent), manifest.labels)


@pytest.mark.parametrize("head", ["cumulative", "logistic", "ridge", "frank-hall"])
def test_a_level_without_weight_gets_no_probability(head):
    """As if its recordings were not there; the state keeps which levels are known."""
    bags, manifest = make_recordings(signal=2.0)
    weighed = ClipClassifier(head=head, alpha=1.0, class_weight={0: 1.0, 1: 0.0, 2: 1.0}).fit(bags, manifest.labels)
    proba = weighed.predict_proba(bags)
    assert (proba[:, 1] == 0).all()
    rest = np.flatnonzero(manifest.labels != 1)
    fewer = ClipClassifier(head=head, alpha=1.0).fit(bags[rest], manifest.labels[rest])
    np.testing.assert_allclose(proba[:, [0, 2]], fewer.predict_proba(bags), atol=1e-9)
    state = weighed.export_state()
    np.testing.assert_array_equal(ClipClassifier.from_state(state).predict_proba(bags), proba)
    wrong = {**state.arrays, "head.known_levels": np.array([0, 3])}
    with pytest.raises(BundleError, match=r"knows the levels \[0, 3\] of 3"):
        ClipClassifier.from_state(HeadState(config=state.config, arrays=wrong))
    with pytest.raises(StrategyError, match="have a weight are of one level"):
        ClipClassifier(head=head, class_weight={0: 1.0, 1: 0.0, 2: 0.0}).fit(bags, manifest.labels)


@pytest.mark.parametrize("strategy", ["mean/early/cumulative", "mean/early/lightgbm:n_trees=20", "mean/late/ridge"])
def test_temperature_is_learnt_from_groups_held_out(strategy):
    """On noise that copies make look learnt, held-out groups ask for softer probabilities than held-out copies do."""
    bags, manifest = make_recordings(n_copies=40, dim=60)
    parsed = Strategy.parse(strategy)
    settings = {**parsed.params, "calibrate": "temperature"}
    softened = Strategy(pooling=parsed.pooling, fusion=parsed.fusion, head=parsed.head, params=settings)
    if parsed.head != "lightgbm":
        softened = Strategy.parse(f"{softened},alpha=0.01")
    model = ClipClassifier.from_strategy(softened)
    apart = model.fit(bags, manifest.labels, groups=manifest.sources).temperature_
    leaky = model.fit(bags, manifest.labels).temperature_
    assert apart > leaky
    plain = ClipClassifier.from_strategy(
        Strategy.parse(str(softened).replace("calibrate=temperature", "calibrate=none"))
    )
    sharp = plain.fit(bags, manifest.labels).predict_proba(bags)
    model.fit(bags, manifest.labels, groups=manifest.sources)
    soft = model.predict_proba(bags)
    assert soft.max(axis=1).mean() < sharp.max(axis=1).mean()
    assert ClipClassifier.from_state(model.export_state()).temperature_ == model.temperature_


def test_ordered_heads_predict_the_median_and_the_others_the_likeliest():
    """Where they differ, so do the heads."""
    proba = np.array([[0.4, 0.25, 0.35]])
    assert decode(proba, "cumulative").tolist() == [1]
    assert decode(proba, "logistic").tolist() == [0]


@pytest.mark.parametrize("strategy", ["mean/early/cumulative", "mean-std/early/lightgbm:n_trees=5"])
def test_processes_give_the_bits_that_one_process_gives(strategy, monkeypatch):
    """How long a fit takes decides where it runs, never what comes out."""
    bags, manifest = make_recordings(signal=1.0)
    folds = make_folds(Protocol.parse("stratified:4"), manifest)
    parsed = Strategy.parse(strategy)
    here = cross_validate(parsed, bags, manifest.labels, folds, n_classes=3)
    monkeypatch.setattr("poise.heads.plan._WORTH_IT_S", 0.0)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    there = cross_validate(parsed, bags, manifest.labels, folds, n_classes=3)
    np.testing.assert_array_equal(there.proba, here.proba)


def test_tasks_are_made_as_they_are_needed():
    """No more training sets lie in memory than are fitted."""
    ranks = make_recordings()[1].labels
    made = []
    settings = Strategy.parse("mean/video/ridge").settings

    def tasks():
        for number in range(3):
            made.append(number)
            problem = Problem(
                inputs=Bags.from_array(np.random.default_rng(number).normal(size=(40, 3))),
                ranks=ranks,
                weights=np.ones(40),
                groups=np.arange(40),
                n_classes=3,
                seed=number,
            )
            yield [problem], [problem.inputs]

    found = run_tasks(tasks(), settings, n_tasks=3)
    assert next(found)[0].shape == (40, 3)
    assert made == [0]
    assert len(list(found)) == 2


def test_centring_needs_the_column_and_a_classifier_refuses_it():
    """A strategy that centres is validated with the column, and never becomes a model of single recordings."""
    bags, manifest = make_recordings(signal=4.0, dim=6)
    strategy = Strategy.parse("mean/early/cumulative:center=speaker")
    folds = make_folds(Protocol.parse("logo:speaker"), manifest)
    with pytest.raises(StrategyError, match="no column 'speaker' to centre by. Known: none"):
        cross_validate(strategy, bags, manifest.labels, folds, n_classes=3)
    found = cross_validate(strategy, bags, manifest.labels, folds, n_classes=3, columns={"speaker": manifest.speakers})
    assert np.mean(found.predicted[0] == manifest.labels) > 0.6
    with pytest.raises(StrategyError, match="centres by group, which no classifier of single recordings can do"):
        ClipClassifier.from_strategy(strategy)


def test_groups_decide_the_penalty():
    """Told which recordings belong together, the choice is a larger penalty on noise with copies."""
    bags, manifest = make_recordings(n_copies=40, dim=40)
    model = ClipClassifier(head="cumulative")
    leaky = np.abs(model.fit(bags, manifest.labels).head_.arrays()["coef"]).sum()
    apart = np.abs(model.fit(bags, manifest.labels, groups=manifest.sources).head_.arrays()["coef"]).sum()
    assert apart < leaky / 2
    with pytest.raises(ValueError, match="80 recordings and 79 groups"):
        model.fit(bags, manifest.labels, groups=manifest.sources[:-1])
