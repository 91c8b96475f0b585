"""One small model and the recordings that it was trained on, for all tests of the app."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from poise.serve import read_bundle, write_bundle
from tests.app.trained import SUPPORTED, make_model


@pytest.fixture(autouse=True)
def leave_nothing() -> Iterator[None]:
    """A page that runs in this process takes the place of its main module, which processes spawned later would run.

    Its models, which stay for the next visitor, are let go of, and their decoding processes with them.
    """
    main, path = sys.modules["__main__"], list(sys.path)
    yield
    sys.modules["__main__"], sys.path[:] = main, path
    if "poise.app.session" in sys.modules:
        sys.modules["poise.app.session"].models.cache_clear()
    gc.collect()


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose audit found too little data."""
    return make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def supported_file(model_file: Path) -> Path:
    """The same model, had its audit supported it."""
    bundle = replace(read_bundle(model_file), audit=dict(SUPPORTED))
    path = model_file.with_name("supported.zip")
    write_bundle(path, bundle)
    return path


@pytest.fixture(scope="session")
def recording(model_file: Path) -> Path:
    """A recording of 6 s that browsers play as it is."""
    return model_file.with_name("r0.mp4")
