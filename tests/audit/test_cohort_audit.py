"""`srcmatters cohorts audit`: the ladder and the leaks of a case table, without any model."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image
from scipy.stats import binomtest

from srcmatters.audit.case_images import CaseImages, Refused
from srcmatters.audit.cohort import image_summaries
from srcmatters.audit.cohort.file_facts import date_columns, file_facts, order_facts
from srcmatters.audit.cohort.leaks import FactLeak, empty_cells, fact_leaks, near_between, shared_between
from srcmatters.audit.cohort.output import leak_table
from srcmatters.cli import command
from srcmatters.cohorts import read_cases
from srcmatters.cohorts.phantom_cohort import write_phantom_cohort
from srcmatters.errors import InputError

LABELS = np.arange(200) % 2
PATIENTS = np.array([f"p{place}" for place in range(200)])


def audited(folder: Path, out: Path, *words: str) -> tuple[dict, str]:
    result = CliRunner().invoke(command, ["cohorts", "audit", str(folder), "--out", str(out), *words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return json.loads((out / "cohort_audit.json").read_text()), result.output


def test_one_command_from_folder_to_page(radiograph_cohort: Path, tmp_path: Path) -> None:
    record, shown = audited(radiograph_cohort, tmp_path)
    steps = [row["step"] for row in record["ladder"]]
    assert steps[:3] == ["columns", "mean_sd", "histogram"] and "centre_masked" in steps
    assert record["cases"] == {"cases": 48, "positives": 24, "patients": 48}
    assert record["shared"]["look_alikes"] == 0 and "look the same" in shown
    page = (tmp_path / "cohort_audit.html").read_text()
    for text in (shown, page):
        assert "disease changes a histogram, too" in " ".join(text.split())
    assert "<svg" in page and "row order" in shown
    assert "phantom-0001" not in json.dumps(record)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows that were decoded, in parts of 8."""
    rows: list[int] = []
    grey = CaseImages.grey
    monkeypatch.setattr(CaseImages, "grey", lambda self, row: rows.append(row) or grey(self, row))
    monkeypatch.setattr(image_summaries, "CHUNK", 8)
    return rows


def test_a_second_audit_decodes_what_changed_alone(
    radiograph_cohort: Path, tmp_path: Path, decoded: list[int]
) -> None:
    folder = tmp_path / "cohort"
    shutil.copytree(radiograph_cohort, folder)
    first, _ = audited(folder, tmp_path / "out")
    assert decoded == list(range(48))
    decoded.clear()
    second, _ = audited(folder, tmp_path / "again")
    assert not decoded
    assert [second[name] for name in ("ladder", "shared", "leaks")] == [
        first[name] for name in ("ladder", "shared", "leaks")
    ]
    image = sorted((folder / "images").iterdir())[20]
    Image.fromarray(255 - np.asarray(Image.open(image))).save(image)
    summaries = list(image_summaries.image_summaries(CaseImages(read_cases(folder))))
    assert decoded == list(range(16, 24)) and len(summaries) == 48


def test_what_is_kept_is_of_one_way_of_reading_and_one_code(
    radiograph_cohort: Path, decoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = read_cases(radiograph_cohort).iloc[:8]
    kept = list(image_summaries.image_summaries(CaseImages(cases)))
    assert len(decoded) == 8 and kept[0].steps["mean_sd"].shape == (2,)
    list(image_summaries.image_summaries(CaseImages(cases, body_part="CHEST")))
    assert len(decoded) == 16
    monkeypatch.setattr(image_summaries, "__version__", "another")
    list(image_summaries.image_summaries(CaseImages(cases)))
    assert len(decoded) == 24


def test_an_interrupted_audit_leaves_whole_parts_and_goes_on(
    radiograph_cohort: Path, decoded: list[int], monkeypatch: pytest.MonkeyPatch, isolated_cache: Path
) -> None:
    images = CaseImages(read_cases(radiograph_cohort).iloc[:24])
    digest = CaseImages.digest

    def interrupted(self: CaseImages, row: int) -> str:
        if row == 13:
            raise KeyboardInterrupt
        return digest(self, row)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(CaseImages, "digest", interrupted)
        list(image_summaries.image_summaries(images))
    (part,) = (isolated_cache / "cohort_audits").iterdir()
    assert part.suffix == ".npz"
    decoded.clear()
    summaries = list(image_summaries.image_summaries(images))
    assert decoded == list(range(8, 24)) and len(summaries) == 24


def test_a_part_with_an_image_that_cannot_be_read_is_read_again(
    radiograph_cohort: Path, tmp_path: Path, decoded: list[int]
) -> None:
    cases = read_cases(radiograph_cohort).iloc[:16].reset_index(drop=True)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"none")
    cases.loc[3, "image"] = str(broken)
    for _ in range(2):
        summaries = list(image_summaries.image_summaries(CaseImages(cases)))
        assert isinstance(summaries[3], Refused) and "broken.png" in summaries[3].reason
    assert decoded == [*range(16), *range(8)]


