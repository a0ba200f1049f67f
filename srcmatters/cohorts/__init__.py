"""Cohorts: every reader returns a case table."""

from srcmatters.cohorts.case_table import check_cases, read_cases, write_cases
from srcmatters.cohorts.dicom_folder import read_dicom_folder
from srcmatters.cohorts.embedded import find_images, open_cohort
from srcmatters.cohorts.folds import Split, split_cases
from srcmatters.cohorts.labelled_images import LabelledImages, open_labelled_images, split_labelled_images
from srcmatters.cohorts.lidc import LabelRule, read_lidc
from srcmatters.cohorts.nih import read_nih
from srcmatters.cohorts.unlabelled import images_to_score

__all__ = [
    "LabelRule",
    "LabelledImages",
    "Split",
    "check_cases",
    "find_images",
    "images_to_score",
    "open_cohort",
    "open_labelled_images",
    "read_cases",
    "read_dicom_folder",
    "read_lidc",
    "read_nih",
    "split_cases",
    "split_labelled_images",
    "write_cases",
]
