"""The storage SCP: an instance is on disk before its sender receives the status success.

A plain pynetdicom SCP for senders that are known: who may connect is limited by address, AE title and TLS.
It does not bound what a peer on the list may cost in time and memory; docs/clinical.md says what to put in
front of it on a network that is not trusted.
"""

from __future__ import annotations

import logging
import socket
import socketserver
import ssl
import threading
import time
from dataclasses import dataclass
from io import BytesIO
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any

from pydicom import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID, SecondaryCaptureImageStorage
from pynetdicom import AE, _config, evt
from pynetdicom.dsutils import encode_file_meta
from pynetdicom.events import Event
from pynetdicom.transport import ThreadedAssociationServer

from srcmatters.deployment.dicom_association import COMPANION_CLASSES, STORAGE_CLASSES, TRANSFER_SYNTAXES
from srcmatters.deployment.receiver.dropped_objects import Dropped, DroppedObjects
from srcmatters.deployment.receiver.spool import Spool
from srcmatters.deployment.receiver.study_completion import QueueFull, StudyCompletion
from srcmatters.errors import InputError
from srcmatters.images.declarations import MODALITIES

_LOG = logging.getLogger(__name__)
SUCCESS, OUT_OF_RESOURCES, CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xC000
#: "Elements discarded", a warning: the object was taken, and nothing of it is kept.
DISCARDED = 0xB006
_STUDY, _INSTANCE, _MODALITY = 0x0020000D, 0x00080018, 0x00080060
#: Radiographs that were scanned or converted are Secondary Captures, but so are our own images of saliency:
#: what an archive forwards to us of those is dropped at the door, neither kept nor answered.
_CAPTURED = MODALITIES["radiograph"]
_VERIFICATION = UID("1.2.840.10008.1.1")
_MAXIMUM_PDU = 131072  # eight times pynetdicom's: a large image in fewer pieces
_ASSOCIATE_SECONDS = 5.0  # from the connection to the request for an association


@dataclass(frozen=True)
class Address:
    """Where and to whom the receiver answers.

    Args:
        ae_title: ours; an association that calls another one is rejected.
        host: address to listen on, 127.0.0.1: this machine only, 0.0.0.0: all of IPv4.
        port: 0: any free one.
        calling: AE titles that may call, empty: all.
        allowed: networks whose addresses may connect, empty: all; others are disconnected before anything is
            read from them.
        max_associations: at once, >= 1; a connection that has not requested one yet counts, too.
        idle_seconds: an association without any traffic for so long is aborted.
    """

    ae_title: str
    host: str = "127.0.0.1"
    port: int = 11112
    calling: tuple[str, ...] = ()
    allowed: tuple[IPv4Network | IPv6Network, ...] = ()
    max_associations: int = 10
    idle_seconds: float = 60.0


class _Unusable(Exception):
    """A dataset of which not even the study can be told."""


class _AllowListServer(ThreadedAssociationServer):
    """Checks addresses, and limits how long a peer may be silent; by the hooks of :mod:`socketserver`."""

    allowed: tuple[IPv4Network | IPv6Network, ...] = ()

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """Accept a connection whose reads end after :attr:`Address.idle_seconds` without data."""
        connection, address = super().get_request()
        connection.settimeout(self.ae.network_timeout)
        return connection, address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether the address is on the list."""
        address = ip_address(client_address[0].partition("%")[0])
        address = getattr(address, "ipv4_mapped", None) or address
        listed = not self.allowed or any(address in network for network in self.allowed)
        if not listed:
            _LOG.warning("connection from %s refused: not one of --allow", address)
        return listed

    def shutdown(self) -> None:
        """Stop listening; pynetdicom's own expects a server that ``AE.start_server`` has made."""
        socketserver.BaseServer.shutdown(self)
        self.server_close()


