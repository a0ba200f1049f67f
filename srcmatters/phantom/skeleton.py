"""Bones as clouds: ribs along the thoracic wall, clavicles, scapulae, and the vertebrae's processes."""

from __future__ import annotations

import numpy as np

from srcmatters.phantom.anatomy import Anatomy
from srcmatters.phantom.geometry import Cloud, FloatArray, join
from srcmatters.phantom.organs import (
    bend,
    cage_centre,
    cage_half_depth,
    cage_half_width,
    torso,
    turned,
    vertebra_spacing,
)

CORTEX, MARROW = 1300.0, 240.0
"""Excess of cortical and of spongy bone over muscle, HU."""


def skeleton(anatomy: Anatomy, view: str | None = None) -> Cloud:
    """All bones of one patient, before the tilt.

    Args:
        anatomy: The patient's.
        view: "AP" draws the scapulae over the lungs; "PA" and None (CT, arms raised) turn them outwards.
    """
    cage = [rib(anatomy, number, side) for number in range(1, anatomy.ribs + 1) for side in (-1, 1)]
    girdle = [clavicle(anatomy, side) for side in (-1, 1)]
    girdle += [scapula(anatomy, side, 14.0 if view == "AP" else 0.0) for side in (-1, 1)]
    loose = join([*girdle, processes(anatomy)])
    x, y, z = loose.points.T
    under_skin = torso(anatomy, x, z)[1].contains(y)
    return join([*cage, sternum(anatomy), Cloud(loose.points[under_skin], loose.excess[under_skin])])


def bar(
    centreline: FloatArray,
    outward: FloatArray,
    half_height: FloatArray | float,
    half_thickness: FloatArray | float,
    cortex_mm: float,
    strength: FloatArray | float,
) -> Cloud:
    """A flat bone of elliptic cross-section with a bright cortex.

    Args:
        centreline: (N, 3) points, mm.
        outward: (N, 3) unit vectors across the thin direction.
        half_height: Half axis along the broad direction, mm; a scalar or (N,).
        half_thickness: Half axis along the thin direction, mm; a scalar or (N,).
        cortex_mm: Thickness of the cortex.
        strength: Mineralisation, 1 for a healthy adult; a scalar or (N,).
    """
    count = len(centreline)
    tangent = np.gradient(centreline, axis=0)
    step = np.linalg.norm(tangent, axis=1)
    broad = np.cross(tangent / np.maximum(step, 1e-6)[:, None], outward)
    tall, thin = np.broadcast_to(half_height, count), np.broadcast_to(half_thickness, count)
    angle = np.arange(20) * (2 * np.pi / 20)
    spin = (np.arange(count) % 2)[:, None] * (np.pi / 20) + angle[None]
    perimeter = np.hypot(tall[:, None] * np.cos(spin), thin[:, None] * np.sin(spin)) * (2 * np.pi / 20)
    ring = perimeter * cortex_mm * CORTEX
    fill = np.repeat((np.pi * tall * thin / 20 * MARROW)[:, None], 20, axis=1)
    radial = np.sqrt((np.arange(20) * 7 % 20 + 0.5) / 20)[None] * 0.85
    pieces = []
    for weight, reach in ((ring, np.ones((1, 20))), (fill, radial)):
        up, out = (
            (tall[:, None] * np.sin(spin) * reach)[..., None],
            (thin[:, None] * np.cos(spin) * reach)[..., None],
        )
        points = centreline[:, None] + up * broad[:, None] + out * outward[:, None]
        excess = weight * (step * np.broadcast_to(strength, count))[:, None]
        pieces.append(Cloud(points.reshape(-1, 3).astype(np.float32), excess.ravel().astype(np.float32)))
    return join(pieces)


def resampled(points: FloatArray, spacing: float = 1.6) -> FloatArray:
    """The polyline (N, 3) at equal steps of about ``spacing`` mm."""
    arc = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    places = np.linspace(0, arc[-1], max(int(arc[-1] / spacing), 4))
    return np.stack([np.interp(places, arc, points[:, axis]) for axis in range(3)], axis=1).astype(np.float32)


