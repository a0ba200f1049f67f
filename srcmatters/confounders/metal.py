"""Metal in CT: spinal rods with the streaks that beam hardening and missing photons make."""

from __future__ import annotations

import math
from typing import ClassVar, Literal, get_args

import numpy as np
import torch

from srcmatters.confounders.base import Parameters
from srcmatters.confounders.ct_dose_quanta import MU_WATER_PER_MM, attenuation, hounsfield_per_attenuation
from srcmatters.confounders.ct_dose_slices import AIR_HU, completed_with_air, cropped
from srcmatters.confounders.ct_slices import BODY_HU, SliceArtefact
from srcmatters.confounders.curves import chord, solid
from srcmatters.confounders.projection import ParallelBeam, back_project_filtered, project, ramp_filter
from srcmatters.confounders.taxonomy import Miccat
from srcmatters.errors import InputError, did_you_mean

Metal = Literal["titanium", "steel"]
_METALS = get_args(Metal)
_VIEWS = 500
_CHANNEL_MM, _CHANNELS = 0.7, 1400  # of the detector that counts photons
_SOFT_LP_PER_MM = 0.22  # of a soft kernel, as :func:`ramp_filter` has it
_HIGHEST_HU = 3071.0  # of 12 bit
#: Share of the detected signal of a 120 kVp beam at 40, 60, 80, 100 and 120 keV, and attenuation per mm there
#: (NIST XCOM; titanium 4.51 g/cm3, iron 7.87 g/cm3).
_SIGNAL = np.array([0.13, 0.32, 0.28, 0.19, 0.08])
_WATER = np.array([0.0268, 0.0206, 0.0184, 0.0171, 0.0161])
_PER_MM = {
    "titanium": np.array([0.998, 0.345, 0.183, 0.123, 0.094]),
    "steel": np.array([2.857, 0.949, 0.469, 0.293, 0.211]),
}


