"""What logs and tables may not hold: names, identifiers and dates of patients, UIDs that lead to them."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import pydicom
from pydicom.datadict import tag_for_keyword
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag

from srcmatters.pseudonyms import installation_salt, pseudonym

REMOVED = "[removed]"
_KEYWORDS = (
    "AccessionNumber",
    "InstitutionName",
    "ReferringPhysicianName",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientAddress",
    "StudyID",
)
_TAGS = [tag for keyword in _KEYWORDS if (tag := tag_for_keyword(keyword)) is not None]
_LAST = max(_TAGS)
_UID = re.compile(r"\d+(?:\.\d+){4,}")


def hashed(uid: str) -> str:
    """A UID as tables and logs of `predict` may hold it; empty if there is none.

    It is the same for the same UID in every command of this installation (whose salt is in
    ``$SRCMATTERS_CACHE``), and cannot be checked against a guessed UID elsewhere.

    Raises:
        InputError: there is no salt, and none can be written.
    """
    return pseudonym(uid, _salt()) if uid else ""


@lru_cache(maxsize=1)
def _salt() -> bytes:
    return installation_salt()


def without_identifiers(text: str, files: Sequence[Path]) -> str:
    """One line that is safe to log: ``text`` without what identifies the patients of ``files``.

    Args:
        text: an error message, say; white space of any kind becomes one blank.
        files: DICOM files; those that cannot be read are passed over.
    """
    text = _UID.sub(REMOVED, " ".join(text.split()))
    words = {word for path in files for word in _identifying_words(path)}
    for word in sorted(words, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", REMOVED, text, flags=re.IGNORECASE)
    return text


def _identifying_words(path: Path) -> Iterable[str]:
    """Values of the identifying elements, and the parts of names."""
    try:
        with path.open("rb") as file:
            header = read_partial(file, stop_when=_beyond, force=True, specific_tags=list(_TAGS))
        values = [str(header[tag].value or "") for tag in _TAGS if tag in header]
    except Exception:  # a file that was received may be broken in any way
        return []
    parts = [part for value in values for part in re.split(r"[\^=\\\s]+", value)]
    return [word.strip() for word in (*values, *parts) if len(word.strip()) > 1]


def _beyond(tag: BaseTag, representation: str | None, length: int) -> bool:  # noqa: ARG001
    return tag > _LAST


def silence_libraries() -> None:
    """Keep the logs of the DICOM libraries quiet in this process: they quote what they read and write."""
    for name in ("pynetdicom", "pydicom", "highdicom", "dicomweb_client", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE


def log_own_lines_only() -> None:
    """Print this room's log on standard error and nobody else's: what libraries write is not in our hands."""
    silence_libraries()
    logging.captureWarnings(True)  # pydicom's quote what they warn of
    logging.getLogger().handlers = [logging.NullHandler()]
    ours = logging.getLogger("srcmatters.deployment")
    printed = logging.StreamHandler()
    printed.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    ours.handlers, ours.propagate = [printed], False
    ours.setLevel(logging.INFO)
    threading.excepthook = _log_kind_of_error


def _log_kind_of_error(arguments: threading.ExceptHookArgs) -> None:
    """A thread that ends with an error says which, but not the message, which may quote a dataset."""
    logging.getLogger(__name__).error("a thread ended: %s", arguments.exc_type.__name__)
