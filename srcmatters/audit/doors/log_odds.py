"""What a model returns, as log-odds of the findings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy.special import logsumexp

from srcmatters.errors import InputError
from srcmatters.runs.prediction_table import LARGEST_LOG_ODDS

#: Probabilities nearer to 0 or 1 than this are what single precision rounds: they count as this.
NEAREST = 2.0**-24
#: What half precision may add to a probability, or to the sum of several.
ROUNDING = 1e-3


def log_odds_of(values: np.ndarray, output: Sequence[int], kind: str, origin: str) -> np.ndarray:
    """Log-odds of the findings.

    Args:
        values: (N, K) what the model returned.
        output: columns that are the findings.
        kind: see :data:`srcmatters.audit.contract.OUTPUT_KINDS`.
        origin: name of the model, for messages.

    Returns:
        (N, outputs) float64. Probabilities are cut at :data:`NEAREST`, which leaves log-odds within +-16.6.

    Raises:
        InputError: a column that is not there, NaN or infinite values, or values that are no probabilities.
    """
    values = np.asarray(values, dtype=np.float64)
    highest = max(output)
    if highest >= values.shape[1]:
        raise InputError(
            f"{origin}: output {highest} does not exist: the model returns {values.shape[1]} values an image"
        )
    broken = ~np.isfinite(values).all(axis=1)
    if broken.any():
        raise InputError(
            f"{origin}: returned NaN or infinite values for {broken.sum()} of {len(values)} images"
        )
    if kind in ("logits", "softmax") and values.shape[1] < 2:
        raise InputError(
            f"{origin}: returns one value an image, expected two or more for --output-kind {kind}"
        )
    if kind == "logits":
        return np.stack([_against_the_rest(values, column) for column in output], axis=1)
    selected = values[:, list(output)]
    if kind == "logit":
        return selected
    if selected.min() < -ROUNDING or selected.max() > 1 + ROUNDING:
        worst = selected.flat[np.argmax(np.abs(selected - 0.5))]
        raise InputError(
            f"{origin}: returned {worst:.4g}, which is no probability, expected --output-kind logit or logits"
        )
    probability = np.clip(selected, NEAREST, 1 - NEAREST)
    return np.log(probability) - np.log1p(-probability)


def saturated(log_odds: np.ndarray, kind: str) -> np.ndarray:
    """Which of some log-odds are those of a probability that was rounded to 0 or 1.

    A model that returns log-odds rounds none: only the table of scores does, above
    :data:`srcmatters.runs.prediction_table.LARGEST_LOG_ODDS`.

    Args:
        log_odds: (N,) of :func:`log_odds_of`.
        kind: see :data:`srcmatters.audit.contract.OUTPUT_KINDS`.

    Returns:
        (N,) bool.
    """
    if precision(kind) == "double":
        return log_odds > LARGEST_LOG_ODDS
    return np.abs(log_odds) >= np.log1p(-NEAREST) - np.log(NEAREST) - 1e-6


def precision(kind: str) -> str:
    """In which precision probabilities of such an output are rounded: "single" or "double"."""
    return "double" if kind in ("logit", "logits") else "single"


def tie_warnings(log_odds: np.ndarray, kind: str) -> Iterator[str]:
    """How many images have the same score because their probability was rounded, if any have."""
    rounded = log_odds[saturated(log_odds, kind)]
    tied = sum(int(count) for count in (np.sum(rounded < 0), np.sum(rounded > 0)) if count > 1)
    if tied:
        yield (
            f"the probability of {tied} of {len(log_odds)} images is 0 or 1 in {precision(kind)} precision:"
            " they are tied in every AUC"
        )


def head_of_log_odds(
    weight: np.ndarray, bias: np.ndarray, kind: str, output: Sequence[int]
) -> tuple[np.ndarray, np.ndarray] | None:
    """A last layer as (outputs, F) weights and (outputs,) biases of log-odds.

    Args:
        weight: (K, F) of the layer.
        bias: (K,).
        kind: "logit" or "logits", of what the layer returns.
        output: which of the K are the findings.

    Returns:
        None where log-odds are no linear function of the features.
    """
    selected = list(output)
    if max(selected) >= len(weight):
        return None
    if kind == "logit":
        return weight[selected], bias[selected]
    if kind == "logits" and len(weight) == 2:
        other = [1 - index for index in selected]
        return weight[selected] - weight[other], bias[selected] - bias[other]
    return None


def probable_kind(values: np.ndarray) -> str | None:
    """What values look like, None where they could be several things.

    Args:
        values: (N, K) of a few different images.
    """
    inside = values.min() >= -ROUNDING and values.max() <= 1 + ROUNDING
    columns = values.shape[1]
    if columns == 1:
        return "probability" if inside else "logit"
    if inside and np.allclose(values.sum(axis=1), 1, atol=2 * ROUNDING):
        return "softmax"
    # Small logits lie in [0, 1] as well: several of them could be either.
    return "logits" if columns == 2 and not inside else None


def _against_the_rest(values: np.ndarray, column: int) -> np.ndarray:
    return values[:, column] - logsumexp(np.delete(values, column, axis=1), axis=1)
