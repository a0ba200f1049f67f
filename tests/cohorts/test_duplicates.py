"""An image that is there twice, or nearly, does not leak into the test under another patient's name."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from srcmatters.cohorts import CaseChoice, check_cases, choose_cases, choose_readable, open_cohort
from srcmatters.cohorts.duplicates import NEAR_BITS, near_pairs, patients_of_one_image
from srcmatters.errors import InputError
from srcmatters.images.perceptual_hash import perceptual_hash


def cases(patients: int = 60) -> pd.DataFrame:
    labels = [number % 2 for number in range(patients)]
    table = {"image": [f"{row}.png" for row in range(patients)], "label": labels}
    return check_cases(
        pd.DataFrame({**table, "patient_id": [f"P{row}" for row in range(patients)]}), "cases.csv"
    )


def test_patients_who_share_an_image_are_in_one_set() -> None:
    readable = cases()
    digests = [f"{row // 2 if row < 40 and row % 2 == 0 else 1000 + row}" for row in range(60)]
    for row in range(0, 40, 4):  # every fourth patient's image is another's of the same label, too
        digests[row + 2] = digests[row]
    plain = choose_cases(readable, CaseChoice(num_folds=3))
    with pytest.warns(UserWarning, match=r"10 images are there under several patients \(0, 2, 4, \.\.\.\)"):
        chosen = choose_readable(plain, readable, readable, CaseChoice(num_folds=3), digests)
    seen = [{digests[row] for row in rows} for rows in (chosen.split.train, chosen.split.test)]
    assert not seen[0] & seen[1]
    before = [{digests[row] for row in rows} for rows in (plain.split.train, plain.split.test)]
    assert before[0] & before[1], "without the check they leak"


def test_patients_linked_through_a_third_are_kept_together() -> None:
    linked = cases(6).assign(label=1)
    with pytest.warns(UserWarning, match="2 images"):
        joined = patients_of_one_image(
            pd.concat([linked, linked.iloc[[1]].assign(case_id="again")], ignore_index=True),
            ["x", "x", "z", "d", "e", "f", "z"],
        )
    assert joined.tolist() == ["P0", "P0", "P0", "P3", "P4", "P5", "P0"]


def test_one_image_with_both_labels_is_refused() -> None:
    with pytest.raises(InputError, match="1 images are there with both labels, such as '0' and '1'"):
        patients_of_one_image(cases(4), ["same", "same", "c", "d"])


def test_places_in_one_volume_are_different_images() -> None:
    spots = cases(4).assign(x_mm=[1.0, 2.0, 3.0, 4.0], y_mm=0.0, z_mm=0.0)
    assert patients_of_one_image(spots, ["scan"] * 4).equals(spots["patient_id"])


def film(path: str, size: int = 128) -> Image.Image:
    return Image.open(path).convert("L").resize((size, size), Image.Resampling.BILINEAR)


def hash_of(picture: Image.Image) -> np.ndarray:
    return perceptual_hash(np.asarray(picture.resize((128, 128)), dtype=np.float32)[None])


def as_jpeg(picture: Image.Image, quality: int = 40) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return Image.open(file)


def copies(picture: Image.Image) -> list[Image.Image]:
    """As JPEG, at a third of the size, and darker with less contrast."""
    darker = picture.point(lambda value: value * 0.8 + 10)
    return [as_jpeg(picture), picture.resize((picture.width // 3, picture.height // 3)), darker]


def test_copies_look_the_same_and_other_patients_do_not(radiograph_cohort: Path) -> None:
    films = [film(path, 256) for path in open_cohort(radiograph_cohort)["image"][:40]]
    hashes = [hash_of(picture) for picture in films]
    assert len(near_pairs(np.stack(hashes))) == 0
    again = [hash_of(copy) for copy in copies(films[0])]
    assert near_pairs(np.stack([*hashes, *again])).tolist() == [
        [0, 40], [0, 41], [0, 42], [40, 41], [40, 42], [41, 42]
    ]  # fmt: skip


def test_a_near_duplicate_is_kept_with_its_original_and_counted() -> None:
    readable = cases()
    hashes = np.random.default_rng(0).integers(1, 2**63, size=(60, 4), dtype=np.uint64)
    plain = choose_cases(readable, CaseChoice(num_folds=3))
    train, test = plain.split.train[0], plain.split.test[0]
    hashes[test] = hashes[train] ^ np.uint64(1)
    digests = [str(row) for row in range(60)]
    with pytest.warns(UserWarning, match=r"^1 pairs of images of different patients look the same \("):
        chosen = choose_readable(plain, readable, readable, CaseChoice(num_folds=3), digests, hashes)
    for rows in (chosen.split.train, chosen.split.validation, chosen.split.test):
        assert (train in rows) == (test in rows)


def test_distances_are_counted_up_to_the_limit_and_over_blocks_of_rows() -> None:
    hashes = np.random.default_rng(1).integers(1, 2**63, size=(3000, 4), dtype=np.uint64)
    flipped = np.uint64((1 << NEAR_BITS) - 1)
    hashes[2900], hashes[2901] = hashes[5], hashes[6]
    hashes[2900, 3] ^= flipped
    hashes[2901, 0] ^= flipped | np.uint64(1 << 40)
    hashes[2950] = hashes[1500]
    assert near_pairs(hashes).tolist() == [[5, 2900], [1500, 2950]]


def test_images_of_one_grey_value_look_like_nothing() -> None:
    flat = perceptual_hash(np.full((1, 32, 32), 0.5, dtype=np.float32))
    assert not flat.any()
    assert len(near_pairs(np.stack([flat, flat]))) == 0


def test_a_volume_is_judged_by_its_mean_along_the_depth() -> None:
    volume = np.random.default_rng(2).random((1, 48, 48, 6)).cumsum(axis=1)
    assert (perceptual_hash(volume) == perceptual_hash(volume.mean(axis=-1))).all()


@pytest.mark.slow
def test_no_two_patients_of_real_radiographs_are_near_and_every_copy_is_found(shared_data: Path) -> None:
    table = pd.read_csv(shared_data / "nih-cxr14" / "cases.csv")
    films = [film(str(shared_data / "nih-cxr14" / name), 384) for name in table["image"]]
    hashes = [hash_of(picture) for picture in films]
    again = [hash_of(copy) for picture in films for copy in copies(picture)]
    pairs = near_pairs(np.stack(hashes + again))
    original = np.concatenate([np.arange(len(films)), np.repeat(np.arange(len(films)), 3)])
    patients = table["patient_id"].to_numpy()[original]
    assert (patients[pairs[:, 0]] == patients[pairs[:, 1]]).all()
    assert len({tuple(pair) for pair in pairs if pair[0] < len(films)}) == 3 * len(films)
