"""What is asked of an image archive, and what it must be able to answer, whichever protocol it speaks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from srcmatters.deployment.retrieval.study_files import StudyFiles
from srcmatters.errors import InputError, did_you_mean

#: What every archive must be able to match (DICOM PS3.18, table 10.6.1-5). There are more keys, but an
#: archive that does not know one ignores it, and every study matches.
STUDY_KEYS = (
    "AccessionNumber",
    "ModalitiesInStudy",
    "PatientID",
    "PatientName",
    "ReferringPhysicianName",
    "StudyDate",
    "StudyID",
    "StudyTime",
)
_UID = re.compile(r"(?=.{1,64}$)[0-9]+(\.[0-9]+)*")


@dataclass(frozen=True)
class Wanted:
    """The studies that are asked for: all conditions hold for each of them.

    Args:
        studies: Study Instance UIDs; empty: any.
        keys: DICOM keyword of :data:`STUDY_KEYS` -> value to match.
        most: studies; if more match, none is fetched.
    """

    studies: tuple[str, ...] = ()
    keys: Mapping[str, str] = field(default_factory=dict)
    most: int = 100


@dataclass(frozen=True)
class ArchivedSeries:
    """A series as an archive describes it.

    Args:
        uid: Series Instance UID.
        modality: empty where the archive does not say.
        instances: how many it holds; None where the archive does not say.
    """

    uid: str
    modality: str
    instances: int | None


class ImageArchive(Protocol):
    """A server that can be asked for studies. Whatever goes wrong is an :class:`InputError` in one line,
    which quotes nothing of what the server has said of a patient."""

    @property
    def name(self) -> str:
        """Address, as a person wrote it."""
        ...

    def find_studies(self, keys: Mapping[str, str], most: int) -> list[str]:
        """Study Instance UIDs that match; when they are more than ``most``, at least one more than that."""
        ...

    def find_series(self, study: str) -> list[ArchivedSeries]:
        """The series of a study."""
        ...

    def count_instances(self, study: str, series: str) -> int:
        """How many instances a series holds."""
        ...

    def fetch(self, study: str, series: str, files: StudyFiles) -> None:
        """Get all instances of a series.

        Raises:
            InputError: also when the server says that some could not be sent.
        """
        ...


def is_uid(text: str) -> bool:
    """Whether a text is a UID, so that it can be part of a path or of an address."""
    return _UID.fullmatch(text) is not None


def parse_wanted(studies: Sequence[str], queries: Sequence[str], most: int) -> Wanted:
    """Read the options ``--study`` and ``--query``.

    Args:
        studies: UIDs.
        queries: ``KEYWORD=VALUE``; wildcards and ranges are the archive's to understand.
        most: studies.

    Raises:
        InputError: neither is given; no UID; no, an unknown or a repeated keyword; an empty value, which
            would match everything.
    """
    if not studies and not queries:
        raise InputError("--from: expected --study UID or --query KEYWORD=VALUE with it, got neither")
    for study in studies:
        if not is_uid(study):
            raise InputError(f"--study: {study!r} is no UID, expected numbers with dots between them")
    keys: dict[str, str] = {}
    for query in queries:
        keyword, equals, value = (part.strip() for part in query.partition("="))
        if not equals or not value or not value.isprintable():
            raise InputError(f"--query: {query!r}, expected KEYWORD=VALUE, as in StudyDate=20260101-20260131")
        if keyword == "StudyInstanceUID":
            raise InputError("--query: StudyInstanceUID, expected it as --study UID")
        if keyword not in STUDY_KEYS:
            raise InputError(f"--query: keyword {keyword!r} is unknown{did_you_mean(keyword, STUDY_KEYS)}")
        if keyword in keys:
            raise InputError(f"--query: {keyword} is given twice, expected it once")
        keys[keyword] = value
    return Wanted(tuple(dict.fromkeys(studies)), keys, most)
