"""The screen depth: a frozen network, and a regularised linear head for every cell of the study."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from sklearn.preprocessing import StandardScaler

from srcmatters.cohorts.study_cases import StudyCases
from srcmatters.errors import InputError
from srcmatters.preprocessing.feature_cache import FeatureCache
from srcmatters.preprocessing.state_cache import State
from srcmatters.runs.file_names import PERMUTATIONS, REFITS, TRANSFER, WEIGHTS
from srcmatters.sources import same_network
from srcmatters.training.case_record import case_settings
from srcmatters.training.linear_head import LinearHead
from srcmatters.training.mitigation.arms import SCREEN_ARMS
from srcmatters.training.mitigation.training_cases import TrainingCases
from srcmatters.training.refitted_heads import FrozenCell, permuted_aucs, refitted_aucs
from srcmatters.training.run_record import Evidence
from srcmatters.training.transfer_test import TransferTest
from srcmatters.training.two_state_test import TwoStateTest
from srcmatters.training.what_ran import keep_network_code, network_settings


class Screening:
    """A cell of a study in which the network is frozen and a linear head is fitted on its features.

    Args:
        features: of every case in every state.
        chosen: the cases of this cell.
        test: the test and validation sets.
        evidence: what is kept of the run.
        seed: seed of the inner folds.
        save_model: write ``model.pt`` as well, the network with the fitted head.
        mitigation: how the head is fitted, a name of :data:`srcmatters.training.mitigation.arms.SCREEN_ARMS`.
        transfer: further confounders that the head is tested on; None: none.
    """

    def __init__(
        self,
        features: FeatureCache,
        chosen: StudyCases,
        test: TwoStateTest,
        evidence: Evidence,
        seed: int = 0,
        save_model: bool = False,
        mitigation: str = "none",
        transfer: TransferTest | None = None,
    ) -> None:
        self.features = features
        self.chosen = chosen
        self.test = test
        self.evidence = evidence
        self.seed = seed
        self.save_model = save_model
        self.mitigation = mitigation
        self.transfer = transfer

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
        settings, config = self.evidence.settings, self.evidence.config
        cases = case_settings(settings, self.test.cache, self.chosen, self.test.fold, config)
        self.evidence.record({**cases, **network, "depth": "screen", "mitigation": self.mitigation})
        with self.evidence.collected() as folder:
            head = self._fit()

            def scores(rows: np.ndarray, state: State) -> np.ndarray:
                return head.log_odds(self.features.state(state)[rows])

            tables = self.test.table(scores), self.test.table(scores, "validation")
            recorded = {"inverse_regularisation": head.strength, **self.test.realised_shares}
            predictions, validation = tables
            metrics = self.evidence.write(folder, predictions, validation, **recorded)
            keep_network_code(self.features.network, folder)
            if self.mitigation == "none" and self.chosen.second is None:  # a refit is ERM's
                self._fit_again(folder, head.strength)
            if self.transfer is not None:
                self.transfer.screened(self.features, head).to_csv(folder / TRANSFER, index=False)
            if self.save_model:
                head.put_into(self.features.head)
                weights = {name: tensor.cpu() for name, tensor in self.features.network.state_dict().items()}
                torch.save(weights, folder / WEIGHTS)
        return metrics

    def _fit(self) -> LinearHead:
        rows = self.chosen.split.train
        cases = self.features.cache.cases.iloc[rows]
        training = TrainingCases(
            *self._two_states(rows),
            cases["label"].to_numpy(),
            self.chosen.carries[rows],
            cases["patient_id"].to_numpy(),
            cases["case_id"].to_numpy(dtype=str),
            self.seed,
            self.features.cache.states > 1,
        )
        return SCREEN_ARMS[self.mitigation](training)

    def _two_states(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Features without and with the confounder; of a pair the first, the second as it is."""
        features, second = self.features, self.chosen.second
        if second is None:
            return features.state("clean")[rows], features.state("confounded")[rows]
        behind = 2 * second[rows].astype(np.int64)
        return features.in_states(rows, behind), features.in_states(rows, behind + 1)

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
