"""How long low-dose CT takes against scikit-image's radon and iradon, and how much memory.

    python scripts/benchmarks/ct_dose.py --threads 1 --json ct_dose.json

Every round times every method once, so that a busy machine slows all of them; figures are medians over the
rounds, ratios are medians of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from skimage.transform import iradon, radon

from srcmatters.confounders.ct_dose import LowDoseCT
from srcmatters.confounders.ct_dose_lodopab import SIZE as LODOPAB_SIZE, LoDoPaB
from srcmatters.confounders.ct_dose_quanta import attenuation, hounsfield
from srcmatters.confounders.projection import ParallelBeam

SIZE, PIXEL_MM, VIEWS, PHOTONS = 512, 0.7, 1000, 1e5
ROUNDS, REPEATS, GPU_BATCH = 3, 7, 32


def thorax(size: int, pixel_mm: float) -> torch.Tensor:
    """A slice in HU: body, two lungs, a vertebra; (1, size, size)."""
    axis = (torch.arange(size) - (size - 1) / 2) * pixel_mm / (0.5 * size * pixel_mm)
    rows, columns = torch.meshgrid(axis, axis, indexing="ij")
    slice_hu = torch.full((size, size), -1000.0)
    ellipses = ((0, 0, 0.62, 0.9, 40), (-0.05, 0.42, 0.42, 0.3, -850), (-0.05, -0.42, 0.42, 0.3, -850),
                (0.38, 0, 0.1, 0.1, 600))  # fmt: skip
    for row, column, half_height, half_width, hu in ellipses:
        slice_hu[((rows - row) / half_height) ** 2 + ((columns - column) / half_width) ** 2 < 1] = hu
    return slice_hu[None]


def low_dose_by_skimage(slice_hu: np.ndarray, pixel_mm: float, stream: np.random.Generator) -> np.ndarray:
    """What scikit-image's user would write; the rays outside the inscribed circle are left out, as is its
    default and its fastest way."""
    angles = (np.arange(VIEWS) + 0.5) * 180 / VIEWS
    mu = attenuation(torch.from_numpy(slice_hu)).numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the body touches the circle
        sinogram = radon(mu, angles, circle=True) * pixel_mm
    counts = stream.poisson(PHOTONS * 0.25 * np.exp(-sinogram))
    noisy = -np.log(np.maximum(counts, 0.1) / (PHOTONS * 0.25))
    reconstructed = iradon(noisy, angles, circle=True) / pixel_mm
    return hounsfield(torch.from_numpy(reconstructed)).numpy()


def milliseconds(function: Callable[[], object], repeats: int) -> float:
    """Median over ``repeats`` calls."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


def working_megabytes(function: Callable[[], object]) -> float:
    """How far one call raises the resident memory at its peak (Linux; nan elsewhere)."""
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        before = _kilobytes("VmRSS")
        function()
        return (_kilobytes("VmHWM") - before) / 1000
    except OSError:
        return math.nan


def _kilobytes(field: str) -> int:
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith(field)).split()[1])


def methods(slice_hu: torch.Tensor) -> dict[str, Callable[[], object]]:
    """One call per method, each on one slice."""
    delta = LowDoseCT(default_pixel_mm=PIXEL_MM)
    full = LowDoseCT("full", default_pixel_mm=PIXEL_MM)
    lodopab = LoDoPaB()
    noisy = slice_hu + 12 * torch.randn(slice_hu.shape, generator=torch.Generator().manual_seed(0))
    return {
        "delta_250": lambda: delta(slice_hu, "case"),
        "delta_250_own_noise_measured": lambda: delta(noisy, "case"),
        "full_1000": lambda: full(slice_hu, "case"),
        "lodopab_362": lambda: lodopab(slice_hu, "case"),
    }


def figures(threads: int) -> dict[str, float]:
    """Times, ratios and memory of the CT dose simulation.

    Args:
        threads: CPU threads of torch; scikit-image's radon has one.

    Returns:
        Flat figures: ``*_ms`` per slice, ``*_times_faster`` than scikit-image, ``*_mb`` in megabytes.
    """
    torch.set_num_threads(threads)
    slice_hu = thorax(SIZE, PIXEL_MM)
    stream = np.random.default_rng(0)
    ours = methods(slice_hu)
    result: dict[str, float] = {}
    for name, function in ours.items():
        result[f"{name}_first_call_ms"] = milliseconds(function, 1)
    rounds = []
    for _ in range(ROUNDS):
        taken = {name: milliseconds(function, REPEATS) for name, function in ours.items()}
        taken["skimage_1000"] = milliseconds(
            lambda: low_dose_by_skimage(slice_hu[0].numpy(), PIXEL_MM, stream), 1
        )
        rounds.append(taken)
    for name in rounds[0]:
        result[f"{name}_ms"] = statistics.median(taken[name] for taken in rounds)
    for name in (
        "delta_250",
        "delta_250_own_noise_measured",
        "full_1000",
    ):  # LoDoPaB's slice is smaller: no ratio
        ratios = [taken["skimage_1000"] / taken[name] for taken in rounds]
        result[f"{name}_times_faster"] = statistics.median(ratios)
    result |= memory(ours)
    if torch.cuda.is_available():
        result |= gpu_figures(slice_hu)
    return result


def memory(ours: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Megabytes of the operators (kept per geometry) and of one call (given back after it)."""
    geometries = {
        "delta_250": ParallelBeam.spanning(SIZE, PIXEL_MM, 250),
        "full_1000": ParallelBeam.spanning(SIZE, PIXEL_MM, VIEWS, 0.71676),
        "lodopab_362": ParallelBeam(LODOPAB_SIZE, 260 / LODOPAB_SIZE, VIEWS, 513, 0.71676),
    }
    result = {f"{name}_operator_mb": scan.gridding().bytes / 1e6 for name, scan in geometries.items()}
    return result | {f"{name}_slice_mb": working_megabytes(ours[name]) for name in geometries}


def gpu_figures(slice_hu: torch.Tensor) -> dict[str, float]:
    """Per slice, in a batch on the GPU."""
    batch = slice_hu.cuda().expand(GPU_BATCH, -1, -1, -1).contiguous()
    names = [f"case {number}" for number in range(GPU_BATCH)]
    result = {}
    for name, confounder in (("delta_250", LowDoseCT()), ("full_1000", LowDoseCT("full"))):

        def run(confounder: LowDoseCT = confounder) -> torch.Tensor:
            return confounder.batch(batch, names)

        milliseconds(run, 2)
        result[f"{name}_cuda_batch_{GPU_BATCH}_ms"] = milliseconds(run, REPEATS) / GPU_BATCH
    return result


def main(arguments: list[str] | None = None) -> int:
    """Print the figures, and write them if asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args(arguments)
    measured = figures(options.threads)
    for name, value in measured.items():
        print(f"{name:32s} {value:10.2f}")
    if options.json is not None:
        options.json.write_text(json.dumps(measured, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
