"""Foreign bytes: predicted, or refused in one line; no crash, no hang, no memory beyond bounds."""

from __future__ import annotations

import random
import time
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest
from malformed_dicom import element, written
from prediction_cases import changed, write_bundle, write_radiographs
from pydicom import dcmread
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless
from resource_use import check_answer

from srcmatters.cohorts.phantom_cohort import write_phantom_cohort
from srcmatters.deployment.prediction.predictor import STATUSES, Prediction, Predictor
from srcmatters.deployment.prediction.sandboxed_decoder import Decoder
from srcmatters.errors import InputError
from srcmatters.exported_bundle.bundle import open_bundle
from srcmatters.exported_bundle.unpacking import unpack


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A small DICOM (plain and RLE), PNG, NIfTI and packed NIfTI; read only."""
    folder = tmp_path_factory.mktemp("originals")
    film, _ = write_radiographs(folder / "films")
    packed = dcmread(film)
    packed.compress(RLELossless)
    packed.save_as(folder / "rle.dcm")
    write_phantom_cohort(folder / "png", patients=1, image_size=64)
    plane = nibabel.Nifti1Image(np.arange(4096, dtype=np.uint8).reshape(64, 64, 1), np.diag([0.2, 0.2, 1, 1]))
    nibabel.save(plane, folder / "plane.nii")
    nibabel.save(plane, folder / "plane.nii.gz")
    (png,) = (folder / "png" / "images").iterdir()
    return [film, folder / "rle.dcm", png, folder / "plane.nii", folder / "plane.nii.gz"]


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Predictor]:
    """Of a bundle for radiographs."""
    with Predictor(open_bundle(write_bundle(tmp_path_factory.mktemp("made") / "bundle"))) as made:
        yield made


def mutate(content: bytes, draw: random.Random) -> bytes:
    """Cut off, flipped, set to extremes, a part doubled or left out; headers more often than pixels."""
    kind = draw.choice(("cut", "flip", "extreme", "double", "drop"))
    end = draw.choice((len(content), min(len(content), 1600), min(len(content), 400)))
    at = draw.randrange(end)
    if kind == "cut":
        return content[:at]
    if kind == "double":
        return content[:at] + content[max(0, at - draw.randrange(1, 64)) :]
    if kind == "drop":
        return content[:at] + content[at + draw.randrange(1, 64) :]
    changed = bytearray(content)
    for _ in range(draw.choice((1, 4, 16))):
        place = draw.randrange(end)
        changed[place] = (
            draw.choice((0, 255, 127)) if kind == "extreme" else changed[place] ^ 1 << draw.randrange(8)
        )
    return bytes(changed)


def check_mutations(
    predictor: Predictor, originals: list[Path], folder: Path, count: int, seed: int
) -> float:
    """Predict ``count`` mutated files one after the other; the longest that an answer took, in seconds."""
    draw = random.Random(seed)
    folder.mkdir()
    for number in range(count):
        source = originals[number % len(originals)]
        ending = "".join(source.suffixes) if "nii" in source.name else source.suffix
        (folder / f"{number:05d}{ending}").write_bytes(mutate(source.read_bytes(), draw))
    before = sorted(folder.parent.iterdir())
    longest, statuses, start = 0.0, dict.fromkeys(STATUSES, 0), time.monotonic()
    for prediction in predictor.predict([folder]):
        longest = max(longest, time.monotonic() - start)
        check_answer(prediction)
        statuses[prediction.status] += 1
        start = time.monotonic()
    assert sum(statuses.values()) == count and sorted(folder.parent.iterdir()) == before
    assert statuses["refused"] > count / 20 and statuses["refused"] < count
    return longest


def test_mutated_files_are_read_or_refused_in_one_line(
    predictor: Predictor, originals: list[Path], tmp_path: Path
) -> None:
    check_mutations(predictor, originals, tmp_path / "mutated", 150, seed=0)


@pytest.mark.timing
def test_a_mutated_file_has_its_answer_within_seconds(
    predictor: Predictor, originals: list[Path], tmp_path: Path
) -> None:
    longest = check_mutations(predictor, originals, tmp_path / "mutated", 150, seed=2)
    assert longest < 5 + 0.05 * 150  # the first answer waits for all headers; each file may take 5 s


@pytest.mark.slow
def test_two_thousand_mutated_files_are_read_or_refused_in_one_line(
    predictor: Predictor, originals: list[Path], tmp_path: Path
) -> None:
    check_mutations(predictor, originals, tmp_path / "mutated", 2000, seed=1)


def the_only(predictor: Predictor, path: Path) -> Prediction:
    (prediction,) = predictor.predict([path])
    check_answer(prediction)
    return prediction


def test_huge_declared_sizes_are_refused_before_decoding(
    predictor: Predictor, originals: list[Path], tmp_path: Path
) -> None:
    huge = changed(originals[0], tmp_path / "huge.dcm", Rows=60000, Columns=60000)
    assert "its header declares 3600000000 bytes" in the_only(predictor, huge).reasons[0]
    frames = changed(originals[1], tmp_path / "frames.dcm", NumberOfFrames=2**30)
    assert "its header declares" in the_only(predictor, frames).reasons[0]
    wide = changed(originals[0], tmp_path / "wide.dcm", Rows=8192, Columns=8192)
    assert "expected at most 33554432 of a radiograph" in the_only(predictor, wide).reasons[0]
    volume = bytearray(originals[3].read_bytes())
    volume[42:48] = np.array([30000, 30000, 1], "<i2").tobytes()
    (tmp_path / "huge.nii").write_bytes(volume)
    assert "expected at most 33554432" in the_only(predictor, tmp_path / "huge.nii").reasons[0]
    picture = bytearray(originals[2].read_bytes())
    picture[16:24] = np.array([9000, 9000], ">u4").tobytes()
    (tmp_path / "huge.png").write_bytes(picture)
    assert the_only(predictor, tmp_path / "huge.png").status == "refused"


def _same(value: int) -> int:
    return value


def test_an_answer_that_nobody_fetched_is_never_taken_for_another(
    predictor: Predictor, originals: list[Path]
) -> None:
    with Decoder() as decoder:
        decoder.submit(_same, 1)
        assert decoder.run(_same, 2) == 2
    expected = the_only(predictor, originals[2])
    abandoned = predictor.predict([originals[0], originals[1]])
    next(abandoned)
    del abandoned
    prediction = the_only(predictor, originals[2])
    assert prediction.probability == expected.probability is not None


@pytest.mark.parametrize("slope", ["0", "nan", "1e300", "inf"])
def test_values_that_no_rescale_leads_to_are_refused(
    predictor: Predictor, originals: list[Path], tmp_path: Path, slope: str
) -> None:
    elements = {"WindowCenter": b"", "WindowWidth": b""}
    for keyword, value in (("RescaleSlope", slope), ("RescaleIntercept", "0")):
        elements[keyword] = element(keyword, "DS", value.encode())
    (tmp_path / "film.dcm").write_bytes(written(dcmread(originals[0]), elements))
    assert "it holds NaN or infinite values" in the_only(predictor, tmp_path / "film.dcm").reasons[0]


def test_deflated_dicom_is_refused_without_inflating_it(
    predictor: Predictor, originals: list[Path], tmp_path: Path
) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    part = packer.compress(bytes(2**24)) + packer.flush(zlib.Z_FULL_FLUSH)
    meta = dcmread(originals[0]).file_meta
    meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    with (tmp_path / "bomb.dcm").open("wb") as file:
        file.write(b"\0" * 128 + b"DICM")
        write_file_meta_info(file, meta)
        file.write(part * 160 + packer.flush())  # 2.5 GiB of zeros
    start = time.process_time()
    zlib.decompressobj(-15).decompress(part * 16)
    a_tenth = time.process_time() - start
    assert "transfer syntax is deflated" in the_only(predictor, tmp_path / "bomb.dcm").reasons[0]
    assert predictor.decoder.spent < a_tenth


@pytest.mark.parametrize(
    "name", ["../outside.dcm", "/outside.dcm", "a/../../outside.dcm", "..\\outside.dcm", "C:outside.dcm"]
)
def test_archive_that_leads_outside_writes_nothing(
    predictor: Predictor, originals: list[Path], tmp_path: Path, name: str
) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(originals[0], "inside.dcm")
        archive.write(originals[0], "placeholder.dcm")
        archive.infolist()[1].filename = name
    prediction = the_only(predictor, tmp_path / "a.zip")
    assert prediction.status == "refused" and "leads outside" in prediction.reasons[0]
    with pytest.raises(InputError, match="leads outside"):
        unpack(tmp_path / "a.zip", tmp_path / "below")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip"]
    assert not (tmp_path.parent / "outside.dcm").exists()


def test_archive_bombs_are_refused_before_they_are_unpacked(predictor: Predictor, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "big.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros.dcm", bytes(2**27))
    assert "claims 134217728 bytes" in the_only(predictor, tmp_path / "big.zip").reasons[0]
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        for number in range(20_001):
            archive.writestr(str(number), b"")
    assert "20001 members" in the_only(predictor, tmp_path / "many.zip").reasons[0]
    with zipfile.ZipFile(tmp_path / "lzma.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("film.dcm", b"film")
    assert "unusual way" in the_only(predictor, tmp_path / "lzma.zip").reasons[0]
    (tmp_path / "cut.zip").write_bytes((tmp_path / "lzma.zip").read_bytes()[:-9])
    assert the_only(predictor, tmp_path / "cut.zip").status == "refused"


def test_member_that_lies_about_its_size_gives_no_more_than_it_claims(
    predictor: Predictor, tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "lie.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("film.dcm", bytes(2**22))
    content = (tmp_path / "lie.zip").read_bytes()
    lie = content.replace((2**22).to_bytes(4, "little"), (64).to_bytes(4, "little"))
    assert lie != content
    (tmp_path / "lie.zip").write_bytes(lie)
    assert the_only(predictor, tmp_path / "lie.zip").status == "refused"
