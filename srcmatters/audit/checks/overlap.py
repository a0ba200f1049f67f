"""Overlap: has the model seen these patients or images before?"""

from __future__ import annotations

import numpy as np
import pandas as pd

from srcmatters.audit.check import Check, Evidence, Finding
from srcmatters.evaluation.outcomes import Outcome
from srcmatters.numbers import counted


class Overlap(Check):
    """Patients and images that the table of the training data and the audited cases have in common.

    Patients by their identifiers, images by the SHA-256 of their files and by a perceptual hash: copies that
    were re-encoded, resized or brightened have other files. Scores of cases that trained the model say
    nothing of its performance.
    """

    code = "overlap"
    title = "Overlap with the training data"
    question = "Are the audited patients and images new to the model?"
    needs = ("training_table",)

    def findings(self, evidence: Evidence) -> list[Finding]:
        """One finding for the whole."""
        training, cases = evidence.training_table, evidence.scores.cases
        assert training is not None
        patients = set(training["patient_id"]) & set(cases["patient_id"])
        of_patients = int(cases["patient_id"].isin(patients).sum())
        compared, same, copies = _shared_images(training, evidence)
        details = {
            "patients": len(patients),
            "images_of_these_patients": of_patients,
            "images": same,
            "images_compared": compared,
            "look_alikes": copies,
        }
        images = _sentence(compared, same, copies)
        if not (patients or same or copies):
            text = f"No audited patient is in the training data; {images}."
            return [Finding(self.code, "", Outcome.WITHIN_MARGIN, text, 0.0, details=details)]
        text = (
            f"Overlap with the training data: {counted(len(patients), 'patient')} with"
            f" {counted(of_patients, 'audited image')}; {images}."
        )
        return [
            Finding(
                self.code,
                "",
                Outcome.NOT_RANKED,
                text,
                float(of_patients),
                reason="its performance on cases that trained it says nothing of new ones",
                advice="Audit on cases that did not train the model.",
                details=details,
            )
        ]


def _shared_images(training: pd.DataFrame, evidence: Evidence) -> tuple[bool, int, int | None]:
    """Whether files were compared, images of the same content, and others that look like a training image."""
    known = set(training["digest"].dropna()) if "digest" in training else set()
    compared = "digest" in training and evidence.digests is not None
    same = np.zeros(len(evidence.scores.cases), dtype=bool)
    if compared:
        same = pd.Series(list(evidence.digests or []), dtype=str).isin(known).to_numpy()
    alike = evidence.look_alikes
    return compared, int(same.sum()), None if alike is None else int((alike & ~same).sum())


def _sentence(compared: bool, same: int, copies: int | None) -> str:
    if not compared:
        return "images were not compared (their files are not here)"
    sentence = f"{counted(same, 'image')} of the same content"
    if copies is None:
        return f"{sentence}, copies were not looked for"
    return f"{sentence}, {counted(copies, 'other image')} that look like a training image"
