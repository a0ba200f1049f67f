"""One pre-training from beginning to end: a new source, with what is known about it."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.engines import SupervisedTrainer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, balanced_accuracy_score, recall_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import DataLoader

from srcmatters.errors import InputError
from srcmatters.preprocessing.state_cache import StateCache
from srcmatters.reports.run_figures import training_curves
from srcmatters.runs.file_names import CONFIG, FIGURES, TRAINING_CURVES
from srcmatters.runs.mlflow_tracking import Tracker
from srcmatters.runs.output_folder import Results
from srcmatters.runs.private_settings import places_left_out
from srcmatters.sources.entry import Entry
from srcmatters.sources.network_facts import HEADS, check_network
from srcmatters.sources.normalisation import InputNormalisation
from srcmatters.sources.source_file import write_source
from srcmatters.training.handlers import EpochLog, PrepareBatch
from srcmatters.training.overrides import write_config
from srcmatters.training.resumption import BestWeights, Resumption
from srcmatters.training.what_ran import pretraining_settings

_PRINTED = (
    "val_accuracy",
    "val_balanced_accuracy",
    "val_balanced_accuracy_within_data_sets",
    "val_macro_auc",
    "probe_accuracy",
    "val_loss",
)


class Pretraining:
    """Train a network on labelled or unlabelled images and keep its weights as a source.

    Args:
        trainer: ready to run.
        network: the network that the trainer trains, :func:`srcmatters.sources.create_classifier`'s.
        best: keeps the weights that become the source.
        resumption: checkpoints.
        loaders: training and validation cases, not augmented, in order.
        cache: the decoded images.
        classes: their names, by label.
        results: where files go.
        tracker: where numbers and figures go as well.
        settings: everything that a user can choose, ``name``, ``network`` and ``objective`` among them.
        described: trained_on, licence and citation of the source, in words.
        config: the configuration, to run the same again.
        epochs: what was logged during training.
    """

    def __init__(
        self,
        trainer: SupervisedTrainer,
        network: nn.Sequential,
        best: BestWeights,
        resumption: Resumption,
        loaders: Sequence[DataLoader[Any]],
        cache: StateCache,
        classes: Sequence[str],
        results: Results,
        tracker: Tracker,
        settings: Mapping[str, Any],
        described: Mapping[str, str],
        config: Mapping[str, Any],
        epochs: EpochLog,
    ) -> None:
        self.trainer = trainer
        self.network = network
        self.best = best
        self.resumption = resumption
        self.loaders = list(loaders)
        self.cache = cache
        self.classes = list(classes)
        self.results = results
        self.tracker = tracker
        self.settings = dict(settings)
        check_network(str(self.settings["network"]))
        self.described = dict(described)
        self.config = dict(config)
        self.epochs = epochs

    def run(self) -> dict[str, float]:
        """Train, or go on with what was interrupted, and write the source with its evidence.

        Returns:
            The figures of the validation cases.

        Raises:
            InputError: a finished source of this name is in the output folder, or what it trains cannot be
                recorded; see :mod:`srcmatters.training.what_ran`.
        """
        file = self.results.output_dir / f"{self.settings['name']}.safetensors"
        if file.exists():
            raise InputError(f"name: {file} exists already; expected another name, or that file removed")
        started = time.perf_counter()
        self._record_what_runs()
        try:
            with self.tracker.run():
                metrics = self._train(file.name, started)
                self.resumption.discard()
                self._track(metrics)
        finally:
            self.results.discard()
        self._print(metrics, file)
        return metrics

    def _record_what_runs(self) -> None:
        ran = pretraining_settings(self.settings, self.trainer, self.network, self.cache, self.config)
        self.settings |= {name: value for name, value in ran.items() if name in self.settings}
        self.tracker.settings = dict(self.settings)

    def _train(self, name: str, started: float) -> dict[str, float]:
        done = self.resumption.resume(self.trainer)
        if done:
            print(f"resumed after epoch {done} of {self.trainer.state.max_epochs}")
        with self.results.transaction() as folder:
            if done < self.trainer.state.max_epochs:
                self.trainer.run()
            self.network.load_state_dict(self.best.weights)
            metrics = self._measure()
            metrics["seconds"] = sum(row["seconds"] for row in self.epochs.history)
            metrics["seconds_of_this_run"] = time.perf_counter() - started
            self._write(folder, name, metrics)
        return metrics

    def _measure(self) -> dict[str, float]:
        """Figures of the validation cases."""
        labels, scores, features = zip(*(self._predict(loader) for loader in self.loaders), strict=True)
        metrics: dict[str, float] = {"val_loss": self.best.value, "best_epoch": self.best.epoch}
        if self.settings["objective"] == "simclr":
            if len(self.classes) > 1:
                probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
                probe.fit(features[0], labels[0])
                metrics["probe_accuracy"] = float(probe.score(features[1], labels[1]))
        else:
            metrics |= self._classification(labels[1], scores[1])
            metrics |= self._within_data_sets(labels, scores[1])
        metrics["training_cases"] = len(labels[0])
        metrics["validation_cases"] = len(labels[1])
        return metrics

    def _classification(self, labels: np.ndarray, scores: np.ndarray) -> dict[str, float]:
        predicted = scores.argmax(1)
        recalls = recall_score(
            labels, predicted, labels=range(len(self.classes)), average=None, zero_division=np.nan
        )
        present = [label for label in range(len(self.classes)) if 0 < (labels == label).sum() < len(labels)]
        areas = [roc_auc_score(labels == label, scores[:, label]) for label in present]
        return {
            "val_accuracy": float(accuracy_score(labels, predicted)),
            "val_balanced_accuracy": float(balanced_accuracy_score(labels, predicted)),
            "val_macro_auc": float(np.mean(areas)) if areas else float("nan"),
            **{f"recall_{name}": float(value) for name, value in zip(self.classes, recalls, strict=True)},
        }

    def _within_data_sets(
        self, labels: tuple[np.ndarray, np.ndarray], scores: np.ndarray
    ) -> dict[str, float]:
        """Mean recall where only the classes of a case's own data set compete.

        Telling data sets apart is easy, and says little of what was learnt of their images. Data sets of one
        class are left out; empty where the table names no data sets.
        """
        tables = [loader.dataset.data for loader in self.loaders]  # type: ignore[attr-defined]
        if any("data_set" not in table for table in tables):
            return {}
        origin, recalls = tables[1]["data_set"].to_numpy(), []
        for name in sorted(set(origin)):
            classes = np.unique(labels[0][tables[0]["data_set"].to_numpy() == name])
            rows = np.flatnonzero((origin == name) & np.isin(labels[1], classes))
            if len(classes) > 1 and len(rows):
                predicted = classes[scores[np.ix_(rows, classes)].argmax(1)]
                recalls += [
                    np.mean(predicted[labels[1][rows] == label] == label)
                    for label in np.unique(labels[1][rows])
                ]
        return {"val_balanced_accuracy_within_data_sets": float(np.mean(recalls))} if recalls else {}

    @torch.inference_mode()
    def _predict(self, loader: DataLoader[Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Labels (cases,), probabilities (cases, classes) and features (cases, F) of a set of cases."""
        self.network.eval()
        head = self.network[1].get_submodule(HEADS[self.settings["network"]].rstrip("."))
        kept: list[torch.Tensor] = []
        hook = head.register_forward_pre_hook(lambda module, inputs: kept.append(inputs[0].cpu()))
        device = next(self.network.parameters()).device
        prepare, labels, scores = PrepareBatch(), [], []
        try:
            for batch in loader:
                images, label = prepare(batch, device)
                scores.append(torch.softmax(self.network(images).float(), 1).cpu())
                labels.append(label.cpu())
        finally:
            hook.remove()
        return torch.cat(labels).numpy(), torch.cat(scores).numpy(), torch.cat(kept).numpy()

    def _write(self, folder: Path, name: str, metrics: Mapping[str, float]) -> None:
        entry = self._entry(metrics)
        weights = {name: tensor.cpu() for name, tensor in self.network[1].state_dict().items()}
        head = HEADS[self.settings["network"]]
        write_source(
            folder / name,
            entry,
            {name: tensor for name, tensor in weights.items() if not name.startswith(head)},
        )
        record = {**metrics, "settings": self.settings, "dataset_sha256": self.cache.digest()}
        record = {**record, "classes": self.classes}
        (folder / "pretraining.json").write_text(json.dumps(record, indent=2, default=str) + "\n")
        write_config(self.config, folder / CONFIG, output_dir=str(self.results.output_dir))
        figures = folder / FIGURES
        figures.mkdir()
        self._curves().savefig(figures / TRAINING_CURVES, dpi=150)

    def _entry(self, metrics: Mapping[str, float]) -> Entry:
        """What the catalogue says of the new source."""
        normalisation = self.network[0]
        assert isinstance(normalisation, InputNormalisation)  # of sources for images: the only kind
        mean, std = (getattr(normalisation, name).flatten().tolist() for name in ("mean", "std"))
        return Entry(
            name=self.settings["name"],
            source=self.settings["name"],
            network=self.settings["network"],
            spatial_dims=normalisation.mean.ndim - 2,
            channels=len(mean),
            scheme="monai",
            normalisation={
                "kind": "fixed",
                "mean": mean,
                "std": std,
                "channel_order": "RGB" if len(mean) == 3 else "grey",
            },
            location=None,
            sha256=None,
            **self.described,
            training={
                "dataset_sha256": self.cache.digest(),
                "classes": self.classes,
                "settings": self.settings,
                "metrics": dict(metrics),
            },
        )

    def _curves(self) -> Any:
        title = f"{self.settings['name']} · {self.settings['network']} from {self.settings['source']}"
        if self.settings["objective"] == "simclr":
            return training_curves(self.epochs.history, title, None, loss_title="NT-Xent loss")
        return training_curves(self.epochs.history, title, "val_accuracy", "validation accuracy")

    def _track(self, metrics: Mapping[str, float]) -> None:
        """What leaves for MLflow: numbers and figures, but no path, and no weights."""
        if self.tracker.run_id is None:
            return
        figures = {name: value for name, value in metrics.items() if not name.startswith("recall_")}
        self.tracker.log_metrics(figures)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            record = (self.results.output_dir / "pretraining.json").read_text()
            (folder / "pretraining.json").write_text(record)
            self._curves().savefig(folder / TRAINING_CURVES, dpi=150)
            shared = places_left_out(self.config)
            write_config(shared, folder / CONFIG, source=self.settings["source"])
            self.tracker.log_folder(folder)

    def _print(self, metrics: Mapping[str, float], file: Path) -> None:
        title = f"{self.settings['source']} → {self.settings['name']} · {self.settings['network']}"
        table = Table(title=escape(title), title_justify="left", show_header=False)
        for name in _PRINTED:
            if name in metrics:
                table.add_row(name.replace("_", " "), f"{metrics[name]:.3f}")
        cases = f"{metrics['training_cases']} + {metrics['validation_cases']}"
        table.add_row("images", f"{cases} (training + validation)")
        console = Console()
        console.print(table)
        console.print(f"The source: [bold]{escape(str(file))}[/bold]", highlight=False, soft_wrap=True)
        console.print(f"Use it as --source {escape(str(file))}", highlight=False, soft_wrap=True)
