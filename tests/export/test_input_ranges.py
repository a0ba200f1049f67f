"""The ranges that a bundle declares are those of what its images are read as."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pytest
from prediction_cases import changed, write_radiographs

from srcmatters.export.input_ranges import input_ranges
from srcmatters.images import load_radiograph


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({"PixelSpacing": [0.15, 0.2]}, [0.15, 0.2]),
        ({"PixelSpacing": None, "ImagerPixelSpacing": [0.1, 0.1]}, [0.1, 0.1]),
        ({"PixelSpacing": [0, 0], "ImagerPixelSpacing": [0.1, 0.1]}, [0.1, 0.1]),
        ({"PixelSpacing": [0.3, 0], "ImagerPixelSpacing": [0, 0]}, None),
        ({"PixelSpacing": None, "ImagerPixelSpacing": None}, None),
    ],
)
def test_a_film_has_the_spacing_that_prediction_gives_it(
    tmp_path: Path, elements: dict[str, Any], expected: list[float] | None
) -> None:
    (film,) = write_radiographs(tmp_path / "films", patients=1)
    film = changed(film, tmp_path / "film.dcm", **elements)
    ranges = input_ranges(pd.DataFrame({"image": [str(film)]}))
    assert ranges == {
        "spacing_mm": expected,
        "size": [64, 64],
        "depth_mm": None,
        "views": None,
        "positions": False,
    }
    image = load_radiograph(film)
    steps = sorted(float(step) for step in image.pixdim[:2]) if image.meta["spacing_known"] else None
    assert steps == (None if expected is None else pytest.approx(expected))


def test_ranges_are_those_of_the_files_that_know(tmp_path: Path) -> None:
    films = write_radiographs(tmp_path / "films", patients=3)
    for film, step in zip(films, (0.1, 0.3, 0), strict=True):
        changed(film, film, PixelSpacing=[step, step], ImagerPixelSpacing=None)
    cases = pd.DataFrame({"image": [*map(str, films)], "view": ["PA", "AP", None]})
    assert input_ranges(cases) == {
        "spacing_mm": [0.1, 0.3],
        "size": [64, 64],
        "depth_mm": None,
        "views": ["AP", "PA"],
        "positions": False,
    }


def test_of_volumes_the_depth_is_known_and_whether_their_table_says_where_to_look(tmp_path: Path) -> None:
    files = []
    for slices, step in ((4, 2.0), (10, 3.0)):
        files.append(str(tmp_path / f"{slices}.nii.gz"))
        nibabel.save(
            nibabel.Nifti1Image(np.zeros((8, 8, slices), np.int16), np.diag([1, 1, step, 1])), files[-1]
        )
    ranges = input_ranges(pd.DataFrame({"image": files}))
    assert ranges["depth_mm"] == [8, 30] and not ranges["positions"]
    cases = pd.DataFrame({"image": files, "x_mm": [1.0, None]})
    assert input_ranges(cases)["positions"]
