"""Promises of planning copies: the label has no say in what is done, and the table stays what it was."""

import csv
import json
import re
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from poise.errors import ExtractSettingsError, ManifestError, OutputError
from poise.extract.augment.draw import SHARES, draw_recipes
from poise.extract.augment.plan import augment_manifest, count_classes
from poise.extract.augment.table import write_augmented
from poise.extract.augment.telltale import explain_balance, find_telltale_copies
from poise.manifest import Manifest, read_manifest
from poise.recipe import Augmentation
from poise.store import FeatureStore
from poise.table import read_table
from tests.store.features import make_features, make_key, make_spec
from tests.test_cli import assert_refused, poise

TABLE = """video,score,speaker,site,note
a/1.mp4,0,Ann,x,"said ""no"", twice"
a/2.mp4,1,Ann,x,
b/3.mp4,1,Bo,y,ünï
b/4.mp4,1,Bo,y,
b/5.mp4,2,Bo,y,
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "manifest.csv"
    path.write_text(TABLE, encoding="utf-8")
    return path


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as text:
        return list(csv.DictReader(text))


def recipes_by_copy(manifest: Manifest) -> dict[tuple[str, int], str]:
    """Recipe of each source's n-th copy."""
    counted: Counter[str] = Counter()
    found = {}
    for row in np.flatnonzero(manifest.is_copy):
        source = manifest.paths[manifest.sources[row]]
        counted[source] += 1
        found[source, counted[source]] = manifest.recipe(int(row))
    return found


def with_copies(*groups: tuple[str, list[str]]) -> Manifest:
    """A manifest without files: for each class, the augmentations of its rows, empty for originals."""
    labels, texts = [], []
    for rank, (_, words) in enumerate(groups):
        labels += [rank] * len(words)
        texts += words
    first = {rank: labels.index(rank) for rank in set(labels)}
    sources = [first[rank] if text else row for row, (rank, text) in enumerate(zip(labels, texts, strict=True))]
    return Manifest(
        table_path=None,
        root=Path(),
        paths=tuple(f"{row}.mp4" for row in range(len(labels))),
        labels=np.array(labels),
        label_names=tuple(name for name, _ in groups),
        speakers=None,
        sources=np.array(sources),
        augmentations=tuple(texts),
    )


class TestDraw:
    def test_copies_of_a_source_differ_and_change_picture_and_sound(self) -> None:
        """However many are drawn, no recipe comes twice, and both modalities gain from each."""
        drawn = list(islice(draw_recipes("a.mp4", seed=0), 300))
        assert len({str(recipe) for recipe in drawn}) == 300
        assert all(recipe.changes_picture and recipe.changes_sound for recipe in drawn)
        assert all(Augmentation.parse(str(recipe)) == recipe for recipe in drawn)

    def test_no_number_has_more_digits_than_were_drawn(self) -> None:
        """0.93 and not 0.9299999999999999: short to read, and read back as the same number."""
        drawn = [recipe for number in range(100) for recipe in islice(draw_recipes(f"{number}.mp4", seed=5), 2)]
        numbers = [text for recipe in drawn for text in re.findall(r"\d+\.\d+", str(recipe))]
        assert len(numbers) > 400
        assert all(len(text.partition(".")[2]) <= 2 for text in numbers)

    def test_seed_and_path_choose_the_recipes(self) -> None:
        """The same again for the same, however the path is spelt; others for others."""
        first = list(islice(draw_recipes("a/b.mp4", seed=0), 5))
        assert first == list(islice(draw_recipes("a/./b.mp4", seed=0), 5))
        assert first != list(islice(draw_recipes("a/b.mp4", seed=1), 5))
        assert first != list(islice(draw_recipes("a/c.mp4", seed=0), 5))

    def test_these_are_the_recipes_for_ever(self) -> None:
        """A later poise must not draw other copies for the same table and seed."""
        assert [str(recipe) for recipe in islice(draw_recipes("a.mp4", seed=0), 3)] == RECIPES_OF_A

    def test_every_part_comes_about_as_often_as_meant(self) -> None:
        """And takes both signs where it has two; a draw again for what changes too little makes all a bit likelier."""
        drawn = [recipe for number in range(400) for recipe in islice(draw_recipes(f"{number}.mp4", seed=3), 2)]
        counts = Counter(part for recipe in drawn for part in recipe.parts)
        for part, share in SHARES.items():
            assert share - 0.05 < counts[part] / len(drawn) < share + 0.12
        for part in ("pitch", "gain", "brightness"):
            values = [getattr(recipe, part) for recipe in drawn if part in recipe.parts]
            assert 0.4 < np.mean(np.array(values) > 0) < 0.6
        assert {recipe.speed for recipe in drawn} == {0.95, 0.98, 1.0, 1.02, 1.05}
        assert {recipe.pitch for recipe in drawn} == {-1.0, -0.5, 0.0, 0.5, 1.0}


