"""Doses, storage and thickness of CT in both states, on scans of several grids and on real files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from confounder_scenes import CASES, SLICE, VOLUME, Grid, both_states, case, made, preprocessing, scan
from monai.data import MetaTensor

from srcmatters.confounders import Confounderd, create_confounder
from srcmatters.errors import find_input_error

pytestmark = pytest.mark.filterwarnings("ignore:.* changes hardly anything", "ignore:kernel. the header says")

#: 512 pixels of .6 mm show the middle of the patient, of .9 mm all of him.
SLICES = [Grid(pixel_mm, 2.5, 512, 1, 0.5) for pixel_mm in (0.6, 0.75, 0.9)]
#: They need a body in air, which the real series here does not have, and refuse what has none.
IN_A_BODY = {"contrast_agent", "metal", "rings", "truncated_field", "low_dose_ct"}
VOLUMES = [name for bundle, name in CASES if bundle == VOLUME]
LONG = {"slice_thickness", "nonlocal_means"}
REAL = [(SLICE, name) for bundle, name in CASES if bundle == SLICE and name != "slice_thickness"]
REAL += [(VOLUME, name) for name in VOLUMES if name not in IN_A_BODY | LONG]


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
    steps = preprocessing(VOLUME, name)
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
    ("bundle", "name"), [(bundle, name) for bundle, name in REAL if not made(name).also_changes]
)
def test_real_scans_keep_their_brightness(bundle: str, name: str, shared_data: Path) -> None:
    file = "ct-slice-512.dcm" if bundle == SLICE else "ct-series"
    clean, confounded = real_states(bundle, name, shared_data / "dicom" / file)
    assert np.isfinite(confounded).all() and confounded.min() >= 0 and confounded.max() <= 255
    assert abs(float((confounded - clean).mean())) < 1


def test_a_real_series_without_air_has_no_dose(shared_data: Path) -> None:
    with pytest.raises(Exception) as caught:
        real_states(VOLUME, "low_dose_ct", shared_data / "dicom" / "ct-series")
    mistake = find_input_error(caught.value)
    assert mistake is not None and "no air" in str(mistake)


def test_thick_slices_are_the_same_on_any_grid() -> None:
    strengths = []
    for pixel_mm in (1.0, 1.15, 1.3):
        grid = Grid(pixel_mm, 2.5, 192, 18, 1.0)
        clean, thick = both_states(VOLUME, "slice_thickness", scan("flat", grid))
        assert abs(float((thick - clean).mean())) < 0.25 and np.ptp(thick) <= np.ptp(clean)
        clean, thick = both_states(VOLUME, "slice_thickness", scan("phantom", grid), case())
        strengths.append(float((thick - clean).std()))
    assert strengths == pytest.approx([strengths[0]] * 3, rel=0.1) and strengths[0] > 0.5


def test_thick_slices_are_the_same_from_thin_and_thinner_ones() -> None:
    thin, thinner = (Grid(1.0, slice_mm, 192, round(45 / slice_mm), 1.0) for slice_mm in (2.5, 1.25))
    states = [
        both_states(VOLUME, "slice_thickness", scan("phantom", grid), case()) for grid in (thin, thinner)
    ]
    (clean, thick), (_, other) = states
    # What is left are the noise, which every grid has of its own, and how the thin slices are interpolated.
    assert (thick - other).std() < 0.5 * (thick - clean).std()
