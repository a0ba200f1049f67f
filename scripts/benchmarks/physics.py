"""How far the imaging confounders are from the physics that they stand for.

    OMP_NUM_THREADS=1 python scripts/benchmarks/physics.py --data ../shared/data --json physics.json

Every figure has the value it should have beside it, as ``NAME_right``, and how far it may be off; the
references are written here, in NumPy and SciPy. Without ``--data`` the phantoms alone are measured. The exit
status is 1 where a figure is off.
"""

from __future__ import annotations

import argparse
import json
import math
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from monai.transforms import Compose
from physics_order import before_window, cans, cut_off, headers, starvation
from scipy import ndimage

from srcmatters.confounders import (
    ClipDisplayd,
    Confounder,
    Confounderd,
    LowDoseCT,
    SliceThickness,
    XrayQuantumNoise,
    create_confounder,
)
from srcmatters.images import load_ct, load_radiograph
from srcmatters.phantom import ct_volume, draw_patient, radiograph
from srcmatters.preprocessing import AntialiasedResized
from srcmatters.training import BatchedRandomAffine

Figures = dict[str, float]
#: By the beginning of a figure's name, how far it may be off: absolutely, and as a share of the right one.
WITHIN: tuple[tuple[str, float, float], ...] = (
    ("xray_", 0.08, 0.1),
    ("film_brighter_tiles", 0.1, 0),
    ("film_shift", 0.1, 0),
    ("delta_to_theory", 0.03, 0),
    ("augmented_content", 0.05, 0),
    ("denoise_error", 0.05, 0),
    ("exposure_error", 0.05, 0),
    ("denoise_passes", 0.01, 0),
    ("can_mm", 2.0, 0),
    ("", 1e-6, 0.15),  # noise of scans, and what is exact
)
CALM_LP_PER_MM = 0.15  # below it a block of a real scan holds more anatomy than noise
AT_BLACK_UGY = 2.5 * math.exp(-4 * 0.6)  # at the median .6: 2.5 uGy behind black, the former calibration


def made(name: str, **parameters: object) -> Confounder:
    """The confounder of that name."""
    confounder = create_confounder(name, **parameters)
    assert confounder is not None
    return confounder


def shown(confounder: Confounder | None, image: torch.Tensor, size: int) -> np.ndarray:
    """An image (1, H, W) as the network gets it, grey levels of 255."""
    steps: list[Callable] = [AntialiasedResized("image", (size, size)), ClipDisplayd("image")]
    if confounder is not None:
        steps.insert(0, Confounderd("image", confounder))
    return 255 * Compose(steps)({"image": image, "case_id": "a"})["image"][0].numpy()


