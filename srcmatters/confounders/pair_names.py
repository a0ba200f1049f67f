"""Two confounders in one run, as a study names them: ``tag+noise``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

from srcmatters.confounders.summaries import confounder_summaries
from srcmatters.errors import InputError, did_you_mean

#: Who carries the second confounder of a pair: see :func:`srcmatters.cohorts.pair_carriers.second_carriers`.
CARRIERS = ("same", "independent", "complementary")
_SETTINGS = ("carriers", "p_art_second")
_SIGN = "+"


@dataclass(frozen=True)
class PairNames:
    """A pair as a configuration has it.

    Args:
        names: of both confounders.
        args: parameters of each.
        carriers: one of :data:`CARRIERS`.
        p_art_second: share of the positives that carry the second; None: that of the first.
    """

    names: tuple[str, str]
    args: tuple[Mapping[str, Any], Mapping[str, Any]]
    carriers: str = "same"
    p_art_second: float | None = None


def is_pair(confounder: object) -> bool:
    """Whether a setting ``confounder`` names two."""
    return _SIGN in str(confounder)


def pair_of(confounder: str, confounder_args: Mapping[str, Any] | None = None) -> PairNames | None:
    """Read ``confounder: tag+noise`` and its ``confounder_args``; None for a single confounder.

    Args:
        confounder: two different names of :func:`confounder_summaries` with a plus between them.
        confounder_args: ``carriers``, ``p_art_second``, and under the name of either its own parameters:
            ``{carriers: independent, p_art_second: .5, tag: {text: L}}``.

    Raises:
        InputError: not two different known confounders, or an argument that is unknown or out of range.
    """
    if not is_pair(confounder):
        return None
    names = tuple(confounder.split(_SIGN))
    if len(names) != 2 or names[0] == names[1]:
        raise InputError(f"confounder: got {confounder!r}, expected two different ones, such as tag+noise")
    for name in names:
        if name not in confounder_summaries():
            two = "two that are put into images, such as tag+noise; a column of the case table makes no pair"
            hint = did_you_mean(name, confounder_summaries(), two)
            raise InputError(f"confounder: {name!r} of {confounder} is unknown{hint}")
    settings = dict(confounder_args or {})
    _check(confounder, names, settings)
    carriers, share = settings.get("carriers", CARRIERS[0]), settings.get("p_art_second")
    args = settings.get(names[0], {}), settings.get(names[1], {})
    return PairNames((names[0], names[1]), args, carriers, share)


def _check(confounder: str, names: tuple[str, ...], settings: Mapping[str, Any]) -> None:
    known = (*_SETTINGS, *names)
    for name, value in settings.items():
        if name not in known:
            hint = did_you_mean(str(name), known)
            raise InputError(f"confounder_args: {confounder} takes no {name!r}{hint}")
        if name in names and not isinstance(value, Mapping):
            raise InputError(f"confounder_args: {name}: got {value!r}, expected a mapping of its parameters")
    carriers, share = settings.get("carriers", CARRIERS[0]), settings.get("p_art_second")
    if carriers not in CARRIERS:
        hint = did_you_mean(str(carriers), CARRIERS)
        raise InputError(f"confounder_args: carriers {carriers!r} is unknown{hint}")
    right = isinstance(share, Real) and not isinstance(share, bool) and 0 <= float(share) <= 1
    if share is not None and not right:
        raise InputError(
            f"confounder_args: p_art_second: got {share!r}, expected a share between 0 and 1, or null"
        )
