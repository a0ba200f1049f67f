"""One file has the same values, or is refused, through every door: training, audit, preview, predict."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
from PIL import Image

from srcmatters.audit.case_images import CaseImages
from srcmatters.confounders.preview_image import read_image
from srcmatters.deployment.prediction.decoding_tasks import Recipe, prepare
from srcmatters.errors import InputError
from srcmatters.images import LoadCTd, LoadRadiographd
from srcmatters.preprocessing.resizing import resize

SIZE = 48
REFUSED = "refused"


def through(door, path: Path, modality: str) -> torch.Tensor | str:
    try:
        return torch.as_tensor(door(path, modality)).float()
    except InputError as error:
        line = str(error)
    assert "\n" not in line
    assert path.name in line, "the line names the file"
    return REFUSED


def training(path: Path, modality: str) -> torch.Tensor:
    load = LoadRadiographd("image", modality="radiograph") if modality == "radiograph" else LoadCTd("image")
    return load({"image": str(path)})["image"].as_tensor()


def audit(path: Path, modality: str) -> torch.Tensor:
    cases = pd.DataFrame({"image": [str(path)], "case_id": ["a"], "patient_id": ["p"], "label": [0]})
    images = CaseImages(cases, "ct" if modality == "CT" else modality)
    return images.native(0)["image"].as_tensor()


def predict(path: Path, modality: str) -> torch.Tensor:
    return torch.from_numpy(prepare(path, Recipe(modality, "", SIZE, unit="HU")).image)


def check(path: Path, modality: str) -> bool:
    """Whether the doors let the image in, all of them the same one."""
    trained = through(training, path, modality)
    audited = through(audit, path, modality)
    predicted = through(predict, path, modality)
    if isinstance(trained, str):
        assert (audited, predicted) == (REFUSED, REFUSED), f"{path}: training refuses it"
        return False
    torch.testing.assert_close(audited, trained, rtol=0, atol=0)
    assert not isinstance(predicted, str), f"{path}: predict refuses it"
    if modality == "radiograph":
        torch.testing.assert_close(predicted, resize(trained[None], (SIZE, SIZE))[0], rtol=0, atol=0)
    shown = read_image(path)
    if shown.modality == modality:
        assert shown.hounsfield == (modality == "CT")
        torch.testing.assert_close(shown.values.reshape(trained.shape), trained, rtol=0, atol=0)
    return True


def real_files(shared_data: Path) -> list[Path]:
    places = [*sorted((shared_data / "faults").iterdir()), shared_data / "dicom"]
    tables = ("12-", "13-", "15-", "17-")
    files = [
        path for place in places if not place.name.startswith(tables) for path in sorted(place.iterdir())
    ]
    return [path for path in files if path.suffix not in (".txt", ".csv", ".md")]


@pytest.mark.filterwarnings("ignore")
def test_every_real_file_through_every_door(shared_data: Path) -> None:
    entered = {"radiograph": 0, "CT": 0}
    files = real_files(shared_data)
    for path in files:
        for modality in entered:
            entered[modality] += check(path, modality)
    assert len(files) > 15
    assert min(entered.values()) > 4, entered


@pytest.mark.filterwarnings("ignore")
def test_every_kind_of_made_file_through_every_door(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (60, 50), dtype=np.uint8)
    grey = Image.fromarray(picture)
    turned = Image.Exif()
    turned[0x0112] = 6
    for name, options in {"a.png": {}, "a.jpg": {}, "a.bmp": {}, "turned.jpg": {"exif": turned}}.items():
        grey.save(tmp_path / name, **options)
    tifffile.imwrite(tmp_path / "white.tif", picture.astype(np.uint16) * 257, photometric="miniswhite")
    tifffile.imwrite(tmp_path / "floats.tif", picture.astype(np.float32))
    Image.fromarray(np.zeros((60, 50), np.uint8)).save(tmp_path / "black.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:400])
    (tmp_path / "text.dcm").write_text("no image")
    entered = {path.name for path in sorted(tmp_path.iterdir()) if check(path, "radiograph")}
    assert entered == {"a.png", "a.jpg", "a.bmp", "turned.jpg", "white.tif"}
