"""What a user can choose, checked before anything is computed."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import torch

from srcmatters.cohorts.null_controls import CONTROLS
from srcmatters.errors import InputError, did_you_mean
from srcmatters.images import file_digest
from srcmatters.preprocessing.unreadable import UNREADABLE
from srcmatters.sources import network_name as network_name
from srcmatters.training.augmentation import AUGMENTATIONS
from srcmatters.training.mitigation.arms import MITIGATIONS


@dataclass(frozen=True)
class _Range:
    low: float
    high: float = math.inf
    whole: bool = False
    open_low: bool = False

    def __contains__(self, value: object) -> bool:
        kind = Integral if self.whole else Real
        if not isinstance(value, kind) or isinstance(value, bool):
            return False
        number = float(value)
        above = self.low < number if self.open_low else self.low <= number
        return math.isfinite(number) and above and number <= self.high

    def __str__(self) -> str:
        number = "a whole number" if self.whole else "a number"
        if self.high == math.inf:
            return f"{number} {'above' if self.open_low else 'of at least'} {self.low:g}"
        return f"{number} between {self.low:g} and {self.high:g}"


_RANGES = {
    "p_art": _Range(0, 1),
    "p_neg": _Range(0, 1),
    "train_size": _Range(0, whole=True),
    "fold": _Range(0, whole=True),
    "num_folds": _Range(2, whole=True),
    "validation_folds": _Range(2, whole=True),
    "seed": _Range(0, 2**32 - 1, whole=True),
    "image_size": _Range(32, 4096, whole=True),
    "max_epochs": _Range(1, whole=True),
    "val_interval": _Range(1, whole=True),
    "batch_size": _Range(2, whole=True),
    "learning_rate": _Range(0, open_low=True),
    "weight_decay": _Range(0),
    "dropout": _Range(0, 1),
    "early_stop_patience": _Range(1, whole=True),
    "num_workers": _Range(0, whole=True),
    "label_smoothing": _Range(0, 1),
    "temperature": _Range(0, open_low=True),
    "projection_size": _Range(2, whole=True),
}
#: "linear": the head alone, fitted as at screen depth. "lp_ft": that head first, then every weight (Kumar et
#: al. 2022, arXiv 2202.10054). "full": every weight from a random head.
ADAPTATIONS = ("full", "linear", "lp_ft")
FREEZE = re.compile(r"freeze_(?P<stages>\w+)")
_CHOICES = {
    "protocol": ("corrected", "paper"),
    "assignment": ("image", "patient"),
    "control": CONTROLS,
    "mitigation": MITIGATIONS,
    "unreadable": UNREADABLE,
}
_AUGMENTATION = {name: _Range(0, 180 if name == "rotation" else 1) for name in AUGMENTATIONS}
_INTENSITY = {name: _Range(0, 1) for name in ("brightness", "contrast", "gamma")}


def check_settings(settings: Mapping[str, Any], **others: Any) -> None:
    """Refuse numbers outside their range and words that mean nothing.

    Args:
        settings: by the names of the bundle's configuration.
        others: more of them, which are no part of a run's record.

    Raises:
        InputError: naming the setting, what was got and what was expected.
    """
    values = {**settings, **others}
    for name, allowed in _RANGES.items():
        if name in values and values[name] not in allowed:
            raise InputError(f"{name}: got {values[name]!r}, expected {allowed}")
    for name, choices in _CHOICES.items():
        value = values.get(name, choices[0])
        if value not in choices:
            raise InputError(f"{name}: {value!r} is unknown{did_you_mean(str(value), choices)}")
    adaptation = str(values.get("adaptation", ADAPTATIONS[0]))
    if adaptation not in ADAPTATIONS and not FREEZE.fullmatch(adaptation):
        known = (*ADAPTATIONS, "freeze_STAGE")
        raise InputError(f"adaptation: {adaptation!r} is unknown{did_you_mean(adaptation, known)}")
    if values.get("val_interval", 1) > values.get("max_epochs", 1):
        epochs, interval = values["max_epochs"], values["val_interval"]
        raise InputError(f"val_interval: got {interval}, expected no more than max_epochs ({epochs})")
    _check_mapping("confounder_args", values.get("confounder_args", {}))
    _check_ranges("augmentation", values.get("augmentation", {}), _AUGMENTATION)
    intensity = values.get("intensity", {})
    _check_mapping("intensity", intensity)
    flag("intensity: flip", intensity.get("flip", True))
    numbers = {name: value for name, value in intensity.items() if name != "flip"}
    _check_ranges("intensity", numbers, _INTENSITY)
    if not re.fullmatch(r"[\w.-]+", str(values.get("name", "name"))):
        raise InputError(f"name: got {values['name']!r}, expected letters, digits, '_', '-' and '.'")
    _check_device(str(values.get("device", "cpu")))


def _check_mapping(name: str, value: object) -> None:
    if not isinstance(value, Mapping):
        raise InputError(f"{name}: got {value!r}, expected a mapping such as \"{{'name': 1}}\"")


def _check_ranges(name: str, value: object, ranges: Mapping[str, _Range]) -> None:
    _check_mapping(name, value)
    for part, number in value.items():  # type: ignore[attr-defined]
        if part not in ranges:
            raise InputError(f"{name}: {part!r} is unknown{did_you_mean(str(part), ranges)}")
        if number not in ranges[part]:
            raise InputError(f"{name}: {part} is {number!r}, expected {ranges[part]}")


def _check_device(name: str) -> None:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"device: {name!r} is none, expected cpu, cuda or cuda:N") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"device: {name!r}, but {torch.cuda.device_count()} CUDA devices are available")


def flag(name: str, value: object) -> bool:
    """A yes-or-no setting; the command line hands ``false`` over as a word, which Python takes for true.

    Raises:
        InputError: neither true nor false.
    """
    meaning = {"true": True, "false": False}.get(str(value).lower())
    if meaning is None:
        raise InputError(f"{name}: got {value!r}, expected true or false")
    return meaning


def source_name(source: object) -> str:
    """What results and MLflow call a source: its name, or a file's name with a hash of its content.

    A path may name a person or a project; and two files of one name are two sources.
    """
    path = Path(str(source))
    if not path.is_file():
        return path.name if path.parent != Path(".") else str(source)
    return f"{path.stem}-{file_digest(path)[:8]}"
