"""CT phantoms: a slab is a part of the whole, and nothing but the nodule tells the label."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pytest
from phantom_lidc import write_phantom_lidc
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict

from srcmatters.cohorts import phantom_cohort as cohort
from srcmatters.cohorts.phantom_cohort import write_phantom_cohort
from srcmatters.phantom import ct_volume, draw_patient, voxel_axes
from srcmatters.phantom.candidates import candidate, candidate_mm, with_benign_nodule
from srcmatters.phantom.computed_tomography import slab_slices

COARSE = (4.0, 4.0, 4.0)


# Slabs


@pytest.mark.parametrize("slices", [slice(0, 6), slice(30, 31), slice(33, 50), slice(-5, None)])
def test_a_slab_equals_the_same_slices_of_the_whole_noise_included(slices: slice) -> None:
    patient = draw_patient(3, seed=0, label=1)
    whole = ct_volume(patient, COARSE)
    np.testing.assert_array_equal(ct_volume(patient, COARSE, slices), whole[:, :, slices])


def test_the_noise_of_two_slices_is_independent() -> None:
    patient = draw_patient(3, seed=0, label=0)
    outside = ct_volume(patient, COARSE)[:8, :20].astype(float)  # air in the corner of the field
    first, second = outside[:, :, 20].ravel(), outside[:, :, 23].ravel()
    assert first.std() > 3
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.25


def test_a_slab_lies_around_its_middle_and_moves_inwards_at_the_ends() -> None:
    heights = voxel_axes(COARSE)[2]
    middle = heights[slab_slices(10.0, 48.0, COARSE)]
    assert len(middle) == 12 and abs(middle.mean() - 10) <= 2
    for z, end in ((heights[0], heights[:12]), (heights[-1] + 9, heights[-12:])):
        np.testing.assert_array_equal(heights[slab_slices(float(z), 48.0, COARSE)], end)


@pytest.mark.parametrize("slices", [slice(5, 5), slice(0, 8, 2), slice(400, 410)])
def test_slices_that_are_no_slab_are_refused(slices: slice) -> None:
    with pytest.raises(ValueError, match=r"slices: got .*, expected consecutive ones out of 84"):
        ct_volume(draw_patient(0, 0), COARSE, slices)


# Candidates


def test_the_place_of_a_candidate_is_the_same_whatever_the_label() -> None:
    for index in range(6):
        positive, negative = (draw_patient(index, 2, 0.7, label=label) for label in (1, 0))
        assert positive.nodule is not None and negative.nodule is None
        assert candidate_mm(positive, 0.7) == candidate_mm(negative, 0.7) == positive.nodule.centre_mm


def test_place_thickness_and_contrast_do_not_tell_the_label() -> None:
    patients = [draw_patient(index, 0, 0.7) for index in range(160)]
    labels = np.array([patient.label for patient in patients])
    thickness = np.array([cohort.SLICE_THICKNESSES_MM[patient.index // 2 % 2] for patient in patients])
    agents = np.array([patient.contrast_agent for patient in patients])
    for column in (thickness, agents):
        assert (pd.crosstab(column, labels)[0] == pd.crosstab(column, labels)[1]).all()
    features = np.column_stack([[candidate_mm(patient, 0.7) for patient in patients], thickness, agents])
    forest = RandomForestClassifier(50, max_depth=4, random_state=0)
    scores = cross_val_predict(forest, features, labels, cv=5, method="predict_proba")[:, 1]
    assert abs(roc_auc_score(labels, scores) - 0.5) < 0.14  # three standard errors


def test_a_benign_nodule_is_smaller_and_smooth_and_only_in_the_share_of_negatives() -> None:
    negatives = [draw_patient(index, 1, label=0) for index in range(60)]
    shared = [with_benign_nodule(patient, 0.5, 0.5) for patient in negatives]
    lesions = [(one.nodule, candidate(one.without_nodule(), 0.5)) for one in shared if one.nodule]
    assert 18 <= len(lesions) <= 42
    for lesion, drawn in lesions:
        assert lesion.diameter_mm < drawn.diameter_mm and lesion.centre_mm == drawn.centre_mm
        assert lesion.spicules == 0 and lesion.lobulation == 0
    assert all(one.label == 0 for one in shared)
    assert [with_benign_nodule(one, 0.5, 0.0) for one in negatives] == negatives
    assert all(with_benign_nodule(one, 0.5, 1.0).nodule for one in negatives)
    positive = draw_patient(0, 1, label=1)
    assert with_benign_nodule(positive, 0.5, 1.0) is positive


# Files


@pytest.fixture(scope="module")
def slabs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    folder = tmp_path_factory.mktemp("slabs") / "cohort"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cohort, "PIXEL_SPACING_MM", 4.0)
        table = write_phantom_cohort(folder, 8, modality="ct", difficulty=0.3, slab_mm=48.0, benign=0.25)
    return folder, table


def test_a_cohort_of_slabs_has_whole_slices_around_the_candidate(slabs: tuple[Path, pd.DataFrame]) -> None:
    folder, table = slabs
    for case in table.itertuples():
        image: Any = nibabel.load(folder / case.image)
        assert image.shape == (96, 76, round(48 / case.slice_thickness_mm))
        place = np.linalg.inv(image.affine) @ [-case.x_mm, -case.y_mm, case.z_mm, 1]
        i, j, k = np.rint(place[:3]).astype(int)
        assert abs(place[2] - (image.shape[2] - 1) / 2) <= 1 or abs(case.z_mm) > 130
        around = np.asarray(image.dataobj)[i - 1 : i + 2, j - 1 : j + 2, k]
        assert (np.median(around) > -250) == (not np.isnan(case.diameter_mm)), case.case_id


def test_the_table_of_slabs_says_who_how_and_where(slabs: tuple[Path, pd.DataFrame]) -> None:
    table = slabs[1]
    assert set(table.columns) == {
        *("case_id", "image", "patient_id", "label", "sex", "age", "manufacturer", "contrast"),
        *("slice_thickness_mm", "diameter_mm", "mask", "x_mm", "y_mm", "z_mm"),
    }
    assert table["diameter_mm"][table["label"] == 1].notna().all()
    assert 0 < table["diameter_mm"][table["label"] == 0].notna().sum() < 4
    for column in ("slice_thickness_mm", "contrast", "manufacturer", "sex"):
        counts = pd.crosstab(table[column], table["label"])
        assert (counts[0] == counts[1]).all(), column


@pytest.mark.parametrize(("argument", "value"), [("slab_mm", 5.0), ("slab_mm", 400.0), ("benign", 1.2)])
def test_an_invalid_argument_of_a_ct_cohort_is_refused(tmp_path: Path, argument: str, value: float) -> None:
    options: dict[str, Any] = {"modality": "ct", argument: value}
    with pytest.raises(ValueError, match=f"{argument}: got {value}, expected"):
        write_phantom_cohort(tmp_path / "x", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_phantom_lidc_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"spacing_mm: got \(4, 5, 6\), expected three numbers"):
        write_phantom_lidc(tmp_path / "x", spacing_mm=(4, 5, 6))

    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("phantom_lidc.write_ct_series", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_phantom_lidc(tmp_path / "x", patients=1, spacing_mm=(8, 8, 8))
    assert list(tmp_path.iterdir()) == []
