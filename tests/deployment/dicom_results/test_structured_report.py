"""Structured Reports and Secondary Captures, read back as an archive would."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from highdicom.sr import srread
from PIL import Image, ImageDraw, ImageFont
from prediction_cases import changed, rules, write_bundle, write_radiographs, write_series
from pydicom import Dataset, dcmread
from pydicom.sr.codedict import codes
from pydicom.uid import Comprehensive3DSRStorage, SecondaryCaptureImageStorage, generate_uid

from srcmatters import __version__
from srcmatters.deployment.dicom_results.result_objects import refusal_objects, result_objects
from srcmatters.deployment.dicom_results.structured_report import finding_code
from srcmatters.deployment.predict_command import predict
from srcmatters.deployment.prediction.predictor import Predictor
from srcmatters.deployment.receiver.bundle_reader import BundleReader
from srcmatters.errors import InputError
from srcmatters.exported_bundle.bundle import open_bundle
from srcmatters.exported_bundle.saliency import draw


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """films and series, the bundles that read them, and their answers in out and ct-out; read only."""
    folder = tmp_path_factory.mktemp("answered")
    write_bundle(folder / "bundle", audited=True)
    write_bundle(folder / "ct-bundle", modality="ct", unit="HU", window="lung", patch_mm=40, spatial_dims=3)
    film, _ = write_radiographs(folder / "films")
    other = {"PatientName": "Müller^Jörg", "SeriesInstanceUID": generate_uid()}
    changed(film, folder / "films" / "film-1.dcm", BurnedInAnnotation="YES", **other)
    write_series(folder / "series")
    for bundle, source, out in (("bundle", "films", "out"), ("ct-bundle", "series", "ct-out")):
        arguments = [str(folder / bundle), str(folder / source), "--out", str(folder / out), "--sr", "--sc"]
        assert CliRunner().invoke(predict, arguments).exit_code == 0
    return folder


def texts(item: Dataset) -> list[str]:
    """All that a report says, in its order."""
    parts = [str(item.get("TextValue") or "")]
    parts += [code.CodeMeaning for code in item.get("ConceptCodeSequence") or []]
    for below in item.get("ContentSequence") or []:
        parts += texts(below)
    return [text for text in parts if text]


def named_texts(item: Dataset, meaning: str) -> list[str]:
    """The texts of a report under a concept's name."""
    names = [code.CodeMeaning for code in item.get("ConceptNameCodeSequence") or []]
    matching = [str(item.TextValue)] if meaning in names and "TextValue" in item else []
    return matching + [
        text for below in item.get("ContentSequence") or [] for text in named_texts(below, meaning)
    ]


def test_report_is_a_tid_1500_of_the_same_patient_and_study(answered: Path) -> None:
    report = srread(answered / "out" / "reports" / "000001.dcm")
    source = dcmread(answered / "films" / "film-0.dcm")
    assert report.SOPClassUID == Comprehensive3DSRStorage
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    for keyword in ("PatientID", "PatientName", "PatientSex", "StudyInstanceUID", "StudyDate"):
        assert report.get(keyword) == source.get(keyword)
    assert report.SeriesInstanceUID != source.SeriesInstanceUID
    assert (report.VerificationFlag, report.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")


def test_report_holds_finding_score_threshold_algorithm_and_source(answered: Path) -> None:
    report = srread(answered / "out" / "reports" / "000001.dcm")
    (group,) = report.content.get_image_measurement_groups()
    scores = {one.name.value: float(one.value) for one in group.get_measurements()}
    table = (answered / "out" / "predictions.csv").read_text().splitlines()[1].split(",")
    assert scores == {"probability": pytest.approx(float(table[4]), abs=1e-6), "threshold": 0.5}
    assert group.finding_type.meaning == "Mass"
    (evaluation,) = group.get_qualitative_evaluations()
    assert evaluation.value.meaning == ("Present" if table[6] == "yes" else "Absent")
    text = " ".join(texts(report))
    assert "mass on random weights" in text and "calibration temperature on 40 validation cases" in text
    source = dcmread(answered / "films" / "film-0.dcm")
    (referenced,) = group.source_images
    assert referenced.referenced_sop_instance_uid == source.SOPInstanceUID


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Pneumonia", "PNEUMONIA"),
        ("mass", "MASS"),
        ("Pleural  effusion", "PLEURAL_EFFUSION"),
        ("Nodule 3", "NODULE_3"),
    ],
)
def test_a_finding_without_a_code_has_its_name_as_one(name: str, value: str) -> None:
    code = finding_code(rules(finding={"positive": name, "negative": "none", "code": None}))
    assert (code.value, code.scheme_designator, code.meaning) == (value, "99SRCMATTERS", name)


