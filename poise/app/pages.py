"""The pages, and what happens to an error that none of them expected: a sentence, and the rest in the server's log."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import streamlit as st
from streamlit.navigation.page import StreamlitPage

from poise.app.predict_page import show_predict_page
from poise.app.study_page import show_study_page
from poise.app.wording import plain, tell
from poise.errors import PoiseError

ICON = Path(__file__).parent / "assets" / "icon.svg"
"""Given as a file: Streamlit fetches its own icons for a page's tab from elsewhere."""

_WIDTH = 1120
# on the theme's colour, which is light where the page is dark, Streamlit writes in white
_STYLE = """<style>
.stMainBlockContainer { padding-top: 2.5rem; padding-bottom: 4rem; }
button[kind^='primary'], button[kind^='primary'] * { color: light-dark(#fff, #000); }
.st-key-card h1 { font-size: 1.35rem; } .st-key-card h2 { font-size: 1.1rem; }
.st-key-card table { display: block; max-width: 100%; overflow-x: auto; }
@media (max-width: 640px) {
  .st-key-recorded > div > .stHorizontalBlock { flex-direction: column-reverse; }
  .st-key-recorded .stColumn { width: 100%; min-width: 100%; }
}
</style>"""
_log = logging.getLogger("poise.app")


def show_pages() -> None:
    """Show the page that the visitor chose, below links to both."""
    pages = [
        st.Page(lambda: _framed(show_predict_page, pages), title="Predict", url_path="predict", default=True),
        st.Page(lambda: _framed(show_study_page, pages), title="Study", url_path="study"),
    ]
    st.navigation(pages, position="hidden").run()  # its own menu hides both on a phone


def _framed(show: Callable[[], None], pages: Sequence[StreamlitPage]) -> None:
    st.html(_STYLE)
    with st.container(horizontal_alignment="center"), st.container(width=_WIDTH):
        with st.container(horizontal=True, gap="small", key="pages"):
            for page in pages:
                st.page_link(page, width="content")
        try:
            show()
        except PoiseError as error:
            st.error(plain(tell(error, {})), icon=":material/error:")
        except Exception as error:  # noqa: BLE001  whatever it is, a visitor is told in words
            _log.exception("A page failed")
            st.error(plain(tell(error, {})), icon=":material/error:")
