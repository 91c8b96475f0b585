"""Protocols and folds: which recordings are trained on and which are predicted, and what may never cross.

Nothing is fitted or scored here.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import GroupKFold, KFold, LeaveOneGroupOut, StratifiedGroupKFold, StratifiedKFold

from poise.errors import ManifestError, ProtocolError, SplitError
from poise.manifest import Manifest

KINDS = ("kfold", "stratified", "group", "logo")
DEFAULT_FOLDS = 5
_MAX_FOLD_DIGITS = 9
_FORMS = "kfold:5, stratified:5, group:COLUMN[:5] or logo:COLUMN"
_Splits = Iterable[tuple[NDArray[np.int64], NDArray[np.int64]]]


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How a strategy is validated.

    Parameters
    ----------
    kind : {"kfold", "stratified", "group", "logo"}
    column : str
        What ``group`` and ``logo`` (leave one group out) keep together: ``speaker``, ``source`` or
        another column of the manifest. Empty for the others.
    n_folds : int
        0 for ``logo``.

    Examples
    --------
    >>> Protocol.parse("group:speaker"), str(Protocol.parse("logo:speaker"))
    (Protocol(kind='group', column='speaker', n_folds=5), 'logo:speaker')
    """

    kind: str
    column: str = ""
    n_folds: int = 0

    @classmethod
    def parse(cls, text: str) -> Protocol:
        """Read ``kfold:k``, ``stratified:k``, ``group:COLUMN[:k]`` or ``logo:COLUMN``.

        Raises
        ------
        ProtocolError
            The text is not written so.
        """
        kind, *rest = (part.strip() for part in text.strip().split(":"))
        if kind not in KINDS:
            found = difflib.get_close_matches(kind.lower(), KINDS, n=1, cutoff=0.5)
            hint = f" Did you mean {found[0]!r}?" if found else ""
            raise ProtocolError(f"There is no protocol {text!r}.{hint} Expected {_FORMS}.")
        grouped = kind in ("group", "logo")
        column = rest.pop(0) if grouped and rest else ""
        if bool(column) != grouped or len(rest) > (kind != "logo"):
            raise ProtocolError(f"{text!r} is not a protocol. Expected {_FORMS}.")
        return cls(kind=kind, column=column, n_folds=0 if kind == "logo" else _parse_folds(text, rest))

    @property
    def keeps_speakers_apart(self) -> bool:
        """Whether nobody stands on both sides of a fold."""
        return self.column == "speaker"

    @property
    def hardness(self) -> tuple[bool, bool, bool]:
        """What protocols are ordered by: those that keep more apart come later."""
        return (self.keeps_speakers_apart, self.column not in ("", "source"), self.column != "")

    def __str__(self) -> str:
        return ":".join(str(part) for part in (self.kind, self.column, self.n_folds) if part)


@dataclass(frozen=True, kw_only=True, eq=False)
class Fold:
    """One split of a manifest's rows.

    Attributes
    ----------
    repeat, fold : int
    train, test : ndarray of int64
        Rows of the manifest, rising.
    """

    repeat: int
    fold: int
    train: NDArray[np.int64]
    test: NDArray[np.int64]


def make_folds(
    protocol: Protocol,
    manifest: Manifest,
    *,
    rows: NDArray[np.int64] | None = None,
    keys: Sequence[str] | None = None,
    repeats: int = 1,
    seed: int = 0,
) -> list[Fold]:
    """Folds of a protocol; each row is predicted exactly once in each repeat.

    Grouped folds never part a group, nor a copy from its source, nor recordings of equal keys: where
    these stand in different groups, the groups are kept together.

    Parameters
    ----------
    protocol : Protocol
    manifest : Manifest
    rows : ndarray of int64, optional
        Rows to split; all by default.
    keys : sequence of str, optional
        Key of each recording of the manifest: equal keys are equal bytes.
    repeats : int
        Repeats with other shuffles. ``logo`` has only one way to split.
    seed : int

    Returns
    -------
    list of Fold

    Raises
    ------
    SplitError
        The labels and groups cannot be split so; the message says what to do.
    """
    rows = np.arange(len(manifest)) if rows is None else np.sort(rows)
    labels = manifest.labels[rows]
    _check_classes(manifest, labels)
    groups = bound_groups(manifest, protocol.column, keys=keys)[rows] if protocol.column else None
    _check_counts(protocol, manifest, rows, groups)
    folds = []
    for repeat in range(repeats):
        state = int(np.random.SeedSequence([seed, repeat]).generate_state(1)[0])
        for number, (train, test) in enumerate(_split(protocol, labels, groups, state)):
            folds.append(Fold(repeat=repeat, fold=number, train=rows[train], test=rows[test]))
    _check_folds(protocol, manifest, folds, rows)
    return folds


