"""The large organs as intervals along y: body wall, lungs, abdomen, heart, mediastinum, spine, airways.

Functions take coordinates before the tilt (mm) in arrays of any common shape and return intervals of that
shape.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from srcmatters.phantom.anatomy import Anatomy
from srcmatters.phantom.geometry import FloatArray, Interval, around, capsule, ellipsoid

AIR, FAT, BREAST, MUSCLE, LIVER = -1000.0, -100.0, -40.0, 45.0, 58.0
SOFT, BLOOD, ENHANCED_BLOOD = 40.0, 45.0, 190.0
TRACHEA, DISC, VERTEBRA = -960.0, 75.0, 160.0


@dataclass(frozen=True)
class Organs:
    """Nested intervals: muscle in body, lung in muscle, soft organs over both, inner ones in soft organs.

    Args:
        breast: In front of the body; empty in men.
        body: Skin to skin, fat.
        muscle: Chest wall and all that lies inside.
        lung: The pleural cavities before the soft organs displace lung.
        soft: Organs that displace lung; they may overlap one another; later ones are painted over earlier
            ones.
        inner: Spine, airways and gas, each inside the soft organs, disjoint from one another except disc and
            vertebra.
    """

    breast: Interval
    body: Interval
    muscle: Interval
    lung: Interval
    soft: tuple[Interval, ...]
    inner: tuple[Interval, ...]


def chest_organs(
    anatomy: Anatomy, x: FloatArray, z: FloatArray, heart_magnification: float = 1.0, enhanced: bool = False
) -> Organs:
    """All large organs of one patient.

    Args:
        anatomy: The patient's.
        x: (...) towards the left, mm.
        z: (...) towards the head, mm.
        heart_magnification: 1 in CT and PA; above 1 in an AP radiograph, whose heart lies far from the
            detector.
        enhanced: Contrast agent in the blood.
    """
    blood = ENHANCED_BLOOD if enhanced else BLOOD
    body, muscle = torso(anatomy, x, z)
    lung = pleural_cavity(anatomy, x, z).clipped(muscle)
    soft = (
        *abdomen(anatomy, x, z),
        *mediastinum(anatomy, x, z, blood),
        *heart(anatomy, x, z, heart_magnification, blood),
    )
    inner = (*spine(anatomy, x, z), *airways(anatomy, x, z), gastric_gas(anatomy, x, z))
    return Organs(
        breasts(anatomy, x, z, body), body, muscle, lung, tuple(one.clipped(muscle) for one in soft), inner
    )


def inside_lung(anatomy: Anatomy, points: FloatArray) -> NDArray[np.bool_]:
    """Whether points (..., 3) before the tilt, mm, lie in aerated lung."""
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    muscle = torso(anatomy, x, z)[1]
    result = pleural_cavity(anatomy, x, z).clipped(muscle).contains(y)
    others = (*abdomen(anatomy, x, z), *mediastinum(anatomy, x, z, BLOOD), *heart(anatomy, x, z, 1.0, BLOOD))
    for organ in others:
        result &= ~organ.contains(y)
    return result


def cage_half_width(anatomy: Anatomy, z: FloatArray) -> FloatArray:
    """Distance from the midline to the lateral pleura at height ``z``, mm."""
    down = np.clip((anatomy.apex - z) / (252 * anatomy.size), 0, 1)
    top = 46 * anatomy.size
    return top + (anatomy.half_width - top) * (1 - (1 - down) ** 3.2) ** 0.62


def cage_half_depth(anatomy: Anatomy, z: FloatArray) -> FloatArray:
    """Half the anterior-posterior extent of the pleural cavity at height ``z``, mm."""
    down = np.clip((anatomy.apex - z) / (252 * anatomy.size), 0, 1)
    return anatomy.half_depth * (1 - (1 - down) ** 2.6) ** 0.6


def cage_centre(anatomy: Anatomy, z: FloatArray) -> FloatArray:
    """Middle of the pleural cavity along y, mm: the apex lies further back."""
    return 6 + 26 * np.clip((z + 10 * anatomy.size) / anatomy.apex, 0, 1) ** 1.5


def pleural_cavity(anatomy: Anatomy, x: FloatArray, z: FloatArray) -> Interval:
    """Both lungs with their apices; the abdomen and the mediastinum cut the rest."""
    size = anatomy.size
    down = np.clip((anatomy.apex - z) / (252 * size), 0, 1)
    lateral = cage_half_width(anatomy, z)
    medial = size * (46 - 86 * np.sqrt(1 - (1 - np.minimum(down / 0.55, 1)) ** 2))
    across = (np.abs(x) - (lateral + medial) / 2) / np.maximum((lateral - medial) / 2, 1e-3)
    profile = np.maximum(1 - np.abs(across) ** 2.3, 0) ** 0.5
    half = cage_half_depth(anatomy, z) * profile * (np.abs(x) > 1.5)
    return around(cage_centre(anatomy, z), half, anatomy.lung_hounsfield)


def torso(anatomy: Anatomy, x: FloatArray, z: FloatArray) -> tuple[Interval, Interval]:
    """Skin and muscle: neck, shoulders out of the field, trunk."""
    size, wall = anatomy.size, anatomy.half_width + anatomy.muscle
    table = np.arange(-320.0, 320.0)
    shoulder = anatomy.shoulder
    heights = np.array([-300, shoulder - 60, shoulder - 25, shoulder, shoulder + 22, shoulder + 55])
    heights = np.concatenate([heights, np.array([150, 166, 185, 300]) * size + 6])
    widths = np.array([wall - 4, wall + 2, wall + 12, wall + 45, 290, 250])
    widths = np.concatenate([widths, np.array([112, 68, 56, 56]) * size])
    width = np.interp(z, table, gaussian_filter1d(np.interp(table, heights, widths), 7)).astype(np.float32)
    depths = np.interp(table, np.array([-300, 60, 125, 165, 300]) * size, [1.0, 1.0, 0.92, 0.62, 0.55])
    depth = np.interp(z, table, gaussian_filter1d(depths, 10)).astype(np.float32)
    depth = depth * (anatomy.half_depth + anatomy.muscle)
    centre = cage_centre(anatomy, z) * 0.8 + 2

    def layer(fat: float, hounsfield: float) -> Interval:
        profile = np.maximum(1 - (np.abs(x) / (width + fat)) ** 2.6, 0) ** 0.5
        return around(centre, (depth + fat) * profile, hounsfield)

    body = layer(anatomy.fat, FAT)
    return body, layer(0.0, MUSCLE).clipped(body)


def breasts(anatomy: Anatomy, x: FloatArray, z: FloatArray, body: Interval) -> Interval:
    """Both breasts, in front of the body only."""
    if anatomy.breast <= 0:
        return Interval(body.front, body.front, BREAST)
    size, reach = anatomy.size, anatomy.breast
    across = (np.abs(x) - 82 * size) / (46 * size + 0.5 * reach)
    up = (z + (38 + 0.5 * reach) * size) / (42 * size + 0.45 * reach)
    # Gravity: the upper half tapers slowly, the lower edge is round and steep.
    up = np.where(up > 0, up / 1.35, up)
    inside = np.maximum(1 - across**2 - up**2, 0)
    bulge = reach * inside ** np.where(up > 0, 0.5 + np.minimum(2 * up, 1.0), 0.5) * (body.back > body.front)
    return Interval((body.front - bulge).astype(np.float32), body.front, BREAST)


def abdomen(anatomy: Anatomy, x: FloatArray, z: FloatArray) -> tuple[Interval, Interval]:
    """What lies under each half of the diaphragm; the domes fall to the side and to the back."""
    size = anatomy.size
    result = []
    for sign, dome, hounsfield in ((-1, anatomy.dome_right, LIVER), (1, anatomy.dome_left, SOFT)):
        offset = (x * sign - 68 * size) / (70 * size)
        fall = anatomy.sulcus * np.where(offset > 0, np.abs(offset) ** 2.4, 0.55 * np.abs(offset) ** 2)
        below = np.maximum(dome - fall - z, 0)
        half = np.sqrt(below / (0.0085 / size))
        result.append(around(-4 * size, np.where(x * sign > 0, half, 0.0), hounsfield))
    return result[0], result[1]


def turned(anatomy: Anatomy, x: float, y: float) -> float:
    """Where a midline structure at depth ``y`` (mm) appears in a patient turned about the long axis."""
    return x + y * float(np.sin(np.radians(anatomy.rotation)))


def heart(
    anatomy: Anatomy, x: FloatArray, z: FloatArray, magnification: float, blood: float
) -> tuple[Interval, ...]:
    """Ventricles (a tilted ellipsoid pointing left and down), right atrium, pulmonary trunk."""
    size, scale = anatomy.size, anatomy.heart_size * magnification
    base = (anatomy.dome_right + anatomy.dome_left) / 2 + 36 * size
    shift = turned(anatomy, anatomy.heart_shift, -20)
    ventricles = (shift + 23 * scale, -18 * size, base - 2 * scale)
    atrium = (shift - 13 * scale, -6 * size, base + 8 * scale)
    trunk = (shift + 17 * scale, -16 * size, base + 50 * scale)
    return (
        ellipsoid(x, z, ventricles, (68 * scale, 58 * scale, 46 * scale), anatomy.heart_angle, blood),
        ellipsoid(x, z, atrium, (32 * scale, 50 * scale, 52 * scale), 6.0, blood),
        ellipsoid(x, z, trunk, (22 * scale, 42 * scale, 46 * scale), 20.0, blood),
    )


def mediastinum(anatomy: Anatomy, x: FloatArray, z: FloatArray, blood: float) -> tuple[Interval, ...]:
    """Central column, aorta (ascending, arch, descending), superior vena cava, hila, paraspinal tissue."""
    size, radius, middle = anatomy.size, anatomy.aorta_radius, turned(anatomy, 0.0, -10)
    arch = (76 + 4 * (radius / size - 13)) * size
    width = anatomy.mediastinum * (1 - 0.18 * np.clip(z / (110 * size), -1, 1))
    column = around(4 * size, 80 * size * np.maximum(1 - ((x - middle) / width) ** 2, 0) ** 1.2, SOFT)
    left = middle + anatomy.mediastinum * 0.45
    descending = (left + 4 * size, 50 * size)
    back = turned(anatomy, 0.0, 70)
    right_hilum, left_hilum = anatomy.hilum, anatomy.hilum + 12 * size
    paraspinal = (
        np.maximum(1 - np.abs((x - back - bend(anatomy, z)) / (anatomy.spine_radius + 30)) ** 2, 0) ** 1.4
    )
    # Beside the vertebrae the pleura runs obliquely to the back wall.
    gutter = (114 - 79 * paraspinal) * size
    return (
        column,
        Interval(gutter, np.where(paraspinal > 0, 140 * size, gutter), SOFT),
        capsule(x, z, (middle - 20, -12, arch + 34), (middle - 24, -8, -20), (10 * size, 13 * size), blood),
        capsule(
            x, z, (middle - 13, -28, arch - 4), (middle - 6, -28, 0), (radius * 1.25, radius * 1.5), blood
        ),
        ellipsoid(
            x, z, (left - 2 * size, 22, arch - 3), (radius * 1.45, 2.2 * radius, radius * 1.3), -20.0, blood
        ),
        capsule(x, z, (*descending, arch - 2), (left - 10 * size, 58, -150), (radius, 0.85 * radius), blood),
        capsule(
            x,
            z,
            (-26 * size, 0, right_hilum + 16),
            (-47 * size, 10, right_hilum - 40),
            (10 * size, 5 * size),
            blood,
        ),
        capsule(
            x,
            z,
            (24 * size, 5, left_hilum + 6),
            (48 * size, 16, left_hilum - 32),
            (12 * size, 5 * size),
            blood,
        ),
    )


def bend(anatomy: Anatomy, z: FloatArray) -> FloatArray:
    """Sideways displacement of the spine at height ``z``, mm: a gentle S."""
    return anatomy.spine_bend * np.sin(z / (70 * anatomy.size))


def vertebra_spacing(anatomy: Anatomy) -> float:
    """Distance between neighbouring thoracic vertebrae, mm."""
    return 22.0 * anatomy.size


def spine(anatomy: Anatomy, x: FloatArray, z: FloatArray) -> tuple[Interval, Interval]:
    """Discs (a column) and the waisted vertebral bodies painted over it."""
    spacing, radius = vertebra_spacing(anatomy), anatomy.spine_radius
    across = x - turned(anatomy, 0.0, 70) - bend(anatomy, z)
    phase = np.mod((anatomy.apex - z) / spacing + 0.5, 1.0) - 0.5
    is_body = np.clip((0.40 - np.abs(phase)) * spacing / 1.5 + 0.5, 0, 1)
    depth = 64 * anatomy.size
    disc = np.maximum(1 - (across / radius) ** 4, 0) ** 0.5 * 0.9 * radius
    waist = radius * (0.90 + 0.6 * phase**2)
    body = np.maximum(1 - (across / waist) ** 4, 0) ** 0.5 * 0.9 * radius * is_body
    return around(depth, disc, DISC), around(depth, body, VERTEBRA * anatomy.bone)


def airways(anatomy: Anatomy, x: FloatArray, z: FloatArray) -> tuple[Interval, ...]:
    """Trachea and the two main bronchi, the right one steeper and wider."""
    size, middle = anatomy.size, turned(anatomy, 0.0, 15)
    carina = anatomy.hilum + 24 * size
    fork = (middle, 22.0 * size, carina)
    column = mediastinum(anatomy, x, z, BLOOD)[0]
    tubes = (
        capsule(x, z, (middle - 1, 12 * size, 260 * size), fork, (9 * size, 8.5 * size), TRACHEA),
        capsule(
            x, z, fork, (middle - 30 * size, 24 * size, carina - 30 * size), (7 * size, 5 * size), TRACHEA
        ),
        capsule(
            x, z, fork, (middle + 36 * size, 26 * size, carina - 25 * size), (6.5 * size, 4.5 * size), TRACHEA
        ),
    )
    return tuple(tube.clipped(column) for tube in tubes)


def gastric_gas(anatomy: Anatomy, x: FloatArray, z: FloatArray) -> Interval:
    """The stomach's bubble under the left dome."""
    size, gas = anatomy.size, max(anatomy.gas, 0.4)
    height = 10 * size * gas
    centre = (62 * size, -14 * size, anatomy.dome_left - 10 * size - height)
    bubble = ellipsoid(x, z, centre, (23 * size * gas, 20 * size * gas, height), 8.0, TRACHEA)
    return bubble.clipped(abdomen(anatomy, x, z)[1])
