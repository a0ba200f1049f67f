"""A server with a reader that counts, an archive, and certificates."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from dicom_nodes import Archive, CountingReader, Start
from orthanc_node import DICOMWEB, Orthanc, orthanc_program

from srcmatters.deployment.dicom_association import Destination, Tls
from srcmatters.deployment.receiver.server import Server, ServerSettings
from srcmatters.deployment.receiver.store_scp import Address


@pytest.fixture
def archive() -> Iterator[Archive]:
    """Where results arrive."""
    node = Archive()
    yield node
    node.close()


@pytest.fixture
def start(tmp_path: Path, archive: Archive) -> Iterator[Start]:
    """Start a server on a free port: ``start(reader, address=..., any setting=...)`` -> server, port."""
    running: list[Server] = []

    def start_server(
        reader: Any = None, address: Address | None = None, **settings: Any
    ) -> tuple[Server, int]:
        quick = {"settle_seconds": 0.3, "release_settle_seconds": 0.0}
        settings = {"spool": tmp_path / "spool"} | quick | settings
        destination = Destination("ARCHIVE", "127.0.0.1", archive.port)
        server = Server(
            reader or CountingReader(),
            ServerSettings(address or Address("SRCMATTERS", port=0), destination, **settings),
        )
        port = server.start()
        running.append(server)
        return server, port

    yield start_server
    for server in running:
        if server.spool.is_open:
            assert server.stop(), "a thread did not end"


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    """A running Orthanc."""
    program = orthanc_program()
    if program is None:
        pytest.skip(
            "no Orthanc on PATH: apt-get install orthanc; the way through a real archive was not tried"
        )
    (tmp_path / "orthanc").mkdir()
    running = Orthanc(program, tmp_path / "orthanc")
    yield running
    running.close()


@pytest.fixture(scope="session")
def queried_orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """A running Orthanc that anybody may ask by DICOMweb; tests share what is in it."""
    program = orthanc_program()
    if program is None or not DICOMWEB.exists():
        pytest.skip(
            "no Orthanc with DICOMweb: apt-get install orthanc orthanc-dicomweb; predictions from a real"
            " archive were not tried"
        )
    folder = tmp_path_factory.mktemp("orthanc")
    running = Orthanc(program, folder, [DICOMWEB])
    yield running
    running.close()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    """A certificate for localhost, its key, and the authority that signed it."""
    folder = tmp_path_factory.mktemp("certificates")
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = _sign("Test authority", authority_key, None, authority_key)
    node = _sign("localhost", key, authority, authority_key)
    paths = [folder / name for name in ("node.pem", "node.key", "authority.pem")]
    paths[0].write_bytes(node.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    paths[2].write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    return Tls(*paths)


def _sign(name: str, key: Any, issuer: x509.Certificate | None, issuer_key: Any) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
