"""Files that name other files, or programs: nothing outside is read, started or written."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import h5py
import itk
import numpy as np
import pytest
from prediction_cases import write_bundle
from resource_use import MeasuredPredictor

from srcmatters.deployment.prediction.data_files import check_data_file
from srcmatters.deployment.prediction.sandboxed_decoder import Decoder
from srcmatters.errors import InputError
from srcmatters.exported_bundle.bundle import open_bundle
from srcmatters.images import load_ct, load_radiograph

_META = "ObjectType = Image\nNDims = 3\nDimSize = 8 8 4\nElementType = MET_SHORT\nElementSpacing = 1 1 2\n"
_NRRD = "NRRD0004\ntype: short\ndimension: 3\nsizes: 8 8 4\nspacings: 1 1 2\nendian: little\nencoding: raw\n"
_PIXELS = (np.arange(256, dtype="<i2") - 1000).tobytes()


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MeasuredPredictor]:
    """Of a bundle for slices of CT."""
    folder = tmp_path_factory.mktemp("made") / "bundle"
    bundle = write_bundle(folder, modality="ct", unit="HU", window="lung")
    with MeasuredPredictor(open_bundle(bundle)) as made:
        yield made


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """Pixels in a folder that no header may lead to."""
    (tmp_path / "secret").write_bytes(_PIXELS)
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "pixels.raw").write_bytes(_PIXELS)
    return tmp_path / "secret"


def status(predictor: MeasuredPredictor, path: Path, content: str | bytes) -> tuple[str, tuple[str, ...]]:
    """What becomes of a file with this content."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    (answer,) = predictor.answers(path)
    return answer.status, answer.reasons


@pytest.mark.parametrize("ending", [".mha", ".mhd", ".nrrd", ".nhdr", ".MHA"])
@pytest.mark.parametrize("named", ["{secret}", "../secret", "./../secret", "LIST\n{secret}", "-", "gone.raw"])
def test_header_that_names_a_file_elsewhere_is_refused(
    predictor: MeasuredPredictor, secret: Path, ending: str, named: str
) -> None:
    name = named.format(secret=secret)
    header = (
        f"{_META}ElementDataFile = {name}\n" if "m" in ending.lower() else f"{_NRRD}data file: {name}\n\n"
    )
    outcome, reasons = status(predictor, secret.parent / "inside" / f"a{ending}", header)
    assert outcome == "refused" and "expected a file in its folder or below" in reasons[0]


def test_headers_that_name_no_file_or_one_beside_them_are_read(
    predictor: MeasuredPredictor, secret: Path
) -> None:
    folder = secret.parent / "inside"
    for name, content in {
        "a.mha": f"{_META}ElementDataFile = LOCAL\n".encode() + _PIXELS,
        "b.mhd": f"{_META}ElementDataFile = pixels.raw\n".encode(),
        "c.nrrd": f"{_NRRD}\n".encode() + _PIXELS,
        "d.nhdr": f"{_NRRD}data file: ./pixels.raw\n\n".encode(),
    }.items():
        outcome, reasons = status(predictor, folder / name, content)
        assert outcome == "flagged", reasons  # no DICOM header


def test_second_name_hidden_behind_a_harmless_one_is_found(secret: Path) -> None:
    path = secret.parent / "inside" / "a.mha"
    for hidden in (
        f"Comment = ElementDataFile = LOCAL\n{_META}ElementDataFile:{secret}\n",
        f"{_META}ElementDataFile = LOCAL\n" + " " * 2**21 + f"\nElementDataFile\t=\t{secret}\n",
        "ElementDataFile = LOCAL\n" * 99 + f"{_META}ElementDataFile = {secret}\n",
    ):
        path.write_text(hidden)
        with pytest.raises(InputError, match="ElementDataFile"):
            check_data_file(path)
    path = path.with_suffix(".nrrd")
    path.write_text(f"{_NRRD}#" + "x" * 2**20 + f"\nDATA FILE: {secret}\n\n")
    with pytest.raises(InputError, match="does not end within"):
        check_data_file(path)


@pytest.mark.parametrize("ending", [".gipl", ".mgh", ".vtk", ".hdr", ".mha", ".nrrd"])
def test_container_of_another_format_that_links_elsewhere_is_not_opened(secret: Path, ending: str) -> None:
    path = secret.parent / "inside" / f"a{ending}"
    itk.imwrite(itk.image_from_array(np.zeros((4, 8, 8), np.int16)), str(path.with_suffix(".h5")))
    with h5py.File(path.with_suffix(".h5"), "a") as file:
        del file["ITKImage/0/VoxelData"]
        elsewhere = [(str(secret), 0, len(_PIXELS))]
        file.create_dataset("ITKImage/0/VoxelData", (4, 8, 8), "int16", external=elsewhere)
    linked = itk.array_from_image(itk.imread(str(path.with_suffix(".h5"))))
    assert linked.min() == -1000, "ITK follows the link"
    path.with_suffix(".h5").rename(path)
    with pytest.raises(InputError):
        load_ct(path)


def test_no_program_is_started_for_a_picture_that_is_a_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(*_: object, **__: object) -> None:
        raise AssertionError("a program was started")

    monkeypatch.setattr("subprocess.check_call", start)
    monkeypatch.setattr("subprocess.Popen", start)
    path = tmp_path / "film.png"
    path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\nshowpage\n")
    with pytest.raises(InputError, match="cannot identify image file"):
        load_radiograph(path)


def _write(path: Path) -> int:
    return path.write_bytes(b"1")


def _limits() -> tuple[int, int]:
    return resource.getrlimit(resource.RLIMIT_FSIZE)[0], resource.getrlimit(resource.RLIMIT_AS)[0]


def test_decoder_writes_no_file(tmp_path: Path) -> None:
    with Decoder() as decoder:
        with pytest.raises(InputError, match="File too large"):
            decoder.run(_write, tmp_path / "written")
        written, memory = decoder.run(_limits)
    assert written == 0 and memory != resource.RLIM_INFINITY
    assert not (tmp_path / "written").exists() or not (tmp_path / "written").read_bytes()
