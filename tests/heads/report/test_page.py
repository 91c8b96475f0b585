"""The page: self-contained, readable by machines and by people, with every section or a sentence on why not."""

from __future__ import annotations

import csv
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from poise.errors import OutputError
from poise.heads.report.attention import choose_examples
from poise.heads.report.confusion import count_confusion
from poise.heads.report.page import make_sections, render_report, write_report
from poise.heads.report.reading import AttentionClip, Prediction, read_study
from poise.heads.report.verdict import RULINGS, flatten
from tests.heads.report.studies import edit, make_study

HOSTILE = '"><script>alert(1)</script>&\u202e{{ 7 * 7 }}👩‍🏫' + "x" * 300
VOID = {"meta", "wbr", "br"}
SECTIONS = [
    "verdict", "ladder", "board", "differences", "confusion", "groups", "calibration", "learning", "attention",
    "settings",
]  # fmt: skip


class Page(HTMLParser):
    """Checks that every element is closed where it must be; collects elements, identifiers and texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


@pytest.fixture(scope="module")
def html(study_folder: Path) -> str:
    """The report of a complete study."""
    return render_report(read_study(study_folder))


def test_page_needs_nothing_but_itself(html: str) -> None:
    """No script, no link but to its own sections, nothing that a browser would fetch."""
    page = Page(html)
    assert {tag for tag, _ in page.elements} & {"script", "link", "img", "iframe", "object", "base", "form"} == set()
    for _, attributes in page.elements:
        assert not {"src", "srcset", "data", "action", "style", "xlink:href"} & set(attributes)
        assert not [name for name in attributes if name.startswith("on")]
        assert (attributes.get("href") or "#").startswith("#")
    assert not re.search(r"url\(|@import|https?:", html)
    assert "default-src 'none'" in html


def test_page_leads_from_its_contents_to_every_section(html: str) -> None:
    """Every identifier stands once, every reference leads to one, sections come in their order, verdict first."""
    page = Page(html)
    names = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(names) == len(set(names))
    wanted = {attributes["href"][1:] for _, attributes in page.elements if attributes.get("href")}
    for _, attributes in page.elements:
        wanted |= set((attributes.get("aria-labelledby") or "").split())
    assert wanted <= set(names)
    assert [name for name in names if name in [*SECTIONS, "glossary"]] == [*SECTIONS, "glossary"]


def test_verdict_is_told_by_word_and_sign_before_anything_else(html: str, study_folder: Path) -> None:
    """The audit's sentence and what it looked at stand before the first section, and not by colour alone."""
    audit = json.loads((study_folder / "leaderboard.json").read_text())["audit"]
    before = Page(html).text.split("The same strategy")[0]
    assert audit["verdict"] == "supported"
    assert "✓ Supported: the signal holds in the hardest test" in before
    assert audit["sentence"].removeprefix("Supported: o") in before
    assert len(audit["findings"]) == 4
    for finding in audit["findings"]:
        assert finding in before


def test_cautions_are_told_once_and_unknown_beginnings_are_kept(own_folder: Path) -> None:
    """Those of the audit and of the comparison together; a sentence that does not begin with its verdict is whole."""

    def warn(board: dict[str, Any]) -> None:
        board["warnings"] = ["Beware of this.", "And of that."]
        board["audit"].update(warnings=["Beware of this."], findings=None, sentence="Note: all is well.")

    text = Page(render_report(read_study(edit(own_folder, warn)))).text
    assert text.count("Beware of this.") == text.count("And of that.") == 1
    assert "Note: all is well." in text
    assert "What was looked at" not in text


@pytest.mark.parametrize("verdict", [*RULINGS, "something new"])
def test_every_verdict_is_shown(own_folder: Path, verdict: str) -> None:
    """Those that an audit gives with a heading and advice, others as they are."""
    edit(own_folder, lambda board: board["audit"].update(verdict=verdict))
    text = Page(render_report(read_study(own_folder))).text
    ruling = RULINGS.get(verdict)
    assert (ruling.heading if ruling else verdict) in text
    assert ruling is None or ruling.advice in text


def test_every_plot_tells_its_numbers_in_words(html: str) -> None:
    """An image with a title and a description that holds numbers, whose text can be parsed."""
    plots = re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL)
    assert len(plots) == len(["kappa", "accuracy"]) + 3 + 3 + len(["confusion", "groups", "calibration"]) + 2 + 6
    for plot in plots:
        root = ET.fromstring(plot)
        assert root.attrib["role"] == "img"
        assert [one.tag for one in root][:2] == ["title", "desc"]
        assert root[0].text
        assert re.search(r"\d", root[1].text or "")
        assert "NaN" not in plot
        assert "nan" not in re.sub(r"<(title|desc|text).*?</\1>", "", plot)


