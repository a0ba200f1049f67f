"""Options of the command line that say which archive, how to reach it, and what to ask for."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

import click

from srcmatters.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from srcmatters.deployment.retrieval.dicomweb import DicomWebArchive

TOKEN = "SRCMATTERS_DICOMWEB_TOKEN"
_EXPECTED = "https://HOST/PATH of a DICOMweb service"
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
_OPTIONS = (
    click.option("--from", "server", metavar="URL", help=f"Archive to read from: {_EXPECTED}."),
    click.option("--study", "studies", multiple=True, metavar="UID", help="Of --from; may be repeated."),
    click.option(
        "--query",
        "queries",
        multiple=True,
        metavar="KEYWORD=VALUE",
        help="Studies of --from, as in StudyDate=20260101-20260131; may be repeated: all must hold.",
    ),
    click.option(
        "--max-studies",
        type=click.IntRange(1),
        default=100,
        show_default=True,
        help="If more match --query, none is fetched.",
    ),
    click.option(
        "--timeout",
        type=click.FloatRange(1),
        default=600.0,
        show_default=True,
        help="Seconds in which a study must have come from --from.",
    ),
    click.option(
        "--tls-certificate", type=click.Path(path_type=Path), help="Ours, PEM, if the archive asks for one."
    ),
    click.option("--tls-key", type=click.Path(path_type=Path), help="Its private key, PEM, no passphrase."),
    click.option("--tls-ca", type=click.Path(path_type=Path), help="Who may sign the archive's certificate."),
)


@dataclass(frozen=True)
class ArchiveOptions:
    """What was said on the command line, not yet checked; the names are those of the options."""

    server: str | None
    studies: tuple[str, ...]
    queries: tuple[str, ...]
    max_studies: int
    timeout: float
    tls_certificate: Path | None
    tls_key: Path | None
    tls_ca: Path | None


@dataclass(frozen=True)
class StudySelection:
    """Studies to fetch; all conditions hold for each of them.

    Args:
        studies: Study Instance UIDs; empty: any.
        keys: DICOM keyword of :data:`STUDY_KEYS` -> value to match.
        limit: studies; if more match, none is fetched.
    """

    studies: tuple[str, ...] = ()
    keys: Mapping[str, str] = field(default_factory=dict)
    limit: int = 100


def archive_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def check_source(paths: tuple[Path, ...], options: ArchiveOptions) -> None:
    """Refuse a command that reads from nowhere or from two places.

    Raises:
        InputError: PATHs and ``--from``, neither, or conditions without ``--from``.
    """
    if paths and options.server is not None:
        raise InputError(f"{paths[0]}, --from: expected either PATHs or --from, got both")
    if not paths and options.server is None:
        raise InputError("expected PATHs (files, folders, a zip archive) or --from URL, got neither")
    if options.server is None and (options.studies or options.queries):
        raise InputError("--study, --query: expected --from URL with them")


def open_archive(options: ArchiveOptions) -> DicomWebArchive:
    """The archive that ``--from`` names; nothing is asked yet.

    Raises:
        InputError: no such address; credentials in it, or on their way without encryption; files of TLS that
            are not what they should be.
    """
    text = options.server or ""
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError as error:
        raise InputError(f"--from: not an address, expected {_EXPECTED}") from error
    if url.scheme == "dicom":
        raise InputError(
            f"--from: dicom:// is not asked, expected {_EXPECTED}; an archive without DICOMweb sends"
            " studies to `srcmatters serve`"
        )
    if url.scheme not in ("http", "https") or not url.hostname or url.query or url.fragment or port == 0:
        raise InputError(f"--from: {_without_login(url)!r}, expected {_EXPECTED}")
    return _dicomweb(text, url, options)


def _without_login(url: SplitResult) -> str:
    return url._replace(netloc=url.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _dicomweb(text: str, url: SplitResult, options: ArchiveOptions) -> DicomWebArchive:
    from srcmatters.deployment.dicom_association import Tls, sending_context
    from srcmatters.deployment.retrieval.dicomweb import DicomWebArchive, check_authority, has_login

    if "@" in url.netloc:
        raise InputError(
            "--from: credentials in an address end up in histories and logs, expected them in ~/.netrc or"
            f" {TOKEN}"
        )
    token = os.environ.get(TOKEN, "").strip()
    if not token.isascii() or any(char.isspace() or not char.isprintable() for char in token):
        raise InputError(f"{TOKEN}: holds blanks or characters that no token has")
    if url.scheme == "http" and not _is_loopback(url.hostname or "") and (token or has_login(text)):
        where = TOKEN if token else "~/.netrc"
        raise InputError(f"--from: the login of {where} would travel unencrypted, expected https://")
    certificate, key = options.tls_certificate, options.tls_key
    if (certificate is None) != (key is None):
        raise InputError("--tls-certificate, --tls-key: expected both of them")
    if options.tls_ca is not None:
        check_authority(options.tls_ca)
    ours = None
    if certificate is not None and key is not None:
        ours = (certificate, key)
        sending_context(Tls(certificate, key, options.tls_ca))  # it says which file is wrong
    return DicomWebArchive(text, options.timeout, token, options.tls_ca, ours)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_uid(text: str) -> bool:
    """Whether a text is a UID, so that it can be part of a path or of an address."""
    return _UID.fullmatch(text) is not None


def parse_selection(studies: Sequence[str], queries: Sequence[str], limit: int) -> StudySelection:
    """Read the options ``--study`` and ``--query``.

    Args:
        studies: UIDs.
        queries: ``KEYWORD=VALUE``; the archive interprets wildcards and ranges.
        limit: number of studies that may match.

    Raises:
        InputError: neither option is used; no UID; no, an unknown or a repeated keyword; an empty value,
            which would match everything.
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
    return StudySelection(tuple(dict.fromkeys(studies)), keys, limit)