def test_codes_of_two_findings_are_never_the_same() -> None:
    names = [
        "Ground glass opacity",
        "Ground glass opacities",
        "T1",
        "T 1",
        "T_1",
        "T-1",
        "Ödem",
        "Dem",
        "肺炎",
    ]
    finding_codes = [finding_code(rules(finding={"positive": name, "code": None})) for name in names]
    assert len({code.value for code in finding_codes}) == len(names)
    assert all(re.fullmatch("[A-Z0-9_]{1,16}", code.value) for code in finding_codes), "DICOM's SH"


def test_a_negative_answer_is_the_finding_evaluated_as_absent_and_no_finding(
    answered: Path, tmp_path: Path
) -> None:
    finding = {"positive": "Pneumonia", "negative": "No pneumonia", "code": None}
    sure = {"value": 1.0, "rule": "youden", "fixed_on": "validation", "cases": 40}
    bundle = write_bundle(tmp_path / "bundle", finding=finding, threshold=sure)
    with Predictor(open_bundle(bundle)) as predictor:
        (prediction,) = predictor.predict([answered / "films" / "film-0.dcm"])
        (report,) = result_objects(prediction, predictor)
    assert prediction.finding is False
    report.save_as(tmp_path / "report.dcm")
    (group,) = srread(tmp_path / "report.dcm").content.get_image_measurement_groups()
    assert group.finding_type is None, "Finding = Pneumonia would be read as its presence"
    (evaluation,) = group.get_qualitative_evaluations()
    assert (evaluation.name.value, evaluation.name.meaning) == ("PNEUMONIA", "Pneumonia")
    assert evaluation.value == codes.SCT.Absent
    assert group.tracking_identifier == "Assessment for Pneumonia"


