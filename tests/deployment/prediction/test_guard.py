"""What declared rules refuse and flag."""

from __future__ import annotations

from typing import Any

import pytest
from prediction_cases import rules
from pydicom.uid import (
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
)

from srcmatters.deployment.prediction.guard import Admission, judge_headers, judge_image, mixed_series


def header(**changes: Any) -> dict[str, Any]:
    return {
        "Modality": "DX",
        "BodyPartExamined": "CHEST",
        "ViewPosition": "PA",
        "PhotometricInterpretation": "MONOCHROME2",
        "NumberOfFrames": 0,
        "BurnedInAnnotation": "NO",
        "PatientID": "1",
        "PatientName": "A",
        "PatientBirthDate": "",
        "PatientSpeciesDescription": "",
        "StudyInstanceUID": "1",
        "SeriesInstanceUID": "1.2",
        "FrameOfReferenceUID": "",
        "SOPClassUID": DigitalXRayImageStorageForPresentation,
        "PresentationIntentType": "FOR PRESENTATION",
        "PatientOrientation": ["L", "F"],
        "ImageType": ["ORIGINAL", "PRIMARY"],
    } | changes


def scan(**changes: Any) -> dict[str, Any]:
    return header(Modality="CT", SOPClassUID=CTImageStorage, PresentationIntentType="") | changes


CT = rules(modality="ct", unit="HU", window="lung")
WITH_VIEWS = rules(
    input={
        "spacing_mm": [0.1, 0.2],
        "size": [1000, 3000],
        "depth_mm": None,
        "views": ["PA"],
        "positions": False,
    }
)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"Modality": "MG"}, "Modality is MG"),
        ({"Modality": ""}, "Modality is missing"),
        ({"BodyPartExamined": "KNEE"}, "BodyPartExamined is KNEE"),
        ({"PatientSpeciesDescription": "Feline"}, "PatientSpeciesDescription is Feline, expected human"),
        ({"PatientSpeciesDescription": "NON-HUMAN PRIMATE"}, "PatientSpeciesDescription is NON-HUMAN"),
        ({"ViewPosition": "antero-posterior"}, "ViewPosition is antero-posterior, expected PA"),
        ({"PhotometricInterpretation": "RGB"}, "PhotometricInterpretation is RGB"),
        ({"NumberOfFrames": 7}, "7 frames"),
        ({"PresentationIntentType": "FOR PROCESSING"}, "values for processing"),
        ({"SOPClassUID": DigitalXRayImageStorageForProcessing}, "values for processing"),
        ({"PatientOrientation": ["P", "F"]}, "PatientOrientation is that of a lateral view"),
        ({"PatientOrientation": ["AL", "F"], "ViewPosition": ""}, "PatientOrientation is that of a lateral"),
    ],
)
def test_what_the_bundle_was_not_made_for_is_refused(changes: dict[str, Any], message: str) -> None:
    verdict = judge_headers([header(**changes)], WITH_VIEWS)
    assert any(reason.startswith(message) for reason in verdict.refusals)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"BurnedInAnnotation": "YES"}, "BurnedInAnnotation"),
        ({"ViewPosition": ""}, "ViewPosition is missing"),
        ({"BodyPartExamined": ""}, "BodyPartExamined is missing, expected CHEST"),
    ],
)
def test_what_may_mislead_is_flagged(changes: dict[str, Any], message: str) -> None:
    verdict = judge_headers([header(**changes)], WITH_VIEWS)
    assert not verdict.refusals and verdict.flags[0].startswith(message)


def test_what_the_bundle_was_made_for_is_let_in() -> None:
    verdict = judge_headers([header(ViewPosition="postero-anterior", BodyPartExamined="THORAX")], WITH_VIEWS)
    assert verdict.refusals == verdict.flags == ()
    assert judge_headers([header(ViewPosition="LL")], rules()).refusals == ()
    assert judge_headers([header(PatientOrientation=[])], WITH_VIEWS) == Admission()
    for species in ("Homo sapiens", "HUMAN", "human"):
        assert judge_headers([header(PatientSpeciesDescription=species)], WITH_VIEWS) == Admission()
    lateral = header(PatientOrientation=["A", "F"], ViewPosition="LL")
    either = rules(
        input={"spacing_mm": None, "size": None, "depth_mm": None, "views": ["PA", "LL"], "positions": False}
    )
    assert judge_headers([lateral], either) == Admission()


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


