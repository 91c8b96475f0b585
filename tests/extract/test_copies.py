"""Promises of copies made on the fly: extracted, stored, found and told apart like recordings of their own."""

import numpy as np
import pytest

from poise.extract.augment import augment_manifest
from poise.extract.clips import ClipSettings
from poise.extract.pipeline import extract
from poise.manifest import read_manifest
from poise.store import FeatureStore
from tests.extract.plain_encoders import Grey, Loudness
from tests.media import grey, tone, write_video

CLIPS = ClipSettings(window_s=2, hop_s=2, min_tail_s=1)


@pytest.fixture
def table(tmp_path):
    """Two recordings, and copies of the first."""
    write_video(tmp_path / "a.mp4", seconds=4.2, fps=10, picture=grey(4), sound=tone(4.2))
    write_video(tmp_path / "b.mp4", seconds=4.2, fps=10, picture=grey(5), sound=tone(4.2, hz=300))
    rows = [
        "a.mp4,0,,",
        "b.mp4,1,,",
        "a.mp4,0,a.mp4,brightness=0.1",
        "a.mp4,0,a.mp4,gain=-6",
        "a.mp4,0,a.mp4,speed=1.05",
    ]
    path = tmp_path / "manifest.csv"
    path.write_text("path,label,source,augmentation\n" + "\n".join(rows) + "\n")
    return path


def run(table, **options):
    manifest = read_manifest(table)
    store = FeatureStore.create(table.parent / "s")
    options = {"video": Grey(), "audio": Loudness(), "clips": CLIPS, "dtype": "float32", **options}
    return manifest, store, extract(manifest, store, **options)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_copy_has_the_features_of_what_was_done_to_it(table, workers) -> None:
    """Brighter, quieter, faster; the other modality stays as it was, and the original too."""
    manifest, store, report = run(table, workers=workers)
    assert report.counts["stored"] == 5
    assert len({outcome.key for outcome in report.outcomes}) == 5
    plain, _, bright, quiet, fast = (store.load(manifest)[row] for row in range(5))
    np.testing.assert_allclose(bright.values["video"], plain.values["video"] + 25.5, atol=1.1)
    np.testing.assert_array_equal(bright.values["audio"], plain.values["audio"])
    np.testing.assert_allclose(quiet.values["audio"][:, 0], plain.values["audio"][:, 0] * 10 ** (-6 / 20), rtol=0.01)
    np.testing.assert_array_equal(quiet.values["video"], plain.values["video"])
    assert fast.clip_times["video"].tolist() == [[0, 2], [2, 4]]
    # 2.25 and 3.75 s of the copy are 2.36 and 3.94 s of its source: frames 23 and 39 in place of 22 and 37
    np.testing.assert_allclose(fast.values["video"][1] - plain.values["video"][1], [4, 8], atol=1.5)
    assert fast.values["audio"][:, 1].tolist() == [2, 2]


def test_a_second_run_makes_no_copy_again(table) -> None:
    """Nor when the table is read anew, or the copy has another place in it."""
    run(table)
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0], *reversed(lines[1:])]))
    _, _, again = run(table)
    assert (again.counts["already"], again.n_clips_encoded) == (5, 0)


def test_a_copy_of_other_bytes_is_another_and_the_old_one_is_stale(table) -> None:
    """Like the recording that it is made from."""
    _, _, first = run(table)
    write_video(table.parent / "a.mp4", seconds=4.2, fps=10, picture=grey(6), sound=tone(4.2))
    manifest, store, second = run(table)
    assert second.counts["stored"] == 4
    assert {stale.path for stale in second.stale} == {path for path in manifest.paths if path.startswith("a.mp4")}
    keys = store.load(manifest).keys
    assert not {outcome.key for outcome in first.outcomes if outcome.path != "b.mp4"} & set(keys)


def test_copies_planned_by_poise_are_extracted(table) -> None:
    """Whatever recipe is drawn: every copy of both modalities is stored and finite."""
    table.write_text("path,label\na.mp4,0\nb.mp4,1\n")
    manifest = augment_manifest(read_manifest(table), copies=4, seed=3)
    store = FeatureStore.create(table.parent / "s")
    report = extract(manifest, store, video=Grey(), audio=Loudness(), clips=CLIPS)
    assert report.counts["stored"] == len(manifest) == 10
    assert np.isfinite(store.load(manifest).modalities["audio"].values).all()
    assert store.verify().ok
