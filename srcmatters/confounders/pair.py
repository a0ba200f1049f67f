"""Two confounders that a run is taught together and tested apart: the images of four states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch

from srcmatters.confounders.base import Acquisition, Confounder, Parameters
from srcmatters.confounders.catalogue import Protocol, create_confounder
from srcmatters.confounders.composition import Composition
from srcmatters.confounders.pair_names import pair_of
from srcmatters.errors import InputError


class Pair(Composition):
    """Put two confounders into an image, the second on top of the first, each with its own draw.

    A :class:`Composition` is one confounder whose parts draw from its stream; the parts of a pair draw from
    the streams that they have by themselves. So an image with one of them is, bit for bit, that of a study of
    this confounder alone.

    Args:
        first: what is put in first.
        second: what is put on top.
        seed: that of both, for the record.

    Shape:
        image: (C, H, W) or (C, H, W, D), in the unit of both; the result has the same shape and dtype.

    Raises:
        InputError: they have different units, or no dimension in common.
    """

    name = "pair"
    presets: ClassVar[dict[str, Parameters]] = {}

    def __init__(self, first: Confounder, second: Confounder, seed: int = 0) -> None:
        super().__init__((first, second), seed)

    @property
    def states(self) -> tuple[Confounder, Confounder, Confounder]:
        """What is put into an image of each state but the clean one: the first, the second, both."""
        return self.parts[0], self.parts[1], self

    def batch(
        self,
        images: torch.Tensor | np.ndarray,
        case_ids: Sequence[str],
        spacing_mm: Sequence[float] | None = None,
        in_place: bool = False,
        check: bool = True,
        acquisitions: Sequence[Acquisition] | None = None,
    ) -> torch.Tensor:
        """Put both into a batch; arguments as :meth:`Confounder.batch` takes them."""
        first, second = self.parts
        changed = first.batch(images, case_ids, spacing_mm, in_place, check, acquisitions)
        # Noise leaves the range of display values until it is resized, which no image of a user may.
        return second.batch(changed, case_ids, spacing_mm, in_place, False, acquisitions)


def create_taught_confounder(
    name: str, protocol: Protocol = "corrected", seed: int = 0, **parameters: Any
) -> Confounder | None:
    """What a run puts into its images: :func:`create_confounder`, or a :class:`Pair` for ``tag+noise``.

    Args:
        name: a confounder, two of them with a plus between, or "none".
        protocol: "paper" has no pairs.
        seed: seed of the per-case streams, of both.
        parameters: of a pair those of :func:`srcmatters.confounders.pair_names.pair_of`.

    Raises:
        InputError: unknown names or parameters, or a pair in the paper's protocol.
    """
    pair = pair_of(name, parameters)
    if pair is None:
        return create_confounder(name, protocol, seed, **parameters)
    if protocol == "paper":
        raise InputError(f"confounder: the publication has no pairs, so {name} needs protocol corrected")
    first, second = (_part(one, seed, args) for one, args in zip(pair.names, pair.args, strict=True))
    return Pair(first, second, seed)


def _part(name: str, seed: int, args: Mapping[str, Any]) -> Confounder:
    made = create_confounder(name, "corrected", seed, **args)
    assert made is not None  # "none" is no name of a pair
    return made
