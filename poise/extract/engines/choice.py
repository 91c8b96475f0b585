"""Which engine a run gets, by its name, and what each can be told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from poise.errors import ExtractSettingsError
from poise.extract.encoders.base import Encoder
from poise.extract.engines.cluster import import_ray
from poise.extract.engines.engine import Engine, EngineName
from poise.extract.engines.local import LocalEngine
from poise.extract.workers.source import Reading
from poise.store.schema import Modality


def check_engine(engine: str, *, device: str, workers: int | None) -> None:
    """Refuse what the engine cannot do, before anything is done.

    Raises
    ------
    ExtractSettingsError
        There is no such engine, or it has no such device or number of workers.
    MissingDependencyError
        It needs a package that is not installed.
    """
    if engine not in get_args(EngineName):
        raise ExtractSettingsError(f"There is no engine {engine!r}. Expected {' or '.join(get_args(EngineName))}.")
    least = 1 if engine == "ray" else 0
    if workers is not None and workers < least:
        raise ExtractSettingsError(
            f"workers is {workers}. Expected {least} or more with the engine {engine}, as --workers 4."
        )
    if engine != "ray":
        return
    if device.startswith("cuda:"):
        raise ExtractSettingsError(
            f"The device is {device!r}, and on a cluster it is Ray that gives GPUs away. Use --device cuda, auto or "
            "cpu."
        )
    import_ray()


def make_engine(
    engine: EngineName, encoders: Mapping[Modality, Encoder], reading: Reading, *, workers: int | None, n_rows: int
) -> Engine:
    """The engine of that name.

    Parameters
    ----------
    engine : {"local", "ray"}
        Its name.
    encoders : mapping of modality to Encoder
        What encodes.
    reading : Reading
        How files are read.
    workers : int, optional
        Files that are decoded at the same time, see :func:`poise.extract.pipeline.extract`.
    n_rows : int
        Rows that will come.

    Raises
    ------
    EncoderError
        An encoder cannot be sent to the processes that need it.
    """
    if engine == "ray":
        from poise.extract.engines.ray_engine import RayEngine

        return RayEngine(encoders, reading, workers=workers)
    return LocalEngine(encoders, reading, workers=workers, n_rows=n_rows)
