"""Showing how far a job is, and running the page again when it is over."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import streamlit as st

from poise.app.jobs import Job
from poise.app.wording import plain

_POLL_S = 0.5
_NUMBERS = itertools.count()
_WORDS = {
    "waiting": "Waiting for another recording to be finished",
    "loading": "Loading the weights of the encoders",
    "decoding": "Decoding",
    "encoding": "Encoding",
    "preview": "Making a copy that browsers can play",
}


def follow(job: Job[Any], show: Callable[[], None]) -> None:
    """Call ``show`` twice a second until the job is over, and then run the page again.

    Parameters
    ----------
    job : Job
        One that was not over when the page was drawn.
    show : callable
        Draws how far it is.
    """

    def poll() -> None:
        if job.is_over:
            st.rerun()
        show()

    # Streamlit forgets what a run has drawn if a fragment that it drew as well is asked for before that was sent; under
    # a new name it cannot be asked for until then
    poll.__qualname__ = f"poll_{next(_NUMBERS)}"
    st.fragment(poll, run_every=_POLL_S)()


def show_bar(job: Job[Any]) -> None:
    """A bar with what is being done, and for how long already."""
    step = job.step
    words = _WORDS.get(step.what, step.what or "Looking at the recording")
    counted = f", clip {step.done:.0f} of {step.total:.0f}" if step.what == "encoding" and step.total else ""
    st.progress(step.share, text=plain(f"{words}{counted} ({job.seconds:.0f} s)"))
