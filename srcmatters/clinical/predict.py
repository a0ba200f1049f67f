"""What an exported bundle says of images: probability and finding, or why it does not read them."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from srcmatters.clinical.decoder import Decoder
from srcmatters.clinical.decoding_tasks import Prepared, Recipe, prepare
from srcmatters.clinical.exported import ExportedBundle
from srcmatters.clinical.guard import Verdict, judge_headers, judge_image, mixed_series, modality_of
from srcmatters.clinical.inputs import Item, gather
from srcmatters.clinical.monitors import logits_and_features
from srcmatters.errors import InputError

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
        bundle: with its rules.
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
            paths: files, folders, zip archives, DICOMDIRs.
            named_below: a folder below which items are named; None: by their whole paths.

        Yields:
            One answer per radiograph and per CT series, in the order of the paths and of their names. The
            files of an answer are there until the next one is asked for. ``passed_over`` holds the number of
            files without an image afterwards.

        Raises:
            InputError: a path that does not exist.
        """
        with tempfile.TemporaryDirectory(prefix="srcmatters-predict-") as scratch:
            gathered = gather(paths, self.decoder, Path(scratch), named_below)
            self.passed_over = gathered.passed_over
            yield from self._predict(gathered.items)

    def _predict(self, items: Sequence[Item]) -> Iterator[Prediction]:
        mixed = mixed_series(header for item in items for header in item.headers)
        verdicts = [self._before(item, mixed) for item in items]
        wanted = iter([item for item, verdict in zip(items, verdicts, strict=True) if not verdict.refusals])
        self._submit(next(wanted, None))
        for item, verdict in zip(items, verdicts, strict=True):
            if verdict.refusals:
                yield Prediction(item, "refused", verdict.refusals)
                continue
            prepared = self._prepared(item)
            self._submit(next(wanted, None))
            if isinstance(prepared, str):
                yield Prediction(item, "refused", (prepared,))
            else:
                yield self._answer(item, prepared, verdict)

    def _before(self, item: Item, mixed: Mapping[str, str]) -> Verdict:
        """The verdict on an item that has not been decoded."""
        if item.refusal:
            return Verdict((item.refusal,))
        verdict = judge_headers(item.headers, self.rules)
        if item.headers and (wrong := mixed.get(item.headers[0]["SeriesInstanceUID"])):
            verdict = Verdict((*verdict.refusals, wrong), verdict.flags)
        return Verdict(tuple(map(item.said, verdict.refusals)), tuple(map(item.said, verdict.flags)))

    def _submit(self, item: Item | None) -> None:
        if item is not None:
            sizes = [file.stat().st_size for file in item.files if file.is_file()]
            self.decoder.submit(
                prepare, item.path, self.recipe, files=len(sizes), size=sum(sizes), spent=item.seconds
            )

    def _prepared(self, item: Item) -> Prepared | str:
        try:
            return self.decoder.result()
        except InputError as error:
            return item.said(str(error))

    def _answer(self, item: Item, prepared: Prepared, verdict: Verdict) -> Prediction:
        judged = judge_image(prepared.size, prepared.spacing, self.rules)
        if judged.refusals:
            return Prediction(item, "refused", judged.refusals)
        image = torch.from_numpy(prepared.image)
        logits, features = logits_and_features(self.network, self.rules["network"], image.unsqueeze(0))
        log_odds = (logits[:, 1] - logits[:, 0]).double().numpy()
        probability = float(self.bundle.calibrate(log_odds)[0])
        if not np.isfinite(probability):
            return Prediction(item, "refused", ("the network's answer is not a number",))
        flags = [
            *verdict.flags,
            *judged.flags,
            *map(item.said, prepared.notes),
            *self._watch(image, features),
        ]
        finding = probability >= self.rules["threshold"]["value"]
        status = "flagged" if flags else "predicted"
        return Prediction(item, status, tuple(flags), probability, finding, prepared)

    def _watch(self, image: torch.Tensor, features: np.ndarray) -> list[str]:
        """What the monitors that travel with the bundle say."""
        flags = [
            f"it seems to carry the confounder {probe.confounder} (probe of AUC {probe.auc:.2f})"
            for probe in self.bundle.monitors
            if probe.flags(image)
        ]
        distance = self.bundle.ood
        if distance is not None and bool(distance.flags(features)[0]):
            found = float(distance.distance(features)[0])
            flags.append(
                f"unlike the training images: feature distance {found:.3g}, expected at most"
                f" {distance.threshold:.3g}"
            )
        return flags


def recipe_of(rules: dict[str, Any]) -> Recipe:
    """How the rules of a bundle want images to be made."""
    window = rules["window"]
    return Recipe(
        modality=modality_of(rules),
        body_part=rules["body_part"],
        image_size=rules["image_size"],
        spatial_dims=rules["spatial_dims"],
        unit=rules["unit"],
        window=tuple(window) if isinstance(window, list) else window,
        patch_mm=rules["patch_mm"],
    )


def marks(rules: dict[str, Any]) -> tuple[str, ...]:
    """What every output must say."""
    unaudited = () if rules["audited"] else ("UNAUDITED: not tested for confounders",)
    return ("RESEARCH USE ONLY: not a medical device", *unaudited)


def hashed(uid: str) -> str:
    """A UID as it may leave: 16 hexadecimal digits, the same for the same UID; empty if there is none."""
    return hashlib.sha256(f"srcmatters {uid}".encode()).hexdigest()[:16] if uid else ""
