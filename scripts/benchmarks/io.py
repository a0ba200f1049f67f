"""How long loading takes against the least that it could: pydicom and numpy, and torch's own resize.

    OMP_NUM_THREADS=1 python scripts/benchmarks/io.py --json io.json --data ../shared/data/dicom

Every pair is timed in turns on one thread, so that a busy machine slows both: "ours" is the loader that
bundles name, "raw" is dcmread, pixel_array and the rescale in numpy. Bars: ours / raw below 1.5 for a slice,
resize / torch below 1.3. MONAI's PydicomReader is timed for information. The files are written here,
uncompressed; those of --data are used besides where the folder is there.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read by the libraries below when they are imported

import numpy as np
import pydicom
import torch
from monai.data.image_reader import PydicomReader
from paired import paired_medians
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    generate_uid,
)
from torch.nn import functional

from srcmatters.images import load_ct, load_radiograph
from srcmatters.preprocessing.resizing import resize

SERIES = 17
Ways = dict[str, Callable[[], object]]


def write_slice(path: Path, size: int, modality: str = "CT", z: float = 0.0, series: str = "1.2.3") -> Path:
    """An uncompressed DICOM file of 12 bits in 16, (size, size)."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = (
        CTImageStorage if modality == "CT" else DigitalXRayImageStorageForPresentation
    )
    meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID = generate_uid(), ExplicitVRLittleEndian
    dataset = pydicom.Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = (
        meta.MediaStorageSOPClassUID,
        meta.MediaStorageSOPInstanceUID,
    )
    dataset.Modality, dataset.BodyPartExamined, dataset.SeriesInstanceUID = modality, "CHEST", series
    dataset.PixelSpacing = [0.7, 0.7]
    if modality == "CT":
        dataset.ImageOrientationPatient, dataset.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, z]
        dataset.SliceThickness, dataset.RescaleSlope, dataset.RescaleIntercept = 1.0, 1, -1024
    dataset.Rows = dataset.Columns = size
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    pixels = np.random.default_rng(0).integers(0, 4096, (size, size), dtype=np.uint16)
    dataset.PixelData = pixels.tobytes()
    dataset.save_as(path, enforce_file_format=True)
    return path


def raw_slice(path: Path) -> np.ndarray:
    """HU of one slice with pydicom and numpy alone."""
    dataset = pydicom.dcmread(path)
    slope, intercept = np.float32(dataset.RescaleSlope), np.float32(dataset.RescaleIntercept)
    return dataset.pixel_array.astype(np.float32) * slope + intercept


def raw_radiograph(path: Path) -> np.ndarray:
    """A radiograph in [0, 1] with pydicom and numpy alone."""
    pixels = pydicom.dcmread(path).pixel_array.astype(np.float32)
    low, high = pixels.min(), pixels.max()
    return (pixels - low) / (high - low)


def raw_series(folder: Path) -> np.ndarray:
    """HU of a series with pydicom and numpy alone, in the order of the names."""
    return np.stack([raw_slice(path) for path in sorted(folder.iterdir())], -1)


def monai_image(path: Path) -> object:
    """What MONAI's reader makes of a file."""
    reader = PydicomReader(swap_ij=False)
    return reader.get_data(reader.read(str(path)))


def loading(folder: Path, data: Path | None) -> dict[str, Ways]:
    """What is timed: a name, and the ways of doing it, ours first."""
    ct = write_slice(folder / "slice.dcm", 512)
    film = write_slice(folder / "film.dcm", 2048, "DX")
    (folder / "series").mkdir()
    for number in range(SERIES):
        write_slice(folder / "series" / f"{number:03d}.dcm", 512, z=float(number))
    timed = {
        "slice_512": slice_ways(ct),
        "radiograph_2048": {
            "ours": partial(load_radiograph, film, "radiograph", "CHEST"),
            "raw": partial(raw_radiograph, film),
            "monai": partial(monai_image, film),
        },
        f"series_of_{SERIES}": series_ways(folder / "series"),
    }
    if data is not None and data.is_dir():
        timed["real_slice_512"] = slice_ways(data / "ct-slice-512.dcm")
        timed["real_series_of_17"] = series_ways(data / "ct-series")
    return timed


def slice_ways(path: Path) -> Ways:
    """One CT slice."""
    return {
        "ours": partial(load_ct, path),
        "raw": partial(raw_slice, path),
        "monai": partial(monai_image, path),
    }


def series_ways(folder: Path) -> Ways:
    """A series whose headers are known from its first loading; "slab" reads 3 slices of it."""
    affine, depth = (image := load_ct(folder)).affine, image.shape[3]
    middle = float(affine[2, 3] + affine[2, 2] * (depth // 2))
    half = float(affine[2, 2]) * 0.9
    return {
        "ours": partial(load_ct, folder),
        "raw": partial(raw_series, folder),
        "slab": partial(load_ct, folder, slab_mm=(middle - half / 2, middle + half / 2)),
    }


def resizing() -> Ways:
    """2048 x 2048 to 224 x 224, antialiased."""
    image = torch.rand(1, 1, 2048, 2048)
    return {
        "ours": partial(resize, image, (224, 224)),
        "torch": partial(functional.interpolate, image, size=(224, 224), mode="bilinear", antialias=True),
    }


def figures(ways: Ways, repeats: int) -> dict[str, float]:
    """Milliseconds, and how many times longer ours takes than the others."""
    turned = dict(reversed(ways.items()))  # ratios are of the others to the first: ours comes last
    baseline = next(name for name in ("raw", "torch") if name in turned)
    order = {baseline: turned.pop(baseline), **turned}
    return {name: round(value, 3) for name, value in paired_medians(order, repeats).items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="where the figures are written to")
    parser.add_argument(
        "--data", type=Path, default=Path("../shared/data/dicom"), help="folder of real DICOM"
    )
    parser.add_argument("--repeats", type=int, default=21)
    options = parser.parse_args()
    result: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, ways in {**loading(Path(folder), options.data), "resize_2048_224": resizing()}.items():
            result[name] = figures(ways, options.repeats)
            print(
                f"{name:20}", "  ".join(f"{key} {value:g}" for key, value in result[name].items()), flush=True
            )
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