def xray_noise() -> Figures:
    """Shift and strength at 224 pixels, films of 512 to 3000 pixels: .1 of the dose, 2.5 uGy behind black."""
    confounder = XrayQuantumNoise(dose_factor=0.1, air_kerma_ugy=AT_BLACK_UGY)
    figures: Figures = {}
    for native in (512, 1024, 2048, 3000):
        film = torch.full((1, native, native), 0.6)
        film[:, : native // 6], film[:, native // 6 : native // 3] = 0.3, 0.9
        noisy = shown(confounder, film, 224)
        for level, rows, right in ((0.3, (4, 34), 0.57), (0.6, (80, 220), 1.04), (0.9, (41, 71), 1.89)):
            part = noisy[slice(*rows)]
            key = f"xray_{native}px_t{level:g}"
            figures[f"{key}_shift"], figures[f"{key}_shift_right"] = float(part.mean()) - 255 * level, 0.0
            figures[f"{key}_deviation"], figures[f"{key}_deviation_right"] = float(part.std()), right
    return figures


def real_film(path: Path) -> Figures:
    """Share of 16 x 16 tiles of a native film that noise makes brighter."""
    film = load_radiograph(path)
    change = shown(made("noise"), film, 224) - shown(None, film, 224)
    tiles = ndimage.uniform_filter(change, 14)[7::14, 7::14]
    return {
        "film_brighter_tiles": float((tiles > 0).mean()),
        "film_brighter_tiles_right": 0.5,
        "film_shift": float(change.mean()),
        "film_shift_right": 0.0,
    }


def detrended(block: np.ndarray) -> np.ndarray:
    """A block without its quadratic surface."""
    row, column = np.mgrid[: block.shape[0], : block.shape[1]] / len(block) - 0.5
    basis = np.stack([np.ones_like(row), row, column, row * column, row**2, column**2], -1).reshape(-1, 6)
    values = block.ravel()
    return (values - basis @ np.linalg.lstsq(basis, values, rcond=None)[0]).reshape(block.shape)


def block_noise(hu: np.ndarray, added: np.ndarray, pixel_mm: float) -> tuple[float, float, float, float]:
    """Deviation and mean frequency (lp/mm, above .15) of own and of added noise, in calm blocks of 10 mm."""
    size = round(10 / pixel_mm)
    window = np.outer(*[np.hanning(size + 2)[1:-1]] * 2)
    f = np.hypot(*np.meshgrid(*[np.fft.fftfreq(size, pixel_mm)] * 2, indexing="ij"))
    blocks = []
    for row in range(0, hu.shape[0] - size, size):
        for column in range(0, hu.shape[1] - size, size):
            at = (slice(row, row + size), slice(column, column + size))
            if -60 < hu[at].mean() < 160 and hu[at].std() < 40 and (own := detrended(hu[at])).std() > 0.5:
                blocks.append((own, detrended(added[at])))
    middle = np.median([own.std() for own, _ in blocks])
    calm = [pair for pair in blocks if middle / 1.4 < pair[0].std() < middle * 1.4]
    deviations = [float(np.sqrt(np.mean([pair[one].var() for pair in calm]))) for one in (0, 1)]
    powers = [np.mean([np.abs(np.fft.fft2(pair[one] * window)) ** 2 for pair in calm], 0) for one in (0, 1)]
    high = f > CALM_LP_PER_MM
    frequencies = [float((power * f)[high].sum() / power[high].sum()) for power in powers]
    return deviations[0], deviations[1], frequencies[0], frequencies[1]


def low_dose(name: str, scan: torch.Tensor, spacing_mm: tuple[float, ...]) -> Figures:
    """A quarter of the dose on a scan (1, H, W, D): strength, texture and what a stamp would show."""
    pixel_mm = spacing_mm[0]
    confounder = LowDoseCT(dose_factor=0.25)
    noisy = confounder.batch(scan.unsqueeze(0), ["a"], spacing_mm)[0]
    record = confounder.records[0]
    before, after = (part[0, ..., part.shape[-1] // 2].double().numpy() for part in (scan, noisy))
    own, added, f_own, f_added = block_noise(before, after - before, pixel_mm)
    return {
        f"{name}_own_hu": own,
        f"{name}_added_hu": added,
        f"{name}_added_hu_right": math.sqrt(3) * own,
        f"{name}_added_lp_per_mm": f_added,
        f"{name}_added_lp_per_mm_right": f_own,
        f"{name}_recorded_own_hu": record.own_hu or 0.0,
        f"{name}_recorded_own_hu_right": own,
        f"{name}_recorded_added_hu": record.added_hu or 0.0,
        f"{name}_recorded_added_hu_right": added,
        f"{name}_below_floor": float((noisy < -1024).float().mean()),
        f"{name}_below_floor_right": 0.0,
        f"{name}_not_whole": float((noisy != noisy.round()).float().mean()),
        f"{name}_not_whole_right": 0.0,
    }


def pixel_sizes() -> Figures:
    """Noise of "delta" over that of theory in the middle of 160 mm of water, by pixel size."""
    figures: Figures = {}
    variance = math.pi**2 / (12 * 0.71676**2 * 1000) * 3 * math.exp(160 * 0.02) / 1e6 * 0.464
    theory = math.sqrt(variance) * 1000 / (0.999 * 0.02)
    for pixel_mm in (0.6, 0.75, 0.8, 0.9, 1.0):
        size = round(230 / pixel_mm / 2) * 2
        axis = (np.arange(size) - (size - 1) / 2) * pixel_mm
        water = np.where(np.hypot(axis[:, None], axis) < 80, 0.0, -1000.0)
        slices = torch.from_numpy(water).float().expand(12, 1, -1, -1)
        confounder = LowDoseCT(photons=1e6, electronic_noise=0)
        noisy = confounder.batch(slices, [f"case {n}" for n in range(12)], (pixel_mm, pixel_mm))
        middle = slice(size // 2 - 12, size // 2 + 12)
        key = f"delta_to_theory_{pixel_mm:g}mm"
        figures[key] = float((noisy - slices)[..., middle, middle].std()) / theory
        figures[f"{key}_right"] = 1.0
    return figures


def thick_slice() -> Figures:
    """HU of a nodule of one slice of 2.5 mm in a slice of 5 mm about it, in slabs of 10 and 11 slices."""
    figures: Figures = {}
    for depth in (10, 11):
        volume = torch.full((1, 2, 2, depth), -800.0)
        volume[..., 4] = 50
        thick = SliceThickness(5.0, slice_mm=2.5)(volume, "a", (0, 0, 4))
        figures[f"nodule_hu_{depth}_slices"] = float(thick[0, 0, 0, 4])
        figures[f"nodule_hu_{depth}_slices_right"] = -375.0
    return figures


def augmentation() -> Figures:
    """High-pass content of augmented over plain images: phantoms and noise, both resized to 160 pixels."""
    films = np.stack([radiograph(draw_patient(index, 0), 512) for index in range(8)]) / 255
    noise = 0.5 + 0.05 * np.random.default_rng(0).standard_normal((8, 512, 512))
    figures: Figures = {}
    for name, images in (("phantom", films), ("noise", noise)):
        plain = torch.stack([torch.from_numpy(one).float()[None] for one in images])
        plain = torch.nn.functional.interpolate(plain, (160, 160), mode="bilinear", antialias=True)
        moved = BatchedRandomAffine(seed=1)(plain)
        content = [
            float(
                np.std([(one - ndimage.uniform_filter(one, 3))[20:-20, 20:-20] for one in part[:, 0].numpy()])
            )
            for part in (moved, plain)
        ]
        figures[f"augmented_content_{name}"] = content[0] / content[1]
        figures[f"augmented_content_{name}_right"] = 1.0
    return figures


def figures(data: Path | None) -> Figures:
    """All of them."""
    result = xray_noise() | pixel_sizes() | thick_slice() | augmentation()
    result |= cut_off() | cans() | headers() | starvation()
    spacing = (1.0, 1.0, 1.25)
    phantom = torch.from_numpy(ct_volume(draw_patient(5, 0), spacing, slice(120, 123))).float()[None]
    result |= low_dose("phantom_ct", phantom, spacing)
    if data is not None:
        for name in ("ct-slice-512", "ct-bad-sequence"):
            scan = load_ct(data / "dicom" / f"{name}.dcm")
            steps = tuple(float(step) for step in np.linalg.norm(scan.affine.numpy()[:3, :3], axis=0))
            result |= low_dose(name.replace("-", "_"), scan.as_tensor(), steps)
        result |= before_window(data / "dicom" / "ct-bad-sequence.dcm")
        result |= real_film(data / "dicom" / "chest-cr-monochrome1-jpeg2000.dcm")
    return result


def is_right(name: str, value: float, right: float) -> bool:
    """Whether a figure is as near to the right one as WITHIN says."""
    absolute, share = next((apart, part) for start, apart, part in WITHIN if name.startswith(start))
    return abs(value - right) <= max(absolute, share * abs(right))


def main() -> None:
    """Measure, print and write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of real data, with dicom/ in it")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        measured = figures(arguments.data)
    off = []
    for name, value in measured.items():
        if name.endswith("_right"):
            continue
        right = measured.get(f"{name}_right")
        if right is not None and not is_right(name, value, right):
            off.append(name)
        beside = "" if right is None else f"   right {right:.3f}" + ("   OFF" if name in off else "")
        print(f"{name:40} {value:10.3f}{beside}")
    if arguments.json:
        arguments.json.write_text(json.dumps(measured, indent=1) + "\n")
    if off:
        raise SystemExit(f"off: {', '.join(off)}")


if __name__ == "__main__":
    main()
