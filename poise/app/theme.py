"""The colours of the app, as options of Streamlit. The dark ones are the default: ``script/.streamlit/config.toml``."""

from __future__ import annotations

from typing import Literal, get_args

from poise.errors import AppError

Theme = Literal["dark", "light", "system"]
THEMES: tuple[Theme, ...] = get_args(Theme)

_LIGHT = {
    "primaryColor": "#0072b2",
    "backgroundColor": "#ffffff",
    "secondaryBackgroundColor": "#f3f5f7",
    "textColor": "#1b1f24",
}
_DARK = {
    "primaryColor": "#4aa8e0",
    "backgroundColor": "#12151a",
    "secondaryBackgroundColor": "#1d2229",
    "textColor": "#e8eaed",
}


def check_theme(name: str) -> Theme:
    """The theme of that name.

    Raises
    ------
    AppError
        There is none.
    """
    for theme in THEMES:
        if name == theme:
            return theme
    raise AppError(f"There is no theme {name!r}. Expected one of {', '.join(THEMES)}.")


def theme_options(theme: Theme) -> list[str]:
    """Options of Streamlit that choose a theme; none for the default.

    Parameters
    ----------
    theme : {"dark", "light", "system"}
        ``system`` leaves it to the visitor's machine, and to the menu of the page.
    """
    if theme == "light":
        return ["--theme.base=light", *(f"--theme.{name}={colour}" for name, colour in _LIGHT.items())]
    if theme == "system":
        sides = {"light": _LIGHT, "dark": _DARK}
        return [
            f"--theme.{side}.{name}={colour}" for side, colours in sides.items() for name, colour in colours.items()
        ]
    return []
