"""What a run says by itself, whether it was taught one confounder or a pair."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from srcmatters.confounders import pair_of
from srcmatters.evaluation.environments import compute_metrics
from srcmatters.evaluation.four_states import compute_pair_metrics
from srcmatters.evaluation.outcomes import Outcome
from srcmatters.evaluation.run_verdict import pair_verdicts, run_verdict
from srcmatters.runs.four_state_table import has_four_states


def metrics_of(predictions: pd.DataFrame, protocol: str) -> dict[str, float]:
    """The metrics of a run.

    Args:
        predictions: prediction table of two states, or of the four of a pair.
        protocol: see :func:`srcmatters.evaluation.environments.compute_metrics`.
    """
    if has_four_states(predictions):
        return compute_pair_metrics(predictions)
    return compute_metrics(predictions, protocol)


def verdicts_of(predictions: pd.DataFrame, settings: Mapping[str, Any]) -> list[tuple[Outcome, str]]:
    """Outcome and sentence of a run, three of a pair, none without a confounder.

    Args:
        predictions: prediction table of the test set.
        settings: of the run.
    """
    confounder, p_art = str(settings["confounder"]), float(settings["p_art"])
    if confounder == "none":
        return []
    if not has_four_states(predictions):
        return [run_verdict(predictions, p_art)]
    pair = pair_of(confounder, settings["confounder_args"])
    assert pair is not None
    share = p_art if pair.p_art_second is None else pair.p_art_second
    return pair_verdicts(predictions, pair.names, (p_art, share))
