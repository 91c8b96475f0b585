"""Promises of prediction: the numbers of the store, an honest word about trust, and a clear error for a bad file."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from poise.errors import BundleError, CancelledError, MediaError
from poise.extract import ClipSettings, EncodedModality, extract
from poise.heads import ClipClassifier, Strategy
from poise.heads.splits import Protocol
from poise.manifest import Manifest, read_manifest
from poise.serve import Predictor, read_bundle
from poise.serve.recordings import as_bags
from poise.serve.training import train
from poise.store import Bags, FeatureStore
from tests.media import tone, write_video

CLIPS = ClipSettings(window_s=2.0, hop_s=2.0, min_tail_s=1.0)


@pytest.fixture(scope="module")
def extracted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest, FeatureStore]:
    """Six real recordings of three speakers, in a store of motion and prosody."""
    folder = tmp_path_factory.mktemp("predict")
    rows = ["path,label,speaker"]
    for i in range(6):
        sound = tone(5.0, hz=110 + 30 * i) * np.linspace(0.2, 1, 240_000, dtype=np.float32)
        write_video(folder / f"r{i}.mp4", seconds=5.0, fps=12, sound=sound)
        rows.append(f"r{i}.mp4,{'low' if i % 2 else 'high'},{i // 2}")
    (folder / "manifest.csv").write_text("\n".join(rows))
    manifest = read_manifest(folder / "manifest.csv", label_names=["low", "high"])
    store = FeatureStore.create(folder / "features")
    extract(manifest, store, video="motion", audio="prosody", clips=CLIPS)
    return folder, manifest, store


def train_on(
    extracted: tuple[Path, Manifest, FeatureStore], strategy: str, *, workers: int = 0
) -> tuple[Predictor, Bags]:
    folder, manifest, store = extracted
    bags = store.load(manifest)
    specs = {index.spec["modality"]: index.spec for index in store.indexes()}
    path = folder / f"{strategy.replace('/', '-').split(':')[0]}.zip"
    train(bags, manifest, specs, path, strategy=Strategy.parse(strategy), protocols=[Protocol.parse("stratified:2")])
    return Predictor.from_bundle(path, workers=workers), bags


NETWORK = "corn:epochs=2,n_seeds=1,hidden=8"


@pytest.mark.parametrize(
    "strategy",
    [
        "mean/early/ridge",
        "mean-std/audio/logistic",
        "max/video/cumulative:calibrate=temperature",
        f"attention/early/{NETWORK}",
        f"gated-attention/mid/{NETWORK}",
        f"mean/gated/{NETWORK}",
        "mean-std/mid/cumulative:clips=spread:2",
        "mean/late/cumulative",
        "mean/audio/lightgbm:n_trees=5",
    ],
)
def test_predicting_a_file_equals_predicting_its_stored_features(
    extracted: tuple[Path, Manifest, FeatureStore], strategy: str
) -> None:
    """`predict` on a file gives bit for bit the probabilities of that file's features in the store."""
    predictor, bags = train_on(extracted, strategy, workers=1)
    for row in (0, 3):
        stored = bags[[row]]  # alone, as a file is: more rows at once differ in the last bit
        prediction = predictor.predict(extracted[1].file(row))
        assert list(prediction.proba) == ["low", "high"]
        assert prediction.label == ["low", "high"][int(predictor.model.predict(stored)[0])]
        np.testing.assert_array_equal(list(prediction.proba.values()), predictor.model.predict_proba(stored)[0])
        np.testing.assert_array_equal(
            [clip.attention for clip in prediction.clips], predictor.model.attention(stored)[0]
        )