class TestPlan:
    def test_shuffled_labels_change_no_recipe(self, table: Path) -> None:
        """What is done to a source's n-th copy is the same whatever its label: with --copies and with --balance."""
        manifest = read_manifest(table)
        for options in ({"copies": 3}, {"balance": True}, {"copies": 2, "balance": True}):
            seen: dict[tuple[str, int], str] = {}
            for shuffle in range(6):
                labels = np.random.default_rng(shuffle).permutation(manifest.labels)
                made = recipes_by_copy(augment_manifest(replace(manifest, labels=labels), **options, seed=5))
                assert all(seen.setdefault(copy, recipe) == recipe for copy, recipe in made.items())
            assert len(seen) >= 4

    def test_other_rows_change_no_recipe(self, table: Path) -> None:
        """A source gets the same copies in a smaller table."""
        manifest = read_manifest(table)
        whole = recipes_by_copy(augment_manifest(manifest, copies=2, seed=5))
        (table.parent / "small.csv").write_text("path,label\nb/5.mp4,1\na/1.mp4,0\n")
        small = recipes_by_copy(augment_manifest(read_manifest(table.parent / "small.csv"), copies=2, seed=5))
        assert small.items() <= whole.items()

    def test_copies_have_everything_of_their_source(self, table: Path) -> None:
        """Label, speaker, other columns and file; the rows that were there come first and are as they were."""
        manifest = read_manifest(table)
        made = augment_manifest(manifest, copies=2)
        assert len(made) == 15
        assert made.paths[:5] == manifest.paths
        assert made.sources[5:].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
        assert made.labels.tolist() == [0, 1, 1, 1, 2, *np.repeat(manifest.labels, 2)]
        assert made.speakers is not None
        assert made.speakers[-1] == "Bo"
        assert made.extra["note"][5] == 'said "no", twice'
        assert made.file(5) == manifest.file(0)
        assert len(set(made.paths)) == 15
        assert made.paths[5] == f"a/1.mp4#{made.recipe(5)}"

    def test_balance_fills_every_class_in_turn(self, table: Path) -> None:
        """Up to the largest; each original of a class gets its next copy before any gets two more."""
        manifest = read_manifest(table)
        made = augment_manifest(manifest, copies=1, balance=True)
        assert np.bincount(made.labels).tolist() == [6, 6, 6]
        counted = Counter(made.sources[len(manifest) :].tolist())
        assert counted == {0: 5, 1: 1, 2: 1, 3: 1, 4: 5}
        labels = np.array([0, 1, 1, 1, 1])
        counted = Counter(augment_manifest(replace(manifest, labels=labels), balance=True).sources[5:].tolist())
        assert counted == {0: 3}
        counted = Counter(
            augment_manifest(replace(manifest, labels=np.array([0, 0, 1, 1, 1])), balance=True).sources[5:].tolist()
        )
        assert counted == {0: 1}

    def test_copies_are_no_sources(self, tmp_path: Path) -> None:
        """Neither files of their own nor those on the fly; a recipe that is there already is passed over."""
        text = "path,label,source,augmentation\na,0,,\nb,1,,\na1,0,a,noise\n"
        (tmp_path / "m.csv").write_text(text)
        manifest = read_manifest(tmp_path / "m.csv")
        once = augment_manifest(manifest, copies=1)
        assert once.sources.tolist() == [0, 1, 0, 0, 1]
        twice = augment_manifest(once, copies=1)
        assert twice.sources.tolist() == [0, 1, 0, 0, 1, 0, 1]
        both = augment_manifest(manifest, copies=2)
        assert set(twice.paths) == set(both.paths)

    def test_a_level_without_recordings_stays_empty(self, table: Path) -> None:
        """There is nothing to fill it with."""
        manifest = read_manifest(table, label_names=["none", "low", "mid", "high"])
        made = augment_manifest(replace(manifest, labels=manifest.labels + 1), balance=True)
        assert np.bincount(made.labels).tolist() == [0, 3, 3, 3]
        assert [count.total for count in count_classes(manifest, made)] == [0, 3, 3, 3]

    def test_counts_say_what_was_done(self, table: Path) -> None:
        """By class: recordings, copies before, copies added."""
        manifest = read_manifest(table)
        counts = count_classes(manifest, augment_manifest(manifest, copies=1, balance=True))
        assert [(c.label, c.originals, c.copies_before, c.copies_added, c.total) for c in counts] == [
            ("0", 1, 0, 5, 6),
            ("1", 3, 0, 3, 6),
            ("2", 1, 0, 5, 6),
        ]
        assert counts[1].copy_share == 0.5

    def test_what_cannot_be_planned_is_refused(self, table: Path) -> None:
        """Nothing to do, less than nothing, and classes that nobody read."""
        manifest = read_manifest(table)
        with pytest.raises(ExtractSettingsError, match="nothing to add. Give --copies N, or --balance"):
            augment_manifest(manifest)
        with pytest.raises(ExtractSettingsError, match="copies is -1. Expected 0 or more"):
            augment_manifest(manifest, copies=-1)
        with pytest.raises(ManifestError, match="without labels"):
            augment_manifest(read_manifest(table, labels="ignored"), balance=True)
        assert len(augment_manifest(read_manifest(table, labels="ignored"), copies=1)) == 10


