"""New identifiers for images that are sent: of one length, in an order that says nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_DIGITS = 38  # of a UID below 2.25: all of one length, so that no file is a byte longer than another


@dataclass(frozen=True)
class SentImage:
    """Identifiers of one image.

    Args:
        number: 1 .. n, the place in the shuffled order.
        sending: four characters that all images of one sending have in common.
        study: StudyInstanceUID.
        series: SeriesInstanceUID.
        frame: FrameOfReferenceUID.
        instance: what SOPInstanceUIDs begin from, see :meth:`sop_instance`.
    """

    number: int
    sending: str
    study: str
    series: str
    frame: str
    instance: int

    @property
    def identifier(self) -> str:
        """Pseudo-patient, and the name of the file: all of one length, 16 characters at most (VR SH)."""
        return f"SENT{self.sending}{self.number:07d}"

    def sop_instance(self, slice_number: int = 0) -> str:
        """SOPInstanceUID of the image, or of one of its slices."""
        return f"2.25.{self.instance + slice_number}"


def sent_images(count: int, seed: int) -> tuple[list[SentImage], np.ndarray]:
    """Identifiers, and which image has which.

    Args:
        count: number of images.
        seed: of the order: another, or another count, shuffles in another way.

    Returns:
        Identifiers in their order, and the (count,) shuffled positions of the images that get them.
    """
    stream = np.random.default_rng([seed, count, 17])
    order = stream.permutation(count)
    # The next audit must not meet these identifiers again, or its answers would count for other images: the
    # seed alone would repeat them.
    fresh = np.random.default_rng()
    sending = f"{fresh.integers(16**4):04X}"
    images = [
        SentImage(number, sending, _uid(fresh), _uid(fresh), _uid(fresh), _number(fresh))
        for number in range(1, count + 1)
    ]
    return images, order


def _uid(stream: np.random.Generator) -> str:
    return f"2.25.{_number(stream)}"


def _number(stream: np.random.Generator) -> int:
    """A random number of 38 digits with room for slices above it."""
    high, low = (int(stream.integers(10**18, 10**19, dtype=np.uint64)) for _ in range(2))
    value = 10 ** (_DIGITS - 1) + (high * 10**19 + low) % (8 * 10 ** (_DIGITS - 1))
    return value - value % 10**5
