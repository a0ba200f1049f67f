"""The image confounder of a study, and where in the preprocessing it acts."""

from __future__ import annotations

from typing import Any

import pandas as pd

from srcmatters.confounders import Confounder, Pair, create_taught_confounder, sampled_column
from srcmatters.confounders.base import DISPLAY
from srcmatters.errors import InputError


def create_image_confounder(
    name: str, cases: pd.DataFrame, protocol: Any = "corrected", seed: int = 0, **parameters: Any
) -> Confounder | None:
    """The transform that a study names; None for "none" and for a sampled confounder, which changes nothing.

    Raises:
        InputError: see :func:`srcmatters.confounders.create_taught_confounder`.
    """
    if sampled_column(name, cases) is not None:
        return None
    return create_taught_confounder(name, protocol, seed, **parameters)


def confounder_place(confounder: Confounder | None, unit: str = "HU") -> str:
    """Where in the preprocessing of CT a confounder belongs.

    What the scanner does to the whole slice (dose, kernel, filters) and another window happen in HU, before
    the bundle's window or patch cuts anything off; what is put on a picture by hand (a letter) goes where the
    network can see it.

    Args:
        confounder: of the study, or None.
        unit: of the images, "HU" or "display".

    Returns:
        "scan": before windowing; "windowed": on whole slices in display values; "patch": on the patch;
        "nowhere" for None.

    Raises:
        InputError: it needs HU, and the images have none; or a pair whose places differ.
    """
    if confounder is None:
        return "nowhere"
    if isinstance(confounder, Pair):
        places = [confounder_place(part, unit) for part in confounder.parts]
        if places[0] != places[1]:
            first, second = (part.name for part in confounder.parts)
            raise InputError(
                f"confounder: {first} and {second} act at different places of the preprocessing of CT"
                f" ({places[0]}, {places[1]}); expected a pair of the same place"
            )
        return places[0]
    if confounder.unit == "HU" and unit != "HU":
        raise InputError(
            f"confounder: {confounder.name} needs HU of whole slices, and the images are declared `unit:"
            f" {unit}`; of 8-bit values noise and denoise are the nearest"
        )
    if confounder.miccat.extent == "local":
        return "patch"
    if confounder.before_window and unit == "HU":
        return "scan"
    return "windowed" if confounder.unit == DISPLAY else "scan"
