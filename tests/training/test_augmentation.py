"""Batched augmentation: what an affine transformation must and must not do."""

import pytest
import torch

from srcmatters.training import BatchedRandomAffine


def blob(row: int, column: int, size: int = 65) -> torch.Tensor:
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    return torch.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 18.0)[None, None]


def centre(image: torch.Tensor) -> torch.Tensor:
    plane = image[0, 0]
    rows, columns = torch.meshgrid(*[torch.arange(length).float() for length in plane.shape], indexing="ij")
    return torch.stack([(rows * plane).sum(), (columns * plane).sum()]) / plane.sum()


def test_all_ranges_zero_change_nothing() -> None:
    images = torch.rand(3, 1, 16, 16)
    assert torch.equal(BatchedRandomAffine(0, 0, 0, 0)(images), images)


def test_the_seed_decides_and_every_image_has_its_own_draw() -> None:
    images = blob(20, 40).expand(4, -1, -1, -1)
    first, second = BatchedRandomAffine(seed=1)(images), BatchedRandomAffine(seed=1)(images)
    assert torch.equal(first, second)
    assert not torch.equal(first, BatchedRandomAffine(seed=2)(images))
    assert not torch.equal(first[0], first[1])


def test_a_shift_stays_in_its_range_and_moves_both_ways() -> None:
    augment = BatchedRandomAffine(rotation=0, shift=0.1, shear=0, zoom=0)
    moves = torch.stack([centre(augment(blob(32, 32))) - 32 for _ in range(60)])
    assert moves.abs().max() <= 0.1 * 65 + 0.1 and moves.abs().max() > 4
    assert (moves > 1).any() and (moves < -1).any()


def test_a_rotation_keeps_the_distance_from_the_centre() -> None:
    augment = BatchedRandomAffine(rotation=10, shift=0, shear=0, zoom=0)
    for _ in range(20):
        moved = centre(augment(blob(32, 52))) - 32
        assert moved.norm().item() == pytest.approx(20, abs=0.2)
        assert abs(torch.atan2(moved[0], moved[1]).item()) <= 0.176


def test_a_zoom_scales_the_distance_within_its_range() -> None:
    augment = BatchedRandomAffine(rotation=0, shift=0, shear=0, zoom=0.1)
    distances = torch.stack([(centre(augment(blob(32, 52))) - 32)[1] for _ in range(60)])
    assert distances.min() > 20 / 1.11 - 0.2 and distances.max() < 20 / 0.89 + 0.2
    assert distances.max() - distances.min() > 2


def test_left_stays_left() -> None:
    augment = BatchedRandomAffine()
    assert all(centre(augment(blob(32, 15)))[1] < 32 for _ in range(50))


def test_all_slices_of_a_volume_move_together() -> None:
    volume = blob(20, 40)[..., None].repeat(1, 1, 1, 1, 3)
    moved = BatchedRandomAffine(seed=3)(volume)
    assert moved.shape == volume.shape
    assert torch.equal(moved[..., 0], moved[..., 2])
    torch.testing.assert_close(moved[..., 0], BatchedRandomAffine(seed=3)(volume[..., 0]))


def test_mirror_images_come_along_every_axis_as_often_as_asked() -> None:
    volume = torch.zeros(400, 1, 4, 4, 4)
    volume[:, 0, 0, 1, 0] = 1
    turned = BatchedRandomAffine(0, 0, 0, 0, flip=0.25, seed=0)(volume)
    assert torch.equal(turned.sum((1, 2, 3, 4)), torch.ones(400))
    for axis, moved_to in ((2, 3), (3, 2), (4, 3)):
        share = turned.movedim(axis, 1)[:, moved_to].sum().item() / 400
        assert share == pytest.approx(0.25, abs=0.08)


def test_mirror_images_are_no_part_of_the_draw_of_others() -> None:
    images = blob(20, 40).expand(4, -1, -1, -1)
    assert torch.equal(BatchedRandomAffine(seed=1)(images), BatchedRandomAffine(flip=0, seed=1)(images))
