"""An exported bundle behind the DICOM port: what `srcmatters serve` reads studies with."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pydicom import Dataset

from srcmatters.deployment.dicom_results.result_objects import refusal_objects, result_objects
from srcmatters.deployment.prediction.predictor import Prediction, Predictor
from srcmatters.deployment.receiver.study_reading import StudyRefused
from srcmatters.deployment.redaction import without_identifiers
from srcmatters.errors import InputError
from srcmatters.exported_bundle.bundle import open_bundle
from srcmatters.exported_bundle.disclaimers import disclaimers
from srcmatters.exported_bundle.saliency import check_feature_maps

_LOG = logging.getLogger(__name__)


class BundleReader:
    """Reads studies (:class:`srcmatters.deployment.receiver.study_reading.StudyReader`).

    Args:
        bundle: folder or zip of an exported bundle.
        captures: answer with a Secondary Capture, too, that shows where the network looked.

    Attributes:
        about: what the log says of the bundle at the start.

    Raises:
        InputError: no usable bundle, or captures of a network that Grad-CAM cannot look into.
    """

    def __init__(self, bundle: Path, captures: bool = False) -> None:
        with open_bundle(bundle) as opened:
            if captures:
                check_feature_maps(opened.rules["network"])
            self.predictor = Predictor(opened)
        # Nobody closes it: its process ends with this one, and a study at hand is read to its end.
        self.captures = captures
        rules = self.predictor.rules
        self.about = (f"reads with {rules['name']}", *disclaimers(rules))

    def read(self, folder: Path, files: Sequence[Path]) -> list[Dataset]:
        """A Structured Report for every image or series of the study that the bundle reads.

        Those of its images that are not answered are counted in the log.

        Args:
            folder: where the files lie; it is called as the log calls the study.
            files: its instances.

        Raises:
            StudyRefused: none of them could be answered; the reasons, how often each, and a report of each.
        """
        answers: list[Dataset] = []
        refusals: list[Dataset] = []
        reasons: Counter[str] = Counter()
        for prediction in self.predictor.predict(files):
            reports, reason = self._answer(prediction)
            answers += reports
            reasons.update([reason] if reason else [])
            if reason and not answers:
                refusals += self._refusal(prediction, reason, files)
        if not answers:
            raise StudyRefused(_listed(reasons) or "no image in it", refusals)
        if reasons:
            summary = without_identifiers(_listed(reasons), files)
            unanswered = reasons.total()
            _LOG.warning(
                "study %s: %d images or series without an answer: %s", folder.name, unanswered, summary
            )
        return answers

    def _answer(self, prediction: Prediction) -> tuple[list[Dataset], str]:
        """What is sent back for an image or series, or why nothing is."""
        if prediction.status == "refused":
            return [], "; ".join(prediction.reasons)
        try:
            return result_objects(prediction, self.predictor, captures=self.captures), ""
        except InputError as error:
            return [], prediction.item.message(str(error))

    def _refusal(self, prediction: Prediction, reason: str, files: Sequence[Path]) -> list[Dataset]:
        reasons = (without_identifiers(reason, files),)
        return refusal_objects(replace(prediction, status="refused", reasons=reasons), self.predictor)


def _listed(reasons: Counter[str]) -> str:
    return " | ".join(
        f"{reason} ({count} times)" if count > 1 else reason for reason, count in reasons.items()
    )
