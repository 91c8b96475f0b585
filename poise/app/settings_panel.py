"""The panel "Model settings": a model from the server's disk or from an upload, loaded while the page stays usable."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from poise.app.jobs import Job, Watch
from poise.app.models import LoadedModel, read_model_file
from poise.app.session import Visit, models, presence, settings
from poise.app.uploads import MAX_MODEL_MB
from poise.app.wording import plain, show_name, tell

_RELOAD_HELP = "Read the same file again, as after it was trained anew."
_TRUST = "I trust whoever made this file: let it run code on the server"
_TRUST_HELP = (
    "Older models may be pickled Python objects. To load one is to run whatever program its maker put in, on the "
    "server and with all that its user may do. A model of `poise train` never needs this; better: have "
    "`poise bundle convert` make a new file where the old one was trained."
)


def load_first(visit: Visit) -> None:
    """Begin to load the model that the server was started with, once for every visitor."""
    if not visit.tried_first:
        visit.tried_first = True
        if settings().model:
            visit.path = settings().model
            _begin(visit, lambda: read_model_file(settings().model), settings().model)


def show_settings(visit: Visit) -> None:
    """Show the panel."""
    opened = visit.model is None and visit.loading is None
    with st.expander("Model settings", expanded=opened or bool(visit.complaint), icon=":material/tune:"):
        trust = _ask_trust()
        if settings().allow_paths:
            _show_path(visit, trust_pickle=trust)
        elif settings().model and st.button("Reload", icon=":material/refresh:", help=_RELOAD_HELP):
            _begin(visit, lambda: read_model_file(settings().model), settings().model, trust_pickle=trust)
        _show_upload(visit, trust_pickle=trust)
        if visit.complaint:
            st.error(plain(visit.complaint), icon=":material/error:")
            if visit.model is not None:
                st.caption(plain(f"{visit.model.title}, which was loaded before, stays in use."))


def take_loaded(visit: Visit) -> None:
    """Take what has been loaded into use."""
    job = visit.loading
    if job is None or not job.is_over:
        return
    visit.loading = None
    if job.error is not None:
        visit.complaint = tell(job.error, {})
    elif job.result is not None:
        if visit.model is not None:  # else the page itself shows that there is one now
            same = visit.model.digest == job.result.digest
            st.toast(plain(f"{job.result.title} was loaded{', the same as before' if same else ''}."))
        visit.model, visit.complaint = job.result, ""


def _ask_trust() -> bool:
    if not settings().trust_pickle:
        return False
    return st.checkbox(_TRUST, key="trust", help=_TRUST_HELP)


def _show_path(visit: Visit, *, trust_pickle: bool) -> None:
    with st.form("path", border=False):
        path = st.text_input(
            "ZIP path on the server", value=visit.path, key="model-path", placeholder="/models/model.zip"
        )
        with st.container(horizontal=True):
            load = st.form_submit_button("Load", type="primary", icon=":material/folder_open:")
            reload = st.form_submit_button(
                "Reload",
                icon=":material/refresh:",
                disabled=not visit.path,
                help=_RELOAD_HELP,
            )
    given = path.strip() if load else visit.path
    if load and not given:
        visit.complaint = "No path was given. Type where the ZIP of the model is, as /models/model.zip."
    elif load or reload:
        visit.path = given
        _begin(visit, lambda: read_model_file(given), given, trust_pickle=trust_pickle)


def _show_upload(visit: Visit, *, trust_pickle: bool) -> None:
    upload = st.file_uploader(
        "Or upload a model (ZIP)",
        key="model-upload",
        max_upload_size=MAX_MODEL_MB,
        help="A ZIP of `poise train`.",
    )
    if upload is None:
        visit.uploaded_model = ""
    elif upload.file_id != visit.uploaded_model:
        visit.uploaded_model = upload.file_id
        data = upload.getvalue()
        _begin(visit, lambda: data, upload.name, trust_pickle=trust_pickle)


def _begin(visit: Visit, read: Callable[[], bytes], name: str, *, trust_pickle: bool = False) -> None:
    cache, shown = models(), show_name(name, instead="the model")

    def load(watch: Watch) -> LoadedModel:
        watch.tell(0, 0, f"Loading {shown}")
        return cache.load(read(), name, trust_pickle=trust_pickle)

    if visit.loading is not None:
        visit.loading.cancel()
    visit.complaint = ""
    visit.loading = Job.start(load, is_wanted=presence())
