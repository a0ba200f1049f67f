"""From paths to files: what lies below folders, in archives and on media, and what of it cannot be opened."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from srcmatters.deployment.prediction.header_tasks import read_references
from srcmatters.deployment.prediction.sandboxed_decoder import Decoder
from srcmatters.errors import InputError
from srcmatters.exported_bundle.unpacking import BYTES, unpack
from srcmatters.images.reading import (
    ITK,
    NIFTI,
    PICTURES,
    has_ending,
    is_dicom,
    is_directory_record,
    is_volume,
)

#: Endings of files that are images though they are no DICOM, or should be DICOM.
IMAGES = (*NIFTI, *PICTURES, *ITK, ".dcm", ".dicom")
_EXPECTED = "expected a file, a folder, a zip or a DICOMDIR"
_SPARE = 2**28  # bytes of the disk that others may need meanwhile


@dataclass(frozen=True)
class Found:
    """A file.

    Args:
        path: where it is.
        name: what a person calls it.
        asked_for: by its own name.
        refusal: why it cannot be opened.
        archive: it is one; what is in it comes instead of it.
    """

    path: Path
    name: str
    asked_for: bool = False
    refusal: str = ""
    archive: bool = False


def find_files(paths: Sequence[Path], decoder: Decoder, scratch: Path) -> Iterator[Found]:
    """Files below some paths, each once; of a pair .hdr and .img the header alone.

    Nothing is left out in silence but what is hidden (".name"): folders and links that cannot be opened come
    with a refusal.

    Args:
        paths: files, folders, zip archives, DICOMDIRs.
        decoder: reads what archives and DICOMDIRs list.
        scratch: a folder for what is unpacked.

    Raises:
        InputError: a path that does not exist or cannot be reached.
    """
    listed = list(_listed(paths, decoder))
    no_room = _no_room([found.path for found in listed if found.archive], decoder, scratch)
    for found in listed:
        if not found.archive:
            yield found
        elif no_room:
            yield replace(found, refusal=no_room)
        else:
            yield from _members(found, scratch)


def pixels_of(header: Path) -> Path | None:
    """The other file of a pair .hdr and .img."""
    pixels = header.with_suffix(".img")
    if not has_ending(header, (".hdr",)) or not os.path.isfile(pixels) or is_volume(pixels):
        return None
    return None if is_dicom(pixels) else pixels


def _listed(paths: Sequence[Path], decoder: Decoder) -> Iterator[Found]:
    seen: set[str] = set()
    for path in paths:
        for found in _below(path, decoder):
            place = os.path.realpath(found.path)
            if found.refusal or place not in seen:
                seen.add(place)
                yield found


def _below(path: Path, decoder: Decoder) -> Iterator[Found]:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        said = "does not exist" if missing else _unreadable(error)
        raise InputError(f"{path}: {said}, {_EXPECTED}") from error
    if stat.S_ISDIR(mode):
        yield from _in_folder(path)
    elif not stat.S_ISREG(mode):
        raise InputError(f"{path}: neither a file nor a folder, {_EXPECTED}")
    elif is_directory_record(path):
        yield from _named_by(path, decoder)
    else:
        yield _file(path, asked_for=True)


def _in_folder(top: Path) -> Iterator[Found]:
    failed: list[OSError] = []
    for folder, folders, names in os.walk(top, onerror=failed.append):
        yield from _closed_folders(failed, top)
        folders.sort()
        for name in folders:
            place = Path(folder) / name
            # What a link leads to inside of the folder is read where it is.
            if place.is_symlink() and not _is_inside(place, top):
                said = "a link to a folder elsewhere, which is not followed"
                yield Found(place, str(place), refusal=said)
        for name in sorted(names):
            if not name.startswith("."):
                yield _file(Path(folder) / name)
    yield from _closed_folders(failed, top)


def _closed_folders(failed: list[OSError], top: Path) -> Iterator[Found]:
    """The folders that could not be listed since the last call."""
    while failed:
        error = failed.pop(0)
        folder = Path(error.filename or top)
        yield Found(folder, str(folder), refusal=_unreadable(error))


def _is_inside(path: Path, folder: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def _unreadable(error: OSError) -> str:
    return f"cannot be read ({error.strerror or type(error).__name__})"


def _file(path: Path, asked_for: bool = False) -> Found:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return Found(path, str(path), refusal="neither a file nor a folder")
        if has_ending(path, (".zip",)) or (asked_for and _is_archive(path)):
            return Found(path, str(path), asked_for, archive=True)
        path = _header_of(path)
    except OSError as error:
        return Found(path, str(path), asked_for, _unreadable(error))
    return Found(path, str(path), asked_for)


def _is_archive(path: Path) -> bool:
    return not has_ending(path, IMAGES) and not is_dicom(path) and zipfile.is_zipfile(path)


def _header_of(path: Path) -> Path:
    """The header of a pair, of its pixels; any other file itself."""
    if not has_ending(path, (".img",)):
        return path
    header = path.with_suffix(".hdr")
    return header if pixels_of(header) == path else path


def _no_room(archives: Sequence[Path], decoder: Decoder, scratch: Path) -> str:
    """Why several archives cannot be unpacked, which all are before the first answer; empty if they can.

    Each is held against what is free once more when it is unpacked; that is enough for one.
    """
    if len(archives) < 2:
        return ""
    needed = sum(_claimed_bytes(path, decoder) for path in archives)
    free = shutil.disk_usage(scratch).free
    if needed <= free - _SPARE:
        return ""
    return (
        f"the {len(archives)} archives need {needed} bytes together, but only {free} are free in"
        f" {scratch.parent}, expected fewer at a time"
    )


def _claimed_bytes(path: Path, decoder: Decoder) -> int:
    """What an archive takes unpacked; 0 where it will be refused."""
    try:
        claimed = int(decoder.run(add_up_members, path))
    except InputError:
        return 0
    return claimed if claimed <= BYTES else 0


def add_up_members(path: Path) -> int:
    """Bytes that the members of an archive claim; the decoder runs it, as their list may be of any length."""
    with zipfile.ZipFile(path) as archive:
        return sum(member.file_size for member in archive.infolist())


def _members(archive: Found, scratch: Path) -> Iterator[Found]:
    path = archive.path
    try:
        members = unpack(path, Path(tempfile.mkdtemp(prefix="archive-", dir=scratch)) / "members")
    except OSError as error:
        yield replace(archive, refusal=f"cannot be unpacked ({error.strerror})")
        return
    except InputError as error:
        yield replace(archive, refusal=str(error).removeprefix(f"{path}: "))
        return
    for file, name in _beside_their_headers(members):
        if has_ending(file, (".zip",)):
            refusal = "an archive in an archive, expected images: unpack it first"
            yield Found(file, f"{archive.name}/{name}", refusal=refusal)
        elif _header_of(file) == file:
            yield Found(file, f"{archive.name}/{name}")


def _beside_their_headers(members: Sequence[tuple[Path, str]]) -> list[tuple[Path, str]]:
    """Pixels of a pair are looked for in the folder of its header, but every member has one of its own."""
    headers = {name: file for file, name in members if has_ending(file, (".hdr",))}
    placed = []
    for file, name in members:
        header = headers.get(f"{name[:-4]}.hdr") if has_ending(file, (".img",)) else None
        if header is not None and not header.with_suffix(".img").exists():
            file = file.rename(header.with_suffix(".img"))
        placed.append((file, name))
    return placed


def _named_by(path: Path, decoder: Decoder) -> Iterator[Found]:
    """The files that a DICOMDIR names, which lie in its folder or below."""
    try:
        references = decoder.run(read_references, path)
    except InputError as error:
        yield Found(path, str(path), refusal=str(error).removeprefix(f"{path}: "))
        return
    for parts in references:
        file = _referenced(path.parent, parts)
        if file is None:
            refusal = f"it names {'/'.join(parts)!r}, expected a file in its folder or below"
            yield Found(path, str(path), refusal=refusal)
        else:
            yield Found(file, str(file), asked_for=True)


def _referenced(folder: Path, parts: tuple[str, ...]) -> Path | None:
    if any(part in ("", "..", ".") or "/" in part or "\0" in part for part in parts):
        return None
    # The names are in capitals; some programs write the files in small letters.
    for spelt in (parts, tuple(part.lower() for part in parts)):
        file = folder.joinpath(*spelt)
        if os.path.isfile(file) and _is_inside(file, folder):
            return file
    return None
