"""Files that are well formed and untrue: whatever a header says, there is an answer or a reason, and soon."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from malformed_dicom import hostile_files
from malformed_files import itk_files, masquerades, nifti_files, png_files, zip_files
from malformed_series import hostile_enhanced, hostile_series
from prediction_cases import write_bundle, write_radiographs, write_series
from psutil import Process
from resource_use import MeasuredPredictor, open_files

from srcmatters.deployment.dicom_results.result_objects import result_objects
from srcmatters.deployment.prediction.sandboxed_decoder import MEMORY
from srcmatters.errors import InputError
from srcmatters.exported_bundle.bundle import open_bundle

SECONDS = 5.0  # of processor time, for one file, this process included
Content = tuple[str, bytes]
Run = Callable[[st.SearchStrategy[Any], int], None]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A radiograph in DICOM."""
    return write_radiographs(tmp_path_factory.mktemp("film") / "films")[0]


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Path]:
    """Six slices of a CT series."""
    return write_series(tmp_path_factory.mktemp("series") / "series")[:6]


@pytest.fixture(scope="module")
def films_predictor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MeasuredPredictor]:
    """Of a bundle for radiographs."""
    with MeasuredPredictor(open_bundle(write_bundle(tmp_path_factory.mktemp("made") / "bundle"))) as made:
        yield made


@pytest.fixture(scope="module", params=[2, 3])
def scans_predictor(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MeasuredPredictor]:
    """Of a bundle for slices of CT, and of one for boxes of 40 mm in it."""
    dimensions = {"spatial_dims": request.param, "patch_mm": 40 if request.param == 3 else None}
    folder = tmp_path_factory.mktemp("made") / "bundle"
    bundle = write_bundle(folder, modality="ct", unit="HU", window="lung", **dimensions)
    with MeasuredPredictor(open_bundle(bundle)) as made:
        yield made


def answer(predictor: MeasuredPredictor, content: Content | dict[str, bytes], folder: Path) -> None:
    """Write what was drawn, read it, and have the DICOM objects made of what was answered."""
    with tempfile.TemporaryDirectory(dir=folder) as part:
        path = Path(part)
        if isinstance(content, dict):
            for name, bytes_ in content.items():
                (path / name).write_bytes(bytes_)
        else:
            path = path / f"file{content[0]}"
            path.write_bytes(content[1])
        for prediction in predictor.answers(path):
            try:
                result_objects(prediction, predictor)
            except InputError as error:
                assert prediction.item.message(str(error))  # noqa: PT017  whether it raises is what varies


def check(predictor: MeasuredPredictor, files: st.SearchStrategy[Any], count: int, folder: Path) -> None:
    """Answer ``count`` drawn files, and hold what they took to the limits."""

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(files)
    def answer_all(content: Content | dict[str, bytes]) -> None:
        answer(predictor, content, folder)

    predictor.measured.close()
    before, children, resident = open_files(), Process().children(), Process().memory_info().rss
    answer_all()
    assert not list(folder.iterdir())
    predictor.measured.close()
    assert open_files() <= before + 2 and Process().children() == children
    assert predictor.measured.peak < resident + MEMORY + 2**28
    assert predictor.processor < SECONDS
    assert predictor.statuses["refused"] and predictor.statuses["predicted"] + predictor.statuses["flagged"]
    count, peak = sum(predictor.statuses.values()), predictor.measured.peak / 2**20
    print(
        f"{count} answers, each in at most {predictor.seconds:.1f} s and {predictor.processor:.1f} s of"
        f" processor time; {peak:.0f} MiB: {predictor.statuses}"
    )


def of_films(film: Path) -> st.SearchStrategy[Content]:
    """Anything that may lie in a folder of radiographs."""
    dicom = hostile_files(film).map(lambda content: (".dcm", content))
    return st.one_of(
        st.just((".dcm", film.read_bytes())),  # one that is true has to get through
        dicom,
        dicom,
        nifti_files(),
        png_files(),
        masquerades(),
        itk_files(),
        zip_files(film.read_bytes()),
    )


def of_scans(slices: Sequence[Path]) -> st.SearchStrategy[Content | dict[str, bytes]]:
    """Anything that may be taken for CT."""
    frames = hostile_enhanced(slices).map(lambda content: (".dcm", content))
    one = hostile_files(slices[0]).map(lambda content: (".dcm", content))
    return st.one_of(hostile_series(slices), hostile_series(slices), frames, one, nifti_files(), itk_files())


def test_untrue_radiographs_are_answered_or_refused_in_one_line(
    films_predictor: MeasuredPredictor, film: Path, tmp_path: Path
) -> None:
    check(films_predictor, of_films(film), 120, tmp_path)


def test_untrue_scans_are_answered_or_refused_in_one_line(
    scans_predictor: MeasuredPredictor, slices: Sequence[Path], tmp_path: Path
) -> None:
    check(scans_predictor, of_scans(slices), 50, tmp_path)


@pytest.mark.slow
def test_a_thousand_untrue_radiographs(
    films_predictor: MeasuredPredictor, film: Path, tmp_path: Path
) -> None:
    check(films_predictor, of_films(film), 1000, tmp_path)


@pytest.mark.slow
def test_a_thousand_untrue_scans(
    scans_predictor: MeasuredPredictor, slices: Sequence[Path], tmp_path: Path
) -> None:
    check(scans_predictor, of_scans(slices), 500, tmp_path)
