"""What declared rules refuse and flag."""

from __future__ import annotations

from typing import Any

import pytest
from prediction_cases import rules

from srcmatters.clinical.guard import judge_headers, judge_image, mixed_series


def header(**changes: Any) -> dict[str, Any]:
    return {
        "Modality": "DX",
        "BodyPartExamined": "CHEST",
        "ViewPosition": "PA",
        "PhotometricInterpretation": "MONOCHROME2",
        "NumberOfFrames": 0,
        "BurnedInAnnotation": "NO",
        "PatientID": "1",
        "SeriesInstanceUID": "1.2",
    } | changes


WITH_VIEWS = rules(input={"spacing_mm": [0.1, 0.2], "size": [1000, 3000], "views": ["PA"]})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"Modality": "MG"}, "Modality is MG"),
        ({"Modality": ""}, "Modality is missing"),
        ({"BodyPartExamined": "KNEE"}, "BodyPartExamined is KNEE"),
        ({"ViewPosition": "antero-posterior"}, "ViewPosition is antero-posterior, expected PA"),
        ({"PhotometricInterpretation": "RGB"}, "PhotometricInterpretation is RGB"),
        ({"NumberOfFrames": 7}, "7 frames"),
    ],
)
def test_what_the_bundle_was_not_made_for_is_refused(changes: dict[str, Any], said: str) -> None:
    verdict = judge_headers([header(**changes)], WITH_VIEWS)
    assert any(reason.startswith(said) for reason in verdict.refusals)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"BurnedInAnnotation": "YES"}, "BurnedInAnnotation"),
        ({"ViewPosition": ""}, "ViewPosition is missing"),
    ],
)
def test_what_may_mislead_is_flagged(changes: dict[str, Any], said: str) -> None:
    verdict = judge_headers([header(**changes)], WITH_VIEWS)
    assert not verdict.refusals and verdict.flags[0].startswith(said)


def test_what_the_bundle_was_made_for_is_let_in() -> None:
    verdict = judge_headers([header(ViewPosition="postero-anterior", BodyPartExamined="THORAX")], WITH_VIEWS)
    assert verdict.refusals == verdict.flags == ()
    assert judge_headers([header(ViewPosition="LL")], rules()).refusals == ()


def test_one_odd_slice_refuses_a_series() -> None:
    assert judge_headers([header(), header(PhotometricInterpretation="RGB")], WITH_VIEWS).refusals


def test_a_file_without_a_header_is_flagged() -> None:
    assert judge_headers([], WITH_VIEWS).flags[0].startswith("no DICOM header")


@pytest.mark.parametrize(
    ("spacing", "refused"), [(0.091, False), (0.219, False), (0.089, True), (0.221, True)]
)
def test_spacing_beyond_a_tenth_of_the_training_range_is_refused(spacing: float, refused: bool) -> None:
    assert bool(judge_image((2000, 2000), (0.15, spacing), WITH_VIEWS).refusals) == refused


def test_unknown_spacing_and_unusual_size_are_flagged() -> None:
    assert judge_image((2000, 2000), None, WITH_VIEWS).flags[0].startswith("pixel spacing unknown")
    assert judge_image((2000, 499), (0.15, 0.15), WITH_VIEWS).flags[0].startswith("size is 2000 x 499")
    assert judge_image((2000, 24001), (0.15, 0.15), WITH_VIEWS).flags[0].endswith("expected 500 to 24000")
    assert judge_image((24000, 500), (0.15, 0.15), WITH_VIEWS).flags == ()
    assert judge_image((1, 1), None, rules()).flags == ()


def test_series_of_several_patients_are_found() -> None:
    headers = [
        header(),
        header(PatientID="2"),
        header(SeriesInstanceUID="1.3"),
        header(SeriesInstanceUID="1.3"),
    ]
    assert mixed_series(headers) == {"1.2"}
