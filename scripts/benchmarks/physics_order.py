"""Figures of physics.py about order, size and headers: where a filter acts, mm of devices, kernels."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Compose

from srcmatters.confounders import (
    Confounder,
    Confounderd,
    ExposureShift,
    KernelChange,
    LowDoseCT,
    LowPassDenoising,
    Pacemaker,
)
from srcmatters.images import Windowd, load_ct
from srcmatters.preprocessing import confounder_place

Figures = dict[str, float]
MEDIASTINUM = (-200.0, 300.0)  # HU shown as black and white: centre 50, width 500


def windowed(hu: np.ndarray) -> np.ndarray:
    """HU as display values, clipped."""
    low, high = MEDIASTINUM
    return np.clip((hu - low) / (high - low), 0, 1)


def low_passed(image: np.ndarray, spacing_mm: tuple[float, ...], cutoff: float) -> np.ndarray:
    """Gaussian low-pass that passes half at ``cutoff`` lp/mm, edges mirrored."""
    padded = np.pad(image, 64, mode="reflect")
    axes = [np.fft.fftfreq(length, step) for length, step in zip(padded.shape, spacing_mm, strict=False)]
    f = np.hypot(*np.meshgrid(*axes, indexing="ij"))
    return np.fft.ifft2(np.fft.fft2(padded) * 2.0 ** -((f / cutoff) ** 2)).real[64:-64, 64:-64]


def before_window(path: Path) -> Figures:
    """Error of filter and window on a real slice over their effect, in soft tissue, mediastinal window."""
    scan = load_ct(path)
    hu = scan.as_tensor()[0, ..., 0].double().numpy()
    steps = tuple(float(step) for step in np.linalg.norm(scan.affine.numpy()[:2, :2], axis=0))
    tissue = (hu > -150) & (hu < 250)
    tissue[:16], tissue[-16:], tissue[:, :16], tissue[:, -16:] = (False,) * 4
    wide = np.clip(((hu - MEDIASTINUM[0]) / 500 - 0.6) / 1.4 + 0.5, 0, 1)
    smooth = windowed(np.rint(low_passed(hu, steps, 0.3)))
    figures: Figures = {}
    for name, confounder, expected in (
        ("denoise", LowPassDenoising(cutoff_lp_per_mm=0.3), smooth),
        ("exposure", ExposureShift(centre=0.6, width=1.4), wide),
    ):
        assert confounder_place(confounder) == "scan"
        put = Compose([Confounderd("image", confounder, window=(50, 500)), Windowd("image", (50, 500))])
        shown = put({"image": scan, "case_id": "a"})["image"][0, ..., 0].numpy()
        effect = np.sqrt(np.mean((expected - windowed(hu))[tissue] ** 2))
        key = f"{name}_error_over_effect"
        figures[key] = float(np.sqrt(np.mean((shown - expected)[tissue] ** 2)) / effect)
        figures[f"{key}_right"] = 0.0
    return figures


def cut_off() -> Figures:
    """What the default low-pass leaves of a wave of .116 lp/mm along each axis, on films of any pixels."""
    figures: Figures = {}
    for spacing in ((0.14, 0.14), (0.5, 0.5), (0.8, 0.8), (0.4, 0.8)):
        for axis in (0, 1):
            shape = tuple(round(200 / step) for step in spacing)
            at = np.arange(shape[axis]) * spacing[axis]
            wave = 0.5 + 0.2 * np.cos(2 * np.pi * at * LowPassDenoising().cutoff_lp_per_mm)
            film = np.broadcast_to(wave[:, None] if axis == 0 else wave, shape)
            image = torch.from_numpy(np.ascontiguousarray(film)).float()[None, None]
            left = LowPassDenoising().batch(image, ["a"], spacing)[0, 0].double().numpy() - 0.5
            middle = tuple(slice(length // 4, -length // 4) for length in shape)
            key = f"denoise_passes_{spacing[0]:g}x{spacing[1]:g}mm_axis{axis}"
            figures[key] = float(left[middle].std() / (film - 0.5)[middle].std())
            figures[f"{key}_right"] = 0.5
    return figures


def longest_run(line: np.ndarray) -> int:
    """Length of the longest run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], line.astype(int), [0]])))
    return int((edges[1::2] - edges[::2]).max()) if len(edges) else 0


def cans() -> Figures:
    """Height and width in mm of the case of a pacemaker (40 x 50 mm, header 6 mm) on films of 250 mm."""
    figures: Figures = {}
    device = Pacemaker(jitter=0)
    drawn = {**device.draw(np.random.default_rng(0)), "degrees": 0.0}
    for spacing in ((0.5, 0.5), (0.5, 1.0), (1.0, 0.5)):
        shape = (round(250 / spacing[0]), round(250 / spacing[1]))
        case = device.shadow(shape, {**drawn, "spacing_mm": spacing}).on_image() > 0.8
        key = f"can_mm_{spacing[0]:g}x{spacing[1]:g}"
        for side, lines, step, right in (
            ("height", case.T, spacing[0], 40.0),
            ("width", case, spacing[1], 50.0),
        ):
            # Leads and connectors lie apart from the case.
            lengths = np.array([longest_run(line.numpy()) * step for line in lines])
            figures[f"{key}_{side}"] = float(np.median(lengths[lengths > 30]))
            figures[f"{key}_{side}_right"] = right
    return figures


def warned(function: Callable[[], object], text: str) -> float:
    """1 if a warning with that text is given."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function()
    return float(any(text in str(warning.message) for warning in caught))


def headers() -> Figures:
    """A STANDARD scan is warned about; ``before: header`` is the kernel of the header."""
    affine = torch.diag(torch.tensor([0.7, 0.7, 1.0, 1.0], dtype=torch.float64))
    values = torch.randn(1, 64, 64, generator=torch.Generator().manual_seed(0)) * 30

    def scan(kernel: str) -> MetaTensor:
        return MetaTensor(values, affine=affine, meta={"acquisition": {"ConvolutionKernel": kernel}})

    by_header = KernelChange("header")(scan("B70s"), "a") - KernelChange("B70f")(scan("B70s"), "a")
    return {
        "kernel_standard_warns": warned(lambda: KernelChange()(scan("STANDARD"), "a"), "STANDARD"),
        "kernel_standard_warns_right": 1.0,
        "kernel_header_difference": float(by_header.abs().max()),
        "kernel_header_difference_right": 0.0,
    }


def starvation() -> Figures:
    """A large body at a quarter of the dose is warned about, a head is not."""
    figures: Figures = {}
    confounder: Confounder = LowDoseCT(dose_factor=0.25)
    for name, radius_mm, right in (("large_body", 190.0, 1.0), ("head", 90.0, 0.0)):
        axis = (np.arange(256) - 127.5) * 1.6
        water = np.where(np.hypot(axis[:, None] * 1.4, axis) < radius_mm, 40.0, -1000.0)
        hu = torch.from_numpy(water).float()[None, None]
        noisy = warned(lambda hu=hu: confounder.batch(hu, ["a"], (1.6, 1.6)), "quanta")  # type: ignore[misc]
        figures[f"starvation_warns_{name}"], figures[f"starvation_warns_{name}_right"] = noisy, right
    return figures
