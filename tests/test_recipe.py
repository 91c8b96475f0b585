"""Promises of a copy's recipe: one text for one thing, read back exactly, and a way out of every mistake."""

import dataclasses
import random

import pytest

from poise.errors import ExtractSettingsError
from poise.recipe import Augmentation, copy_key

KEY = "ab" * 32


def test_the_text_is_short_and_safe() -> None:
    """Only what is done stands in it, and nothing that a table, a shell or a path takes for its own."""
    full = Augmentation(
        speed=1.05,
        flip=True,
        brightness=0.08,
        contrast=1.1,
        crop=(0.94, 0.3, 0.7),
        noise=26,
        pitch=-0.5,
        gain=-3,
        reverb=0.25,
        seed=17,
    )
    text = (
        "speed=1.05+flip+brightness=0.08+contrast=1.1+crop=0.94:0.3:0.7+noise=26+pitch=-0.5+gain=-3+reverb=0.25+seed=17"
    )
    assert str(full) == text
    assert not set(text) & set(" ,;\"'#/\\|&$*?<>()")
    assert str(Augmentation(flip=True)) == "flip"
    assert str(Augmentation()) == ""


def test_a_text_reads_back_to_the_same_record() -> None:
    """For any numbers in range, exactly, also where Python would print an exponent."""
    draw = random.Random(0)
    for _ in range(500):
        made = Augmentation(
            speed=draw.uniform(0.95, 1.05),
            flip=draw.random() < 0.5,
            brightness=draw.uniform(-0.2, 0.2) * 10 ** -draw.randrange(12),
            contrast=draw.uniform(0.8, 1.25),
            crop=(draw.uniform(0.85, 0.99), draw.random(), draw.random() / 1e9),
            noise=draw.uniform(22, 30),
            pitch=draw.uniform(-1, 1),
            gain=draw.uniform(-6, 6),
            reverb=draw.uniform(0, 0.5),
            seed=draw.randrange(2**32),
        )
        assert "e-" not in str(made)
        assert Augmentation.parse(str(made)) == made


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("gain=-3+flip", "flip+gain=-3"),
        ("pitch=+0.50+gain=+1", "pitch=0.5+gain=1"),
        ("flip+seed=9", "flip"),
        ("flip+gain=-0", "flip"),
        ("crop=1:0.5:0.5+speed=0.98", "speed=0.98"),
    ],
)
def test_what_does_the_same_has_one_text(text: str, canonical: str) -> None:
    """Order, zeros, signs and parts without effect make no second copy of the same numbers."""
    assert str(Augmentation.parse(text)) == canonical


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sped=1.05", "has a part 'sped', which there is not. Did you mean 'speed'"),
        ("Flip", "Did you mean 'flip'"),
        ("xyz=1", "'xyz', which there is not. Expected some of speed, flip"),
        ("", "a part '', which there is not"),
        ("flip+", "a part 'flip\\+'"),
        ("flip+flip", "gives flip twice"),
        ("flip=1", "flip has no value"),
        ("speed=1.2", "speed is 1.2. Expected 0.95 to 1.05"),
        ("speed", "speed is ''. Expected plain numbers, as speed=1.05"),
        ("speed=fast", "speed is 'fast'"),
        ("gain=1e0", "gain is '1e0'"),
        ("noise=10", "noise is 10. Expected 22 to 30"),
        ("crop=0.9", "crop is .0.9,.*Expected three numbers"),
        ("crop=0.9:0", "Expected three numbers, share kept, x and y"),
        ("crop=0.5:0:0", "crop's share is 0.5. Expected 0.85 to 1"),
        ("crop=0.9:0:2", "crop's y is 2. Expected 0 to 1"),
        ("crop=0.9:a:0", "Expected plain numbers, as crop=0.94:0.3:0.7"),
        ("noise=25+seed=-1", "seed is '-1'"),
        ("noise=25+seed=9999999999", "seed is 9999999999. Expected a whole number from 0 to 4294967295"),
        ("seed=3", "changes nothing"),
        ("speed=1", "changes nothing. Expected parts as speed=1.05"),
    ],
)
def test_a_wrong_text_says_what_would_be_right(text: str, message: str) -> None:
    """Typos get the nearest name, values out of range the range."""
    with pytest.raises(ExtractSettingsError, match=message):
        Augmentation.parse(text)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"speed": float("nan")}, "speed is nan. Expected a number from 0.95 to 1.05"),
        ({"speed": None}, "speed is None. Expected a number"),
        ({"gain": True}, "gain is True. Expected a number"),
        ({"flip": 1}, "flip is 1. Expected True or False"),
        ({"seed": 1.0}, "seed is 1.0. Expected a whole number"),
        ({"crop": 0.9}, "crop is 0.9. Expected three numbers"),
    ],
)
def test_a_record_checks_its_values(values: dict[str, object], message: str) -> None:
    """Made in Python, it refuses the same as its text."""
    with pytest.raises(ExtractSettingsError, match=message):
        Augmentation(**values)  # type: ignore[arg-type]


def test_parts_say_what_is_touched() -> None:
    """Flip and light leave the sound alone, gain and noise the picture; speed changes both."""
    assert (Augmentation(flip=True).changes_picture, Augmentation(flip=True).changes_sound) == (True, False)
    assert (Augmentation(noise=25).changes_picture, Augmentation(noise=25).changes_sound) == (False, True)
    assert (Augmentation(speed=0.98).changes_picture, Augmentation(speed=0.98).changes_sound) == (True, True)
    assert Augmentation(speed=0.98, noise=25, seed=3).parts == ("speed", "noise")
    assert dataclasses.is_dataclass(Augmentation)


def test_a_copy_has_a_key_of_its_own() -> None:
    """The recording keeps its key; another recipe, seed or file is another copy."""
    assert copy_key(KEY, "") == KEY
    keys = {
        copy_key(KEY, "flip"),
        copy_key(KEY, "noise=25"),
        copy_key(KEY, "noise=25+seed=1"),
        copy_key("cd" * 32, "flip"),
    }
    assert len(keys) == 4
    assert all(len(key) == 64 for key in keys)
    assert copy_key(KEY, "flip") == copy_key(KEY, "flip")
