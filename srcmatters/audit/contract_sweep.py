"""Is the declared input the right one? The usual conventions, compared on the same clean images."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from math import comb
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import stats

from srcmatters.audit.contract import InputContract
from srcmatters.audit.doors.log_odds import precision, saturated, tie_warnings
from srcmatters.audit.doors.model import Model
from srcmatters.audit.value_ranges import range_text
from srcmatters.errors import InputError
from srcmatters.evaluation.contrasts import adjusted_p_values
from srcmatters.evaluation.resampling import Ranking, auc, auc_influence
from srcmatters.numbers import interval, number, p_text

DECLARED = "declared"
BETTER, WORSE, SAME, IDENTICAL, IMPOSSIBLE = (
    "significantly better",
    "significantly worse",
    "cannot be told apart",
    "identical",
    "does not run",
)
_RANGES = ("0..1", "0..255", "-1..1", "imagenet", "-1024..1024")
_WINDOWS = ("lung", "mediastinum", "bone")
_Image = torch.Tensor | Mapping[Hashable, Any]
_IDENTICAL = 1e-6  # log-odds
_SATURATED = 0.9  # share of images whose probability is rounded to 0 or 1


@dataclass(frozen=True)
class Sweep:
    """What a comparison of conventions came to.

    Args:
        table: a row per convention, the declared one first: convention, auc, difference (to the declared
            one), low, high, p_value, p_adjusted (Holm over the conventions that run), result, reason.
        warnings: one line for each convention that is significantly better than the declared one.
        stops: why an audit means nothing as it stands, in one line; empty: it may go on.
        cases: number of images.
        was_forced: whether it went on all the same.
    """

    table: pd.DataFrame
    warnings: tuple[str, ...]
    stops: str
    cases: int
    was_forced: bool = False

    @property
    def notes(self) -> list[str]:
        """What a reader of the audit has to know, the gravest first."""
        forced = [f"forced although {self.stops}"] if self.was_forced else []
        alike = self.listed(SAME)
        remark = [f"the clean AUC does not tell the declared input from: {'; '.join(alike)}"] if alike else []
        return [*forced, *self.warnings, *remark]

    def forced(self) -> Sweep:
        """A copy that says that the audit went on although there were reasons to stop."""
        return replace(self, was_forced=True)

    def listed(self, result: str) -> list[str]:
        """Names of the conventions with a result."""
        return self.table.loc[self.table["result"] == result, "convention"].tolist()


def sweep(
    model: Model,
    images: Iterable[_Image],
    labels: Sequence[int] | np.ndarray,
    patients: Sequence[str] | np.ndarray,
    *,
    output: int = 0,
    batch_size: int = 16,
    confidence: float = 0.95,
) -> Sweep:
    """Compare the clean AUC of the usual conventions with that of the declared one.

    Every image is used once, for all conventions; no more than a batch is held. What is impossible (constant
    or saturated output, an AUC significantly below .5) is said in :attr:`Sweep.stops`.

    Args:
        model: with the declared contract, which is the same afterwards.
        images: clean, as loaded, at native resolution; or cases that hold one as ``image`` and their position
            beside it.
        labels: 0 or 1 of each.
        patients: of each; patients are what is independent.
        output: which of the model's findings the labels are of.
        batch_size: images a pass.
        confidence: of the intervals, and 1 - alpha of Holm's correction.

    Raises:
        InputError: the model fails with the declared contract, or there are not as many labels as images.
    """
    conventions = usual_conventions(model.contract)
    scores, reasons = _scores(model, conventions, images, output, batch_size)
    labels, names = np.asarray(labels), np.asarray(patients).astype(str)
    declared = scores.get(DECLARED, np.empty(0))
    if len(declared) != len(labels) or len(labels) != len(names) or not len(labels):
        raise InputError(
            f"contract: {len(declared)} images, {len(labels)} labels, {len(names)} patients, expected as many"
        )
    table = _compared(scores, reasons, labels, names, confidence)
    table["convention"] = table["convention"].replace(DECLARED, "as declared")
    stops = "; ".join(_stops(model, declared, labels, names, confidence))
    warnings = (*_warnings(table), *tie_warnings(declared, model.contract.output_kind))
    return Sweep(table, warnings, stops, len(labels))


def usual_conventions(contract: InputContract) -> dict[str, InputContract]:
    """The declared contract and its usual alternatives, by a name that says what differs."""
    conventions = {DECLARED: contract}
    for changed in _alternatives(contract):
        differing = {name: value for name, value in changed.items() if getattr(contract, name) != value}
        if differing:
            conventions.setdefault(
                ", ".join(_described(name, value) for name, value in differing.items()),
                contract.but(**differing),
            )
    return conventions


def _alternatives(contract: InputContract) -> Iterator[dict[str, Any]]:
    ranges = () if contract.value_range == "hu" else _RANGES
    for value_range in ranges:
        for inverted in (contract.inverted, not contract.inverted):
            yield {"value_range": value_range, "inverted": inverted}
    if contract.value_range != "hu":
        yield {"inverted": not contract.inverted}
    if contract.channels != "grey":
        other = "bgr" if contract.channels == "rgb" else "rgb"
        yield {"channels": other}
        yield {"value_range": "imagenet", "channels": other}
    yield {"channels": "rgb" if contract.channels == "grey" else "grey"}
    yield {"layout": "channels_last" if contract.layout == "channels_first" else "channels_first"}
    yield {"transposed": not contract.transposed}
    if contract.modality == "radiograph":
        yield from ({"resize": how} for how in ("stretch", "pad", "crop"))
    elif contract.window is not None:
        yield from ({"window": name} for name in _WINDOWS)


def _described(name: str, value: Any) -> str:
    if name == "value_range":
        return f"range {range_text(value)}"
    if name in ("inverted", "transposed"):
        return name if value else f"not {name}"
    return f"{name} {value}"


def _scores(
    model: Model,
    conventions: Mapping[str, InputContract],
    images: Iterable[_Image],
    output: int,
    batch_size: int,
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Log-odds of each convention under which the model runs, and why the others do not."""
    scored: dict[str, list[np.ndarray]] = {name: [] for name in conventions}
    reasons: dict[str, str] = {}
    declared = model.contract
    try:
        for batch in _batches(images, batch_size):
            cases = [_case(one) for one in batch]
            for name in [name for name in conventions if name not in reasons]:
                contract = replace(conventions[name], output=(declared.output[output],))
                model.contract = contract
                try:
                    inputs = [contract.model_input(case["image"], case) for case in cases]
                    scored[name].append(_scored(model, inputs))
                except InputError as error:
                    if name == DECLARED:
                        raise
                    reasons[name] = str(error)
    finally:
        model.contract = declared
    return {
        name: np.concatenate(parts) for name, parts in scored.items() if name not in reasons and parts
    }, reasons


