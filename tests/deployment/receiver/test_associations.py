"""Who may open an association, and how one ends."""

import socket
import ssl
import subprocess
import time
from pathlib import Path

import pytest
from dicom_nodes import (
    Archive,
    Start,
    association,
    counting_report,
    counts,
    radiograph,
    send,
)
from pydicom import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from srcmatters.deployment.dicom_association import HANDSHAKE_SECONDS, Tls
from srcmatters.deployment.receiver.store_scp import Address
from srcmatters.errors import InputError


def test_echo_is_answered(start: Start) -> None:
    _, port = start()
    with association(port) as opened:
        assert opened.send_c_echo().Status == 0x0000


def test_reports_are_not_taken_so_that_none_goes_round_in_circles(start: Start) -> None:
    _, port = start()
    with association(port) as opened, pytest.raises(ValueError, match="presentation context"):
        opened.send_c_store(counting_report([radiograph()]))


def _captured(modality: str) -> Dataset:
    image = radiograph()
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    image.Modality = modality
    return image


def test_captures_of_radiographs_are_taken_and_our_own_images_are_not(
    start: Start, archive: Archive, caplog: pytest.LogCaptureFixture
) -> None:
    server, port = start()
    film, saliency, unnamed = _captured("CR"), _captured("OT"), _captured("CR")
    del unnamed.Modality
    assert send(port, saliency, film, unnamed) == [0xC000, 0x0000, 0xC000]
    assert set(counts(archive.wait_for(1))) == {film.StudyInstanceUID}
    assert "a Secondary Capture, expected one of Modality CR, DX, RG" in caplog.text
    name = server.spool.hashed(saliency.StudyInstanceUID)
    assert not [*server.spool.folder.glob(f"*/{name}*")]


@pytest.mark.parametrize(
    ("calling", "called", "welcome"),
    [("SENDER", "SRCMATTERS", True), ("STRANGER", "SRCMATTERS", False), ("SENDER", "OTHER", False)],
)
def test_only_who_is_listed_and_means_us_may_send(
    start: Start, calling: str, called: str, welcome: bool
) -> None:
    _, port = start(address=Address("SRCMATTERS", port=0, calling=("SENDER",)))
    with association(port, calling, called) as opened:
        assert opened.is_established == welcome
        assert opened.is_rejected != welcome


def test_one_association_too_many_is_rejected(start: Start) -> None:
    _, port = start(address=Address("SRCMATTERS", port=0, max_associations=1))
    with association(port) as first, association(port) as second:
        assert first.is_established
        assert second.is_rejected


def test_tls_needs_a_certificate_of_the_authority(start: Start, archive: Archive, certificates: Tls) -> None:
    _, port = start(tls=certificates)
    ours = ssl.create_default_context(cafile=str(certificates.authority))
    with association(port, tls=ours) as nameless:
        assert not nameless.is_established or nameless.send_c_echo().get("Status") is None
    with association(port) as plain:
        assert not plain.is_established
    ours.load_cert_chain(certificates.certificate, certificates.key)
    with association(port, tls=ours) as welcome:
        assert welcome.send_c_store(radiograph()).Status == 0x0000
    archive.wait_for(1)


def test_a_peer_that_says_nothing_keeps_nobody_out(start: Start, certificates: Tls) -> None:
    _, port = start(tls=certificates)
    ours = ssl.create_default_context(cafile=str(certificates.authority))
    ours.load_cert_chain(certificates.certificate, certificates.key)
    with socket.create_connection(("127.0.0.1", port)):
        started = time.monotonic()
        with association(port, tls=ours) as opened:
            assert opened.is_established
        assert time.monotonic() - started < HANDSHAKE_SECONDS, "the silent peer is not waited for"


def test_a_port_in_use_is_named_and_the_spool_is_let_go(start: Start, tmp_path: Path) -> None:
    _, port = start()
    for _ in range(2):
        with pytest.raises(InputError, match=rf"127.0.0.1, port {port} \(Address already in use\)"):
            start(address=Address("SRCMATTERS", port=port), spool=tmp_path / "other")


def test_stop_is_quick_although_a_peer_stopped_in_the_middle_of_a_message(start: Start) -> None:
    server, port = start()
    with socket.create_connection(("127.0.0.1", port)) as peer:
        peer.sendall(b"\x01\x00\x00\x00\x10\x00half")
        time.sleep(0.1)
        started = time.monotonic()
        assert server.stop()
        assert time.monotonic() - started < server.settings.address.idle_seconds / 2


def test_dcmtk_is_understood(start: Start, archive: Archive, tmp_path: Path) -> None:
    _, port = start()
    images = [radiograph(), radiograph(size=64)]
    for number, image in enumerate(images):
        image.save_as(tmp_path / f"{number}.dcm", enforce_file_format=True)
    called = ["-aec", "SRCMATTERS", "127.0.0.1", str(port)]
    try:
        subprocess.run(["echoscu", *called], check=True, timeout=30)
    except FileNotFoundError:
        pytest.skip("no echoscu on PATH: apt-get install dcmtk; its sender was not tried")
    files = [str(path) for path in sorted(tmp_path.glob("*.dcm"))]
    subprocess.run(["storescu", *called, *files], check=True, timeout=30)
    assert set(counts(archive.wait_for(2))) == {image.StudyInstanceUID for image in images}
