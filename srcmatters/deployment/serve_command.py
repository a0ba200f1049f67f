"""`srcmatters serve`: a bundle behind a DICOM port."""

from __future__ import annotations

import logging
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from srcmatters.errors import InputError

if TYPE_CHECKING:
    from srcmatters.deployment.dicom_association import Tls
    from srcmatters.deployment.receiver.server import ServerSettings
    from srcmatters.deployment.receiver.study_reading import StudyReader

_LOG = logging.getLogger(__name__)


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--sc", is_flag=True, help="Send where the network looked as DICOM images, too.")
@click.option(
    "--reader",
    metavar="MODULE:FUNCTION",
    help="Makes a StudyReader of BUNDLE [default: one that answers with Structured Reports].",
)
@click.option("--aet", default="SRCMATTERS", show_default=True, help="Our AE title.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0: all.")
@click.option("--port", default=11112, show_default=True, help="0: any free one, which is logged.")
@click.option("--send-to", required=True, metavar="AET@HOST:PORT", help="Where results are sent.")
@click.option(
    "--spool",
    type=click.Path(path_type=Path),
    default=Path("spool"),
    show_default=True,
    help="Folder for studies and results on their way; holds what the senders sent, names included.",
)
@click.option("--calling", multiple=True, metavar="AET", help="Who may send; may be repeated [default: all].")
@click.option(
    "--allow",
    "allowed",
    multiple=True,
    metavar="ADDRESS",
    help="Address or network (10.1.2.0/24) that may connect; may be repeated [default: all].",
)
@click.option("--max-associations", type=click.IntRange(1), default=10, show_default=True)
@click.option("--max-queued", type=click.IntRange(1), default=64, show_default=True, help="Waiting studies.")
@click.option(
    "--settle-seconds",
    type=click.FloatRange(0),
    default=5.0,
    show_default=True,
    help="A study of which nothing came for so long is complete.",
)
@click.option(
    "--release-completes/--always-settle",
    default=True,
    show_default=True,
    help="So is one whose association is released; not with senders that open one for every instance.",
)
@click.option(
    "--release-settle-seconds",
    type=click.FloatRange(0),
    default=1.0,
    show_default=True,
    help="After a release, wait so long for another association with more of the study.",
)
@click.option("--tls-certificate", type=click.Path(path_type=Path), help="Ours, PEM; turns TLS on.")
@click.option("--tls-key", type=click.Path(path_type=Path), help="Its private key, PEM, no passphrase.")
@click.option("--tls-ca", type=click.Path(path_type=Path), help="Senders must show a certificate of these.")
@click.option("--send-tls", is_flag=True, help="Talk TLS to the destination, too, with the same files.")
@click.option("--keep-sent", is_flag=True, help="Keep acknowledged results in the spool's done folder.")
@click.option(
    "--keep-refused",
    is_flag=True,
    help="Keep the images of refused studies, too, and not only the reason, in the spool's refused folder.",
)
@click.option(
    "--which", metavar="UID", help="Print what spool and log call the study of this UID, and serve nothing."
)
def serve(bundle: Path, reader: str | None, sc: bool, which: str | None, **options: Any) -> None:
    """Receive studies by C-STORE, read them with BUNDLE and send the results back by C-STORE."""
    if which is not None:
        _print_study(options["spool"], which)
        return
    from srcmatters.deployment.receiver.server import Server, serve_until_stopped
    from srcmatters.deployment.redaction import log_own_lines_only

    settings = _settings(**options)
    made = _make_reader(reader, bundle, sc)
    log_own_lines_only()
    for line in getattr(made, "about", ()):
        _LOG.info("%s", line)
    serve_until_stopped(Server(made, settings), getattr(made, "close", lambda: None))


def _settings(
    *,
    aet: str,
    host: str,
    port: int,
    calling: tuple[str, ...],
    allowed: tuple[str, ...],
    max_associations: int,
    send_to: str,
    tls_certificate: Path | None,
    tls_key: Path | None,
    tls_ca: Path | None,
    send_tls: bool,
    **others: Any,
) -> ServerSettings:
    """What the options say, checked; ``others`` are called as the settings are."""
    from srcmatters.deployment.dicom_association import (
        check_ae_title,
        check_port,
        parse_destination,
        parse_network,
    )
    from srcmatters.deployment.receiver.server import ServerSettings
    from srcmatters.deployment.receiver.store_scp import Address

    ours, port = check_ae_title(aet, "--aet"), check_port(port, "--port", lowest=0)
    callers = tuple(check_ae_title(title, "--calling") for title in calling)
    networks = tuple(parse_network(text, "--allow") for text in allowed)
    return ServerSettings(
        address=Address(ours, host, port, callers, networks, max_associations),
        destination=parse_destination(send_to, "--send-to"),
        tls=_tls(tls_certificate, tls_key, tls_ca, send_tls),
        send_tls=send_tls,
        **others,
    )


def _tls(certificate: Path | None, key: Path | None, authority: Path | None, sending: bool) -> Tls | None:
    from srcmatters.deployment.dicom_association import Tls

    if certificate is not None and key is not None:
        return Tls(certificate, key, authority)
    if certificate is not None or key is not None or authority is not None or sending:
        raise InputError("--tls-certificate, --tls-key: expected both of them with any other option of TLS")
    return None


def _make_reader(name: str | None, bundle: Path, captures: bool) -> StudyReader:
    if name is None:
        from srcmatters.deployment.receiver.bundle_reader import BundleReader

        return BundleReader(bundle, captures)
    if captures:
        raise InputError("--sc, --reader: expected one of them, another reader decides what it answers with")
    try:
        make = pkgutil.resolve_name(name)
    except (ValueError, ImportError, AttributeError) as error:
        raise InputError(f"--reader: {name!r} is not MODULE:FUNCTION ({error})") from error
    return make(bundle)


def _print_study(spool: Path, uid: str) -> None:
    """Print the name of a study, and where something of it lies, with the reason if it was refused."""
    from srcmatters.deployment.receiver.spool import REASON, find_study

    name, places = find_study(spool, uid.strip())
    click.echo(name)
    for place in places:
        reason = place / REASON
        detail = f": {reason.read_text().strip()}" if reason.is_file() else ""
        click.echo(f"{place.relative_to(spool)}{detail}")
