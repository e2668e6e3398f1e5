"""Whether a signed sum of log joints is more than rounding."""

import numpy as np

NONZERO = 1e-9
"""Part of the sum of absolute terms above which a difference is not rounding."""


def significance(signs: np.ndarray, values: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return a signed sum of log joints (C, ..) as part of the terms that it comes from; NaN if one is not finite."""
    finite = np.isfinite(values).all(0)
    difference = np.tensordot(signs, np.where(finite, values, 0.0), axes=1)
    return np.where(finite, np.abs(difference) / (1 + np.where(finite, sizes, 0.0).max(0)), np.nan)