class TestTelltale:
    def test_copies_of_one_class_are_told_with_the_numbers(self) -> None:
        """A class of which most rows are copies, beside one without any."""
        found = find_telltale_copies(with_copies(("low", [""] * 12), ("high", [""] * 3 + ["noise"] * 9)))
        assert len(found) == 1
        assert "0% of 'low' (0 of 12), 75% of 'high' (9 of 12)" in found[0]

    def test_a_kind_of_change_that_only_one_class_got_is_told(self) -> None:
        """Among copies, so that it shows also where classes have equally many; recipes and other words alike."""
        spread = with_copies(
            ("low", [""] * 8 + ["crop_vol+1.9dB"] * 8), ("high", [""] * 8 + ["bc_vol-0.5dB"] * 4 + ["flip+gain=1"] * 4)
        )
        (told,) = find_telltale_copies(spread)
        assert "'crop' in 100% of 'low' (8 of 8), 0% of 'high' (0 of 8)" in told
        assert "'bc' in" in told
        assert "'flip' in" in told
        assert "'db'" not in told

    def test_even_copies_and_small_numbers_are_not_told(self) -> None:
        """The same in every class, a gap that chance makes, no copies, no labels, one class."""
        even = [""] * 6 + ["noise"] * 3 + ["crop"] * 3
        assert find_telltale_copies(with_copies(("low", even), ("high", even))) == []
        assert find_telltale_copies(with_copies(("low", ["", ""]), ("high", ["", "noise"]))) == []
        assert find_telltale_copies(with_copies(("low", [""] * 9), ("high", [""] * 9))) == []
        assert find_telltale_copies(with_copies(("low", even))) == []
        unread = replace(with_copies(("low", even)), labels=np.full(12, -1), label_names=())
        assert find_telltale_copies(unread) == []

    def test_what_augment_makes_is_never_told(self, tmp_path: Path) -> None:
        """--copies on originals gives every class the same share and, but for chance, the same kinds."""
        rows = "".join(f"{number}.mp4,{number % 3}\n" for number in range(60))
        (tmp_path / "m.csv").write_text(f"path,label\n{rows}")
        manifest = read_manifest(tmp_path / "m.csv")
        told = [find_telltale_copies(augment_manifest(manifest, copies=2, seed=seed)) for seed in range(4)]
        assert not any("Being a copy" in sentence for sentences in told for sentence in sentences)
        assert sum(map(bool, told)) <= 2  # nine kinds at 5 % each

    def test_filled_up_classes_are_explained(self) -> None:
        """With the shares, what they mean, and which figures to look at; nothing where they are equal."""
        text = explain_balance({"low": 0.5, "high": 0.0})
        assert "50% of 'low', 0% of 'high'" in text
        assert "AUC 0.78 to 0.94" in text
        assert "scores originals only by default" in text
        assert explain_balance({"low": 0.5, "high": 0.5}) == ""


