"""The bundles and study files that come with the package, and copies of them to change."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import click

from srcmatters.errors import InputError, did_you_mean
from srcmatters.files import atomic_path

_CHECKOUT = Path(__file__).parents[1] / "bundles"


def bundles_folder() -> Path:
    """Folder of the bundles: in the installed package, or in the checkout that it runs from."""
    installed = Path(__file__).parent / "bundles"
    return installed if installed.is_dir() else _CHECKOUT


def bundle_names() -> list[str]:
    """Names of the bundles, sorted."""
    return sorted(path.parents[1].name for path in bundles_folder().glob("*/configs/train.yaml"))


def study_names() -> list[str]:
    """Names of the study files as ``srcmatters study`` takes them: ``BUNDLE/STUDY``."""
    return sorted(f"{path.parents[1].name}/{path.stem}" for path in bundles_folder().glob("*/studies/*.yaml"))


def find_study_file(study: str | Path) -> Path:
    """A study file by its path, or by the name of one that comes with a bundle.

    Raises:
        InputError: neither; with the nearest names.
    """
    path = Path(study)
    if path.is_file() or path.suffix in (".yaml", ".yml"):
        return path  # whoever reads it says what is wrong with it
    names = study_names()
    if str(study) not in names:
        raise InputError(
            f"{study}: neither a study file nor a packaged study{did_you_mean(str(study), names)}"
        )
    bundle, _, name = str(study).partition("/")
    return bundles_folder() / bundle / "studies" / f"{name}.yaml"


def copy_bundle(name: str, folder: Path) -> Path:
    """Copy a bundle into a new folder, in which it runs by itself.

    Raises:
        InputError: no such bundle, or the folder is there already.
    """
    if name not in bundle_names():
        raise InputError(f"bundle: {name!r} is unknown{did_you_mean(name, bundle_names())}")
    if folder.exists():
        raise InputError(f"{folder}: exists already, expected a new folder")
    try:
        with atomic_path(folder) as place:
            shutil.copytree(bundles_folder() / name, place, ignore=shutil.ignore_patterns("__pycache__"))
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from error
    return folder


@click.group()
def bundles() -> None:
    """MONAI bundles: list them, copy one to change it."""


@bundles.command(name="list")
def list_() -> None:
    """A line for each bundle and for each of its study files."""
    for name in bundle_names():
        metadata = json.loads((bundles_folder() / name / "configs" / "metadata.json").read_text())
        click.echo(f"{name}: {metadata['task']}")
        for study in study_names():
            if study.startswith(f"{name}/"):
                click.echo(f"  srcmatters study run {study} --dataset_dir DIR")


@bundles.command()
@click.argument("name")
@click.argument("folder", type=click.Path(path_type=Path))
def copy(name: str, folder: Path) -> None:
    """Copy bundle NAME to a new FOLDER."""
    place = copy_bundle(name, folder)
    click.echo(
        f"{place}: cd there, then `python -m monai.bundle run training --config_file configs/train.yaml`"
    )
