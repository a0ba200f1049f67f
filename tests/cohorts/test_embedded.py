"""The embedded cohort: written once into the cache, found again, and whole whoever comes at the same time."""

from __future__ import annotations

import os
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from srcmatters.cohorts import find_images, open_cohort, phantom_cohort
from srcmatters.cohorts.phantom_cohort import write_phantom_cohort
from srcmatters.errors import InputError

small_cohort = partial(write_phantom_cohort, patients=4, image_size=32)


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """An empty cache of the test's own, and small phantoms; the folders that were written."""
    folders: list[Path] = []

    def write(folder: Path) -> pd.DataFrame:
        folders.append(folder)
        time.sleep(0.1)  # time enough for another process to come in between
        return small_cohort(folder)

    monkeypatch.setenv("SRCMATTERS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(phantom_cohort, "write_phantom_cohort", write)
    return folders


def test_the_phantoms_are_written_to_the_cache_on_first_use_alone(written: list[Path]) -> None:
    first, again = open_cohort("phantom"), open_cohort("phantom")
    assert len(written) == 1
    assert Path(os.environ["SRCMATTERS_CACHE"]) in written[0].parents
    pd.testing.assert_frame_equal(first, again)
    assert len(first) == 4
    assert all(Path(image).is_file() for image in first["image"])


def test_the_embedded_cohort_is_what_the_phantom_command_writes_without_options(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls: list[tuple[object, ...]] = []
    monkeypatch.setenv("SRCMATTERS_CACHE", str(tmp_path))

    def write(*arguments: object, **options: object) -> None:
        calls.append((*arguments, options))
        small_cohort(arguments[0])

    monkeypatch.setattr(phantom_cohort, "write_phantom_cohort", write)
    open_cohort("phantom")
    assert [call[1:] for call in calls] == [({},)]  # its defaults: 240 patients, 256 x 256


def test_two_who_come_at_once_get_one_whole_cohort(written: list[Path]) -> None:
    tables: list[pd.DataFrame] = []
    threads = [threading.Thread(target=lambda: tables.append(open_cohort("phantom"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(written) == 1
    assert [len(table) for table in tables] == [4, 4, 4]


def test_a_cohort_that_could_not_be_finished_is_written_anew(
    written: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("srcmatters.cohorts.phantom_cohort.write_png", interrupted)
        with pytest.raises(KeyboardInterrupt):
            open_cohort("phantom")
    assert len(open_cohort("phantom")) == 4
    assert len(written) == 2


def test_without_a_cache_variable_the_home_folder_has_the_cache(
    written: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SRCMATTERS_CACHE")
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    open_cohort("phantom")
    assert tmp_path / "home" / ".cache" / "srcmatters" in written[0].parents


def test_any_other_folder_is_read_and_nothing_is_written(
    written: list[Path], radiograph_cohort: Path
) -> None:
    cases = open_cohort(radiograph_cohort)
    assert len(cases) == 48
    assert written == []
    with pytest.raises(InputError, match="nowhere is not a folder"):
        open_cohort(radiograph_cohort / "nowhere")


def test_the_phantoms_of_ct_are_a_cohort_of_their_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls: list[dict[str, Any]] = []
    monkeypatch.setenv("SRCMATTERS_CACHE", str(tmp_path))

    def write(folder: Path, **options: Any) -> None:
        calls.append(options)
        write_phantom_cohort(folder, **options | {"patients": 2, "slab_mm": 12.0})

    monkeypatch.setattr(phantom_cohort, "write_phantom_cohort", write)
    cases = open_cohort("phantom", modality="ct")
    pd.testing.assert_frame_equal(open_cohort("phantom", modality="ct"), cases)
    assert calls == [{"patients": 120, "modality": "ct", "slab_mm": 48.0, "difficulty": 0.7, "benign": 0.5}]
    assert {"x_mm", "y_mm", "z_mm", "diameter_mm", "slice_thickness_mm", "contrast"} <= set(cases)
    assert all(image.endswith(".nii.gz") for image in cases["image"])
    with pytest.raises(InputError, match="modality: no phantoms of 'mri', expected one of: xray, ct"):
        open_cohort("phantom", modality="mri")


# Images without a table


def test_images_are_found_by_extension_and_dicom_without_one(tmp_path: Path) -> None:
    images = ["a.PNG", "b/c.jpeg", "b/d/IM0001", "e.dcm", "f.tif", "g.nii.gz", "h.Mha", "i.IMA"]
    others = ["cases.csv", "notes.txt", "README", ".hidden.png", ".DS_Store", "j.gz"]
    for name in [*images, *others]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(bytes(128) + b"DICM" if name.endswith("IM0001") else b"x" * 140)
    assert find_images(tmp_path) == [str(tmp_path / name) for name in images]


def test_the_images_of_a_cohort_are_those_of_its_table(radiograph_cohort: Path) -> None:
    assert find_images(radiograph_cohort) == sorted(open_cohort(radiograph_cohort)["image"])


def test_a_folder_without_images_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "cases.csv").touch()
    with pytest.raises(InputError, match=rf"dataset_dir: {tmp_path} holds no image"):
        find_images(tmp_path)
    with pytest.raises(InputError, match=r"cases\.csv is not a folder"):
        find_images(tmp_path / "cases.csv")
