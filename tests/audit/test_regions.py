"""Regions: who depends on the lesion loses it with the lesion, who reads a tag with the corner."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from srcmatters.audit.case_images import CaseImages
from srcmatters.audit.check import Change, Evidence, Finding
from srcmatters.audit.checks.regions import Regions
from srcmatters.audit.regions.fills import FILLS, filled, transplanted
from srcmatters.audit.regions.masks import dilated, matched_region, plain_region, region_of
from srcmatters.audit.state_scores import State, StateScores
from srcmatters.cohorts import find_images, read_cases
from srcmatters.errors import InputError
from srcmatters.evaluation.outcomes import Outcome
from srcmatters.phantom import draw_patient, radiograph
from srcmatters.phantom.lesion_masks import radiograph_mask

Score = Callable[[np.ndarray, int], float]


def audited(images: CaseImages, score: Score, tag: float = 0.0) -> dict[str, Finding]:
    """The check on a model that is a formula; positives carry a tag in the upper left corner."""
    labels = images.cases["label"].to_numpy()

    def native(position: int) -> Tensor:
        image = torch.as_tensor(images.native(position)["image"]).clone()
        if labels[position]:
            image[:, 1:4, 1:4] += tag
        return image

    known = [native(position) for position in range(len(images))]

    def look(
        position: int, image: Tensor | None, kind: str | None = None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        return images.region(position, known[position] if image is None else image, kind)

    def score_images(rows: np.ndarray, change: Callable[[Tensor, int], Tensor]) -> np.ndarray:
        return np.array([score(change(known[row], row)[0].numpy(), row) for row in rows])

    everyone = np.arange(len(images))
    clean = score_images(everyone, lambda image, _: image)
    evidence = Evidence(
        StateScores(images.cases, clean, {}), score_images=score_images, region=look, disease="mask"
    )
    return {one.subject: one for one in Regions().run(evidence)}


def lesion_reader(images: CaseImages) -> Score:
    """Brightness at the place of the lesion against its surroundings."""
    places = []
    for position in range(len(images)):
        _, region = images.region(position)
        assert region is not None
        places.append((region, dilated(region, 4) & ~region))
    scale = 1.0 if images.modality == "radiograph" else 1000.0

    def score(image: np.ndarray, position: int) -> float:
        inside, around = places[position]
        return float(20 * (image[inside].mean() - image[around].mean()) / scale)

    return score


def costs(finding: Finding, words: str) -> list[dict[str, float]]:
    rows = finding.details["interventions"]
    return [row["cost"] for row in rows if row["intervention"].startswith(words)]


def check_lesion_reader(findings: dict[str, Finding]) -> None:
    disease = findings["disease"]
    assert all(one["value"] > 0.25 for one in costs(disease, "removed")), disease.text
    assert all(abs(one["value"]) < 0.05 for one in costs(disease, "matched"))
    assert disease.low > 0.2 and "it uses what is there" in disease.text
    assert abs(costs(disease, "exchanged")[0]["value"]) < 0.15


def test_a_model_that_reads_the_lesion_on_radiographs(radiograph_cohort: Path) -> None:
    images = CaseImages(read_cases(radiograph_cohort))
    findings = audited(images, lesion_reader(images))
    check_lesion_reader(findings)
    assert abs(findings["corners"].value) < 0.05
    kept = findings["disease"].details["interventions"][-2]
    assert kept["intervention"] == "nothing else kept" and kept["auc"]["low"] > 0.5
    shown = Regions.table(list(findings.values()))
    assert shown is not None and len(shown.rows) == 10 + 2
    assert shown.note.endswith("may tell the label: compare with the matched region.")


@pytest.mark.slow
def test_a_model_that_reads_the_lesion_in_ct(ct_cohort: Path) -> None:
    images = CaseImages(read_cases(ct_cohort), "ct", slab_mm=24.0)
    check_lesion_reader(audited(images, lesion_reader(images)))


def test_a_model_that_reads_a_tag(radiograph_cohort: Path) -> None:
    images = CaseImages(read_cases(radiograph_cohort))
    findings = audited(images, lambda image, _: float(10 * image[1:4, 1:4].mean()), tag=1.0)
    disease, corners = findings["disease"], findings["corners"]
    assert all(abs(one["value"]) < 0.05 for one in costs(disease, "removed"))
    assert not disease.low > 0 and corners.low > 0.2
    assert corners.details["interventions"][1]["auc"]["low"] > 0.9  # alone it is enough


def carried(images: CaseImages, score: Score) -> Finding:
    """The finding on a letter that all positives are given, of a model that is a formula."""

    def letter(image: Tensor, _: int) -> Tensor:
        result = torch.as_tensor(image).clone()
        result[:, 8:14, 40:46] = 1.0
        return result

    def score_images(rows: np.ndarray, change: Callable[[Tensor, int], Tensor]) -> np.ndarray:
        known = [torch.as_tensor(images.native(int(row))["image"]) for row in rows]
        return np.array(
            [score(change(image, row)[0].numpy(), row) for image, row in zip(known, rows, strict=True)]
        )

    everyone = np.arange(len(images))
    scores = StateScores(
        images.cases,
        score_images(everyone, lambda image, _: image),
        {
            State("letter"): score_images(everyone, letter),
            State("faint"): score_images(everyone, lambda image, _: image),
        },
    )
    evidence = Evidence(
        scores,
        score_images=score_images,
        region=images.region,
        disease="mask",
        changes={name: Change(letter, local=True) for name in ("letter", "faint")},
    )
    findings = {one.subject: one for one in Regions().run(evidence)}
    assert set(findings) == {"disease", "corners", "letter"}  # the faint one does not lean
    return findings["letter"]


def test_what_a_confounder_that_leans_costs_stands_beside_the_disease(radiograph_cohort: Path) -> None:
    images = CaseImages(read_cases(radiograph_cohort))

    def letter(image: np.ndarray, _: int) -> float:
        return float(10 * image[8:14, 40:46].mean())

    tag = carried(images, letter)
    assert "letter counts for more than the disease" in tag.text
    assert tag.low > 0.2 and tag.details["auc_before"]["value"] == 1.0
    place, disease = tag.details["interventions"]
    assert place["cost"]["low"] > 0.2 and abs(disease["cost"]["value"]) < 0.05


def test_without_a_place_of_the_disease_only_parts_are_asked(radiograph_cohort: Path) -> None:
    images = CaseImages(read_cases(radiograph_cohort).drop(columns="mask"))
    plane, region = images.region(0)
    assert region is None and plane.shape == (64, 64)
    scores = StateScores(images.cases, np.linspace(0, 1, 48), {})
    evidence = Evidence(scores, score_images=lambda rows, change: scores.clean[rows], region=images.region)
    findings = Regions().run(evidence)
    assert findings[0].outcome is Outcome.SKIPPED and "no mask" in findings[0].text and len(findings) == 8
    shown = Regions.table(findings)
    assert shown is not None and shown.note.endswith("may tell the label.")  # no region is matched


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("shape", [(40, 40), (40, 40, 3)])
def test_a_filled_region_holds_nothing_of_itself(fill: str, shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).uniform(0, 1, shape).astype(np.float32)
    region = np.zeros(shape, dtype=bool)
    region[10:20, 12:25] = True
    changed = image.copy()
    changed[region] = 5.0
    first, second = filled(image, region, fill), filled(changed, region, fill)
    assert np.allclose(first, second, atol=1e-5) and np.array_equal(first[~region], image[~region])
    assert first[region].max() <= image.max() + 1e-5


def test_a_large_region_is_inpainted_on_a_coarser_grid() -> None:
    ramp = np.tile(np.linspace(0, 1, 200, dtype=np.float32), (200, 1))
    region = np.zeros(ramp.shape, dtype=bool)
    region[60:140, 60:140] = True
    assert np.abs(filled(np.where(region, 9, ramp).astype(np.float32), region, "inpaint") - ramp).max() < 0.1


def test_a_matched_region_has_the_same_size_and_no_overlap() -> None:
    stream = np.random.default_rng(0)
    left = np.zeros((30, 40), dtype=bool)
    left[5:12, 3:9] = True
    assert np.array_equal(matched_region(left, stream), left[:, ::-1])
    middle = np.zeros((30, 40), dtype=bool)
    middle[12:18, 16:24] = True
    other = matched_region(middle, stream)
    assert other is not None and other.sum() == middle.sum() and not (other & middle).any()
    assert matched_region(np.ones((8, 8), dtype=bool), stream) is None


def test_a_transplanted_region_is_the_donors_at_the_level_of_its_new_surroundings() -> None:
    image, donor = np.full((30, 30), 0.2), np.full((40, 40), 0.6)
    here, there = np.zeros((30, 30), dtype=bool), np.zeros((40, 40), dtype=bool)
    here[4:10, 4:10], there[20:32, 20:32] = True, True
    donor[there] = 0.9
    result = transplanted(image, here, donor, there)
    assert np.allclose(result[here], 0.5) and np.array_equal(result[~here], image[~here])


def test_the_phantoms_mask_is_where_it_differs_from_its_counterfactual() -> None:
    for index in range(1, 9, 2):
        patient = draw_patient(index, 3, 0.0, label=1)
        apart = np.abs(
            radiograph(patient, 128).astype(int) - radiograph(patient.without_nodule(), 128).astype(int)
        )
        mask = radiograph_mask(patient, 128, 0.0)
        assert apart[~mask].max() <= 2 < apart[mask].max() and (apart[mask] > 0).mean() > 0.5


def test_masks_are_no_images(radiograph_cohort: Path, ct_cohort: Path) -> None:
    assert len(find_images(radiograph_cohort)) == 48 and len(find_images(ct_cohort, "ct")) == 24


def test_boxes_and_nodules() -> None:
    image = torch.zeros(1, 20, 30)
    box = pd.Series({"case_id": "a", "box_x": 4, "box_y": 2, "box_width": 6, "box_height": 3})
    inside = region_of(image, {}, box, "box")
    assert inside is not None and inside.sum() == 18 and inside[2:5, 4:10].all()
    with pytest.raises(InputError, match="expected one inside 30 x 20 pixels"):
        region_of(image, {}, box.replace({4: 40}), "box")
    assert region_of(image, {}, box.replace({6: None}), "box") is None
    row = pd.Series({"case_id": "a", "diameter_mm": 6.0, "pixel_spacing_mm": 0.5, "slice_thickness_mm": 2.0})
    ball = region_of(torch.zeros(1, 41, 41, 5), {}, row, "nodule")
    assert ball is not None and ball[20, 20, 2] and ball[20, 26, 2] and not ball[20, 27, 2]
    assert ball[20, 20, 3] and not ball[20, 26, 3] and not ball[20, 20, 4]
    with pytest.raises(InputError, match="the size of a pixel is not known"):
        region_of(image, {}, pd.Series({"case_id": "a", "diameter_mm": 6.0}), "nodule")


def test_plain_regions_cover_what_they_say() -> None:
    border, centre = plain_region((60, 60), "border"), plain_region((60, 60), "centre")
    assert border[:10].all() and not border[10:50, 10:50].any() and centre.sum() == 900
    quadrants = [plain_region((61, 60, 2), name) for name in ("upper left", "lower right")]
    assert not (quadrants[0] & quadrants[1]).any()