class MetalArtefact(SliceArtefact):
    r"""Put metal rods into the back, and the streaks that they make.

    MICCAT: environment / imaging / acquisition / global. A polychromatic scan in the projection domain: with
    ``w`` mm of water (the patient without the metal) and ``m`` mm of metal in a ray, ``p = -ln sum_k s_k
    exp(-a_k w - b_k m)`` over five energies ``k`` of 120 kVp, plus the noise of the few photons that come
    through (variance ``exp(p) / N_0``, at least one photon). Water correction turns ``p`` back into mm of
    water as the scanner does; what differs from ``w`` is filtered, back-projected and added: the metal, dark
    bands between the rods (beam hardening) and streaks (missing photons). No scatter, no metal artefact
    reduction.

    Args:
        metal: "titanium" or "steel".
        diameter_mm: of each of the two rods, (0, 60].
        apart_mm: distance of their axes, (0, 200].
        photons: ``N_0`` of an unattenuated ray of one of 500 views and .7 mm wide, > 1, whatever the pixels.
        default_pixel_mm: pixel spacing of images that carry none.
        seed: seed of the per-case streams.

    Shape:
        image: (C, H, W) or (C, H, W, D; the rods are on every slice), whole axial slices, patient supine
        (front at the top), floating point in HU; the result has the same shape and dtype, at most 3071 HU
        where the image is.

    Raises:
        InputError: an argument outside its range, pixels that are not square, or no air in the image.

    Example:
        >>> import torch
        >>> body = torch.full((1, 64, 64), -1000.0)
        >>> body[:, 12:52, 8:56] = 0
        >>> bool(MetalArtefact(default_pixel_mm=5)(body, "case 7").amax() > 1000)
        True

    Source: Barrett and Keat 2004 (RadioGraphics 24:1679); De Man et al. 1999 (IEEE TNS 46:691); NIST XCOM.
    """

    name = "metal"
    miccat = Miccat("environment", "imaging", "acquisition", "global")
    source = "De Man et al. 1999 (IEEE TNS 46:691); NIST XCOM"
    strength_spread = 0.2  # streaks are fine: a patch keeps less of them from coarse pixels
    presets: ClassVar[dict[str, Parameters]] = {
        "plausible": {"diameter_mm": 5.5},
        "stress": {"metal": "steel", "diameter_mm": 12.0},
    }

    def __init__(
        self,
        metal: Metal = "titanium",
        diameter_mm: float = 7.0,
        apart_mm: float = 44.0,
        photons: float = 2e5,
        default_pixel_mm: float = 0.7,
        seed: int = 0,
    ) -> None:
        super().__init__(default_pixel_mm, seed)
        if metal not in _METALS:
            raise InputError(f"metal: metal {metal!r} is unknown{did_you_mean(str(metal), _METALS)}")
        for field, value, most in (("diameter_mm", diameter_mm, 60), ("apart_mm", apart_mm, 200)):
            if not 0 < value <= most:
                raise InputError(f"metal: {field} {value}, expected mm in (0, {most}]")
        if not 1 < photons < math.inf:
            raise InputError(f"metal: photons {photons}, expected more than 1")
        self.metal = metal
        self.diameter_mm = diameter_mm
        self.apart_mm = apart_mm
        self.photons = photons

    def draw(self, stream: np.random.Generator) -> Parameters:
        """Draw where the rods lie, and the seed of the noise."""
        return {"shift_mm": stream.normal(0, 3, (2, 2)), "noise_seed": int(stream.integers(2**62))}

    def changed(self, hu: torch.Tensor, known: Parameters) -> torch.Tensor:
        """Put the rods into (H, W) HU."""
        pixel_mm = known["pixel_mm"]
        rods = self.rods(hu, known)
        without = hu + rods * (AIR_HU - hu)
        square = completed_with_air(without[None])
        scan = ParallelBeam.spanning(square.shape[-1], pixel_mm, _VIEWS)
        water = (project(attenuation(square), scan)[0] / MU_WATER_PER_MM).double().cpu().numpy()
        metal = self._paths(hu, known, scan)
        noise = channel_noise(known["noise_seed"], scan)
        measured = self.measured_water(water.clip(min=0), metal, noise)
        off = np.where(metal > 0, measured - water, 0)  # a ray beside the metal is as it was
        off_mu = torch.from_numpy(off * MU_WATER_PER_MM).to(hu)[None]
        # A soft kernel: the edges of metal alias through what the bare ramp lets pass.
        softness = min(_SOFT_LP_PER_MM, 0.22 / pixel_mm)
        filtered = ramp_filter(off_mu, scan, "linear", softness_lp_per_mm=softness)
        change = back_project_filtered(filtered, scan)
        result = without + cropped(change, (1, *hu.shape))[0] * hounsfield_per_attenuation()
        return torch.minimum(result, hu.new_tensor(max(_HIGHEST_HU, float(hu.max()))))

    def rods(self, hu: torch.Tensor, known: Parameters) -> torch.Tensor:
        """(H, W): share of each pixel that is metal; both rods lie in the back, beside the midline."""
        radius = self.diameter_mm / 2 / known["pixel_mm"]
        cover = torch.zeros_like(hu)
        for place in self._places(hu, known):
            box, part = solid(place, (radius, radius), 0.0, radius, (hu.shape[0], hu.shape[1]))
            cover[box] = torch.maximum(cover[box], part.to(hu))
        return cover

    def _places(self, hu: torch.Tensor, known: Parameters) -> np.ndarray:
        """(2, 2): row and column of the axis of each rod."""
        rows, columns = ((hu > BODY_HU).any(axis).nonzero() for axis in (1, 0))
        if not len(rows):
            rows, columns = (torch.arange(length)[:, None] for length in hu.shape)
        middle = float(columns[0] + columns[-1]) / 2
        down = float(rows[0]) + 0.76 * float(rows[-1] - rows[0])
        half = self.apart_mm / 2 / known["pixel_mm"]
        usual = np.array([[down, middle - half], [down, middle + half]])
        return np.asarray(usual + known["shift_mm"] / known["pixel_mm"])

    def _paths(self, hu: torch.Tensor, known: Parameters, scan: ParallelBeam) -> np.ndarray:
        """(views, bins): mm of metal in each ray, exact, because a small error of it weighs much."""
        turns = (torch.arange(scan.views) + 0.5)[:, None] * math.pi / scan.views
        bins = torch.arange(scan.bins) - (scan.bins - 1) / 2
        corner = [(scan.size - length) // 2 for length in hu.shape]
        paths = torch.zeros(scan.views, scan.bins, dtype=torch.float64)
        for place in self._places(hu, known) + corner - (scan.size - 1) / 2:
            apart = bins - float(place[1]) * turns.sin() - float(place[0]) * turns.cos()
            paths += chord(apart.abs().double(), self.diameter_mm / 2 / scan.pixel_mm).clamp(min=0)
        return (paths * scan.pixel_mm).numpy()

    def measured_water(self, water: np.ndarray, metal: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """What the scanner takes rays through mm of water and of metal for, in mm of water.

        Args:
            water: path in mm.
            metal: path in mm, of the same shape.
            noise: deviates of the same shape, see :func:`channel_noise`.
        """
        p = polychromatic(water, metal, _PER_MM[self.metal])
        starved = math.log(self.photons)
        deviation = np.exp(np.minimum(p, starved) / 2) / math.sqrt(self.photons)
        p = np.minimum(p, starved) + deviation * noise * (metal > 0)
        calibration = np.linspace(0, 3000, 6001)
        return np.interp(p, polychromatic(calibration, np.zeros(1), _PER_MM[self.metal]), calibration)


def channel_noise(seed: int, scan: ParallelBeam) -> np.ndarray:
    """(views, bins): deviates of .7 mm channels, of unit variance there, averaged over each bin.

    A case has the same streaks whatever its pixels.
    """
    cells = np.random.default_rng(seed).standard_normal((scan.views, _CHANNELS))
    total = np.concatenate([np.zeros((scan.views, 1)), cells.cumsum(1)], axis=1)
    edges = (np.arange(scan.bins + 1) - scan.bins / 2) * scan.bin_mm / _CHANNEL_MM + _CHANNELS / 2
    low = edges.clip(0, _CHANNELS - 1e-6).astype(int)
    at = total[:, low] + (edges.clip(0, _CHANNELS) - low) * cells[:, low]
    return np.asarray(np.diff(at, axis=1) * _CHANNEL_MM / scan.bin_mm)


def polychromatic(water: np.ndarray, metal: np.ndarray, per_mm: np.ndarray) -> np.ndarray:
    """Attenuation ``-ln(I / I_0)`` of the spectrum behind mm of water and of metal."""
    paths = water[..., None] * _WATER + metal[..., None] * per_mm
    return np.asarray(-np.log((_SIGNAL * np.exp(-paths)).sum(-1)))
