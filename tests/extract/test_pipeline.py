"""Promises of extraction: every recording once, one typed outcome each, nothing lost, nothing invented."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from poise.errors import EncoderError, ExtractSettingsError, InvalidFeaturesError, MediaError, StoreWriteError
from poise.extract.clips import ClipSettings
from poise.extract.encoders.tiny import save_tiny_videomae, save_tiny_wavlm
from poise.extract.file_encoder import encode_file
from poise.extract.fingerprint import build_spec
from poise.extract.pipeline import extract
from poise.manifest import Manifest
from poise.store import FeatureStore, fingerprint
from tests.extract.plain_encoders import Grey, Loudness, Meddler, Moody, Wordy
from tests.media import cut_off, tone, write_sound, write_video

SHORT_CLIPS = ClipSettings(window_s=2, hop_s=2, min_tail_s=1)


def manifest_of(folder, *paths):
    return Manifest(
        table_path=None,
        root=folder,
        paths=paths,
        labels=np.zeros(len(paths), dtype=np.int64),
        label_names=("low", "high"),
        speakers=None,
        sources=np.arange(len(paths), dtype=np.int64),
        augmentations=("",) * len(paths),
    )


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """One file of each kind that matters."""
    folder = tmp_path_factory.mktemp("media")
    write_video(folder / "a.mp4", seconds=4)
    write_video(folder / "b.mp4", seconds=5, sound=tone(5, hz=300))
    write_video(folder / "mute.mp4", seconds=4, sound=None)
    write_sound(folder / "voice.wav", tone(4, sample_rate_hz=16_000))
    write_sound(folder / "silence.wav", np.zeros(64_000, np.float32))
    good = write_video(folder / "whole.mp4", seconds=8, options={"movflags": "faststart"})
    cut_off(good, folder / "cut.mp4", 0.6)
    good.unlink()
    (folder / "text.mp4").write_text("not a video")
    (folder / "empty.mp4").touch()
    os.mkfifo(folder / "pipe.mp4")
    shutil.copy(folder / "a.mp4", folder / "copy_of_a.mp4")
    return folder


def run(folder, store_path, *paths, video=None, audio=None, **options):
    """Extract with the two plain encoders, or others."""
    options.setdefault("clips", SHORT_CLIPS)
    return extract(
        manifest_of(folder, *paths),
        FeatureStore.create(store_path),
        video=video if video is not None else Grey(),
        audio=audio if audio is not None else Loudness(),
        **options,
    )


def by_path(report):
    return {outcome.path: outcome for outcome in report.outcomes}


@pytest.fixture(scope="module")
def report(media, tmp_path_factory):
    """Of a run over all of them."""
    paths = sorted(path.name for path in media.iterdir())
    return run(media, tmp_path_factory.mktemp("store") / "s", *paths, "nowhere.mp4")


class TestOutcomes:
    @pytest.mark.parametrize(
        ("path", "outcome", "reason"),
        [
            ("b.mp4", "stored", ""),
            ("mute.mp4", "partial", "audio: no sound"),
            ("voice.wav", "partial", "video: no picture"),
            ("silence.wav", "failed", "audio: silent"),
            ("cut.mp4", "partial", "truncated: the file declares"),
            ("text.mp4", "failed", "MediaError: .* not a media file"),
            ("empty.mp4", "failed", "MediaError: .*0 bytes"),
            ("pipe.mp4", "failed", "MediaError: .* named pipe"),
            ("nowhere.mp4", "failed", "NotReadableNowError: .* cannot be read"),
            ("copy_of_a.mp4", "already", "the same bytes as a.mp4"),
        ],
    )
    def test_every_file_ends_in_a_typed_outcome(self, report, path, outcome, reason):
        """With the reason beside it."""
        found = by_path(report)[path]
        assert found.outcome == outcome
        assert re.search(reason, found.reason) if reason else found.reason == ""

    @pytest.mark.parametrize("workers", [0, 1])
    def test_a_reason_is_never_longer_than_is_read(self, media, tmp_path, workers):
        """Nor does it hold what a terminal would act on: not in the report, and not in the store."""
        outcome = run(media, tmp_path / "s", "a.mp4", video=Wordy(), workers=workers).outcomes[0]
        assert outcome.reason.startswith("video: RuntimeError: the picture\\x00 of uint8 is very very ")
        assert "…" in outcome.reason
        assert outcome.reason.endswith(" very bad\\x1b[2J")
        (index,) = (i for i in FeatureStore.open(tmp_path / "s").indexes() if i.spec["modality"] == "video")
        assert len(index[outcome.key].reason) <= 500

    def test_the_report_counts_every_row_once(self, report):
        """In the manifest's order, with the contract's keys."""
        result = report.to_json()
        assert sum(result[name] for name in ("stored", "already", "partial", "failed")) == len(report.outcomes)
        assert [item["path"] for item in result["outcomes"]] == [outcome.path for outcome in report.outcomes]
        assert {"path", "key", "outcome", "reason", "n_clips"} <= result["outcomes"][0].keys()
        assert report.failed_share == pytest.approx(result["failed"] / len(report.outcomes))

    def test_a_file_that_cannot_be_hashed_has_no_key(self, report):
        """All others have the hash of their bytes."""
        keys = {outcome.path: outcome.key for outcome in report.outcomes}
        assert keys["nowhere.mp4"] is None
        assert keys["a.mp4"] == keys["copy_of_a.mp4"] is not None
        assert keys["a.mp4"] != keys["b.mp4"]


class TestTheStore:
    def test_what_is_stored_is_what_encoding_one_file_gives(self, media, tmp_path):
        """Extraction and prediction see the same clips and numbers."""
        run(media, tmp_path / "s", "a.mp4", "b.mp4", dtype="float32")
        bags = FeatureStore.open(tmp_path / "s").load(manifest_of(media, "a.mp4", "b.mp4"))
        for row, path in enumerate(("a.mp4", "b.mp4")):
            found = encode_file(media / path, [Grey(), Loudness()], clips=SHORT_CLIPS)
            for modality, encoded in found.items():
                stored = bags.modalities[modality]
                rows = slice(stored.offsets[row], stored.offsets[row + 1])
                np.testing.assert_array_equal(stored.values[rows], encoded.embeddings)
                np.testing.assert_array_equal(stored.clip_times[rows], encoded.clip_times)

    def test_flags_tell_which_clips_mean_little(self, tmp_path):
        """In the outcome and in the store, with the numbers of the clips; the clips are stored all the same."""
        quiet = np.concatenate([tone(4, level=0.004), tone(4), tone(2, level=0.004)])
        dark = lambda _, time_s: np.full((1, 1, 3), 5 if time_s < 2 else 200 - int(9 * time_s), np.uint8)  # noqa: E731
        write_video(tmp_path / "a.mp4", seconds=10, fps=10, sound=quiet, picture=dark)
        outcome = run(tmp_path, tmp_path / "s", "a.mp4").outcomes[0]
        assert (outcome.outcome, outcome.n_clips) == ("stored", 5)
        assert outcome.flags == ("blank", "blank:0-4", "dark:0", "quiet", "quiet:0-1,4")
        entry = FeatureStore.open(tmp_path / "s").entries(build_spec(Loudness(), SHORT_CLIPS, "pyav", "float16"))[
            outcome.key
        ]
        assert entry.flags == ("quiet", "quiet:0-1,4")

    def test_a_second_run_does_nothing(self, media, tmp_path, monkeypatch):
        """Everything is there already; no file is decoded and nothing is written."""
        paths = ("a.mp4", "copy_of_a.mp4", "mute.mp4", "silence.wav")
        run(media, tmp_path / "s", *paths)
        before = sorted(tmp_path.rglob("seg-*"))
        monkeypatch.setattr("av.open", None)
        report = run(media, tmp_path / "s", *paths)
        assert report.counts == {"stored": 0, "already": 3, "partial": 0, "failed": 1}
        assert "no sound" in by_path(report)["mute.mp4"].reason
        assert sorted(tmp_path.rglob("seg-*")) == before
        assert report.n_clips_encoded == 0

    def test_only_the_missing_feature_set_is_extracted(self, media, tmp_path):
        """Another encoder for one modality leaves the other alone."""
        run(media, tmp_path / "s", "a.mp4")
        report = run(media, tmp_path / "s", "a.mp4", video=Grey(scale=2.0))
        assert report.counts["stored"] == 1
        assert report.n_clips_encoded == 2
        assert len(FeatureStore.open(tmp_path / "s").feature_sets()) == 3

    def test_a_renamed_file_is_not_extracted_again(self, media, tmp_path):
        """A recording is its bytes; the new name is noted, so that it can be found without the file."""
        shutil.copy(media / "a.mp4", tmp_path / "old.mp4")
        run(tmp_path, tmp_path / "s", "old.mp4")
        (tmp_path / "old.mp4").rename(tmp_path / "new.mp4")
        report = run(tmp_path, tmp_path / "s", "new.mp4")
        assert report.counts["already"] == 1
        (tmp_path / "new.mp4").unlink()
        bags = FeatureStore.open(tmp_path / "s").load(manifest_of(tmp_path, "new.mp4"))
        assert len(bags.modalities["video"].values) == 2

    def test_a_file_that_changed_is_a_new_recording_and_the_old_one_is_reported_stale(self, media, tmp_path):
        """Its earlier features stay in the store and are named; a file that only moved is not stale."""
        for name in ("a.mp4", "b.mp4"):
            shutil.copy(media / name, tmp_path / name)
        store = FeatureStore.create(tmp_path / "s")
        manifest = manifest_of(tmp_path, "a.mp4", "b.mp4")
        first = extract(manifest, store, video=Grey(), audio=None, clips=SHORT_CLIPS)
        assert first.stale == ()
        shutil.copy(media / "b.mp4", tmp_path / "a.mp4")
        shutil.copy(media / "mute.mp4", tmp_path / "b.mp4")
        second = extract(manifest, store, video=Grey(), audio=None, clips=SHORT_CLIPS)
        # the bytes of b.mp4 are another row's now; those of a.mp4 are nowhere
        assert [(stale.path, stale.key) for stale in second.stale] == [("a.mp4", first.outcomes[0].key)]
        assert second.to_json()["stale"] == [{"path": "a.mp4", "key": first.outcomes[0].key}]
        assert first.outcomes[0].key in store.entries(build_spec(Grey(), SHORT_CLIPS, "pyav", "float16"))

    def test_a_file_of_the_same_name_in_another_folder_makes_nothing_stale(self, media, tmp_path):
        """Two sets of recordings with the same file names may share a store."""
        store = FeatureStore.create(tmp_path / "s")
        for folder, name in (("d1", "a.mp4"), ("d2", "b.mp4")):
            (tmp_path / folder).mkdir()
            shutil.copy(media / name, tmp_path / folder / "x.mp4")
            os.utime(tmp_path / folder / "x.mp4", (1e9, 1e9))
        time.sleep(2.1)  # keys of files that changed just now are not remembered
        for folder in ("d1", "d2", "d1"):
            report = extract(
                manifest_of(tmp_path / folder, "x.mp4"), store, video=Grey(), audio=None, clips=SHORT_CLIPS
            )
            assert report.stale == ()

    def test_every_recording_tells_which_run_stored_it(self, media, tmp_path):
        """Command, versions and both modalities under one run."""
        store = FeatureStore.create(tmp_path / "s")
        extract(manifest_of(media, "a.mp4"), store, video=Grey(), audio=Loudness(), clips=SHORT_CLIPS)
        runs = [index.run_of_key(key) for index in store.indexes() for key in index]
        assert len({run["run"] for run in runs}) == 1
        assert len(runs) == 2
        assert all(run["command"] == "extract" and run["versions"]["av"] and run["started"] for run in runs)

    def test_the_device_is_told_also_where_a_new_name_comes_first(self, media, tmp_path):
        """What is known of a run does not depend on whether its model was loaded when it began to write."""
        wavlm = save_tiny_wavlm(tmp_path / "wavlm")
        store = FeatureStore.create(tmp_path / "s")
        extract(manifest_of(media, "a.mp4"), store, video=None, audio=wavlm, clips=SHORT_CLIPS)
        report = extract(
            manifest_of(media, "copy_of_a.mp4", "b.mp4"), store, video=None, audio=wavlm, clips=SHORT_CLIPS
        )
        (index,) = store.indexes()
        assert index.run_of_key(report.outcomes[1].key)["encoder"]["device"] == "cpu"

    def test_failures_are_remembered_until_asked_again(self, media, tmp_path):
        """A failed recording is reported failed without being decoded; --retry-failed counts the attempts."""
        broken = Moody(float("nan"))
        first = run(media, tmp_path / "s", "voice.wav", audio=broken)
        assert first.outcomes[0].outcome == "failed"
        again = run(media, tmp_path / "s", "voice.wav", audio=Moody(RuntimeError("not called")))
        assert "NaN" in again.outcomes[0].reason
        assert again.n_clips_encoded == 0
        retried = run(media, tmp_path / "s", "voice.wav", audio=broken, retry_failed=True)
        assert retried.outcomes[0].attempts == 2
        cured = run(media, tmp_path / "s", "voice.wav", audio=Moody(RuntimeError(), limit=9.0), retry_failed=True)
        assert cured.outcomes[0].outcome == "partial"
        assert cured.outcomes[0].attempts == 3
        assert cured.outcomes[0].n_clips == 2

    def test_batches_across_recordings_change_nothing(self, tmp_path):
        """Twelve recordings in batches of three give what each gives alone, in the manifest's order."""
        paths = []
        for number in range(12):
            paths.append(f"{number}.wav")
            seconds = 2 + number % 3
            write_sound(tmp_path / paths[-1], tone(seconds, sample_rate_hz=16_000, level=0.05 * (number + 1)))
        report = run(tmp_path, tmp_path / "s", *paths, workers=4, dtype="float32")
        assert [outcome.path for outcome in report.outcomes] == paths
        audio = FeatureStore.open(tmp_path / "s").load(manifest_of(tmp_path, *paths)).modalities["audio"]
        for number, path in enumerate(paths):
            expected = encode_file(tmp_path / path, [Loudness()], clips=SHORT_CLIPS)["audio"].embeddings
            rows = slice(audio.offsets[number], audio.offsets[number + 1])
            np.testing.assert_array_equal(audio.values[rows], expected)


