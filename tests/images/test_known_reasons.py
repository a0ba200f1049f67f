"""Files that decoders say nothing useful of are named for what they are, by every loader."""

from __future__ import annotations

import gzip
from io import BytesIO
from pathlib import Path

import nibabel
import numpy as np
import pytest
from ct_files import volume, write_series
from PIL import Image
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from radiograph_files import write_dicom

from srcmatters.deployment.prediction.inputs import gather
from srcmatters.deployment.prediction.sandboxed_decoder import Decoder
from srcmatters.errors import InputError
from srcmatters.images import load_ct, load_radiograph
from srcmatters.images.reading import starts_without_preamble

_GREY = np.arange(4096, dtype=np.uint8).reshape(64, 64)


def _bare(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[132:])
    return path


@pytest.mark.parametrize("name", ["film.dcm", "film"])
def test_dicom_without_its_preamble_is_named(tmp_path: Path, name: str) -> None:
    film = _bare(write_dicom(tmp_path / "film.dcm", _GREY)).rename(tmp_path / name)
    with pytest.raises(InputError, match=r"film.*DICOM without its preamble .* `dcmconv IN OUT` writes one"):
        load_radiograph(film)
    (tmp_path / "scratch").mkdir()
    with Decoder() as decoder:
        (item,) = gather([film], decoder, tmp_path / "scratch").items
    assert item.refusal == "not a readable DICOM file (no DICM after the preamble)"


def test_slices_without_their_preambles_are_counted(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "scan", volume())
    files = [_bare(path) for path in folder.iterdir()]
    with pytest.raises(InputError, match=f"but {len(files)} files of DICOM without preamble"):
        load_ct(folder)


def test_a_jpeg_of_12_bits_is_named(tmp_path: Path) -> None:
    encoded = BytesIO()
    Image.fromarray(_GREY).save(encoded, "JPEG")
    content = bytearray(encoded.getvalue())
    content[content.index(b"\xff\xc0") + 4] = 12
    (tmp_path / "film.jpg").write_bytes(bytes(content))
    with pytest.raises(InputError, match=r"film.jpg: .*a JPEG of 12 bits, expected one of 8 bits"):
        load_radiograph(tmp_path / "film.jpg")


def test_compressed_files_and_webp_are_named(tmp_path: Path) -> None:
    film = write_dicom(tmp_path / "film.dcm", _GREY)
    film.write_bytes(gzip.compress(film.read_bytes()))
    Image.fromarray(_GREY).convert("RGB").save(tmp_path / "film.webp")
    (tmp_path / "film.webp").rename(tmp_path / "film.png")
    with pytest.raises(InputError, match=r"film.dcm: .*compressed by gzip, expected it decompressed"):
        load_radiograph(film)
    with pytest.raises(InputError, match=r"film.png: .*a WebP picture, expected PNG, JPEG, TIFF"):
        load_radiograph(tmp_path / "film.png")


def test_a_localizer_alone_is_no_ct(tmp_path: Path) -> None:
    path = next(iter(sorted(write_series(tmp_path / "scan", volume()).iterdir())))
    dataset = dcmread(path)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    dataset.save_as(path)
    with pytest.raises(InputError, match="ImageType is LOCALIZER, expected a slice or volume of CT"):
        load_ct(path)


def test_colours_in_nifti_are_no_grey_values(tmp_path: Path) -> None:
    pixels = np.zeros((8, 8), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.save(nibabel.Nifti1Image(pixels, np.eye(4)), tmp_path / "film.nii")
    with pytest.raises(InputError, match=r"film.nii: pixels of type .*, expected real numbers"):
        load_radiograph(tmp_path / "film.nii")


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_bare_elements_are_told_from_other_formats(syntax: str) -> None:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3"
    written = BytesIO()
    implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    dcmwrite(written, dataset, implicit_vr=implicit, little_endian=little)
    assert starts_without_preamble(written.getvalue()[:8])
    for kind in ("PNG", "JPEG", "TIFF", "BMP"):
        other = BytesIO()
        Image.fromarray(_GREY).save(other, kind)
        assert not starts_without_preamble(other.getvalue()[:8]), kind
    for head in (
        b"",
        b"\0" * 8,
        b"NRRD0004",
        b"ObjectTy",
        b"\x5c\x01\0\0\0\0\0\0",
        b"\x1f\x8b\x08\0\0\0\0\0",
    ):
        assert not starts_without_preamble(head)
