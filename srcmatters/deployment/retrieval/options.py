"""Options of the command line that say which archive, how to reach it, and what to ask for."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

import click

from srcmatters.errors import InputError

if TYPE_CHECKING:
    from srcmatters.deployment.dicom_association import Tls
    from srcmatters.deployment.retrieval.queries import ImageArchive

TOKEN = "SRCMATTERS_DICOMWEB_TOKEN"
_EXPECTED = "https://HOST/PATH (DICOMweb) or dicom://CALLED@HOST:PORT"
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
    click.option("--calling-aet", default="SRCMATTERS", show_default=True, help="Our AE title for dicom://."),
    click.option(
        "--retrieve",
        type=click.Choice(["get", "move"]),
        default="get",
        show_default=True,
        help="By C-GET or, of dicom:// archives that offer none, by C-MOVE to us.",
    ),
    click.option(
        "--move-port",
        type=int,
        default=11113,
        show_default=True,
        help="Where C-MOVE finds us by our AE title.",
    ),
    click.option("--tls-certificate", type=click.Path(path_type=Path), help="Ours, PEM; dicom:// talks TLS."),
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
    calling_aet: str
    retrieve: str
    move_port: int
    tls_certificate: Path | None
    tls_key: Path | None
    tls_ca: Path | None


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
        raise InputError(
            "expected PATHs (files, folders, zip archives, DICOMDIRs) or --from URL, got neither"
        )
    if options.server is None and (options.studies or options.queries):
        raise InputError("--study, --query: expected --from URL with them")


def open_archive(options: ArchiveOptions) -> ImageArchive:
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
        return _dimse(text, options)
    if url.scheme not in ("http", "https") or not url.hostname or url.query or url.fragment or port == 0:
        raise InputError(f"--from: {_without_login(url)!r}, expected {_EXPECTED}")
    return _dicomweb(text, url, options)


def _without_login(url: SplitResult) -> str:
    return url._replace(netloc=url.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _dimse(text: str, options: ArchiveOptions) -> ImageArchive:
    from srcmatters.deployment.dicom_association import (
        check_ae_title,
        check_port,
        parse_destination,
        receiving_context,
        sending_context,
    )
    from srcmatters.deployment.retrieval.dimse import DimseArchive
    from srcmatters.deployment.retrieval.storing import MoveReceiver

    peer = parse_destination(text.removeprefix("dicom://").rstrip("/"), "--from dicom://")
    ours = check_ae_title(options.calling_aet, "--calling-aet")
    tls = _tls(options)
    move = None
    if options.retrieve == "move":
        port = check_port(options.move_port, "--move-port")
        move = MoveReceiver(ours, (peer.host, peer.port), port, receiving_context(tls) if tls else None)
    return DimseArchive(peer, ours, options.timeout, sending_context(tls) if tls else None, move)


def _tls(options: ArchiveOptions) -> Tls | None:
    from srcmatters.deployment.dicom_association import Tls

    certificate, key = options.tls_certificate, options.tls_key
    if certificate is not None and key is not None:
        return Tls(certificate, key, options.tls_ca)
    if certificate is not None or key is not None or options.tls_ca is not None:
        raise InputError("--tls-certificate, --tls-key: expected both of them with any other option of TLS")
    return None


def _dicomweb(text: str, url: SplitResult, options: ArchiveOptions) -> ImageArchive:
    from srcmatters.deployment.dicom_association import sending_context
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
        sending_context(_tls(options))  # type: ignore[arg-type]  # it says which file is wrong
    return DicomWebArchive(text, options.timeout, token, options.tls_ca, ours)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
