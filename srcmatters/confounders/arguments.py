"""What a confounder is called with: the arguments that its ``repr`` shows, and images of NumPy or torch."""

from __future__ import annotations

import inspect
from typing import Any, Self

import numpy as np
import torch
from monai.data.meta_obj import get_track_meta
from monai.utils import convert_to_tensor

from srcmatters.errors import InputError


class ShowsArguments:
    """Prints as the call that made it, ``Pacemaker(leads=2, seed=7)``, less what is at its default."""

    _arguments: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Keep what differs from the defaults; that a call is wrong is for ``__init__`` to say."""
        made = super().__new__(cls)
        signature = inspect.signature(cls)
        try:
            bound = signature.bind_partial(*args, **kwargs).arguments
        except TypeError:
            bound = {}
        made._arguments = {
            name: value
            for name, value in bound.items()
            if not np.array_equal(value, signature.parameters[name].default)
        }
        return made

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self._arguments.items())
        return f"{type(self).__name__}({arguments})"


def image_tensor(image: torch.Tensor | np.ndarray) -> torch.Tensor:
    """An image, or a batch, as MONAI's transforms take it: a tensor as it is, an array as a MetaTensor.

    Args:
        image: any shape and dtype; what they have to be is checked by who uses it.

    Raises:
        InputError: anything else, such as a path or a PIL image.
    """
    if isinstance(image, torch.Tensor):
        return image
    if isinstance(image, np.ndarray) and image.dtype.kind in "biufc":
        return convert_to_tensor(image, track_meta=get_track_meta())
    kind = f"array of {image.dtype}" if isinstance(image, np.ndarray) else type(image).__name__
    raise InputError(f"the image is of type {kind}, expected a tensor or a NumPy array, channel first")
