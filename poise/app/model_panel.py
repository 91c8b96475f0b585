"""Which model predicts, what its audit said, and its card: beside every prediction."""

from __future__ import annotations

from typing import Any

import streamlit as st

from poise.app.models import LoadedModel
from poise.app.wording import plain, show_card
from poise.heads.report.verdict import RULINGS, without_heading

_COLOURS: dict[str, Any] = {"good": "green", "bad": "red", "open": "orange"}
_NOT_AUDITED = "Not audited: nobody knows whether its figures are real"


def show_model(model: LoadedModel) -> None:
    """Name, levels and verdict of the model on one line; a warning below it where the audit does not support it."""
    audit = model.bundle.audit
    verdict = str(audit.get("verdict"))
    sentence = str(audit.get("sentence") or "")
    ruling = RULINGS.get(verdict)
    supported = verdict == "supported"
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f"**{plain(model.name)}**", width="content")
        st.badge(
            plain(verdict),
            icon=":material/verified:" if supported else ":material/warning:",
            color=_COLOURS[ruling.kind] if ruling else "orange",
        )
        st.caption(plain(" < ".join(model.bundle.label_names)), width="content")
        st.caption(f"sha256 {model.digest[:8]}", width="content")
    if not supported:
        heading = ruling.heading if ruling else _NOT_AUDITED
        told = without_heading(sentence, ruling.heading if ruling else verdict)
        st.warning(f"**{plain(heading)}.** {plain(told)}", icon=":material/warning:")


def show_model_card(model: LoadedModel) -> None:
    """How the model was validated, in the audit's sentence, and the whole card for who wants it."""
    audit = model.bundle.audit
    if audit.get("verdict") == "supported":
        told = without_heading(str(audit.get("sentence") or ""), "supported")
        st.caption(plain(f"How it was validated. {told}"))
    with st.expander("Model card", icon=":material/description:"), st.container(key="card"):
        card = model.bundle.card()
        st.markdown(show_card(card))
        st.download_button(
            "Download the card",
            card,
            file_name="MODEL_CARD.md",
            mime="text/markdown",
            icon=":material/download:",
            on_click="ignore",
        )
