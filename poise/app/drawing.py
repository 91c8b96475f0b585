"""Puts HTML that poise made onto a page, in the colours of the page's theme. Nothing here escapes anything."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st
from markupsafe import Markup

from poise.app.plots import plot_style

_ASSETS = Path(__file__).parent / "assets"


def draw(markup: Markup, *, key: str) -> None:
    """Show HTML.

    Parameters
    ----------
    markup : Markup
        In which everything foreign was escaped.
    key : str
        Unlike that of every other drawing of the page.
    """
    _component()(data={"html": str(markup)}, key=key)


@cache
def _component() -> Any:
    return st.components.v2.component(
        "poise.drawing",
        html='<div class="drawing"></div>',
        css=(_ASSETS / "drawing.css").read_text(encoding="utf-8") + plot_style(),
        js=(_ASSETS / "drawing.js").read_text(encoding="utf-8"),
    )
