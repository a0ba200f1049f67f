"""Which confounders an audit asks about: those that fit, those that are named, and one's own picture."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from srcmatters.audit.contract import InputContract
from srcmatters.audit.result import Question
from srcmatters.confounders import Confounder, create_confounder, is_pair, known_confounders
from srcmatters.errors import InputError, did_you_mean
from srcmatters.images.reading import PICTURES, has_ending

#: Confounders that need more than a name.
_NOT_BY_DEFAULT = {"picture", "compose"}
_MODALITY = {"radiograph": "radiograph", "ct": "CT"}


def fitting(contract: InputContract) -> list[Question]:
    """Every confounder that fits modality, unit and dimensions of a model's images, at its defaults."""
    return [
        Question(name)
        for name, cls in known_confounders().items()
        if name not in _NOT_BY_DEFAULT and what_speaks_against(cls, contract) is None
    ]


def what_speaks_against(cls: type[Confounder], contract: InputContract, named: bool = False) -> str | None:
    """Why a confounder does not fit a model's images, or None.

    Args:
        cls: of the confounder.
        contract: of the model.
        named: the user asks for it: as in training, a filter of radiographs may act on CT in display values,
            whose HU are not known.
    """
    modality = _MODALITY[contract.modality]
    display = named and contract.modality == "ct" and contract.unit == "display"
    if modality not in cls.modalities and not display:
        return f"{cls.name} is of {' and '.join(cls.modalities)}, and the images are {modality}"
    if cls.unit == "HU" and contract.unit != "HU":
        return f"{cls.name} needs HU, and the images are display values"
    local = cls.miccat.extent == "local"
    dims = 2 if modality == "radiograph" else len(contract.size or ()) if local else 3
    if dims not in cls.spatial_dims:
        return f"{cls.name} is for {cls.spatial_dims[0]}D images, and these are {dims}D"
    return None


def parse_questions(texts: Sequence[str], contract: InputContract) -> list[Question]:
    """Confounders as a command line names them.

    Args:
        texts: each the name of a confounder or a picture file, and its arguments: ``noise``, ``"noise
            dose_factor=0.1"``, ``"marker.png width_mm=20 position=[0.1,0.1]"``. Empty: all that fit.
        contract: of the model.

    Raises:
        InputError: an unknown name or argument, one that does not fit, or the same twice.
    """
    if not texts:
        return fitting(contract)
    questions = [_parsed(text, contract) for text in texts]
    titles = [one.title for one in questions]
    twice = next((title for title in titles if titles.count(title) > 1), None)
    if twice is not None:
        raise InputError(f"--confounder: {twice!r} is named twice")
    return questions


def _parsed(text: str, contract: InputContract) -> Question:
    try:
        name, *words = shlex.split(text)
    except ValueError as error:
        raise InputError(f"--confounder: {text!r} cannot be read ({error})") from error
    args = dict(_argument(word, text) for word in words)
    if has_ending(Path(name), PICTURES):
        if not Path(name).is_file():
            raise InputError(f"--confounder: {name} does not exist, expected a picture to put on the images")
        args, label, name = {"path": name, **args}, f"picture {Path(name).name}", "picture"
    else:
        label = " ".join([name, *words])
    known = known_confounders()
    if is_pair(name):
        raise InputError(f"--confounder: {name} is a pair, expected one confounder (repeat the option)")
    if name not in known:
        raise InputError(f"--confounder: {name!r} is unknown{did_you_mean(name, known)}")
    against = what_speaks_against(known[name], contract, named=True)
    if against is not None:
        raise InputError(f"--confounder: {against}")
    create_confounder(name, **args)  # wrong arguments are said before anything is scored
    return Question(name, args, label)


def _argument(word: str, text: str) -> tuple[str, Any]:
    name, sign, value = word.partition("=")
    if not sign or not name:
        raise InputError(f"--confounder: {text!r}: got {word!r}, expected NAME=VALUE")
    try:
        return name, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise InputError(f"--confounder: {text!r}: {value!r} cannot be read as a value") from error
