"""How alike are two representations of the same images? Linear centred kernel alignment, debiased."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from srcmatters.errors import InputError

MINIMUM_CASES = 4  # the unbiased estimate divides by n - 3
# Of the features' size: what varies less from image to image than single precision can say does not vary.
_CONSTANT = 1e-6


def similarity_kernel(features: np.ndarray) -> np.ndarray:
    """The linear kernel of a representation, centred so that products of two of them are unbiased.

    The scalar product of two such kernels, divided by n (n - 3), is the unbiased estimate of the
    Hilbert-Schmidt independence criterion: its expectation is 0 for independent representations. The usual
    centring leaves a product that grows with the number of features: with more features than images, any two
    representations look alike.

    Args:
        features: (n, p), one row per image; n at least 4. Further dimensions are flattened.

    Returns:
        (n, n) float64, zero on the diagonal and in every row's sum; scaled, which CKA does not see. All zero
        for features that are the same for every image.

    Raises:
        InputError: fewer than 4 images, or NaN.

    Source: Song et al. 2012 (JMLR 13); Székely and Rizzo 2014 (arXiv 1310.2926), whose U-centring it is.
    """
    features = np.asarray(features, dtype=np.float64).reshape(len(features), -1)
    if len(features) < MINIMUM_CASES:
        raise InputError(f"similarity: {len(features)} images, expected {MINIMUM_CASES} or more")
    if not np.isfinite(features).all():
        raise InputError("similarity: the features hold NaN or infinite values")
    centred = features - features.mean(0)
    size = np.linalg.norm(centred)
    if size <= _CONSTANT * np.linalg.norm(features):
        return np.zeros((len(features), len(features)))
    # Layers differ by many orders of magnitude, random ones most of all.
    centred /= size
    return centre(centred @ centred.T)


def centre(kernel: np.ndarray) -> np.ndarray:
    """U-centre a symmetric kernel: rows sum to zero, and the diagonal plays no part.

    Args:
        kernel: (n, n), n at least 4. A kernel that is centred already stays as it is; part of one (fewer
            images, rows and columns alike) becomes that of those images alone.
    """
    count = len(kernel)
    hollow = kernel - np.diag(np.diag(kernel))
    rows = hollow.sum(0)
    centred = hollow - (rows[:, None] + rows[None, :]) / (count - 2)
    centred += rows.sum() / ((count - 1) * (count - 2))
    np.fill_diagonal(centred, 0)
    return centred


def cka(kernels: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> np.ndarray:
    """Linear CKA of every kernel with every other.

    1 means the same up to rotation and scale, about 0 unrelated; debiased, it may fall slightly below 0.
    Orthogonal transforms and isotropic scaling of the features change nothing. Other invertible linear
    transforms do, unlike in CCA: with more features than images that invariance would make any two
    representations the same.

    Args:
        kernels: k kernels, (n, n) each, of :func:`similarity_kernel`.
        others: m kernels of the same images in the same order.

    Returns:
        (k, m); NaN where a representation is the same for every image.

    Source: Kornblith et al. 2019 (arXiv 1905.00414); Nguyen et al. 2021 (arXiv 2010.15327) for the unbiased
    estimate.
    """
    left, right = _directions(kernels), _directions(others)
    return np.clip(left @ right.T, -1, 1)


def _directions(kernels: Sequence[np.ndarray]) -> np.ndarray:
    """(k, n * n) kernels as vectors of length 1."""
    flat = np.stack([kernel.ravel() for kernel in kernels])
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.divide(flat, length, out=np.full_like(flat, np.nan), where=length > 0)


def cka_standard_errors(
    kernels: Sequence[np.ndarray],
    others: Sequence[np.ndarray],
    patients: Sequence[str],
    groups: int = 20,
    seed: int = 0,
) -> np.ndarray:
    """Standard error of each pair's CKA over the choice of patients: a delete-a-group jackknife.

    Resampling with replacement is no way here: an image that is drawn twice is perfectly alike to itself in
    every representation.

    Args:
        kernels: k kernels, (n, n) each.
        others: k kernels; the first is compared with the first, and so on.
        patients: n patients, who are left out as a whole.
        groups: parts that are left out in turn; fewer if there are fewer patients.
        seed: seed of who is left out together.

    Returns:
        (k,); NaN with fewer than two patients, or where fewer than 4 images would remain.
    """
    names, member = np.unique([str(name) for name in patients], return_inverse=True)
    groups = min(groups, len(names))
    group_of = np.random.default_rng(seed).permutation(len(names))[member] % max(groups, 1)
    smallest = len(member) - int(np.bincount(group_of).max())
    if groups < 2 or smallest < MINIMUM_CASES:
        return np.full(len(kernels), np.nan)
    kept = [np.flatnonzero(group_of != group) for group in range(groups)]
    without = np.array([_pairwise(kernels, others, rows) for rows in kept])
    return np.sqrt((groups - 1) / groups * ((without - without.mean(0)) ** 2).sum(0))


def _pairwise(kernels: Sequence[np.ndarray], others: Sequence[np.ndarray], rows: np.ndarray) -> np.ndarray:
    """(k,) CKA of each kernel with its partner, on some of the images."""
    block = np.ix_(rows, rows)
    pairs = zip(kernels, others, strict=True)
    return np.array([cka([centre(one[block])], [centre(other[block])])[0, 0] for one, other in pairs])
