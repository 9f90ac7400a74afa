"""One canonical form of a weighted training set, so that equal sets train equal networks.

Weight 2 must mean a repeated sample, weight 0 an absent one, and the order of the samples must
not matter: rows of weight zero are dropped, equal rows are merged (their weights add) and the rest
is put in an order that depends on the data alone. Duplicates then cannot straddle the split between
training and validation either.
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

# Numbers looked at together: a few megabytes, never a copy of X.
BLOCK = 2**20


class CanonicalRows(NamedTuple):
    """Which rows to train on.

    Attributes
    ----------
    source : ndarray of shape (n_unique,)
        Where one representative of each distinct row is, in canonical order.
    weight : ndarray of shape (n_unique,)
        Weight of each, with mean 1.
    inverse : ndarray of shape (n_samples,)
        Position in `source` of each row's representative; -1 for rows of weight zero.
    hashes : ndarray of shape (n_unique,)
        Hash of each distinct row of `X`.
    """

    source: NDArray[np.intp]
    weight: NDArray[np.float64]
    inverse: NDArray[np.intp]
    hashes: NDArray[np.uint64]


def canonical_rows(
    X: NDArray[Any], y: NDArray[np.float64], weight: NDArray[np.float64]
) -> CanonicalRows:
    """Drop rows of weight zero, merge equal rows of `X` and `y`, and order by content."""
    kept = np.flatnonzero(weight)
    hashes = _hash_rows(X, kept)
    # Ties between different rows are as good as impossible.
    by_content = np.lexsort((*y[kept].T, hashes))
    order, hashes = kept[by_content], hashes[by_content]
    new = np.r_[True, ~_same_as_previous(X, y, order, hashes)]
    group = np.cumsum(new) - 1
    inverse = np.full(len(X), -1, dtype=np.intp)
    inverse[order] = group
    merged = np.bincount(group, weights=weight[order])
    return CanonicalRows(order[new], merged / merged.mean(), inverse, hashes[new])


def rows_digest(y: NDArray[np.float64], rows: CanonicalRows) -> str:
    """Return a digest of the distinct rows and their weights, whatever order they came in."""
    digest = hashlib.sha256()
    for part in (rows.hashes, y[rows.source], rows.weight):
        digest.update(part.tobytes())
    return digest.hexdigest()


def _hash_rows(X: NDArray[Any], rows: NDArray[np.intp]) -> NDArray[np.uint64]:
    """Hash each row's bits: a dot product with fixed odd 64-bit numbers, modulo 2**64."""
    dtype = np.dtype(np.float32 if X.dtype == np.float32 else np.float64)
    n_words = X.shape[1] * (dtype.itemsize // 4)
    factors = np.random.default_rng(0).integers(2**63, size=n_words, dtype=np.uint64)
    factors = 2 * factors + np.uint64(1)
    hashes = np.empty(len(rows), dtype=np.uint64)
    step = max(1, BLOCK // X.shape[1])
    for start in range(0, len(rows), step):
        # Adding 0 turns -0.0 into 0.0, which is equal and has to hash equally.
        block = np.ascontiguousarray(X[rows[start : start + step]], dtype) + dtype.type(0)
        hashes[start : start + step] = block.view(np.uint32) @ factors
    return hashes


def _same_as_previous(
    X: NDArray[Any],
    y: NDArray[np.float64],
    order: NDArray[np.intp],
    hashes: NDArray[np.uint64],
) -> NDArray[np.bool_]:
    """Compare neighbours: whole spectra only where labels and hashes agree."""
    same = (y[order[1:]] == y[order[:-1]]).all(axis=1) & (hashes[1:] == hashes[:-1])
    for i in np.flatnonzero(same):
        same[i] = np.array_equal(X[order[i + 1]], X[order[i]], equal_nan=True)
    return same