def test_answers_name_the_version_of_the_model_and_that_of_the_program(
    answered: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(
        "srcmatters.deployment.dicom_results.secondary_capture.draw",
        lambda preview, heat, text_lines: lines.extend(text_lines) or draw(preview, heat, text_lines),
    )
    bundle = write_bundle(tmp_path / "bundle", model_version="2.7 γ")
    with Predictor(open_bundle(bundle)) as predictor:
        (prediction,) = predictor.predict([answered / "films" / "film-0.dcm"])
        report, _ = result_objects(prediction, predictor, captures=True)
    assert named_texts(report, "Algorithm Name") == ["mass on random weights"]
    assert named_texts(report, "Algorithm Version") == ["2.7 γ"]
    assert f"srcmatters {__version__}" in named_texts(report, "Algorithm Parameters")
    assert any(line.startswith("mass on random weights, version 2.7 γ: ") for line in lines)


def test_flags_and_missing_audits_are_said_in_the_report(answered: Path) -> None:
    clean, flagged = (
        texts(dcmread(answered / "out" / "reports" / f"00000{number}.dcm")) for number in (1, 2)
    )
    assert not any("FLAGGED" in text or "UNAUDITED" in text for text in clean)
    assert any("FLAGGED: BurnedInAnnotation" in text for text in flagged)
    unaudited = dcmread(answered / "ct-out" / "reports" / "000001.dcm")
    assert (
        any("UNAUDITED" in text for text in texts(unaudited)) and "UNAUDITED" in unaudited.SeriesDescription
    )
    for text in (clean, flagged, texts(unaudited)):
        assert any("not a medical device" in line for line in text)


def test_a_network_that_failed_its_audit_says_so_in_every_output(answered: Path, tmp_path: Path) -> None:
    leaning = ["tag: AUC falls by .47 [.33, .60] where the correlation is reversed", "column:Ω: AUC falls"]
    audits: dict[str, list[str]] = {"failed": leaning, "passed": []}
    for name, leans_on in audits.items():
        bundle = write_bundle(tmp_path / name, audited=True, audit={"leans_on": leans_on})
        arguments = [bundle, answered / "films" / "film-0.dcm", "--out", tmp_path / f"{name}-out"]
        done = CliRunner().invoke(predict, [*map(str, arguments), "--sr", "--sc", "--json"])
        assert done.exit_code == 0 and ("LEANS ON A CONFOUNDER" in done.output) == bool(leans_on)
    outs = [tmp_path / f"{name}-out" for name in audits]
    (report, passed), (shown, clean) = (
        [dcmread(out / folder / "000001.dcm") for out in outs] for folder in ("reports", "saliency")
    )
    table, record = ((outs[0] / f"predictions.{kind}").read_text() for kind in ("csv", "json"))
    for confounder in leaning:
        mark = f"LEANS ON A CONFOUNDER: {confounder}"
        assert mark in texts(report) and mark in shown.ImageComments and mark in table
        assert mark in json.loads(record)["marks"]
    for answer in (report, shown):
        assert answer.SeriesDescription == "RESEARCH USE ONLY, LEANS ON A CONFOUNDER: mass on random weights"
    assert shown.Rows == clean.Rows + 2 * 16, "a line of the picture for each"
    assert "LEANS" not in str(passed) + str(clean) + (outs[1] / "predictions.csv").read_text()


def test_what_an_audit_left_open_is_said_as_loudly_as_what_it_showed(answered: Path, tmp_path: Path) -> None:
    """And what the labels of the target are separable by stands beside it."""
    mark = "INCONCLUSIVE: A letter in the corner: AUC falls by .04 [.01, .13], up to .13 is not excluded"
    shortcut = (
        "DISEASE OR SHORTCUT: thumbnails of 16 x 16 pixels alone separate the labels, AUC .86 [.82, .90]"
    )
    audit = {"outcome": "INCONCLUSIVE", "marks": [mark], "leans_on": []}
    bundle = write_bundle(tmp_path / "bundle", audited=True, audit=audit, shortcut=shortcut)
    film, out = answered / "films" / "film-0.dcm", tmp_path / "out"
    done = CliRunner().invoke(predict, [*map(str, [bundle, film, "--out", out]), "--sr", "--sc", "--json"])
    assert done.exit_code == 0 and "bundle: AUDIT INCONCLUSIVE" in done.output
    report, shown = (dcmread(out / folder / "000001.dcm") for folder in ("reports", "saliency"))
    for line in (mark, shortcut):
        assert line in texts(report) and line in shown.ImageComments
        assert line in json.loads((out / "predictions.json").read_text())["marks"]
    for answer in (report, shown):
        assert answer.SeriesDescription == "RESEARCH USE ONLY, AUDIT INCONCLUSIVE: mass on random weights"


def test_report_on_a_scan_references_every_slice(answered: Path) -> None:
    report = dcmread(answered / "ct-out" / "reports" / "000001.dcm")
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    referenced = {one.ReferencedSOPInstanceUID for one in evidence.ReferencedSOPSequence}
    assert referenced == {dcmread(file).SOPInstanceUID for file in (answered / "series").iterdir()}


def test_a_report_calls_no_probability_calibrated_that_is_not(answered: Path, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle", calibration={"method": "none", "cases": 0})
    arguments = [str(bundle), str(answered / "films" / "film-0.dcm"), "--out", str(tmp_path / "out"), "--sr"]
    assert CliRunner().invoke(predict, arguments).exit_code == 0

    def measured(path: Path) -> set[str]:
        return {
            name.CodeMeaning
            for element in dcmread(path).iterall()
            if element.keyword == "ConceptNameCodeSequence"
            for name in element.value
            if name.CodeMeaning.endswith("probability of the finding")
        }

    assert measured(tmp_path / "out" / "reports" / "000001.dcm") == {
        "Uncalibrated probability of the finding"
    }
    assert measured(answered / "out" / "reports" / "000001.dcm") == {"Calibrated probability of the finding"}


def test_capture_shows_the_image_and_names_nobody_else(answered: Path) -> None:
    shown = dcmread(answered / "out" / "saliency" / "000002.dcm")
    assert shown.SOPClassUID == SecondaryCaptureImageStorage and shown.PhotometricInterpretation == "RGB"
    assert str(shown.PatientName) == "Müller^Jörg" and shown.Modality == "OT"
    assert shown.ConversionType == "WSD"
    assert shown.pixel_array.shape[1:] == (1024, 3) and shown.pixel_array[:512, :512].std() > 10
    source = dcmread(answered / "films" / "film-1.dcm")
    assert shown.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID


def test_a_report_says_first_what_the_bundle_is_worth(answered: Path) -> None:
    root = dcmread(answered / "ct-out" / "reports" / "000001.dcm")
    first = next(text for text in texts(root) if "RESEARCH" in text or "Probability" in text)
    assert first == "RESEARCH USE ONLY, UNAUDITED: mass on random weights"
    kinds = [item.ConceptNameCodeSequence[0].CodeMeaning for item in root.ContentSequence]
    assert kinds[-2:] == ["Comment", "Imaging Measurements"]


def test_a_report_refers_to_the_capture_of_its_answer_and_names_its_codes(answered: Path) -> None:
    for out in ("out", "ct-out"):
        report = srread(answered / out / "reports" / "000001.dcm")
        shown = dcmread(answered / out / "saliency" / "000001.dcm")
        (group,) = report.content.get_image_measurement_groups()
        images = [item for item in group[0].ContentSequence if item.ValueType == "IMAGE"]
        (explaining,) = [item for item in images if item.name == codes.DCM.GradientWeightedClassActivation]
        assert explaining.referenced_sop_instance_uid == shown.SOPInstanceUID
        evidence = [
            instance.ReferencedSOPInstanceUID
            for series in report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
            for instance in series.ReferencedSOPSequence
        ]
        assert shown.SOPInstanceUID in evidence
        (scheme,) = report.CodingSchemeIdentificationSequence
        assert scheme.CodingSchemeDesignator == "99SRCMATTERS"


def test_objects_name_the_network_that_contributed_to_them(answered: Path) -> None:
    for folder in ("reports", "saliency"):
        made = dcmread(answered / "out" / folder / "000001.dcm")
        devices = {
            device.get("ManufacturerModelName"): device for device in made.ContributingEquipmentSequence
        }
        network, scanner = devices["mass on random weights"], devices["srcmatters phantom"]
        assert network.SoftwareVersions == "1.0.0"
        purposes = [one.PurposeOfReferenceCodeSequence[0].CodeMeaning for one in (network, scanner)]
        assert purposes == ["Processing Equipment", "Acquisition Equipment"]
        assert scanner.Manufacturer == dcmread(answered / "films" / "film-0.dcm").Manufacturer


#: A scheme of ours cannot be among those that the checker knows; the report says whose it is.
_EXPLAINED = "Unrecognized defined term <99SRCMATTERS>"


def test_dciodvfy_finds_no_fault_in_reports_and_captures(answered: Path, tmp_path: Path) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("no dciodvfy on PATH: apt-get install dicom3tools; SR and SC were not checked")
    files = [*answered.glob("*out/reports/*.dcm"), *answered.glob("*out/saliency/*.dcm")]
    assert len(files) == 6
    scan = sorted((answered / "series").iterdir())
    with Predictor(open_bundle(answered / "bundle")) as predictor:
        for number, refused in enumerate(predictor.predict(scan)):
            (told,) = refusal_objects(refused, predictor)
            files.append(tmp_path / f"refusal-{number}.dcm")
            told.save_as(files[-1])
    assert len(files) == 7
    for file in files:
        done = subprocess.run(["dciodvfy", str(file)], capture_output=True, encoding="latin-1", check=False)
        first, *messages = (done.stdout + done.stderr).splitlines()
        assert first in ("Comprehensive3DSR", "SCImage")
        assert [line for line in messages if _EXPLAINED not in line] == [], file


def test_dcmtk_reads_reports_and_captures_without_complaint(answered: Path) -> None:
    if shutil.which("dsrdump") is None:
        pytest.skip("no dsrdump on PATH: install dcmtk (Debian: apt-get install dcmtk)")
    for report in (answered / "out" / "reports").iterdir():
        done = subprocess.run(["dsrdump", str(report)], capture_output=True, encoding="latin-1", check=False)
        assert done.returncode == 0 and not done.stderr and "Calibrated probability" in done.stdout
    for shown in (answered / "out" / "saliency").iterdir():
        done = subprocess.run(["dcmdump", str(shown)], capture_output=True, encoding="latin-1", check=False)
        assert done.returncode == 0 and not done.stderr


def test_an_image_in_which_nothing_speaks_for_the_finding_is_shown_once_and_says_so(
    answered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preview = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    heat = np.zeros((8, 8), np.float32)
    assert draw(preview, heat, []).shape == (512, 512, 3)
    heat[:4] = 1
    other = draw(preview, heat, [])
    assert np.array_equal(other[300:512, :512], other[300:512, 512:])
    assert not np.array_equal(other[:200, :512], other[:200, 512:])
    lines: list[str] = []
    where = "srcmatters.deployment.dicom_results."
    monkeypatch.setattr(
        where + "secondary_capture.draw", lambda *arguments: lines.extend(arguments[2]) or draw(*arguments)
    )
    monkeypatch.setattr(where + "result_objects.saliency", lambda *_: np.zeros((8, 8), np.float32))
    with Predictor(open_bundle(answered / "bundle")) as predictor:
        (prediction,) = predictor.predict([answered / "films" / "film-0.dcm"])
        _, shown = result_objects(prediction, predictor, captures=True)
    assert shown.Columns == 512
    assert [line for line in lines if "Grad-CAM" in line] == [
        "No place of this image speaks for Mass (Grad-CAM): it is shown without colours"
    ]


def test_the_same_answer_to_the_same_images_has_the_same_identity(answered: Path) -> None:
    film = answered / "films" / "film-0.dcm"
    with Predictor(open_bundle(answered / "bundle")) as predictor:
        answers = [
            result_objects(next(iter(predictor.predict([film]))), predictor, captures=True) for _ in range(2)
        ]
        (other,) = result_objects(
            next(iter(predictor.predict([answered / "films" / "film-1.dcm"]))), predictor
        )
    uids = [[(one.SOPInstanceUID, one.SeriesInstanceUID) for one in objects] for objects in answers]
    assert uids[0] == uids[1] and len(set(uids[0])) == 2
    assert other.SOPInstanceUID != answers[0][0].SOPInstanceUID
    kept = dcmread(answered / "out" / "reports" / "000001.dcm")
    assert kept.SOPInstanceUID == answers[0][0].SOPInstanceUID, "in another process, too"


@pytest.mark.parametrize("keyword", ["PatientID", "StudyInstanceUID"])
def test_the_same_image_of_another_patient_or_study_is_answered_by_other_objects(
    answered: Path, tmp_path: Path, keyword: str
) -> None:
    film = dcmread(answered / "films" / "film-0.dcm")
    setattr(film, keyword, generate_uid())  # what a correction in the archive leaves of the first one
    film.save_as(tmp_path / "corrected.dcm")
    with Predictor(open_bundle(answered / "bundle")) as predictor:
        first, corrected = (
            result_objects(next(iter(predictor.predict([path]))), predictor, captures=True)
            for path in (answered / "films" / "film-0.dcm", tmp_path / "corrected.dcm")
        )
    for before, after in zip(first, corrected, strict=True):
        assert after.get(keyword) == film.get(keyword)
        assert after.SOPInstanceUID != before.SOPInstanceUID
        assert after.SeriesInstanceUID != before.SeriesInstanceUID, "a series is in one study"


def test_names_of_files_reach_no_object(answered: Path, tmp_path: Path) -> None:
    folder = tmp_path / "DOE_JANE"
    shutil.copytree(answered / "series", folder)
    slices = sorted(folder.iterdir())
    shutil.copy(slices[2], folder / "DOE_JANE_19600101.dcm")
    with Predictor(open_bundle(answered / "ct-bundle")) as predictor:
        (prediction,) = predictor.predict([folder])
        assert any("DOE_JANE" in reason for reason in prediction.reasons), "the table says which file"
        report, shown = result_objects(prediction, predictor, captures=True)
    lines = texts(report)
    assert any(text.startswith("FLAGGED: a file: the same slice as a file") for text in lines), lines
    assert "DOE" not in str(report) + str(shown)
    referenced = [one.ReferencedSOPInstanceUID for one in shown.SourceImageSequence]
    assert len(referenced) == len(set(referenced)) == len(slices)


@pytest.mark.parametrize(
    ("burnt_in", "text", "expected"),
    [("NO", "", "NO"), ("YES", "", "YES"), (None, "", None), ("NO", "DOE^JANE 1960", "YES")],
)
def test_a_capture_says_what_is_in_the_pixels_of_its_source(
    answered: Path, tmp_path: Path, burnt_in: str | None, text: str, expected: str | None
) -> None:
    film = dcmread(answered / "films" / "film-0.dcm")
    pixels = np.pad(film.pixel_array, ((192, 0), (0, 128)))
    picture = Image.fromarray(pixels)
    ImageDraw.Draw(picture).text((4, 8), text, fill=255, font=ImageFont.load_default(size=18))
    film.Rows, film.Columns, film.PixelData = *pixels.shape, np.asarray(picture).tobytes()
    film.LossyImageCompression, film.LossyImageCompressionRatio = "01", "12"
    film.LossyImageCompressionMethod = "ISO_10918_1"
    film.BurnedInAnnotation = burnt_in or ""
    film.save_as(tmp_path / "film.dcm")
    with Predictor(open_bundle(answered / "bundle")) as predictor:
        (prediction,) = predictor.predict([tmp_path / "film.dcm"])
        _, shown = result_objects(prediction, predictor, captures=True)
    assert shown.get("BurnedInAnnotation") == expected
    assert (shown.LossyImageCompression, shown.LossyImageCompressionRatio) == ("01", 12)
    assert any("burnt" in reason for reason in prediction.reasons) == bool(text)


def test_reader_answers_a_study_and_refuses_one_without_an_image_for_it(answered: Path) -> None:
    reader = BundleReader(answered / "bundle", captures=True)
    films = sorted((answered / "films").iterdir())
    answers = reader.read(answered / "films", [*films, *(answered / "series").iterdir()])
    assert [answer.Modality for answer in answers] == ["SR", "OT", "SR", "OT"]
    assert all(answer.file_meta.TransferSyntaxUID for answer in answers)
    with pytest.raises(InputError, match="Modality is CT, expected CR or DX or RG"):
        reader.read(answered / "series", sorted((answered / "series").iterdir()))
    reader.predictor.close()
