"""What a verdict comes to, and the one mapping of tests and intervals to it."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from math import isfinite


class Outcome(StrEnum):
    """What a verdict comes to; the same words in report, export, card and audit.

    LEANS: shown beyond the declared margin. Of one source: it loses more than the margin; of two: the one
    named leans more (or, for another metric, they differ); of a null control: it fails.
    WITHIN MARGIN: an equivalence test places the value within the margin.
    INCONCLUSIVE: neither; the text says what is not excluded.
    NOT RANKED: there are numbers, but comparing them would mislead.
    NOT APPLICABLE: the question does not exist here.
    SKIPPED: it was not tested.
    """

    LEANS = "LEANS"
    WITHIN_MARGIN = "WITHIN MARGIN"
    INCONCLUSIVE = "INCONCLUSIVE"
    NOT_RANKED = "NOT RANKED"
    NOT_APPLICABLE = "NOT APPLICABLE"
    SKIPPED = "SKIPPED"


def outcome_of(p_beyond: float, p_equivalence: float, value: float, confidence: float = 0.95) -> Outcome:
    """The outcome of one value: beyond the margin, within it, or neither.

    Args:
        p_beyond: of the hypothesis that it lies within the margin, corrected.
        p_equivalence: of the hypothesis that it lies outside, corrected.
        value: only a loss (above 0) is a lean.
        confidence: 1 - level of the tests.
    """
    if not (isfinite(p_beyond) and isfinite(p_equivalence)):
        return Outcome.SKIPPED
    if p_beyond < 1 - confidence and value > 0:
        return Outcome.LEANS
    return Outcome.WITHIN_MARGIN if p_equivalence < 1 - confidence else Outcome.INCONCLUSIVE


def outcome_of_interval(low: float | None, high: float | None, margin: float) -> Outcome:
    """The outcome for those who have an interval and nothing else, such as the export of a single run.

    Within the margin is what the whole interval is, which asks for more than an equivalence test does.

    Args:
        low: lower end of the interval of a loss; None: there is none.
        high: upper end.
        margin: declared.
    """
    if low is None or high is None or not (isfinite(low) and isfinite(high)):
        return Outcome.SKIPPED
    if low > margin:
        return Outcome.LEANS
    return Outcome.WITHIN_MARGIN if -margin < low and high < margin else Outcome.INCONCLUSIVE


#: From what has to be said first to what reassures; what was not judged never reassures.
_GRAVITY = (
    Outcome.LEANS,
    Outcome.INCONCLUSIVE,
    Outcome.NOT_RANKED,
    Outcome.SKIPPED,
    Outcome.WITHIN_MARGIN,
    Outcome.NOT_APPLICABLE,
)


def gravest(outcomes: Iterable[Outcome]) -> Outcome:
    """What several outcomes come to together; SKIPPED where there are none."""
    return min(outcomes, key=_GRAVITY.index, default=Outcome.SKIPPED)