class TestTable:
    def test_old_rows_stay_and_new_ones_read_back(self, table: Path) -> None:
        """All columns of all rows as they were, copies behind them, and the same manifest when it is read."""
        out = table.parent / "augmented.csv"
        manifest = read_manifest(table)
        made = augment_manifest(manifest, copies=2, balance=True, seed=1)
        assert not write_augmented(out, read_table(table), manifest, made, keep_paths=False)
        old, new = rows_of(table), rows_of(out)
        assert [{**row, "source": "", "augmentation": ""} for row in old] == new[:5]
        assert new[5]["source"] == new[5]["video"] == "a/1.mp4"
        assert new[5]["note"] == 'said "no", twice'
        back = read_manifest(out)
        assert back.paths == made.paths
        assert back.recipes == made.recipes
        assert back.labels.tolist() == made.labels.tolist()
        assert back.extra.keys() == made.extra.keys()

    def test_the_same_seed_gives_the_same_bytes(self, table: Path) -> None:
        """On every run; another seed gives others."""
        texts = []
        for name, seed in (("one", 3), ("two", 3), ("three", 4)):
            out = table.parent / f"{name}.csv"
            assert poise("augment", table, "--out", out, "--copies", 2, "--balance", "--seed", seed).exit_code == 0
            texts.append(out.read_bytes())
        assert texts[0] == texts[1] != texts[2]

    @pytest.mark.parametrize("source", ["1", "1.mp4", "a/1.mp4"])
    def test_paths_lead_to_their_files_from_another_folder(self, tmp_path: Path, source: str) -> None:
        """Relative paths are rewritten, sources given by path too, absolute ones stay."""
        absolute = tmp_path / "elsewhere" / "7.mp4"
        rows = [
            f"a/1.mp4,0,{source},",
            "./b.mp4,1,,",
            f"{absolute},1,,",
            "copy.mp4,1,./b.mp4,noise",
            "b.mp4,1,b.mp4,flip",
        ]
        (tmp_path / "m.csv").write_text("\n".join(["path,label,source,augmentation", *rows]))
        (tmp_path / "deep" / "er").mkdir(parents=True)
        out = tmp_path / "deep" / "er" / "m2.csv"
        result = poise("augment", tmp_path / "m.csv", "--out", out, "--copies", 1)
        assert result.exit_code == 0, result.output
        assert "Relative paths were rewritten" in result.stderr
        before, after = read_manifest(tmp_path / "m.csv"), read_manifest(out)
        assert [after.file(row) for row in range(5)] == [before.file(row) for row in range(5)]
        assert after.sources.tolist() == [0, 1, 2, 1, 1, 0, 1, 2]
        assert after.file(5) == tmp_path / "a" / "1.mp4"
        assert after.file(7) == absolute

    def test_paths_below_a_root_stay(self, tmp_path: Path) -> None:
        """Who names a root on every command line has paths that start there; it says so."""
        (tmp_path / "m.csv").write_text("path,label\na.mp4,0\nb.mp4,1\n")
        (tmp_path / "out").mkdir()
        out = tmp_path / "out" / "m2.csv"
        result = poise("augment", tmp_path / "m.csv", "--root", tmp_path / "media", "--out", out, "--copies", 1)
        assert "give --root" in result.stderr
        assert rows_of(out)[0]["path"] == "a.mp4"
        assert read_manifest(out, root=tmp_path / "media").file(2) == tmp_path / "media" / "a.mp4"

    def test_tabs_and_other_tables(self, tmp_path: Path) -> None:
        """JSON Lines can be read, tabs written; what cannot be written is refused before work is done."""
        (tmp_path / "m.jsonl").write_text('{"path": "a", "label": 0}\n{"path": "b", "label": 1, "site": "x,y"}\n')
        out = tmp_path / "m2.tsv"
        assert poise("augment", tmp_path / "m.jsonl", "--out", out, "--copies", 1).exit_code == 0
        assert out.read_text().startswith("path\tlabel\tsite\tsource\taugmentation\n")
        assert len(read_manifest(out)) == 4
        command = ("augment", tmp_path / "m.jsonl", "--copies", 1, "--out")
        assert_refused(poise(*command, tmp_path / "m2.jsonl"), 1, "neither .csv nor .tsv")
        assert_refused(poise(*command, tmp_path / "no" / "m2.csv"), 1, "There is no folder")
        (tmp_path / "folder.csv").mkdir()
        assert_refused(poise(*command, tmp_path / "folder.csv"), 1, "is a folder")

    def test_a_table_that_is_there_is_replaced_only_on_demand(self, table: Path) -> None:
        """--replace replaces it whole; without, it is left alone and the way out named."""
        out = table.parent / "mine.csv"
        out.write_text("precious")
        command = ("augment", table, "--out", out, "--copies", 1)
        assert_refused(poise(*command), 1, "is there already. Use --replace")
        assert out.read_text() == "precious"
        assert poise(*command, "--replace").exit_code == 0
        assert len(read_manifest(out)) == 10
        assert sorted(path.name for path in table.parent.iterdir()) == ["manifest.csv", "mine.csv"]

    def test_a_folder_that_cannot_be_written_is_one_clear_error(self, table: Path, monkeypatch) -> None:
        """And nothing half-written is left."""
        monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        manifest = read_manifest(table)
        made = augment_manifest(manifest, copies=1)
        with pytest.raises(OutputError, match="cannot be written to .*No space left on device. Choose another --out"):
            write_augmented(table.parent / "m2.csv", read_table(table), manifest, made, keep_paths=False)
        assert [path.name for path in table.parent.iterdir()] == ["manifest.csv"]


