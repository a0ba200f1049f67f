"""When an audit ends with exit status 3, for those who train models under continuous integration."""

from __future__ import annotations

import re
from dataclasses import dataclass

from srcmatters.audit.result import Audit
from srcmatters.errors import InputError
from srcmatters.evaluation.outcomes import Outcome

#: Exit status of an audit that fails by the rule; 1 is a user's mistake.
FAILED = 3
_LOSS = re.compile(r"\s*loss\s*>\s*(?P<limit>\d*\.?\d+)\s*")


@dataclass(frozen=True)
class ExitRule:
    """What makes an audit fail.

    Args:
        limit: of the measured loss under reversal, in either direction; None: a verdict LEANS.
    """

    limit: float | None = None

    @classmethod
    def parse(cls, text: str) -> ExitRule:
        """Read ``leans`` or ``loss>0.05``.

        Raises:
            InputError: neither.
        """
        if text.strip().lower() == "leans":
            return cls()
        match = _LOSS.fullmatch(text)
        if match is None or not 0 < float(match["limit"]) < 1:
            raise InputError(f"--fail-if: got {text!r}, expected leans, or a limit such as loss>0.05")
        return cls(float(match["limit"]))

    def fails(self, audit: Audit) -> bool:
        """Whether an audit fails; one in which nothing could be tested does, since silence is no pass."""
        if any(one.outcome is Outcome.SKIPPED for output in audit.outputs for one in output.verdicts):
            return True
        if self.limit is None:
            return audit.outcome is Outcome.LEANS
        return not audit.largest_loss <= self.limit
