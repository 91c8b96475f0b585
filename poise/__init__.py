"""Ordinal levels from short recorded answers: extract once, iterate in seconds, believe the number, ship it.

The public names below are loaded at their first use, so that ``import poise`` stays light.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Bags": "poise.store",
    "ClipClassifier": "poise.heads",
    "FeatureStore": "poise.store",
    "Manifest": "poise.manifest",
    "PoiseError": "poise.errors",
    "Predictor": "poise.serve",
    "compare": "poise.heads",
    "read_manifest": "poise.manifest",
}

__all__ = sorted([*_HOMES, "__version__"])  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'poise' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
