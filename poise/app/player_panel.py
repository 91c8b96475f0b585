"""The player, and the timeline that follows it."""

from __future__ import annotations

import streamlit as st

from poise.app.drawing import draw
from poise.app.jobs import Job
from poise.app.preview import Preview
from poise.app.progress import follow, show_bar
from poise.app.recordings import Recording
from poise.app.session import Visit
from poise.app.timeline import draw_timeline
from poise.app.wording import plain, tell
from poise.errors import CancelledError

_HEIGHT = 320


def show_player(visit: Visit, recording: Recording) -> None:
    """Show the player of the open recording, or why there is none, and its timeline once there is a prediction."""
    job = visit.preview
    with st.container(key="player"):
        if job is not None and not job.is_over:
            follow(job, lambda: _show_waiting(job))
        elif job is not None and job.result is not None:
            _play(job.result, recording)
        elif job is not None and job.error is not None and not isinstance(job.error, CancelledError):
            st.info(plain(f"It cannot be played here. {tell(job.error, {})}"), icon=":material/videocam_off:")
    if visit.predicting is not None and visit.predicting.result is not None:
        draw(draw_timeline(visit.predicting.result), key="timeline")


def _show_waiting(job: Job[Preview]) -> None:
    with st.container(border=True, height=_HEIGHT, vertical_alignment="center"):
        show_bar(job)


def _play(preview: Preview, recording: Recording) -> None:
    data = recording.data if preview.data is None else preview.data
    if preview.mime.startswith("audio/"):
        st.audio(data, format=preview.mime)
    else:
        st.video(data, format=preview.mime)
    if preview.note:
        st.caption(plain(preview.note))
