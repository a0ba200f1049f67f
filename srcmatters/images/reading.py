"""How files are told apart, and how what is wrong with one is said."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import MediaStorageDirectoryStorage

from srcmatters.errors import InputError, first_line

NIFTI = (".nii", ".nii.gz")
PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
#: What ITK reads; its own formats and a few others that hold volumes.
ITK = (".mha", ".mhd", ".nrrd", ".nhdr", ".mgh", ".mgz", ".gipl", ".vtk", ".hdr", ".img")
#: A file of a volume; its pixels may lie in a second file beside it.
VOLUMES = NIFTI + ITK
DICOM = (".dcm", ".dicom", ".ima")  # endings; a file without one is DICOM by its content
_DICOM_MAGIC = (128, b"DICM")


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM, by its content.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        file.seek(_DICOM_MAGIC[0])
        return file.read(4) == _DICOM_MAGIC[1]


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
def said_in_one_line(path: Path, expected: str) -> Iterator[None]:
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
        raise InputError(f"{path}: not a readable {expected} ({first_line(error)})") from error
