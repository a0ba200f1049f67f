"""What watches a deployed network: does an image carry an audited confounder, is it like the training images?

Only the application is here, on arrays that an exported bundle carries; they are fitted in
:mod:`srcmatters.export.monitor_fitting`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from srcmatters.images.description import describe
from srcmatters.sources.stages import FEATURES, recorded_stages

#: What a bundle records of a :class:`FeatureDistance` beside its arrays.
DISTANCE_NUMBERS = ("residual_variance", "threshold", "quantile", "false_alarms")


@dataclass(frozen=True)
class ConfounderProbe:
    """The detectability probe of one confounder: a logistic regression on the description of an image.

    Args:
        confounder: its name.
        mean: (369,) of the description over the training images, see
            :func:`srcmatters.images.description.describe`.
        scale: (369,) its standard deviation.
        weight: (369,) of the standardised description.
        bias: of the log-odds.
        threshold: log-odds from which on an image is flagged.
        auc: of the probe on patients that it has not seen.
        sensitivity: share of the confounded images that are flagged, on patients that it has not seen.
        false_alarms: share of the clean images that are flagged, likewise.
    """

    confounder: str
    mean: np.ndarray = field(repr=False)
    scale: np.ndarray = field(repr=False)
    weight: np.ndarray = field(repr=False)
    bias: float
    threshold: float
    auc: float
    sensitivity: float
    false_alarms: float

    def score(self, image: torch.Tensor) -> float:
        """Log-odds that an image carries the confounder.

        Args:
            image: (1, H, W) or (1, H, W, D) float32 in [0, 1], as the network gets it.
        """
        described = describe(image).numpy().astype(np.float64)
        return float((described - self.mean) / self.scale @ self.weight + self.bias)

    def flags(self, image: torch.Tensor) -> bool:
        """Whether the image seems to carry the confounder."""
        return self.score(image) >= self.threshold


@dataclass(frozen=True)
class FeatureDistance:
    """How far what a network computes of an image lies from what it computed of the training images.

    Mahalanobis distance under probabilistic principal component analysis: the standardised features have a
    shrunk covariance in the leading components, and one variance in all other directions.

    Args:
        mean: (F,) of the training features.
        scale: (F,) their standard deviation, above 0.
        basis: (F, K) orthonormal, of the standardised features.
        precision: (K, K) inverse covariance of the components.
        residual_variance: in each of the other directions, above 0.
        threshold: distance above which an image is called out of distribution.
        quantile: share of the validation images that lie below the threshold.
        false_alarms: share of the test images that lie above it.

    Source: Tipping and Bishop 1999, "Probabilistic principal component analysis".
    """

    mean: np.ndarray = field(repr=False)
    scale: np.ndarray = field(repr=False)
    basis: np.ndarray = field(repr=False)
    precision: np.ndarray = field(repr=False)
    residual_variance: float
    threshold: float
    quantile: float
    false_alarms: float

    def distance(self, features: np.ndarray) -> np.ndarray:
        """(n,) distances of features (n, F)."""
        centred = (np.asarray(features, dtype=np.float64) - self.mean) / self.scale
        inside = centred @ self.basis
        outside = np.maximum((centred**2).sum(1) - (inside**2).sum(1), 0)
        squared = np.einsum("ni,ij,nj->n", inside, self.precision, inside) + outside / self.residual_variance
        return np.sqrt(squared)

    def flags(self, features: np.ndarray) -> np.ndarray:
        """(n,) bool, whether images are unlike those of the training."""
        return self.distance(features) > self.threshold


@torch.inference_mode()
def logits_and_features(
    network: nn.Module, name: str, images: torch.Tensor
) -> tuple[torch.Tensor, np.ndarray]:
    """One pass of a network: its answer, and the mean activation of every channel after each of its stages.

    What goes into the head is not among them: fine-tuning has drawn it apart for the training images, and
    little of it is left that does not tell the two labels.

    Args:
        network: of :meth:`srcmatters.exported_bundle.bundle.ExportedBundle.network`, in evaluation mode.
        name: of the network, ``rules["network"]``.
        images: (B, 1, H, W[, D]) float32 in [0, 1].

    Returns:
        (B, 2) logits, and (B, F) float32 features.
    """
    with recorded_stages(network[1], name, grid=1) as activations:  # type: ignore[index]
        logits = network(images)
        means = [activation.flatten(1) for stage, activation in activations.items() if stage != FEATURES]
        means = means or [activations[FEATURES]]
    return logits, torch.cat(means, 1).numpy()
