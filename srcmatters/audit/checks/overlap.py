"""Overlap: has the model seen these patients or images before?"""

from __future__ import annotations

import pandas as pd

from srcmatters.audit.check import Check, Evidence, Finding
from srcmatters.evaluation.outcomes import Outcome
from srcmatters.numbers import counted


class Overlap(Check):
    """Patients and images that the table of the training data and the audited cases have in common.

    Patients by their identifiers, images by the SHA-256 of their files. Scores of cases that trained the
    model say nothing of its performance.
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
        digests = pd.Series(list(evidence.digests or []), dtype=str)
        known = set(training["digest"].dropna()) if "digest" in training else set()
        of_images = int(digests.isin(known).sum())
        compared = "digest" in training and evidence.digests is not None
        details = {
            "patients": len(patients),
            "images_of_these_patients": of_patients,
            "images": of_images,
            "images_compared": compared,
        }
        images = (
            f"{counted(of_images, 'image')}"
            if compared
            else "images were not compared (their files are not here)"
        )
        if patients or of_images:
            reason = "its performance on cases that trained it says nothing of new ones"
            text = (
                f"Overlap with the training data: {counted(len(patients), 'patient')} with"
                f" {counted(of_patients, 'audited image')}; {images} of the same content."
            )
            return [
                Finding(
                    self.code,
                    "",
                    Outcome.NOT_RANKED,
                    text,
                    float(of_patients),
                    reason=reason,
                    advice="Audit on cases that did not train the model.",
                    details=details,
                )
            ]
        others = "no image is, either" if compared else images
        text = f"No audited patient is in the training data; {others}."
        return [Finding(self.code, "", Outcome.WITHIN_MARGIN, text, 0.0, details=details)]