def _case(image: _Image) -> Mapping[Hashable, Any]:
    return {"image": image} if isinstance(image, torch.Tensor) else image


def _batches(images: Iterable[_Image], size: int) -> Iterator[list[_Image]]:
    remaining = iter(images)
    while batch := list(islice(remaining, size)):
        yield batch


def _scored(model: Model, inputs: list[torch.Tensor]) -> np.ndarray:
    """(N,) log-odds; inputs of different shapes go one by one."""
    if len({one.shape for one in inputs}) == 1:
        return model.log_odds(torch.stack(inputs))[:, 0]
    return np.concatenate([model.log_odds(one.unsqueeze(0))[:, 0] for one in inputs])


def _compared(
    scores: Mapping[str, np.ndarray],
    reasons: Mapping[str, str],
    labels: np.ndarray,
    patients: np.ndarray,
    confidence: float,
) -> pd.DataFrame:
    declared = _ranking(scores[DECLARED], labels, patients)
    own, count = auc(declared), len(np.unique(patients))
    moved = auc_influence(declared, count)
    rows: list[dict[str, Any]] = []
    for name, log_odds in scores.items():
        ranking = _ranking(log_odds, labels, patients)
        difference = auc(ranking) - own
        error = float(np.sqrt(np.sum((auc_influence(ranking, count) - moved) ** 2)))
        reach = float(stats.norm.ppf(0.5 + confidence / 2)) * error
        identical = float(np.abs(log_odds - scores[DECLARED]).max()) < _IDENTICAL
        p_value = np.nan if name == DECLARED else _p_value(difference, error, labels, patients)
        rows.append(
            {
                "convention": name,
                "auc": own + difference,
                "difference": difference,
                "low": difference - reach,
                "high": difference + reach,
                "p_value": p_value,
                "result": DECLARED if name == DECLARED else IDENTICAL if identical else SAME,
                "reason": "",
            }
        )
    rows += [{"convention": name, "result": IMPOSSIBLE, "reason": reason} for name, reason in reasons.items()]
    table = pd.DataFrame(rows)
    # What gives the same log-odds is no other hypothesis.
    table["p_adjusted"] = adjusted_p_values(table["p_value"].where(table["result"] == SAME), "holm")
    significant = table["p_adjusted"] < 1 - confidence
    table.loc[significant, "result"] = np.where(table.loc[significant, "difference"] > 0, BETTER, WORSE)
    return table


def _p_value(difference: float, error: float, labels: np.ndarray, patients: np.ndarray) -> float:
    """Two-sided, of no difference; without spread, that of the labels of patients falling so by chance.

    An AUC of 1 or 0 has no influence function to speak of; 1 and 0 differ all the same.
    """
    if error > 0:
        return float(2 * stats.norm.sf(abs(difference) / error))
    if difference == 0:
        return 1.0
    return min(1.0, 2 / comb(len(np.unique(patients)), len(np.unique(patients[labels == 1]))))


def _ranking(log_odds: np.ndarray, labels: np.ndarray, patients: np.ndarray) -> Ranking:
    return Ranking(labels, log_odds, np.unique(patients, return_inverse=True)[1])


def _warnings(table: pd.DataFrame) -> Iterator[str]:
    tested = int(table["p_adjusted"].notna().sum())
    own = table["auc"].iloc[0]
    better = table[table["result"] == BETTER].sort_values("difference", ascending=False)
    for row in better.itertuples():
        yield (
            f"the model does better with {row.convention} than with the declared input: clean AUC"
            f" {number(row.auc)} against {number(own)}, difference"
            f" {interval(row.difference, row.low, row.high)}, {p_text(row.p_adjusted)} (Holm over"
            f" {tested} conventions)"
        )


def _stops(
    model: Model,
    log_odds: np.ndarray,
    labels: np.ndarray,
    patients: np.ndarray,
    confidence: float,
) -> Iterator[str]:
    if np.ptp(log_odds) < _IDENTICAL:
        yield f"{model.name}: the output is the same for all {len(log_odds)} images"
        return
    kind = model.contract.output_kind
    rounded = float(np.mean(saturated(log_odds, kind)))
    if rounded >= _SATURATED:
        yield (
            f"{model.name}: the probability of {rounded:.0%} of the images is 0 or 1 in {precision(kind)}"
            " precision"
        )
    ranking = _ranking(log_odds, labels, patients)
    area = auc(ranking)
    error = float(np.sqrt(np.sum(auc_influence(ranking, len(np.unique(patients))) ** 2)))
    high = area + float(stats.norm.ppf(0.5 + confidence / 2)) * error
    if high < 0.5:
        yield f"{model.name}: the clean AUC is {number(area)}, significantly below .5"
