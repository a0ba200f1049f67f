"""Archives that claim too much or lead elsewhere: refused before anything is written."""

from __future__ import annotations

import io
import struct
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from prediction_cases import write_bundle, write_radiographs
from resource_use import MeasuredPredictor, peak_of

from srcmatters.errors import InputError
from srcmatters.exported_bundle import unpacking
from srcmatters.exported_bundle.bundle import open_bundle
from srcmatters.exported_bundle.unpacking import unpack


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MeasuredPredictor]:
    """Of a bundle for radiographs."""
    with MeasuredPredictor(open_bundle(write_bundle(tmp_path_factory.mktemp("made") / "bundle"))) as made:
        yield made


def refused(predictor: MeasuredPredictor, path: Path) -> str:
    """The one reason why a path is refused."""
    (answer,) = predictor.answers(path)
    assert answer.status == "refused" and len(answer.reasons) == 1
    return answer.reasons[0]


def packed(*members: tuple[str, bytes]) -> bytes:
    """An archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def directory(count: int, name: bytes = b"a") -> bytes:
    """An archive that is nothing but a list of ``count`` members."""
    entry = struct.pack("<4s4B4HL2L5H2L", b"PK\1\2", 20, 0, 20, *[0] * 8, len(name), *[0] * 6) + name
    listed = entry * count
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count & 0xFFFF, count & 0xFFFF, len(listed), 0, 0)
    return listed + end


def test_list_of_a_million_members_is_refused_before_it_is_read(
    predictor: MeasuredPredictor, tmp_path: Path
) -> None:
    (tmp_path / "million.zip").write_bytes(directory(1_000_000))
    start = time.process_time()
    assert "its list of members takes 47000000 bytes" in refused(predictor, tmp_path / "million.zip")
    assert time.process_time() - start < 0.5
    (tmp_path / "most.zip").write_bytes(directory(unpacking.DIRECTORY // 47))
    before, start = peak_of("self"), time.process_time()
    assert "members, expected at most 20000" in refused(predictor, tmp_path / "most.zip")
    assert time.process_time() - start < 5 and peak_of("self") - before < 2**28


def test_members_that_share_their_bytes_are_refused(predictor: MeasuredPredictor, tmp_path: Path) -> None:
    """As in the better zip bomb (Fifield 2019): each member is small, and all of them are the same bytes."""
    content = bytearray(packed(("a.dcm", bytes(2**20)), ("b.dcm", bytes(2**20))))
    second = content.rindex(b"PK\1\2")
    content[second + 42 : second + 46] = bytes(4)  # both begin where the first does
    (tmp_path / "shared.zip").write_bytes(content)
    assert "overlaps another" in refused(predictor, tmp_path / "shared.zip")
    beyond = bytearray(packed(("a.dcm", b"a")))
    at = beyond.rindex(b"PK\1\2")
    beyond[at + 20 : at + 24] = (60).to_bytes(4, "little")
    (tmp_path / "beyond.zip").write_bytes(beyond)
    assert "overlaps another or the list" in refused(predictor, tmp_path / "beyond.zip")


def test_many_members_that_are_empty_images_make_no_bomb_together(tmp_path: Path) -> None:
    size = unpacking._FREE
    count = unpacking._ALL_FREE // size + 1
    assert size < unpacking._ALL_FREE
    (tmp_path / "flat.zip").write_bytes(packed(*((f"{number}.dcm", bytes(size)) for number in range(count))))
    with pytest.raises(InputError, match="no more than 50 times as many"):
        unpack(tmp_path / "flat.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_archive_in_an_archive_is_not_opened(predictor: MeasuredPredictor, tmp_path: Path) -> None:
    inner = packed(("inner.zip", packed(("bomb.dcm", bytes(2**22)))))
    (tmp_path / "nested.zip").write_bytes(inner)
    (answer,) = predictor.answers(tmp_path / "nested.zip")
    assert answer.status == "refused" and predictor.passed_over == 0
    assert answer.reasons == ("an archive in an archive, expected images: unpack it first",)
    assert answer.item.name.endswith("nested.zip/inner.zip")


@pytest.mark.parametrize("name", ["n" * 4096, "é" * 200, "/".join(["part"] * 300)])
def test_names_that_no_file_system_takes_are_refused_by_name(
    predictor: MeasuredPredictor, tmp_path: Path, name: str
) -> None:
    (tmp_path / "a.zip").write_bytes(packed((name, b"a")))
    assert f"name of {len(name)} characters" in refused(predictor, tmp_path / "a.zip")


def test_members_that_are_links_encrypted_or_damaged_are_refused(
    predictor: MeasuredPredictor, tmp_path: Path
) -> None:
    link = zipfile.ZipInfo("link.dcm")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    assert "leads outside" in refused(predictor, tmp_path / "link.zip")
    with zipfile.ZipFile(tmp_path / "locked.zip", "w") as archive:
        archive.writestr("a.dcm", b"a")
        archive.infolist()[0].flag_bits |= 1
    assert "encrypted" in refused(predictor, tmp_path / "locked.zip")
    wrong = bytearray(packed(("a.dcm", b"abc")))
    at = wrong.rindex(b"PK\1\2")
    wrong[at + 16] ^= 1
    (tmp_path / "wrong.zip").write_bytes(wrong)
    assert "Bad CRC-32" in refused(predictor, tmp_path / "wrong.zip")


def test_names_with_line_breaks_or_without_a_character_set_are_one_line(
    predictor: MeasuredPredictor, tmp_path: Path
) -> None:
    folder = tmp_path / "names"
    folder.mkdir()
    film, _ = write_radiographs(tmp_path / "films")
    (folder / "a\nb\x1b.dcm").write_bytes(film.read_bytes())
    Path(f"{folder}/c\udcff.dcm").write_bytes(film.read_bytes()[:400])
    archive = folder.parent / "d.zip"
    archive.write_bytes(packed(("e\r\nf.dcm", film.read_bytes()[:400])))
    answers = predictor.answers(folder, archive)
    assert [one.item.name.removeprefix(f"{folder}/").removeprefix(f"{tmp_path}/") for one in answers] == [
        "a b .dcm",
        "c .dcm",
        "d.zip/e  f.dcm",
    ]
    assert [one.status for one in answers] == ["predicted", "refused", "refused"]
