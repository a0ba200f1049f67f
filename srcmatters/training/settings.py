"""What a user can choose, checked before anything is computed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from srcmatters.errors import InputError, did_you_mean


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
        number = float(value)  # type: ignore[arg-type]
        return (self.low < number if self.open_low else self.low <= number) and number <= self.high

    def __str__(self) -> str:
        number = "a whole number" if self.whole else "a number"
        if self.high == math.inf:
            return f"{number} {'above' if self.open_low else 'of at least'} {self.low:g}"
        return f"{number} between {self.low:g} and {self.high:g}"


_RANGES = {
    "p_art": _Range(0, 1),
    "fold": _Range(0, whole=True),
    "num_folds": _Range(2, whole=True),
    "validation_folds": _Range(2, whole=True),
    "seed": _Range(0, 2**32 - 1, whole=True),
    "image_size": _Range(16, 4096, whole=True),
    "max_epochs": _Range(1, whole=True),
    "batch_size": _Range(2, whole=True),
    "learning_rate": _Range(0, open_low=True),
    "weight_decay": _Range(0),
    "dropout": _Range(0, 1),
    "early_stop_patience": _Range(1, whole=True),
}
_CHOICES = {"protocol": ("corrected", "paper"), "assignment": ("image", "patient")}


def check_settings(settings: Mapping[str, Any]) -> None:
    """Refuse numbers outside their range and words that mean nothing.

    Args:
        settings: by the names of the bundle's configuration.

    Raises:
        InputError: naming the setting, what was got and what was expected.
    """
    for name, allowed in _RANGES.items():
        if name in settings and settings[name] not in allowed:
            raise InputError(f"{name}: got {settings[name]!r}, expected {allowed}")
    for name, choices in _CHOICES.items():
        if name in settings and settings[name] not in choices:
            raise InputError(
                f"{name}: {settings[name]!r} is unknown{did_you_mean(str(settings[name]), choices)}"
            )