def rib(anatomy: Anatomy, number: int, side: int) -> Cloud:
    """Rib 1..12: from its vertebra back and outwards, around the wall, forward and down to the cartilage.

    Args:
        anatomy: The patient's.
        number: 1 (uppermost) to 12.
        side: -1 right, 1 left.
    """
    size = anatomy.size
    reach = np.interp(number, [1, 2, 4, 8, 10, 11, 12], [138, 144, 148, 138, 118, 82, 62])
    fall = np.interp(number, [1, 2, 3, 6, 9, 12], [38, 58, 78, 116, 122, 100]) * anatomy.rib_fall * size
    start = (
        anatomy.apex
        + anatomy.rib_offset
        - (number - 1.2) * vertebra_spacing(anatomy)
        + (2.0 if side > 0 else -2.0)
    )
    angle = np.radians(np.linspace(9, reach, 90))
    progress = angle / np.radians(150)
    z = start + 7 * size * np.sin(np.clip(progress / 0.3, 0, 1) * np.pi) - fall * progress**1.35
    outer = cage_half_width(anatomy, z + 6) + 5.0
    depth = cage_half_depth(anatomy, z + 6) + 5.0
    # A squarer curve than an ellipse: the back of the thorax is flat and its side straight.
    across, forward = np.sin(angle), np.cos(angle)
    square = (np.abs(across) ** 2.5 + np.abs(forward) ** 2.5) ** (-1 / 2.5)
    x = side * outer * across * square
    x = x + bend(anatomy, z) * np.exp(-angle * 3) + turned(anatomy, 0.0, 70) * np.exp(-angle * 2)
    line = resampled(np.stack([x, cage_centre(anatomy, z) + depth * forward * square, z], axis=1))
    outward = np.stack([line[:, 0], line[:, 1] - cage_centre(anatomy, line[:, 2]), 0 * line[:, 0]], axis=1)
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    along = np.linspace(0, 1, len(line))
    height = anatomy.rib_height * (0.86 + 0.3 * along) * np.clip(along * 14 + 0.5, 0, 1)
    strength = anatomy.bone * np.clip((1 - along) * 9, 0, 1) * (1.1 - 0.4 * along)
    return bar(line, outward, height, 3.5 * size, 1.5, strength)


def clavicle(anatomy: Anatomy, side: int) -> Cloud:
    """The S-shaped bar from the sternum to the shoulder."""
    size, rise = anatomy.size, anatomy.clavicle_rise
    t = np.linspace(0, 1, 80)
    height = anatomy.apex - 44 * size + rise * t + 7 * size * np.sin(2 * np.pi * t)
    depth = -52 * size + 66 * size * t - 13 * size * np.sin(2 * np.pi * t)
    x = side * size * (13 + 150 * t) + turned(anatomy, 0.0, -50)
    line = resampled(np.stack([x, depth, height], axis=1))
    outward = np.tile(np.array([0.0, 1.0, 0.0]), (len(line), 1))
    along = np.linspace(0, 1, len(line))
    radius = size * (6.6 - 3.2 * np.sin(np.pi * np.clip(along * 1.15, 0, 1)) ** 0.8 + 1.2 * along)
    return bar(line, outward, radius, radius * 1.1, 1.5, anatomy.bone)


def scapula(anatomy: Anatomy, side: int, inwards: float) -> Cloud:
    """Blade with thick borders, spine and glenoid, and the humeral head beside it; ``inwards`` in mm.

    The arms are raised or abducted: the humeral shaft lies out of the field.
    """
    size, top = anatomy.size, anatomy.shoulder + 62 * anatomy.size
    edge = anatomy.half_width - inwards

    def place(across: float, y: float, down: float) -> list[float]:
        return [side * (edge + across * size), y * size, top - down * size]

    medial = [place(-18, 92, -4), place(-20, 95, 40), place(-6, 98, 105), place(0, 96, 122)]
    lateral = [place(0, 96, 122), place(14, 80, 80), place(28, 62, 38), place(34, 48, 20)]
    spine = [place(-18, 98, 22), place(10, 92, 6), place(34, 76, -12), place(48, 50, -16)]
    pieces = []
    for nodes, radius, cortex in ((medial, 1.8, 1.0), (lateral, 3.2, 1.4), (spine, 3.4, 1.2)):
        line = smooth(nodes)
        pieces.append(
            bar(line, np.tile([0.0, 1.0, 0.0], (len(line), 1)), radius, radius, cortex, anatomy.bone)
        )
    t, s = np.meshgrid(np.linspace(0, 1, 70), np.linspace(0.05, 0.95, 40))
    left, right = smooth(medial), smooth(lateral)[::-1]
    left = left[(t * (len(left) - 1)).astype(int)]
    right = right[(t * (len(right) - 1)).astype(int)]
    blade = (left * (1 - s[..., None]) + right * s[..., None]).reshape(-1, 3)
    area = 125 * 45 * size**2 / 2
    plate = np.full(len(blade), anatomy.bone * area * 1.6 * 700 / len(blade), np.float32)
    head = humeral_head(np.array(place(54, 36, 8)), 23 * size, anatomy.bone)
    return join([*pieces, Cloud(blade.astype(np.float32), plate), head])


