"""What fills the lungs: branching vessels, fine texture, and the lesion of a positive."""

from __future__ import annotations

import numpy as np

from srcmatters.phantom.anatomy import Anatomy, random_stream
from srcmatters.phantom.geometry import Cloud, FloatArray, join, turn
from srcmatters.phantom.organs import SOFT, inside_lung
from srcmatters.phantom.patient import Nodule, PhantomPatient

GENERATIONS = 7


def vessels(patient: PhantomPatient, blood: float = SOFT) -> Cloud:
    """Pulmonary arteries and veins of both lungs, before the tilt; only what runs through aerated lung.

    ``blood`` is their value in HU. A lesion leaves them as they are: nothing else of the patient knows of it.
    """
    anatomy = patient.anatomy
    stream = random_stream(patient.seed, patient.index, "vessels")
    lines, radii, steps = [], [], []
    for side in (-1, 1):
        for points, radius, step in tree(anatomy, side, stream):
            lines.append(points.reshape(-1, 3))
            radii.append(radius.ravel())
            steps.append(step.ravel())
    points, radius = np.concatenate(lines).astype(np.float32), np.concatenate(radii)
    excess = np.pi * radius**2 * np.concatenate(steps) * (blood - anatomy.lung_hounsfield)
    kept = inside_lung(anatomy, points)
    return thickened(points[kept], radius[kept], excess[kept], stream)


def tree(
    anatomy: Anatomy, side: int, stream: np.random.Generator
) -> list[tuple[FloatArray, FloatArray, FloatArray]]:
    """Curved segments (branches, steps, 3), radii and step lengths (branches, steps), by generation.

    A branch splits into two whose squared radii add up to a little less than its own; both lean away from the
    hilum.
    """
    size = anatomy.size
    origins = 16
    hilum = np.array([side * 34 * size, 10 * size, anatomy.hilum + (12 * size if side > 0 else 0)])
    # Directions in the coronal plane, 90 is up, -90 is down: most trunks run to the lower lobe.
    fan = np.radians(np.array([82, 60, 38, 12, -12, -30, -45, -56, -66, -76, -86, 72, 25, -38, -60, -80.0]))
    fan = fan + stream.normal(0, 0.1, origins)
    lean = stream.uniform(-0.75, 0.75, origins)
    direction = np.stack([side * np.cos(fan), lean, np.sin(fan)], axis=1)
    position = hilum + stream.normal(0, 5, (origins, 3)) * size
    position[:, 2] += 16 * np.sin(fan) * size
    radius = stream.uniform(2.6, 4.0, origins) * size * anatomy.vessel_radius
    result: list[tuple[FloatArray, FloatArray, FloatArray]] = []
    for generation in range(GENERATIONS):
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        count, steps = len(position), 20 - 2 * min(generation, 5)
        length = (27 if generation == 0 else 23) * 0.93**generation * stream.uniform(0.6, 1.3, count) * size
        along = np.linspace(0, 1, steps)[None, :, None]
        sag = stream.normal(0, 0.16, (count, 1, 3)) * np.sin(np.pi * along) * length[:, None, None]
        points = position[:, None] + direction[:, None] * along * length[:, None, None] + 0.5 * sag
        taper = radius[:, None] * (1 - 0.18 * along[..., 0])
        result.append((points, taper, np.repeat(length[:, None] / steps, steps, axis=1)))
        away = points[:, -1] - hilum
        away /= np.linalg.norm(away, axis=1, keepdims=True) + 1e-6
        split = stream.normal(0, 1, (count, 3))
        split -= (split * direction).sum(1, keepdims=True) * direction
        split /= np.linalg.norm(split, axis=1, keepdims=True)
        share = stream.uniform(0.35, 0.65, count)
        children = []
        for sign, part in ((1, share), (-1, 1 - share)):
            heading = direction * 0.9 + sign * split * (1.15 - part)[:, None] * 0.75 + 0.3 * away
            children.append((points[:, -1], heading, radius * 0.82 * (2 * part) ** 0.4 * 0.92))
        position, direction, radius = (np.concatenate(parts) for parts in zip(*children, strict=True))
    return result