def test_a_ct_too(ct_cohort: Path, tmp_path: Path) -> None:
    record, _ = audited(ct_cohort, tmp_path, "--modality", "ct")
    assert {"mean_sd", "thumbnail"} <= {row["step"] for row in record["ladder"]}


@pytest.mark.slow
def test_phantoms_are_chance_below_the_scale_of_the_lesion(tmp_path: Path) -> None:
    """Their classes differ in the lesion only: what is known must be where the lesion is."""
    write_phantom_cohort(tmp_path / "cohort", patients=300, image_size=96, difficulty=0.0)
    record, _ = audited(tmp_path / "cohort", tmp_path / "out")
    low = {row["step"]: row["low"] for row in record["ladder"]}
    for step in ("columns", "mean_sd", "corners", "edge", "frame"):
        assert low[step] < 0.5, (step, low[step])
    assert all(row["p_adjusted"] > 0.01 for row in record["leaks"] if row["fact"] != "file_bytes")


def test_a_fact_that_predicts_the_label_and_one_that_does_not() -> None:
    stream = np.random.default_rng(0)
    facts = pd.DataFrame(
        {
            "quality": 80.0 - 5 * LABELS + stream.normal(size=200),
            "site": np.where(stream.random(200) < 0.1 + 0.8 * LABELS, "a", "b"),
            "width": stream.normal(size=200),
            "constant": 1.0,
            "note": [f"text {place}" for place in range(200)],
        }
    )
    leaks, left_out = fact_leaks(facts, LABELS, PATIENTS)
    by_fact = {one.fact: one for one in leaks}
    assert by_fact["quality"].low > 0.9 and by_fact["quality"].p_adjusted < 0.01
    assert by_fact["site"].low > 0.7 and by_fact["site"].p_adjusted < 0.01
    assert by_fact["width"].p_adjusted > 0.05 and by_fact["width"].auc < 0.62
    assert leaks[0].fact == "quality" and left_out == ["constant", "note"]


@pytest.mark.parametrize(("area", "explained"), [(0.42, True), (0.61, False)])
def test_an_area_below_a_half_is_explained(area: float, explained: bool) -> None:
    audit = SimpleNamespace(leaks=[FactLeak("scanner", area, 0.3, 0.7, 0.9, 1.0, 40)], not_used=())
    assert ("An AUC below .5 is chance" in str(leak_table(audit).note)) == explained  # type: ignore[arg-type]


def test_the_null_of_a_fact_permutes_patients() -> None:
    """A fact of the patient, with many images each: rows would be called significant far too often."""
    false = 0
    for seed in range(40):
        stream = np.random.default_rng(seed)
        images = stream.integers(1, 12, 30)
        patients = np.repeat(np.arange(30), images)
        labels = stream.permutation(30)[patients] % 2
        facts = pd.DataFrame({"bytes": stream.normal(size=30)[patients]})
        (leak,), _ = fact_leaks(facts, labels, patients.astype(str), seed)
        false += leak.p_value < 0.05
    assert binomtest(false, 40, 0.05, alternative="greater").pvalue > 0.01, false


