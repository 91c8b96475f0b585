"""`ClipClassifier` keeps scikit-learn's contract on tables and on bags, and survives without pickle."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from poise.errors import BundleError, StrategyError
from poise.heads.classifier import ClipClassifier
from poise.heads.parameters import HEADS, NEURAL_HEADS
from poise.heads.state import HeadState
from poise.heads.strategy import Strategy
from poise.store.bags import Bags
from tests.heads.recordings import make_recordings

FAST = {"epochs": 15, "n_seeds": 2, "hidden": 16, "n_trees": 10}
KINDS = [("mean", "early", head) for head in HEADS]
KINDS += [("attention", "early", head) for head in NEURAL_HEADS]
KINDS += [("mean-std", "early", "corn"), ("gated-attention", "early", "softmax"), ("gated-attention", "mid", "coral")]
KINDS += [("attention", "gated", "corn"), ("mean", "mid", "regression"), ("max", "gated", "softmax")]


def make(pooling: str, head: str, *, fusion: str = "early", **settings: object) -> ClipClassifier:
    return ClipClassifier(pooling, fusion, head, **{**FAST, **settings})


def expected_failures(model: ClipClassifier) -> dict[str, str]:
    failures = {}
    if model.head != "logistic":
        failures["check_sample_weight_equivalence_on_dense_data"] = (
            "dropout, leave-one-out and leaf sizes count rows, not weights"
        )
    if model.head not in ("logistic", "softmax"):
        failures["check_classifiers_train"] = "ordinal heads predict the median level, not the likeliest"
    return failures


@pytest.mark.filterwarnings("ignore:The labels are texts")
@parametrize_with_checks(
    [
        ClipClassifier(),
        ClipClassifier("mean-std"),
        ClipClassifier(head="ridge"),
        ClipClassifier(head="softmax", n_seeds=2),
        ClipClassifier("attention", head="corn", n_seeds=2, epochs=20),
        ClipClassifier(head="lightgbm", n_trees=15),
    ],
    expected_failed_checks=expected_failures,
)
def test_table_form_keeps_scikit_learns_contract(estimator, check):
    """On a plain table the classifier is one like any other."""
    check(estimator)


@pytest.mark.parametrize(("pooling", "fusion", "head"), KINDS)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_state_predicts_the_same_bits(pooling, fusion, head, n_classes):
    """Settings as JSON and arrays are all that predictions need; two levels work as three do."""
    bags, manifest = make_recordings(signal=2.0)
    labels = np.minimum(manifest.labels, n_classes - 1)
    model = make(pooling, head, fusion=fusion).fit(bags, labels)
    state = model.export_state()
    config = json.loads(json.dumps(state.config, allow_nan=False))
    arrays = {name: np.frombuffer(a.tobytes(), dtype=a.dtype).reshape(a.shape) for name, a in state.arrays.items()}
    restored = ClipClassifier.from_state(HeadState(config=config, arrays=arrays))
    proba = model.predict_proba(bags)
    np.testing.assert_array_equal(restored.predict_proba(bags), proba)
    np.testing.assert_array_equal(restored.predict(bags), model.predict(bags))
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-12)
    assert proba.shape == (len(bags), n_classes)


@pytest.mark.parametrize(("pooling", "fusion", "head"), KINDS)
def test_learning_is_deterministic_and_finds_a_signal(pooling, fusion, head):
    """The same seed gives the same bits, and every strategy learns what can be learnt."""
    bags, manifest = make_recordings(n_originals=90, signal=4.0, dim=8)
    train, test = np.arange(60), np.arange(60, 90)
    model = make(pooling, head, fusion=fusion, epochs=60, lr=0.01, n_trees=40)
    first = clone(model).fit(bags[train], manifest.labels[train])
    torch.manual_seed(5)
    again = clone(model).fit(bags[train], manifest.labels[train])
    np.testing.assert_array_equal(first.predict_proba(bags), again.predict_proba(bags))
    assert first.score(bags[test], manifest.labels[test]) > 0.7


@pytest.mark.parametrize(("pooling", "head"), [("mean", "logistic"), ("mean-std", "corn"), ("attention", "softmax")])
def test_prediction_depends_neither_on_order_of_clips_nor_on_the_other_recordings(pooling, head):
    """One recording alone, or in a crowd, or with its clips shuffled: the same number."""
    bags, manifest = make_recordings(signal=2.0)
    model = make(pooling, head).fit(bags, manifest.labels)
    together = model.predict_proba(bags)
    alone = np.vstack([model.predict_proba(bags[[row]]) for row in range(len(bags))])
    np.testing.assert_allclose(alone, together, atol=1e-12)
    turned = {name: [bag.values[name][::-1] for bag in bags] for name in ("video", "audio")}
    np.testing.assert_allclose(model.predict_proba(Bags.from_arrays(turned)), together, atol=1e-12)


def test_attention_finds_the_clip_that_matters():
    """Weights sum to 1 in each recording, and the one telling clip gets most."""
    random = np.random.default_rng(0)
    labels = np.arange(60) % 2
    telling = random.integers(0, 5, 60)
    clips = 0.5 * random.normal(size=(60, 5, 6))
    clips[np.arange(60), telling, 0] += 4
    clips[np.arange(60), telling, 1] += 4 * (2 * labels - 1)
    bags = Bags.from_arrays({"video": list(clips.astype(np.float32))})
    model = ClipClassifier("attention", "video", "softmax", epochs=60).fit(bags, labels)
    shares = np.stack(model.attention(bags))
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-12)
    assert np.mean(shares.argmax(axis=1) == telling) > 0.9
    even = ClipClassifier("mean", "video").fit(bags, labels).attention(bags[[0]])
    np.testing.assert_array_equal(even, [np.full(5, 0.2)])


def test_many_recordings_are_trained_in_batches():
    """Above five hundred recordings training goes batch by batch, and still learns."""
    bags, manifest = make_recordings(n_originals=700, signal=4.0, dim=6)
    model = make("attention", "softmax", n_seeds=1, epochs=20, lr=0.02).fit(bags, manifest.labels)
    assert model.score(bags, manifest.labels) > 0.8
    assert len(model.attention(bags)) == 700


def test_bags_work_in_scikit_learns_tools():
    """Cross-validation, grid search, clone and pickle take bags as X."""
    bags, manifest = make_recordings(signal=4.0, dim=6)
    folds = GroupKFold(4)
    scores = cross_val_score(ClipClassifier(), bags, manifest.labels, groups=manifest.speakers, cv=folds)
    assert scores.mean() > 0.6
    search = GridSearchCV(ClipClassifier(), {"alpha": [0.1, 10.0], "fusion": ["video", "early"]}, cv=3)
    search.fit(bags, manifest.labels)
    best = search.best_estimator_
    restored = pickle.loads(pickle.dumps(best))
    np.testing.assert_array_equal(restored.predict_proba(bags), best.predict_proba(bags))


def test_strategy_becomes_a_classifier_with_its_settings():
    """A strategy's settings are the classifier's parameters, and its defaults are the same."""
    model = ClipClassifier.from_strategy(Strategy.parse("attention/audio/coral:hidden=7,lr=0.1"), random_state=3)
    changed = {"pooling": "attention", "fusion": "audio", "head": "coral", "hidden": 7, "lr": 0.1, "random_state": 3}
    assert model.get_params() == {**ClipClassifier().get_params(), **changed}


def test_what_was_left_to_be_chosen_is_told():
    """The penalty or the number of epochs that inner folds took; nothing where it was given."""
    bags, manifest = make_recordings(signal=2.0)
    cases = {
        ("early", "cumulative"): {"alpha"},
        ("late", "ridge"): {"video.alpha", "audio.alpha"},
        ("video", "corn"): {"epochs"},
        ("video", "lightgbm"): set(),
    }
    for (fusion, head), names in cases.items():
        assert set(ClipClassifier("mean", fusion, head, n_seeds=1).fit(bags, manifest.labels).chosen_) == names
    found = ClipClassifier().fit(bags, manifest.labels)
    same = ClipClassifier(alpha=found.chosen_["alpha"]).fit(bags, manifest.labels)
    assert same.chosen_ == {}
    np.testing.assert_array_equal(same.predict_proba(bags), found.predict_proba(bags))


def test_class_weights_equal_sample_weights():
    """Balanced weights are the inverse frequencies, times the sample weights."""
    bags, manifest = make_recordings(signal=1.0)
    labels = np.where(manifest.labels == 2, 1, manifest.labels)
    counts = np.bincount(labels)
    weights = (len(labels) / (2 * counts))[labels]
    by_class = ClipClassifier(class_weight="balanced").fit(bags, labels).predict_proba(bags)
    by_sample = ClipClassifier().fit(bags, labels, sample_weight=weights).predict_proba(bags)
    named = ClipClassifier(class_weight={0: weights[labels == 0][0], 1: weights[labels == 1][0]}).fit(bags, labels)
    np.testing.assert_allclose(by_class, by_sample, atol=1e-12)
    np.testing.assert_allclose(by_class, named.predict_proba(bags), atol=1e-12)
    assert isinstance(named.export_state().config["settings"]["class_weight"], dict)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pooling": "maen"}, "no pooling 'maen'. Did you mean 'mean'"),
        ({"head": "corm"}, "no head 'corm'. Did you mean"),
        ({"pooling": "attention"}, "Attention pooling does not go with the head cumulative"),
        ({"alpha": -1.0}, "alpha=-1.0 of a strategy: expected auto or a number from 1e-06"),
        ({"class_weight": "even"}, "class_weight=even"),
        ({"fusion": "smell"}, "needs smell, but the features are of"),
        ({"fusion": None}, "no fusion None"),
        ({"fusion": ["video"]}, r"no fusion \['video'\]"),
        ({"layer": True}, "layer=True of a strategy"),
    ],
)
def test_wrong_settings_are_refused_when_fitting(settings, message):
    """Nothing is checked before `fit`, everything is then."""
    bags, manifest = make_recordings()
    with pytest.raises(StrategyError, match=message):
        ClipClassifier(**settings).fit(bags, manifest.labels)


def test_unfit_input_is_refused():
    """Labels that do not fit, one class, no weight, and features that are no numbers."""
    bags, manifest = make_recordings()
    with pytest.raises(ValueError, match="40 recordings and 39 labels"):
        ClipClassifier().fit(bags, manifest.labels[:-1])
    with pytest.raises(ValueError, match="one class only"):
        ClipClassifier().fit(bags, np.zeros(40, dtype=int))
    with pytest.raises(ValueError, match="at least one non-zero"):
        ClipClassifier().fit(bags, manifest.labels, sample_weight=np.zeros(40))
    broken = Bags.from_arrays({"video": [np.full((2, 3), np.nan)] * 4})
    with pytest.raises(ValueError, match="NaN, infinity or numbers above"):
        ClipClassifier().fit(broken, [0, 1, 0, 1])
    for groups in ([None, *range(39)], [np.nan, *range(39)]):
        with pytest.raises(ValueError, match="Some groups are None or NaN"):
            ClipClassifier().fit(bags, manifest.labels, groups=groups)
    for weight in (5e-324, 1.7e308):
        with pytest.raises(StrategyError, match="A weight of 2 counts as two such recordings"):
            ClipClassifier().fit(bags, manifest.labels, sample_weight=np.full(40, weight))


def test_a_row_of_bags_is_no_bags():
    """One recording, and a list of them, say how to make bags of them."""
    bags, manifest = make_recordings()
    model = ClipClassifier().fit(bags, manifest.labels)
    with pytest.raises(ValueError, match=r"X is one Bag; expected Bags or a table. Select rows with a list"):
        model.predict(bags[0])
    with pytest.raises(ValueError, match="X is a list of Bag"):
        ClipClassifier().fit(list(bags), manifest.labels)
    np.testing.assert_array_equal(model.predict(Bags.from_list([bags[3]])), model.predict(bags)[[3]])


def test_a_state_that_could_not_be_read_again_is_not_exported():
    """Labels that JSON has no word for are refused when they are to be written, not when they are read."""
    bags, manifest = make_recordings()
    days = np.array(["2026-01-01", "2026-01-02", "2026-01-03"], dtype="datetime64[D]")[manifest.labels]
    with pytest.raises(BundleError, match="classes.0 is a date, expected a plain value"):
        ClipClassifier().fit(bags, days).export_state()
    state = ClipClassifier(random_state=np.uint8(3)).fit(bags, manifest.labels).export_state()
    assert state.config["settings"]["random_state"] == 3
    ClipClassifier.from_state(state)


def test_features_of_another_encoder_are_refused():
    """A model predicts only on what it was trained on."""
    bags, manifest = make_recordings()
    model = ClipClassifier().fit(bags, manifest.labels)
    with pytest.raises(StrategyError, match="video of 8, audio of 8, but the model was trained on video of 24"):
        model.predict(make_recordings(dim=8)[0])
    with pytest.raises(StrategyError, match="of other modalities"):
        model.predict(Bags.from_array(np.ones((2, 3))))


def damaged(state: HeadState, **changes: object) -> HeadState:
    return HeadState(config={**state.config, **changes}, arrays=state.arrays)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 9}, "version 9, expected 1"),
        ({"settings": {"magic": 1}}, "settings that are not known: magic"),
        ({"settings": {"hidden": -4}}, "settings are not valid"),
        ({"modalities": {}}, "modalities are {}"),
        ({"modalities": {"video": 1}}, "columns that 1 features do not have"),
        ({"modalities": ["video", "audio"]}, "expected names with dimensions"),
        ({"modalities": {"video": True, "audio": 24}}, "expected names with dimensions"),
        ({"modalities": {"video": 24, "smell": 24}}, "fusion 'auto' does not fit its modalities"),
        ({"settings": None}, "settings are None, expected names"),
        ({"settings": {"fusion": "audio"}}, "fusion 'audio' does not fit its modalities"),
        ({"settings": {"fusion": 5}}, "fusion 5 does not fit"),
        ({"settings": {"class_weight": {"0": "x"}}}, "class weights are"),
        ({"settings": {"random_state": -1}}, "random state is -1"),
        ({"settings": {"lr": 10**400}}, r"config\.settings\.lr has 1329 bits, expected at most 63"),
        ({"settings": {"lr": 10**9}}, "settings are not valid"),
        ({"settings": {"hidden": "9" * 400}}, "settings are not valid"),
        ({"settings": {"alpha": float("nan")}}, r"settings\.alpha is nan, expected an ordinary number"),
        ({"settings": {"alpha": b"1"}}, r"settings\.alpha is a bytes, expected a plain value"),
        ({"settings": {b"alpha": 1}}, r"a name in config\.settings is a bytes"),
        ({"settings": {"alpha": [[[[[[[[1]]]]]]]]}}, "is a list, expected a plain value"),
        ({"modalities": {"video": 24, "audio": 2**30}}, "dimensions from 1 to 1048576"),
        ({"temperature": -(10**5000)}, r"config\.temperature has 16610 bits"),
        ({"classes": [1]}, "expected two or more"),
        ({"classes": 3}, "expected two or more in a list"),
        ({"classes": [1, 0, 2]}, "labels of one kind in rising order"),
        ({"classes": [0, 1, 1]}, "labels of one kind in rising order"),
        ({"classes": [0, 1, 2**70]}, r"config\.classes\.2 has 71 bits"),
        ({"classes": [0, "1", 2]}, "labels of one kind in rising order"),
        ({"classes": [0, 1]}, "'cuts' has the shape"),
    ],
)
def test_state_that_does_not_fit_is_refused(change, message):
    """A damaged or foreign state is one clear error."""
    bags, manifest = make_recordings()
    state = ClipClassifier().fit(bags, manifest.labels).export_state()
    with pytest.raises(BundleError, match=message):
        ClipClassifier.from_state(damaged(state, **change))


def test_state_with_missing_or_broken_parts_is_refused():
    """Missing config and arrays, other numbers of features, and numbers that are not finite."""
    bags, manifest = make_recordings()
    state = ClipClassifier().fit(bags, manifest.labels).export_state()
    with pytest.raises(BundleError, match="lacks version, settings, classes"):
        ClipClassifier.from_state(HeadState(config={"modalities": {}}, arrays={}))
    without = {name: array for name, array in state.arrays.items() if name != "head.coef"}
    with pytest.raises(BundleError, match="no array 'coef'"):
        ClipClassifier.from_state(HeadState(config=state.config, arrays=without))
    more = {**state.arrays, "head.gate": state.arrays["head.coef"]}
    with pytest.raises(BundleError, match="has the array 'gate', which no such head has"):
        ClipClassifier.from_state(HeadState(config=state.config, arrays=more))
    broken = {**state.arrays, "head.coef": state.arrays["head.coef"] * np.nan}
    with pytest.raises(BundleError, match="'coef' .* is not all finite"):
        ClipClassifier.from_state(HeadState(config=state.config, arrays=broken))
    trees = make("mean", "lightgbm").fit(bags, manifest.labels).export_state()
    with pytest.raises(BundleError, match="no array 'roots'"):
        ClipClassifier.from_state(HeadState(config=trees.config, arrays=_standardiser(trees)))
    huge = {**state.arrays, "head.coef": np.full_like(state.arrays["head.coef"], 1e308)}
    with pytest.raises(BundleError, match=r"'coef' holds 1e\+308, expected at most 1e\+30"):
        ClipClassifier.from_state(HeadState(config=state.config, arrays=huge))
    flat = {**state.arrays, "head.standardiser.scale": 0 * state.arrays["head.standardiser.scale"]}
    with pytest.raises(BundleError, match="standardisation is damaged"):
        ClipClassifier.from_state(HeadState(config=state.config, arrays=flat))
    ridge = make("mean", "ridge").fit(bags, manifest.labels).export_state()
    falling = {**ridge.arrays, "head.cuts": ridge.arrays["head.cuts"][::-1]}
    with pytest.raises(BundleError, match="cutpoints are .*, expected rising ones"):
        ClipClassifier.from_state(HeadState(config=ridge.config, arrays=falling))


def _standardiser(state: HeadState) -> dict[str, np.ndarray]:
    return {name: array for name, array in state.arrays.items() if name.startswith("head.standardiser")}


@pytest.mark.parametrize("head", NEURAL_HEADS)
def test_a_training_that_runs_away_is_an_error(head):
    """Weights that are no numbers are never kept: the setting to change is named."""
    bags, manifest = make_recordings()
    with pytest.raises(StrategyError, match=f"training of {head} diverged: .*use a smaller lr"):
        make("mean", head, lr=1.0, weight_decay=1000.0, epochs=40).fit(bags, manifest.labels)


def test_texts_as_ordered_labels_are_warned_of():
    """The alphabet's order is not that of the levels; ranks, two labels and heads without order need no warning."""
    bags, manifest = make_recordings(signal=2.0)
    names = np.array(["low", "moderate", "high"])[manifest.labels]
    with pytest.warns(UserWarning, match="order is the alphabet's: high < low < moderate"):
        ClipClassifier(alpha=1.0).fit(bags, names)
    ClipClassifier(alpha=1.0).fit(bags, manifest.labels)
    ClipClassifier(head="logistic", alpha=1.0).fit(bags, names)
    ClipClassifier(alpha=1.0).fit(bags, np.where(names == "low", "low", "other"))