def test_each_clip_is_told_with_its_time_and_its_own_level(extracted: tuple[Path, Manifest, FeatureStore]) -> None:
    """Clips carry start, end, attention and the probabilities that each would give alone."""
    predictor, bags = train_on(extracted, "mean/early/ridge")
    prediction = predictor.predict(extracted[1].file(0))
    times = bags[0].clip_times["video"]
    assert [(clip.start_s, clip.end_s) for clip in prediction.clips] == [tuple(span) for span in times]
    for place, clip in enumerate(prediction.clips):
        one = {name: [values[place : place + 1]] for name, values in bags[0].values.items()}
        alone = predictor.model.predict_proba(Bags.from_arrays(one))[0]
        assert clip.proba is not None
        np.testing.assert_allclose(list(clip.proba.values()), alone)
    pooled = train_on(extracted, "mean-std/audio/logistic")[0].predict(extracted[1].file(0))
    assert [clip.proba for clip in pooled.clips] == [None] * len(pooled.clips)


SUPPORTED = {"verdict": "supported", "sentence": "Supported: it is.", "ladder": [], "warnings": []}


def test_a_model_that_its_audit_does_not_support_is_not_trusted(
    extracted: tuple[Path, Manifest, FeatureStore],
) -> None:
    """Fine figures by speaker do not help where the audit says that they are not real."""
    predictor, _ = train_on(extracted, "mean/early/ridge")
    bundle = predictor.bundle
    assert bundle.audit["verdict"] == "too little data"
    row = {**bundle.validation[-1], "strategy": bundle.strategy, "interval": {"qwk": [0.5, 0.9]}}
    fine = replace(bundle, validation=({**row, "protocol": "logo:speaker"},))
    (doubt,) = Predictor(fine, workers=0).predict(extracted[1].file(0)).doubts
    assert bundle.audit["sentence"] in doubt


def test_a_model_at_chance_is_not_trusted(extracted: tuple[Path, Manifest, FeatureStore]) -> None:
    """When the validation's interval covers chance, or there is none, every prediction says so."""
    predictor, _ = train_on(extracted, "mean/early/ridge")
    bundle = replace(predictor.bundle, audit=SUPPORTED)
    row = next(row for row in bundle.validation if row["strategy"] == bundle.strategy)
    for interval, word in [([-0.2, 0.6], "no better than chance"), (None, "says nothing about speakers")]:
        changed = ({**row, "protocol": "logo:speaker", "interval": {"qwk": interval}},)
        prediction = Predictor(replace(bundle, validation=changed), workers=0).predict(extracted[1].file(0))
        assert not prediction.trusted
        assert word in prediction.doubts[0]
    sure = {**row, "interval": {"qwk": [0.3, 0.9]}}
    good = Predictor(replace(bundle, validation=({**sure, "protocol": "logo:speaker"},)), workers=0)
    assert good.predict(extracted[1].file(0)).trusted
    write_video(extracted[0] / "short.mp4", seconds=0.6, fps=12, sound=tone(0.6))
    short = good.predict(extracted[0] / "short.mp4")
    assert not short.trusted
    assert "short" in short.flags


def test_only_a_protocol_that_keeps_speakers_apart_makes_a_model_trusted(
    extracted: tuple[Path, Manifest, FeatureStore],
) -> None:
    """Fine figures under random folds, or by source, say nothing; of two by speaker the worse one counts."""
    predictor, _ = train_on(extracted, "mean/early/ridge")
    bundle = replace(predictor.bundle, audit=SUPPORTED)
    row = {**bundle.validation[-1], "strategy": bundle.strategy, "interval": {"qwk": [0.5, 0.9]}}
    for protocols, word in [
        (["kfold:5"], "says nothing about speakers"),
        (["stratified:5", "group:source:5", "logo:speakers"], "says nothing about speakers"),
        ([], "says nothing about speakers"),
        (["logo:speaker", "kfold:5"], ""),
        (["group:speaker:3"], ""),
    ]:
        rows = tuple({**row, "protocol": protocol} for protocol in protocols)
        doubts = Predictor(replace(bundle, validation=rows), workers=0).predict(extracted[1].file(0)).doubts
        assert [word in doubt for doubt in doubts] == ([True] if word else [])
    worse = {**row, "protocol": "group:speaker:3", "interval": {"qwk": [-0.1, 0.4]}}
    rows = (worse, {**row, "protocol": "logo:speaker"}, {**row, "protocol": "kfold:5"})
    (doubt,) = Predictor(replace(bundle, validation=rows), workers=0).predict(extracted[1].file(0)).doubts
    assert "no better than chance under group:speaker:3" in doubt


