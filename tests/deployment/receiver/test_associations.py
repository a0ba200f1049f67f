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
    wait_until,
)
from pydicom import Dataset
from pydicom.uid import MRImageStorage, SecondaryCaptureImageStorage
from pynetdicom import AE

from srcmatters.deployment.dicom_association import HANDSHAKE_SECONDS, Tls
from srcmatters.deployment.receiver.store_scp import Address
from srcmatters.errors import InputError


def test_echo_is_answered(start: Start) -> None:
    _, port = start()
    with association(port) as opened:
        assert opened.send_c_echo().Status == 0x0000


def test_reports_are_dropped_with_a_warning_and_counted_so_that_none_goes_round_in_circles(
    start: Start, archive: Archive, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    _, port = start()
    image = radiograph()
    with association(port) as opened:
        assert opened.send_c_store(image).Status == 0x0000
        for _ in range(2):
            assert opened.send_c_store(counting_report([image])).Status == 0xB006
        assert opened.send_c_store(_captured("OT")).Status == 0xB006
    assert counts(archive.wait_for(1)) == {image.StudyInstanceUID: ["1 images"]}
    kinds = "2 Comprehensive SR Storage, 1 Secondary Capture Image Storage"
    assert f"SENDER brought 3 objects ({kinds}) that are not read: dropped" in caplog.text
    assert caplog.text.count("dropped") == 1


def test_images_of_another_modality_are_refused_and_not_dropped(start: Start) -> None:
    """A sender whose MR images nobody reads must hear so."""
    _, port = start()
    node = AE("SENDER")
    node.add_requested_context(MRImageStorage)
    opened = node.associate("127.0.0.1", port, ae_title="SRCMATTERS")
    assert not opened.is_established and [one.result for one in opened.rejected_contexts] == [3]


def _captured(modality: str) -> Dataset:
    image = radiograph()
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    image.Modality = modality
    return image


def test_captures_of_radiographs_are_taken_and_our_own_images_are_not(
    start: Start, archive: Archive, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    server, port = start()
    film, saliency, unnamed = _captured("CR"), _captured("OT"), _captured("CR")
    del unnamed.Modality
    assert send(port, saliency, film, unnamed) == [0xB006, 0x0000, 0xB006]
    assert set(counts(archive.wait_for(1))) == {film.StudyInstanceUID}
    wait_until(lambda: "2 Secondary Capture Image Storage" in caplog.text, "the count")
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