def test_weights_that_cannot_be_weighed_are_refused():
    """Below 0, not a number, or so far apart that the smaller ones are lost."""
    bags, manifest = make_recordings()
    for wrong in (-1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="class weights are .*expected finite numbers from 0 on"):
            ClipClassifier(class_weight={0: wrong, 1: 1.0, 2: 1.0}).fit(bags, manifest.labels)
    with pytest.raises(StrategyError, match="go from 1e-12 to 1e.12; expected the largest"):
        ClipClassifier().fit(bags, manifest.labels, sample_weight=np.where(manifest.labels == 1, 1e12, 1e-12))


@pytest.mark.parametrize("scale", [1e-50, 1.0, 1e50])
def test_trees_do_not_depend_on_the_scale_of_the_weights(scale):
    """Alike weights are alike however large they are written."""
    bags, manifest = make_recordings(signal=4.0)
    model = ClipClassifier(head="lightgbm", n_trees=5)
    found = model.fit(bags, manifest.labels, sample_weight=np.full(40, scale)).predict_proba(bags)
    np.testing.assert_allclose(found, model.fit(bags, manifest.labels).predict_proba(bags), atol=1e-9)


def test_features_too_large_to_be_squared_are_refused_by_every_head():
    """They would become constants without a word."""
    random = np.random.default_rng(0)
    bags = Bags.from_arrays({"video": [1e200 * random.normal(size=(2, 3)) for _ in range(12)]})
    with pytest.raises(ValueError, match="numbers above 1e.30"):
        ClipClassifier().fit(bags, np.arange(12) % 3)
