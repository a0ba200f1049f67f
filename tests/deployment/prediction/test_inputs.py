"""From paths to items: every file has its one row, and what cannot be opened is not left out in silence."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel
import numpy as np
import pytest
from prediction_cases import changed, write_radiographs, write_series
from pydicom.uid import generate_uid

from srcmatters.deployment.prediction.inputs import Gathered, gather
from srcmatters.deployment.prediction.sandboxed_decoder import Decoder
from srcmatters.deployment.redaction import hashed
from srcmatters.errors import InputError

_CAPABILITIES_3 = 0x20080522
_READ_EVERYTHING = 0b110  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH


@contextmanager
def without_privileges() -> Iterator[None]:
    """Permissions hold for root as well."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_3, 0)
    state = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable, and the same for the higher ones
    assert libc.capget(header, state) == 0
    before = state[0]
    state[0] = before & ~_READ_EVERYTHING
    assert libc.capset(header, state) == 0
    try:
        yield
    finally:
        state[0] = before
        assert libc.capset(header, state) == 0


@pytest.fixture
def gathered(tmp_path: Path) -> Iterator[Callable[..., Gathered]]:
    """What becomes of paths; what is unpacked lies in "scratch"."""
    (tmp_path / "scratch").mkdir()
    with Decoder() as decoder:
        yield lambda *paths: gather(paths, decoder, tmp_path / "scratch")


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """A folder of two radiographs."""
    return write_radiographs(tmp_path / "films")[0].parent


@contextmanager
def closed(path: Path, mode: int) -> Iterator[None]:
    """Nobody may open it meanwhile."""
    before = path.stat().st_mode
    path.chmod(mode)
    try:
        with without_privileges():
            yield
    finally:
        path.chmod(before)


def refusals(inputs: Gathered, below: Path) -> dict[str, str]:
    """Name of every item -> why it is refused; no two have one name."""
    reasons = {item.name.removeprefix(f"{below}/"): item.refusal for item in inputs.items}
    assert len(reasons) == len(inputs.items)
    return reasons


# What cannot be opened


@pytest.mark.parametrize(("mode", "name"), [(0o000, "sub"), (0o400, "sub/film-1.dcm")])
def test_what_a_closed_folder_holds_is_refused_and_the_rest_read(
    gathered: Callable[..., Gathered], films: Path, mode: int, name: str
) -> None:
    (films / "sub").mkdir()
    (films / "film-1.dcm").rename(films / "sub" / "film-1.dcm")
    with closed(films / "sub", mode):
        reasons = refusals(gathered(films), films)
    assert reasons == {"film-0.dcm": "", name: "cannot be read (Permission denied)"}


def test_folder_of_the_command_line_that_is_closed_is_refused(
    gathered: Callable[..., Gathered], films: Path
) -> None:
    with closed(films, 0o000):
        (item,) = gathered(films).items
    assert (item.name, item.refusal) == (str(films), "cannot be read (Permission denied)")


def test_path_in_a_closed_folder_is_a_mistake_in_one_line(
    gathered: Callable[..., Gathered], films: Path
) -> None:
    with closed(films, 0o000), pytest.raises(InputError) as caught:
        gathered(films / "film-0.dcm")
    assert str(caught.value).startswith(
        f"{films / 'film-0.dcm'}: cannot be read (Permission denied), expected"
    )


def test_closed_file_without_an_ending_is_refused(gathered: Callable[..., Gathered], films: Path) -> None:
    file = (films / "film-0.dcm").rename(films / "film")
    with closed(file, 0o000):
        (item,) = gathered(file).items
    assert item.refusal == "cannot be read (Permission denied)"


