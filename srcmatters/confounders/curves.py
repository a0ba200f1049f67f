"""Wires and tubes on a radiograph: curved lines with the attenuation of the material they are made of."""

from __future__ import annotations

import math

import numpy as np
import torch

Curve = np.ndarray  # (N, 2) points (row, column)


def bezier(controls: np.ndarray, points: int = 96) -> Curve:
    """A smooth curve through the first and the last control point.

    Args:
        controls: (K, 2) control points of a Bezier curve of degree K - 1, (row, column) in any unit.
        points: number of points on the curve, equidistant in the curve's parameter.
    """
    degree = len(controls) - 1
    t = np.linspace(0, 1, points)[:, None]
    weights = [math.comb(degree, k) * t**k * (1 - t) ** (degree - k) for k in range(degree + 1)]
    return np.concatenate(weights, axis=1) @ np.asarray(controls, dtype=np.float64)


def spline(knots: np.ndarray, points_per_piece: int = 24) -> Curve:
    """A smooth curve *through* all of the knots (centripetal Catmull-Rom as Bezier pieces).

    Args:
        knots: (K, 2) points (row, column), K >= 2.
    """
    knots = np.asarray(knots, dtype=np.float64)
    padded = np.concatenate([2 * knots[:1] - knots[1:2], knots, 2 * knots[-1:] - knots[-2:-1]])
    pieces = []
    for before, start, end, after in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        d1, d2, d3 = (
            max(float(np.linalg.norm(b - a)) ** 0.5, 1e-6)
            for a, b in ((before, start), (start, end), (end, after))
        )
        leave = (d1**2 * end - d2**2 * before + (2 * d1**2 + 3 * d1 * d2 + d2**2) * start) / (
            3 * d1 * (d1 + d2)
        )
        reach = (d3**2 * start - d2**2 * after + (2 * d3**2 + 3 * d3 * d2 + d2**2) * end) / (
            3 * d3 * (d3 + d2)
        )
        pieces.append(bezier(np.stack([start, leave, reach, end]), points_per_piece)[:-1])
    return np.concatenate([*pieces, knots[-1:]])


def distance(curve: Curve, shape: tuple[int, int], reach: float) -> tuple[tuple[slice, slice], torch.Tensor]:
    """Distance of the pixel centres to a curve, near it.

    Args:
        curve: (N, 2) points in pixels, (0, 0) being the centre of the first pixel.
        shape: (H, W).
        reach: distances above this many pixels come out as infinite.

    Returns:
        The box (rows, columns) of the image that the curve reaches, and the distances in it, float32. The
        box is empty for a curve that lies outside.
    """
    curve = resample(curve, 2.0)  # a chord of 2 pixels is off a bend of 20 by 0.03
    low = np.maximum(np.floor(curve.min(axis=0) - reach), 0).astype(int)
    high = np.minimum(np.ceil(curve.max(axis=0) + reach) + 1, shape).astype(int)
    size = np.maximum(high - low, 0)
    box = (slice(int(low[0]), int(low[0] + size[0])), slice(int(low[1]), int(low[1] + size[1])))
    if not size.all():
        return box, torch.empty(tuple(int(n) for n in size))
    # Each segment is compared with the pixels of one small window around it: all segments at once.
    start = torch.from_numpy(curve[:-1] - low).float()
    step = torch.from_numpy(curve[1:] - curve[:-1]).float()
    half = math.ceil(reach + float(step.norm(dim=1).max()) / 2) + 1
    centre = (start + step / 2).round()
    offset = torch.arange(-half, half + 1.0)
    rows, columns = centre[:, :1] + offset, centre[:, 1:] + offset  # (segments, window)
    to_pixel = torch.stack(torch.broadcast_tensors(rows[:, :, None], columns[:, None, :]), -1)
    to_pixel = to_pixel - start[:, None, None]
    along = (to_pixel * step[:, None, None]).sum(-1) / step.square().sum(-1).clamp(min=1e-12)[:, None, None]
    apart = (to_pixel - along.clamp(0, 1)[..., None] * step[:, None, None]).norm(dim=-1)
    inside = ((rows >= 0) & (rows < size[0]))[:, :, None] & ((columns >= 0) & (columns < size[1]))[:, None, :]
    keep = inside & (apart <= reach)
    index = (rows[:, :, None] * int(size[1]) + columns[:, None, :])[keep].long()
    nearest = torch.full((int(size[0] * size[1]),), math.inf)
    nearest.scatter_reduce_(0, index, apart[keep], "amin")
    return box, nearest.reshape(int(size[0]), int(size[1]))


def resample(curve: Curve, step: float) -> Curve:
    """The same curve as points about ``step`` pixels apart."""
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))])
    positions = np.linspace(0, length[-1], max(math.ceil(length[-1] / step), 1) + 1)
    return np.stack([np.interp(positions, length, curve[:, axis]) for axis in (0, 1)], axis=1)


def chord(apart: torch.Tensor, radius: float) -> torch.Tensor:
    r"""Mean path through a cylinder over the width of a pixel, seen from the side.

    A ray at distance ``d`` of the axis runs through ``2 sqrt(r^2 - d^2)`` of the material; its mean over
    ``d - 1/2 .. d + 1/2`` keeps the cross-section ``pi r^2`` however thin the wire is against a pixel.

    Args:
        apart: distance to the axis in pixels.
        radius: radius of the cylinder in pixels.

    Returns:
        Path length in pixels.
    """

    def integral(d: torch.Tensor) -> torch.Tensor:
        d = d.clamp(-radius, radius)
        return d * (radius**2 - d**2).clamp(min=0).sqrt() + radius**2 * torch.asin(d / radius)

    return integral(apart + 0.5) - integral(apart - 0.5)


def solid(
    centre: np.ndarray,
    half: tuple[float, float],
    angle: float,
    corner: float,
    shape: tuple[int, int],
    softness: float = 1.0,
) -> tuple[tuple[slice, slice], torch.Tensor]:
    """Coverage 0..1 of the pixels by a rectangle with round corners.

    Args:
        centre: (row, column) in pixels.
        half: half of its height and width in pixels.
        angle: rotation in radians, clockwise on the screen.
        corner: radius of the corners in pixels.
        shape: (H, W).
        softness: width of its edge in pixels; 1, the least, is anti-aliasing.

    Returns:
        The box (rows, columns) of the image that it reaches, and the coverage in it.
    """
    softness = max(softness, 1.0)
    reach = math.hypot(*half) + softness
    low = [min(max(math.floor(c - reach), 0), n) for c, n in zip(centre, shape, strict=True)]
    high = [min(max(math.ceil(c + reach) + 1, 0), n) for c, n in zip(centre, shape, strict=True)]
    rows = torch.arange(low[0], high[0], dtype=torch.float32)[:, None] - float(centre[0])
    columns = torch.arange(low[1], high[1], dtype=torch.float32)[None, :] - float(centre[1])
    corner = min(corner, *half)
    across = (rows * math.cos(angle) - columns * math.sin(angle)).abs() - (half[0] - corner)
    along = (rows * math.sin(angle) + columns * math.cos(angle)).abs() - (half[1] - corner)
    outside = torch.hypot(across.clamp(min=0), along.clamp(min=0))
    signed = outside + torch.maximum(across, along).clamp(max=0) - corner
    return (slice(low[0], high[0]), slice(low[1], high[1])), (0.5 - signed / softness).clamp(0, 1)
