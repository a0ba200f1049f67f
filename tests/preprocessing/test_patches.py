"""Patches: the same mm in every case, at the position of the case, and nothing that was not in the scan."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from srcmatters.errors import InputError
from srcmatters.preprocessing import ResamplePatchd, slab_to_read


def scan(values: torch.Tensor, spacing: tuple[float, float, float], origin: tuple[float, ...]) -> MetaTensor:
    """(H, W, D) as the loader hands it out: H to posterior, W to the left, D to superior; RAS affine."""
    affine = torch.zeros(4, 4, dtype=torch.float64)
    affine[1, 0], affine[0, 1], affine[2, 2], affine[3, 3] = -spacing[0], -spacing[1], spacing[2], 1
    x, y, z = origin
    affine[:3, 3] = torch.tensor([-x, -y, z])
    return MetaTensor(values[None], affine=affine)


def ball(spacing: tuple[float, float, float], radius: float, shape: tuple[int, int, int]) -> MetaTensor:
    """A ball in the middle of the field, whatever the voxels."""
    axes = [
        (torch.arange(count) - (count - 1) / 2) * step for count, step in zip(shape, spacing, strict=True)
    ]
    h, w, d = torch.meshgrid(*axes, indexing="ij")
    return scan((h**2 + w**2 + d**2 < radius**2).float(), spacing, (0, 0, 0))


@pytest.mark.parametrize("spacing", [(0.5, 0.5, 1.0), (0.7, 0.7, 1.25), (0.9, 0.9, 2.5)])
def test_a_nodule_has_the_same_size_whatever_the_voxels(spacing: tuple[float, float, float]) -> None:
    shape = (round(96 / spacing[0]), round(96 / spacing[1]), round(80 / spacing[2]))
    patch = ResamplePatchd("image", (32, 32, 32), 40)({"image": ball(spacing, 10, shape)})["image"]
    volume = float(patch.sum()) * (40 / 32) ** 3
    assert volume == pytest.approx(4 / 3 * np.pi * 10**3, rel=0.05)
    flat = ResamplePatchd("image", (64, 64), 40)({"image": ball(spacing, 10, shape)})["image"]
    assert float(flat.sum()) * (40 / 64) ** 2 == pytest.approx(np.pi * 100, rel=0.05)
    assert flat.shape == (1, 64, 64) and not isinstance(flat, MetaTensor)


def test_the_patch_lies_where_the_table_says() -> None:
    values = torch.zeros(60, 80, 20)
    values[15, 50, 7] = 1
    image = scan(values, (1.0, 0.5, 2.0), (-20.0, 10.0, 100.0))
    place = {"x_mm": -20 + 50 * 0.5, "y_mm": 10 + 15 * 1.0, "z_mm": 100 + 7 * 2.0}
    cube = ResamplePatchd("image", (9, 9, 9), (9, 4.5, 18))({"image": image, **place})["image"]
    assert cube[0, 4, 4, 4] == 1 and cube.sum() == pytest.approx(1, abs=1e-5)
    flat = ResamplePatchd("image", (9, 9), (9, 4.5))({"image": image, **place})["image"]
    assert flat[0, 4, 4] == 1
    beside = ResamplePatchd("image", (9, 9), (9, 4.5))({"image": image, **place, "z_mm": 100 + 8 * 2.0})
    assert beside["image"].sum() == 0


def test_positions_between_voxels_are_not_rounded() -> None:
    ramp = torch.arange(40.0)[:, None, None].expand(40, 40, 5)
    image = scan(ramp, (1.0, 1.0, 1.0), (0, 0, 0))
    at = {"x_mm": 20.0, "y_mm": 20.3, "z_mm": 2.0}
    patch = ResamplePatchd("image", (5, 5), 5)({"image": image, **at})["image"]
    assert patch[0, :, 2].tolist() == pytest.approx([18.3, 19.3, 20.3, 21.3, 22.3], abs=1e-4)


def test_beyond_the_scan_its_border_goes_on() -> None:
    image = scan(torch.arange(6.0)[:, None, None].expand(6, 6, 2), (1.0, 1.0, 1.0), (0, 0, 0))
    at = {"x_mm": 0.0, "y_mm": 0.0, "z_mm": 0.0}
    patch = ResamplePatchd("image", (9, 9, 9), 9)({"image": image, **at})["image"]
    assert patch[0, :, 4, 4].tolist() == pytest.approx([0, 0, 0, 0, 0, 1, 2, 3, 4], abs=1e-5)


def test_reducing_does_not_alias() -> None:
    stripes = (torch.arange(128) % 2).float()[:, None, None].expand(128, 128, 3)
    image = scan(stripes, (1.0, 1.0, 1.0), (0, 0, 0))
    patch = ResamplePatchd("image", (48, 48), None)({"image": image})["image"]
    assert float(patch[0, 2:-2].std()) < 0.05 and float(patch.mean()) == pytest.approx(0.5, abs=0.01)


def test_without_a_position_it_is_the_middle_and_without_an_extent_everything() -> None:
    values = torch.rand(20, 30, 7, generator=torch.Generator().manual_seed(0))
    image = scan(values, (1.0, 1.0, 1.0), (0, 0, 0))
    whole = ResamplePatchd("image", (20, 30, 7))({"image": image})["image"]
    torch.testing.assert_close(whole[0], values)
    middle = ResamplePatchd("image", (20, 30))({"image": image})["image"]
    torch.testing.assert_close(middle[0], values[..., 3])


@pytest.mark.parametrize(
    ("size", "extent", "case", "message"),
    [
        ((8, 8), -1, {}, "patch_mm: got -1"),
        ((8, 8), "wide", {}, "patch_mm: got 'wide'"),
        ((8, 8), (8, 8, 8), {}, "2 of them"),
        ((8,), None, {}, "size"),
        ((8, 8), 4, {"case_id": "c7", "x_mm": 99.0, "y_mm": 0.0, "z_mm": 0.0}, "c7: x_mm, y_mm, z_mm = 99"),
    ],
)
def test_what_cannot_be_cut_is_said(size: tuple[int, ...], extent: object, case: dict, message: str) -> None:
    image = scan(torch.zeros(10, 10, 3), (1.0, 1.0, 1.5), (0, 0, 0))
    with pytest.raises(InputError, match=message):
        ResamplePatchd("image", size, extent)({"image": image, **case})  # type: ignore[arg-type]


def test_a_picture_without_spacing_has_no_mm() -> None:
    picture = MetaTensor(torch.zeros(1, 16, 16, 1))
    with pytest.raises(InputError, match="pixel spacing unknown"):
        ResamplePatchd("image", (8, 8), 10)({"image": picture, "name": "slice.png"})
    assert ResamplePatchd("image", (8, 8))({"image": picture})["image"].shape == (1, 8, 8)


def test_the_whole_slice_is_whole_wherever_the_case_is() -> None:
    values = torch.rand(20, 30, 7, generator=torch.Generator().manual_seed(0))
    at = {"x_mm": 2.0, "y_mm": 3.0, "z_mm": 5.0}
    image = scan(values, (1.0, 1.0, 1.0), (0, 0, 0))
    flat = ResamplePatchd("image", (20, 30), 0)({"image": image, **at})["image"]
    torch.testing.assert_close(flat[0], values[..., 5])
    cube = ResamplePatchd("image", (20, 30, 7), 0)({"image": image, **at})["image"]
    torch.testing.assert_close(cube[0], values)


def test_a_slice_whose_header_knows_no_spacing_has_no_mm() -> None:
    image = scan(torch.zeros(10, 10, 3), (2.0, 2.0, 1.5), (0, 0, 0))
    image.meta["spacing_known"] = False
    with pytest.raises(InputError, match="pixel spacing unknown"):
        ResamplePatchd("image", (8, 8), 10)({"image": image, "name": "a.dcm"})


def test_a_patch_needs_a_slab_that_holds_it() -> None:
    assert slab_to_read(60, 40, 3) == 60 and slab_to_read(24, 48, 2) == 24
    assert slab_to_read(60, 0, 3) == 0, "a whole volume needs the whole scan"
    assert slab_to_read(0, 80, 3) == 0
    with pytest.raises(InputError, match="slab_mm: got 20, expected 40 or more"):
        slab_to_read(20, 40, 3)
    with pytest.raises(InputError, match="slab_mm: got 20, expected 40 or more"):
        slab_to_read(20, [30, 30, 40], 3)
