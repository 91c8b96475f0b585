"""What is said of a recording: level, bars, doubts, timings, and the result as JSON."""

from __future__ import annotations

import streamlit as st

from poise.app.drawing import draw
from poise.app.levels import draw_levels
from poise.app.models import LoadedModel
from poise.app.recordings import describe_result, describe_timings, write_result
from poise.app.wording import plain, safe_file_name
from poise.serve.doubts import judge_model
from poise.serve.prediction import Prediction


def show_result(prediction: Prediction, model: LoadedModel) -> None:
    """Show what is said of a recording."""
    confidence = model.bundle.training.get("confidence") or {}
    draw(draw_levels(prediction, promised=confidence.get("level")), key="levels")
    _show_doubts(prediction, model)
    st.download_button(
        "Download the result",
        write_result(prediction, model),
        file_name=safe_file_name(prediction.path, ".json"),
        mime="application/json",
        icon=":material/download:",
        on_click="ignore",
    )


def show_details(prediction: Prediction, model: LoadedModel) -> None:
    """Timings, and everything as JSON."""
    st.caption(plain(f"Time: {describe_timings(prediction)}."))
    with st.expander("Details as JSON", icon=":material/data_object:"):
        st.json(describe_result(prediction, model), expanded=2)


def _show_doubts(prediction: Prediction, model: LoadedModel) -> None:
    for reason in prediction.because:
        st.error(f"**No level**, because {plain(_end(reason))}", icon=":material/block:")
    of_model = set(judge_model(model.bundle.strategy, model.bundle.validation, model.bundle.audit))
    told = model.bundle.audit.get("verdict") != "supported"  # then the model's own warning has said it
    for doubt in prediction.doubts[len(prediction.because) :]:
        if not (told and doubt in of_model):
            st.warning(f"**Do not rely on this:** {plain(_end(doubt))}", icon=":material/warning:")
    if not prediction.doubts:
        st.success("Nothing about the recording speaks against it.", icon=":material/check:")
    for note in prediction.notes:
        st.info(plain(_end(note[:1].upper() + note[1:])), icon=":material/info:")


def _end(text: str) -> str:
    return f"{text.rstrip('.')}."
