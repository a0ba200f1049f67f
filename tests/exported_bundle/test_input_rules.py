"""What is done with an image that breaks a rule is declared, and done at whichever stage it is found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageDraw, ImageFont
from prediction_cases import changed, write_bundle, write_radiographs, write_series, write_watched_bundle
from pydicom import dcmread

from srcmatters.deployment.prediction import sandboxed_decoder as decoder
from srcmatters.deployment.prediction.predictor import Predictor, recipe_of
from srcmatters.errors import InputError
from srcmatters.export.command import export
from srcmatters.export.declared_rules import ExportOptions
from srcmatters.exported_bundle.bundle import open_bundle
from srcmatters.exported_bundle.input_rules import CHOICES, INPUT_RULES, declared_actions

DOCS = Path(__file__).parents[2] / "docs" / "clinical.md"
TRAINED = {"spacing_mm": [0.1, 0.2], "size": [64, 64], "depth_mm": None, "views": ["PA"], "positions": False}
FINE = {"PixelSpacing": [0.15, 0.15], "ViewPosition": "PA"}
#: Rule -> elements of a film that breaks it alone.
ELEMENTS: dict[str, dict[str, Any]] = {
    "body_part": {"BodyPartExamined": "KNEE"},
    "body_part_missing": {"BodyPartExamined": "", "AnatomicRegionSequence": []},
    "view": {"ViewPosition": "LL"},
    "view_missing": {"ViewPosition": "", "ViewCodeSequence": []},
    "for_processing": {"PresentationIntentType": "FOR PROCESSING"},
    "spacing": {"PixelSpacing": [0.5, 0.5]},
    "spacing_unknown": {"PixelSpacing": [0, 0], "ImagerPixelSpacing": [0, 0]},
    "burnt_in_annotation": {"BurnedInAnnotation": "YES"},
    "out_of_distribution": {},
    "confounder": {},
}
#: Rule -> how its reason begins.
SAID = {
    "body_part": "BodyPartExamined is KNEE",
    "body_part_missing": "BodyPartExamined is missing",
    "view": "ViewPosition is LL",
    "view_missing": "ViewPosition is missing",
    "for_processing": "values for processing",
    "spacing": "pixel spacing is 0.5",
    "spacing_unknown": "pixel spacing unknown",
    "size": "size is 640 x 640",
    "secondary_ct": "ImageType is SECONDARY",
    "thin_ct": "1 slices of 2 mm, expected at least 6 mm",
    "loader": "16 bit, but its brightest pixel",
    "burnt_in_annotation": "BurnedInAnnotation is YES",
    "burnt_in_text": "text seems to be burnt into the image",
    "out_of_distribution": "unlike the training images",
    "confounder": "it seems to carry the confounder tag",
    "header_missing": "no DICOM header",
    "middle_of_ct": "no position in the scan is given",
}


def write_plane(path: Path, pixels: np.ndarray) -> Path:
    """A radiograph without a DICOM header that knows its spacing."""
    image = nibabel.Nifti1Image(pixels[:, :, None], np.diag([-0.15, -0.15, 1, 1]))
    image.set_sform(image.affine, code=1)
    nibabel.save(image, path)
    return path


def write_broken(folder: Path, film: Path) -> dict[str, Path]:
    """Rule -> a radiograph or scan that breaks it alone."""
    files = {
        name: changed(film, folder / f"{name}.dcm", **{**FINE, **elements})
        for name, elements in ELEMENTS.items()
    }
    pixels = dcmread(film).pixel_array
    large = np.kron(pixels, np.ones((10, 10), np.uint8))
    written = Image.fromarray(np.kron(pixels, np.ones((5, 5), np.uint8)))
    ImageDraw.Draw(written).text((4, 8), "DOE^JANE", fill=255, font=ImageFont.load_default(size=24))
    for name, drawn in (("size", large), ("burnt_in_text", np.asarray(written))):
        size = {"Rows": drawn.shape[0], "Columns": drawn.shape[1]}
        files[name] = changed(film, folder / f"{name}.dcm", PixelData=drawn.tobytes(), **size, **FINE)
    files["header_missing"] = write_plane(folder / "header_missing.nii", pixels)
    files["loader"] = write_plane(folder / "loader.nii", pixels.astype(np.uint16))
    slices = write_series(folder / "series")
    (folder / "secondary_ct").mkdir()
    for number, one in enumerate(slices):
        changed(one, folder / "secondary_ct" / f"{number}.dcm", ImageType=["DERIVED", "SECONDARY", "AXIAL"])
    files["secondary_ct"], files["thin_ct"] = folder / "secondary_ct", slices[0]
    files["middle_of_ct"] = folder / "series"
    return files


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("broken")
    return write_broken(folder, write_radiographs(folder / "films", patients=1)[0])


@pytest.fixture(scope="module")
def predictors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Predictor]]:
    """By "radiograph" and "ct"."""
    folder = tmp_path_factory.mktemp("bundles")
    ct: dict[str, Any] = {"modality": "ct", "unit": "HU", "window": "lung", "patch_mm": 12, "spatial_dims": 3}
    ct["input"] = {**TRAINED, "spacing_mm": None, "size": None, "positions": True}
    watched = write_watched_bundle(folder / "radiograph", input=TRAINED)
    bundles = {"radiograph": watched, "ct": write_bundle(folder / "ct", **ct)}
    made = {name: Predictor(open_bundle(bundle)) for name, bundle in bundles.items()}
    yield made
    for predictor in made.values():
        predictor.close()


def test_every_rule_that_a_bundle_may_decide_is_tried_here() -> None:
    assert set(SAID) == set(CHOICES)


@pytest.mark.parametrize(
    ("name", "action"), [(name, action) for name, actions in CHOICES.items() for action in actions]
)
def test_an_image_that_breaks_a_rule_is_treated_as_declared(
    broken: dict[str, Path], predictors: dict[str, Predictor], name: str, action: str
) -> None:
    predictor = predictors["ct" if name.endswith("_ct") else "radiograph"]
    unsaid = {other: "ignore" for other, actions in CHOICES.items() if "ignore" in actions}
    predictor.rules["actions"] = declared_actions({**unsaid, name: action})
    predictor.recipe = recipe_of(predictor.rules)
    (prediction,) = predictor.predict([broken[name]])
    mentioned = [reason.startswith(SAID[name]) for reason in prediction.reasons]
    assert mentioned.count(True) == (action != "ignore"), prediction.reasons
    if action == "refuse":
        assert (prediction.status, mentioned, prediction.probability) == ("refused", [True], None)
    else:
        monitors = {"out_of_distribution", "confounder"} - {name} if not name.endswith("_ct") else ()
        assert len(mentioned) == len(monitors) + (action == "flag"), prediction.reasons
        assert (
            prediction.status == ("flagged" if mentioned else "predicted")
            and prediction.probability is not None
        )


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("burnt_in_txt=flag", "--rule: 'burnt_in_txt' is unknown: did you mean 'burnt_in_text'"),
        ("mixed_series=flag", "--rule: mixed_series: such images are always refused"),
        ("spacing=ignore", "--rule: spacing: got 'ignore', expected refuse or flag"),
        ("view_missing", "--rule: view_missing: got '', expected flag or refuse or ignore"),
    ],
)
def test_a_choice_that_a_rule_does_not_have_is_refused_before_anything_is_read(
    tmp_path: Path, rule: str, message: str
) -> None:
    arguments = [str(tmp_path / "no-run"), "--to", str(tmp_path / "out"), "--rule", rule]
    done = CliRunner().invoke(export, arguments)
    assert isinstance(done.exception, InputError) and str(done.exception).startswith(message)
    name, _, action = rule.partition("=")
    with pytest.raises(InputError):
        ExportOptions(actions={name: action})


def test_what_can_never_be_right_is_no_choice() -> None:
    always = {"unreadable", "modality", "species", "colour", "mixed_series", "frames", "no_slices", "answer"}
    assert always == set(INPUT_RULES) - set(CHOICES)
    assert all(INPUT_RULES[name].actions == ("refuse",) for name in always)


def test_the_table_of_the_documentation_is_that_of_the_code() -> None:
    lines = DOCS.read_text(encoding="utf-8").splitlines()
    head = lines.index("| rule | broken by | action | or |")
    rows = list(takewhile(lambda line: line.startswith("|"), lines[head + 2 :]))
    assert rows == [
        f"| `{name}` | {rule.about} | {rule.actions[0]} | {', '.join(rule.actions[1:])} |"
        for name, rule in INPUT_RULES.items()
    ]


@pytest.mark.parametrize(("trained", "thin"), [(None, True), ([18.0, 40.0], True), ([4.0, 40.0], False)])
def test_a_scan_no_thinner_than_those_of_the_training_is_not_thin(
    broken: dict[str, Path], predictors: dict[str, Predictor], trained: list[float] | None, thin: bool
) -> None:
    predictor, folder = predictors["ct"], broken["middle_of_ct"]
    depth = 2.0 * len(list(folder.iterdir()))
    assert 4 <= depth < 18, "mm"
    declared = {**predictor.rules, "patch_mm": 40, "actions": declared_actions({})}
    declared["input"] = {**declared["input"], "depth_mm": trained}
    (prediction,) = Predictor(replace(predictor.bundle, rules=declared), predictor.decoder).predict([folder])
    assert any("slices of 2 mm" in reason for reason in prediction.reasons) == thin, prediction.reasons


def test_the_rule_on_what_is_unreadable_says_the_limits_of_the_decoder() -> None:
    description = INPUT_RULES["unreadable"].about
    for limit in (
        f"{decoder.MEMORY / 2**30:g} GiB of memory",
        f"{decoder.SECONDS:g} s of processor time",
        f"{decoder.SECONDS / 10:g} s more per further file",
        f"{decoder.SECONDS_PER_BYTE * 2**20:g} s more per MiB",
        f"{decoder.SERIES_SECONDS:g} s at most",
    ):
        assert limit in description
    assert decoder._STARVED == 5 and "five times as long" in description
