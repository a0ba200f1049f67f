"""From paths to what is to be read: one item per radiograph, one per CT series."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from srcmatters.clinical.archives import unpack
from srcmatters.clinical.decoder import Decoder
from srcmatters.clinical.header_tasks import read_fields, read_references
from srcmatters.errors import InputError
from srcmatters.images.declarations import MODALITIES
from srcmatters.images.reading import ITK, NIFTI, PICTURES, has_ending, is_dicom
from srcmatters.images.volume_files import load_itk

_IMAGES = (*NIFTI, *PICTURES, *ITK, ".dcm", ".dicom")
_DIRECTORY = "DICOMDIR"
_LONGEST = 300  # characters of a reason, which may quote a header that is damaged
_QUOTED = 10_000  # characters of a message that are looked at


@dataclass(frozen=True)
class Found:
    """A file, what a person calls it, whether it was asked for by its name, and why it cannot be opened."""

    path: Path
    name: str
    asked_for: bool = False
    refusal: str = ""


@dataclass(frozen=True)
class Item:
    """What gets one answer: an image file, or a series of them.

    Args:
        name: what a person calls it: the file, or the folder of the series.
        path: what a loader is given: the file, or a folder that holds the series and nothing else.
        files: DICOM instances, or the one file.
        headers: fields of each of them (:func:`srcmatters.clinical.decoding_tasks.read_fields`); empty
            where the file is no DICOM.
        refusal: why there is nothing to read.
        names: what a person calls the paths that messages may hold.
        seconds: that its header took, or the slowest of them; decoding has that much less.
    """

    name: str
    path: Path
    files: tuple[Path, ...]
    headers: tuple[Mapping[str, Any], ...] = ()
    refusal: str = ""
    names: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def said(self, message: str) -> str:
        """A message about this item, in one line, with the names that a person knows."""
        message = message[:_QUOTED]
        for path in sorted(self.names, key=len, reverse=True):
            message = message.replace(path, self.names[path])
        return " ".join(_printable(message).split()).removeprefix(f"{self.name}: ")[:_LONGEST]


def _printable(text: str) -> str:
    """Names of files may hold line breaks, and bytes that are no text."""
    return "".join(char if char.isprintable() else " " for char in text)


@dataclass(frozen=True)
class Gathered:
    """Everything below some paths.

    Args:
        items: in the order of the paths, and by name below each of them.
        passed_over: number of files that are no images.
    """

    items: tuple[Item, ...]
    passed_over: int


def gather(
    paths: Sequence[Path], decoder: Decoder, scratch: Path, named_below: Path | None = None
) -> Gathered:
    """Find the images below files, folders, zip archives and DICOMDIRs.

    Args:
        paths: any of them; archives in folders are opened as well, those in archives are not.
        decoder: reads the headers.
        scratch: an empty folder for what is unpacked; it must outlive the items.
        named_below: a folder that means nothing to a person: items are called by their paths below it.

    Raises:
        InputError: a path that does not exist.
    """
    items: list[Item] = []
    series: dict[str, list[Item]] = {}
    passed_over = 0
    for found in _files(paths, decoder, scratch):
        if named_below is not None:
            found = replace(found, name=found.name.removeprefix(f"{named_below}/"))
        item = _look_at(replace(found, name=_printable(found.name)), decoder)
        if item is None:
            passed_over += 1
        elif item.headers and item.headers[0]["Modality"] in MODALITIES["CT"] and not item.refusal:
            header = item.headers[0]
            key = header["SeriesInstanceUID"] or str(found.path)
            if key not in series:
                items.append(item)  # keeps its place
            series.setdefault(key, []).append(item)
        else:
            items.append(item)
    made = {members[0].path: _series(members, scratch) for members in series.values()}
    return Gathered(tuple(made.get(item.files[0], item) for item in items), passed_over)


def _look_at(found: Found, decoder: Decoder) -> Item | None:
    """What a file is; None where it is no image."""
    names = {str(found.path): found.name}
    item = Item(found.name, found.path, (found.path,), names=names)
    if found.refusal:
        return replace(item, refusal=item.said(found.refusal))
    refusal = ""
    header: Mapping[str, Any] | None = None
    try:
        if is_dicom(found.path):
            header = decoder.run(read_fields, found.path)
        elif has_ending(found.path, (".dcm", ".dicom")):
            refusal = "not a readable DICOM file (no DICM after the preamble)"
        elif not has_ending(found.path, _IMAGES):
            refusal = "no image: neither DICOM nor " + ", ".join((*NIFTI, *PICTURES))
            return Item(found.name, found.path, (found.path,), (), refusal) if found.asked_for else None
        elif has_ending(found.path, ITK):
            _prepare_for_itk(decoder)
    except OSError as error:
        refusal = f"cannot be read ({error.strerror or type(error).__name__})"
    except InputError as error:
        refusal = item.said(str(error))
    if header is not None and not header["Rows"]:
        if header["SOPClassUID"] == "" and found.path.name.upper() == _DIRECTORY:
            return None
        refusal = item.said(f"no image in it ({header['Modality'] or 'no Modality'})")
    headers = (header,) if header is not None else ()
    seconds = decoder.spent if headers else 0.0
    return Item(found.name, found.path, (found.path,), headers, refusal, names, seconds)


def _prepare_for_itk(decoder: Decoder) -> None:
    """Load ITK here, once: every process that decodes would have to within the time of its first file."""
    if not load_itk.cache_info().currsize:
        load_itk()
        decoder.close()


def _series(members: list[Item], scratch: Path) -> Item:
    """One item for the files of a series; those of several are given a folder of links."""
    first = members[0]
    if len(members) == 1:
        return first
    name = str(PurePosixPath(first.name).parent)
    folder = Path(tempfile.mkdtemp(prefix="series-", dir=scratch))
    names = {str(folder): name}
    for number, member in enumerate(members):
        link = folder / f"{number:06d}"
        link.symlink_to(member.path.resolve())
        names[str(link)] = PurePosixPath(member.name).name
    files = tuple(member.path for member in members)
    headers = tuple(member.headers[0] for member in members)
    return Item(name, folder, files, headers, names=names, seconds=max(one.seconds for one in members))


def _files(paths: Sequence[Path], decoder: Decoder, scratch: Path) -> Iterator[Found]:
    seen: set[Path] = set()
    for path in paths:
        for found in _below(path, decoder, scratch):
            place = found.path.resolve()
            if found.refusal or place not in seen:
                seen.add(place)
                yield found


def _below(path: Path, decoder: Decoder, scratch: Path) -> Iterator[Found]:
    if path.is_dir():
        for folder, folders, names in os.walk(path):  # links to folders are not followed
            folders.sort()
            for name in sorted(names):
                file = Path(folder) / name
                if not name.startswith(".") and file.is_file():
                    yield from _archive_or_file(file, scratch, asked_for=False)
        return
    if not path.is_file():
        raise InputError(f"{path}: does not exist, expected a file, a folder, a zip or a DICOMDIR")
    if path.name.upper() == _DIRECTORY:
        yield from _named_by(path, decoder)
    else:
        yield from _archive_or_file(path, scratch, asked_for=True)


def _archive_or_file(path: Path, scratch: Path, asked_for: bool) -> Iterator[Found]:
    if not has_ending(path, (".zip",)) and not (asked_for and _is_archive(path)):
        yield Found(path, str(path), asked_for)
        return
    try:
        members = unpack(path, Path(tempfile.mkdtemp(prefix="archive-", dir=scratch)) / "members")
    except InputError as error:
        yield Found(path, str(path), refusal=str(error).removeprefix(f"{path}: "))
        return
    for file, name in members:
        yield Found(file, f"{path}/{name}")


def _is_archive(path: Path) -> bool:
    return not has_ending(path, _IMAGES) and not is_dicom(path) and zipfile.is_zipfile(path)


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
        if file.is_file() and file.resolve().is_relative_to(folder.resolve()):
            return file
    return None