class TestFailures:
    @pytest.mark.parametrize("error", [RuntimeError("x"), ValueError("x"), MemoryError("x"), float("nan"), 1e30])
    def test_one_clip_that_cannot_be_encoded_fails_its_recording_alone(self, tmp_path, error):
        """Recordings that shared its batch are stored."""
        write_sound(tmp_path / "loud.wav", tone(2, sample_rate_hz=16_000, level=0.9))
        write_sound(tmp_path / "low.wav", tone(2, sample_rate_hz=16_000, level=0.05))
        report = run(tmp_path, tmp_path / "s", "loud.wav", "low.wav", audio=Moody(error))
        assert [outcome.outcome for outcome in report.outcomes] == ["failed", "partial"]
        name = type(error).__name__ if isinstance(error, Exception) else "InvalidFeaturesError"
        assert name in report.outcomes[0].reason
        assert FeatureStore.open(tmp_path / "s").verify().ok
        again = run(tmp_path, tmp_path / "s", "loud.wav", "low.wav", audio=Moody(error, limit=9.0))
        tried_again = isinstance(error, Exception)  # for want of memory, say; a NaN stays one
        assert [outcome.outcome for outcome in again.outcomes] == ["partial" if tried_again else "failed", "already"]

    @pytest.mark.parametrize("error", [RuntimeError("x"), float("nan")])
    def test_what_one_encoder_cannot_do_costs_the_other_modality_nothing(self, media, tmp_path, error):
        """The picture is stored, the fault is noted in no other feature set, and only numbers are remembered."""
        failing = Moody(error, limit=-1.0)
        report = run(media, tmp_path / "s", "a.mp4", "b.mp4", audio=failing)
        assert [outcome.outcome for outcome in report.outcomes] == ["partial", "partial"]
        assert all(outcome.reason.startswith("audio: ") for outcome in report.outcomes)
        store = FeatureStore.open(tmp_path / "s")
        pictures = store.entries(build_spec(Grey(), SHORT_CLIPS, "pyav", "float16"))
        assert [entry.outcome for entry in pictures.values()] == ["stored", "stored"]
        sounds = store.entries(build_spec(failing, SHORT_CLIPS, "pyav", "float16"))
        assert [entry.outcome for entry in sounds.values()] == ([] if isinstance(error, Exception) else 2 * ["failed"])
        cured = run(media, tmp_path / "s", "a.mp4", "b.mp4", audio=Moody(error, limit=9.0), retry_failed=True)
        assert [outcome.outcome for outcome in cured.outcomes] == ["stored", "stored"]

    def test_a_file_that_goes_away_while_it_is_read_is_not_held_against_it(self, tmp_path):
        """When it is back, the next run reads it."""
        path = write_sound(tmp_path / "a.wav", tone(4, sample_rate_hz=16_000))
        data = path.read_bytes()
        gone = run(tmp_path, tmp_path / "s", "a.wav", audio=Meddler(str(path), deed="remove"))
        assert "went away while it was read" in gone.outcomes[0].reason
        assert gone.outcomes[0].key is None
        path.write_bytes(data)
        assert run(tmp_path, tmp_path / "s", "a.wav").outcomes[0].outcome == "partial"

    def test_an_encoder_without_name_or_length_is_told_what_it_lacks(self, media, tmp_path):
        """Before anything is decoded."""

        class Nameless(Loudness):
            name = ""

        class Endless(Loudness):
            dim = 0

        for made in (Nameless(), Endless()):
            with pytest.raises(EncoderError, match="set both in the class"):
                run(media, tmp_path / "s", "a.mp4", audio=made, workers=0)

    def test_an_empty_file_is_remembered_as_any_that_cannot_be_read(self, media, tmp_path):
        """And stops nobody from loading the others."""
        run(media, tmp_path / "s", "a.mp4", "empty.mp4")
        again = run(media, tmp_path / "s", "a.mp4", "empty.mp4", retry_failed=True).outcomes[1]
        assert (again.outcome, again.attempts) == ("failed", 2)
        bags = FeatureStore.open(tmp_path / "s").load(manifest_of(media, "a.mp4", "empty.mp4"))
        assert bags.modalities["video"].present.tolist() == [True, False]

    def test_an_encoder_that_wants_frames_backwards_is_told_so(self, media, tmp_path):
        """It is no damage of the file."""

        class Backwards(Grey):
            def frame_times(self, start_s, end_s):
                return super().frame_times(start_s, end_s)[::-1]

        with pytest.raises(EncoderError, match=r"grey wants frames at .* This is a fault of the encoder"):
            run(media, tmp_path / "s", "a.mp4", video=Backwards(), workers=0)

    def test_a_clip_that_comes_after_its_recording_failed_harms_nothing(self, tmp_path):
        """One clip has no numbers, and the last one still waits for a full batch when the file is read."""
        samples = [tone(2, sample_rate_hz=16_000, level=0.9), tone(13, sample_rate_hz=16_000, level=0.05)]
        write_sound(tmp_path / "a.wav", np.concatenate(samples))
        report = run(tmp_path, tmp_path / "s", "a.wav", audio=Moody(float("nan")))
        assert "InvalidFeaturesError" in report.outcomes[0].reason
        assert FeatureStore.open(tmp_path / "s").verify().ok

    def test_an_encoder_that_encodes_nothing_ends_the_run(self, tmp_path):
        """When the first clips all fail, no recording is blamed for it."""
        paths = [f"{number}.wav" for number in range(12)]
        for number, path in enumerate(paths):
            write_sound(tmp_path / path, tone(2 + 0.01 * number, sample_rate_hz=16_000, level=0.9))
        with pytest.raises(EncoderError, match="cannot encode any of the first \\d+ clips: RuntimeError: x"):
            run(tmp_path, tmp_path / "s", *paths, audio=Moody(RuntimeError("x")))
        spec = build_spec(Moody(RuntimeError("x")), SHORT_CLIPS, "pyav", "float16")
        assert FeatureStore.open(tmp_path / "s").entries(spec) == {}

    def test_an_encoder_that_does_not_work_ends_the_run(self, media, tmp_path):
        """Its error is not one of a recording."""
        with pytest.raises(EncoderError, match="no power"):
            run(media, tmp_path / "s", "a.mp4", audio=Moody(EncoderError("no power")))

    def test_an_encoder_that_returns_the_wrong_shape_ends_the_run(self, media, tmp_path):
        """Features of the wrong length are never stored."""
        wrong = Loudness()
        wrong.dim = 3
        with pytest.raises(EncoderError, match="expected"):
            run(media, tmp_path / "s", "a.mp4", audio=wrong)

    def test_a_store_that_cannot_be_written_ends_the_run(self, media, tmp_path):
        """Nothing is reported stored that is not."""
        store = FeatureStore.create(tmp_path / "s")
        spec = build_spec(Grey(), SHORT_CLIPS, "pyav", "float16")
        (tmp_path / "s" / f"grey@{fingerprint(spec)}").write_text("in the way")
        with pytest.raises(StoreWriteError):
            extract(manifest_of(media, "a.mp4"), store, video=Grey(), audio=Loudness(), clips=SHORT_CLIPS)

    def test_a_file_that_changes_while_it_is_read_is_not_stored(self, tmp_path):
        """Its features would belong to other bytes than its key."""
        path = write_sound(tmp_path / "a.wav", tone(4, sample_rate_hz=16_000))
        meddler = Meddler(str(path))
        report = run(tmp_path, tmp_path / "s", "a.wav", audio=meddler)
        assert "changed while it was read" in report.outcomes[0].reason
        assert report.outcomes[0].key is None
        assert FeatureStore.open(tmp_path / "s").entries(build_spec(meddler, SHORT_CLIPS, "pyav", "float16")) == {}

    def test_impossible_settings_are_refused_before_any_work(self, media, tmp_path):
        """Each message names the option."""
        store = FeatureStore.create(tmp_path / "s")
        manifest = manifest_of(media, "a.mp4")
        with pytest.raises(ExtractSettingsError, match="--workers"):
            extract(manifest, store, video="motion", audio=None, workers=-1)
        with pytest.raises(ExtractSettingsError, match="both encoders are none"):
            extract(manifest, store, video=None, audio="none")
        with pytest.raises(ExtractSettingsError, match="float16, float32"):
            extract(manifest, store, video="motion", audio=None, dtype="int8")

    def test_encoding_one_file_raises_what_extraction_would_note(self, media):
        """Prediction wants the error, not an outcome."""
        with pytest.raises(MediaError, match="not a media file"):
            encode_file(media / "text.mp4", [Grey()])
        with pytest.raises(InvalidFeaturesError, match="NaN or infinity"):
            encode_file(media / "voice.wav", [Moody(float("nan"))])
        missing = encode_file(media / "mute.mp4", [Grey(), Loudness()])["audio"]
        assert missing.embeddings.shape == (0, 2)
        assert missing.outcome == "missing"
        assert missing.reason.startswith("no sound")