class Receiver:
    """Storage and verification provider.

    Args:
        address: where and to whom it answers.
        spool: where instances are written.
        arrivals: is told what came; says when too much waits.
        tls: None: unencrypted.
    """

    def __init__(
        self, address: Address, spool: Spool, arrivals: StudyCompletion, tls: ssl.SSLContext | None = None
    ) -> None:
        self.address = address
        self._spool, self._arrivals, self._tls = spool, arrivals, tls
        self._server: _AllowListServer | None = None
        self._dropped = DroppedObjects()
        self._closing = False
        self._writing = 0
        self._idle = threading.Condition()
        self._node = AE(address.ae_title)
        self._node.require_called_aet = True
        self._node.require_calling_aet = list(address.calling)
        self._node.maximum_associations = address.max_associations
        self._node.maximum_pdu_size = _MAXIMUM_PDU
        self._node.network_timeout = address.idle_seconds
        self._node.acse_timeout = _ASSOCIATE_SECONDS
        self._node.add_supported_context(_VERIFICATION)
        for sop_class in (*STORAGE_CLASSES, *COMPANION_CLASSES):
            self._node.add_supported_context(sop_class, list(TRANSFER_SYNTAXES))

    def start(self) -> int:
        """Listen.

        Returns:
            The port.

        Raises:
            InputError: the port is in use, or the address is not one of this machine.
        """
        # pynetdicom's own handlers write out every message, identifiers included, for a log nobody reads.
        _config.LOG_HANDLER_LEVEL = "none"
        handlers: list[Any] = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_RELEASED, self._released),
            (evt.EVT_ABORTED, self._aborted),
            (evt.EVT_CONN_CLOSE, self._aborted),
        ]
        where = (self.address.host, self.address.port)
        try:
            server = self._node.make_server(
                where, ssl_context=self._tls, evt_handlers=handlers, server_class=_AllowListServer
            )
        except OSError as error:
            raise InputError(f"cannot listen on {where[0]}, port {where[1]} ({error.strerror})") from error
        assert isinstance(server, _AllowListServer)
        server.allowed = self.address.allowed
        self._server = server
        threading.Thread(target=server.serve_forever, name="accepting", daemon=True).start()
        return int(server.server_address[1])

    def stop(self, seconds: float = 5.0) -> None:
        """Accept nothing more, let instances that are being written be written, abort the rest.

        Args:
            seconds: to wait for those at most.
        """
        if self._server is None:
            return
        self._closing = True
        self._server.shutdown()
        with self._idle:
            self._idle.wait_for(lambda: not self._writing, timeout=seconds)
        left = self._server.active_associations
        time.sleep(0.1 if left else 0)  # pynetdicom answers after the handler: let the last "stored" leave
        for association in left:
            association.abort(block=False)

    def _released(self, event: Event) -> None:
        studies = self._arrivals.released(event.assoc)
        if studies:
            _LOG.info("association of %s released: %d studies", _caller(event), studies)
        self._tell_dropped(event)

    def _aborted(self, event: Event) -> None:
        studies = self._arrivals.aborted(event.assoc)
        if studies:
            _LOG.warning("association of %s broke off: %d studies settle", _caller(event), studies)
        self._tell_dropped(event)

    def _tell_dropped(self, event: Event) -> None:
        if objects := self._dropped.take(event.assoc):
            _LOG.info("association of %s brought %s that are not read: dropped", _caller(event), objects)

    def _store(self, event: Event) -> Dataset:
        """Answer a C-STORE; whatever the sender has sent, this does not raise."""
        with self._idle:
            if self._closing:
                return _status(OUT_OF_RESOURCES, "stopping")
            self._writing += 1
        try:
            return self._keep(event)
        except _Unusable as error:
            _LOG.warning("instance from %s not understood: %s", _caller(event), error)
            return _status(CANNOT_UNDERSTAND, str(error))
        except Dropped:
            self._dropped.add(event.assoc, UID(event.context.abstract_syntax))
            return _status(DISCARDED, "not read here: nothing of it is kept")
        except QueueFull:
            _LOG.warning("instance from %s turned away: %d studies wait", _caller(event), len(self._arrivals))
            return _status(OUT_OF_RESOURCES, "too many studies wait")
        except (OSError, MemoryError) as error:
            what = getattr(error, "strerror", None) or type(error).__name__
            _LOG.error("instance from %s turned away: it cannot be kept (%s)", _caller(event), what)
            return _status(OUT_OF_RESOURCES, "cannot be kept")
        except Exception as error:
            _LOG.error("instance from %s turned away: %s", _caller(event), type(error).__name__)
            return _status(CANNOT_UNDERSTAND, "cannot be processed")
        finally:
            with self._idle:
                self._writing -= 1
                self._idle.notify_all()

    def _keep(self, event: Event) -> Dataset:
        content = getattr(event.request, "DataSet", None) or BytesIO()
        announced = str(getattr(event.request, "AffectedSOPInstanceUID", ""))
        context = event.context
        syntax, sop_class = UID(context.transfer_syntax), UID(context.abstract_syntax)
        if sop_class in COMPANION_CLASSES:
            raise Dropped
        study, instance = _identity(content, syntax, sop_class, announced)
        study, instance = self._spool.hashed(study), self._spool.hashed(instance)
        meta = encode_file_meta(event.file_meta)
        # Neither together nor copied: an instance may have half a gigabyte.
        with self._arrivals.arriving(study, event.assoc), content.getbuffer() as dataset:
            self._spool.keep_instance(study, instance, b"\0" * 128, b"DICM", meta, dataset)
        return _status(SUCCESS)


def _identity(content: BytesIO, syntax: UID, sop_class: UID, announced: str) -> tuple[str, str]:
    """Study and SOP Instance UID of a dataset, of which little more is read than that.

    Raises:
        _Unusable: one is missing, or the instance is not the announced one.
        Dropped: it was captured of something else than a radiograph.
    """
    try:
        content.seek(0)
        header = read_dataset(
            content,
            syntax.is_implicit_VR,
            syntax.is_little_endian,
            stop_when=_beyond,
            specific_tags=[Tag(_INSTANCE), Tag(_MODALITY), Tag(_STUDY)],
        )
        study, instance = (str(header[tag].value or "") for tag in (_STUDY, _INSTANCE))
        modality = str(header[_MODALITY].value) if _MODALITY in header else ""
    except Exception as error:  # the bytes come from anywhere: pydicom raises whatever fits
        raise _Unusable("no readable Study and SOP Instance UID") from error
    if not study or not instance:
        raise _Unusable("Study or SOP Instance UID is empty")
    if instance != announced:
        raise _Unusable("SOP Instance UID is not the one of the request")
    if sop_class == SecondaryCaptureImageStorage and modality not in _CAPTURED:
        raise Dropped
    return study, instance


def _beyond(tag: BaseTag, representation: str | None, length: int) -> bool:  # noqa: ARG001
    return tag > _STUDY


def _status(code: int, comment: str = "") -> Dataset:
    status = Dataset()
    status.Status = code
    if comment:
        status.ErrorComment = comment
    return status


def _caller(event: Event) -> str:
    """Calling AE title, as it may stand in a log."""
    title = str(event.assoc.requestor.ae_title or "").strip()
    return title if title.isprintable() and title else "unnamed sender"