def thickened(
    points: FloatArray, radius: FloatArray, excess: FloatArray, stream: np.random.Generator
) -> Cloud:
    """Spread centreline masses over round cross-sections: thin ones stay points."""
    pieces = [Cloud(points[radius < 0.7], excess[radius < 0.7])]
    wide = radius >= 0.7
    spread = stream.standard_normal((8, int(wide.sum()), 3), dtype=np.float32)
    spread *= np.float32(0.45) * radius[wide].astype(np.float32)[:, None]
    pieces += [Cloud(points[wide] + offset, excess[wide] / 8) for offset in spread]
    return join(pieces)


def untilted_centre(nodule: Nodule, anatomy: Anatomy) -> FloatArray:
    """The lesion's centre before the tilt, (3,) mm."""
    x, z = turn(nodule.centre_mm[0], nodule.centre_mm[2], -anatomy.tilt)
    return np.array([x, nodule.centre_mm[1], z], np.float32)


def texture(patient: PhantomPatient) -> Cloud:
    """The interstitium: short strands, denser or more lucent than lung, all over both lungs."""
    anatomy = patient.anatomy
    stream = random_stream(patient.seed, patient.index, "texture")
    low, high = np.array([-150, -100, -170]) * anatomy.size, np.array([150, 115, 145]) * anatomy.size
    centres = stream.uniform(low, high, (9000, 3))
    heading = stream.normal(size=(9000, 1, 3))
    heading /= np.linalg.norm(heading, axis=2, keepdims=True)
    places = np.linspace(-4.5, 4.5, 5)[None, :, None]
    weight = np.repeat(stream.normal(1500, 5500, 9000)[:, None], 5, axis=1) / 5
    kept = inside_lung(anatomy, centres.astype(np.float32))
    points = (centres[:, None] + heading * places)[kept].reshape(-1, 3).astype(np.float32)
    weight = weight[kept].ravel()
    still = inside_lung(anatomy, points)
    return Cloud(points[still], weight[still])


def lesion(patient: PhantomPatient) -> Cloud:
    """The nodule or mass, before the tilt; an empty cloud for a negative.

    A ball of quasi-uniform points whose surface is bumped (lobulated) and grown into strands (spiculated).
    Its own random stream leaves the rest of the patient untouched.
    """
    nodule = patient.nodule
    if nodule is None:
        return join([])
    stream = random_stream(patient.seed, patient.index, "lesion_surface")
    radius, spacing = nodule.diameter_mm / 2, min(1.0, nodule.diameter_mm / 14)
    ticks = np.arange(-1.6 * radius, 1.6 * radius + spacing, spacing)
    grid = np.stack(np.meshgrid(ticks, ticks, ticks, indexing="ij"), axis=-1).reshape(-1, 3)
    grid = grid + stream.uniform(-0.5, 0.5, grid.shape) * spacing
    distance = np.linalg.norm(grid, axis=1)
    unit = grid / np.maximum(distance, 1e-6)[:, None]
    bumps = stream.normal(size=(7, 3))
    bumps /= np.linalg.norm(bumps, axis=1, keepdims=True)
    bump = np.exp(8 * (unit @ bumps.T - 1)).sum(axis=1)
    surface = radius * (1 + nodule.lobulation * (bump - 0.5))
    core = grid[distance < surface]
    strength = nodule.contrast * (SOFT - patient.anatomy.lung_hounsfield)
    pieces = [Cloud(core, np.full(len(core), strength * spacing**3))]
    for _ in range(nodule.spicules):
        heading = stream.normal(size=3)
        heading /= np.linalg.norm(heading)
        reach = np.arange(0.85 * radius, radius * stream.uniform(1.2, 1.55) + 2, 0.5)
        taper = np.linspace(1.1, 0.4, len(reach))
        pieces.append(Cloud(reach[:, None] * heading, strength * np.pi * taper**2 * 0.5))
    cloud = join(pieces)
    return Cloud(cloud.points + untilted_centre(nodule, patient.anatomy), cloud.excess)