class TestRunning:
    def test_progress_reaches_the_end(self, media, tmp_path):
        """Every row is settled once, and what is done never falls."""
        seen = []
        paths = ("a.mp4", "copy_of_a.mp4", "text.mp4", "b.mp4")
        report = run(media, tmp_path / "s", *paths, progress=seen.append)
        assert [step.done for step in seen] == sorted(step.done for step in seen)
        assert seen[-1].done == seen[-1].total == 4
        settled = [step.outcome for step in seen if step.outcome is not None]
        assert sorted(outcome.path for outcome in settled) == sorted(paths)
        assert seen[-1].clips_done == report.n_clips_encoded == 10

    def test_shards_together_are_the_whole(self, media, tmp_path):
        """Each row is worked on by one of them, at the same time, into one store; the numbers are the same."""
        paths = ["a.mp4", "b.mp4", "mute.mp4", "copy_of_a.mp4", "text.mp4"]
        run(media, tmp_path / "whole", *paths)
        reports = [None] * 2

        def work(number):
            reports[number] = run(media, tmp_path / "parts", *paths, shard=(number + 1, 2))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [[outcome.path for outcome in report.outcomes] for report in reports] == [paths[::2], paths[1::2]]
        whole, parts = (FeatureStore.open(tmp_path / name) for name in ("whole", "parts"))
        manifest = manifest_of(media, "a.mp4", "b.mp4", "copy_of_a.mp4")
        for modality in ("video", "audio"):
            first, second = (store.load(manifest).modalities[modality].values for store in (whole, parts))
            assert first.tobytes() == second.tobytes()
        assert run(media, tmp_path / "parts", *paths).counts["already"] == 4

    def test_more_shards_than_rows_leave_some_without_work(self, media, tmp_path):
        """An empty report, and no error; a shard that cannot be is one."""
        assert run(media, tmp_path / "s", "a.mp4", shard=(3, 3)).outcomes == ()
        for shard in ((0, 2), (3, 2)):
            with pytest.raises(ExtractSettingsError, match="--shard 2/4"):
                run(media, tmp_path / "s", "a.mp4", shard=shard)

    def test_rows_of_the_same_bytes_are_read_once_in_whatever_order_they_come(self, tmp_path):
        """Each row has its outcome, however far apart they stand and however many decode."""
        write_sound(tmp_path / "0.wav", tone(3, sample_rate_hz=16_000))
        for number in range(1, 12):
            shutil.copy(tmp_path / "0.wav", tmp_path / f"{number}.wav")
        (tmp_path / "bad.wav").write_bytes((tmp_path / "0.wav").read_bytes()[:50])
        shutil.copy(tmp_path / "bad.wav", tmp_path / "worse.wav")
        paths = [*(f"{number}.wav" for number in range(6)), "bad.wav", *(f"{n}.wav" for n in range(6, 12)), "worse.wav"]
        seen = []
        report = run(tmp_path, tmp_path / "s", *paths, workers=3, progress=seen.append)
        assert report.counts == {"stored": 0, "already": 11, "partial": 1, "failed": 2}
        assert [outcome.path for outcome in report.outcomes] == paths
        assert "the same bytes as" in by_path(report)["worse.wav"].reason + by_path(report)["bad.wav"].reason
        assert seen[-1].done == seen[-1].total == len(paths)
        assert report.n_clips_encoded == 2

    def test_a_row_of_bytes_that_are_encoded_but_not_yet_stored_counts_as_done(self, tmp_path):
        """The last step of the progress is the last row."""
        for number in range(3):
            write_sound(tmp_path / f"{number}.wav", tone(12, hz=200 + 100 * number, sample_rate_hz=16_000))
        shutil.copy(tmp_path / "0.wav", tmp_path / "again.wav")
        seen = []
        run(tmp_path, tmp_path / "s", "0.wav", "1.wav", "2.wav", "again.wav", workers=1, progress=seen.append)
        assert (seen[-1].done, seen[-1].total) == (4, 4)

    def test_an_interrupted_run_keeps_what_is_finished(self, tmp_path):
        """It stops within seconds, and the next run does only the rest."""
        paths = [f"{number}.wav" for number in range(20)]
        for number, path in enumerate(paths):
            write_sound(tmp_path / path, tone(3, hz=200 + number, sample_rate_hz=16_000))

        def interrupt(step):
            if step.done == 5 and step.outcome is None:
                raise KeyboardInterrupt

        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, tmp_path / "s", *paths, progress=interrupt)
        assert time.monotonic() - began < 5
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("poise-read")]
        report = run(tmp_path, tmp_path / "s", *paths)
        assert report.counts["already"] == 5
        assert report.counts["partial"] == 15

    def test_a_killed_run_is_finished_by_the_next(self, tmp_path):
        """After kill -9 the store opens, is clean, and lacks only what was not yet written."""
        for number in range(40):
            write_sound(tmp_path / f"{number}.wav", tone(3, hz=200 + number, sample_rate_hz=16_000))
        code = (
            "import sys\n"
            "from tests.extract.test_pipeline import run\n"
            "def progress(step):\n    print(step.done, flush=True)\n"
            "from pathlib import Path\n"
            "folder = Path(sys.argv[1])\n"
            "run(folder, folder / 's', *(f'{n}.wav' for n in range(40)), progress=progress)\n"
        )
        process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        while int(process.stdout.readline()) < 10:
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        report = run(tmp_path, tmp_path / "s", *(f"{number}.wav" for number in range(40)))
        assert report.counts["failed"] == 0
        assert FeatureStore.open(tmp_path / "s").verify().ok

    def test_the_whole_path_works_with_pretrained_classes(self, media, tmp_path):
        """VideoMAE and WavLM, from decoding to the store, next to the encoders without weights."""
        paths = ("a.mp4", "b.mp4", "mute.mp4")
        video = save_tiny_videomae(tmp_path / "tiny-videomae")
        audio = save_tiny_wavlm(tmp_path / "tiny-wavlm")
        store = FeatureStore.create(tmp_path / "s")
        report = extract(manifest_of(media, *paths), store, video=str(video), audio=str(audio), clips=SHORT_CLIPS)
        assert report.counts == {"stored": 2, "already": 0, "partial": 1, "failed": 0}
        report = extract(manifest_of(media, *paths), store, video="motion", audio="prosody", clips=SHORT_CLIPS)
        assert report.counts == {"stored": 2, "already": 0, "partial": 1, "failed": 0}
        assert sorted(item.encoder for item in store.feature_sets()) == [
            "motion",
            "prosody",
            "tiny-videomae",
            "tiny-wavlm",
        ]


