"""Headers that name the file of their pixels: it must lie in the header's folder or below."""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from srcmatters.errors import InputError
from srcmatters.images.reading import has_ending

_META, _NRRD = (".mha", ".mhd"), (".nrrd", ".nhdr")
_HERE = b"LOCAL"  # says MetaImage where the pixels are in the same file
_META_FIELD = re.compile(rb"[ \t]*[=:][ \t]*([^\r\n]*)")
_NRRD_FIELD = re.compile(rb"data ?file[ \t]*:[ \t]*([^\r\n]*)", re.IGNORECASE)
_NRRD_END = re.compile(rb"\n\r?\n")
_HEADER = 2**20  # bytes in which a header of NRRD ends
_NAMED = 4  # times that a header may name its file: once, and in comments
_LONGEST = 255  # characters of a name


def check_data_file(path: Path) -> None:
    """Refuse a header that names a file elsewhere: ITK would read it, whatever it is.

    MetaImage and NRRD name a file; of the other formats none does.

    Args:
        path: a file that ITK is about to read.

    Raises:
        InputError: the header names a file outside of its folder, none that is there, or several.
    """
    if has_ending(path, _META):
        field, names = "ElementDataFile", list(_meta_names(path))
    elif has_ending(path, _NRRD):
        field, names = "data file", list(_nrrd_names(path))
    else:
        return
    for name in names[:_NAMED]:
        if not (field == "ElementDataFile" and name.upper() == _HERE) and not _is_beside(path, name):
            shown = name[:_LONGEST].decode(errors="replace")
            raise InputError(f"{path}: {field} is {shown!r}, expected a file in its folder or below")
    if len(names) > _NAMED:
        raise InputError(f"{path}: {field} stands in it more than {_NAMED} times, expected once")


def _meta_names(path: Path) -> Iterator[bytes]:
    """The file of every ElementDataFile, wherever it stands: which of them ITK takes depends on the rest."""
    key, at = b"ElementDataFile", 0
    if path.stat().st_size == 0:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for _ in range(_NAMED + 1):
            at = content.find(key, at)
            if at < 0:
                return
            at += len(key)
            value = _META_FIELD.match(content, at, at + 2 * _LONGEST)
            yield value[1].strip() if value else b""


def _nrrd_names(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        start = file.read(_HEADER)
    if len(start) == _HEADER and _NRRD_END.search(start) is None:
        raise InputError(f"{path}: its header does not end within {_HEADER} bytes, expected NRRD")
    for match in _NRRD_FIELD.finditer(start):
        yield match[1].strip()


def _is_beside(path: Path, name: bytes) -> bool:
    try:
        parts = PurePosixPath(name.decode())
    except UnicodeDecodeError:
        return False
    plain = 0 < len(name) <= _LONGEST and "\\" not in str(parts) and str(parts).isprintable()
    if not plain or parts.is_absolute() or ".." in parts.parts:
        return False
    return (path.parent / parts).is_file()
