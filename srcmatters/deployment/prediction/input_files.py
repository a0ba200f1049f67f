"""From paths to files: what lies below folders or in an archive, and what of it cannot be opened."""

from __future__ import annotations

import os
import stat
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from srcmatters.errors import InputError
from srcmatters.exported_bundle.unpacking import unpack
from srcmatters.images.reading import ITK, NIFTI, PICTURES, has_ending, is_dicom, is_directory_record

#: Two files for one image; NIfTI and MetaImage hold the same in one.
PAIRS = (".hdr", ".img")
#: Endings of files that are images though they are no DICOM, or should be DICOM.
IMAGES = (*NIFTI, *PICTURES, *ITK, ".dcm", ".dicom")
_ARCHIVES = (".zip",)
_EXPECTED = "expected a file, a folder or a zip"


@dataclass(frozen=True)
class InputFile:
    """A file.

    Args:
        path: where it is.
        name: what a person calls it.
        named: by its own name.
        refusal: why it cannot be opened.
    """

    path: Path
    name: str
    named: bool = False
    refusal: str = ""


def find_files(paths: Sequence[Path], scratch: Path) -> Iterator[InputFile]:
    """Files below some paths, each once.

    Nothing is left out in silence but hidden files (".name"): folders and links that cannot be opened come
    with a refusal, and so do archives in folders and in archives.

    Args:
        paths: files, folders, one zip archive; of a DICOMDIR, the folder that it lies in.
        scratch: a folder for what is unpacked.

    Raises:
        InputError: a path that does not exist or cannot be reached, or a second archive.
    """
    seen: set[str] = set()
    archive: Path | None = None
    for path in paths:
        for file in _below(path):
            place = os.path.realpath(file.path)
            if place in seen and (not file.refusal or has_ending(file.path, _ARCHIVES)):
                continue
            seen.add(place)
            if file.refusal or not _is_archive(file):
                yield file
            elif archive is None:
                archive = path
                yield from _members(file, scratch)
            else:
                raise InputError(f"{archive}, {path}: expected one archive at a time")


def _below(path: Path) -> Iterator[InputFile]:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        reason = "does not exist" if missing else _unreadable(error)
        raise InputError(f"{path}: {reason}, {_EXPECTED}") from error
    if stat.S_ISDIR(mode):
        yield from _in_folder(path)
    elif not stat.S_ISREG(mode):
        raise InputError(f"{path}: neither a file nor a folder, {_EXPECTED}")
    elif is_directory_record(path):
        yield from _in_folder(path.parent)  # the medium itself: its list may be wrong, or lead elsewhere
    else:
        yield InputFile(path, str(path), named=True)


def _in_folder(top: Path) -> Iterator[InputFile]:
    failed: list[OSError] = []
    for folder, folders, names in os.walk(top, onerror=failed.append):
        yield from _closed_folders(failed, top)
        folders.sort()
        for name in folders:
            place = Path(folder) / name
            # What a link leads to inside of the folder is read where it is.
            if place.is_symlink() and not _is_inside(place, top):
                yield InputFile(
                    place, str(place), refusal="a link to a folder elsewhere, which is not followed"
                )
        for name in sorted(names):
            if not name.startswith("."):
                yield _in(Path(folder) / name, str(Path(folder) / name), "a folder")
    yield from _closed_folders(failed, top)


def _closed_folders(failed: list[OSError], top: Path) -> Iterator[InputFile]:
    """The folders that could not be listed since the last call."""
    while failed:
        error = failed.pop(0)
        folder = Path(error.filename or top)
        yield InputFile(folder, str(folder), refusal=_unreadable(error))


def _in(path: Path, name: str, place: str) -> InputFile:
    """A file of a folder or an archive, which is opened where the archive itself is named."""
    refusal = ""
    if has_ending(path, _ARCHIVES):
        refusal = f"an archive in {place}, expected images: unpack it first"
    return InputFile(path, name, refusal=refusal)


def _is_inside(path: Path, folder: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def _unreadable(error: OSError) -> str:
    return f"cannot be read ({error.strerror or type(error).__name__})"


def _is_archive(file: InputFile) -> bool:
    """Whether a file that was asked for is an archive, by its name or by its content."""
    if not file.named or has_ending(file.path, IMAGES):
        return False
    try:
        zipped = has_ending(file.path, _ARCHIVES)
        return zipped or (not is_dicom(file.path) and zipfile.is_zipfile(file.path))
    except OSError:
        return False  # it is refused where it is looked at


def _members(archive: InputFile, scratch: Path) -> Iterator[InputFile]:
    path = archive.path
    try:
        members = unpack(path, scratch / "archive")
    except OSError as error:
        yield InputFile(path, archive.name, True, f"cannot be unpacked ({error.strerror})")
    except InputError as error:
        yield InputFile(path, archive.name, True, str(error).removeprefix(f"{path}: "))
    else:
        for file, name in members:
            yield _in(file, f"{archive.name}/{name}", "an archive")