def bound_groups(manifest: Manifest, column: str, *, keys: Sequence[str] | None = None) -> NDArray[np.int64]:
    """Number of the group of each row, such that no group, no source and its copies, and no equal keys are parted.

    Parameters
    ----------
    manifest : Manifest
    column : str
    keys : sequence of str, optional
        Key of each recording: equal keys are equal bytes.

    Returns
    -------
    ndarray of shape (n_recordings,), int64

    Raises
    ------
    SplitError
        The manifest has no such column, or leaves it empty in a row.
    """
    try:
        names = manifest.groups(column)
    except ManifestError as error:
        raise SplitError(f"The manifest cannot be split by {column}: {error}") from error
    numbers = np.unique(names, return_inverse=True)[1]
    ties = [numbers, manifest.sources]
    if keys is not None:
        ties.append(np.unique(np.asarray(keys), return_inverse=True)[1])
    parts = _connect(ties)
    lowest = np.full(len(numbers), len(numbers))
    np.minimum.at(lowest, parts, numbers)
    return np.unique(lowest[parts], return_inverse=True)[1].astype(np.int64)


def harshest_groups(manifest: Manifest, keys: Sequence[str]) -> NDArray[np.int64]:
    """Number of the group of each row by speaker where every row has one and there are two or more, else by source.

    What a head that is trained on everything holds out to choose its settings, whatever it was validated with.
    """
    people = manifest.speakers
    if people is not None and (people != "").all():
        found = bound_groups(manifest, "speaker", keys=keys)
        if len(set(found.tolist())) > 1:
            return found
    return bound_groups(manifest, "source", keys=keys)


def hash_folds(folds: Sequence[Fold], manifest: Manifest) -> str:
    """Name of a set of folds: 16 hexadecimal digits that change when any recording changes sides."""
    sides = [
        [fold.repeat, fold.fold, *([manifest.paths[row] for row in side] for side in (fold.train, fold.test))]
        for fold in folds
    ]
    return hashlib.sha256(json.dumps(sides, ensure_ascii=True).encode()).hexdigest()[:16]


