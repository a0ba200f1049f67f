"""`srcmatters predict` over folders of malformed files: a row for each, valid DICOM objects, nothing else."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, Phase, given, settings, strategies as st
from malformed_dicom import hostile_files
from prediction_cases import changed, write_bundle, write_radiographs, write_series
from pydicom import dcmread
from test_malformed_structure import of_films, of_scans

from srcmatters.deployment.predict_command import predict
from srcmatters.deployment.prediction.predictor import Predictor

MEMORY = 2 * 2**30  # of the program and of each process that decodes for it


@pytest.fixture
def cases(tmp_path: Path) -> tuple[Path, Sequence[Path]]:
    """A radiograph, and slices of a CT series."""
    return write_radiographs(tmp_path / "films")[0], write_series(tmp_path / "series")[:6]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the program runs; what it leaves in the folder for temporary files fails the test."""
    (tmp_path / "temporary").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.chdir(tmp_path / "work")
    yield tmp_path / "work"
    assert not list((tmp_path / "temporary").iterdir())


def write_drawn(files: st.SearchStrategy[Any], count: int, folder: Path) -> None:
    """Write what is drawn: files, and folders of series."""
    folder.mkdir()

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(files)
    def write(content: Any) -> None:
        number = len(list(folder.iterdir()))
        if not isinstance(content, dict):
            (folder / f"{number:05d}{content[0]}").write_bytes(content[1])
            return
        (folder / f"{number:05d}").mkdir()
        for name, part in content.items():
            (folder / f"{number:05d}" / name).write_bytes(part)

    write()


