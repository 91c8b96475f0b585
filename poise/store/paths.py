"""Paths of recordings as tables give them, made comparable."""

from __future__ import annotations

import os


def normal_path(path: str) -> str:
    """A path without detours as ``a/../b``; most have none."""
    plain = os.sep == "/" and "//" not in path and "./" not in path and not path.endswith(("/", "/.", "/.."))
    return path if plain else os.path.normpath(path)
