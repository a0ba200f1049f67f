"""Zip archives from anywhere: unpacked below one folder, and no larger than they may be."""

from __future__ import annotations

import shutil
import stat
import zipfile
from pathlib import Path, PurePosixPath

from srcmatters.errors import InputError
from srcmatters.images.reading import first_line

MEMBERS = 20_000
BYTES = 8 * 2**30  # of all members, unpacked
RATIO = 200  # images shrink by three to ten, empty ones by a hundred
_FREE = 64 * 2**20  # bytes of which nobody asks how well they were packed
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others may ask for any memory


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
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            _check(path, members)
            folder.mkdir()
            _check_room(path, members, folder)
            found = []
            for number, member in enumerate(sorted(members, key=lambda one: one.filename)):
                numbered = Path(f"{number:06d}") / PurePosixPath(member.filename).name
                place = folder / (member.filename if keep_paths else numbered)
                place.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, place.open("xb") as target:
                    shutil.copyfileobj(source, target, 2**20)
                found.append((place, member.filename))
            return found
    except InputError:
        raise
    except Exception as error:  # a damaged archive makes zipfile raise anything
        raise InputError(f"{path}: not a readable zip ({first_line(error)})") from error


def _check(path: Path, members: list[zipfile.ZipInfo]) -> None:
    if len(members) > MEMBERS:
        raise InputError(f"{path}: {len(members)} members, expected at most {MEMBERS}")
    for member in members:
        name = PurePosixPath(member.filename)
        outside = name.is_absolute() or ".." in name.parts or "\\" in member.filename or not name.name
        if outside or ":" in name.parts[0] or stat.S_ISLNK(member.external_attr >> 16):
            raise InputError(f"{path}: member {member.filename!r} leads outside of the archive")
        if member.flag_bits & 1 or member.compress_type not in _METHODS:
            raise InputError(f"{path}: member {member.filename!r} is encrypted or packed in an unusual way")
        if member.file_size > _FREE and member.file_size > RATIO * member.compress_size:
            raise InputError(
                f"{path}: member {member.filename!r} claims {member.file_size} bytes out of"
                f" {member.compress_size}"
            )
    claimed, packed = (sum(getattr(one, size) for one in members) for size in ("file_size", "compress_size"))
    if claimed > BYTES or (claimed > _FREE and claimed > RATIO * packed):
        raise InputError(
            f"{path}: its members claim {claimed} bytes out of {packed}, expected no more than {BYTES}, and"
            f" no more than {RATIO} times as many"
        )


def _check_room(path: Path, members: list[zipfile.ZipInfo], folder: Path) -> None:
    needed, free = sum(member.file_size for member in members), shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"{path}: its members need {needed} bytes, but only {free} are free in {folder.parent}"
        )
