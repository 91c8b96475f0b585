"""Extraction: every recording of a manifest into a store, each once, whatever happens to any of them.

What a run keeps account of lives in :mod:`poise.extract.run`, where it decodes and encodes in
:mod:`poise.extract.engines`, and how one file is read and encoded in :mod:`poise.extract.reading` and
:mod:`poise.extract.encoding`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from poise.errors import ExtractSettingsError
from poise.extract.clips import ClipSettings
from poise.extract.encoders.base import Encoder
from poise.extract.encoders.readout import Layers
from poise.extract.encoders.registry import is_pretrained, make_encoder
from poise.extract.engines.choice import check_engine, make_engine
from poise.extract.engines.engine import EngineName
from poise.extract.fingerprint import build_spec
from poise.extract.media.decode import check_decoder
from poise.extract.outcomes import ExtractReport
from poise.extract.planning import shard_rows
from poise.extract.run import Progress, Run
from poise.extract.workers.source import DecodeLimits, Reading
from poise.manifest import Manifest
from poise.store.schema import Modality, set_name
from poise.store.store import FeatureStore


def extract(
    manifest: Manifest,
    store: FeatureStore | str | os.PathLike[str],
    *,
    video: str | os.PathLike[str] | Encoder | None = "videomae-base",
    audio: str | os.PathLike[str] | Encoder | None = "wavlm-base-plus",
    clips: ClipSettings | None = None,
    n_frames: int | None = None,
    layers: Layers = "last",
    pooling: str = "mean",
    precision: str = "float32",
    decoder: str = "pyav",
    dtype: str = "float16",
    device: str = "auto",
    engine: EngineName = "local",
    workers: int | None = None,
    limits: DecodeLimits | None = None,
    retry_failed: bool = False,
    shard: tuple[int, int] | None = None,
    progress: Progress | None = None,
) -> ExtractReport:
    """Extract the embeddings of every recording that the store does not have yet.

    Parameters
    ----------
    manifest : Manifest
        The recordings.
    store : FeatureStore or path
        Where embeddings go; what is there under the same settings is not done again. A store that is not there yet is
        made at the path once all settings have turned out to be right.
    video, audio : str, path, Encoder or None
        Encoder of each modality, see :func:`poise.extract.encoders.registry.make_encoder`; None or ``none`` for none.
    clips : ClipSettings, optional
        How recordings are cut. Default: ``ClipSettings()``.
    n_frames : int, optional
        Frames of each clip that a video model looks at. Default: as many as its checkpoint was trained with.
    layers, pooling, precision
        What is read of pretrained models, see :func:`poise.extract.encoders.registry.make_encoder`; encoders that have
        none of it go without.
    decoder : {"pyav", "decord"}
        What decodes the pictures.
    dtype : {"float16", "float32"}
        What embeddings are stored as.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    engine : {"local", "ray"}
        Where files are decoded and encoded: on this machine, or on a Ray cluster, whose every node must see the files
        and the weights under the paths that they have here.
    workers : int, optional
        Processes that decode. Default: one for each core, but one less where models use the cores too. 0 decodes in
        this process, where a file that crashes the decoder ends the run. On Ray: files that are decoded at the same
        time, by default one for each core that encoders leave.
    limits : DecodeLimits, optional
        When a decoding process is ended. Default: ``DecodeLimits()``.
    retry_failed : bool
        Try recordings again that failed in an earlier run.
    shard : (int, int), optional
        Part ``i`` of ``n``: only rows i - 1, i - 1 + n, ... are worked on, so that n processes or machines can share
        the work and the store. Stale recordings are not looked for then.
    progress : callable, optional
        Called with an :class:`ExtractProgress` whenever something moved.

    Returns
    -------
    ExtractReport
        One outcome for each row worked on. ``stored`` and ``partial`` are said only of what is safe on the disk.

    Raises
    ------
    EncoderError
        An encoder cannot be built or run.
    MissingDependencyError
        The weights of an encoder are in a package that is not installed.
    ExtractSettingsError
        A setting has a value that it cannot have.
    MissingDependencyError
        The engine or the decoder needs a package that is not installed.
    ClusterError
        The Ray cluster cannot be reached, or gave up.
    StoreWriteError
        The store cannot be written.
    """
    began = time.monotonic()
    check_engine(engine, device=device, workers=workers)
    settings = clips if clips is not None else ClipSettings()
    options = {"n_frames": n_frames, "device": device}
    readout = {"layers": layers, "pooling": pooling, "precision": precision}
    encoders = _make_encoders({"video": video, "audio": audio}, options, readout)
    for encoder in encoders.values():
        encoder.check_window(settings.window_s)
    specs = {modality: build_spec(encoder, settings, decoder, dtype) for modality, encoder in encoders.items()}
    reading = Reading(
        clips=settings, decoder=check_decoder(decoder), limits=limits if limits is not None else DecodeLimits()
    )
    rows = shard_rows(len(manifest), shard)
    opened = store if isinstance(store, FeatureStore) else FeatureStore.create(store)
    run = Run(manifest, opened, encoders, specs, progress, rows)
    chosen = make_engine(engine, encoders, reading, workers=workers, n_rows=len(rows))
    run.work(chosen, retry_failed=retry_failed, stall_s=reading.limits.stall_s)
    return ExtractReport(
        outcomes=run.outcomes(),
        seconds=time.monotonic() - began,
        waiting_s=chosen.waiting_s,
        n_clips_encoded=run.clips_done,
        feature_sets={modality: set_name(spec) for modality, spec in specs.items()},
        stale=run.stale() if shard is None else (),
    )


def _make_encoders(
    names: Mapping[Modality, str | os.PathLike[str] | Encoder | None],
    options: Mapping[str, Any],
    readout: Mapping[str, Any],
) -> dict[Modality, Encoder]:
    encoders: dict[Modality, Encoder] = {}
    named = {m: name for m, name in names.items() if not isinstance(name, Encoder) and name not in (None, "none")}
    # encoders without layers go without; if there are no others, they say so themselves
    choosing = {modality for modality, name in named.items() if is_pretrained(name, modality)} or named.keys()
    for modality, name in names.items():
        if isinstance(name, Encoder):
            encoders[modality] = name
        elif name is not None and modality in named:
            chosen = readout if modality in choosing else {}
            encoders[modality] = make_encoder(name, modality, **options, **chosen)
    if not encoders:
        raise ExtractSettingsError("There is nothing to extract: both encoders are none. Give --video or --audio one.")
    return encoders
