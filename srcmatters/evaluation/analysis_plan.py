"""The analysis plan: what is compared, by how much two sources may differ, declared before anything runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any

from srcmatters.errors import InputError, did_you_mean

#: What two sources can be compared by.
CONTRAST_METRICS = ("learned_lean", "clean_auc", "iid_auc", "ood_auc", "iid_minus_ood_auc")
#: Columns that are looked into wherever the case table has them.
USUAL_SUBGROUPS = ("sex", "age", "view", "manufacturer")


@dataclass(frozen=True)
class AnalysisPlan:
    """What is confirmatory and what is not. It stands in the study file, so it is known before the results.

    Args:
        metric: of the primary comparison: "learned_lean" (the loss under reversal less that at p_art 0: which
            source leans more?), "ood_auc" (what one would get), "iid_auc", "clean_auc" or
            "iid_minus_ood_auc".
        confounder: the confounder of the primary comparison; None: each of the study, which together are
            the family that is corrected for.
        p_art: share of carriers at which the primary comparison is made, 0..1.
        sources: the sources of the primary comparison: all pairs a - b, the first named first. Empty: all
            of the study in alphabetical order.
        equivalence_margin: of AUC, in (0, 1): two sources that differ by less count as comparable, a source
            that loses less does not lean, and a null control has to stay within it.
        confidence: of the intervals; 1 - confidence is the level of the tests. In (.5, 1).
        replicates: bootstrap replicates, at least 200.
        seed: of the resampling.
        subgroups: columns of the case table whose groups are reported.
        sensitivity: the threshold is fixed on the validation cases so that this share of the positives is
            found, in (0, 1]; None: where sensitivity + specificity is largest (Youden).

    Raises:
        InputError: a value out of its range; names the field.
    """

    metric: str = "learned_lean"
    confounder: str | None = None
    p_art: float = 1.0
    sources: tuple[str, ...] = ()
    equivalence_margin: float = 0.05
    confidence: float = 0.95
    replicates: int = 10_000
    seed: int = 0
    subgroups: tuple[str, ...] = USUAL_SUBGROUPS
    sensitivity: float | None = None

    def __post_init__(self) -> None:
        if self.metric not in CONTRAST_METRICS:
            near = did_you_mean(str(self.metric), CONTRAST_METRICS)
            raise InputError(f"analysis, metric: {self.metric!r} is unknown{near}")
        if self.confounder is not None and not isinstance(self.confounder, str):
            raise InputError(f"analysis, confounder: got {self.confounder!r}, expected a name or nothing")
        object.__setattr__(self, "sources", _names("sources", self.sources))
        object.__setattr__(self, "subgroups", _names("subgroups", self.subgroups))
        _check_number("p_art", self.p_art, 0, 1, "a share between 0 and 1")
        _check_number("equivalence_margin", self.equivalence_margin, 1e-9, 0.999, "a number between 0 and 1")
        _check_number("confidence", self.confidence, 0.5, 0.9999, "a number between .5 and 1, such as 0.95")
        if self.sensitivity is not None:
            _check_number("sensitivity", self.sensitivity, 1e-9, 1, "a share between 0 and 1")
        _check_whole("replicates", self.replicates, 200)
        _check_whole("seed", self.seed, 0)

    @classmethod
    def from_mapping(cls, entries: Mapping[str, Any] | None) -> AnalysisPlan:
        """The plan of a study file's field ``analysis``; what it does not name has its default.

        Raises:
            InputError: no mapping, an unknown name, or a value out of its range; names the field.
        """
        if entries is None:
            return cls()
        if not isinstance(entries, Mapping):
            raise InputError(
                f"analysis: got {entries!r}, expected a mapping such as {{metric: learned_lean}}"
            )
        known = [field.name for field in fields(cls)]
        for name in entries:
            if name not in known:
                raise InputError(f"analysis: {name!r} is unknown{did_you_mean(str(name), known)}")
        return cls(**entries)


def _names(field: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise InputError(f"analysis, {field}: got {value!r}, expected a list of names")
    names = tuple(value)
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise InputError(f"analysis, {field}: got {list(names)!r}, expected a list of names, each once")
    return names


def _check_number(field: str, value: object, low: float, high: float, expected: str) -> None:
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not math.isfinite(float(value)) or not low <= float(value) <= high:  # type: ignore[arg-type]
        raise InputError(f"analysis, {field}: got {value!r}, expected {expected}")


def _check_whole(field: str, value: object, low: int) -> None:
    if not isinstance(value, Integral) or isinstance(value, bool) or int(value) < low:
        raise InputError(f"analysis, {field}: got {value!r}, expected a whole number of at least {low}")
