"""The other ends: senders, an archive that remembers what it was sent, a reader that counts."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from highdicom.sr import (
    CodedConcept,
    ComprehensiveSR,
    ContainerContentItem,
    RelationshipTypeValues,
    TextContentItem,
)
from pydicom import Dataset, dcmread
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    generate_uid,
)
from pynetdicom import AE, DEFAULT_TRANSFER_SYNTAXES, Association, evt

from srcmatters.deployment.receiver.server import Server
from srcmatters.errors import InputError

#: What the fixture ``start`` is: ``start(reader, address=..., any setting=...)`` -> server, port.
Start = Callable[..., tuple[Server, int]]
#: Planted: none of these may be seen in a log.
PATIENT_NAME, PATIENT_ID, BIRTH_DATE, ACCESSION = "Zweistein^Quendolin", "QX-774411", "19610203", "ACC990017"
PATIENCE = 30.0  # seconds until even a busy machine has done it
_REPORT = CodedConcept("18748-4", "LN", "Diagnostic imaging report")
_FINDING = CodedConcept("121071", "DCM", "Finding")


def radiograph(study: str | None = None, size: int = 32) -> FileDataset:
    """A digital radiograph of noise (``size`` x ``size``, 8 bit) of the planted patient."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = (
        meta.MediaStorageSOPClassUID,
        meta.MediaStorageSOPInstanceUID,
    )
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study or generate_uid(), generate_uid()
    dataset.PatientName, dataset.PatientID, dataset.PatientSex = PATIENT_NAME, PATIENT_ID, "O"
    dataset.PatientBirthDate, dataset.AccessionNumber, dataset.StudyID = BIRTH_DATE, ACCESSION, ""
    dataset.StudyDate, dataset.StudyTime, dataset.ReferringPhysicianName = "20200101", "120000", ""
    dataset.Modality, dataset.Manufacturer, dataset.SeriesNumber, dataset.InstanceNumber = "DX", "none", 1, 1
    dataset.Rows = dataset.Columns = size
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PixelRepresentation = (
        1,
        "MONOCHROME2",
        0,
    )
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelData = np.random.default_rng(0).integers(0, 256, (size, size), dtype=np.uint8).tobytes()
    return dataset


def counting_report(images: Sequence[Dataset]) -> ComprehensiveSR:
    """A Comprehensive SR that refers to the images and says how many they are."""
    content = ContainerContentItem(_REPORT)
    image_count = TextContentItem(_FINDING, f"{len(images)} images", RelationshipTypeValues.CONTAINS)
    content.ContentSequence = [image_count]
    return ComprehensiveSR(
        evidence=list(images),
        content=content,
        series_instance_uid=generate_uid(),
        series_number=99,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="none",
        is_complete=True,
    )


class CountingReader:
    """Answers every study with :func:`counting_report`; refuses what is no whole image.

    Args:
        before: called with the folder first; may block, or raise.
    """

    def __init__(self, before: Callable[[Path], object] = lambda folder: None) -> None:
        self.before = before
        self.read_studies: list[tuple[str, int]] = []

    def read(self, folder: Path, files: Sequence[Path]) -> list[ComprehensiveSR]:
        self.before(folder)
        images = [dcmread(file, stop_before_pixels=True) for file in files]
        for image in images:
            if "Rows" not in image:
                raise InputError(f"{image.PatientName}, {image.SOPInstanceUID}: no image, expected Rows")
        self.read_studies.append((str(images[0].StudyInstanceUID), len(images)))
        return [counting_report(images)]


def make_counting_reader(bundle: Path) -> CountingReader:
    """What ``--reader`` names."""
    return CountingReader()


_RESULTS = (ComprehensiveSRStorage, Comprehensive3DSRStorage, SecondaryCaptureImageStorage)


class Archive:
    """An archive on a free loopback port that keeps what it gets.

    Args:
        statuses: answers to the first results, success (0x0000) afterwards; None: abort instead.
        tls: context of the server.
        kinds: SOP classes that it takes.
        syntaxes: transfer syntaxes that it takes.
    """

    def __init__(
        self,
        statuses: Sequence[int | None] = (),
        port: int = 0,
        tls: Any = None,
        kinds: Sequence[str] = (
            ComprehensiveSRStorage,
            Comprehensive3DSRStorage,
            SecondaryCaptureImageStorage,
        ),
        syntaxes: Sequence[str] = tuple(DEFAULT_TRANSFER_SYNTAXES),
    ) -> None:
        self.received: list[Dataset] = []
        self.store_requests = 0
        self._statuses = list(statuses)
        self._changed = threading.Condition()
        node = AE("ARCHIVE")
        node.require_called_aet = True
        for kind in kinds:
            node.add_supported_context(kind, list(syntaxes))
        self._server = node.start_server(
            ("127.0.0.1", port),
            block=False,
            ssl_context=tls,
            evt_handlers=[(evt.EVT_C_STORE, self._store)],
        )
        assert self._server is not None
        self.port = self._server.server_address[1]
        self.is_open = True

    def _store(self, event: evt.Event) -> int:
        self.store_requests += 1
        status = self._statuses.pop(0) if self._statuses else 0x0000
        if status is None:
            event.assoc.abort()
            return 0x0000
        if status == 0x0000:
            result = event.dataset
            with self._changed:
                self.received.append(result)
                self._changed.notify_all()
        return status

    def wait_for(self, count: int) -> list[Dataset]:
        """The results, once there are ``count``."""
        with self._changed:
            there = self._changed.wait_for(lambda: len(self.received) >= count, timeout=PATIENCE)
        assert there, f"{len(self.received)} results, expected {count}"
        return self.received

    def close(self) -> None:
        """Hang up, if it has not."""
        if self.is_open:
            self._server.shutdown()
        self.is_open = False


def counts(results: Sequence[Dataset]) -> dict[str, list[str]]:
    """Study Instance UID -> what its reports say."""
    counted: dict[str, list[str]] = {}
    for result in results:
        counted.setdefault(str(result.StudyInstanceUID), []).append(result.ContentSequence[0].TextValue)
    return counted


@contextmanager
def association(
    port: int, calling: str = "SENDER", called: str = "SRCMATTERS", tls: Any = None
) -> Iterator[Association]:
    """An association with the receiver, released at the end unless it was aborted."""
    node = AE(calling)
    node.acse_timeout = node.dimse_timeout = node.network_timeout = PATIENCE
    node.add_requested_context("1.2.840.10008.1.1")
    node.add_requested_context(DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian)
    node.add_requested_context(SecondaryCaptureImageStorage, ExplicitVRLittleEndian)
    node.add_requested_context(ComprehensiveSRStorage, ExplicitVRLittleEndian)
    opened = node.associate("127.0.0.1", port, ae_title=called, tls_args=tls and (tls, "localhost"))
    try:
        yield opened
    finally:
        if opened.is_established:
            opened.release()


def send(port: int, *datasets: Dataset) -> list[int | None]:
    """Statuses of the datasets sent in one association; None where there was no answer."""
    with association(port) as opened:
        return [opened.send_c_store(dataset).get("Status") for dataset in datasets]


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Wait, but not for ever."""
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, f"waited in vain for {what}"
        time.sleep(0.01)


def make_endless_reader(bundle: Path) -> CountingReader:
    """A reader that never comes to an end."""
    return CountingReader(before=lambda folder: time.sleep(3600))


def make_deadly_reader(bundle: Path) -> CountingReader:
    """A reader that ends the program, as a fault in native code would."""
    return CountingReader(before=lambda folder: os._exit(3))
