"""The page: all sections in their order as one HTML file that needs nothing else, and where it may be written."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from poise.errors import OutputError
from poise.heads.report.attention import show_attention
from poise.heads.report.board import show_board
from poise.heads.report.calibration import show_calibration
from poise.heads.report.confusion import show_confusion
from poise.heads.report.differences import show_differences
from poise.heads.report.groups import show_groups
from poise.heads.report.ladder import show_ladder
from poise.heads.report.learning import show_learning
from poise.heads.report.reading import Study
from poise.heads.report.section import Section
from poise.heads.report.settings import show_settings
from poise.heads.report.verdict import show_verdict
from poise.heads.report.wording import LONGEST_NAME, show
from poise.table import replace_text

MAKER = '<meta name="generator" content="poise report">'
"""What every report begins with: a file without it is not overwritten."""

_LONGEST_WORD = 26
"""Characters that a table finds room for in one piece; longer ones are broken anywhere."""

_SECTIONS: Sequence[Callable[[Study], Section]] = (
    show_verdict,
    show_ladder,
    show_board,
    show_differences,
    show_confusion,
    show_groups,
    show_calibration,
    show_learning,
    show_attention,
    show_settings,
)


def make_sections(study: Study) -> list[Section]:
    """The sections of a report in their order, those that have nothing to show among them.

    Parameters
    ----------
    study : Study
    """
    return [show_section(study) for show_section in _SECTIONS]


def render_report(study: Study) -> str:
    """A report as HTML; the same study always gives the same text.

    Parameters
    ----------
    study : Study

    Returns
    -------
    str
        One page without scripts and without anything that would be fetched.
    """
    settings = study.board.get("settings") or {}
    return (
        _templates()
        .get_template("page.html")
        .render(
            maker=Markup(MAKER),  # noqa: S704  a constant
            sections=make_sections(study),
            title=_title(study),
            levels=study.label_names,
            created=re.sub(r"^(\d{4}-\d\d-\d\d)T(\d\d:\d\d).*$", r"\1 at \2", settings.get("created") or ""),
            n_recordings=settings.get("n_recordings"),
            n_copies=settings.get("n_copies"),
            n_speakers=settings.get("n_speakers"),
        )
    )


def write_report(path: str | os.PathLike[str], study: Study) -> Path:
    """Write a report, replacing an older one.

    Parameters
    ----------
    path : path
        A file, as ``report.html``.
    study : Study

    Returns
    -------
    Path
        The file.

    Raises
    ------
    OutputError
        There is something else in its place, or it cannot be written.
    """
    target = Path(path)
    _check_target(target)
    text = render_report(study)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        replace_text(target, text)
    except OSError as error:
        raise OutputError(f"The report cannot be written to {target}: {error.strerror}. Give another --out.") from error
    return target


def _check_target(path: Path) -> None:
    """Replace an older report, and nothing else."""
    try:
        if path.is_dir():
            raise OutputError(f"{path} is a folder. Give the name of a file, as report.html.")
        if path.exists() and MAKER.encode() not in _beginning(path):
            raise OutputError(f"{path} exists and is not a report, so it is left as it is. Give another --out.")
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"{path} cannot be looked at: {error.strerror}. Give another --out.") from error


def _beginning(path: Path) -> bytes:
    if not path.is_file():  # a pipe would be waited for
        return b""
    with path.open("rb") as file:
        return file.read(1000)


def _title(study: Study) -> str:
    settings = study.board.get("settings") or {}
    name = settings.get("manifest") or study.board.get("study") or study.folder
    return Path(str(name)).name or "study"


@cache
def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("poise.heads.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    environment.filters["name"] = _name
    environment.filters["capitalize_first"] = lambda text: f"{text[:1].upper()}{text[1:]}"
    return environment


def _finalize(value: Any) -> Any:
    """Whatever a template prints: text of a study is made fit to be shown, before it is escaped."""
    return show(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _name(text: str) -> Markup:
    """A name of a file, speaker, level or strategy: it breaks where it must, and turns nothing around it."""
    shown = show(text, LONGEST_NAME)
    parts = re.split(r"(?<=[/:,_ ])", shown)
    kind = "name endless" if max(map(len, parts)) > _LONGEST_WORD else "name"
    return Markup('<bdi class="{}">{}</bdi>').format(kind, Markup("<wbr>").join(map(escape, parts)))
