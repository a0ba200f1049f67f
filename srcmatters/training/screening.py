"""The screen depth: a frozen network, and a regularised linear head for every cell of the study."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.preprocessing import StandardScaler
from torch import nn

from srcmatters.cohorts.study_cases import StudyCases
from srcmatters.errors import InputError
from srcmatters.preprocessing.feature_cache import FeatureCache
from srcmatters.preprocessing.state_cache import State
from srcmatters.runs.file_names import PERMUTATIONS, REFITS, WEIGHTS
from srcmatters.sources import same_network
from srcmatters.training.refitted_heads import FrozenCell, permuted_aucs, refitted_aucs
from srcmatters.training.run_record import Evidence
from srcmatters.training.two_state_test import TwoStateTest
from srcmatters.training.what_ran import case_settings, keep_network_code, network_settings

#: C of the logistic regression, the inverse of its penalty: 1e-5 .. 1 in half decades, one of them is chosen.
STRENGTHS: tuple[float, ...] = tuple(float(10.0**power) for power in np.arange(-5, 0.25, 0.5))
INNER_FOLDS = 5


@dataclass(frozen=True)
class LinearHead:
    """A classification head on features as they come out of the network.

    Args:
        weight: (F,) float64.
        bias: of the log-odds.
        strength: the C that was chosen.
        losses: mean log loss of held-out training cases for each of :data:`STRENGTHS`.
    """

    weight: np.ndarray
    bias: float
    strength: float
    losses: tuple[float, ...]

    def log_odds(self, features: np.ndarray) -> np.ndarray:
        """(n,) log-odds of label 1 for features (n, F)."""
        return features.astype(np.float64) @ self.weight + self.bias

    @torch.no_grad()
    def put_into(self, head: nn.Linear) -> None:
        """Make a network's head of two classes compute these log-odds: logit of label 1 minus logit of 0."""
        half = torch.from_numpy(self.weight / 2)
        head.weight.copy_(torch.stack([-half, half]))
        head.bias.copy_(torch.tensor([-self.bias / 2, self.bias / 2]))


def fit_head(features: np.ndarray, labels: np.ndarray, patients: np.ndarray, seed: int = 0) -> LinearHead:
    """L2-regularised logistic regression on standardised features, its strength chosen by inner folds.

    The penalty is blind to rotations, and its solution lies in the span of the training cases: in their own
    basis there are no more dimensions than cases, and the head is the same. Standardisation and basis come
    from all training cases and know no label, so the inner folds share them.

    Args:
        features: (n, F) of the training cases, each in its state.
        labels: (n,) 0 or 1.
        patients: (n,); images of one patient are in the same inner fold.
        seed: seed of the inner folds.

    Raises:
        InputError: fewer than two patients in a class.
    """
    scaler = StandardScaler().fit(features.astype(np.float64))
    left, singular, basis = np.linalg.svd(scaler.transform(features.astype(np.float64)), full_matrices=False)
    rotated = left * singular
    losses = _held_out_losses(rotated, labels, patients, seed)
    strength = STRENGTHS[int(np.argmin(losses))]
    model = LogisticRegression(C=strength, tol=1e-7, max_iter=10_000).fit(rotated, labels)
    weight = (model.coef_[0] @ basis) / scaler.scale_
    bias = float(model.intercept_[0] - weight @ scaler.mean_)
    return LinearHead(weight, bias, strength, tuple(float(loss) for loss in losses))


def _held_out_losses(rotated: np.ndarray, labels: np.ndarray, patients: np.ndarray, seed: int) -> np.ndarray:
    """(strengths,) mean log loss over all training cases, each predicted without its patient."""
    rarest = min(len(set(patients[labels == label])) for label in (0, 1))
    if rarest < 2:
        raise InputError(
            f"cases: the rarer class has {rarest} patients for training, expected 2 or more to choose the"
            " strength of the regularisation"
        )
    parts = StratifiedGroupKFold(min(INNER_FOLDS, rarest), shuffle=True, random_state=seed)
    losses = np.zeros(len(STRENGTHS))
    for seen, unseen in parts.split(rotated, labels, patients):
        # Each strength starts from the solution of the one before it.
        model = LogisticRegression(warm_start=True, max_iter=1000)
        signs = 2 * labels[unseen] - 1
        for number, strength in enumerate(STRENGTHS):
            model.set_params(C=strength).fit(rotated[seen], labels[seen])
            losses[number] += np.logaddexp(0, -signs * model.decision_function(rotated[unseen])).sum()
    return losses / len(labels)