@pytest.mark.parametrize("what", ["no process", "no open file"])
def test_a_machine_without_room_is_not_held_against_a_file(
    gathered: Callable[..., Gathered], films: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def exhausted(*_: object) -> None:
        number = errno.ENOMEM if what == "no process" else errno.EMFILE
        raise OSError(number, os.strerror(number))

    where = "sandboxed_decoder.Decoder._start" if what == "no process" else "inputs.is_dicom"
    with monkeypatch.context() as patch, pytest.raises(OSError, match=r"Cannot allocate|Too many open"):
        patch.setattr(f"srcmatters.deployment.prediction.{where}", exhausted)
        gathered(films)
    assert set(refusals(gathered(films), films).values()) == {""}


def test_links_that_are_not_followed_are_rows(gathered: Callable[..., Gathered], films: Path) -> None:
    elsewhere = write_radiographs(films.parent / "elsewhere", 1)[0].parent
    (films / "elsewhere").symlink_to(elsewhere)
    (films / "gone.dcm").symlink_to("nowhere.dcm")
    (films / "loop").symlink_to("loop")
    os.mkfifo(films / "pipe.dcm")
    reasons = refusals(gathered(films), films)
    assert reasons.pop("film-0.dcm") == reasons.pop("film-1.dcm") == ""
    assert reasons.pop("elsewhere") == "a link to a folder elsewhere, which is not followed"
    assert reasons.pop("gone.dcm") == "cannot be read (No such file or directory)"
    assert "symbolic links" in reasons.pop("loop")
    assert reasons == {"pipe.dcm": "neither a file nor a folder"}


def test_link_to_a_folder_that_is_read_anyway_is_no_row(
    gathered: Callable[..., Gathered], films: Path
) -> None:
    (films / "sub").mkdir()
    (films / "film-1.dcm").rename(films / "sub" / "film-1.dcm")
    (films / "latest").symlink_to("sub")
    assert refusals(gathered(films), films) == {"film-0.dcm": "", "sub/film-1.dcm": ""}


@pytest.mark.parametrize(
    ("path", "message"),
    [("none/film.dcm", "does not exist"), ("pipe", "neither a file nor a folder"), ("n" * 300, "cannot be")],
)
def test_path_that_is_no_file_is_a_mistake(
    gathered: Callable[..., Gathered], tmp_path: Path, path: str, message: str
) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError) as caught:
        gathered(tmp_path / path)
    assert str(caught.value).startswith(f"{tmp_path / path}: {message}") and ", expected" in str(caught.value)


# Archives


def packed(path: Path, *files: Path) -> Path:
    """An archive of files."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in files:
            archive.write(file, f"in/{file.name}")
    return path


def test_a_second_archive_is_a_mistake(
    gathered: Callable[..., Gathered], films: Path, tmp_path: Path
) -> None:
    archives = [packed(tmp_path / name, films / "film-0.dcm") for name in ("a.zip", "b.zip")]
    with pytest.raises(InputError, match=r"a\.zip, .*b\.zip: expected one archive at a time"):
        gathered(*archives)


def test_an_archive_in_a_folder_is_refused_and_the_images_beside_it_are_read(
    gathered: Callable[..., Gathered], films: Path
) -> None:
    packed(films / "a.zip", films / "film-0.dcm")
    reasons = refusals(gathered(films), films)
    assert reasons.pop("a.zip") == "an archive in a folder, expected images: unpack it first"
    assert reasons == {"film-0.dcm": "", "film-1.dcm": ""}


def test_archive_that_is_named_twice_is_read_once(
    gathered: Callable[..., Gathered], films: Path, tmp_path: Path
) -> None:
    archive = packed(tmp_path / "films" / "a.zip", films / "film-0.dcm")
    assert list(refusals(gathered(archive, films), films)) == [
        "a.zip/in/film-0.dcm",
        "film-0.dcm",
        "film-1.dcm",
    ]


# Pairs


@pytest.mark.parametrize("names", [["."], ["scan.hdr", "scan.img"]])
def test_both_halves_of_a_pair_are_refused(
    gathered: Callable[..., Gathered], tmp_path: Path, names: list[str]
) -> None:
    folder = tmp_path / "pair"
    folder.mkdir()
    nibabel.save(nibabel.Nifti1Pair(np.zeros((4, 5, 6), np.int16), np.eye(4)), folder / "scan.hdr")
    reasons = refusals(gathered(*(folder / name for name in names)), folder)
    assert set(reasons) == {"scan.hdr", "scan.img"}
    assert all(
        reason.startswith("half of a pair .hdr and .img, expected one file") for reason in reasons.values()
    )


def test_dicom_file_is_read_whatever_its_ending(
    gathered: Callable[..., Gathered], films: Path, tmp_path: Path
) -> None:
    shutil.copy(films / "film-0.dcm", tmp_path / "scan.img")
    (item,) = gathered(tmp_path / "scan.img").items
    assert item.headers and not item.refusal


@pytest.mark.parametrize("numbers", [("4", "7"), ("4", "4"), (None, "7")])
def test_each_series_of_a_folder_has_a_name_of_its_own(
    gathered: Callable[..., Gathered], tmp_path: Path, numbers: tuple[str | None, str | None]
) -> None:
    """A CD holds all of its series in one folder."""
    slices = write_series(tmp_path / "scan")[:2]
    (tmp_path / "CD").mkdir()
    uids = [generate_uid(), generate_uid()]
    for uid, number in zip(uids, numbers, strict=True):
        for place, slice_ in enumerate(slices):
            target = tmp_path / "CD" / f"{uid}-{place}.dcm"
            changed(slice_, target, SeriesInstanceUID=uid, SeriesNumber=number)
    names = {item.headers[0]["SeriesInstanceUID"]: item.name for item in gathered(tmp_path / "CD").items}
    expected = {
        uid: f"{tmp_path / 'CD'}, series {number if number and numbers.count(number) == 1 else hashed(uid)}"
        for uid, number in zip(uids, numbers, strict=True)
    }
    assert names == expected
