"""Who may talk to whom: AE titles, addresses, TLS, and which objects are taken in which encoding."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

from pydicom.uid import (
    JPEG2000,
    UID,
    BasicTextSRStorage,
    ChestCADSRStorage,
    ColorSoftcopyPresentationStateStorage,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    ComputedRadiographyImageStorage,
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    EncapsulatedPDFStorage,
    EnhancedCTImageStorage,
    EnhancedSRStorage,
    EnhancedXRayRadiationDoseSRStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ExtensibleSRStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    KeyObjectSelectionDocumentStorage,
    LegacyConvertedEnhancedCTImageStorage,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    MultiFrameSingleBitSecondaryCaptureImageStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    RawDataStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
    XRayRadiationDoseSRStorage,
)

from srcmatters.errors import InputError

#: What is taken and asked for; radiographs that were scanned or converted are Secondary Captures.
STORAGE_CLASSES: tuple[UID, ...] = (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    CTImageStorage,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    SecondaryCaptureImageStorage,
)
#: What studies of those hold besides: taken so that no routing of a whole study fails, and dropped. Images of
#: other modalities are not among them: a sender must hear that nobody here reads those.
COMPANION_CLASSES: tuple[UID, ...] = (
    BasicTextSRStorage,
    EnhancedSRStorage,
    ComprehensiveSRStorage,
    Comprehensive3DSRStorage,
    ExtensibleSRStorage,
    ChestCADSRStorage,
    XRayRadiationDoseSRStorage,
    EnhancedXRayRadiationDoseSRStorage,
    KeyObjectSelectionDocumentStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    ColorSoftcopyPresentationStateStorage,
    SegmentationStorage,
    EncapsulatedPDFStorage,
    RawDataStorage,
    MultiFrameSingleBitSecondaryCaptureImageStorage,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
)
#: Encodings that can be decoded here. Deflated is none: a small one may inflate without bounds.
TRANSFER_SYNTAXES: tuple[UID, ...] = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    JPEG2000Lossless,
    JPEG2000,
    RLELossless,
)
HANDSHAKE_SECONDS = 10.0


@dataclass(frozen=True)
class Tls:
    """Files of a TLS node, all PEM.

    Args:
        certificate: ours, followed by those between it and the authority, if any.
        key: its private key, without a passphrase.
        authority: certificates of those who may sign the other side's; with it every sender must show one.
    """

    certificate: Path
    key: Path
    authority: Path | None = None


@dataclass(frozen=True)
class Destination:
    """Where results are sent: AE title, host and port."""

    ae_title: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.ae_title}@{host}:{self.port}"


def check_ae_title(title: str, field: str) -> str:
    """An AE title without surrounding blanks.

    Args:
        title: 1 to 16 printable ASCII characters but backslash (DICOM PS3.5, value representation AE).
        field: what the error message calls it.

    Raises:
        InputError: it is none.
    """
    stripped = title.strip(" ")
    wrong = sorted({char for char in stripped if not " " <= char <= "~" or char == "\\"})
    if wrong:
        raise InputError(
            f"{field}: {title!r} holds {wrong[0]!r}, expected printable ASCII characters but backslash"
        )
    if not 1 <= len(stripped) <= 16:
        raise InputError(f"{field}: {title!r} has {len(stripped)} characters, expected 1 to 16")
    return stripped


def check_port(port: int, field: str, lowest: int = 1) -> int:
    """A TCP port.

    Raises:
        InputError: outside ``lowest`` .. 65535.
    """
    if not lowest <= port <= 65535:
        raise InputError(f"{field}: port {port}, expected {lowest} to 65535")
    return port


def parse_destination(text: str, field: str) -> Destination:
    """Read ``AET@host:port``; an IPv6 address stands in brackets.

    Raises:
        InputError: it is none.
    """
    title, at, address = text.rpartition("@")
    host, colon, port = address.rpartition(":")
    if not (at and colon and host and port.isascii() and port.isdigit()):
        raise InputError(f"{field}: {text!r}, expected AET@host:port, as in ARCHIVE@127.0.0.1:4242")
    host = host.removeprefix("[").removesuffix("]")
    return Destination(check_ae_title(title, field), host, check_port(int(port), field))


def parse_network(text: str, field: str) -> IPv4Network | IPv6Network:
    """Read an IP address or a network in CIDR notation.

    Raises:
        InputError: it is none.
    """
    try:
        return ip_network(text.strip())
    except ValueError as error:
        raise InputError(f"{field}: {text!r}, expected an address or a network, as in 10.1.2.0/24") from error


class _PatientContext(ssl.SSLContext):
    """Leaves the handshake to the thread of the association.

    pynetdicom wraps a socket in the thread that accepts connections: one peer that says nothing would keep
    out all others.
    """

    def wrap_socket(self, sock: Any, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        sock.settimeout(HANDSHAKE_SECONDS)
        kwargs["do_handshake_on_connect"] = False
        return super().wrap_socket(sock, *args, **kwargs)


def receiving_context(tls: Tls) -> ssl.SSLContext:
    """TLS 1.2 or newer for a receiver; with an authority, only senders that it has signed are let in.

    Raises:
        InputError: a file is missing, not readable or not what it should be.
    """
    context = _PatientContext(ssl.PROTOCOL_TLS_SERVER)
    _load(context, tls)
    if tls.authority is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def sending_context(tls: Tls) -> ssl.SSLContext:
    """TLS 1.2 or newer for a sender, which shows our certificate and checks the other side's and its name.

    Raises:
        InputError: a file is missing, not readable or not what it should be.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _load(context, tls)
    if tls.authority is None:
        context.load_default_certs()
    return context


def _load(context: ssl.SSLContext, tls: Tls) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    files = {"--tls-certificate": tls.certificate, "--tls-key": tls.key, "--tls-ca": tls.authority}
    for option, path in files.items():
        if path is not None:
            _check_readable(path, option)
    try:
        # A password that is given, if empty, keeps OpenSSL from asking for one on the terminal.
        context.load_cert_chain(tls.certificate, tls.key, password="")
    except (ssl.SSLError, ValueError) as error:
        raise InputError(
            f"--tls-certificate {tls.certificate}, --tls-key {tls.key}: not a PEM certificate and its private"
            f" key without passphrase ({getattr(error, 'reason', None) or error})"
        ) from error
    if tls.authority is None:
        return
    try:
        context.load_verify_locations(tls.authority)
    except ssl.SSLError as error:
        raise InputError(f"--tls-ca {tls.authority}: not PEM certificates ({error.reason})") from error


def _check_readable(path: Path, option: str) -> None:
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise InputError(f"{option} {path}: cannot be read ({error.strerror})") from error
