"""What the pixels of a preprocessed image depend on besides its file: transforms, our code, libraries."""

from __future__ import annotations

import importlib.metadata
import inspect
import warnings
from collections.abc import Iterator
from pathlib import Path

import joblib
from monai.transforms import Compose

import srcmatters

_PACKAGE = Path(srcmatters.__file__).parent
#: Packages and modules of ours that decode, confound and resize, and what they take from the others.
_OURS = ("images", "confounders", "preprocessing", "case_stream.py", "numbers.py", "files.py")
#: Distributions that decode files, draw or resample.
_LIBRARIES = (
    "itk",
    "itk-core",
    "itk-io",
    "monai",
    "nibabel",
    "numpy",
    "pillow",
    "pydicom",
    "python-gdcm",
    "scikit-image",
    "scipy",
    "torch",
)


def transform_fingerprint(preprocessing: Compose) -> str:
    """Hash of transforms: their classes, their parameters, and the code that they are written in.

    Our packages count as a whole, since confounders share code (streams, projection), and so do the loaders
    of images.
    """
    modules = {inspect.getmodule(type(step)) for step in preprocessing.transforms}
    sources = {inspect.getsource(module) for module in modules if module is not None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # joblib warns of what it pickles with its fallback
        return joblib.hash((preprocessing, sorted(sources | {path.read_text() for path in code_files()})))


def code_files() -> Iterator[Path]:
    """Our modules on which pixels depend."""
    for name in _OURS:
        path = _PACKAGE / name
        yield from sorted(path.rglob("*.py")) if path.is_dir() else [path]


def library_versions() -> dict[str, str]:
    """Version of every installed library on which pixels depend."""
    versions = {}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # ITK comes whole or in parts
    return versions
