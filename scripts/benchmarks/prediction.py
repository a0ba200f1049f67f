"""Predicting radiographs against the least that it could take: raw decoding and the network's own time.

    OMP_NUM_THREADS=1 python scripts/benchmarks/prediction.py [--images 500] [--size 2048] [--json FILE]

The radiographs are written here as uncompressed DICOM (12 bits in 16), the bundle has random weights. "raw"
is dcmread and pixel_array, one file after the other; "network" is one pass per image of what it gets;
"predict" is everything from the paths to the table, headers, guard and tables included. The bar is
predict / (raw + network) below 1.3. Prediction decodes in a process of its own while the network computes,
so with a second core free the ratio may be below 1. All are timed in blocks that alternate, so that a busy
machine slows all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read by the libraries below when they are imported
sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "helpers"))

import numpy as np
import pydicom
import torch
from prediction_cases import write_bundle
from pydicom.dataset import FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

from srcmatters.deployment.prediction.prediction_files import as_csv, row
from srcmatters.deployment.prediction.predictor import Predictor
from srcmatters.exported_bundle.bundle import open_bundle

BLOCK = 50  # radiographs that are on disk at once


def write_film(path: Path, size: int) -> None:
    """An uncompressed digital radiograph, (size, size)."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = (
        DigitalXRayImageStorageForPresentation,
        generate_uid(),
    )
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    film = pydicom.Dataset()
    film.file_meta = meta
    film.SOPClassUID, film.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    film.StudyInstanceUID, film.SeriesInstanceUID, film.PatientID = generate_uid(), generate_uid(), path.stem
    film.Modality, film.BodyPartExamined, film.PixelSpacing = "DX", "CHEST", [0.15, 0.15]
    film.Rows = film.Columns = size
    film.SamplesPerPixel, film.PixelRepresentation, film.PhotometricInterpretation = 1, 0, "MONOCHROME2"
    film.BitsAllocated, film.BitsStored, film.HighBit = 16, 12, 11
    stream = np.random.default_rng(int(path.stem))
    film.PixelData = stream.integers(0, 4096, (size, size), dtype=np.uint16).tobytes()
    film.save_as(path, enforce_file_format=True)


def measure(images: int, size: int, network: str, image_size: int, folder: Path) -> dict[str, float | str]:
    """Seconds per image of each part, and the ratio."""
    bundle = open_bundle(write_bundle(folder / "bundle", network=network, image_size=image_size))
    seconds = dict.fromkeys(("raw", "network", "predict"), 0.0)
    with Predictor(bundle) as predictor:
        done = 0
        while done < images:
            films = folder / f"films-{done}"
            films.mkdir()
            count = min(BLOCK, images - done)
            for number in range(count):
                write_film(films / f"{number:03d}.dcm", size)
            if done == 0:  # what is loaded once
                list(predictor.predict([films / "000.dcm"]))
            for name, took in timed(predictor, films).items():
                seconds[name] += took
            shutil.rmtree(films)
            done += count
    least = seconds["raw"] + seconds["network"]
    figures: dict[str, float | str] = {f"{name}_ms": took / images * 1e3 for name, took in seconds.items()}
    return figures | {"ratio": seconds["predict"] / least, "images": images, "size": size, "network": network}


def timed(predictor: Predictor, films: Path) -> dict[str, float]:
    """Seconds that a block takes."""
    marks = [time.perf_counter()]
    for path in sorted(films.iterdir()):
        pydicom.dcmread(path).pixel_array  # noqa: B018
    marks.append(time.perf_counter())
    side = predictor.rules["image_size"]
    with torch.inference_mode():
        for _ in films.iterdir():
            predictor.network(torch.rand(1, 1, side, side))
    marks.append(time.perf_counter())
    as_csv([row(prediction, predictor.rules) for prediction in predictor.predict([films])])
    marks.append(time.perf_counter())
    return dict(zip(("raw", "network", "predict"), np.diff(marks).tolist(), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--size", type=int, default=2048, help="pixels a side")
    parser.add_argument("--network", default="efficientnet_lite0")
    parser.add_argument("--image-size", type=int, default=224, help="pixels a side of the network's input")
    parser.add_argument("--json", type=Path, help="where the figures are written to")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(options.images, options.size, options.network, options.image_size, Path(folder))
    for name, value in figures.items():
        print(f"{name:12}{value if isinstance(value, str) else format(value, '.4g')}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
