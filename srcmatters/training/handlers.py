"""Ignite handlers: each knows one thing."""

from __future__ import annotations

import math
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.handlers import EarlyStopHandler
from tqdm import tqdm

from srcmatters.errors import InputError
from srcmatters.files import atomic_path
from srcmatters.runs.file_names import WEIGHTS
from srcmatters.runs.mlflow_tracking import Tracker
from srcmatters.runs.output_folder import Results


class EarlyStop(EarlyStopHandler):
    """Stop when the validation loss has not improved for ``patience`` validations.

    MONAI's handler wants the trainer before it is attached to the evaluator; in a configuration the trainer
    only exists afterwards. So this one is attached to the trainer and listens to the evaluator.

    Args:
        patience: validations without improvement.
        evaluator: the validation engine, whose ``state.metrics["val_loss"]`` counts.
    """

    def __init__(self, patience: int, evaluator: Engine) -> None:
        super().__init__(patience, lambda engine: -engine.state.metrics["val_loss"], epoch_level=True)
        self.evaluator = evaluator

    def attach(self, engine: Engine) -> None:
        """Attach to the trainer."""
        self.set_trainer(engine)
        super().attach(self.evaluator)


class FiniteLoss:
    """Stop with a word about the learning rate when the training loss is no number any more.

    Attach it before the ValidationHandler, whose metrics refuse such scores less kindly.
    """

    def attach(self, engine: Engine) -> None:
        """Attach to the trainer."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Look at the mean training loss of the epoch."""
        loss = float(engine.state.metrics["train_loss"])
        if not math.isfinite(loss):
            where = f"in epoch {engine.state.epoch}"
            raise InputError(f"learning_rate: the training loss is {loss} {where}, expected a smaller rate")


class BestModel:
    """Keep the best weights in the bundle, as ``models/model.pt``, when the trainer is run by itself.

    A run collects its output in its own folder. MONAI's federated client runs the trainer alone, round after
    round, and looks for the best model there.

    Args:
        results: of the run, into whose working folder the weights are saved.
        bundle_root: folder of the bundle.
    """

    def __init__(self, results: Results, bundle_root: str | Path) -> None:
        self.results = results
        self.folder = Path(bundle_root) / "models"

    def attach(self, engine: Engine) -> None:
        """Attach to the trainer."""
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Copy the weights, unless a run is collecting them."""
        weights = self.results.working / WEIGHTS
        if self.results.collecting or not weights.is_file():
            return
        with atomic_path(self.folder / WEIGHTS) as place:
            shutil.copyfile(weights, place)


class EpochLog:
    """Keep, print and track the numbers of every epoch.

    Args:
        evaluator: the validation engine.
        tracker: where numbers go as well.
        quiet: print nothing.

    Attributes:
        history: one dictionary per epoch: epoch, train_loss, learning_rate, seconds, and where the epoch was
            validated val_loss and val_auc.
    """

    def __init__(self, evaluator: Engine, tracker: Tracker, quiet: bool = False) -> None:
        self.evaluator = evaluator
        self.tracker = tracker
        self.quiet = quiet
        self.history: list[dict[str, float]] = []
        self._started = 0.0

    def state_dict(self) -> dict[str, Any]:
        """The epochs so far, for a training that is resumed."""
        return {"history": self.history}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the epochs of the training that is resumed."""
        self.history = list(state["history"])

    def take_over(self, history: list[dict[str, float]]) -> None:
        """Keep and track the epochs of a training run that another cell of the study has carried out."""
        for row in history[len(self.history) :]:
            self.history.append(row)
            figures = {name: value for name, value in row.items() if name != "epoch"}
            self.tracker.log_metrics(figures, step=int(row["epoch"]))

    def attach(self, engine: Engine) -> None:
        """Attach to the trainer, behind the ValidationHandler."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._complete)

    def _start(self, engine: Engine) -> None:
        self._started = time.perf_counter()

    def _complete(self, engine: Engine) -> None:
        validated = self.evaluator.state.epoch == engine.state.epoch
        metrics = {**engine.state.metrics, **(self.evaluator.state.metrics if validated else {})}
        row = {
            **{name: float(value) for name, value in metrics.items()},
            "learning_rate": float(engine.optimizer.param_groups[0]["lr"]),  # type: ignore[attr-defined]
            "seconds": time.perf_counter() - self._started,
        }
        self.history.append({"epoch": engine.state.epoch, **row})
        self.tracker.log_metrics(row, step=engine.state.epoch)
        if not self.quiet:
            numbers = "  ".join(f"{name} {float(value):.3f}" for name, value in metrics.items())
            tqdm.write(
                f"epoch {engine.state.epoch:>3}/{engine.state.max_epochs}  {numbers}  {row['seconds']:.1f} s"
            )


class PrepareBatch:
    """Hand a batch to the network: on its device, in its memory format, augmented if training.

    Args:
        augmentation: a callable on (B, C, H, W[, D]), or None.
        channels_last: NHWC memory format for 2D images.
    """

    def __init__(self, augmentation: object | None = None, channels_last: bool = True) -> None:
        self.augmentation = augmentation
        self.channels_last = channels_last

    def __call__(
        self,
        batch: dict[str, Any],
        device: torch.device | str | None = None,
        non_blocking: bool = False,
        **kwargs: object,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (images, labels)."""
        images = batch["image"].to(device, non_blocking=non_blocking)
        if self.augmentation is not None:
            images = self.augmentation(images)  # type: ignore[operator]
        if self.channels_last and images.ndim == 4:
            images = images.contiguous(memory_format=torch.channels_last)
        return images, batch["label"].to(device, non_blocking=non_blocking)
