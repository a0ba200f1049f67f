"""A training that was interrupted goes on where it was, and ends as if it had not been."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint, DiskSaver
from monai.engines import Trainer
from torch import nn
from torch.utils.data import DataLoader

from srcmatters.errors import InputError


class EpochSeeds:
    """Seed everything that draws anew at the start of each epoch.

    What is drawn in an epoch then depends on the seed and the number of the epoch alone: a training that
    resumes at epoch 7 draws what the undisturbed one drew there.

    Args:
        seed: seed of the training.
        loader: its generator decides the order.
        generators: of the augmentations.
    """

    def __init__(self, seed: int, loader: DataLoader[Any], generators: Sequence[torch.Generator]) -> None:
        self.seed = seed
        self.generators = [*generators, loader.generator]

    def attach(self, engine: Engine) -> None:
        """Attach to the trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Seed torch (dropout), the order and the augmentations."""
        for number, generator in enumerate([torch.default_generator, *self.generators]):
            state = np.random.SeedSequence((self.seed, engine.state.epoch, number))
            generator.manual_seed(int(state.generate_state(1, np.uint64)[0] >> 1))


class BestWeights:
    """Keep the weights of the epoch with the best validation.

    Args:
        network: whose weights.
        evaluator: the validation engine.
        metric: its metric; the smallest is the best.
    """

    def __init__(self, network: nn.Module, evaluator: Engine, metric: str = "val_loss") -> None:
        self.network = network
        self.evaluator = evaluator
        self.metric = metric
        self.value = float("inf")
        self.epoch = 0
        self.weights: dict[str, torch.Tensor] = {}

    def attach(self, engine: Engine) -> None:
        """Attach to the trainer, behind the ValidationHandler."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Keep the weights if they are the best so far."""
        value = float(self.evaluator.state.metrics[self.metric])
        if self.evaluator.state.epoch == engine.state.epoch and value < self.value:
            self.value, self.epoch = value, engine.state.epoch
            self.weights = {name: tensor.cpu().clone() for name, tensor in self.network.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        """For a training that is resumed."""
        return {"value": self.value, "epoch": self.epoch, "weights": self.weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what the training that is resumed had found."""
        self.value, self.epoch, self.weights = state["value"], state["epoch"], dict(state["weights"])


class Resumption:
    """A checkpoint after every epoch in the output folder, gone once the training has ended well.

    Args:
        output_dir: folder of the training; the checkpoint is in ``checkpoint/`` there.
        settings: a checkpoint of other settings is refused.
        objects: what has a ``state_dict``: network, optimizer, scheduler, ...
    """

    def __init__(
        self, output_dir: str | Path, settings: Mapping[str, Any], objects: Mapping[str, Any]
    ) -> None:
        self.folder = Path(output_dir) / "checkpoint"
        self.settings = json.loads(json.dumps(dict(settings), default=str))
        self.objects = dict(objects)

    def attach(self, engine: Engine) -> None:
        """Attach to the trainer, last."""
        saver = DiskSaver(str(self.folder), atomic=True, create_dir=True, require_empty=False)
        kept = {**self.objects, "trainer": engine}
        handler = Checkpoint(kept, saver, n_saved=1, global_step_transform=lambda *_: engine.state.epoch)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._note_settings)
        engine.add_event_handler(Events.EPOCH_COMPLETED, handler)

    def _note_settings(self, engine: Engine) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "settings.json").write_text(json.dumps(self.settings, indent=2) + "\n")

    def resume(self, trainer: Trainer) -> int:
        """Take over the last checkpoint if there is one.

        Returns:
            Epochs that were done already.

        Raises:
            InputError: the checkpoint is that of another training, or damaged.
        """
        checkpoints = sorted(self.folder.glob("checkpoint_*.pt"), key=lambda path: path.stat().st_mtime)
        if not checkpoints:
            return 0
        self._check_settings()
        try:
            state = torch.load(checkpoints[-1], map_location="cpu", weights_only=True)
            Checkpoint.load_objects({**self.objects, "trainer": trainer}, state)
        except Exception as error:  # a damaged file makes the unpickler stumble over anything
            raise InputError(
                f"{checkpoints[-1]}: not a readable checkpoint; remove {self.folder} to begin anew"
            ) from error
        return trainer.state.epoch

    def discard(self) -> None:
        """Remove the checkpoint: the training is done."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _check_settings(self) -> None:
        path = self.folder / "settings.json"
        try:
            begun = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: not readable ({error}); remove {self.folder} to begin anew") from error
        for name, value in self.settings.items():
            if begun.get(name) != value:
                raise InputError(
                    f"{name}: got {value!r}, but the unfinished training in {self.folder.parent} has"
                    f" {begun.get(name)!r}; expected the same, another output_dir, or that folder removed"
                )
