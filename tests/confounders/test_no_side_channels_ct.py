"""On CT a confounder tells its state by what it is meant to change and by nothing else, on any pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import Compose
from scipy import ndimage

from srcmatters.confounders import Confounderd, create_confounder, known_confounders
from srcmatters.errors import find_input_error
from srcmatters.phantom import draw_patient, voxel_axes
from srcmatters.phantom.computed_tomography import noiseless_volume, slab_slices
from srcmatters.preprocessing import confounder_place

pytestmark = pytest.mark.filterwarnings("ignore:.* changes nothing", "ignore:kernel. the header says")

CONFIGS = Path(__file__).parents[2] / "bundles"
DIMS = {"ct_slice_classification": 2, "ct_volume_classification": 3}
NOISE_HU, KERNEL_MM = 12.0, 0.6  # of every scan, whatever its pixels: standard deviation, of a Gaussian
FLAT_HU = 0.0
#: What the display shows is what these change; they go through the tone of a picture or cover a part of it.
BRIGHTNESS = {"tag", "picture", "calipers", "contrast_agent", "letterbox", "exposure", "site_look", "compose"}
#: They work on pixels of the scan at hand, whatever their size: physics says that strength depends on it.
BY_PIXEL = {"jpeg", "nonlocal_means"}
#: They need a body in air, which flat fields and the real series here do not have, and refuse what has none.
IN_A_BODY = {"contrast_agent", "metal", "rings", "truncated_field"}
#: What lies outside of the field of view is what it changes.
AT_THE_BORDER = {"truncated_field"}


@dataclass(frozen=True)
class Grid:
    """How a scan is reconstructed; the field of view follows from pixels and spacing.

    Args:
        pixel_mm, slice_mm: spacing.
        pixels, slices: of the part that is read.
        fine_mm: of the grid that it is sampled from.
    """

    pixel_mm: float
    slice_mm: float
    pixels: int
    slices: int
    fine_mm: float


#: 512 pixels of .6 mm show the middle of the patient, of .9 mm all of him.
SLICES = [Grid(pixel_mm, 2.5, 512, 1, 0.5) for pixel_mm in (0.6, 0.75, 0.9)]
COARSE = [Grid(pixel_mm, 5.0, 224, 9, 1.0) for pixel_mm in (0.9, 1.05, 1.2)]
THIN = [Grid(pixel_mm, 2.5, 512, 20, 0.7) for pixel_mm in (0.75, 0.85, 0.95)]
GRIDS = {"ct_slice_classification": SLICES, "ct_volume_classification": COARSE}


def takes(bundle: str, name: str) -> bool:
    """Whether a bundle takes the confounder: put on by hand: on its patch; a scanner's: on volumes."""
    confounder = create_confounder(name)
    assert confounder is not None
    on_patch = confounder_place(confounder) == "patch"
    return "CT" in confounder.modalities and (DIMS[bundle] if on_patch else 3) in confounder.spatial_dims


CASES = [(bundle, name) for bundle in DIMS for name in sorted(known_confounders()) if takes(bundle, name)]
#: A slice has no thickness to change; the rest of the volumes takes minutes.
CHEAP = [
    (bundle, name)
    for bundle, name in CASES
    if name != "slice_thickness" and (DIMS[bundle] == 2 or name not in ("low_dose_ct", "nonlocal_means"))
]
FLAT = [(bundle, name) for bundle, name in CHEAP if name not in IN_A_BODY]
VOLUMES = [name for bundle, name in CASES if DIMS[bundle] == 3]


@cache
def preprocessing(bundle: str, name: str, whole: bool = False) -> Compose:
    """The transforms that train.yaml of a bundle composes; ``whole``: for all of the scan, not a patch."""
    parser = ConfigParser()
    parser.read_config(str(CONFIGS / bundle / "configs" / "train.yaml"))
    parser["confounder_def"] = create_confounder(name)
    if whole:
        parser["patch_mm"] = 0
    steps = parser.get_parsed_content("preprocessing")
    assert isinstance(steps, Compose)
    assert sum(isinstance(step, Confounderd) for step in steps.transforms) == 1
    return steps


