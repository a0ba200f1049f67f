"""MICCAT, the Medical Imaging Contextualized Confounder Taxonomy (Juodelyte et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: What a confounder may be meant to change besides structure: the mean; the frame of the image more than its
#: middle; the share of black and white; the steps of grey values; put on by hand, more than a third of it.
ALSO_CHANGES = ("brightness", "border", "clipping", "rounding", "everywhere")


@dataclass(frozen=True)
class Miccat:
    """The place of a confounder in the taxonomy.

    Args:
        level: "patient" (sampled from the data) or "environment" (added to the image).
        group: "demographic" or "anatomical" for a patient, "external" or "imaging" for an environment.
        kind: what it is within its group: "text", "device", "acquisition", "reconstruction", "sex", ...
        extent: "local" (a tag), "global" (noise) or "sampled" (nothing is changed in the image).
    """

    level: Literal["patient", "environment"]
    group: Literal["demographic", "anatomical", "external", "imaging"]
    kind: str
    extent: Literal["local", "global", "sampled"]

    def __str__(self) -> str:
        return f"{self.level} / {self.group} / {self.kind} / {self.extent}"
