"""Promises of the words: whatever a file is called, a page shows it as text."""

import re

import pytest

from poise.app.wording import LONGEST_NAME, plain, safe_file_name, show_card, show_name, tell
from poise.errors import MediaError


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("answer.mp4", "answer.mp4"),
        ("../../etc/passwd", "passwd"),
        (r"C:\Users\me\answer.mp4", "answer.mp4"),
        ("two\nlines\t.mp4", "two lines .mp4"),
        ("gpj.\u202e4pm", r"gpj.\u202e4pm"),
        ("\0", "the upload"),
        ("", "the upload"),
    ],
)
def test_a_name_is_shown_as_its_last_part_with_nothing_hidden(name: str, shown: str) -> None:
    """Folders go, control and reordering characters are written out, and something always stands there."""
    assert show_name(name) == shown


def test_a_long_name_is_cut() -> None:
    """Of a name of thousands of characters the ends are shown."""
    assert len(show_name("x" * 5000 + ".mp4")) <= LONGEST_NAME


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "![x](http://evil.example/x.png)",
        "[click](javascript:alert(1))",
        "**bold** _it_ `code` ~~gone~~ # head",
        ":red[text] :material/lock: $x^2$",
        "| a | b |\n|---|---|",
    ],
)
def test_plain_text_has_no_punctuation_left_that_markdown_would_act_on(text: str) -> None:
    """Every character that can mean something stands behind a backslash, and the text is otherwise the same."""
    escaped = plain(text)
    assert not re.search(r"(?<!\\)[!-/:-@\[-`{-~]", re.sub(r"\\[\\]", "", re.sub(r"\\(?=[^\\])(.)", "", escaped)))
    assert escaped.replace("\\", "").replace("\u2060", "").replace("  \n", "\n") == text


@pytest.mark.parametrize("text", ["http://evil.example", "www.evil.example", "a@evil.example", "so :smile: it"])
def test_bare_addresses_and_emoji_do_not_form(text: str) -> None:
    """Streamlit makes links of bare addresses and pictures of :names: even where they are escaped."""
    shown = plain(text).replace("\\", "")
    assert shown != text
    assert not re.search(r"https?://|www\.|@\w|:\w+:", shown)
    assert not re.search(r"https?://|www\.|@\w|:\w+:", show_card(text))


def test_errors_name_what_a_visitor_knows() -> None:
    """Paths are replaced by names, notes told, commands stand in quotes, and what nobody expected has its class."""
    error = MediaError("/tmp/poise-upload-x/abc.mp4 is cut off.")
    error.add_note("Send it again.")
    names = {"/tmp/poise-upload-x": "the server", "/tmp/poise-upload-x/abc.mp4": "answer.mp4"}
    assert tell(error, names) == "answer.mp4 is cut off.\nSend it again."
    assert tell(MediaError("Make it with `poise train`."), {}) == "Make it with “poise train”."
    assert tell(KeyError("x"), {}) == "Something went wrong: KeyError: 'x'."


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("my answer.mp4", "my-answer.json"),
        ("…", "recording.json"),
        ("../x\r\n.mp4", "x.json"),
        ("a" * 99, "a" * 60 + ".json"),
    ],
)
def test_a_download_has_a_harmless_name(name: str, safe: str) -> None:
    """Only letters, digits, dots, lines and dashes go into the name of a download."""
    assert safe_file_name(name, ".json") == safe