def test_numbers_on_the_page_are_those_of_the_study(html: str, study_folder: Path) -> None:
    """Every strategy's kappa with its interval, every split's hash, every command."""
    page = Page(html)
    board = json.loads((study_folder / "leaderboard.json").read_text())
    for row in board["leaderboard"]:
        low, high = row["interval"]["qwk"]
        told = f"{row['metrics']['qwk']:.2f} {low:.2f} to {high:.2f}".replace("-", "−").replace("−0.00", "0.00")
        assert told in page.text
    for value in board["splits"].values():
        assert value in html
    assert "poise compare 'my labels.csv' --store features --out study" in page.text
    assert f"poise report {study_folder}" in page.text
    assert "[majority]" in page.text
    assert "baseline" in page.text


def test_confusion_counts_are_those_of_the_predictions(own_folder: Path) -> None:
    """Counted from the file, row by row, with the shares of the row."""
    study = read_study(own_folder)
    with open(own_folder / "predictions.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["scored"] == "1"]
    rows = [r for r in rows if (r["strategy"], r["protocol"]) == (study.leader["strategy"], study.leader["protocol"])]
    names = study.label_names
    table = [[sum((r["label"], r["predicted"]) == (a, b) for r in rows) for b in names] for a in names]
    assert count_confusion(study) == table
    text = Page(render_report(study)).text
    for row in table:
        assert " ".join(f"{n} ({100 * n / sum(row):.0f}\u00a0%)" for n in row).replace("\u00a0", " ") in text


def test_same_study_gives_the_same_bytes(study_folder: Path, own_folder: Path) -> None:
    """Read twice and from another folder."""
    assert render_report(read_study(study_folder)) == render_report(read_study(own_folder))


def test_section_without_data_says_why_in_one_sentence(own_folder: Path) -> None:
    """No section vanishes or breaks when the study lacks what it shows."""

    def strip(board: dict[str, Any]) -> None:
        board.update(audit=None, audit_reason="none was asked for", comparisons=[], learning_curve=None, settings=None)
        for row in board["leaderboard"]:
            for name in ("reliability", "by_group", "conformal", "reasons"):
                row.pop(name, None)

    edit(own_folder, strip)
    (own_folder / "attention.csv").unlink()
    study = read_study(own_folder)
    absent = {one.name: one.absent for one in make_sections(study) if one.absent}
    assert list(absent) == ["ladder", "differences", "calibration", "learning", "attention"]
    text = Page(render_report(study)).text
    for reason in absent.values():
        assert reason in text
        assert re.fullmatch(r"[A-Z][^.]*(\.csv[^.]*)?\.", reason)
    assert "No verdict" in text
    assert "none was asked for" in text
    assert "does not say with which command" in text


def test_other_reasons_for_nothing_to_show(own_folder: Path) -> None:
    """One strategy, no strategy with attention, one recording of each speaker, a curve without values, many levels."""

    def strip(board: dict[str, Any]) -> None:
        keep = [row for row in board["leaderboard"] if row["baseline"] or row["strategy"] == "mean/early/cumulative"]
        board.update(leaderboard=keep, comparisons=[], interval_groups="path")
        board["learning_curve"]["groups"] = [{**board["learning_curve"]["groups"][0], "qwk": None}]
        board["learning_curve"].update(recordings=[], reason="one speaker is left to learn from")
        board["label_names"] += [f"level {number}" for number in range(12)]

    edit(own_folder, strip)
    (own_folder / "attention.csv").unlink()
    file = own_folder / "predictions.csv"
    lines = file.read_text().splitlines()
    more = "".join(f",proba_level {number}" for number in range(12))
    file.write_text("\n".join([lines[0] + more, *(line + ",0" * 12 for line in lines[1:])]))
    absent = {one.name: one.absent for one in make_sections(read_study(own_folder)) if one.absent}
    assert "the study tried one strategy" in absent["differences"]
    assert "No strategy of this study pools by attention" in absent["attention"]
    assert "Every path has one recording" in absent["groups"]
    assert absent["learning"].endswith("no learning curve to draw: one speaker is left to learn from.")
    assert "A table of 15 levels would not fit" in absent["confusion"]


def test_undefined_numbers_are_dashes_with_their_reasons(own_folder: Path) -> None:
    """Whatever is null in the study neither breaks the page nor becomes a number."""

    def blank(board: dict[str, Any]) -> None:
        for row in board["leaderboard"]:
            row["metrics"] = dict.fromkeys(row["metrics"])
            row["interval"] = dict.fromkeys(row["interval"])
            row["fold_mean"] = row["fold_std"] = dict.fromkeys(row["fold_mean"])
            row["reasons"] = {"metrics": {"qwk": "the scored recordings are all of one level"}}
        for one in board["comparisons"]:
            one.update(difference=None, interval=None, p=None, p_corrected=None, corrected_t=None, reason="one group")
        for rung in board["audit"]["ladder"]:
            rung.update(qwk=None, accuracy=None, interval=None, group_only=None, majority=None, n=None)
            rung["reasons"] = {"qwk": "three people are needed"}

    edit(own_folder, blank)
    text = Page(render_report(read_study(own_folder))).text
    assert "Quadratic kappa: the scored recordings are all of one level." in text
    assert "One group." in text
    assert "Quadratic kappa: three people are needed." in text
    assert "cannot be told" in text
    assert "None" not in text


def test_hostile_names_are_shown_and_do_nothing(own_folder: Path) -> None:
    """Names of files, speakers, levels and strategies, sentences, settings: markup, templates, right-to-left, long."""
    spoil = {"low": HOSTILE, "s0": f"s0{HOSTILE}", "r1.mp4": f"{HOSTILE}.mp4"}
    spoil["mean/early/cumulative"] = f"mean/{HOSTILE}"
    file = own_folder / "predictions.csv"
    with file.open(newline="") as text:
        rows = list(csv.reader(text))
    header = [f"proba_{HOSTILE}" if name == "proba_low" else name for name in rows[0]]
    with file.open("w", newline="") as text:
        csv.writer(text).writerows([header, *([spoil.get(cell, cell) for cell in row] for row in rows[1:])])

    def spoil_board(board: dict[str, Any]) -> None:
        board["label_names"][0] = HOSTILE
        for row in board["leaderboard"]:
            row["strategy"] = spoil.get(row["strategy"], row["strategy"])
        for one in board["comparisons"]:
            one.update(a=HOSTILE, b=HOSTILE, reason=HOSTILE)
        board["audit"].update(sentence=HOSTILE, evidence={HOSTILE: [HOSTILE, {HOSTILE: HOSTILE}]})
        board["learning_curve"]["outlook"]["sentence"] = HOSTILE
        board["settings"].update(manifest=HOSTILE, command=[HOSTILE], versions={HOSTILE: HOSTILE}, created=HOSTILE)
        board["settings"]["more"] = HOSTILE
        board["warnings"] = [HOSTILE, "\udcff"]

    edit(own_folder, spoil_board)
    html = render_report(read_study(own_folder))
    page = Page(html)
    assert {tag for tag, _ in page.elements} & {"script"} == set()
    assert "\u202e" not in html
    assert "{{ 7 * 7 }}" in html
    assert "👩‍🏫" in html
    html.encode("utf-8")
    for plot in re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL):
        ET.fromstring(plot)


