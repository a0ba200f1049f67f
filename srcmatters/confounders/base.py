"""What every confounder is: a MONAI transform whose draw belongs to the case."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import RandomizableTransform
from monai.transforms.utils import scale_affine

from srcmatters.case_stream import case_stream
from srcmatters.confounders.arguments import ShowsArguments, image_tensor
from srcmatters.confounders.taxonomy import Miccat
from srcmatters.errors import InputError
from srcmatters.images.pixel_spacing import known_spacing, wrong_spacing

Parameters = dict[str, Any]
#: What is known of an image besides its pixels: DICOM keywords (``ConvolutionKernel``, ``SliceThickness``) of
#: its header, and ``position``, the voxel (row, column, slice) of the case.
Acquisition = Mapping[str, Any]

DISPLAY = "display value in [0, 1]"
LINEAR = "any linear unit: HU, display value"
_RANGES = {DISPLAY: (-0.1, 1.1), "HU": (-4096.0, 32767.0)}  # let through, overshoot of resampling included


class Confounder(ShowsArguments, RandomizableTransform):
    """An image property that correlates with the label but is not the disease.

    A subclass states its place in MICCAT and implements :meth:`apply` (pure, a batch). What it needs to know
    of a case comes from three places: :meth:`draw` (everything random), :meth:`parameters` (what follows from
    size and spacing) and :meth:`acquisition_parameters` (what the file's header says). Who carries the
    confounder is not decided here but by :func:`srcmatters.cohorts.assignment.assign`. Where the
    *un*confounded image is not the image itself (the published noise model also adds noise to those),
    :meth:`apply_clean` says what it is.

    Args:
        seed: seed of the per-case random streams.

    Shape:
        image: (C, H, W) or (C, H, W, D), tensor or NumPy array (the result is then a MetaTensor, as MONAI's
        transforms give), floating point, C = 1 (grey) or 3 (grey, repeated), in the unit of :attr:`unit`;
        the result has the same shape, dtype and device. Half precision is computed in float32. :meth:`batch`
        takes one more leading dimension.

    Raises:
        InputError: the image is not floating point, not of a dimension in :attr:`spatial_dims`, empty, of 2
            or more than 3 channels, holds NaN or infinite values, or values that its unit does not have
            (display values: 0.1 of overshoot is let through; HU: -4096 .. 32767); the message names the case.
    """

    name: ClassVar[str]
    miccat: ClassVar[Miccat]
    source: ClassVar[str]
    unit: ClassVar[str] = DISPLAY
    spatial_dims: ClassVar[tuple[int, ...]] = (2, 3)
    modalities: ClassVar[tuple[str, ...]] = ("radiograph", "CT")  # where it makes sense
    paper_parameters: ClassVar[Parameters] = {}  # what `protocol: paper` sets, quirks included
    presets: ClassVar[dict[str, Parameters]] = {}  # strengths by a clinical word: "plausible", "stress"
    stored_as_its_scan: ClassVar[bool] = True  # HU: rounded and clipped as the clean scan, unless published
    also_changes: ClassVar[frozenset[str]] = frozenset()  # besides structure: of taxonomy.ALSO_CHANGES
    strength_spread: ClassVar[float | None] = 0.1  # over pixels and fields of view; None: it works on pixels
    before_window: ClassVar[bool] = False  # of display values: acts on HU seen through the window, unclipped

    def __init__(self, seed: int = 0) -> None:
        super().__init__(prob=1.0, do_transform=True)
        self.seed = seed

    @property
    def facts(self) -> dict[str, str]:
        """What a table of parameters should show besides the arguments."""
        return {}

    @property
    def is_random(self) -> bool:
        """Whether two cases may get different draws."""
        return type(self).draw is not Confounder.draw

    def draw(self, stream: np.random.Generator) -> Parameters:
        """Draw what is random for one case.

        Args:
            stream: the random stream of the case.
        """
        return {}

    def parameters(self, spatial_shape: Sequence[int], spacing_mm: Sequence[float] | None) -> Parameters:
        """What follows from the size of the image, the same for every case; nothing random.

        Args:
            spatial_shape: (H, W) or (H, W, D) in pixels.
            spacing_mm: pixel spacing in the same order, None where it is unknown.
        """
        return {}

    def acquisition_parameters(self, acquisition: Acquisition, known: Parameters) -> Parameters:
        """What the header of one image adds to :meth:`parameters`, or replaces in them.

        Args:
            acquisition: see :data:`Acquisition`; empty where nothing is known.
            known: what :meth:`parameters` returned.
        """
        return {}

    def apply(self, images: torch.Tensor, parameters: Sequence[Parameters]) -> torch.Tensor:
        """Put the confounder into a batch: a pure function of its arguments.

        Args:
            images: (B, C, H, W) or (B, C, H, W, D); never changed in place.
            parameters: of each of the B cases, what :meth:`parameters`, :meth:`acquisition_parameters` and
                :meth:`draw` returned, in one dictionary.
        """
        raise NotImplementedError

    def apply_clean(self, images: torch.Tensor, parameters: Sequence[Parameters]) -> torch.Tensor:
        """The same batch without the confounder; the images themselves unless a protocol says otherwise."""
        return images

    def apply_in_place(self, images: torch.Tensor, parameters: Sequence[Parameters]) -> torch.Tensor:
        """As :meth:`apply`, written into ``images``."""
        return images.copy_(self.apply(images, parameters))

    def does_nothing(self, spatial_shape: Sequence[int], spacing_mm: Sequence[float] | None) -> str | None:
        """Why the confounder would change nothing at this size, or None if it does something."""
        return None

    def __call__(
        self,
        image: torch.Tensor | np.ndarray,
        case_id: str | None = None,
        position: Sequence[float] | None = None,
    ) -> torch.Tensor:
        """Put the confounder into one image.

        Args:
            image: (C, H, W) or (C, H, W, D); of a MetaTensor, spacing and ``meta["acquisition"]`` are used.
            case_id: whose random stream is used; None draws from MONAI's own random state instead.
            position: voxel of the case (row, column, slice) in a volume; None: unknown.
        """
        image = image_tensor(image)
        case_ids, acquisitions = [self._name(case_id)], [acquisition_of(image, position)]
        return self.batch(image.unsqueeze(0), case_ids, known_spacing(image), acquisitions=acquisitions)[0]

    def clean(self, image: torch.Tensor | np.ndarray, case_id: str | None = None) -> torch.Tensor:
        """The unconfounded state of one image: what a case that does not carry the confounder looks like."""
        image = image_tensor(image)
        return self.clean_batch(image.unsqueeze(0), [self._name(case_id)], known_spacing(image))[0]

    def batch(
        self,
        images: torch.Tensor | np.ndarray,
        case_ids: Sequence[str],
        spacing_mm: Sequence[float] | None = None,
        in_place: bool = False,
        check: bool = True,
        acquisitions: Sequence[Acquisition] | None = None,
    ) -> torch.Tensor:
        """Put the confounder into a batch of images.

        Args:
            images: (B, C, H, W) or (B, C, H, W, D).
            case_ids: B identifiers; each image is what it would have been alone.
            spacing_mm: pixel spacing in mm, one for all images.
            in_place: write the result into ``images``; the result must then have their shape.
            check: False trusts the values (one pass over the pixels less, and no wait for a GPU).
            acquisitions: what the header of each image says, None where nothing is known.
        """
        images = image_tensor(images)
        self._check(images, case_ids, spacing_mm, check)
        reason = self.does_nothing(tuple(images.shape[2:]), spacing_mm)
        if reason is not None:
            warnings.warn(f"{self.name} changes hardly anything: {reason}", stacklevel=3)
        function = self.apply_in_place if in_place else self.apply
        return self._run(function, images, case_ids, spacing_mm, in_place, acquisitions)

    def clean_batch(
        self, images: torch.Tensor, case_ids: Sequence[str], spacing_mm: Sequence[float] | None = None
    ) -> torch.Tensor:
        """The unconfounded state of a batch, arguments as in :meth:`batch`."""
        if type(self).apply_clean is Confounder.apply_clean:
            return images
        self._check(images, case_ids, spacing_mm, True)
        return self._run(self.apply_clean, images, case_ids, spacing_mm, False, None)

    def parameters_of(
        self,
        case_ids: Sequence[str],
        spatial_shape: Sequence[int],
        spacing_mm: Sequence[float] | None,
        acquisitions: Sequence[Acquisition] | None = None,
    ) -> list[Parameters]:
        """Everything that :meth:`apply` needs to know of each case."""
        known = self.parameters(spatial_shape, spacing_mm)
        if not self.is_random and acquisitions is None:
            return [known] * len(case_ids)
        result = [dict(known) for _ in case_ids]
        for number, case_id in enumerate(case_ids):
            if acquisitions is not None:
                result[number] |= self.acquisition_parameters(acquisitions[number], known)
            if self.is_random:
                result[number] |= self.draw(case_stream(self.seed, case_id, self.name))
        return result

    def _run(
        self,
        function: Callable[[torch.Tensor, Sequence[Parameters]], torch.Tensor],
        images: torch.Tensor,
        case_ids: Sequence[str],
        spacing_mm: Sequence[float] | None,
        in_place: bool,
        acquisitions: Sequence[Acquisition] | None,
    ) -> torch.Tensor:
        shape = tuple(images.shape[2:])
        parameters = self.parameters_of(case_ids, shape, spacing_mm, acquisitions)
        tensor = images.as_tensor() if isinstance(images, MetaTensor) else images
        half = tensor.dtype in (torch.float16, torch.bfloat16)
        result = function(tensor.float() if half else tensor, parameters).to(tensor.dtype)
        if in_place:
            if half:
                tensor.copy_(result)
            return images
        if isinstance(images, MetaTensor):
            result = MetaTensor(result, meta=images.meta, applied_operations=images.applied_operations)
            if result.shape[2:] != images.shape[2:]:  # the published noise comes out at 512 x 512
                result.affine = images.affine @ _regridding(shape, result.shape[2:]).to(images.affine)
            return result
        return result

    def _name(self, case_id: str | None) -> str:
        return f"unnamed-{self.R.randint(2**31 - 1)}" if case_id is None else case_id

    def _check(
        self,
        images: torch.Tensor,
        case_ids: Sequence[str],
        spacing_mm: Sequence[float] | None,
        values: bool,
    ) -> None:
        """Refuse at the door what would give a wrong image, or none, further inside."""
        mistake = self._mistake(images, case_ids) or wrong_spacing(spacing_mm, images.ndim - 2)
        if mistake is None and values:
            mistake = self._wrong_values(images)
        if mistake is not None:
            raise InputError(f"{type(self).__name__}, case {', '.join(map(str, case_ids[:3]))}: {mistake}")

    def _mistake(self, images: torch.Tensor, case_ids: Sequence[str]) -> str | None:
        if not images.is_floating_point():
            return f"the image is {images.dtype}, expected floating point ({self.unit})"
        if images.ndim - 2 not in self.spatial_dims:
            expected = " or ".join(f"{dims}D" for dims in self.spatial_dims)
            return f"shape {tuple(images.shape[1:])}, expected channel first and {expected}"
        if images.numel() == 0:
            return f"the image is empty, shape {tuple(images.shape[1:])}"
        if images.shape[1] not in (1, 3):
            return f"{images.shape[1]} channels, expected 1 (grey) or 3 (grey, repeated)"
        if len(case_ids) != images.shape[0]:
            return f"{len(case_ids)} case identifiers for {images.shape[0]} images"
        return None

    def _wrong_values(self, images: torch.Tensor) -> str | None:
        # A minimum and a maximum carry NaN and infinity along, and cost a tenth of isfinite().
        low, high = torch.stack(torch.aminmax(images)).tolist()
        if not (math.isfinite(low) and math.isfinite(high)):
            return "the image holds NaN or infinite values"
        least, most = _RANGES.get(self.unit, (-math.inf, math.inf))
        if low < least or high > most:
            return f"values from {low:g} to {high:g}, expected {self.unit}"
        return None


class LocalConfounder(Confounder):
    """A confounder that touches a part of the image: it is drawn in place, :meth:`apply` draws on a copy."""

    def apply(self, images: torch.Tensor, parameters: Sequence[Parameters]) -> torch.Tensor:
        """Draw on a copy of (B, C, H, W[, D])."""
        return self.apply_in_place(images.clone(), parameters)

    def apply_in_place(self, images: torch.Tensor, parameters: Sequence[Parameters]) -> torch.Tensor:
        """Draw on (B, C, H, W[, D]) and return it."""
        raise NotImplementedError


def acquisition_of(image: torch.Tensor, position: Sequence[float] | None = None) -> dict[str, Any]:
    """What an image that was read knows of its acquisition, see :data:`Acquisition`."""
    known = dict(image.meta.get("acquisition") or {}) if isinstance(image, MetaTensor) else {}
    return known if position is None else {**known, "position": tuple(position)}


def _regridding(shape: Sequence[int], new_shape: Sequence[int]) -> torch.Tensor:
    """(4, 4) from indices of the new grid to those of the old one over the same field."""
    count = max(len(shape), 3)
    old, new = ([*lengths, *[1] * (count - len(lengths))] for lengths in (shape, new_shape))
    return torch.as_tensor(scale_affine(old, new))
