"""Promises of polling: what a page shows once its work is over is not lost on the way."""

from collections.abc import Callable
from typing import Any

import pytest
import streamlit as st

from poise.app.jobs import Job
from poise.app.progress import follow


def test_every_time_a_page_is_drawn_it_polls_under_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a poll of what was drawn before cannot end what is drawn now before it has been sent."""
    names = []

    def fragment(function: Callable[[], None], **_: Any) -> Callable[[], None]:
        names.append(function.__qualname__)
        return function

    monkeypatch.setattr(st, "fragment", fragment)
    over = Job.start(lambda _watch: None, is_wanted=lambda: True)
    assert over.wait(60)
    shown: list[None] = []
    monkeypatch.setattr(st, "rerun", lambda: None)
    for _ in range(2):
        follow(over, lambda: shown.append(None))
    assert len(set(names)) == len(shown) == 2
