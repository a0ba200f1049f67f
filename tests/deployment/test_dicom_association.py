"""Names, addresses and certificates are checked before anything listens."""

import ssl
from pathlib import Path

import pytest

from srcmatters.deployment.dicom_association import (
    STORAGE_CLASSES,
    TRANSFER_SYNTAXES,
    Destination,
    Tls,
    check_ae_title,
    parse_destination,
    receiving_context,
)
from srcmatters.errors import InputError


def test_what_is_offered_are_kinds_of_image_and_encodings_of_them() -> None:
    assert all(uid.name.endswith("Image Storage") or "Image Storage -" in uid.name for uid in STORAGE_CLASSES)
    assert all(uid.is_transfer_syntax for uid in TRANSFER_SYNTAXES)


@pytest.mark.parametrize("title", ["A", "SIXTEEN_LETTERS_", " PADDED ", "with blank"])
def test_ae_titles(title: str) -> None:
    assert check_ae_title(title, "--aet") == title.strip()


@pytest.mark.parametrize(
    ("title", "message"),
    [
        ("", "0 characters, expected 1 to 16"),
        ("   ", "0 characters"),
        ("SEVENTEEN_LETTERS", "17 characters"),
        ("BACK\\SLASH", "holds '\\\\\\\\'"),
        ("NEW\nLINE", "holds '\\\\n'"),
        ("GRÜN", "holds 'Ü'"),
    ],
)
def test_what_is_no_ae_title_is_refused_in_one_line(title: str, message: str) -> None:
    with pytest.raises(InputError, match=f"--aet: .*{message}") as caught:
        check_ae_title(title, "--aet")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "destination"),
    [
        ("ARCHIVE@127.0.0.1:4242", Destination("ARCHIVE", "127.0.0.1", 4242)),
        ("A@B@pacs.example:104", Destination("A@B", "pacs.example", 104)),
        ("ARCHIVE@[::1]:104", Destination("ARCHIVE", "::1", 104)),
    ],
)
def test_destinations(text: str, destination: Destination) -> None:
    assert parse_destination(text, "--send-to") == destination
    assert str(destination) == text


@pytest.mark.parametrize(
    "text", ["", "ARCHIVE", "ARCHIVE@host", "host:104", "ARCHIVE@:104", "ARCHIVE@host:x"]
)
def test_what_is_no_destination_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"--send-to: .*expected AET@host:port"):
        parse_destination(text, "--send-to")


def test_a_port_has_16_bits() -> None:
    with pytest.raises(InputError, match=r"--send-to: port 65536, expected 1 to 65535"):
        parse_destination("ARCHIVE@host:65536", "--send-to")


def test_tls_files_that_cannot_be_used_are_named(tmp_path: Path, certificates: Tls) -> None:
    missing, text = tmp_path / "missing.pem", tmp_path / "text.pem"
    text.write_text("no certificate")
    with pytest.raises(InputError, match=r"--tls-certificate .*missing.pem: cannot be read \(No such file"):
        receiving_context(Tls(missing, certificates.key))
    with pytest.raises(
        InputError, match=r"--tls-certificate .*, --tls-key .*text.pem: not a PEM certificate"
    ):
        receiving_context(Tls(certificates.certificate, text))
    with pytest.raises(InputError, match=r"--tls-ca .*text.pem: not PEM certificates"):
        receiving_context(Tls(certificates.certificate, certificates.key, text))


def test_old_tls_is_not_spoken(certificates: Tls) -> None:
    assert receiving_context(certificates).minimum_version >= ssl.TLSVersion.TLSv1_2
