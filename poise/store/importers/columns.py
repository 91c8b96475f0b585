"""Which columns of a table are features."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from poise.errors import ImportFormatError
from poise.store.importers.blocks import Table
from poise.store.importers.plan import ImportOptions
from poise.text import name_some

_SHOWN = 20


def choose_columns(table: Table, options: ImportOptions) -> tuple[str, ...]:
    """The columns that are features, in the order in which they will lie.

    Those asked for by name come in the order in which they were asked for, those of a pattern in the table's; a
    pattern never takes the columns of ids and times.

    Raises
    ------
    ImportFormatError
        A column that was asked for, or that names ids or times, is not there; or none is left.
    """
    reserved = [name for name in (options.id_column, *options.times) if name is not None]
    for name in reserved:
        if name not in table.names:
            raise ImportFormatError(f"There is no column {name!r}. It has {_shown(table.names)}.")
    if options.columns is None:
        chosen = [name for name in table.numeric() if name not in reserved]
    else:
        held, free = set(table.names), [name for name in table.names if name and name not in reserved]
        chosen = [name for wanted in options.columns for name in _matching(wanted, held, free, table.names)]
    if not chosen:
        raise ImportFormatError(f"There is no column of numbers to take as features. It has {_shown(table.names)}.")
    return tuple(dict.fromkeys(chosen))


def check_columns(table: Table, options: ImportOptions, columns: Sequence[str]) -> None:
    """Refuse a table that has other features than the first one of its folder; their order is free.

    Raises
    ------
    ImportFormatError
        Columns are missing, or there are more.
    """
    mine = choose_columns(table, options)
    lacking, more = sorted(set(columns) - set(mine)), sorted(set(mine) - set(columns))
    if lacking:
        raise ImportFormatError(f"it lacks {_shown(lacking)} of the first table, or they hold no numbers")
    if more:
        raise ImportFormatError(
            f"it has {_shown(more)}, which the first table has not; say with columns which are features"
        )


def _matching(wanted: str, held: set[str], free: Sequence[str], names: Sequence[str]) -> list[str]:
    # names first: those of openSMILE hold brackets, as mfcc[1]
    found = [wanted] if wanted and wanted in held else [name for name in free if fnmatchcase(name, wanted)]
    if not found:
        raise ImportFormatError(f"There is no column {wanted!r}. It has {_shown(names)}.")
    return found


def _shown(names: Sequence[str]) -> str:
    return name_some([repr(name) for name in names], _SHOWN)
