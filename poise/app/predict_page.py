"""The page "Predict": a model, a recording, and what the one says of the other."""

from __future__ import annotations

import streamlit as st

from poise.app.jobs import Job
from poise.app.model_panel import show_model, show_model_card
from poise.app.models import LoadedModel
from poise.app.player_panel import show_player
from poise.app.progress import follow, show_bar
from poise.app.recordings import Recording, predict_upload, preview_upload
from poise.app.result_panel import show_details, show_result
from poise.app.session import Visit, presence, settings, this_visit
from poise.app.settings_panel import load_first, show_settings, take_loaded
from poise.app.uploads import KINDS, MB, find_suffix
from poise.app.wording import plain, show_name, tell
from poise.errors import CancelledError, MediaError
from poise.serve.prediction import Prediction


def show_predict_page() -> None:
    """Show the page."""
    visit = this_visit()
    st.title("The level of an answer")
    st.caption(
        "Upload a recorded answer and see its level, how sure that is, *when* in the answer it came from, and when not "
        "to believe it."
    )
    load_first(visit)
    take_loaded(visit)
    show_settings(visit)
    _follow_loading(visit)
    if visit.model is None:
        visit.close_recording()
        if visit.loading is None:
            st.info("No model is loaded. Give one in the settings above.", icon=":material/upload_file:")
        return
    show_model(visit.model)
    recording = _ask_recording(visit)
    if recording is None:
        visit.close_recording()
        show_model_card(visit.model)
    else:
        _begin(visit, visit.model, recording)
        _show_recording(visit, visit.model, recording)


def _follow_loading(visit: Visit) -> None:
    job = visit.loading
    if job is None:
        return
    if job.is_over:  # since the page began to be drawn
        st.rerun()

    def show() -> None:
        show_bar(job)
        if st.button("Cancel", key="cancel-loading", icon=":material/close:"):
            job.cancel()
            visit.loading, visit.complaint = None, "Loading was cancelled."
            st.rerun()

    follow(job, show)


def _ask_recording(visit: Visit) -> Recording | None:
    """The recording that is open, if one was uploaded and it can be one."""
    most = settings().max_upload_mb
    upload = st.file_uploader(  # of a wrong ending Streamlit would say nothing but its file's name in red
        f"Recording ({KINDS})", key="recording", max_upload_size=most, on_change=_take_away, args=(visit,)
    )
    if upload is None:
        _show_open(visit)
        return visit.recording
    if visit.recording is None or visit.recording.id != upload.file_id:
        visit.recording = Recording(id=upload.file_id, name=upload.name, data=upload.getvalue())
    try:
        if upload.size > most * MB:
            raise MediaError(f"The file is larger than {most:,} MB. Send a part of it.")
        find_suffix(visit.recording.data)
    except MediaError as error:
        st.error(plain(f"{show_name(upload.name)}: {error}"), icon=":material/error:")
        return None
    return visit.recording


def _take_away(visit: Visit) -> None:
    """Called when the visitor has chosen a file, or taken it away; not when the other page was open in between."""
    if st.session_state["recording"] is None:
        visit.recording = None


def _show_open(visit: Visit) -> None:
    """Which recording is open although none stands in the field, after the other page was open."""
    if visit.recording is None:
        st.caption("Only you see it, and it is deleted after you have left.")
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{plain(show_name(visit.recording.name))}** is open.", width="content")
        if st.button("Close", icon=":material/close:"):
            visit.recording = None
            st.rerun()


def _begin(visit: Visit, model: LoadedModel, recording: Recording) -> None:
    """Begin what is to be done with a recording that was not open, or not with this model."""
    if recording.id != visit.begun:
        visit.close_recording()
        visit.begun = recording.id
    most = settings().max_upload_mb
    if visit.preview is None:
        visit.preview = Job.start(lambda watch: preview_upload(recording, watch, max_mb=most), is_wanted=presence())
    if model.digest != visit.predicted_with and not visit.held:
        if visit.predicting is not None:
            visit.predicting.cancel()
        visit.predicted_with = model.digest
        visit.predicting = Job.start(
            lambda watch: predict_upload(model, recording, watch, max_mb=most), is_wanted=presence()
        )


def _show_recording(visit: Visit, model: LoadedModel, recording: Recording) -> None:
    with st.container(key="recorded"):  # by this name a narrow page shows the level above the player
        left, right = st.columns([3, 2], gap="large")
    with left:
        show_player(visit, recording)
    with right:
        prediction = _show_prediction(visit, model)
    show_model_card(model)
    if prediction is not None:
        show_details(prediction, model)


def _show_prediction(visit: Visit, model: LoadedModel) -> Prediction | None:
    job = visit.predicting
    if job is not None and not job.is_over:
        follow(job, lambda: _show_progress(visit, job))
        return None
    if job is None or isinstance(job.error, CancelledError):
        st.info("The prediction was cancelled.", icon=":material/cancel:")
        if st.button("Predict again", icon=":material/replay:"):
            visit.held, visit.predicted_with = False, ""
            st.rerun()
        return None
    if job.error is not None:
        st.error(plain(tell(job.error, {})), icon=":material/error:")
    if job.result is not None:
        show_result(job.result, model)
    return job.result


def _show_progress(visit: Visit, job: Job[Prediction]) -> None:
    show_bar(job)
    if st.button("Cancel", key="cancel-prediction", icon=":material/close:"):
        job.cancel()
        visit.predicting, visit.held = None, True
        st.rerun()
