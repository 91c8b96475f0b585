"""Promises of the model card: whoever gets the file reads whether it holds, what it is for, and what is not known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from poise.heads import HeadState
from poise.serve import Bundle, write_bundle
from poise.serve.facts import list_facts, list_limits
from tests.serve.bundles import make_bundle, members

RUNG = {"protocol": "logo:speaker", "scored": "all", "n": 30, "qwk": 0.42, "accuracy": 0.6, "interval": [0.1, 0.7]}


def with_audit(bundle: Bundle, **changes: Any) -> Bundle:
    return replace(bundle, audit={**bundle.audit, **changes})


def facts_of(bundle: Bundle) -> dict[str, str]:
    return dict(list_facts(bundle.to_json()))


def test_the_card_says_how_it_was_validated(tmp_path: Path) -> None:
    """Verdict first, then the ladder and the figures, then what it is for, its limits and how it was made."""
    bundle = with_audit(make_bundle()[0], ladder=[RUNG, {**RUNG, "qwk": None}], warnings=["Two speakers are one."])
    write_bundle(tmp_path / "m.zip", bundle)
    card = members(tmp_path / "m.zip")["MODEL_CARD.md"].decode()
    assert card == bundle.card()
    parts = [
        "**low < moderate < high**",
        "motion (video)",
        "## Validated",
        "**Supported: it is.**",
        "- Two speakers are one.",
        "| logo:speaker | all | 0.42 | 0.10 to 0.70 | 0.60 |",
        "| **mean/video/ridge** | logo:speaker | all | 30 | 0.50 | 0.60 | undefined |",
        "## Intended use",
        "Feedback on recordings like those",
        "## Limits",
        "The figures under logo:speaker say how well it does on speakers it has not heard.",
        "Not for decisions about people: hiring, grading, diagnosis.",
        "## How it was made",
        "| strategy | mean/video/ridge |",
        "5 numbers for each clip, float16",
        "windows of 5 s every 5 s, a tail of 3 s or more; the head sees all of them",
        "none: probabilities are as the head gives them",
        "30 recordings of 6 speakers, 0 of them augmented copies",
        f"{'0' * 64} of the recordings' keys and labels",
        "poise 0.1.0",
    ]
    places = [card.index(part) for part in parts]
    assert places == sorted(places)


@pytest.mark.parametrize("verdict", ["leakage", "confounded", "no evidence", "too little data"])
def test_a_model_whose_audit_failed_says_so_among_its_limits(verdict: str) -> None:
    """The first of them is not to rely on it."""
    bundle = with_audit(make_bundle()[0], verdict=verdict, sentence="It is not real.")
    assert list_limits(bundle.to_json())[0] == f"The audit's verdict is '{verdict}': do not rely on what it predicts."
    assert "**It is not real.**" in bundle.card()


def test_what_no_protocol_says_is_said() -> None:
    """Folds that split speakers say nothing of new ones, and a model of imported features hears and sees nobody."""
    bundle = make_bundle()[0]
    (row,) = bundle.validation
    for rows in ((), ({**row, "protocol": "stratified:5"},)):
        assert "No figure says how well it does on speakers" in replace(bundle, validation=rows).card()
    assert "There are no figures." in replace(bundle, validation=()).card()
    imported = {"video": {**bundle.extraction["video"], "imported": {"collection": "x"}}}
    assert "it cannot predict media files" in replace(bundle, extraction=imported).card()


def test_what_a_bundle_says_is_text_and_never_markup() -> None:
    """Names and sentences of a stranger show as they are: no link, no picture, no table, no HTML, no new line."""
    evil = "<img src=x> <!-- a --> [a](http://b) ![c](d) `e` **f** | g &lt; ~~i~~ _j_ \\*k*"
    bundle = replace(make_bundle()[0], label_names=("low", evil, "high"), versions={evil: f"1\n\n# h {evil}"})
    rung = {**RUNG, "protocol": f"logo:{evil}"}
    audit = {"sentence": f"{evil}\n\n# h \x1b[2J", "warnings": [evil, "# l", "- m", "> n"], "ladder": [rung]}
    card = with_audit(bundle, **audit).card()
    assert "\x1b" not in card
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(card)
    inner = [child for token in tokens for child in token.children or []]
    kinds = {token.type for token in [*tokens, *inner]}
    assert not kinds & {"html_block", "html_inline", "link_open", "image", "em_open", "s_open", "code_inline", "fence"}
    headings = [tokens[place + 1].content for place, token in enumerate(tokens) if token.type == "heading_open"]
    assert headings == ["Model card", "Validated", "Intended use", "Limits", "How it was made"]
    shown = "".join(child.content for child in inner)
    assert shown.count(evil) == 7
    assert "blockquote_open" not in kinds
    assert sum(token.type == "bullet_list_open" for token in tokens) == 2


@pytest.mark.parametrize(
    ("settings", "fact"),
    [
        ({"clips": "first:3"}, "the head sees the first 3"),
        ({"clips": "spread:4"}, "the head sees 4 of them, spread evenly"),
        (
            {"clips": "full:5"},
            "the head sees 5 full windows, spread evenly; a shorter one only where there are no more than 5",
        ),
        ({"clips": "longest"}, "the head sees the 1 longest"),
        ({"clips": "longest:2"}, "the head sees the 2 longest"),
        ({"clips": "{x}"}, "the head sees {x}"),
    ],
)
def test_clips_are_told_in_words(settings: dict[str, str], fact: str) -> None:
    """Which clips of a recording count is part of what a model is."""
    bundle = make_bundle()[0]
    head = HeadState(
        config={**bundle.head.config, "settings": {**bundle.head.config["settings"], **settings}}, arrays={}
    )
    assert facts_of(replace(bundle, head=head))["clips"].endswith(fact)


def test_calibration_and_promises_are_told() -> None:
    """The temperature, where it was learnt, and what sets of levels promise of new groups."""
    bundle = make_bundle("logistic", calibrate="temperature")[0]
    assert facts_of(bundle)["calibration"].startswith(f"temperature {bundle.head.config['temperature']:.3g}, learnt on")
    assert "sure of" not in facts_of(bundle)
    said = {"level": 0.8, "threshold": 0.7, "protocol": "logo:speaker", "n_groups": 8}
    promised = replace(bundle, training={**bundle.training, "confidence": said})
    assert facts_of(promised)["sure of"] == (
        "sets of levels that hold the true one of 80% of recordings of new groups (logo:speaker, 8 groups)"
    )
    said |= {"threshold": None, "reason": "3 speakers, 4 are needed"}
    few = replace(bundle, training={**bundle.training, "confidence": said})
    assert facts_of(few)["sure of"] == "nothing: 3 speakers, 4 are needed (logo:speaker, 8 groups)"


def test_layers_counts_and_seed_are_told() -> None:
    """What there is to say of features and of the training set."""
    bundle = make_bundle()[0]
    spec = {**bundle.extraction["video"], "encoder": {"name": "motion", "dim": 5, "n_layers": 3}}
    training = {**bundle.training, "n_speakers": None, "label_counts": [10, 12, 8], "seed": 7}
    facts = facts_of(replace(bundle, extraction={"video": spec}, training=training))
    assert "3 layers of 5 numbers for each clip" in facts["video"]
    assert facts["trained on"] == "30 recordings, 0 of them augmented copies; low 10, moderate 12, high 8; seed 7"
