"""Promises of the rule: what makes a model abstain, what makes it doubt, what is only told, and what is neither."""

import numpy as np
import pytest

from poise.extract.quality import summarise
from poise.serve.doubts import DECISIVE, HARMLESS, MILD, clips_of, judge_model, judge_recording

LEVELS = ("low", "moderate", "high")
SPANS = np.array([[0.0, 10.0], [10.0, 20.0], [20.0, 30.0], [30.0, 34.5]])


def judge(*flags: str, possible: tuple[str, ...] = ("low", "moderate")):
    return judge_recording(dict.fromkeys(flags, SPANS), possible, LEVELS)


def test_a_recording_without_flags_is_believed() -> None:
    """Nothing is said of it, whether sets were calibrated or not."""
    for possible in ((), ("low",), ("moderate", "high")):
        found = judge(possible=possible)
        assert (found.because, found.doubts, found.notes) == ((), (), ())


@pytest.mark.parametrize("flag", DECISIVE)
def test_nothing_to_judge_makes_it_abstain(flag: str) -> None:
    """In words, which are a doubt too."""
    found = judge(flag)
    assert found.because == found.doubts == (DECISIVE[flag],)


@pytest.mark.parametrize("flag", MILD)
def test_a_worse_recording_is_a_doubt_and_no_reason_to_abstain(flag: str) -> None:
    """The level is given, and not to be relied on."""
    found = judge(flag)
    assert found.because == ()
    assert found.doubts == (MILD[flag],)


@pytest.mark.parametrize("flag", HARMLESS)
def test_what_is_harmless_is_only_told(flag: str) -> None:
    """It speaks against nothing."""
    found = judge(flag)
    assert found.doubts == ()
    assert found.notes == (HARMLESS[flag],)


def test_probabilities_that_rule_out_no_level_make_it_abstain() -> None:
    """The same with one level fewer does not; why it abstains comes before other doubts."""
    found = judge("dark", possible=LEVELS)
    assert found.because == ("its probabilities rule out no level from low to high",)
    assert found.doubts == (*found.because, MILD["dark"])
    assert judge(possible=LEVELS[1:]).because == ()


def test_a_minority_of_clips_is_told_with_its_time() -> None:
    """From half of the clips on, the word stands for the recording."""
    few = judge(*summarise([("frozen",), (), (), ("unfamiliar-sound",)]))
    assert few.because == ()
    assert set(few.notes) == {
        "the picture stands still from 0 to 10 s",
        "the sound is unlike the training recordings from 30 to 34.5 s",
    }
    assert judge(*summarise([("dark",), (), ("dark",), (), (), (), ()])).notes == (
        "the picture is very dark from 0 to 10 s and from 20 to 30 s",
    )
    half = judge(*summarise([("frozen",), ("frozen",), (), ()]))
    assert half.because == (DECISIVE["frozen"],)
    assert half.notes == ()


def test_every_word_of_the_quality_flags_is_known() -> None:
    """Whatever extraction may say of a clip has a sentence here, also where few clips have it."""
    for word in ("blank", "dark", "frozen", "clipped", "mostly-silent", "quiet"):
        assert word in DECISIVE | MILD
        (told,) = judge(f"{word}:1").notes
        assert told.endswith("from 10 to 20 s")
        assert not told.startswith(word)


def test_flags_name_their_clips() -> None:
    """As extraction writes them."""
    assert list(clips_of("quiet:0-2,5,8-9")) == [0, 1, 2, 5, 8, 9]
    assert list(clips_of("quiet")) == []


ROW = {"strategy": "s", "protocol": "logo:speaker", "interval": {"qwk": [0.2, 0.6]}}


def test_a_model_is_believed_for_its_audit_and_its_speakers() -> None:
    """A verdict other than supported is said in the audit's words, and is all that is said."""
    good = {"verdict": "supported", "sentence": "Supported."}
    assert judge_model("s", [ROW], good) == ()
    assert judge_model("s", [], {"verdict": "leakage", "sentence": "Leakage: it is."}) == (
        "the model's audit does not support it. Leakage: it is.",
    )
    assert judge_model("s", [ROW], {}) == ("the model's audit does not support it. It was not audited.",)
    assert "no better than chance" in judge_model("s", [{**ROW, "interval": {"qwk": [-0.1, 0.6]}}], good)[0]
    assert "says nothing about speakers" in judge_model("other", [ROW], good)[0]
