"""What a bundle declares its images to be, held against what a DICOM header says of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from pydicom import Dataset

from srcmatters.errors import InputError, did_you_mean

Header: TypeAlias = Dataset | Mapping[str, Any]

#: DICOM modalities of each kind of image. Fluoroscopy and angiography (RF, XA) are films, not radiographs.
MODALITIES = {"radiograph": ("CR", "DX", "RG"), "CT": ("CT",)}
#: Words by which headers name a body part: BodyPartExamined is often free text in several languages.
BODY_PARTS = {
    "CHEST": ("CHEST", "THORAX", "TORAX", "TORACE", "LUNG", "MEDIASTINUM"),
    "ABDOMEN": ("ABDOMEN", "ABD", "LIVER"),
    "HEAD": ("HEAD", "BRAIN", "SKULL"),
}


def check_declared(header: Header, path: str | Path, modality: str | None, body_part: str | None) -> None:
    """Refuse an image of another modality or body part than the one that is declared.

    A header without a body part is accepted: many devices leave it out. One without a modality is not.

    Args:
        header: of the file.
        path: named in the message.
        modality: "radiograph", "CT", or None for any.
        body_part: "CHEST", say; None or empty for any. A part that :data:`BODY_PARTS` does not list is looked
            for as it is.

    Raises:
        InputError: naming the file, the field, what was got and what was expected.
    """
    if modality:
        _check_modality(header, path, modality)
    if body_part:
        _check_body_part(header, path, str(body_part))


def _check_modality(header: Header, path: str | Path, modality: str) -> None:
    if modality not in MODALITIES:
        raise InputError(f"modality: {modality!r} is unknown{did_you_mean(str(modality), MODALITIES)}")
    declared = str(header.get("Modality") or "")
    if declared not in MODALITIES[modality]:
        known = " or ".join(MODALITIES[modality])
        kind = f" ({modality})" if known != modality else ""
        raise InputError(f"{path}: Modality is {declared or 'missing'}, expected {known}{kind}")


def _check_body_part(header: Header, path: str | Path, body_part: str) -> None:
    named = named_body_part(header)
    words = BODY_PARTS.get(body_part.upper(), (body_part.upper(),))
    if named and not any(word in named.upper() for word in words):
        raise InputError(f"{path}: BodyPartExamined is {named}, expected {body_part} or nothing")


def named_body_part(header: Header) -> str:
    """BodyPartExamined, or else the meaning of the anatomic region's code; empty if neither is there."""
    name = str(header.get("BodyPartExamined") or "").strip()
    regions = header.get("AnatomicRegionSequence")
    if not name and regions:
        name = str(regions[0].get("CodeMeaning") or "").strip()
    return re.sub(r"\s+", " ", name)
