"""Parts of a report on a page: the same numbers and drawings, in the colours of the page's theme."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files

from markupsafe import Markup


def draw_plot(plot: Markup) -> Markup:
    """A plot of :mod:`poise.heads.report` in the frame that :func:`plot_style` knows.

    Parameters
    ----------
    plot : Markup
        An SVG, in which everything foreign is escaped.
    """
    return Markup('<div class="report-plot">{}</div>').format(plot)


def draw_facts(facts: Iterable[tuple[str, str, str]]) -> Markup:
    """Large numbers, each with what it is and what to hold it against.

    Parameters
    ----------
    facts : iterable of (str, str, str)
    """
    parts = [
        Markup('<div><dd>{}</dd><dt>{}</dt><dd class="beside">{}</dd></div>').format(number, what, beside)
        for number, what, beside in facts
    ]
    return Markup('<dl class="facts">{}</dl>').format(Markup("").join(parts))


def plot_style() -> str:
    """The report's own rules for plots, for plots in that frame alone."""
    style = files("poise.heads.report").joinpath("templates", "style.css").read_text(encoding="utf-8")
    rules = [line for line in style.splitlines() if line.startswith("svg")]
    return "\n".join([".report-plot {", *rules, "}", ""])