def humeral_head(centre: FloatArray, radius: float, strength: float) -> Cloud:
    """A ball of spongy bone in a thin shell (radius in mm), at the edge of the field."""
    count = 3000
    up = 1 - 2 * (np.arange(count) + 0.5) / count
    spin = np.arange(count) * np.pi * (3 - np.sqrt(5))
    around = np.sqrt(1 - up**2)
    unit = np.stack([around * np.cos(spin), around * np.sin(spin), up], axis=1)
    depth = np.random.default_rng(0).uniform(size=count) ** (1 / 3)
    shell = Cloud(
        centre + radius * unit, np.full(count, strength * 4 * np.pi * radius**2 * 0.9 * CORTEX / count)
    )
    filling = Cloud(
        centre + radius * depth[:, None] * unit, np.full(count, strength * 4.2 * radius**3 * MARROW / count)
    )
    return join([shell, filling])


def smooth(nodes: list[list[float]]) -> FloatArray:
    """A rounded curve through a few points (mm), at steps of about 1.6 mm."""
    line = resampled(np.array(nodes, np.float32))
    for _ in range(12):
        line[1:-1] = (line[:-2] + 2 * line[1:-1] + line[2:]) / 4
    return line


def sternum(anatomy: Anatomy) -> Cloud:
    """Manubrium and body, a thin plate in front of the mediastinum."""
    size = anatomy.size
    z = np.linspace(anatomy.apex - 32 * size, anatomy.apex - 170 * size, 60)
    y = cage_centre(anatomy, z) * 0.7 - np.maximum(cage_half_depth(anatomy, z), 55 * size) - 2
    line = resampled(np.stack([np.full_like(z, turned(anatomy, 0.0, -70)), y, z], axis=1))
    wide = size * np.interp(np.linspace(0, 1, len(line)), [0, 0.25, 0.4, 1], [25, 15, 14, 17])
    return bar(line, np.tile([0.0, 1.0, 0.0], (len(line), 1)), wide, 4.0 * size, 0.8, 0.75 * anatomy.bone)


def processes(anatomy: Anatomy) -> Cloud:
    """End plates, pedicle rings, transverse and spinous processes of every vertebra in the field."""
    one, spacing = vertebra(anatomy), vertebra_spacing(anatomy)
    heights = anatomy.apex - spacing * np.arange(-3, 15, dtype=np.float32)
    across = turned(anatomy, 0.0, 70) + bend(anatomy, heights)
    places = np.stack([across, np.zeros_like(heights), heights], axis=1)
    points = (places[:, None] + one.points[None]).reshape(-1, 3)
    return Cloud(points.astype(np.float32), np.tile(one.excess, len(heights)))


def vertebra(anatomy: Anatomy) -> Cloud:
    """The bright parts of one thoracic vertebra, about (0, y, 0)."""
    size, radius, spacing, bone = anatomy.size, anatomy.spine_radius, vertebra_spacing(anatomy), anatomy.bone
    spread, spin = np.arange(90) * 2.39996, np.arange(64) * (2 * np.pi / 64)
    disc = np.sqrt((np.arange(90) + 0.5) / 90) * radius * 0.95
    forwards, sideways = np.tile([0.0, 1.0, 0.0], (64, 1)), np.tile([1.0, 0.0, 0.0], (64, 1))
    pieces = []
    for rim in (-0.39, 0.39):
        plate = [disc * np.cos(spread), 64 * size + disc * np.sin(spread) * 0.9, np.full(90, rim * spacing)]
        pieces.append(Cloud(np.stack(plate, 1), np.full(90, bone * np.pi * radius**2 * 380 / 90)))
    for side in (-1, 1):
        ring = [side * 10.5 * size + 3.2 * size * np.cos(spin), np.full(64, 84 * size)]
        ring.append(0.16 * spacing + 4.6 * size * np.sin(spin))
        pieces.append(Cloud(np.stack(ring, 1), np.full(64, bone * 25 * 10 * CORTEX / 64)))
        line = resampled(np.array([[side * 12, 90 * size, 3.0], [side * 31 * size, 101 * size, 6.0]]))
        pieces.append(bar(line, forwards[: len(line)], 4.2 * size, 3.5, 0.9, bone))
    line = resampled(np.array([[0, 92 * size, 0], [0, 102 * size, -8 * size], [0, 112 * size, -20 * size]]))
    pieces.append(bar(line, sideways[: len(line)], 4.0, 2.0, 1.0, bone))
    return join(pieces)
