"""LIDC-IDRI: the DICOM tree from TCIA and its radiologists' annotations as a case table."""

from srcmatters.cohorts.lidc.annotations import find_annotations, read_annotations
from srcmatters.cohorts.lidc.cohort import LabelRule, LidcCohort, read_lidc
from srcmatters.cohorts.lidc.nodules import Nodule, cluster_nodules

__all__ = [
    "LabelRule",
    "LidcCohort",
    "Nodule",
    "cluster_nodules",
    "find_annotations",
    "read_annotations",
    "read_lidc",
]
