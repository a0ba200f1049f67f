"""What an image looks like, in 256 bits: re-encoded, resized or brightened copies have nearly the same."""

from __future__ import annotations

import imagehash
import numpy as np
from PIL import Image

#: Bits a side. On 440 chest radiographs of 352 patients at 128 px the nearest two patients differ in
#: 56 of 256 bits, while copies re-encoded as JPEG of quality 40, reduced to a third or with a fifth less
#: contrast differ in 8 at most. With 8 bits a side, imagehash's default, patients are 4 of 64 bits apart.
_SIDE = 16
_WORDS = _SIDE * _SIDE // 64


def perceptual_hash(image: np.ndarray) -> np.ndarray:
    """The low frequencies' signs (imagehash's phash) of an image; of a volume, of its mean along the depth.

    Args:
        image: (C, H, W) or (C, H, W, D), any range.

    Returns:
        (4,) uint64; zeros for an image of one grey value, which looks like nothing.
    """
    plane = np.asarray(image, dtype=np.float64).mean(axis=0)
    plane = plane.mean(axis=-1) if plane.ndim > 2 else plane
    span = np.ptp(plane)
    if not span > 0:
        return np.zeros(_WORDS, dtype=np.uint64)
    grey = Image.fromarray(np.uint8(np.rint((plane - plane.min()) * (255 / span))))
    bits = imagehash.phash(grey, hash_size=_SIDE).hash
    return np.packbits(bits.ravel()).view(np.uint64)
