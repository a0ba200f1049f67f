"""Filters in the frequency domain, in the plane of an image; what a filter drops is never computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch.nn import functional

Elementwise = Callable[[torch.Tensor], torch.Tensor]
BLOCK = 131072  # values that are transformed at a time on a CPU: 512 kB and their spectrum stay in its cache


@dataclass(frozen=True)
class Response:
    """What a filter passes.

    Args:
        shape: (H, W) of the planes that it is for.
        passing: (K, H) float32, K <= W // 2 + 1: the first K columns of the half spectrum, one per row here;
            the others are 0.
    """

    shape: tuple[int, int]
    passing: torch.Tensor

    @cached_property
    def interleaved(self) -> torch.Tensor:
        """(K, 2 H): each value twice, for the real and the imaginary part as they lie in memory."""
        return self.passing.repeat_interleave(2, dim=1)


def frequencies(shape: tuple[int, int], pixel: tuple[float, float], device: torch.device) -> torch.Tensor:
    """Spatial frequency of each bin of a half spectrum.

    Args:
        shape: (H, W) in pixels.
        pixel: size of a pixel along rows and columns, in mm or as a fraction of the image.

    Returns:
        (H, W // 2 + 1) float64, in cycles (line pairs) per unit of ``pixel``.
    """
    down = torch.fft.fftfreq(shape[0], d=pixel[0], dtype=torch.float64, device=device)
    across = torch.fft.rfftfreq(shape[1], d=pixel[1], dtype=torch.float64, device=device)
    return torch.hypot(down[:, None], across[None, :])


def trimmed(response: torch.Tensor, columns: int, negligible: float = 1e-4) -> Response:
    """Drop the columns of the half spectrum after the last that passes more than ``negligible``.

    Args:
        response: (H, W // 2 + 1).
        columns: W.
    """
    passing = torch.nonzero(response.abs().amax(dim=0) > negligible)
    kept = int(passing[-1]) + 1 if len(passing) else 1
    return Response((response.shape[0], columns), response[:, :kept].T.float().contiguous())


def mirror(shape: tuple[int, int], margin: int) -> tuple[int, int]:
    """The size of a plane with mirrored edges of ``margin``; its own where it is too small to mirror."""
    rows, columns = (padded_size(size, margin) for size in shape)
    fits = (rows - shape[0] + 1) // 2 < shape[0] and (columns - shape[1] + 1) // 2 < shape[1]
    return (rows, columns) if fits else shape


def padded_size(size: int, margin: int) -> int:
    """The next even size with ``margin`` on both sides and no prime factor above 5: it transforms fast."""
    padded = size + 2 * margin
    while margin and (padded % 2 or _largest_factor(padded) > 5):
        padded += 1
    return padded


def _largest_factor(number: int) -> int:
    for factor in (2, 3, 5):
        while number % factor == 0:
            number //= factor
    return max(number, 5)


def filter_in_plane(
    images: torch.Tensor,
    response: Response,
    before: Elementwise | None = None,
    after: Elementwise | None = None,
) -> torch.Tensor:
    """Multiply the spectrum of every (H, W) plane with a real response.

    A response for a larger plane mirrors the image at its edges; one for (H, W) itself filters circularly,
    which lets the top of the image leak into the bottom. Only the columns of the response are transformed
    along
    H: a low-pass at half the Nyquist frequency costs half a transform. On a CPU the planes go one by one and
    their rows in blocks that fit its cache: memory, not arithmetic, is what a filter waits for.

    Args:
        images: (B, C, H, W) or (B, C, H, W, D).
        response: :class:`Response` for (H, W) or :func:`mirror` of them.
        before: elementwise function of the values, applied first; returns a new tensor.
        after: elementwise function of the filtered values, applied last, in place.

    Returns:
        As ``images``.
    """
    planes = images.movedim(-1, 2) if images.ndim == 5 else images
    rows, columns = planes.shape[-2:]
    extra = response.shape[0] - rows, response.shape[1] - columns
    stack = planes.reshape(-1, rows, columns)
    if any(extra):
        top, left = extra[0] // 2, extra[1] // 2
        stack = functional.pad(stack, (left, extra[1] - left, top, extra[0] - top), mode="reflect")
    if stack.device.type == "cpu":
        result = torch.empty_like(stack)
        for plane, filtered in zip(stack, result, strict=True):
            _filter_in_blocks(plane, response, before, after, filtered)
    else:
        passing = response.passing.to(images.dtype)
        result = _backward(_forward(stack, len(passing), before).mul_(passing.T), stack.shape[-1], after)
    if any(extra):
        result = result[:, top : top + rows, left : left + columns]
    result = result.reshape(planes.shape)
    return result.movedim(2, -1).contiguous() if images.ndim == 5 else result


def _filter_in_blocks(
    plane: torch.Tensor,
    response: Response,
    before: Elementwise | None,
    after: Elementwise | None,
    out: torch.Tensor,
) -> None:
    rows, columns = plane.shape
    passing = response.interleaved.to(plane.dtype)
    kept = len(passing)
    # Transposed, so that the second transform finds its values next to each other, and with a little between
    # the columns: at a distance of a power of two they would fight for the same lines of the cache.
    complex_type = torch.promote_types(plane.dtype, torch.complex64)
    spectrum = torch.empty(kept, rows + 8, dtype=complex_type)[:, :rows]
    for block in _blocks(rows, columns):
        values = plane[block] if before is None else before(plane[block])
        spectrum[:, block] = torch.fft.rfft(values, dim=-1)[:, :kept].T
    for block in _blocks(kept, 2 * rows):
        filtered = torch.fft.fft(spectrum[block], dim=-1)
        torch.view_as_real(filtered).flatten(1).mul_(passing[block])
        torch.fft.ifft(filtered, dim=-1, out=spectrum[block])
    half = torch.zeros(BLOCK // columns + 1, columns // 2 + 1, dtype=complex_type)
    for block in _blocks(rows, columns):
        part = half[: block.stop - block.start]
        part[:, :kept] = spectrum[:, block].T
        values = torch.fft.irfft(part, n=columns, dim=-1, out=out[block])
        if after is not None:
            after(values)


def _blocks(count: int, width: int) -> list[slice]:
    """Runs of rows of ``width`` values that fit the cache."""
    step = max(BLOCK // width, 1)
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]


def _forward(planes: torch.Tensor, kept: int, before: Elementwise | None) -> torch.Tensor:
    values = planes if before is None else before(planes)
    return torch.fft.fft(torch.fft.rfft(values, dim=-1)[..., :kept], dim=-2)


def _backward(spectrum: torch.Tensor, columns: int, after: Elementwise | None) -> torch.Tensor:
    values = torch.fft.irfft(torch.fft.ifft(spectrum, dim=-2), n=columns, dim=-1)
    return values if after is None else after(values)