def test_the_middle_of_a_whole_scan_is_not_that_of_a_patch() -> None:
    ranges = {
        "spacing_mm": [0.5, 0.9],
        "size": [128, 128],
        "depth_mm": None,
        "views": None,
        "positions": False,
    }
    of_patches = rules(modality="ct", unit="display", patch_mm=32, input=ranges)
    assert judge_image((128, 100), (0.6, 0.6), of_patches).flags == ()
    whole = judge_image((512, 512), (0.6, 0.6), of_patches)
    assert whole.flags == ("size is 512 x 512 pixels, expected 64 to 128",) and not whole.refusals
    resized = rules(modality="ct", unit="display", patch_mm=None, input=ranges)
    assert judge_image((512, 512), (0.6, 0.6), resized).flags == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "ImageType is LOCALIZER"),
        ({"SOPClassUID": SecondaryCaptureImageStorage}, "SOPClassUID is Secondary Capture Image Storage"),
        ({"SOPClassUID": ""}, "SOPClassUID is missing"),
        ({"Modality": "MR"}, "Modality is MR"),
    ],
)
def test_what_is_no_slice_of_the_scanner_is_refused(changes: dict[str, Any], message: str) -> None:
    assert judge_headers([scan()], CT) == Admission()
    assert judge_headers([scan(**changes)], CT).refusals[0].startswith(message)


def test_every_slice_of_a_series_is_held_against_the_rules() -> None:
    knee = judge_headers([scan(), scan(BodyPartExamined="KNEE"), scan(BodyPartExamined="KNEE")], CT)
    assert knee.refusals == ("BodyPartExamined is KNEE, expected CHEST or nothing",)
    shifted = [scan(FrameOfReferenceUID="1.1"), scan(), scan(FrameOfReferenceUID="1.2")]
    assert judge_headers(shifted, CT).refusals[0].startswith("several frames of reference")
    with_localizer = [scan(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), scan()]
    assert judge_headers(with_localizer, CT) == Admission(), "the loader leaves it out"
    computed = judge_headers([scan(ImageType=["DERIVED", "SECONDARY", "MIP"]), scan()], CT)
    assert not computed.refusals and computed.flags[0].startswith("ImageType is SECONDARY")


@pytest.mark.parametrize(
    ("image_type", "flagged"),
    [
        (["ORIGINAL", "SECONDARY"], True),
        (["DERIVED", "SECONDARY", "AXIAL"], True),
        (["SECONDARY", "PRIMARY", "AXIAL"], False),
        (["ORIGINAL", "PRIMARY", "SECONDARY"], False),
        (["SECONDARY"], False),
        ([], False),
    ],
)
def test_value_2_of_image_type_says_whether_a_ct_was_computed_of_other_images(
    image_type: list[str], flagged: bool
) -> None:
    """DICOM PS3.3 C.7.6.1.1.2: value 1 is ORIGINAL or DERIVED, value 2 PRIMARY or SECONDARY."""
    verdict = judge_headers([scan(ImageType=image_type)], CT)
    assert not verdict.refusals
    assert [flag.startswith("ImageType is SECONDARY") for flag in verdict.flags] == [True] * flagged


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"PatientID": "2"}, "several patients"),
        ({"PatientName": "B"}, "several patients"),
        ({"PatientBirthDate": "19700101"}, "several patients"),
        ({"StudyInstanceUID": "2"}, "one series in several studies"),
    ],
)
def test_series_of_several_patients_or_studies_are_found(changes: dict[str, Any], message: str) -> None:
    others = [header(SeriesInstanceUID="1.3"), header(SeriesInstanceUID="1.3")]
    mixed = mixed_series([header(), header(**changes), *others])
    assert list(mixed) == ["1.2"] and mixed["1.2"].startswith(message)
