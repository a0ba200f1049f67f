"""One fine-tuning from beginning to end: train, predict test and validation cases in both states."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed
from matplotlib.figure import Figure
from monai.engines import SupervisedTrainer
from torch import nn

from srcmatters.errors import InputError
from srcmatters.preprocessing.feature_cache import head_of
from srcmatters.preprocessing.images_without_text import without_text
from srcmatters.reports.run_figures import example_states, training_curves
from srcmatters.runs.file_names import EXAMPLES, FIGURES, TRAINING_CURVES, TRANSFER, WEIGHTS
from srcmatters.sources import weights_digest
from srcmatters.training.adaptation import adaptation_of, linear_head, moved_share
from srcmatters.training.case_record import case_settings
from srcmatters.training.handlers import EpochLog
from srcmatters.training.mitigation.fine_tuning_arms import arm_of
from srcmatters.training.mitigation.last_layer import refit_last_layer
from srcmatters.training.run_record import Evidence
from srcmatters.training.shared_training import SharedTraining, training_key
from srcmatters.training.transfer_test import TransferTest
from srcmatters.training.two_state_test import TwoStateTest
from srcmatters.training.what_ran import (
    check_training,
    device_setting,
    keep_network_code,
    network_settings,
    training_settings,
)

_EXAMPLES = 6


class FineTuning:
    """A cell of a study in which every weight is trained.

    Args:
        trainer: ready to run; its best weights are saved as ``model.pt`` in the results' working folder.
        network: the network that the trainer trains.
        test: the test and validation sets.
        evidence: what is kept of the run.
        epochs: what was logged during training.
        trainings_dir: training runs that cells of a study share, see
            :mod:`srcmatters.training.shared_training`; None: this run trains by itself.
        transfer: further confounders that the network is tested on; None: none.
        mitigation: "dfr" fits the last layer again when the training is over.
        adaptation: see :func:`srcmatters.training.adaptation.trained_parameters`.
    """

    def __init__(
        self,
        trainer: SupervisedTrainer,
        network: nn.Module,
        test: TwoStateTest,
        evidence: Evidence,
        epochs: EpochLog,
        trainings_dir: str | Path | None = None,
        transfer: TransferTest | None = None,
        mitigation: str = "none",
        adaptation: str = "full",
    ) -> None:
        self.trainer = trainer
        self.network = network
        self.test = test
        self.evidence = evidence
        self.epochs = epochs
        self.trainings_dir = trainings_dir
        self.adaptation = adaptation
        self.transfer = transfer
        self.mitigation = mitigation
        self._ran = False

    def run(self) -> dict[str, float]:
        """Train, predict, and write model.pt, figures and what :meth:`Evidence.write` writes.

        Returns:
            The metrics. In a process group only the first process tests and writes; the others return {}.

        Raises:
            InputError: it has run already, it would keep nothing, or what it trains cannot be recorded; see
                :mod:`srcmatters.training.what_ran`.
        """
        try:
            ran = self._record_what_runs()
        except InputError:
            self.evidence.results.discard()  # the trainer's checkpoint has made its folder already
            raise
        if torch.distributed.is_initialized() and torch.distributed.get_rank() > 0:
            self.trainer.run()
            return {}
        with self.evidence.collected() as folder:
            self._train(ran, folder)
            best = torch.load(folder / WEIGHTS, weights_only=True)
            self.network.load_state_dict(best)
            if self.mitigation == "dfr":
                self._refit(folder)
            predictions = self.test.predict(self.network)
            validation = self.test.predict(self.network, "validation")
            shares = {**self.test.realised_shares, "moved_share": moved_share(self.network, self._moved())}
            metrics = self.evidence.write(folder, predictions, validation, **shares)
            if self.transfer is not None:
                self.transfer.predicted(self.network).to_csv(folder / TRANSFER, index=False)
            self._draw(folder)
            keep_network_code(self.network, folder)
        return metrics

    def _refit(self, folder: Path) -> None:
        settings, test = self.evidence.settings, self.test
        refit_last_layer(self.network, settings["network"], test.cache, test.chosen, int(settings["seed"]))
        torch.save(self.network.state_dict(), folder / WEIGHTS)

    def _train(self, ran: Mapping[str, Any], folder: Path) -> None:
        """Leave the best weights in ``folder``, and the epochs in the log."""

        def train() -> list[dict[str, float]]:
            if self.adaptation in ("linear", "lp_ft"):
                seed = int(self.evidence.settings["seed"])
                head = head_of(self.network, str(ran["network"]))
                linear_head(self.network, self.test.cache, self.test.chosen, seed).put_into(head)
            if self.adaptation == "linear":
                torch.save(self.network.state_dict(), folder / WEIGHTS)
            else:
                self.trainer.run()
            return self.epochs.history

        key = None
        if self.trainings_dir and not torch.distributed.is_initialized():
            test, config = self.test, self.evidence.config
            key = training_key(ran, config, test.cache, test.chosen, weights_digest(self.network))
        if key is None:
            train()
            return
        # A repetition of this run by its configuration trains by itself.
        self.evidence.config["trainings_dir"] = None
        trained = SharedTraining(str(self.trainings_dir)).run(key, folder, train)
        self.epochs.take_over(trained.history)

    def _moved(self) -> list[nn.Parameter]:
        return [weight for group in self.trainer.optimizer.param_groups for weight in group["params"]]

    def _record_what_runs(self) -> dict[str, Any]:
        if self._ran:
            raise InputError("run: this workflow has run already, expected initialize() before another run")
        self._ran = True
        if self.adaptation == "linear" and self.mitigation != "none":
            raise InputError(
                f"adaptation: linear trains no network, which mitigation {self.mitigation} acts upon;"
                " expected depth screen"
            )
        settings, test = self.evidence.settings, self.test
        evaluator = self.epochs.evaluator
        ran = {
            **case_settings(settings, test.cache, test.chosen, test.fold, self.evidence.config),
            **network_settings(self.network),
            **training_settings(settings, self.trainer, evaluator, self.network),
            "adaptation": adaptation_of(self.network, self._moved(), self.adaptation),
            "depth": "finetune",
            "mitigation": arm_of(self.trainer, self.mitigation == "dfr"),
            "device": device_setting(settings.get("device", "cpu"), self.network),
        }
        if not (torch.distributed.is_initialized() and torch.distributed.get_rank() > 0):
            check_training(self.trainer, evaluator, test.chosen, str(self.evidence.results.working))
            self.evidence.record(ran)
        return ran

    def _draw(self, folder: Path) -> None:
        (folder / FIGURES).mkdir()
        settings = self.evidence.settings
        title = " · ".join(str(settings[axis]) for axis in ("source", "network", "confounder"))
        title += f" · p_art {settings['p_art']:g} · fold {settings['fold']}"
        if self.epochs.history:
            training_curves(self.epochs.history, title).savefig(folder / FIGURES / TRAINING_CURVES, dpi=150)
        examples = self._examples()
        if examples is not None:
            # Pictures with noise hardly get smaller, and take half the time of the figure to try.
            examples.savefig(folder / FIGURES / EXAMPLES, dpi=150, pil_kwargs={"compress_level": 1})

    def _examples(self) -> Figure | None:
        """Test cases, half of them positive, in both states; None if text may be in the pixels of all."""
        cache = self.test.cache
        labels = cache.cases["label"].to_numpy()[self.test.rows]
        by_label = [without_text(cache, self.test.rows[labels == label], _EXAMPLES // 2) for label in (1, 0)]
        rows, left_out = (
            np.array(by_label[0][0] + by_label[1][0], dtype=int),
            by_label[0][1] + by_label[1][1],
        )
        if left_out:
            print(
                "test images that are not shown as examples, since text may be in their pixels or they are"
                f" gone: {left_out}"
            )
        if not len(rows):
            return None
        states = [cache.state(state)[torch.from_numpy(rows)] for state in ("clean", "confounded")]
        shown = [int(label) for label in cache.cases["label"].iloc[rows]]
        return example_states(states[0], states[1], shown, str(self.evidence.settings["confounder"]))
