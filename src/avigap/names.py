"""Names of what an inference function sees, in words."""

from collections.abc import Mapping, Sequence


def rows_named(observed: Sequence[str], offsets: Sequence[int], covariates: Mapping[str, Sequence[int]]) -> list[str]:
    """Return names of the rows that a function sees, such as ``y_(n-1)``, ``y_n``, ``sigma_n``."""
    each = dict.fromkeys(observed, offsets) | dict(covariates)
    return [f"{name}_(n{offset:+d})" if offset else f"{name}_n" for name, own in each.items() for offset in own]
