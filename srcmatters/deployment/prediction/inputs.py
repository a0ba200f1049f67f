"""From files to what is to be read: one item per radiograph, one per CT series."""

from __future__ import annotations

import errno
import stat
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from srcmatters.deployment.prediction.header_tasks import read_fields
from srcmatters.deployment.prediction.input_files import IMAGES, PAIRS, InputFile, find_files
from srcmatters.deployment.prediction.sandboxed_decoder import EXHAUSTED, Decoder
from srcmatters.deployment.redaction import hashed
from srcmatters.errors import InputError
from srcmatters.images.declarations import MODALITIES
from srcmatters.images.reading import (
    ITK,
    NIFTI,
    PICTURES,
    has_ending,
    is_dicom,
    is_directory_record,
    lacks_preamble,
)
from srcmatters.images.volume_files import load_itk

_LONGEST = 300  # characters of a reason, which may quote a header that is damaged
_QUOTED = 10_000  # characters of a message that are looked at


@dataclass(frozen=True)
class Item:
    """What gets one answer: an image file, or a series of them.

    Args:
        name: what a person calls it: the file, or the folder and the number of the series.
        path: what a loader is given: the file, or a folder that holds the series and nothing else.
        files: DICOM instances, or the one file.
        headers: fields of each of them (:func:`srcmatters.deployment.prediction.header_tasks.read_fields`);
            empty where the file is no DICOM.
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

    def message(self, message: str) -> str:
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
    """Find the images below files, folders and a zip archive.

    Args:
        paths: any of them; archives in folders and in archives are refused.
        decoder: reads the headers.
        scratch: an empty folder for what is unpacked; it must outlive the items.
        named_below: a folder that means nothing to a person: items are called by their paths below it.

    Raises:
        InputError: a path that does not exist or cannot be reached, or a second archive.
        OSError: the machine has no room for a process that decodes, or no more open files.
    """
    items: list[Item] = []
    series: dict[str, list[Item]] = {}
    passed_over = 0
    for file in find_files(paths, scratch):
        if named_below is not None:
            file = replace(file, name=file.name.removeprefix(f"{named_below}/"))
        item = _look_at(replace(file, name=_printable(file.name)), decoder)
        if item is None:
            passed_over += 1
        elif item.headers and item.headers[0]["Modality"] in MODALITIES["CT"] and not item.refusal:
            header = item.headers[0]
            key = header["SeriesInstanceUID"] or str(file.path)
            if key not in series:
                items.append(item)  # keeps its place
            series.setdefault(key, []).append(item)
        else:
            items.append(item)
    names = _series_names([members[0] for members in series.values()])
    made = {
        members[0].path: _series(members, name, scratch)
        for members, name in zip(series.values(), names, strict=True)
    }
    return Gathered(tuple(made.get(item.files[0], item) for item in items), passed_over)


def _look_at(file: InputFile, decoder: Decoder) -> Item | None:
    """What a file is; None where it is no image."""
    item = Item(file.name, file.path, (file.path,), names={str(file.path): file.name})
    if file.refusal:
        return replace(item, refusal=item.message(file.refusal))
    try:
        regular = stat.S_ISREG(file.path.stat().st_mode)
        dicom = regular and is_dicom(file.path)
    except OSError as error:
        if error.errno in (*EXHAUSTED, errno.ENOMEM):  # which says nothing of the file
            raise
        return replace(item, refusal=f"cannot be read ({error.strerror or type(error).__name__})")
    if not regular:
        return replace(item, refusal="neither a file nor a folder")
    # What the system refuses from here on, such as a process that decodes, is no fault of the file's.
    if dicom:
        return _with_header(item, decoder)
    if has_ending(file.path, (".dcm", ".dicom")) or lacks_preamble(file.path):
        return replace(item, refusal="not a readable DICOM file (no DICM after the preamble)")
    if has_ending(file.path, PAIRS):
        return replace(
            item, refusal="half of a pair .hdr and .img, expected one file such as .nii.gz or .mha"
        )
    if not has_ending(file.path, IMAGES):
        refusal = "no image: neither DICOM nor " + ", ".join((*NIFTI, *PICTURES))
        return replace(item, refusal=refusal) if file.named else None
    if has_ending(file.path, ITK):
        _prepare_for_itk(decoder)
    return item


def _with_header(item: Item, decoder: Decoder) -> Item | None:
    """A DICOM file with its header; None for the list of a medium's content, which is no image."""
    try:
        header: Mapping[str, Any] = decoder.run(read_fields, item.path)
    except InputError as error:
        return replace(item, refusal=item.message(str(error)))
    refusal = ""
    if not header["Rows"]:
        if header["SOPClassUID"] == "" and is_directory_record(item.path):
            return None
        refusal = item.message(f"no image in it ({header['Modality'] or 'no Modality'})")
    return replace(item, headers=(header,), refusal=refusal, seconds=decoder.spent)


def _prepare_for_itk(decoder: Decoder) -> None:
    """Load ITK here, once: every process that decodes would have to within the time of its first file."""
    if not load_itk.cache_info().currsize:
        load_itk()
        decoder.close()


def _series_names(firsts: Sequence[Item]) -> list[str]:
    """Folder and number of each series; without a number that no other one there has, a hash of its UID.

    A folder may hold several series (a CD holds all of them in one), which must not have one name.
    """
    numbered = [(str(PurePosixPath(first.name).parent), first.headers[0]["SeriesNumber"]) for first in firsts]
    counts = Counter(numbered)
    return [
        f"{place[0]}, series "
        + (place[1] if place[1] and counts[place] == 1 else hashed(first.headers[0]["SeriesInstanceUID"]))
        for first, place in zip(firsts, numbered, strict=True)
    ]


def _series(members: list[Item], name: str, scratch: Path) -> Item:
    """One item for the files of a series; those of several are given a folder of links."""
    first = members[0]
    if len(members) == 1:
        return first
    parent = PurePosixPath(first.name).parent
    folder = Path(tempfile.mkdtemp(prefix="series-", dir=scratch))
    names = {str(folder): name}
    for number, member in enumerate(members):
        link = folder / f"{number:06d}"
        link.symlink_to(member.path.resolve())
        # Files of one name in several folders are told from each other by their folders.
        own = PurePosixPath(member.name)
        names[str(link)] = own.name if own.parent == parent else member.name
    files = tuple(member.path for member in members)
    headers = tuple(member.headers[0] for member in members)
    return Item(name, folder, files, headers, names=names, seconds=max(one.seconds for one in members))
