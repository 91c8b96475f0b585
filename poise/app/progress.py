"""Showing how far a job is, and running the page again when it is over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from poise.app.jobs import Job
from poise.app.wording import plain

_POLL_S = 0.5
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

    @st.fragment(run_every=_POLL_S)
    def poll() -> None:
        if job.is_over:
            st.rerun()
        show()

    poll()


def show_bar(job: Job[Any]) -> None:
    """A bar with what is being done, and for how long already."""
    step = job.step
    words = _WORDS.get(step.what, step.what or "Looking at the recording")
    counted = f", clip {step.done:.0f} of {step.total:.0f}" if step.what == "encoding" and step.total else ""
    st.progress(step.share, text=plain(f"{words}{counted} ({job.seconds:.0f} s)"))
