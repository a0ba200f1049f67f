"""The share of a loss that an arm gives back: a ratio of two paired differences, with Fieller's interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.optimize import brentq

from srcmatters.evaluation.estimates import Estimate, widened
from srcmatters.evaluation.resampled_statistics import ResampledStatistic, combine
from srcmatters.evaluation.run_groups import Repetition

#: Shares beyond are not looked for; an interval that reaches further has no end there.
LIMIT = 20.0


@dataclass(frozen=True)
class Recovery:
    """A recovered share.

    Args:
        value: 0: the arm gives back nothing, 1: all that ERM loses.
        low: end of the interval, minus infinity where it has none.
        high: likewise.
        p_value: two-sided, of a share of 0.
    """

    value: float
    low: float
    high: float
    p_value: float


def recovered_share(
    gained: Mapping[Repetition, ResampledStatistic],
    lost: Mapping[Repetition, ResampledStatistic],
    over: Callable[[dict[Repetition, ResampledStatistic]], Estimate],
    errors: tuple[float, float, float] = (0.0, 0.0, 0.0),
    confidence: float = 0.95,
) -> Recovery:
    """(o.o.d. AUC of the arm - that of ERM) / (clean AUC of ERM - its o.o.d. AUC).

    The interval holds every share rho that the data do not refute: for which the mean of gained - rho lost
    over folds and seeds does not differ from 0 (Fieller). The numerator and the denominator are of the same
    patients and runs, so they are resampled together.

    Args:
        gained: numerator by fold and seed.
        lost: denominator by fold and seed.
        over: mean over folds and seeds with its standard error.
        errors: further standard errors of the o.o.d. AUC of the arm, and of the o.o.d. and clean AUC of ERM,
            near 0 or 1 (:func:`srcmatters.evaluation.estimates.boundary_error`).
        confidence: of the interval.

    Returns:
        NaN throughout unless ERM is shown to lose: there is no share of nothing.

    Source: Fieller 1954.
    """
    own, ood, clean = errors
    if not widened(over(dict(lost)), [ood, clean]).interval(confidence)[0] > 0:
        return Recovery(*[float("nan")] * 4)
    value = over(dict(gained)).value / over(dict(lost)).value

    def left(rho: float) -> Estimate:
        rest = {place: combine((1, -rho), (one, lost[place])) for place, one in gained.items()}
        return widened(over(rest), [own, abs(1 - rho) * ood, abs(rho) * clean])

    def excess(rho: float) -> float:
        rest = left(rho)
        quantile = float(stats.t.ppf((1 + confidence) / 2, rest.degrees_of_freedom))
        return abs(rest.value) - quantile * rest.standard_error

    ends = []
    for limit in (-LIMIT, LIMIT):
        crosses = excess(value) <= 0 < excess(limit)
        ends.append(
            float(brentq(excess, value, limit, xtol=1e-4)) if crosses else float(np.copysign(np.inf, limit))
        )
    return Recovery(float(value), ends[0], ends[1], left(0.0).p_value())