class Screening:
    """A cell of a study in which the network is frozen and a linear head is fitted on its features.

    Args:
        features: of every case in every state.
        chosen: the cases of this cell.
        test: the test and validation sets.
        evidence: what is kept of the run.
        seed: seed of the inner folds.
        save_model: write ``model.pt`` as well, the network with the fitted head.
    """

    def __init__(
        self,
        features: FeatureCache,
        chosen: StudyCases,
        test: TwoStateTest,
        evidence: Evidence,
        seed: int = 0,
        save_model: bool = False,
    ) -> None:
        self.features = features
        self.chosen = chosen
        self.test = test
        self.evidence = evidence
        self.seed = seed
        self.save_model = save_model

    def run(self) -> dict[str, float]:
        """Fit, predict, and write what :meth:`Evidence.write` writes; returns the metrics.

        Raises:
            InputError: the network cannot be recorded; see :mod:`srcmatters.training.what_ran`.
        """
        network = network_settings(self.features.network)
        if not same_network(network["network"], self.features.name):
            raise InputError(
                f"features: read as of {self.features.name}, but the network is {network['network']};"
                " expected --network alone"
            )
        cases = case_settings(self.evidence.settings, self.test.cache, self.chosen, self.test.fold)
        self.evidence.record({**cases, **network, "depth": "screen"})
        with self.evidence.collected() as folder:
            head = self._fit()

            def scores(rows: np.ndarray, state: State) -> np.ndarray:
                return head.log_odds(self.features.state(state)[rows])

            tables = self.test.table(scores), self.test.table(scores, "validation")
            recorded = {"inverse_regularisation": head.strength, **self.test.realised_shares}
            predictions, validation = tables
            metrics = self.evidence.write(folder, predictions, validation, **recorded)
            self._fit_again(folder, head.strength)
            keep_network_code(self.features.network, folder)
            if self.save_model:
                head.put_into(self.features.head)
                weights = {name: tensor.cpu() for name, tensor in self.features.network.state_dict().items()}
                torch.save(weights, folder / WEIGHTS)
        return metrics

    def _fit(self) -> LinearHead:
        rows = self.chosen.split.train
        cases = self.features.cache.cases
        labels = cases["label"].to_numpy()[rows]
        patients = cases["patient_id"].to_numpy()[rows]
        return fit_head(self.features.as_assigned(rows, self.chosen.carries), labels, patients, self.seed)

    def _fit_again(self, folder: Path, strength: float) -> None:
        """Write ``refits.csv``, or of a null control with shuffled labels ``permutations.csv``."""
        settings = self.evidence.settings
        control = settings.get("control", "none")
        if control == "independent_confounder":
            return
        clean, confounded = (self.features.state(name).astype(np.float64) for name in ("clean", "confounded"))
        rows = self.chosen.split.train
        scaler = StandardScaler().fit(self.features.as_assigned(rows, self.chosen.carries).astype(np.float64))
        cell = FrozenCell(
            scaler.transform(clean),
            scaler.transform(confounded),
            self.features.cache.cases,
            self.chosen,
            strength,
            float(settings["p_art"]),
            int(settings["seed"]),
            int(settings["fold"]),
            str(settings["assignment"]),
            float(settings.get("p_neg", 0)),
        )
        if control == "none":
            refitted_aucs(cell).to_csv(folder / REFITS, index=False)
        else:
            permuted_aucs(cell).to_csv(folder / PERMUTATIONS, index=False)
