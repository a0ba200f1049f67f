"""How files are told apart, and how what is wrong with one is said."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import MediaStorageDirectoryStorage

from srcmatters.errors import InputError, first_line

_GZIP = b"\x1f\x8b"
NIFTI = (".nii", ".nii.gz")
PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
#: What ITK reads; its own formats and a few others that hold volumes.
ITK = (".mha", ".mhd", ".nrrd", ".nhdr", ".mgh", ".mgz", ".gipl", ".vtk", ".hdr", ".img")
#: A file of a volume; its pixels may lie in a second file beside it.
VOLUMES = NIFTI + ITK
DICOM = (".dcm", ".dicom", ".ima")  # endings; a file without one is DICOM by its content
_DICOM_MAGIC = (128, b"DICM")
_FIRST_GROUPS = (2, 8)  # of the file's own elements, or of the data set where even those are missing
_HEAD = 2**16


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM, by its content.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        file.seek(_DICOM_MAGIC[0])
        return file.read(4) == _DICOM_MAGIC[1]


def lacks_preamble(path: Path) -> bool:
    """Whether a file begins with DICOM's elements where the preamble should be.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return starts_without_preamble(file.read(8))


def is_directory_record(path: Path) -> bool:
    """Whether a DICOM file lists the content of a medium: by its usual name, or by its class.

    Raises:
        OSError: it cannot be read.
    """
    if path.name.upper() == "DICOMDIR":
        return True
    try:
        return read_file_meta_info(path).get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage
    except (InvalidDicomError, EOFError, ValueError, PermissionError):
        return False  # whoever reads the rest says what is wrong


def may_be_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its name, or one without an ending that is DICOM by its content.

    Raises:
        OSError: it cannot be read.
    """
    if has_ending(path, DICOM):
        return True
    if path.suffix[1:].isalpha():  # UIDs as names have dots, but no such ending
        return False
    return path.is_file() and is_dicom(path) and not is_directory_record(path)


def is_volume(path: Path) -> bool:
    """Whether a file is NIfTI or of ITK by its name; of a pair .hdr and .img the header alone is."""
    pixels_of_a_pair = has_ending(path, (".img",)) and path.with_suffix(".hdr").exists()
    return has_ending(path, NIFTI + ITK) and not pixels_of_a_pair


def has_ending(path: Path, endings: tuple[str, ...]) -> bool:
    """Whether a file's name ends in one of ``endings``, in whichever case."""
    return path.name.lower().endswith(endings)


@contextmanager
def as_input_error(path: Path, expected: str) -> Iterator[None]:
    """Turn whatever a decoder raises on bytes that it cannot read into one line that names the file.

    Decoders of foreign bytes promise nothing about what they raise, so everything counts.

    Args:
        path: the file.
        expected: what it should have been: "radiograph".
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        reason = _known_reason(path) or first_line(error)
        raise InputError(f"{path}: not a readable {expected} ({reason})") from error


def _known_reason(path: Path) -> str | None:
    """What decoders say nothing useful of, by the first bytes of a file."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return None
    if starts_without_preamble(head):
        return (
            "DICOM without its preamble of 128 bytes and DICM, expected a file of DICOM part 10; dcmtk's"
            " `dcmconv IN OUT` writes one"
        )
    if _jpeg_precision(head) == 12:
        return "a JPEG of 12 bits, expected one of 8 bits, or PNG, TIFF or DICOM of 16 bits"
    if head[:2] == _GZIP and not has_ending(path, NIFTI + ITK):
        return "compressed by gzip, expected it decompressed"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "a WebP picture, expected PNG, JPEG, TIFF, BMP or DICOM"
    return None


def starts_without_preamble(head: bytes) -> bool:
    """Whether bytes are those of DICOM elements, in whichever encoding, where the preamble should be.

    Args:
        head: of a file, 8 bytes or more: a tag of group 2 or 8 and a representation or a length below 256.
    """
    if len(head) < 8:
        return False
    little = head[0] in _FIRST_GROUPS and head[1] == 0 == head[3]
    big = head[1] in _FIRST_GROUPS and head[0] == 0 == head[2]
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    implicit = head[5:8] == b"\0\0\0" and head[4] % 2 == 0
    return (little or big) and (explicit or implicit)


def _jpeg_precision(head: bytes) -> int | None:
    """Bits of a JPEG, None for other files: its frame header says it (ITU-T T.81, B.2.2)."""
    if head[:2] != b"\xff\xd8":
        return None
    place = 2
    while place + 4 < len(head) and head[place] == 0xFF:
        marker, length = head[place + 1], int.from_bytes(head[place + 2 : place + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return head[place + 4]
        place += 2 + length
    return None
