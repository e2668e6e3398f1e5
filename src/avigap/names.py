"""Names of what an inference function sees, in words."""

from collections.abc import Mapping, Sequence


def rows_named(observed: Sequence[str], offsets: Sequence[int], covariates: Mapping[str, Sequence[int]]) -> list[str]:
    """Return names of the rows that a function sees, such as ``y_(n-1)``, ``y_n``, ``sigma_n``."""
    each = dict.fromkeys(observed, offsets) | dict(covariates)
    return [f"{name}_(n{offset:+d})" if offset else f"{name}_n" for name, own in each.items() for offset in own]


def rows_in_words(windows: Mapping[str, Sequence[int]]) -> list[str]:
    """Return what a function sees by the rows, such as ``y and sigma of its own row and of the row before``.

    Parameters
    ----------
    windows
        Offsets of the rows that are seen of each column.
    """
    columns: dict[tuple[int, ...], list[str]] = {}
    for name, offsets in windows.items():
        if offsets:
            columns.setdefault(tuple(sorted(offsets)), []).append(name)
    return [
        f"{', '.join(names[:-1])}{' and ' * (len(names) > 1)}{names[-1]} of {_rows(o)}" for o, names in columns.items()
    ]


def _rows(offsets: tuple[int, ...]) -> str:
    if len(offsets) > 3 and offsets == tuple(range(offsets[0], offsets[-1] + 1)):
        return f"the rows from {_row(offsets[0])} to {_row(offsets[-1])}"
    own = [offset for offset in offsets if offset == 0]
    return " and ".join([*("its own row" for _ in own), *(f"the row {_row(o)}" for o in offsets if o)])


def _row(offset: int) -> str:
    if offset == 0:
        return "its own"
    count = "" if abs(offset) == 1 else f"{abs(offset)} "
    return f"{count}{'before' if offset < 0 else 'after'}"