def case() -> dict[str, float]:
    """Position of the nodule of the phantom, LPS."""
    nodule = draw_patient(1, 0, 0.5, label=1).nodule
    assert nodule is not None
    return dict(zip(("x_mm", "y_mm", "z_mm"), map(float, nodule.centre_mm), strict=True))


@cache
def fine_scan(kind: str, fine_mm: float, slice_mm: float, slices: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """What the scanner saw on a fine grid (H, W, D), with the sharpness and the noise of its kernel; y, x, z.

    "flat" and "ramp" are a cylinder of 300 mm in air, "phantom" is a chest.
    """
    step = (fine_mm, fine_mm, slice_mm)
    x, y, z = voxel_axes(step)
    around = slab_slices(case()["z_mm"], slices * slice_mm, step)
    if kind == "phantom":
        padded = slice(around.start - 1, around.stop + 1)  # point masses reach into the next slice
        seen = noiseless_volume(draw_patient(1, 0, 0.5, label=1), step, padded)[:, :, 1:-1]
    else:
        rows, columns = np.meshgrid(y - y.mean(), x, indexing="ij")
        inside = FLAT_HU + (columns * 2 - 400 if kind == "ramp" else 0 * columns)
        plane = np.where(np.hypot(rows, columns) < 145, inside, -1000.0)
        seen = np.repeat(plane[:, :, None], slices, axis=2)
    sigma = (KERNEL_MM / fine_mm, KERNEL_MM / fine_mm, 0)
    grain = ndimage.gaussian_filter(np.random.default_rng(5).standard_normal(seen.shape), sigma)
    blurred = ndimage.gaussian_filter(seen, sigma, mode="nearest")
    return blurred + grain * (NOISE_HU / grain.std()), [y, x, z[around]]


@cache
def scan(kind: str, grid: Grid) -> MetaTensor:
    """One and the same scan on a grid of its own: whole HU, around the middle of the patient."""
    fine, (y, x, z) = fine_scan(kind, grid.fine_mm, grid.slice_mm, grid.slices)
    offset = (np.arange(grid.pixels) - (grid.pixels - 1) / 2) * grid.pixel_mm
    rows, columns = offset + y.mean(), offset + x.mean()
    places = np.meshgrid((rows - y[0]) / grid.fine_mm, (columns - x[0]) / grid.fine_mm, indexing="ij")
    planes = [
        ndimage.map_coordinates(plane, places, order=3, mode="constant", cval=-1000)
        for plane in np.moveaxis(fine, -1, 0)
    ]
    hu = np.rint(np.clip(np.stack(planes, axis=-1), -1024, 3071)).astype(np.float32)
    affine = torch.zeros(4, 4, dtype=torch.float64)
    affine[1, 0] = affine[0, 1] = -grid.pixel_mm
    affine[2, 2], affine[3, 3] = grid.slice_mm, 1
    affine[:3, 3] = torch.tensor([-columns[0], -rows[0], float(z[0])])
    meta = {"spacing_known": True, "unit": "HU", "acquisition": {}, "filename_or_obj": "a.nii.gz"}
    return MetaTensor(torch.from_numpy(hu)[None], affine=affine, meta=meta)


def both_states(
    bundle: str, name: str, image: MetaTensor, place: dict[str, float], whole: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """What the network sees, after everything that follows the loader; grey levels of 255."""
    steps = preprocessing(bundle, name, whole)
    clean, confounded = (
        255
        * steps({"image": image, "case_id": "a", "carries": carries, **place}, start=1)["image"][0].numpy()
        for carries in (False, True)
    )
    return clean, confounded


def rim(values: np.ndarray, width: int) -> np.ndarray:
    """Mask of the border in the plane."""
    mask = np.ones_like(values, dtype=bool)
    mask[width:-width, width:-width] = False
    return mask


def whole_levels(values: np.ndarray) -> float:
    """Share of the values that are whole grey levels."""
    return float((np.abs(values - np.round(values)) < 1e-3).mean())


def check_flat_field(bundle: str, name: str, grids: Sequence[Grid]) -> None:
    """Range, mean, border and rounding of a flat field of water with noise."""
    for grid in grids:
        clean, confounded = both_states(bundle, name, scan("flat", grid), {})
        assert np.isfinite(confounded).all() and confounded.min() >= 0 and confounded.max() <= 255
        if name in BRIGHTNESS:
            continue
        change = confounded - clean
        # The mean of a block of a JPEG is rounded to a step of its table: on a flat field all blocks alike.
        assert abs(change.mean()) < (0.6 if name == "jpeg" else 0.25), grid
        border = rim(change, clean.shape[0] // 8)
        assert abs((change - change.mean())[border].mean()) < 0.3, grid
        assert change[border].std() == pytest.approx(change[~border].std(), rel=0.3), grid
        if name != "jpeg":  # 8 bit is what it makes
            assert whole_levels(confounded) == pytest.approx(whole_levels(clean), abs=0.01), grid


def check_strength(bundle: str, name: str, grids: Sequence[Grid]) -> None:
    """Within 10 % whatever the pixel and the field of view, on a chest."""
    states = [both_states(bundle, name, scan("phantom", grid), case()) for grid in grids]
    strengths = [float((confounded - clean).std()) for clean, confounded in states]
    # What a kernel or the noise changes is fine, and the patch is interpolated between the pixels: of .3 line
    # pairs per mm .90 is left on pixels of .6 mm, and .78 on those of .9 mm, in both states.
    # Cells are counted from the corner of the picture: where they cut the nodule depends on the field.
    loose = name == "pixelation" or (name in ("kernel", "low_dose_ct") and DIMS[bundle] == 2)
    assert strengths[0] > 0.5
    assert strengths == pytest.approx([strengths[0]] * len(strengths), rel=0.2 if loose else 0.1)


@pytest.mark.parametrize(("bundle", "name"), FLAT)
def test_range_brightness_border_and_rounding_do_not_tell_the_state(bundle: str, name: str) -> None:
    check_flat_field(bundle, name, GRIDS[bundle])


@pytest.mark.parametrize(("bundle", "name"), [(b, n) for b, n in FLAT if n not in BY_PIXEL])
def test_strength_does_not_depend_on_pixels_and_field_of_view(bundle: str, name: str) -> None:
    check_strength(bundle, name, GRIDS[bundle])


@pytest.mark.parametrize(
    "name", [n for b, n in CHEAP if DIMS[b] == 2 and n not in BRIGHTNESS | AT_THE_BORDER]
)
def test_a_whole_chest_keeps_its_brightness_and_its_border(name: str) -> None:
    for grid in SLICES:
        clean, confounded = both_states("ct_slice_classification", name, scan("phantom", grid), case(), True)
        change = confounded - clean
        # Blurred bone runs less into the white of the window; JPEG rounds the mean of a block of air.
        assert abs(float(change.mean())) < (1 if name == "jpeg" else 0.5), grid
        assert abs(float((change - change.mean())[rim(change, 6)].mean())) < (1 if name == "jpeg" else 0.4)


def test_noise_is_that_of_the_dose_on_any_field_of_view() -> None:
    confounder = create_confounder("low_dose_ct", dose_factor=0.25)
    for grid in SLICES:
        image = scan("phantom", grid)
        change = (confounder(image, "a") - image).as_tensor()
        record = confounder.records[-1]
        assert record.added_hu == pytest.approx(3**0.5 * record.own_hu, rel=0.05), grid
        assert abs(float(change[image.as_tensor() > -900].mean())) < 0.5, grid


def padded(grid: Grid) -> tuple[MetaTensor, torch.Tensor]:
    """A scan whose corners were not reconstructed, and where (C, H, W, D)."""
    image = scan("phantom", grid).clone()
    offset = np.arange(grid.pixels) - (grid.pixels - 1) / 2
    corners = torch.from_numpy(np.hypot(offset[:, None], offset[None]) > grid.pixels / 2)
    image[:, corners] = -1024
    return image, corners[None, :, :, None].expand(image.shape)


@pytest.mark.parametrize("name", VOLUMES)
def test_metadata_and_storage_do_not_tell_the_state(name: str) -> None:
    steps = preprocessing("ct_volume_classification", name)
    put = next(step for step in steps.transforms if isinstance(step, Confounderd))
    image, outside = padded(Grid(1.5, 5.0, 192, 3, 1.5))
    on_scan = put.window_hu is not None or put.confounder.unit != "display value in [0, 1]"
    seen = image if on_scan else (image + 1350).clamp(0, 1500) / 1500
    clean, confounded = (
        put({"image": seen.clone(), "case_id": "a", "carries": carries})["image"] for carries in (False, True)
    )
    assert isinstance(confounded, MetaTensor) and isinstance(clean, MetaTensor)
    assert not torch.equal(clean, confounded) or name == "slice_thickness"  # of 5 mm already
    assert confounded.dtype == clean.dtype and confounded.shape == clean.shape
    assert torch.equal(confounded.affine, clean.affine)
    values = {key: value for key, value in confounded.meta.items() if key != "affine"}
    assert values == {key: value for key, value in clean.meta.items() if key != "affine"}
    assert confounded.applied_operations == clean.applied_operations
    if put.confounder.unit != "display value in [0, 1]":
        assert torch.equal(confounded, confounded.round()) and confounded.min() >= -1024
        assert torch.equal(confounded[outside], clean[outside])


def real_states(bundle: str, name: str, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """All of a real scan, from its files."""
    steps = preprocessing(bundle, name, whole=True)
    clean, confounded = (
        255 * steps({"image": str(path), "case_id": "a", "carries": carries})["image"][0].numpy()
        for carries in (False, True)
    )
    return clean, confounded


@pytest.mark.parametrize(
    ("bundle", "name"),
    [
        (bundle, name)
        for bundle, name in CHEAP
        if name not in BRIGHTNESS | AT_THE_BORDER and (DIMS[bundle] == 2 or name not in IN_A_BODY)
    ],
)
def test_real_scans_keep_their_brightness(bundle: str, name: str, shared_data: Path) -> None:
    file = "ct-slice-512.dcm" if DIMS[bundle] == 2 else "ct-series"
    clean, confounded = real_states(bundle, name, shared_data / "dicom" / file)
    assert np.isfinite(confounded).all() and confounded.min() >= 0 and confounded.max() <= 255
    assert abs(float((confounded - clean).mean())) < 1


def test_a_real_series_without_air_has_no_dose(shared_data: Path) -> None:
    with pytest.raises(Exception) as caught:
        real_states("ct_volume_classification", "low_dose_ct", shared_data / "dicom" / "ct-series")
    mistake = find_input_error(caught.value)
    assert mistake is not None and "no air" in str(mistake)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in VOLUMES if name not in IN_A_BODY | {"slice_thickness"}])
def test_volumes_of_512_pixels_do_not_tell_the_state(name: str) -> None:
    check_flat_field("ct_volume_classification", name, THIN)
    if name not in BY_PIXEL:
        check_strength("ct_volume_classification", name, THIN)


def test_thick_slices_are_the_same_on_any_grid() -> None:
    grids = [Grid(pixel_mm, 2.5, 192, 18, 1.0) for pixel_mm in (1.0, 1.15, 1.3)]
    check_flat_field("ct_volume_classification", "slice_thickness", grids)
    check_strength("ct_volume_classification", "slice_thickness", grids)


def test_thick_slices_are_the_same_from_thin_and_thinner_ones() -> None:
    thin, thinner = (Grid(1.0, slice_mm, 192, round(45 / slice_mm), 1.0) for slice_mm in (2.5, 1.25))
    states = [
        both_states("ct_volume_classification", "slice_thickness", scan("phantom", grid), case())
        for grid in (thin, thinner)
    ]
    (clean, thick), (_, other) = states
    # What is left are the noise, which every grid has of its own, and how the thin slices are interpolated.
    assert (thick - other).std() < 0.5 * (thick - clean).std()