class TestFingerprint:
    def test_everything_that_changes_the_numbers_is_in_it(self):
        """Settings of the encoder, the clips, the decoder and the dtype."""
        specs = [
            build_spec(Grey(), SHORT_CLIPS, "pyav", "float16"),
            build_spec(Grey(scale=2.0), SHORT_CLIPS, "pyav", "float16"),
            build_spec(Grey(), ClipSettings(), "pyav", "float16"),
            build_spec(Grey(), SHORT_CLIPS, "decord", "float16"),
            build_spec(Grey(), SHORT_CLIPS, "pyav", "float32"),
        ]
        assert len({fingerprint(spec) for spec in specs}) == len(specs)

    def test_nothing_else_is_in_it(self, tmp_path):
        """Neither where the weights lie, nor the device, nor the picture's decoder for sound."""
        first = save_tiny_wavlm(tmp_path / "x" / "tiny-wavlm")
        shutil.copytree(first, tmp_path / "y" / "tiny-wavlm")
        from poise.extract.encoders.registry import make_encoder

        one = make_encoder(first, "audio", device="cpu")
        other = make_encoder(tmp_path / "y" / "tiny-wavlm", "audio", device="auto")
        assert fingerprint(build_spec(one, SHORT_CLIPS, "pyav", "float16")) == fingerprint(
            build_spec(other, SHORT_CLIPS, "decord", "float16")
        )
