"""Does a source load whole, and does its network compute something?"""

from __future__ import annotations

import torch

from srcmatters.errors import InputError
from srcmatters.sources.conversion_report import ConversionReport
from srcmatters.sources.entry import Entry
from srcmatters.sources.source import create_classifier, load_source

#: Pixels or voxels a side of the fixed images: a multiple of 14 and of 32.
_SIDE = {2: 224, 3: 64}


def check_source(entry: Entry) -> tuple[ConversionReport, str]:
    """Load a source strictly and run its network on two fixed images.

    Args:
        entry: with a file.

    Returns:
        What became of every tensor, and what the forward pass gave, in words.

    Raises:
        InputError: the source cannot be fetched or loaded, or its network gives no finite numbers, others
            the second time, or the same for two images.
    """
    source = (
        entry.name if entry.location is None or set(entry.location) != {"file"} else entry.location["file"]
    )
    loaded = load_source(source, entry.network, entry.spatial_dims)
    assert loaded.report is not None
    classifier = create_classifier(entry.network, source, entry.spatial_dims).eval()
    shape = (2, 1, *[_SIDE[entry.spatial_dims]] * entry.spatial_dims)
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        scores, again = classifier(images), classifier(images)
    if not bool(torch.isfinite(scores).all()):
        raise InputError(f"{entry.name}: its network gives NaN or infinity for a fixed image")
    if not torch.equal(scores, again):
        raise InputError(f"{entry.name}: its network gives other numbers the second time")
    if torch.equal(scores[0], scores[1]):
        raise InputError(f"{entry.name}: its network gives the same numbers for two images")
    size = " x ".join(str(side) for side in shape[2:])
    return loaded.report, f"finite and repeatable, and two images of {size} give different numbers"
