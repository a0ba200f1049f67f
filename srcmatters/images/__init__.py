"""Images: one door for every file format, always the same way round, in a stated unit, placed in mm."""

from srcmatters.images.computed_tomography import LoadCTd, load_ct
from srcmatters.images.declarations import BODY_PARTS, MODALITIES
from srcmatters.images.digests import file_digest, file_signature
from srcmatters.images.radiographs import LoadRadiographd, load_radiograph
from srcmatters.images.windows import WINDOWS, Windowd, window

__all__ = [
    "BODY_PARTS",
    "MODALITIES",
    "WINDOWS",
    "LoadCTd",
    "LoadRadiographd",
    "Windowd",
    "file_digest",
    "file_signature",
    "load_ct",
    "load_radiograph",
    "window",
]
