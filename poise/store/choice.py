"""Which feature set a name means."""

from __future__ import annotations

from collections.abc import Sequence

from poise.errors import AmbiguousFeatureSetError, FeatureSetNotFoundError
from poise.store.exported import ExportedFile
from poise.store.folder import StoreFolder
from poise.store.index import FeatureSetIndex
from poise.store.schema import Modality, spec_differences

_SHOWN_DIFFERENCES = 6


def choose_set(source: StoreFolder | ExportedFile, name: str | None, modality: Modality) -> FeatureSetIndex | None:
    """The one feature set of a modality that a name means.

    Parameters
    ----------
    source : StoreFolder or ExportedFile
        Where to look.
    name : str or None
        ``encoder``, ``encoder@fingerprint`` or the start of one; ``none`` for no feature set; None
        for the only one of the modality, if there is any.
    modality : {"video", "audio"}
        What it must be made from.

    Raises
    ------
    FeatureSetNotFoundError
        No feature set answers to the name.
    AmbiguousFeatureSetError
        Several do; the message lists them and how they differ.
    """
    if name == "none":
        return None
    names = source.names()
    answering = [held for held in names if name is None or _answers(held, name)]
    found = [source.index(held) for held in answering if source.modality(held) == modality]
    if not found and name is None:
        return None
    if not found:
        raise FeatureSetNotFoundError(
            f"{source.path} has no {modality} feature set {name!r}. It holds: {', '.join(names) or 'none'}. "
            f"Extract it, or choose one with --{modality}."
        )
    if len(found) > 1:
        raise AmbiguousFeatureSetError(_ambiguous(found, name, modality))
    return found[0]


def _answers(held: str, name: str) -> bool:
    """Whether a name means the feature set ``held``."""
    return name == held.rpartition("@")[0] or ("@" in name and held.startswith(name))


def _ambiguous(found: Sequence[FeatureSetIndex], name: str | None, modality: str) -> str:
    first, *others = found
    lines = [f"Several {modality} feature sets are there:" if name is None else f"{name!r} names several feature sets:"]
    lines += [f"  {index.name}" for index in found]
    for other in others:
        if _encoder(first) != _encoder(other):  # settings of different encoders are hardly comparable
            continue
        shown = spec_differences(first.spec, other.spec)[:_SHOWN_DIFFERENCES]
        lines.append(f"  {first.name} / {other.name} differ in {'; '.join(shown)}")
    alone = [_encoder(index) for index in found].count(_encoder(first)) == 1
    choice = _encoder(first) if alone else first.name
    lines.append(f'Choose one with --{modality} {choice}, in Python {modality}="{choice}".')
    return "\n".join(lines)


def _encoder(index: FeatureSetIndex) -> str:
    return index.name.rpartition("@")[0]
