"""What an inference engine writes: scores or features of images that have no labels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from ignite.engine import Engine, Events
from torch import nn

from srcmatters.cohorts.case_table import POSITION
from srcmatters.csv_tables import write_csv
from srcmatters.runs.output_folder import Results
from srcmatters.sources.network_facts import HEADS


def without_head(network: nn.Module, name: str) -> nn.Module:
    """The network up to the input of its classification head.

    Args:
        network: of :func:`srcmatters.sources.create_classifier`: input normalisation, then the network. It is
            changed.
        name: of the network.

    Returns:
        The same, whose output is (B, p) features.
    """
    classifier = network.get_submodule("1")
    path = getattr(network, "head_path", None) or HEADS[name].rstrip(".")
    *above, last = path.split(".")
    setattr(classifier.get_submodule(".".join(above)), last, nn.Identity())
    return network


class _Writer:
    """Collects one row per image of an inference engine and writes them when it is done.

    Args:
        results: where the file goes.
        dataset_dir: image paths are written relative to it.
    """

    def __init__(self, results: Results, dataset_dir: str | Path) -> None:
        self.results = results
        self.dataset_dir = Path(dataset_dir)
        self.rows: list[dict[str, Any]] = []

    def attach(self, engine: Engine) -> None:
        """Attach to the evaluator."""
        engine.add_event_handler(Events.STARTED, self.rows.clear)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def _collect(self, engine: Engine) -> None:
        # MONAI's output keeps image, label and prediction only; the batch knows the names.
        batch, outputs = engine.state.batch, engine.state.output
        for item, output in zip(batch, outputs, strict=True):  # type: ignore[call-overload]
            path = Path(item["name"])
            inside = path.is_relative_to(self.dataset_dir)
            shown = path.relative_to(self.dataset_dir) if inside else path
            self.rows.append({"image": shown.as_posix(), **self.values(item, output["pred"])})

    def _finish(self) -> None:
        with self.results.transaction() as folder:
            file = self.write(folder)
        print(f"{len(self.rows)} images: {self.results.output_dir / file}")

    def values(self, item: Mapping[str, Any], prediction: torch.Tensor) -> dict[str, Any]:
        """What is kept of one image."""
        raise NotImplementedError

    def write(self, folder: Path) -> str:
        """Write the file into a folder; returns its name."""
        raise NotImplementedError


class ScoreWriter(_Writer):
    """Writes the probabilities of an inference engine to ``scores.csv``.

    Its columns are image, x_mm, y_mm and z_mm where a candidate has a position, and probability (of label 1).
    """

    def values(self, item: Mapping[str, Any], prediction: torch.Tensor) -> dict[str, Any]:
        """Position and probability."""
        where = {name: float(item[name]) for name in POSITION if name in item}
        return {**where, "probability": float(prediction[1])}

    def write(self, folder: Path) -> str:
        """Write scores.csv."""
        write_csv(pd.DataFrame(self.rows), folder / "scores.csv")
        return "scores.csv"


class FeatureWriter(_Writer):
    """Writes the features of an inference engine to ``features.npz``.

    Its arrays are image, (n,) paths, and features, (n, p) float32 in the same order.
    """

    def values(self, item: Mapping[str, Any], prediction: torch.Tensor) -> dict[str, Any]:
        """(p,) features."""
        return {"features": prediction.float().cpu().numpy()}

    def write(self, folder: Path) -> str:
        """Write features.npz."""
        features = np.stack([row["features"] for row in self.rows])
        np.savez(folder / "features.npz", image=[row["image"] for row in self.rows], features=features)
        return "features.npz"
