"""Names of what an inference function sees, in words."""

from collections.abc import Sequence


def rows_named(observed: Sequence[str], offsets: Sequence[int], covariates: Sequence[str]) -> list[str]:
    """Return names of the rows that a function sees, such as ``y_(n-1)``, ``y_n``, ``sigma_n``."""
    rows = [f"{name}_(n{offset:+d})" if offset else f"{name}_n" for name in observed for offset in offsets]
    return [*rows, *(f"{name}_n" for name in covariates)]
