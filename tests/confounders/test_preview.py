"""The commands: what a person who has one image gets to see."""

from __future__ import annotations

import inspect
import re
from html.parser import HTMLParser
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from srcmatters.cohorts.phantom_cohort import write_phantom_cohort
from srcmatters.confounders import Confounder, known_confounders
from srcmatters.confounders.commands import confounders
from srcmatters.confounders.described_parameters import parameter_descriptions, summary
from srcmatters.confounders.preview_image import read_image
from srcmatters.errors import InputError
from srcmatters.images import load_ct, load_radiograph


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(confounders, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


@pytest.fixture
def radiograph(tmp_path: Path) -> Path:
    array = np.clip(
        np.linspace(20, 220, 96)[:, None] + np.random.default_rng(0).normal(0, 5, (96, 96)), 0, 255
    )
    path = tmp_path / "chest.png"
    Image.fromarray(array.astype(np.uint8)).save(path)
    return path


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    array = np.full((40, 44, 24), -1000, dtype=np.int16)  # x to the right, y to the front, z up
    array[8:32, 8:36] = 40
    array[8:14, 8:36] = 300  # the patient's left
    array = array + np.random.default_rng(0).normal(0, 20, array.shape).astype(np.int16)
    path = tmp_path / "ct.nii.gz"
    affine = np.diag([-2.0, 2.0, 1.5, 1.0])  # stored from right to left
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return path


def write_dicom(path: Path, photometric: str, spacing: tuple[float, float] = (0.2, 0.3)) -> None:
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
    dataset.Modality, dataset.PhotometricInterpretation = "DX", photometric
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = 32, 48, 1
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.ImagerPixelSpacing = list(spacing)
    dataset.PixelData = np.tile(np.linspace(0, 4095, 48).astype(np.uint16), (32, 1)).tobytes()
    dataset.save_as(path, enforce_file_format=True)


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.images: list[dict[str, str | None]] = []
        self.articles: list[str | None] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.images.append(dict(attrs))
        if tag == "article":
            self.articles.append(dict(attrs)["id"])
        if tag not in ("img", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_list_names_every_confounder_with_its_place_and_source() -> None:
    code, output = run("list")
    assert code == 0
    for name, cls in known_confounders().items():
        assert name in output
        assert cls.source.split()[0] in output
    assert "2D/3D" in output and "environment" in output


def test_page_shows_what_fits_and_says_what_does_not(radiograph: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    code, output = run("preview", radiograph, "--out", out)
    assert code == 0, output
    text = out.read_text()
    page = Page()
    page.feed(text)
    assert page.open == [] or page.open == ["html"]
    fitting = {name for name, cls in known_confounders().items() if "radiograph" in cls.modalities}
    assert set(page.articles) == {name for name in fitting if 2 in known_confounders()[name].spatial_dims}
    assert {"tag", "tube", "noise", "denoise", "site_look", "portable"} <= fitting
    assert len(page.images) == 3 * len(page.articles)
    assert all(
        image["alt"] and str(image["src"]).startswith("data:image/png;base64,") for image in page.images
    )
    for left_out in ("low_dose_ct", "kernel", "slice_thickness"):
        assert f"<b>{left_out}</b>: for CT, the image is a radiograph" in text
    assert "kernel, slice_thickness (for CT, the image is a radiograph)" in output
    assert "Put a laterality marker of lead into the beam." in text
    assert "height of a capital in mm" in text
    assert not re.search(r"https?://|<script|<link", text)  # nothing is requested from anywhere
    assert 'name="viewport"' in text


@pytest.mark.parametrize("cls", known_confounders().values(), ids=lambda cls: cls.name)
def test_what_a_confounder_is_and_every_parameter_are_described(cls: type[Confounder]) -> None:
    assert summary(cls).endswith(".")
    described = parameter_descriptions(cls)
    for name in inspect.signature(cls).parameters:
        assert described[name], name
        assert ":meth:" not in described[name] and "``" not in described[name]


def test_picture_of_a_volume_shows_the_ct_confounders(volume: Path, tmp_path: Path) -> None:
    out = tmp_path / "ct.png"
    code, output = run(
        "preview", volume, "--out", out, "--confounder", "kernel", "--confounder", "slice_thickness"
    )
    assert code == 0, output
    assert Image.open(out).size[0] == 1040


def test_a_confounder_asked_for_that_does_not_fit_is_one_line(radiograph: Path, tmp_path: Path) -> None:
    code, output = run("preview", radiograph, "--out", tmp_path / "a.html", "--confounder", "slice_thickness")
    assert code == 1 and "slice_thickness" in output and output.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.png", None, "no such file"),
        ("broken.png", b"no picture", "not a readable radiograph"),
        ("broken.nii.gz", b"no volume", "not a readable CT"),
        ("broken.dcm", b"no image", "not a readable radiograph"),
    ],
)
def test_unreadable_files_are_one_line_with_their_name(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    code, output = run("preview", tmp_path / name, "--out", tmp_path / "a.html")
    assert code == 1 and message in output and name in output and output.count("\n") == 1


def test_output_that_cannot_be_written_is_one_line(radiograph: Path, tmp_path: Path) -> None:
    for out, message in (
        (tmp_path / "a.pdf", ".html or .png"),
        (tmp_path / "no" / "a.html", "does not exist"),
    ):
        code, output = run("preview", radiograph, "--out", out)
        assert code == 1 and message in output and output.count("\n") == 1


def test_monochrome1_is_inverted_and_the_spacing_is_read(tmp_path: Path) -> None:
    for photometric, brighter_right in (("MONOCHROME2", True), ("MONOCHROME1", False)):
        path = tmp_path / f"{photometric}.dcm"
        write_dicom(path, photometric)
        image = read_image(path)
        assert image.values.shape == (1, 32, 48) and image.modality == "radiograph"
        assert (image.values[0, 0, -1] > image.values[0, 0, 0]) == brighter_right
        assert image.spacing_mm == (0.2, 0.3)
    write_dicom(path, "MONOCHROME2", (0.0, 0.0))
    assert read_image(path).spacing_mm is None


def test_nifti_is_shown_with_the_patients_right_on_the_left(volume: Path) -> None:
    image = read_image(volume)
    assert image.hounsfield and image.spacing_mm == (2.0, 2.0, 1.5) and image.values.shape == (1, 44, 40, 24)
    # Stored along -x: the first voxels are the patient's right, here the dense side.
    columns = image.values[0, 22, :, 12]
    assert columns[8:14].mean() > 200 > 100 > columns[26:32].mean()


def test_sixteen_bit_pictures_keep_their_depth(tmp_path: Path) -> None:
    array = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 16
    Image.fromarray(array).save(tmp_path / "deep.png")
    assert len(np.unique(read_image(tmp_path / "deep.png").values)) == 64 * 64
    with pytest.raises(InputError, match="no such file"):
        read_image(tmp_path / "other.png")


@pytest.mark.parametrize("name", ["minisblack16.tif", "a.mha"])
def test_real_files_are_read_as_training_reads_them(shared_data: Path, name: str) -> None:
    path = shared_data / "faults" / "16-preview-has-its-own-reader" / name
    loaded = load_radiograph(path) if name.endswith(".tif") else load_ct(path)
    assert torch.equal(read_image(path).values, loaded.as_tensor())


def test_a_folder_of_one_series_is_read_as_training_reads_it(tmp_path: Path) -> None:
    write_phantom_cohort(tmp_path / "ct", 1, modality="ct", file_format="dicom", slab_mm=12.0)
    series = next(path for path in (tmp_path / "ct" / "images").iterdir() if path.is_dir())
    image = read_image(series)
    assert image.hounsfield and torch.equal(image.values, load_ct(series).as_tensor())
