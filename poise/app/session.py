"""What one visitor has open, kept by Streamlit from run to run, and what all visitors of a server share."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import cast

import streamlit as st
from streamlit.runtime import Runtime
from streamlit.runtime.scriptrunner import get_script_run_ctx

from poise.app.jobs import Job
from poise.app.models import LoadedModel, ModelCache
from poise.app.preview import Preview
from poise.app.recordings import Recording
from poise.app.settings import AppSettings
from poise.heads.report.reading import Study
from poise.serve.bundle import Bundle
from poise.serve.predict import Predictor
from poise.serve.prediction import Prediction

AWAY_S = 20.0
"""A visitor whose connection is gone for so long is not waited for: a page that is loaded anew is another visitor."""


@dataclass
class Visit:
    """What one visitor has open.

    Attributes
    ----------
    loading : Job or None
        A model that is being made ready.
    model : LoadedModel or None
        The one that predicts.
    complaint : str
        Why the last model could not be loaded; empty if it could.
    recording : Recording or None
        The one that is open.
    begun : str
        ``id`` of the recording that work was begun on; empty for none.
    preview : Job or None
        What the player plays.
    predicting : Job or None
        The prediction of the open recording, done or not.
    predicted_with : str
        Digest of the model that it was begun with.
    held : bool
        Whether the prediction was cancelled, and is begun only when the visitor says so.
    path : str
        Of the model on the server's disk that was asked for last; empty for none.
    uploaded_model : str
        Streamlit's name of the model that was uploaded last; empty for none.
    tried_first : bool
        Whether the model that the server was started with has been asked for.
    study : Study or None
        The study that is open.
    tried_study : bool
        Whether the study that the server was started with has been asked for.
    """

    loading: Job[LoadedModel] | None = None
    model: LoadedModel | None = None
    complaint: str = ""
    recording: Recording | None = None
    begun: str = ""
    preview: Job[Preview] | None = None
    predicting: Job[Prediction] | None = None
    predicted_with: str = ""
    held: bool = False
    path: str = ""
    uploaded_model: str = ""
    tried_first: bool = False
    study: Study | None = None
    tried_study: bool = False

    def close_recording(self) -> None:
        """End what is being done with the open recording, and forget what came of it."""
        for job in (self.preview, self.predicting):
            if job is not None:
                job.cancel()
        self.preview = self.predicting = None
        self.begun = self.predicted_with = ""
        self.held = False


def this_visit() -> Visit:
    """What the visitor of this run has open."""
    if "visit" not in st.session_state:
        st.session_state["visit"] = Visit()
    return cast("Visit", st.session_state["visit"])


@cache
def settings() -> AppSettings:
    """What the server was started with."""
    return AppSettings.from_environment()


@cache
def models() -> ModelCache:
    """The models of this server."""

    def make(bundle: Bundle) -> Predictor:
        given = settings()
        predictor = Predictor(bundle, encoders=given.encoders, device=given.device)
        predictor.load()  # what is wrong with an encoder is told with the model, not with the first recording
        return predictor

    return ModelCache(make)


def presence() -> Callable[[], bool]:
    """Whether this run's visitor is still there; may be asked from any thread, for as long as one likes.

    Returns
    -------
    callable
        False once the page has been gone for :data:`AWAY_S`.
    """
    context = get_script_run_ctx(suppress_warning=True)
    if context is None or not Runtime.exists():
        return lambda: True
    runtime, session = Runtime.instance(), context.session_id
    seen = time.monotonic()

    def is_there() -> bool:
        nonlocal seen
        if runtime.is_active_session(session):
            seen = time.monotonic()
        return time.monotonic() - seen < AWAY_S

    return is_there