def _connect(ties: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Number of the part of each row, where rows of equal number in any tie are of one part."""
    rows = np.arange(len(ties[0]))
    firsts = [np.unique(tie, return_index=True, return_inverse=True)[1:] for tie in ties]
    others = np.concatenate([first[place] for first, place in firsts])  # the first row of the same number
    edges = (np.ones(len(others)), (np.tile(rows, len(ties)), others))
    graph = coo_array(edges, shape=(len(rows), len(rows)))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def _parse_folds(text: str, rest: list[str]) -> int:
    if not rest:
        return DEFAULT_FOLDS
    # longer numbers are no folds, and int() refuses those of thousands of digits
    if not rest[0].isdecimal() or len(rest[0]) > _MAX_FOLD_DIGITS or int(rest[0]) < 2:
        shown = rest[0] if len(rest[0]) <= 20 else f"{rest[0][:20]}…"
        raise ProtocolError(f"{text[:40]!r}: {shown!r} is not a number of folds. Expected a whole number from 2 on.")
    return int(rest[0])


def _split(
    protocol: Protocol, labels: NDArray[np.int64], groups: NDArray[np.int64] | None, state: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    n_folds = protocol.n_folds
    match protocol.kind:
        case "kfold":
            yield from KFold(n_folds, shuffle=True, random_state=state).split(labels)
        case "stratified":
            yield from StratifiedKFold(n_folds, shuffle=True, random_state=state).split(labels, labels)
        case "logo":
            yield from LeaveOneGroupOut().split(labels, groups=groups)
        case _:
            yield from _split_groups(n_folds, labels, groups, state)


def _split_groups(n_folds: int, labels: NDArray[np.int64], groups: NDArray[np.int64] | None, state: int) -> _Splits:
    """Grouped folds with like labels where possible, else grouped folds of like size."""
    splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=state)
    with warnings.catch_warnings():
        # a level with fewer members than folds is spread as far as it goes
        warnings.simplefilter("ignore", UserWarning)
        try:
            splits = list(splitter.split(labels, labels, groups))
        except ValueError:
            splits = []
    # some versions of scikit-learn leave a fold empty (their issues 33085 and 34828)
    if len(splits) == n_folds and all(len(test) and len(set(labels[train])) > 1 for train, test in splits):
        return splits
    return list(GroupKFold(n_folds, shuffle=True, random_state=state).split(labels, groups=groups))


def _check_classes(manifest: Manifest, labels: NDArray[np.int64]) -> None:
    if (labels < 0).any():
        raise SplitError(f"{np.count_nonzero(labels < 0)} of {len(labels)} recordings have no label. Label every row.")
    if len(set(labels.tolist())) < 2:
        name = manifest.label_names[labels[0]] if len(labels) else "none"
        raise SplitError(
            f"All {len(labels)} recordings have one label ({name}): there is one class only. "
            "Expected two levels or more; check the label column."
        )


def _check_counts(
    protocol: Protocol, manifest: Manifest, rows: NDArray[np.int64], groups: NDArray[np.int64] | None
) -> None:
    labels = manifest.labels[rows]
    if groups is not None:
        n_groups, n_named = len(set(groups.tolist())), len(set(manifest.groups(protocol.column)[rows].tolist()))
        bound = " (groups that a copy or the same file binds together count as one)" if n_groups < n_named else ""
        if n_groups < 2:
            raise SplitError(
                f"{protocol}: the {len(labels)} recordings are of one {protocol.column}, so there is one group only"
                f"{bound}. Expected two or more; use stratified:5, or group by another column."
            )
        if n_groups < protocol.n_folds:
            raise SplitError(
                f"{protocol}: there are {n_groups} groups of {protocol.column}{bound}, fewer than "
                f"{protocol.n_folds} folds. Use group:{protocol.column}:{n_groups} or logo:{protocol.column}."
            )
        return
    if len(labels) < protocol.n_folds:
        raise SplitError(
            f"{protocol}: there are {len(labels)} recordings, fewer members than {protocol.n_folds} folds. "
            f"Use the protocol kfold:{max(2, len(labels))} (--cv), or give more recordings."
        )
    counts = np.bincount(labels)
    smallest = int(np.where(counts > 0, counts, len(labels)).argmin())
    if protocol.kind == "stratified" and counts[smallest] < protocol.n_folds:
        fewer = f"stratified:{counts[smallest]}" if counts[smallest] > 1 else f"kfold:{protocol.n_folds}"
        raise SplitError(
            f"{protocol}: level {manifest.label_names[smallest]!r} has {counts[smallest]} recordings, fewer members "
            f"than {protocol.n_folds} folds, so it cannot be in each. Use {fewer}."
        )


def _check_folds(protocol: Protocol, manifest: Manifest, folds: list[Fold], rows: NDArray[np.int64]) -> None:
    for fold in folds:
        named = f"{protocol}, fold {fold.fold + 1}"
        if not len(fold.test) or not len(fold.train):
            raise SplitError(f"{named} has an empty side. Use fewer folds.")
        levels = sorted(set(manifest.labels[fold.train].tolist()))
        if len(levels) < 2:
            raise SplitError(
                f"{named}: all {len(fold.train)} training recordings have one label "
                f"({manifest.label_names[levels[0]]}), so nothing can be learnt. "
                "Use fewer folds, or group by another column."
            )
    for repeat in {fold.repeat for fold in folds}:
        tested = np.sort(np.concatenate([fold.test for fold in folds if fold.repeat == repeat]))
        if not np.array_equal(tested, rows):
            raise SplitError(f"{protocol}: not every recording is predicted exactly once. Use fewer folds.")