class TestCommand:
    def test_it_prints_what_it_did_for_each_class(self, table: Path) -> None:
        """As a table, and as one JSON document with the warnings."""
        out = table.parent / "m2.csv"
        command = ("augment", table, "--out", out, "--copies", 1, "--balance", "--replace")
        shown = poise(*command)
        assert [line.split() for line in shown.stdout.splitlines() if line.split()[:1] == ["1"]] == [
            ["1", "3", "0", "3", "6", "50%"]
        ]
        assert "--balance gives classes different shares of copies: 83% of '0', 50% of '1'" in shown.stderr
        document = json.loads(poise(*command, "--json").stdout)
        assert (document["rows"], document["added"], document["seed"]) == (18, 13, 0)
        assert document["classes"][0] == {
            "label": "0",
            "originals": 1,
            "copies_before": 0,
            "copies_added": 5,
            "total": 6,
            "copy_share": pytest.approx(5 / 6),
        }
        assert len(document["warnings"]) == 1
        assert document["rendered"] == document["failed"] == []

    def test_copies_that_tell_the_label_are_told_on_stderr(self, tmp_path: Path) -> None:
        """Before anything is added to them."""
        rows = [f"a{n}.mp4,low,," for n in range(10)] + [f"b{n}.mp4,high,," for n in range(5)]
        rows += [f"c{n}.mp4,high,b{n},bc_noise" for n in range(5)]
        (tmp_path / "m.csv").write_text("\n".join(["path,label,source,augmentation", *rows]))
        result = poise("augment", tmp_path / "m.csv", "--out", tmp_path / "m2.csv", "--copies", 1)
        assert "Warning: Being a copy tells the label: copies are 0% of 'low' (0 of 10), 50% of 'high'" in result.stderr

    def test_named_labels_need_no_order_and_copies_no_labels(self, tmp_path: Path) -> None:
        """Nothing here depends on which level is higher; only --balance must know the classes."""
        (tmp_path / "m.csv").write_text("path,label\na,low\nb,high\nc,high\n")
        out = ("--out", tmp_path / "m2.csv", "--replace", "--json")
        document = json.loads(poise("augment", tmp_path / "m.csv", *out, "--balance").stdout)
        assert [(row["label"], row["total"]) for row in document["classes"]] == [("low", 2), ("high", 2)]
        document = json.loads(poise("augment", tmp_path / "m.csv", *out, "--balance", "--labels", "high,low").stdout)
        assert [row["label"] for row in document["classes"]] == ["high", "low"]
        for text in ("path\na\nb\n", "path,label\na,\nb,\n", "path,label\na,low\nb,low\n"):
            (tmp_path / "m.csv").write_text(text)
            assert json.loads(poise("augment", tmp_path / "m.csv", *out, "--copies", 2).stdout)["added"] == 4
        (tmp_path / "m.csv").write_text("path\na\nb\n")
        assert_refused(poise("augment", tmp_path / "m.csv", *out, "--balance"), 1, "no column 'label'")

    def test_nothing_to_do_is_a_usage_error(self, table: Path) -> None:
        """Neither --copies nor --balance."""
        assert_refused(poise("augment", table, "--out", table.parent / "m2.csv"), 2, "Give --copies N, or --balance")
        assert not (table.parent / "m2.csv").exists()

    @pytest.mark.parametrize("copies", [200_000, 100_000_000, 10**30])
    def test_more_rows_than_a_store_holds_are_a_usage_error(self, table: Path, copies: int) -> None:
        """At once, before any is drawn."""
        out = table.parent / "m2.csv"
        assert_refused(poise("augment", table, "--out", out, "--copies", copies), 2, "at most 1,000,000", "--copies")
        assert not out.exists()

    def test_more_rows_than_a_store_holds_are_no_balance_either(self) -> None:
        """The largest class counts once for each class."""
        lopsided = with_copies(("low", [""] * 400_000), ("moderate", [""]), ("high", [""]))
        with pytest.raises(ExtractSettingsError, match="1,200,000 rows"):
            augment_manifest(lopsided, balance=True)


