"""Runs: which program made features, when, and with which libraries; kept beside them, never in the fingerprint."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from poise.store.schema import canonical_json

_FOR_FEATURES = ("poise", "h5py", "numpy", "torch", "transformers", "av", "decord", "librosa")
_FOR_HEADS = ("scipy", "scikit-learn", "lightgbm")


def new_run_id() -> str:
    """A random name for a run, 16 hexadecimal digits."""
    return secrets.token_hex(8)


def describe_run(*, run: str | None = None, **facts: Any) -> str:
    """What is kept of a run, as JSON.

    Parameters
    ----------
    run : str, optional
        Name of the run; the same for everything that one command makes. Default: a new one.
    **facts
        More to keep, as the command, the device, the revision of the weights. JSON values.

    Returns
    -------
    str
        ``{"run", "started", "versions", ...}``
    """
    return canonical_json(
        {
            "run": run or new_run_id(),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": _find_versions(_FOR_FEATURES),
            **facts,
        }
    )


def library_versions() -> Mapping[str, str]:
    """Versions of the installed packages that features and heads depend on."""
    return _find_versions((*_FOR_FEATURES, *_FOR_HEADS))


def _find_versions(packages: Sequence[str]) -> Mapping[str, str]:
    versions = {}
    for package in packages:
        try:
            versions[package] = version(package)
        except ModuleNotFoundError:
            continue
    return versions