def test_what_one_file_causes_is_an_error_of_that_file(
    extracted: tuple[Path, Manifest, FeatureStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Embeddings that are no numbers or do not fit, and a failing clip, name the file; so do features beyond a head."""
    predictor, _ = train_on(extracted, "mean/early/ridge")
    file = extracted[1].file(0)
    encoder = predictor._files._encoders["audio"]

    def fail(clips: object) -> None:
        raise RuntimeError("no such clip")

    for encode, message in [
        (lambda clips: np.full((len(clips), encoder.dim), np.nan), "prosody gave NaN or infinity"),
        (lambda clips: np.full((len(clips), encoder.dim), 1e6), "an embedding does not fit in float16"),
        (fail, "RuntimeError: no such clip"),
    ]:
        monkeypatch.setattr(encoder, "encode", encode)
        with pytest.raises(MediaError, match=rf"r0\.mp4: the model needs sound, and there is none: .*{message}"):
            predictor.predict(file)
    precise = {name: {**spec, "dtype": "float32"} for name, spec in predictor.bundle.extraction.items()}
    wide = Predictor(replace(predictor.bundle, extraction=precise), workers=0)
    one = wide._files._encoders["audio"]
    monkeypatch.setattr(one, "encode", lambda clips: np.full((len(clips), one.dim), 1e31))
    with pytest.raises(MediaError, match=r"r0\.mp4: the model can make nothing of it\. .*numbers above 1e\+30"):
        wide.predict(file)


def test_picture_and_sound_that_never_meet_are_an_error(tmp_path: Path) -> None:
    """The spans of both are told."""
    clip = EncodedModality(np.zeros((1, 3), np.float32), np.array([[0.0, 2.0]]), (), "")
    apart = {"video": clip, "audio": clip._replace(clip_times=np.array([[10.0, 12.0]]))}
    spec = {"dtype": "float16"}
    with pytest.raises(MediaError, match=r"a\.mp4: the model needs picture and sound at the same time.*video in 0-2 s"):
        as_bags("a.mp4", apart, {"video": spec, "audio": spec}, "early")
    nothing = clip._replace(embeddings=clip.embeddings[:0], clip_times=clip.clip_times[:0], reason="gone")
    with pytest.raises(MediaError, match="needs picture or sound, and there is neither: picture: gone and sound: gone"):
        as_bags("a.mp4", {"video": nothing, "audio": nothing}, {"video": spec, "audio": spec}, "late")


def test_what_is_assumed_of_features_is_compared_as_far_as_it_goes(
    extracted: tuple[Path, Manifest, FeatureStore],
) -> None:
    """A spec that says less serves as long as what it says is so; one that is no assumption must say all."""
    bundle = train_on(extracted, "mean/audio/ridge")[0].bundle
    spec = bundle.extraction["audio"]
    little = {"name": "prosody", "dim": spec["encoder"]["dim"]}

    def predictor(**changes: object) -> Predictor:
        return Predictor(replace(bundle, extraction={"audio": {**spec, **changes}}), workers=0)

    assert predictor(encoder=little, assumed=True).predict(extracted[1].file(0)).label in ("low", "high")
    for changes in ({"encoder": little}, {"encoder": {**little, "algorithm": 99}, "assumed": True}):
        with pytest.raises(BundleError, match="is not the one that the model was trained with: encoder.algorithm"):
            predictor(**changes)


def test_a_seed_of_any_size_trains(extracted: tuple[Path, Manifest, FeatureStore]) -> None:
    """Seeds above 2**32 are seeds like any other, and the bundle remembers them."""
    folder, manifest, store = extracted
    specs = {index.spec["modality"]: index.spec for index in store.indexes()}
    chosen = Strategy.parse("mean/early/corn:epochs=2,n_seeds=1")
    protocols = [Protocol.parse("stratified:2")]
    for seed in (2**32, 10**40):
        path = folder / "seed.zip"
        train(store.load(manifest), manifest, specs, path, strategy=chosen, protocols=protocols, seed=seed)
        assert Predictor.from_bundle(path).bundle.training["seed"] == seed


def test_a_file_without_what_the_model_needs_is_an_error(extracted: tuple[Path, Manifest, FeatureStore]) -> None:
    """No sound for a model that listens, and a text for a film, are errors that name the file."""
    predictor, _ = train_on(extracted, "mean/early/ridge")
    write_video(extracted[0] / "mute.mp4", seconds=3.0, fps=12, sound=None)
    with pytest.raises(
        MediaError, match=r"mute\.mp4: the model needs sound, and there is none: the file has no audio stream\.$"
    ):
        predictor.predict(extracted[0] / "mute.mp4")
    (extracted[0] / "text.mp4").write_text("no film")
    with pytest.raises(MediaError, match=r"text\.mp4"):
        predictor.predict(extracted[0] / "text.mp4")


@pytest.mark.parametrize("strategy", ["mean/late/cumulative", "mean/mid/ridge"])
def test_a_file_may_lack_a_modality_where_the_fusion_allows_it(
    extracted: tuple[Path, Manifest, FeatureStore], strategy: str
) -> None:
    """The other modality speaks alone, and a file with neither is an error that says why for both."""
    predictor, _ = train_on(extracted, strategy)
    write_video(extracted[0] / "silent.mp4", seconds=3.0, fps=12, sound=None)
    found = predictor.predict(extracted[0] / "silent.mp4")
    assert sum(found.proba.values()) == pytest.approx(1)
    assert sum(clip.attention for clip in found.clips) == pytest.approx(1)
    assert "no-sound" in found.flags
    assert any("its picture alone was judged" in doubt for doubt in found.doubts)


def test_a_prediction_can_be_followed_and_given_up(extracted: tuple[Path, Manifest, FeatureStore]) -> None:
    """Progress ends at the number of clips; whoever no longer wants it gets an error; the next one works."""
    predictor, _ = train_on(extracted, "mean/early/ridge", workers=2)
    told: list[tuple[int, int, str]] = []
    with predictor:
        found = predictor.predict(extracted[1].file(0), progress=lambda *state: told.append(state))
        assert told[-1] == (6, 6, "encoding")
        assert {"decode", "encode", "head", "total"} <= found.timings.keys()
        with pytest.raises(CancelledError, match=r"r0\.mp4"):
            predictor.predict(extracted[1].file(0), cancelled=lambda: True)
        assert predictor.predict(extracted[1].file(0)).proba == found.proba


def test_what_is_said_is_json(extracted: tuple[Path, Manifest, FeatureStore]) -> None:
    """Every key of the contract, and a prediction read back says the same."""
    found = train_on(extracted, "mean/early/ridge")[0].predict(extracted[1].file(0))
    said = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert {"path", "label", "proba", "trusted", "flags", "clips", "seconds"} <= said.keys()
    assert set(said["clips"][0]) == {"start_s", "end_s", "attention", "proba", "flags"}
    assert said["verdict"] == "too little data"
    assert said["likely"] is None
    assert replace(found, duration_s=float("nan")).to_json()["duration_s"] is None


def test_the_bundle_records_what_it_was_trained_on(extracted: tuple[Path, Manifest, FeatureStore]) -> None:
    """Counts, speakers, digest, seed and the whole leaderboard, without times, are in the bundle."""
    predictor, _ = train_on(extracted, "mean/early/ridge")
    training = predictor.bundle.training
    assert (training["n_recordings"], training["n_copies"], training["n_speakers"]) == (6, 0, 3)
    assert training["label_counts"] == [3, 3]
    assert len(training["digest"]) == 64
    assert all("seconds" not in row for row in predictor.bundle.validation)
    again = read_bundle(extracted[0] / "mean-early-ridge.zip")
    assert isinstance(ClipClassifier.from_state(again.head), ClipClassifier)