def test_a_store_knows_copies_by_their_names(tmp_path: Path) -> None:
    """Features stored under `path#recipe` are found for their row, and removal by table keeps them."""
    (tmp_path / "m.csv").write_text("path,label\nx.mp4,0\ny.mp4,1\n")
    manifest = augment_manifest(read_manifest(tmp_path / "m.csv"), copies=1)
    store = FeatureStore.create(tmp_path / "s")
    with store.writer(make_spec()) as writer:
        for number, path in enumerate([*manifest.paths, "other.mp4"]):
            values = np.full((3, 8), number, np.float32)
            writer.add(make_features(f"copy{number}", embeddings=values, path=path))
    bags = FeatureStore.open(tmp_path / "s").load(manifest)
    (side,) = bags.modalities.values()
    assert side.values[::3, 0].tolist() == [0, 1, 2, 3]
    out = tmp_path / "m2.csv"
    before = read_manifest(tmp_path / "m.csv")
    write_augmented(out, read_table(tmp_path / "m.csv"), before, manifest, keep_paths=False)
    shown = poise("store", "rm", tmp_path / "s", "--not-in", out, "--dry-run", "--json")
    assert [there["recordings"] for there in json.loads(shown.stdout)["feature_sets"]] == [[make_key("copy4")]]
    named = poise("store", "show", tmp_path / "s", "--recording", manifest.paths[2])
    assert manifest.paths[2] in named.stdout


RECIPES_OF_A = [
    "speed=1.05+contrast=0.91+crop=0.94:0:0.6",
    "speed=0.98+flip+brightness=0.04+noise=26+gain=2.7+reverb=0.15+seed=2998",
    "speed=1.02+flip+brightness=0.08+contrast=1.15+noise=26+gain=-3.8+seed=1390",
]
