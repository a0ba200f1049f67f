"""What an exported bundle says of images: probability and finding, or why it does not read them."""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from srcmatters.deployment.prediction.decoding_tasks import Prepared, Recipe, prepare
from srcmatters.deployment.prediction.guard import (
    Admission,
    judge_headers,
    judge_image,
    mixed_series,
    modality_of,
    weigh,
)
from srcmatters.deployment.prediction.inputs import Item, gather
from srcmatters.deployment.prediction.sandboxed_decoder import Decoder
from srcmatters.errors import InputError
from srcmatters.exported_bundle.bundle import ExportedBundle
from srcmatters.exported_bundle.input_rules import Finding
from srcmatters.exported_bundle.monitors import logits_and_features

STATUSES = ("predicted", "flagged", "refused")


@dataclass(frozen=True)
class Prediction:
    """The answer to one image or series.

    Args:
        item: what was read.
        status: "predicted", "flagged" (predicted, with a reason to doubt it) or "refused".
        reasons: for a flag or a refusal, each in one line.
        probability: of the finding, calibrated; None if refused.
        finding: whether the probability reaches the threshold; None if refused.
        prepared: the image as the network got it; None if refused.
    """

    item: Item
    status: str
    reasons: tuple[str, ...] = ()
    probability: float | None = None
    finding: bool | None = None
    prepared: Prepared | None = None


class Predictor:
    """Reads images with an exported bundle.

    Images are decoded in a process of their own, the next one while the network looks at the last.

    Args:
        bundle: with its rules; it may be closed afterwards.
        decoder: None makes one; :meth:`close` ends it.

    Raises:
        InputError: the bundle's weights cannot be read.
    """

    def __init__(self, bundle: ExportedBundle, decoder: Decoder | None = None) -> None:
        self.bundle = bundle
        self.rules = bundle.rules
        self.decoder = decoder or Decoder()
        self.network = bundle.network()
        self.recipe = recipe_of(bundle.rules)
        self.passed_over = 0

    def close(self) -> None:
        """End the process that decodes."""
        self.decoder.close()

    def __enter__(self) -> Predictor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def predict(
        self, paths: Sequence[Path], named_below: Path | None = None
    ) -> Generator[Prediction, None, None]:
        """Read everything below some paths.

        Args:
            paths: files, folders, one zip archive.
            named_below: a folder below which items are named; None: by their whole paths.

        Yields:
            One answer per radiograph and per CT series, in the order of the paths and of their names. The
            files of an answer are there until the next one is asked for. ``passed_over`` holds the number of
            files without an image afterwards.

        Raises:
            InputError: a path that does not exist, or a second archive.
        """
        with tempfile.TemporaryDirectory(prefix="srcmatters-predict-") as scratch:
            gathered = gather(paths, self.decoder, Path(scratch), named_below)
            self.passed_over = gathered.passed_over
            yield from self._predict(gathered.items)

    def _predict(self, items: Sequence[Item]) -> Iterator[Prediction]:
        mixed = mixed_series(header for item in items for header in item.headers)
        verdicts = [self._before(item, mixed) for item in items]
        admitted = iter(
            [item for item, admission in zip(items, verdicts, strict=True) if not admission.refusals]
        )
        self._submit(next(admitted, None))
        for item, admission in zip(items, verdicts, strict=True):
            if admission.refusals:
                yield _refused(item, admission)
                continue
            try:
                prepared = self.decoder.result()
            except InputError as error:
                prepared = str(error)
            self._submit(next(admitted, None))
            yield self._answer(item, prepared, admission)

    def _before(self, item: Item, mixed: Mapping[str, str]) -> Admission:
        """The admission on an item that has not been decoded."""
        if item.refusal:
            return self._weigh([("unreadable", item.refusal)])
        admission = judge_headers(item.headers, self.rules)
        if item.headers and (wrong := mixed.get(item.headers[0]["SeriesInstanceUID"])):
            admission += self._weigh([("mixed_series", wrong)])
        return admission

    def _weigh(self, findings: Iterable[Finding]) -> Admission:
        return weigh(findings, self.rules)

    def _submit(self, item: Item | None) -> None:
        if item is not None:
            sizes = [file.stat().st_size for file in item.files if file.is_file()]
            self.decoder.submit(
                prepare, item.path, self.recipe, files=len(sizes), size=sum(sizes), spent=item.seconds
            )

    def _answer(self, item: Item, prepared: Prepared | str, admission: Admission) -> Prediction:
        """The answer to an image that was decoded; a string says why it was not."""
        if isinstance(prepared, str):
            return _refused(item, self._weigh([("unreadable", prepared)]))
        admission += judge_image(prepared.size, prepared.spacing, self.rules) + self._weigh(prepared.notes)
        if admission.refusals:
            return _refused(item, admission)
        image = torch.from_numpy(prepared.image)
        logits, features = logits_and_features(self.network, self.rules["network"], image.unsqueeze(0))
        log_odds = (logits[:, 1] - logits[:, 0]).double().numpy()
        probability = float(self.bundle.calibrate(log_odds)[0])
        if np.isfinite(probability):
            admission += self._weigh(self._watch(image, features))
        else:
            admission = self._weigh([("answer", "the network's answer is not a number")])
        if admission.refusals:
            return _refused(item, admission)
        flags = tuple(map(item.message, admission.flags))
        finding = probability >= self.rules["threshold"]["value"]
        return Prediction(item, "flagged" if flags else "predicted", flags, probability, finding, prepared)

    def _watch(self, image: torch.Tensor, features: np.ndarray) -> Iterator[Finding]:
        """What the monitors that travel with the bundle say."""
        for probe in self.bundle.monitors:
            if probe.flags(image):
                reason = f"it seems to carry the confounder {probe.confounder} (probe of AUC {probe.auc:.2f})"
                yield "confounder", reason
        distance = self.bundle.ood
        if distance is not None and bool(distance.flags(features)[0]):
            measured = f"feature distance {float(distance.distance(features)[0]):.3g}"
            expected = f"expected at most {distance.threshold:.3g}"
            yield "out_of_distribution", f"unlike the training images: {measured}, {expected}"


def _refused(item: Item, admission: Admission) -> Prediction:
    return Prediction(item, "refused", tuple(map(item.message, admission.refusals)))


def recipe_of(rules: dict[str, Any]) -> Recipe:
    """How the rules of a bundle want images to be made."""
    window, trained = rules["window"], rules["input"]["depth_mm"]
    depth = (rules["patch_mm"] or 0) / 2
    return Recipe(
        modality=modality_of(rules),
        # The loader can only refuse another one.
        body_part=rules["body_part"] if rules["actions"]["body_part"] == "refuse" else "",
        image_size=rules["image_size"],
        spatial_dims=rules["spatial_dims"],
        unit=rules["unit"],
        window=tuple(window) if isinstance(window, list) else window,
        patch_mm=rules["patch_mm"],
        depth_mm=min(depth, trained[0]) if trained else depth,
    )
