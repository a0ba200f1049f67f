"""One image twice in a case table: a leak where its patients differ, a contradiction where its labels do."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from srcmatters.errors import InputError

#: Two images whose hashes differ in no more bits look the same: see
#: :mod:`srcmatters.images.perceptual_hash` for what copies and strangers differ in.
NEAR_BITS = 12
_NAMED = 3
_ROWS = 1024  # compared with all others at a time


def patients_of_one_image(
    cases: pd.DataFrame, digests: Sequence[str], hashes: np.ndarray | None = None
) -> pd.Series:
    """Patients, of whom those that share an image count as one, so that it is never in two sets.

    Args:
        cases: case table.
        digests: of each case, a hash of its image file's content. Cases at other places in one volume
            (x_mm, y_mm, z_mm) share the file and not the image.
        hashes: (cases, words) uint64, perceptual hashes of what the network sees; None: near duplicates are
            not looked for.

    Returns:
        (cases,) identifiers: the patient, or the first of those that are taken together. Warnings say how
        many images are there twice, or nearly.

    Raises:
        InputError: one image with both labels; names two of its cases. Images that only look the same may
            be told apart by what a copy has lost: their labels are counted in the warning.
    """
    image = pd.Series(list(digests), index=cases.index, dtype=str)
    for name in ("x_mm", "y_mm", "z_mm"):
        if name in cases:
            image = image + "|" + cases[name].astype(str)
    links = _same_file(cases, image)
    if hashes is not None:
        links = np.concatenate([links, _same_look(cases, image, hashes)])
    return _joined(cases["patient_id"], links) if len(links) else cases["patient_id"]


def near_pairs(hashes: np.ndarray, bits: int = NEAR_BITS) -> np.ndarray:
    """Pairs of images that look the same.

    Args:
        hashes: (images, words) uint64, see :func:`srcmatters.images.perceptual_hash.perceptual_hash`; zeros
            are compared with nothing.
        bits: that may differ.

    Returns:
        (pairs, 2) positions, the first below the second.
    """
    pairs = [np.empty((0, 2), dtype=np.int64)]
    blank: np.ndarray = np.asarray(~hashes.any(axis=1))
    for start in range(0, len(hashes), _ROWS):
        rows, others = hashes[start : start + _ROWS], hashes[start:]
        differing = np.zeros((len(rows), len(others)), dtype=np.uint16)
        for word in range(hashes.shape[1]):
            differing += np.bitwise_count(rows[:, None, word] ^ others[None, :, word])
        near = np.argwhere(np.triu(np.asarray(differing <= bits), k=1)) + start
        pairs.append(near[~np.asarray(blank[near].any(axis=1))])
    return np.concatenate(pairs)


def _same_file(cases: pd.DataFrame, image: pd.Series) -> np.ndarray:
    """(pairs, 2) rows of other patients with the same image file."""
    twice = cases[image.duplicated(keep=False)]
    if twice.empty:
        return np.empty((0, 2), dtype=np.int64)
    groups = twice.groupby(image[twice.index], sort=False)
    torn = groups["label"].nunique()
    if (torn > 1).any():
        members = groups.get_group(torn.index[torn > 1][0])
        pair = members.drop_duplicates("label")["case_id"].tolist()
        raise InputError(
            f"cases, column 'label': {int((torn > 1).sum())} images are there with both labels, such as"
            f" {pair[0]!r} and {pair[1]!r}, expected one label per image"
        )
    shared = groups["patient_id"].nunique()
    if not (shared > 1).any():
        return np.empty((0, 2), dtype=np.int64)
    names = twice[image[twice.index].isin(shared.index[shared > 1])]["case_id"].tolist()
    warnings.warn(
        f"{int((shared > 1).sum())} images are there under several patients ({', '.join(names[:_NAMED])},"
        " ...); these patients are kept in one set",
        stacklevel=3,
    )
    codes = pd.factorize(image)[0]
    first = pd.Series(np.arange(len(cases))).groupby(codes).transform("first").to_numpy()
    return np.column_stack([first, np.arange(len(cases))])


def _same_look(cases: pd.DataFrame, image: pd.Series, hashes: np.ndarray) -> np.ndarray:
    """(pairs, 2) rows of other patients whose images look the same and are not the same file."""
    pairs = near_pairs(hashes)
    patient, files = cases["patient_id"].to_numpy(), image.to_numpy()
    first, second = pairs.T
    pairs = pairs[(patient[first] != patient[second]) & (files[first] != files[second])]
    if len(pairs):
        names, labels = cases["case_id"].to_numpy(), cases["label"].to_numpy()
        torn = int((labels[pairs[:, 0]] != labels[pairs[:, 1]]).sum())
        warnings.warn(
            f"{len(pairs)} pairs of images of different patients look the same"
            f" ({', '.join(names[pairs[0]])}, ...), {torn} of them with different labels; these patients are"
            " kept in one set",
            stacklevel=3,
        )
    return pairs


def _joined(patients: pd.Series, links: np.ndarray) -> pd.Series:
    """Every patient's name replaced by the first of all that are linked by images."""
    patient, names = pd.factorize(patients)
    ends = patient[links]
    graph = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(len(names), len(names)))
    _, parts = connected_components(graph, directed=False)
    first = pd.Series(names).groupby(parts).transform("first")
    return pd.Series(first.to_numpy()[patient], index=patients.index)
