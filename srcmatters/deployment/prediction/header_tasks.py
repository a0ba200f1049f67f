"""What the decoder's process reads of DICOM headers: plain values of bounded size, safe to pass on."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pydicom
from pydicom import Dataset
from pydicom.config import RAISE
from pydicom.datadict import dictionary_VR
from pydicom.filereader import read_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian
from pydicom.valuerep import validate_value

from srcmatters.errors import InputError
from srcmatters.images.declarations import named_body_part
from srcmatters.images.reading import as_input_error

LARGEST_STORED = 2**30  # bytes of all pixels that a header declares
LONGEST = 256  # characters of a word in a header
_FEW = 16  # values of a field that may have any number of them
_WORDS = (
    "BurnedInAnnotation",
    "FrameOfReferenceUID",
    "LossyImageCompression",
    "LossyImageCompressionMethod",
    "LossyImageCompressionRatio",
    "Modality",
    "PatientBirthDate",
    "PatientID",
    "PatientName",
    "PatientSpeciesDescription",
    "PhotometricInterpretation",
    "PresentationIntentType",
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "StudyInstanceUID",
    "ViewPosition",
)
_COUNTS = ("BitsAllocated", "Columns", "NumberOfFrames", "Rows", "SamplesPerPixel")
_SEQUENCES = (
    "AnatomicRegionSequence",
    "BodyPartExamined",
    "ImageType",
    "PatientOrientation",
    "PatientSpeciesCodeSequence",
    "ViewCodeSequence",
)
#: Words that some devices write as a code instead.
_CODED = {
    "PatientSpeciesDescription": "PatientSpeciesCodeSequence",
    "ViewPosition": "ViewCodeSequence",
}
#: UIDs without which nothing can refer to an image.
IDENTITY = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
#: What a report repeats of an image; a wrong one of these would be of somebody else.
PATIENT = ("PatientName", "PatientID")
#: What a report repeats where it is valid, and leaves empty where it is not.
REPEATED = (
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "PatientOrientation",
    "Manufacturer",
    "ManufacturerModelName",
    "DeviceSerialNumber",
    "InstitutionName",
    "StationName",
)
_UID = re.compile(r"\d+(\.\d+)+")


def read_fields(path: Path) -> dict[str, Any]:
    """What the guard, the grouping and the reports need of a DICOM header, in plain types.

    Returns:
        Words (at most 256 printable characters), counts, and under ``source`` what a report repeats: see
        :func:`_source`.

    Raises:
        InputError: not readable, or it declares more pixels than anybody would decode.
    """
    with as_input_error(path, "DICOM file"):
        if read_file_meta_info(path).get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
            # pydicom inflates all of it before it looks at anything, and nothing says how much that is.
            raise InputError(f"{path}: its transfer syntax is deflated, expected any other")
        tags: list[Any] = [*_WORDS, *_COUNTS, *_SEQUENCES, *PATIENT, *REPEATED]
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags)
        fields: dict[str, Any] = {name: _word(header.get(name)) for name in _WORDS}
        fields |= {name: int(header.get(name) or 0) for name in _COUNTS}
        fields["BodyPartExamined"] = _word(named_body_part(header))
        for name in ("ImageType", "PatientOrientation"):
            fields[name] = [_word(word).upper() for word in list(header.get(name) or [])[:_FEW]]
        for word, codes in _CODED.items():
            fields[word] = fields[word] or _meaning(header, codes)
        fields["source"] = _source(header)
    _check_declared_size(fields, path)
    return fields


def _word(value: Any) -> str:
    """A value as one line: headers hold anything, and what is sent on is kept."""
    text = str("" if value is None else value)[: 2 * LONGEST]
    printable = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(printable.split())[:LONGEST]


def _meaning(header: Dataset, keyword: str) -> str:
    codes = header.get(keyword)
    return _word(codes[0].get("CodeMeaning")) if codes else ""


def _source(header: Dataset) -> dict[str, str | None]:
    """What a report repeats of an image, as the standard writes it: "" if absent, None if it is not valid."""
    return {name: _valid(header, name) for name in (*IDENTITY, *PATIENT, *REPEATED)}


def _valid(header: Dataset, keyword: str) -> str | None:
    try:
        value = header.get(keyword)
        several = isinstance(value, Iterable) and not hasattr(value, "encode")
        texts = [str(part) for part in value] if several else [str("" if value is None else value)]
        kind = dictionary_VR(keyword)
        for text in texts:
            if kind == "UI":
                # Zeros in front, which the standard forbids, are what some devices write and archives know.
                known = not text or (len(text) <= 64 and _UID.fullmatch(text) is not None)
            else:
                validate_value(kind, text, RAISE)
                known = not any(unicodedata.category(character) in ("Cc", "Cs") for character in text)
            if not known:
                return None
    except Exception:  # pydicom decodes a value when it is asked for it, and raises anything
        return None
    if len(texts) > (2 if keyword == "PatientOrientation" else 1):
        return None
    return "\\".join(texts).strip()


def _check_declared_size(fields: Mapping[str, Any], path: Path) -> None:
    values = [max(fields[name], 1) for name in ("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel")]
    stored = math.prod(values) * max(fields["BitsAllocated"], 8) // 8
    if stored > LARGEST_STORED:
        raise InputError(
            f"{path}: its header declares {stored} bytes of pixels, expected at most {LARGEST_STORED}"
        )
