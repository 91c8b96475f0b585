"""Training for serving: validate a strategy, fit it on everything, write the bundle."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from poise.heads.audit.audit import Audit
from poise.heads.classifier import ClipClassifier
from poise.heads.compare import compare
from poise.heads.comparison import Comparison
from poise.heads.fusion import usable
from poise.heads.progress import Progress
from poise.heads.splits import Protocol, harshest_groups
from poise.heads.state import HeadState
from poise.heads.strategy import Strategy
from poise.heads.validate import derive_state
from poise.manifest import Manifest
from poise.serve.bundle import Bundle, check_target, training_digest, write_bundle
from poise.serve.confidence import calibrate
from poise.serve.familiarity import learn_ranges
from poise.serve.schema import check_label_names
from poise.store.bags import Bags
from poise.store.runs import library_versions
from poise.store.schema import Spec


@dataclass(frozen=True, kw_only=True, eq=False)
class Training:
    """What :func:`train` did.

    Attributes
    ----------
    comparison : Comparison
        How the strategy was validated, beside the baselines.
    bundle : Bundle
        What was written.
    warnings : tuple of str
        What to know before using the model.
    """

    comparison: Comparison
    bundle: Bundle
    warnings: tuple[str, ...]


def train(
    bags: Bags,
    manifest: Manifest,
    specs: Mapping[str, Spec],
    path: str | os.PathLike[str],
    *,
    strategy: Strategy,
    protocols: Sequence[Protocol] | None = None,
    score: Literal["auto", "originals", "all"] = "auto",
    repeats: int = 1,
    n_tried: int = 1,
    seed: int = 0,
    progress: Progress | None = None,
) -> Training:
    """Validate a strategy, fit it on all recordings, and write both into a bundle.

    Parameters
    ----------
    bags : Bags
        Features, aligned with the manifest.
    manifest : Manifest
        Labels and groups.
    specs : mapping of str to mapping
        Spec of the feature set of each modality.
    path : path
        The bundle to write.
    strategy : Strategy
        What to train.
    protocols, score, repeats, n_tried, seed, progress
        As in :func:`poise.heads.compare.compare`.

    Returns
    -------
    Training

    Raises
    ------
    StrategyError, SplitError
        The strategy does not fit the features, or a protocol the labels and groups.
    OutputError
        The bundle cannot be written.
    BundleError
        The names of the levels are none that a bundle may have.
    """
    check_target(Path(path))
    check_label_names(manifest.label_names)
    model = ClipClassifier.from_strategy(strategy, random_state=derive_state(seed))  # refuses what cannot be served
    found = compare(
        bags,
        manifest,
        strategies=[strategy],
        protocols=protocols,
        score=score,
        repeats=repeats,
        n_tried=n_tried,
        seed=seed,
        progress=progress,
    )
    rows = np.flatnonzero(usable(bags, strategy.fusion))
    used, groups = bags[rows], harshest_groups(manifest, bags.keys)[rows]
    model.fit(used, manifest.labels[rows], groups=groups)
    speakers = manifest.speakers
    state = model.export_state()
    ranges, arrays = learn_ranges(_needed(used, model), groups)
    bundle = Bundle(
        label_names=manifest.label_names,
        extraction={modality: specs[modality] for modality in model.modalities_},
        strategy=str(strategy),
        head=HeadState(config=state.config, arrays=state.arrays | arrays),
        validation=tuple(_without_time(row.to_json()) for row in found.rows),
        audit=_summarise(found.audit),
        training={
            "n_recordings": len(rows),
            "n_copies": int(manifest.is_copy[rows].sum()),
            "n_speakers": len(set(speakers[rows].tolist())) if speakers is not None else None,
            "label_counts": np.bincount(manifest.labels[rows], minlength=manifest.n_classes).tolist(),
            "digest": training_digest(used.keys, manifest.labels[rows]),
            "seed": seed,
            "confidence": calibrate(found, str(strategy)),
            "feature_range": ranges,
        },
        versions=library_versions(),
    )
    write_bundle(path, bundle)
    imported = [modality for modality, spec in bundle.extraction.items() if "imported" in spec]
    cannot = f"The features of {' and '.join(imported)} were imported, so this model cannot predict media files."
    return Training(comparison=found, bundle=bundle, warnings=(*found.warnings, *([cannot] if imported else [])))


def _needed(bags: Bags, model: ClipClassifier) -> Bags:
    return Bags(keys=bags.keys, modalities={name: bags.modalities[name] for name in model.modalities_})


def _summarise(audit: Audit | None) -> Mapping[str, Any]:
    """What a reader of the model must know of its audit; the evidence stays with the study."""
    if audit is None:  # it is always asked for here
        return {"verdict": None, "sentence": None, "ladder": [], "warnings": []}
    told = audit.to_json()
    return {name: told[name] for name in ("verdict", "sentence", "ladder", "warnings")}


def _without_time(row: dict[str, Any]) -> dict[str, Any]:
    """A line of the leaderboard without how long it took: the same training gives the same bytes."""
    return {name: value for name, value in row.items() if name != "seconds"}
