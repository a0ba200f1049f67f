"""Zip archives from anywhere: unpacked below one folder, and no larger than they may be."""

from __future__ import annotations

import os
import shutil
import stat
import zipfile
from io import FileIO
from pathlib import Path, PurePosixPath

from srcmatters.errors import InputError, first_line

MEMBERS = 20_000
DIRECTORY = 6 * 2**20  # bytes of the list of members: 300 of each
BYTES = 8 * 2**30  # of all members, unpacked
RATIO = 200  # images shrink by three to ten, empty ones by a hundred
ALL_RATIO = 50  # not all of them are empty
_FREE, _ALL_FREE = 2**26, 2**29  # bytes, of a member and of all, of which nobody asks how they were packed
_SPARE = 2**28  # bytes that stay free
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others may ask for any memory
_LOCAL = 30  # bytes at least before the content of a member
_PART, _PATH = 255, 1024  # bytes of a name that file systems take


class _ArchiveFile(FileIO):
    """Gives no more at once than the list of members may take: zipfile reads all of it before anything."""

    def read(self, size: int | None = -1) -> bytes:
        length = os.fstat(self.fileno()).st_size - self.tell() if size is None or size < 0 else size
        if length > DIRECTORY:
            raise InputError(
                f"{self.name}: its list of members takes {length} bytes, expected at most {DIRECTORY}"
            )
        return super().read(size) or b""


def unpack(path: Path, folder: Path, keep_paths: bool = False) -> list[tuple[Path, str]]:
    """Unpack an archive whose members may claim anything.

    Members are checked before the first is written, and each gives no more bytes than it has claimed.

    Args:
        path: the archive.
        folder: new; every member gets a numbered folder in it, so that no path from outside is used here.
        keep_paths: members keep their paths below ``folder`` instead.

    Returns:
        (file, name in the archive), in the order of the names.

    Raises:
        InputError: a damaged archive, one whose members lead outside of it, or one that would become too
            large; the message names the member.
    """
    try:
        with _ArchiveFile(path) as file, zipfile.ZipFile(file) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            _check(path, members)
            _check_apart(path, members, archive.start_dir)
            folder.mkdir()
            _check_room(path, members, folder)
            extracted = []
            for number, member in enumerate(sorted(members, key=lambda one: one.filename)):
                numbered = Path(f"{number:06d}") / PurePosixPath(member.filename).name
                place = folder / (member.filename if keep_paths else numbered)
                place.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, place.open("xb") as target:
                    shutil.copyfileobj(source, target, 2**20)
                extracted.append((place, member.filename))
            return extracted
    except InputError:
        raise
    except Exception as error:  # a damaged archive makes zipfile raise anything
        raise InputError(f"{path}: not a readable zip ({first_line(error)})") from error


def _check(path: Path, members: list[zipfile.ZipInfo]) -> None:
    if len(members) > MEMBERS:
        raise InputError(f"{path}: {len(members)} members, expected at most {MEMBERS}")
    for member in members:
        _check_name(path, member)
        if member.flag_bits & 1 or member.compress_type not in _METHODS:
            raise InputError(f"{path}: member {member.filename!r} is encrypted or packed in an unusual way")
        if member.file_size > _FREE and member.file_size > RATIO * member.compress_size:
            raise InputError(
                f"{path}: member {member.filename!r} claims {member.file_size} bytes out of"
                f" {member.compress_size}"
            )
    claimed, packed = (sum(getattr(one, size) for one in members) for size in ("file_size", "compress_size"))
    if claimed > BYTES or (claimed > _ALL_FREE and claimed > ALL_RATIO * packed):
        raise InputError(
            f"{path}: its members claim {claimed} bytes out of {packed}, expected no more than {BYTES}, and"
            f" no more than {ALL_RATIO} times as many"
        )


def _check_name(path: Path, member: zipfile.ZipInfo) -> None:
    name = PurePosixPath(member.filename)
    outside = name.is_absolute() or ".." in name.parts or "\\" in member.filename or not name.name
    if outside or ":" in name.parts[0] or stat.S_ISLNK(member.external_attr >> 16):
        raise InputError(f"{path}: member {member.filename!r} leads outside of the archive")
    longest = max(len(part.encode(errors="replace")) for part in name.parts)
    if longest > _PART or len(member.filename.encode(errors="replace")) > _PATH:
        raise InputError(
            f"{path}: member {member.filename[:40]!r}... has a name of {len(member.filename)} characters,"
            f" expected at most {_PART} between slashes and {_PATH} in all"
        )


def _check_apart(path: Path, members: list[zipfile.ZipInfo], end: int) -> None:
    """Refuse members that share bytes of the archive: a small one could be unpacked to any size."""
    placed = sorted(members, key=lambda one: one.header_offset)
    starts = [*(member.header_offset for member in placed[1:]), end]
    for member, after in zip(placed, starts, strict=False):
        if member.header_offset + _LOCAL + member.compress_size > after:
            raise InputError(f"{path}: member {member.filename!r} overlaps another or the list of members")


def _check_room(path: Path, members: list[zipfile.ZipInfo], folder: Path) -> None:
    needed, free = sum(member.file_size for member in members), shutil.disk_usage(folder).free
    if needed > free - _SPARE:
        raise InputError(
            f"{path}: its members need {needed} bytes, but only {free} are free in {folder.parent}"
        )
