"""One source for one network: what is known about it, checked against the catalogue's schema."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from srcmatters.errors import InputError
from srcmatters.schemas import first_mistake

_SCHEMA = "catalogue_schema.json"


@dataclass(frozen=True)
class Entry:
    """What is known about one source for one network.

    Args:
        name: unique; the network is part of it ("imagenet-resnet50").
        source: what a study calls it ("imagenet").
        network: the network whose weights these are.
        spatial_dims: 2 or 3.
        channels: 1 or 3, of the image that the network takes.
        scheme: how the file names its tensors.
        trained_on: images, their number and labels, in words.
        licence: of the weights.
        citation: what to cite.
        normalisation: ``kind`` (fixed or zscore_positive), ``channel_order`` (RGB, BGR or grey) and, of a
            fixed one, ``mean`` and ``std`` per channel in that order, of images in [0, 1].
        location: where the file is: ``pip`` and ``file``, ``parts`` (packages, each with a piece of it) and
            ``file``, ``url``, ``huggingface`` with ``file`` and ``revision``, ``manual`` (a page) with
            ``file``, or ``file`` alone (on this machine). None: there is no file.
        sha256: of the file: 64 hexadecimal digits, or the first ones, 8 at least; None: none was published.
        notes: what a user has to know.
        training: of a source made here: data hash, classes, epochs, metrics, command.
    """

    name: str
    source: str
    network: str
    spatial_dims: int
    channels: int
    scheme: str
    trained_on: str
    licence: str
    citation: str
    normalisation: Mapping[str, Any]
    location: Mapping[str, Any] | None
    sha256: str | None
    notes: str = ""
    training: Mapping[str, Any] | None = None


def entry_from(content: object, origin: str) -> Entry:
    """An entry out of YAML or JSON, checked against the schema.

    Args:
        content: what the parser made of it.
        origin: file and place, for error messages.

    Raises:
        InputError: naming the origin, the field, what was got and what was expected.
    """
    mistake = first_mistake(_schema(), content)
    if mistake is not None:
        raise InputError(f"{origin}: {mistake}")
    assert isinstance(content, dict)
    return Entry(**content)


def entry_content(entry: Entry) -> dict[str, Any]:
    """The plain mapping that :func:`entry_from` takes; fields that say nothing are left out."""
    content = dataclasses.asdict(entry)
    return {name: value for name, value in content.items() if name not in ("notes", "training") or value}


@cache
def _schema() -> dict[str, Any]:
    return json.loads(resources.files(__package__).joinpath(_SCHEMA).read_text(encoding="utf-8"))
