"""Text in the pixels is seen, whatever its size and polarity; markers, edges and noise are no text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw, ImageFont
from prediction_cases import write_bundle

from srcmatters.cohorts.phantom_cohort import write_phantom_cohort
from srcmatters.deployment.prediction.predictor import Predictor
from srcmatters.exported_bundle.bundle import open_bundle
from srcmatters.images import load_radiograph
from srcmatters.images.burnt_in_text import text_lines


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[np.ndarray]:
    """Radiographs in [0, 1] below a margin of 60 rows where no radiation went; half of them with a mass."""
    folder = tmp_path_factory.mktemp("films") / "cohort"
    write_phantom_cohort(folder, patients=6, image_size=512)
    paths = sorted((folder / "images").iterdir())
    shown = [load_radiograph(path).as_tensor()[0].numpy() for path in paths]
    return [np.pad(film, ((60, 0), (0, 0)), constant_values=0.02) for film in shown]


def written(film: np.ndarray, text: str, height: int, value: int, place: tuple[int, int]) -> np.ndarray:
    """A copy with text, in [0, 1]."""
    picture = Image.fromarray((film * 255).astype(np.uint8))
    ImageDraw.Draw(picture).text(place, text, fill=value, font=ImageFont.load_default(size=height))
    return np.asarray(picture, np.float32) / 255


@pytest.mark.parametrize("height", [14, 24, 40])
@pytest.mark.parametrize("text", ["PORTABLE", "DOE^JANE 1970-03-14"])
def test_text_is_seen_in_white_and_after_inversion(films: list[np.ndarray], text: str, height: int) -> None:
    for film in films:
        assert text_lines(film) == 0
        white = written(film, text, height, 255, (8, 8))
        assert text_lines(white) >= 1
        assert text_lines(1 - white) == text_lines(white), "the same for MONOCHROME1"
        assert text_lines(white * 3000 - 1000) == text_lines(white), "in any unit"


def test_markers_and_noise_are_no_text(films: list[np.ndarray]) -> None:
    for text in ("R", "L AP", "PA"):
        assert text_lines(written(films[0], text, 32, 255, (20, 20))) == 0
    draw = np.random.default_rng(0)
    assert text_lines(draw.random((400, 500), np.float32)) == 0
    assert text_lines(np.zeros((64, 64), np.float32)) == 0
    ribs = np.zeros((256, 256), np.float32)
    ribs[40:200:16] = 1  # high and wide
    assert text_lines(ribs) == 0
    apart = np.zeros((256, 256), np.float32)
    for column in range(10, 250, 60):  # too far from each other for a word
        apart[100:112, column : column + 6] = 1
    assert text_lines(apart) == 0
    steps = np.zeros((256, 256), np.float32)
    for number in range(8):  # on no common line
        steps[20 + 20 * number : 32 + 20 * number, 10 + 12 * number : 16 + 12 * number] = 1
    assert text_lines(steps) == 0


def test_prediction_flags_it(films: list[np.ndarray], tmp_path: Path) -> None:
    for name, film in (("plain", films[0]), ("named", written(films[0], "DOE^JANE", 24, 255, (8, 8)))):
        Image.fromarray((film * 255).round().astype(np.uint8)).save(tmp_path / f"{name}.png")
    with Predictor(open_bundle(write_bundle(tmp_path / "bundle"))) as predictor:
        named, plain = predictor.predict([tmp_path / "named.png", tmp_path / "plain.png"])
    assert named.status == "flagged" and "text seems to be burnt into the image (1 line)" in named.reasons
    assert not any("burnt" in reason for reason in plain.reasons)


def test_real_portable_radiographs_are_told_from_others(shared_data: Path) -> None:
    cases = pd.read_csv(shared_data / "nih-cxr14" / "cases.csv")
    cases = cases.groupby("view").head(100)
    has_text = [
        text_lines(load_radiograph(shared_data / "nih-cxr14" / image).as_tensor()[0].numpy()) > 0
        for image in cases["image"]
    ]
    shares = cases.assign(has_text=has_text).groupby("view")["has_text"].mean()
    # "PORTABLE" and "SUPINE" stand on many radiographs of patients in bed, AP, and on none taken upright.
    assert shares["AP"] > 0.15 and shares["PA"] <= 0.01
