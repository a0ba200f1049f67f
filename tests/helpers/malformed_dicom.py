"""DICOM files in which any element is absent, empty, of another kind, or says what it should not."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset, write_file_meta_info
from pydicom.uid import (
    HTJ2K,
    MPEG2MPML,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

#: What decoding, sorting, the guard and the reports look at.
KEYWORDS = (
    *("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel"),
    *("PlanarConfiguration", "PhotometricInterpretation", "NumberOfFrames", "PixelSpacing", "PixelData"),
    *("ImagerPixelSpacing", "ImageOrientationPatient", "ImagePositionPatient", "SliceThickness"),
    *("RescaleSlope", "RescaleIntercept", "RescaleType", "WindowCenter", "WindowWidth", "VOILUTFunction"),
    *("VOILUTSequence", "ModalityLUTSequence", "SpecificCharacterSet", "PerFrameFunctionalGroupsSequence"),
    *("SharedFunctionalGroupsSequence", "PixelPaddingValue", "PixelPaddingRangeLimit", "ImageType"),
    *("Modality", "BodyPartExamined", "AnatomicRegionSequence", "ViewPosition", "ViewCodeSequence"),
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"),
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"),
    *("AccessionNumber", "ReferringPhysicianName", "PatientOrientation", "BurnedInAnnotation"),
    *("RedPaletteColorLookupTableDescriptor", "ExtendedOffsetTable", "Manufacturer"),
)
SYNTAXES = (
    *(ImplicitVRLittleEndian, ExplicitVRBigEndian, JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless),
    *(JPEG2000Lossless, HTJ2K, RLELossless, MPEG2MPML, DeflatedExplicitVRLittleEndian, "1.2.3", ""),
)
_LONG = ("OB", "OW", "OF", "OD", "OL", "OV", "SQ", "UN", "UT", "UC", "UR", "SV", "UV")
_KINDS = ("AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "OB", "OW", "PN", "SH", "SL")
_KINDS += ("SQ", "SS", "ST", "TM", "UC", "UI", "UL", "UN", "UR", "US", "UT", "ZZ", "\0\0")
_TEXTS = (
    *("", " ", "-1", "0", "1", "1e400", "nan", "-inf", "9" * 40, "1\\2\\3", "1\\nan", "-0.5\\0", "0\\0"),
    *(
        "1e-320\\1",
        "1\\0\\0\\0\\1\\0",
        "1\\0\\0\\1\\0\\0",
        "0\\0\\0\\0\\0\\0",
        "1\\" * 40,
        "\0" * 8,
        "\x1b$B",
    ),
    *(
        "A" * 300,
        "A" * 70000,
        "../../x",
        "=1+1",
        "\n\r\t",
        "20200230",
        "X^Y^Z^W^V^U=\xe9=\xff",
        "MONOCHROME1",
    ),
    *("RGB", "PALETTE COLOR", "YBR_FULL", "ISO_IR 192", "ISO 2022 IR 87\\ISO_IR 13", "US", "HU", "CT", "DX"),
)
_NUMBERS = (0, 1, 2, 3, 7, 8, 12, 15, 16, 32, 63, 64, 255, 4096, 32767, 32768, 65535)


def element(keyword: str, kind: str, value: bytes, length: int | None = None) -> bytes:
    """One element in Explicit VR Little Endian; ``length`` is what it claims to be."""
    tag = tag_for_keyword(keyword)
    assert tag is not None
    value += b"\0" * (len(value) % 2)
    claimed = len(value) if length is None else length
    start = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + kind.encode()
    size = struct.pack("<HI", 0, claimed) if kind in _LONG else struct.pack("<H", claimed & 0xFFFF)
    return start + size + value


def nested(depth: int, endless: bool) -> bytes:
    """Sequences in sequences."""
    content = b""
    for _ in range(depth):
        item = b"\xfe\xff\x00\xe0" + struct.pack("<I", 0xFFFFFFFF if endless else len(content)) + content
        item += b"\xfe\xff\x0d\xe0\0\0\0\0" if endless else b""
        content = element("ViewCodeSequence", "SQ", item, 0xFFFFFFFF if endless else None)
        content += b"\xfe\xff\xdd\xe0\0\0\0\0" if endless else b""
    return content


def fragments(parts: list[bytes], table: bytes, ended: bool) -> bytes:
    """Encapsulated pixel data with any table of offsets."""
    items = b"".join(b"\xfe\xff\x00\xe0" + struct.pack("<I", len(part)) + part for part in (table, *parts))
    return element("PixelData", "OB", items + (b"\xfe\xff\xdd\xe0\0\0\0\0" if ended else b""), 0xFFFFFFFF)


@st.composite
def hostile_elements(draw: st.DrawFn, keyword: str) -> bytes:
    """One element that says what it should not; nothing at all if it is absent."""
    how = draw(st.sampled_from(("absent", "text", "number", "bytes", "kind", "nested", "length", "table")))
    kind = dictionary_VR(tag_for_keyword(keyword) or 0).split(" ")[0]
    text = draw(st.sampled_from(_TEXTS)).encode("latin-1")
    number = struct.pack("<H", draw(st.sampled_from(_NUMBERS)))
    if how == "absent":
        return b""
    if how == "text":
        return element(keyword, draw(st.sampled_from((kind, "LO", "UT"))), text[:65534])
    if how == "number":
        return element(keyword, draw(st.sampled_from((kind, "US"))), number * draw(st.integers(0, 4)))
    if how == "bytes":
        return element(keyword, kind, draw(st.binary(max_size=64)))
    if how == "kind":
        return element(keyword, draw(st.sampled_from(_KINDS)), draw(st.sampled_from((text[:64], number * 2))))
    if how == "nested":
        return element(keyword, "SQ", b"") + nested(
            draw(st.sampled_from((1, 3, 40, 1200))), draw(st.booleans())
        )
    if how == "table":
        return element(keyword, "SQ", _item(_look_up_table(draw)))
    claimed = draw(st.sampled_from((0, 1, 2**16 - 2, 2**31, 2**32 - 2, 2**32 - 1)))
    return element(keyword, draw(st.sampled_from((kind, "UN", "SQ", "OB"))), text[:64], claimed)


def _item(content: bytes) -> bytes:
    return b"\xfe\xff\x00\xe0" + struct.pack("<I", len(content)) + content


def _look_up_table(draw: st.DrawFn) -> bytes:
    descriptor = [draw(st.sampled_from(_NUMBERS)) for _ in range(draw(st.sampled_from((3, 3, 3, 2, 0))))]
    values = draw(st.sampled_from((b"", b"\0\1" * 8, b"\xff" * 512)))
    described = element("LUTDescriptor", "US", struct.pack(f"<{len(descriptor)}H", *descriptor))
    return described + element("LUTData", draw(st.sampled_from(("US", "OW"))), values)


@st.composite
def hostile_files(draw: st.DrawFn, source: Path) -> bytes:
    """A DICOM file after ``source`` in which a few elements, the pixels or the syntax are untrue."""
    dataset = dcmread(source)
    dataset.SeriesInstanceUID = f"1.2.3.{draw(st.integers(1, 2**60))}"
    if dataset.file_meta.TransferSyntaxUID.is_compressed:
        dataset.decompress()
    changes: dict[str, bytes] = {}
    for keyword in draw(st.lists(st.sampled_from(KEYWORDS), min_size=1, max_size=3, unique=True)):
        changes[keyword] = draw(hostile_elements(keyword))
    syntax: str = ExplicitVRLittleEndian
    if draw(st.integers(0, 3)) == 0:
        syntax = draw(st.sampled_from(SYNTAXES))
        if draw(st.booleans()):
            parts = draw(st.lists(st.binary(max_size=80), max_size=3))
            table = draw(st.sampled_from((b"", b"\0\0\0\0", b"\xff" * 8, struct.pack("<II", 0, 2**31))))
            changes["PixelData"] = fragments(parts, table, draw(st.booleans()))
    return written(dataset, changes, syntax)


def written(dataset: Dataset, changes: Mapping[str, bytes], syntax: str = ExplicitVRLittleEndian) -> bytes:
    """The file with other bytes for some elements; the syntax is what it claims, not how it is written."""
    parts: dict[int, bytes] = {int(one.tag): _encoded(one) for one in dataset}
    for keyword, content in changes.items():
        parts[tag_for_keyword(keyword) or 0] = content
    meta = BytesIO()
    dataset.file_meta.TransferSyntaxUID = syntax
    write_file_meta_info(meta, dataset.file_meta, enforce_standard=False)
    return b"\0" * 128 + b"DICM" + meta.getvalue() + b"".join(parts[tag] for tag in sorted(parts))


def _encoded(one: Any) -> bytes:
    alone = Dataset()
    alone.add(one)
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, alone)
    return bytes(buffer.getvalue())
