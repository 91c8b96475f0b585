"""One section of a report: its place, its heading, and what its template shows, or why there is nothing to show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True, eq=False)
class Section:
    """A section of the page.

    Attributes
    ----------
    name : str
        Of its template and of its anchor in the page.
    title : str
    parts : dict of str to anything
        What the template shows.
    absent : str
        Why there is nothing to show, as one sentence; empty where there is.
    """

    name: str
    title: str
    parts: Mapping[str, Any] = field(default_factory=dict)
    absent: str = ""
