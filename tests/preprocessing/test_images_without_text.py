"""Images in whose pixels somebody may be named are passed over, in every format, and so is what is unsure."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from monai.transforms import Compose
from PIL import Image, ImageDraw, ImageFont
from pydicom import dcmread

from srcmatters.cohorts.phantom_cohort import write_phantom_cohort
from srcmatters.images import LoadCTd, LoadRadiographd
from srcmatters.preprocessing.images_without_text import shows_text, without_text


def cache(paths: list[Path], loader: Any) -> Any:
    """What is read of a cache: its cases and how they are loaded."""
    names = [path.stem for path in paths]
    cases = pd.DataFrame({"image": [str(path) for path in paths], "case_id": names})
    return SimpleNamespace(cases=cases, preprocessing=Compose([loader]))


def write(path: Path, text: str = "") -> Path:
    """A grey picture, with text or without."""
    picture = Image.fromarray(np.tile(np.linspace(40, 160, 128).astype(np.uint8), (128, 1)))
    ImageDraw.Draw(picture).text((8, 8), text, fill=255, font=ImageFont.load_default(size=14))
    picture.save(path)
    return path


@pytest.mark.parametrize("loader", [LoadRadiographd("image"), LoadCTd("image", "display")])
def test_the_first_images_without_text_are_taken_and_the_others_counted(tmp_path: Path, loader: Any) -> None:
    texts = ["ZWEISTEIN", "", "PORTABLE", "", ""]
    paths = [write(tmp_path / f"{number}.png", text) for number, text in enumerate(texts)]
    assert without_text(cache(paths, loader), range(5), 2) == ([1, 3], 2)
    assert without_text(cache(paths, loader), [4, 0, 2], 2) == ([4], 2)


def test_where_all_have_text_none_is_shown_and_not_all_are_opened(tmp_path: Path) -> None:
    paths = [write(tmp_path / "one.png", "ZWEISTEIN")] * 40
    assert without_text(cache(paths, LoadRadiographd("image")), range(40), 3) == ([], 12)


def test_an_image_that_is_gone_is_not_shown(tmp_path: Path) -> None:
    assert shows_text(cache([tmp_path / "gone.png"], LoadRadiographd("image")), 0)


def test_the_header_of_a_radiograph_and_of_a_series_is_believed(tmp_path: Path) -> None:
    write_phantom_cohort(tmp_path / "films", 2, file_format="dicom", image_size=64)
    write_phantom_cohort(tmp_path / "scans", 2, modality="ct", file_format="dicom", slab_mm=10)
    film = next((tmp_path / "films").rglob("*.dcm"))
    scan = next((tmp_path / "scans").rglob("*.dcm")).parent
    both = [(film, LoadRadiographd("image")), (scan, LoadCTd("image", "HU"))]
    (scan / ".DS_Store").write_bytes(b"\0")
    (scan / "069.xml").write_text("<annotations/>")  # sorts before the slices
    for path, loader in both:
        assert not shows_text(cache([path], loader), 0)
        for one in [path] if path.is_file() else sorted(path.glob("*.dcm"))[-1:]:
            header = dcmread(one)
            header.BurnedInAnnotation = "YES"
            header.save_as(one)
        assert shows_text(cache([path], loader), 0)