def test_empty_cells_of_one_and_two_attributes() -> None:
    stream = np.random.default_rng(0)
    sex, view = (np.where(stream.random(200) < 0.5, *pair) for pair in (("F", "M"), ("PA", "AP")))
    labels = LABELS.copy()
    labels[(sex == "M") & (view == "PA")] = 1
    site = np.where(labels == 1, "a", np.where(stream.random(200) < 0.5, "a", "b"))
    columns = pd.DataFrame({"sex": sex, "view": view, "site": site})
    cells = {one.cell: one.expected for one in empty_cells(columns, labels, PATIENTS)}
    # What follows from "no positive is of site b" is not listed again.
    assert set(cells) == {"positive, site b", "negative, sex M, view PA"}
    assert all(expected >= 5 for expected in cells.values())


def test_duplicates_and_patients_in_two_sets() -> None:
    cases = pd.DataFrame(
        {
            "patient_id": ["a", "a", "b", "c", "d"],
            "label": [0, 1, 0, 0, 1],
            "split": ["train", "test", "train", "test", "train"],
        }
    )
    assert shared_between(cases, ["x", "y", "z", "z", "w"]) == {
        "duplicates": 1,
        "duplicates_of_both_labels": 0,
        "duplicates_of_several_patients": 1,
        "patients_of_both_labels": 1,
        "patients_in_both_sets": 1,
        "images_in_both_sets": 1,
    }
    apart = cases.assign(x_mm=[0, 0, 1, 2, 0], y_mm=0, z_mm=0)
    assert shared_between(apart, ["x", "y", "z", "z", "w"])["duplicates"] == 0


def test_images_that_look_the_same_are_counted_across_patients() -> None:
    cases = pd.DataFrame({"patient_id": ["a", "a", "b", "c"], "label": [0, 0, 1, 0]})
    hashes = np.random.default_rng(0).integers(1, 2**63, (4, 4), dtype=np.uint64)
    hashes[1] = hashes[0]
    assert near_between(cases, hashes) == {"look_alikes": 0, "look_alikes_of_both_labels": 0}
    hashes[2] = hashes[0] ^ np.uint64(1)
    hashes[3] = hashes[0] ^ np.uint64(2)
    assert near_between(cases, hashes) == {"look_alikes": 5, "look_alikes_of_both_labels": 3}


def test_facts_of_files(tmp_path: Path) -> None:
    plain = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60), dtype=np.uint8))
    for quality in (30, 50, 92):
        plain.save(tmp_path / f"q{quality}.jpg", quality=quality)
    plain.save(tmp_path / "p.png")
    paths = [str(tmp_path / name) for name in ("q30.jpg", "q50.jpg", "q92.jpg", "p.png")]
    facts, header = file_facts(paths)
    assert facts["jpeg_quality"].round(-1).tolist()[:3] == [30, 50, 90] and np.isnan(facts["jpeg_quality"][3])
    assert facts["width"].tolist() == [60] * 4 and facts["height"].tolist() == [40] * 4
    assert facts["file_bytes"][0] < facts["file_bytes"][2] and header.empty


def test_headers_orders_and_dates(tmp_path: Path) -> None:
    cases = write_phantom_cohort(tmp_path / "c", patients=4, file_format="dicom", image_size=32)
    _, header = file_facts([str(tmp_path / "c" / image) for image in cases["image"]])
    assert header["Manufacturer"].notna().all() and header["BitsStored"].gt(0).all()
    named = pd.DataFrame({"image": ["a10.png", "a9.png", "a9.png"], "patient_id": ["2", "10", "10"]})
    orders = order_facts(named)
    assert orders["file_name_order"].tolist() == [1, 0, 0] and orders["patient_id_order"].tolist() == [
        0,
        1,
        1,
    ]
    dates = date_columns(pd.DataFrame({"on": ["2020-01-02", "20200101", None], "site": ["a", "b", "c"]}))
    assert dates["on"].diff().tolist()[1] == -1 and list(dates) == ["on"]


def test_one_label_is_refused(radiograph_cohort: Path, tmp_path: Path) -> None:
    table = pd.read_csv(radiograph_cohort / "cases.csv")
    table[table["label"] == 1].to_csv(tmp_path / "ones.csv", index=False)
    with pytest.raises(InputError, match="every label is 1"):
        audited(radiograph_cohort, tmp_path / "out", "--cases", str(tmp_path / "ones.csv"))
