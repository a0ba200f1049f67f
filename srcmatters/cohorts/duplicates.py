"""One image twice in a case table: a leak where its patients differ, a contradiction where its labels do."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from srcmatters.errors import InputError

_NAMED = 3


def patients_of_one_image(cases: pd.DataFrame, digests: Sequence[str]) -> pd.Series:
    """Patients, of whom those that share an image count as one, so that it is never in two sets.

    Args:
        cases: case table.
        digests: of each case, a hash of its image file's content. Cases at other places in one volume
            (x_mm, y_mm, z_mm) share the file and not the image.

    Returns:
        (cases,) identifiers: the patient, or the first of those that are taken together. A warning says how
        many images are there twice.

    Raises:
        InputError: one image with both labels; names two of its cases.
    """
    image = pd.Series(list(digests), index=cases.index, dtype=str)
    for name in ("x_mm", "y_mm", "z_mm"):
        if name in cases:
            image = image + "|" + cases[name].astype(str)
    twice = cases[image.duplicated(keep=False)]
    if twice.empty:
        return cases["patient_id"]
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
        return cases["patient_id"]
    names = twice[image[twice.index].isin(shared.index[shared > 1])]["case_id"].tolist()
    warnings.warn(
        f"{int((shared > 1).sum())} images are there under several patients ({', '.join(names[:_NAMED])},"
        " ...); these patients are kept in one set",
        stacklevel=2,
    )
    return _joined(cases["patient_id"], image)


def _joined(patients: pd.Series, image: pd.Series) -> pd.Series:
    """Every patient's name replaced by the first of all that are linked by images."""
    patient, names = pd.factorize(patients)
    node = pd.factorize(image)[0] + len(names)
    size = int(node.max()) + 1
    _, parts = connected_components(coo_array(([1] * len(patient), (patient, node)), shape=(size, size)))
    first = pd.Series(names).groupby(parts[: len(names)]).transform("first")
    return pd.Series(first.to_numpy()[patient], index=patients.index)
