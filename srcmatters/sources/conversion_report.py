"""What became of every tensor of a weight file, and where every tensor of a network came from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from srcmatters.errors import InputError


@dataclass(frozen=True)
class LoadedTensor:
    """One tensor of a network.

    Args:
        name: in the network.
        origin: its name, or names, in the file.
        how: what was done: "renamed", "transposed", "folded", "flipped", "inflated"; empty: as it is.
    """

    name: str
    origin: str
    how: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name} <- {self.origin} ({', '.join(self.how) or 'as it is'})"


@dataclass(frozen=True)
class ConversionReport:
    """How a weight file became the weights of a network.

    Args:
        scheme: how the file names its tensors.
        network: what they were made into.
        spatial_dims: 2 or 3, of the network.
        channels: of the image that the network takes.
        architecture: what the network has to be built like.
        loaded: every tensor that the file gives to the network.
        ignored: every tensor of the file that the network does not take, and why.
        random: tensors of the network that stay random: those of the head, and no others.
        notes: what a reader has to know.
    """

    scheme: str
    network: str
    spatial_dims: int
    channels: int
    architecture: str
    loaded: tuple[LoadedTensor, ...]
    ignored: dict[str, str]
    random: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def counts(self) -> dict[str, int]:
        """How many tensors were loaded in which way, ignored, and left random."""
        ways = Counter(", ".join(tensor.how) or "as they are" for tensor in self.loaded)
        return {**ways, "ignored": len(self.ignored), "left random": len(self.random)}

    def tensors(self) -> list[str]:
        """A line for each tensor of the network and each one of the file that it does not take."""
        lines = [str(tensor) for tensor in self.loaded]
        lines += [f"{name} ignored ({why})" for name, why in self.ignored.items()]
        return lines + [f"{name} left random (head)" for name in self.random]

    def __str__(self) -> str:
        ways = Counter(", ".join(tensor.how) or "as they are" for tensor in self.loaded)
        ignored = [f"{name} ({why})" for name, why in self.ignored.items()]
        lines = [
            f"{self.scheme} into {self.network}, {self.spatial_dims}D, {self.channels}"
            f" channel{'s' if self.channels > 1 else ''}, architecture {self.architecture}",
            f"  {len(self.loaded)} tensors loaded: "
            + "; ".join(f"{count} {way}" for way, count in ways.most_common()),
            f"  {len(self.ignored)} of the file ignored{_some(ignored)}",
            f"  {len(self.random)} left random, the head's{_some(self.random)}",
        ]
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])


def _some(names: Sequence[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return f": {', '.join(names[:4])}{more}"


@dataclass
class Draft:
    """A conversion under way.

    Args:
        weights: tensors in our naming.
        origins: per tensor, its name in the file.
        how: per tensor, what was done to it.
        ignored: names in the file, and why they are ignored.
    """

    weights: dict[str, torch.Tensor] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    how: dict[str, tuple[str, ...]] = field(default_factory=dict)
    ignored: dict[str, str] = field(default_factory=dict)

    def take(self, name: str, tensor: torch.Tensor, origin: str, *how: str) -> None:
        """A tensor of the file, under our name.

        Raises:
            InputError: another tensor has this name already.
        """
        if name in self.weights:
            raise InputError(f"{origin} and {self.origins[name]} are both {name}, expected one of them")
        self.weights[name] = tensor
        self.origins[name] = origin
        self.how[name] = (("renamed",) if name != origin else ()) + how

    def leave_over(self, name: str, tensor: torch.Tensor) -> None:
        """A tensor whose name is none of the scheme, even if a network of ours has one of that name."""
        self.take(f"{name} (no name of this scheme)", tensor, name)

    def change(self, name: str, tensor: torch.Tensor, how: str) -> None:
        """Put another tensor in the place of one that was taken."""
        self.weights[name] = tensor
        self.how[name] += (how,)

    def loaded(self) -> tuple[LoadedTensor, ...]:
        """Every tensor that was taken."""
        return tuple(LoadedTensor(name, self.origins[name], self.how[name]) for name in self.origins)
