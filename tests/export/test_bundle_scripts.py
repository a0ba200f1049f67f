"""The modules that a bundle carries: they show and cut images as this package's loaders do, without it."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, EnsureChannelFirstd, EnsureTyped, LoadImaged, Orientationd
from PIL import Image
from prediction_cases import write_radiographs, write_series
from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import JPEGLSLossless

from srcmatters.export.bundle_scripts import ct, radiographs
from srcmatters.images import load_ct, load_radiograph
from srcmatters.preprocessing.patches import ResamplePatchd


@pytest.mark.parametrize("module", [ct, radiographs])
def test_a_module_imports_nothing_of_this_package(module: object) -> None:
    tree = ast.parse(Path(module.__file__).read_text())  # type: ignore[attr-defined]
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = [getattr(node, "module", None) or node.names[0].name for node in imports]
    assert len(names) > 4 and not [name for name in names if name.startswith("srcmatters")]


def _same(path: Path) -> None:
    shown = radiographs.LoadRadiographd("image")({"image": str(path)})["image"]
    expected = load_radiograph(path).as_tensor()[0].numpy()
    assert shown.dtype == np.float32 and shown.shape == expected.shape
    np.testing.assert_allclose(shown, expected, atol=2e-6)
    assert shown.std() > 1e-3


@pytest.mark.parametrize("name", ["cr-jpeg", "cr-monochrome1-jpeg2000", "dx-monochrome1"])
def test_real_radiographs_are_shown_as_by_our_loader(shared_data: Path, name: str) -> None:
    _same(shared_data / "dicom" / f"chest-{name}.dcm")


def _deep(header: Dataset, signed: bool = False) -> None:
    """12 of 16 bits, without a window."""
    del header.WindowCenter, header.WindowWidth
    values = header.pixel_array.astype(np.int32) * 9 + 100 - 2048 * signed
    header.BitsAllocated, header.BitsStored, header.HighBit = 16, 12, 11
    header.PixelRepresentation = int(signed)
    header.PixelData = values.astype(np.int16 if signed else np.uint16).tobytes()


def _padded(header: Dataset) -> None:
    _deep(header)
    values = header.pixel_array.copy()
    values[:5] = 4000  # brighter than everything else
    header.PixelData = values.tobytes()
    header.add_new("PixelPaddingValue", "US", 3990)
    header.add_new("PixelPaddingRangeLimit", "US", 4010)


def _rescaled(header: Dataset) -> None:
    _deep(header, signed=True)
    header.RescaleSlope, header.RescaleIntercept, header.RescaleType = -2, 100, "US"
    header.WindowCenter, header.WindowWidth = 400, 3000


def _with_table(header: Dataset) -> None:
    table = Dataset()
    table.LUTDescriptor, table.ModalityLUTType = [256, 0, 12], "US"
    table.add_new("LUTData", "US", [int(16 * 255 * (value / 255) ** 2) for value in range(256)])
    header.VOILUTSequence = Sequence([table])
    header.VOILUTSequence[0].LUTDescriptor = [256, 0, 12]
    del header.WindowCenter, header.WindowWidth


def _inverted(header: Dataset) -> None:
    header.PhotometricInterpretation = "MONOCHROME1"


def _packed(header: Dataset) -> None:
    header.compress(JPEGLSLossless)


@pytest.mark.parametrize(
    "change", [_inverted, _packed, _deep, _padded, _rescaled, _with_table], ids=lambda change: change.__name__
)
def test_headers_are_understood_as_by_our_loader(tmp_path: Path, change: Callable[[Dataset], None]) -> None:
    path = write_radiographs(tmp_path / "films", 1)[0]
    header = pydicom.dcmread(path)
    change(header)
    header.save_as(path)
    _same(path)


def test_padding_is_black_and_does_not_set_the_scale(tmp_path: Path) -> None:
    path = write_radiographs(tmp_path / "films", 1)[0]
    header = pydicom.dcmread(path)
    _padded(header)
    shown = radiographs.displayed(header)
    assert (shown[:5] == 0).all() and shown[5:].max() == 1


@pytest.mark.parametrize(("mode", "dtype"), [("8", np.uint8), ("16", np.uint16), ("colour", np.uint8)])
def test_pictures_are_read_as_by_our_loader(tmp_path: Path, mode: str, dtype: type) -> None:
    values = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (20, 30)).astype(dtype)
    picture = np.stack([values, values // 2, values], -1) if mode == "colour" else values
    Image.fromarray(picture).save(tmp_path / "a.png")
    _same(tmp_path / "a.png")
    image = str(tmp_path / "a.png")
    assert radiographs.find_radiographs(tmp_path) == [{"image": image, "name": image}]


_READERS = ["ITKReader", "PydicomReader", "NibabelReader"]  # as the configuration names them
_LOADING = Compose(
    [
        LoadImaged("image", image_only=True, ensure_channel_first=False, reader=_READERS),
        EnsureChannelFirstd("image", channel_dim="no_channel"),
        EnsureTyped("image", dtype=torch.float32),
        Orientationd("image", axcodes="PLS", labels=(("L", "R"), ("P", "A"), ("I", "S"))),
    ]
)


def _cuts_alike(path: Path, dims: int, patch_mm: float, place: list[float]) -> None:
    cut = ct.ResampleBoxd("image", image_size=24, spatial_dims=dims, patch_mm=patch_mm)
    theirs = cut({**_LOADING({"image": str(path)}), "place": place})
    assert set(theirs) == {"image"}
    item = {"image": load_ct(path), "name": "scan"}
    item |= dict(zip(ct.PLACES, place, strict=True)) if place else {}
    ours = ResamplePatchd("image", [24] * dims, patch_mm or None)(item)["image"]
    assert theirs["image"].shape == (1, *[24] * dims)
    np.testing.assert_allclose(theirs["image"], ours, atol=0.02)  # HU
    assert float(theirs["image"].std()) > 1


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(("patch_mm", "moved"), [(0, False), (60, False), (60, True), (500, True)])
def test_real_ct_is_cut_as_by_our_patches(shared_data: Path, dims: int, patch_mm: float, moved: bool) -> None:
    series = shared_data / "dicom" / "ct-series"
    _cuts_alike(series, dims, patch_mm, _place(series) if moved else [])


@pytest.mark.parametrize("dims", [2, 3])
def test_ct_is_cut_as_by_our_patches(tmp_path: Path, dims: int) -> None:
    series = write_series(tmp_path / "series")[0].parent
    for patch_mm in (0, 15, 200):
        _cuts_alike(series, dims, patch_mm, _place(series) if patch_mm else [])


def _place(series: Path) -> list[float]:
    """LPS in mm, away from the middle of a series and from its voxels."""
    image = load_ct(series)
    voxel = [0.4 * length + 0.3 for length in image.shape[1:]]
    x, y, z, _ = np.asarray(image.affine) @ [*voxel, 1.0]
    return [-float(x), -float(y), float(z)]


def test_grey_values_are_scaled_and_hu_refused() -> None:
    scale = ct.ScaleGreyd("image")
    grey, unit = MetaTensor(torch.tensor([[0.0, 255.0]])), MetaTensor(torch.tensor([[0.0, 0.5]]))
    assert scale({"image": grey})["image"].tolist() == [[0.0, 1.0]]
    assert scale({"image": unit})["image"].tolist() == [[0.0, 0.5]]
    with pytest.raises(ValueError, match=r"values from -1000 to 40, expected 8-bit grey values, not HU"):
        scale({"image": MetaTensor(torch.tensor([[-1000.0, 40.0]]))})


def test_candidates_and_scans_are_found(tmp_path: Path) -> None:
    series = write_series(tmp_path / "a" / "series")[0].parent
    (tmp_path / "b.nii.gz").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("no image")
    scans = ct.find_scans(tmp_path)
    assert [item["image"] for item in scans] == [str(series), str(tmp_path / "b.nii.gz")]
    assert all(item["place"] == [] for item in scans)
    (tmp_path / "cases.csv").write_text("image,x_mm,y_mm,z_mm\nb.nii.gz,1,-2.5,3\n")
    (candidate,) = ct.find_scans(tmp_path, "cases.csv")
    assert candidate["place"] == [1.0, -2.5, 3.0] and candidate["name"] == "b.nii.gz 1 -2.5 3"
