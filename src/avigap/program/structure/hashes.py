"""Hashes of 64 bits, where equal ones stand for equal expressions, and runs of numbers."""

import zlib

import numpy as np

U = np.uint64

_FIRST, _SECOND, _THIRD = U(0x9E3779B97F4A7C15), U(0xBF58476D1CE4E5B9), U(0x94D049BB133111EB)


def mix(one: np.ndarray | U, other: np.ndarray | U) -> np.ndarray:
    """Return the hash of two hashes, in order."""
    with np.errstate(over="ignore"):
        found = (np.asarray(one, U) ^ _FIRST) * _SECOND + np.asarray(other, U)
        found = (found ^ (found >> U(30))) * _THIRD
        return np.asarray(found ^ (found >> U(31)))


def word(text: str) -> np.ndarray:
    """Return the hash of a text."""
    raw = text.encode()
    return mix(U(zlib.crc32(raw)), U(zlib.adler32(raw)))


def hash_of(values: np.ndarray) -> np.ndarray:
    """Return the hash of every number, by its value: 1 and 1.0 and True have the same."""
    flat = np.ascontiguousarray(values, np.float64).ravel() + 0.0  # which turns -0 into 0
    return mix(flat.view(U), U(1))


def ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the numbers of arange(start, start + count), one after the other."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) + np.repeat(starts - ends + counts, counts)


def starts_of(ordered: np.ndarray) -> np.ndarray:
    """Return where each run of equal numbers starts."""
    if not len(ordered):
        return np.zeros(0, np.int64)
    return np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))


def distinct(numbers: np.ndarray) -> np.ndarray:
    """Return the different numbers, in order."""
    ordered = np.sort(numbers)
    return np.asarray(ordered[starts_of(ordered)])


def ranks(owner: np.ndarray) -> np.ndarray:
    """Return the place of each element among those of the same owner."""
    order = np.argsort(owner, kind="stable")
    found = np.empty(len(owner), np.int64)
    found[order] = np.arange(len(owner)) - np.searchsorted(owner[order], owner[order])
    return found
