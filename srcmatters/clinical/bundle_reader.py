"""An exported bundle behind the DICOM port: what `srcmatters serve` reads studies with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pydicom import Dataset

from srcmatters.clinical.dicom_answers import dicom_answers
from srcmatters.clinical.exported import open_bundle
from srcmatters.clinical.predict import Predictor
from srcmatters.errors import InputError


class BundleReader:
    """Reads studies (:class:`srcmatters.clinical.reading.StudyReader`).

    Args:
        bundle: folder or zip of an exported bundle.
        captures: answer with a Secondary Capture, too, that shows where the network looked.

    Raises:
        InputError: no usable bundle.
    """

    def __init__(self, bundle: Path, captures: bool = False) -> None:
        self.predictor = Predictor(open_bundle(bundle))
        self.captures = captures

    def read(self, folder: Path, files: Sequence[Path]) -> list[Dataset]:
        """A Structured Report for every image or series of the study that the bundle reads.

        Args:
            folder: where the files lie.
            files: its instances.

        Raises:
            InputError: none of them could be read; the reasons, and how often each.
        """
        answers: list[Dataset] = []
        reasons: Counter[str] = Counter()
        for prediction in self.predictor.predict(files):
            answers += dicom_answers(prediction, self.predictor, captures=self.captures)
            if prediction.status == "refused":
                reasons["; ".join(prediction.reasons)] += 1
        if not answers:
            said = [f"{reason} ({count} times)" if count > 1 else reason for reason, count in reasons.items()]
            raise InputError(" | ".join(said) or "no image in it")
        return answers


def reports(bundle: Path) -> BundleReader:
    """A reader that answers with Structured Reports."""
    return BundleReader(bundle)


def reports_and_saliency(bundle: Path) -> BundleReader:
    """A reader that answers with Structured Reports and with images of where the network looked."""
    return BundleReader(bundle, captures=True)