def test_page_does_not_grow_with_the_recordings(own_folder: Path) -> None:
    """5,000 recordings of 400 speakers and 20 strategies in three tests give a page below three megabytes."""
    study = read_study(own_folder)
    n, names = 5000, study.label_names
    with open(own_folder / "predictions.csv", "w", newline="") as file:
        writer = csv.writer(file)
        fixed = ["path", "speaker", "protocol", "strategy", "repeat", "fold", "scored", "label", "predicted"]
        writer.writerow([*fixed, *(f"proba_{name}" for name in names)])
        for number in range(n):
            sure = 0.34 + number % 97 / 150
            row = [f"r{number}.mp4", f"s{number % 400}", "logo:speaker", "best/early/one", 0, 0, 1, names[number % 3]]
            writer.writerow([*row, names[number % 2], sure, (1 - sure) * 0.7, (1 - sure) * 0.3])

    def enlarge(board: dict[str, Any]) -> None:
        rows = board["leaderboard"]
        group = {"n": 12, "qwk": 0.5, "accuracy": 0.5, "mae": 0.5, "rps": 0.5}
        more = [
            {**row, "strategy": f"other/early/{k}", "baseline": False, "n": n, "by_group": [], "metrics": {"qwk": 0.1}}
            for row in rows[:: len(rows) // 3]
            for k in range(20)
        ]
        best = {**study.leader, "strategy": "best/early/one", "n": n, "metrics": {"qwk": 0.99}}
        best["by_group"] = [{"group": f"s{k}", **group} for k in range(400)]
        board["leaderboard"] = [best, *more]
        board["comparisons"] = [{**board["comparisons"][0], "b": row["strategy"]} for row in more] * 3
        board["audit"]["evidence"] = {"pairs": [[number, "r1.mp4"] for number in range(5000)]}

    edit(own_folder, enlarge)
    (own_folder / "attention.csv").unlink()
    html = render_report(read_study(own_folder))
    assert len(html) < 1_000_000
    assert "The 30 least well predicted of 400 speakers are shown" in Page(html).text


def test_an_outlook_that_there_is_not_has_its_reason(own_folder: Path) -> None:
    """The curve is drawn without it."""
    edit(own_folder, lambda board: board["learning_curve"].update(outlook=None, reason="two sizes say nothing"))
    assert "No outlook: two sizes say nothing." in Page(render_report(read_study(own_folder))).text


@pytest.mark.parametrize("timed", [True, False])
def test_attention_is_told_in_seconds_where_they_are_known(own_folder: Path, timed: bool) -> None:
    """Else by the number of the clip."""
    file = own_folder / "attention.csv"
    fixed = ["r0.mp4", "attention/early/softmax:epochs=5,hidden=8", "logo:speaker"]
    times = [("10", "20"), ("20", "30")] if timed else [("", ""), ("", "")]
    rows = [[*fixed, clip, *times[clip], weight] for clip, weight in enumerate((0.25, 0.75))]
    with file.open("w", newline="") as text:
        writer = csv.writer(text)
        writer.writerows([["path", "strategy", "protocol", "clip", "start_s", "end_s", "weight"], *rows])
    page = Page(render_report(read_study(own_folder))).text
    told = "20 to 30 s counted most: 75 %" if timed else "Clip 2 counted most: 75 %"
    assert f"{told}, where even weights would give 50 %" in page
    assert ("10 to 20 s: 25 %; 20 to 30 s: 75 %" if timed else "clip 1: 25 %; clip 2: 75 %") in page
    assert ("their seconds are not known" in page) is not timed


def test_examples_are_the_most_uneven_right_ones_and_wrong_ones() -> None:
    """Half of each where there are enough; recordings without predictions only where none has any."""
    clips = {f"r{k}": [AttentionClip(0, 10, 0.5 + k / 40), AttentionClip(10, 20, 0.5 - k / 40)] for k in range(10)}
    clips["short"] = [AttentionClip(0, 5, 1.0)]
    known = {
        path: Prediction(path=path, group="s", repeat=0, label=0, predicted=int(k % 2), proba=(0.5, 0.5))
        for k, path in enumerate(clips)
    }
    assert choose_examples(clips, known, 4) == ["r8", "r6", "r9", "r7"]
    assert choose_examples(clips, {}, 2) == ["r9", "r8"]
    assert choose_examples(clips, {path: known[path] for path in ("r1", "r2", "r4", "r6")}, 4) == [
        "r6",
        "r4",
        "r2",
        "r1",
    ]
    assert choose_examples({"short": clips["short"]}, {}, 3) == ["short"]


def test_evidence_is_told_whatever_its_shape() -> None:
    """Nested names, lists, and nothing."""
    told = dict(flatten({"a": {"b": 0.25, "c": True}, "d": [1, None], "e": [{"f": "x"}], "g": {}, "h": []}))
    assert told == {"a › b": "0.25", "a › c": "yes", "d": "1, –", "e › 1 › f": "x", "g": "–", "h": "none"}


def test_study_without_speakers_and_with_repeats_has_a_page(tmp_path: Path) -> None:
    """The page speaks of sources then, and of counts over repeats."""
    folder = make_study(tmp_path / "study", repeats=2, with_speakers=False, with_audit=False, in_depth=False)
    text = Page(render_report(read_study(folder))).text
    assert "Every source has one recording" in text
    assert "Counts add up 2 repeats" in text


def test_report_replaces_a_report_and_nothing_else(study_folder: Path, tmp_path: Path) -> None:
    """A file of somebody else's, a folder, a pipe and a place that cannot be written are refused."""
    study = read_study(study_folder)
    target = write_report(tmp_path / "new" / "report.html", study)
    first = target.read_bytes()
    assert write_report(target, study).read_bytes() == first
    assert os.listdir(target.parent) == ["report.html"]
    (tmp_path / "thesis.html").write_text("<p>mine</p>")
    with pytest.raises(OutputError, match="is not a report, so it is left as it is"):
        write_report(tmp_path / "thesis.html", study)
    assert (tmp_path / "thesis.html").read_text() == "<p>mine</p>"
    with pytest.raises(OutputError, match="is a folder. Give the name of a file"):
        write_report(tmp_path, study)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OutputError, match="is not a report"):
        write_report(tmp_path / "pipe", study)
    with pytest.raises(OutputError, match="cannot be written to"):
        write_report(tmp_path / "thesis.html" / "report.html", study)
    with pytest.raises(OutputError, match="cannot be looked at"):
        write_report(tmp_path / ("x" * 300), study)