def check_table(out: Path, files: Path) -> None:
    """Every file is in one row, which has a probability or a reason, in one line."""
    paths = [path for path in files.rglob("*") if path.is_file()]
    with (out / "predictions.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    assert len((out / "predictions.csv").read_text().splitlines()) == len(rows) + 1
    assert sum(int(row["files"]) for row in rows) == len(paths)
    for row in rows:
        assert row["reasons"].isprintable() and bool(row["reasons"]) == (row["status"] != "predicted")
        assert bool(row["probability"]) == (row["status"] != "refused")
    assert {row["status"] for row in rows} >= {"refused", "predicted"}


def check_objects(out: Path, program: str, at_most: int) -> None:
    """What was written is DICOM to others, too."""
    written = sorted(out.rglob("*.dcm"))[:: max(1, len(list(out.rglob("*.dcm"))) // at_most)]
    assert written
    for path in written:
        assert dcmread(path).StudyInstanceUID
        if shutil.which(program):
            done = subprocess.run([program, str(path)], capture_output=True, check=False)
            assert done.returncode == 0 and b"E: " not in done.stderr, done.stderr


def test_table_has_every_malformed_file_and_nothing_else_is_written(
    cases: tuple[Path, Sequence[Path]], workplace: Path
) -> None:
    film, _ = cases
    write_drawn(of_films(film), 40, workplace.parent / "files")
    write_drawn(hostile_files(film).map(lambda content: (".dcm", content)), 30, workplace.parent / "dicom")
    bundle = write_bundle(workplace.parent / "bundle")
    for files in ("files", "dicom"):
        options = [str(bundle), str(workplace.parent / files), "--out", files, "--sr", "--sc", "--json"]
        done = CliRunner().invoke(predict, options, catch_exceptions=False)
        assert done.exit_code == 0 and done.output.count("\n") == 1
        check_table(workplace / files, workplace.parent / files)
    assert sorted(path.name for path in workplace.iterdir()) == ["dicom", "files"]
    check_objects(workplace / "dicom" / "reports", "dsrdump", 10)
    check_objects(workplace / "dicom" / "saliency", "dcmdump", 3)


def test_objects_repeat_nothing_that_is_not_valid(
    cases: tuple[Path, Sequence[Path]], workplace: Path
) -> None:
    film, _ = cases
    files = workplace.parent / "files"
    files.mkdir()
    odd: list[dict[str, str | None]] = [
        {"StudyDate": "yesterday", "PatientSex": "?", "AccessionNumber": "A" * 40},
        {"PatientID": "A" * 300},
        {"StudyInstanceUID": "no UID"},
        {"SpecificCharacterSet": "ISO_IR 192", "PatientName": "山田^太郎"},
        {"StudyInstanceUID": None},
    ]
    for number, elements in enumerate(odd, 1):
        changed(film, files / f"{number}.dcm", SeriesInstanceUID=f"1.2.3.{number}", **elements)
    bundle = write_bundle(workplace.parent / "bundle")
    done = CliRunner().invoke(predict, [str(bundle), str(files), "--out", "out", "--sr", "--sc"])
    assert done.exit_code == 0
    with (workplace / "out" / "predictions.csv").open(newline="") as table:
        reasons = [row["reasons"] for row in csv.DictReader(table)]
    assert reasons[0] == reasons[3] == ""
    for row, keyword in ((1, "PatientID"), (2, "StudyInstanceUID"), (4, "StudyInstanceUID")):
        assert f"{keyword} is" in reasons[row]
    first, fourth = (dcmread(workplace / "out" / "reports" / f"00000{number}.dcm") for number in (1, 4))
    assert not first.StudyDate and not first.PatientSex and not first.AccessionNumber
    assert first.PatientName == dcmread(film).PatientName and fourth.PatientName == "山田^太郎"
    check_objects(workplace / "out" / "reports", "dcmdump", 9)


def run_measured(options: Sequence[str], workplace: Path) -> tuple[int, int]:
    """Exit code of the program, and the most memory that it or any process of it took."""
    program = [sys.executable, "-c", "from srcmatters.cli import main; main()", "predict", *options]
    with (workplace.parent / "output").open("wb") as output:
        process = subprocess.Popen(program, cwd=workplace, stdout=output, stderr=output)
        _, state, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(state)
    assert b"Traceback" not in (workplace.parent / "output").read_bytes()
    return process.returncode, used.ru_maxrss * 1024


@pytest.mark.slow
def test_two_thousand_malformed_files_are_a_table_within_two_gigabytes(
    cases: tuple[Path, Sequence[Path]], workplace: Path
) -> None:
    film, slices = cases
    dicom = hostile_files(film).map(lambda content: (".dcm", content))
    write_drawn(st.one_of(of_films(film), dicom), 1600, workplace.parent / "films-drawn")
    write_drawn(of_scans(slices), 400, workplace.parent / "scans-drawn")
    # Single slices are flagged as too thin for a box; one series among all the others is as it should be.
    (workplace.parent / "scans-drawn" / "intact").mkdir()
    for path in slices:
        intact = workplace.parent / "scans-drawn" / "intact" / path.name
        changed(path, intact, SeriesInstanceUID="1.2.826.0.1.3680043.8.498.1")
    scans = {"modality": "ct", "unit": "HU", "window": "lung", "patch_mm": 20, "spatial_dims": 3}
    write_bundle(workplace.parent / "films-bundle")
    write_bundle(workplace.parent / "scans-bundle", **scans)
    for kind in ("films", "scans"):
        source = workplace.parent / f"{kind}-drawn"
        options = [str(workplace.parent / f"{kind}-bundle"), str(source), "--out", kind, "--sr", "--sc"]
        code, peak = run_measured(options, workplace)
        assert code == 0 and peak < MEMORY
        print(f"{kind}: {len(list(source.iterdir()))} drawn, {peak / 2**20:.0f} MiB")
        check_table(workplace / kind, source)
        check_objects(workplace / kind / "reports", "dsrdump", 60)
        check_objects(workplace / kind / "saliency", "dcmdump", 20)
    assert sorted(path.name for path in workplace.iterdir()) == ["films", "scans"]


def test_memory_does_not_grow_with_the_number_of_captures(
    cases: tuple[Path, Sequence[Path]], tmp_path: Path
) -> None:
    from psutil import Process

    from srcmatters.deployment.dicom_results.result_objects import result_objects
    from srcmatters.exported_bundle.bundle import open_bundle

    film, _ = cases
    with Predictor(open_bundle(write_bundle(tmp_path / "bundle"))) as predictor:
        (answer,) = predictor.predict([film])
        result_objects(answer, predictor, captures=True)
        before = Process().memory_info().rss
        for _ in range(8):
            result_objects(answer, predictor, captures=True)
    # A network of 20 MB that is kept for each would be 160.
    assert Process().memory_info().rss - before < 80 * 2**20
