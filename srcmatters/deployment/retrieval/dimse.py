"""An archive that speaks DIMSE: C-FIND to find, C-GET or C-MOVE to get."""

from __future__ import annotations

import socket
import ssl
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from itertools import product
from typing import Any

from pydicom import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, Association, _config, build_context, build_role
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from srcmatters.deployment.dicom_association import STORAGE_CLASSES, TRANSFER_SYNTAXES, Destination
from srcmatters.deployment.retrieval.connection_errors import reason_of
from srcmatters.deployment.retrieval.queries import ArchivedSeries, is_uid
from srcmatters.deployment.retrieval.storing import MoveReceiver, Storing
from srcmatters.deployment.retrieval.study_files import Allowance, StudyFiles
from srcmatters.errors import InputError

CONNECT_SECONDS = 10.0
_MOST = 100_000  # matches of anything
_FIND: UID = StudyRootQueryRetrieveInformationModelFind
_GET: UID = StudyRootQueryRetrieveInformationModelGet
_MOVE: UID = StudyRootQueryRetrieveInformationModelMove
_PLAIN: list[str | UID] = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
_SUCCESS, _SOME_FAILED, _NO_DESTINATION = 0x0000, 0xB000, 0xA801


class DimseArchive:
    """Finds and gets studies by DIMSE, with an association for each request.

    Args:
        peer: the archive.
        ae_title: ours.
        seconds: that a query, or all of a study, may take.
        tls: for an archive that wants it.
        move: receives what C-MOVE makes the archive send; None: C-GET.
    """

    def __init__(
        self,
        peer: Destination,
        ae_title: str,
        seconds: float,
        tls: ssl.SSLContext | None = None,
        move: MoveReceiver | None = None,
    ) -> None:
        self.peer, self.seconds, self._tls, self._move = peer, seconds, tls, move
        # pynetdicom's own handlers write out every message, identifiers included, for a log nobody reads.
        _config.LOG_HANDLER_LEVEL = "none"
        self._node = AE(ae_title)
        self._node.connection_timeout = CONNECT_SECONDS
        self._node.acse_timeout = 30
        # An archive that fetches from a tape says nothing meanwhile.
        self._node.dimse_timeout = self._node.network_timeout = seconds

    @property
    def name(self) -> str:
        """Address, as a person wrote it."""
        return f"dicom://{self.peer}"

    def find_studies(self, keys: Mapping[str, str], most: int) -> list[str]:
        """Study Instance UIDs that match, at most one more than ``most``."""
        query = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": ""} | dict(keys)
        found = self._find(query, "StudyInstanceUID", most + 1)
        return list(found)

    def find_series(self, study: str) -> list[ArchivedSeries]:
        """The series of a study."""
        query = {"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": study, "SeriesInstanceUID": ""}
        query |= {"Modality": "", "NumberOfSeriesRelatedInstances": ""}
        found = self._find(query, "SeriesInstanceUID", _MOST)
        return [_series(uid, answer) for uid, answer in found.items()]

    def count_instances(self, study: str, series: str) -> int:
        """How many instances a series holds."""
        query = {"QueryRetrieveLevel": "IMAGE", "StudyInstanceUID": study, "SeriesInstanceUID": series}
        return len(self._find(query | {"SOPInstanceUID": ""}, "SOPInstanceUID", _MOST))

    def fetch(self, study: str, series: str, files: StudyFiles) -> None:
        """Get all instances of a series."""
        query = {"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": study, "SeriesInstanceUID": series}
        storing = Storing(files)
        model = _GET if self._move is None else _MOVE
        contexts, roles = [build_context(model, _PLAIN)], []
        if self._move is None:
            # One for each encoding: of several in one, the archive would choose, and encode anew.
            pairs = product(STORAGE_CLASSES, TRANSFER_SYNTAXES)
            contexts += [build_context(sop_class, syntax) for sop_class, syntax in pairs]
            roles = [build_role(sop_class, scp_role=True) for sop_class in STORAGE_CLASSES]
        receiving = self._move.receiving(storing) if self._move else nullcontext()
        with receiving, self._association(contexts, storing, roles) as association:
            self._retrieve(association, model, _dataset(query), storing)

    def _retrieve(self, association: Association, model: UID, query: Dataset, storing: Storing) -> None:
        if self._move is None:
            answers = association.send_c_get(query, model)
        else:
            answers = association.send_c_move(query, self._node.ae_title, model)
        status = Dataset()
        for answer in answers:
            storing.check()
            status = answer[0]
        storing.check()
        if "Status" not in status:
            raise InputError("the connection broke off, or nothing came in time")
        if status.Status not in (_SUCCESS, _SOME_FAILED):
            said = ": does it know our AE title and port?" if status.Status == _NO_DESTINATION else ""
            raise InputError(f"the archive does not send it (status 0x{status.Status:04X}){said}")
        failed = int(status.get("NumberOfFailedSuboperations") or 0)
        if failed or status.Status == _SOME_FAILED:
            raise InputError(f"{failed or 'some'} of its instances could not be sent by the archive")

    def _find(self, query: Mapping[str, str], keyword: str, most: int) -> dict[str, Dataset]:
        """UID -> answer, of at most ``most`` matches."""
        found: dict[str, Dataset] = {}
        storing = Storing(Allowance(self.seconds))
        with self._association([build_context(_FIND, _PLAIN)], storing) as association:
            status = Dataset()
            for said, answer in association.send_c_find(_dataset(query), _FIND):
                storing.check()
                status = said
                if answer is not None:
                    found.setdefault(_uid(answer, keyword), answer)
                if len(found) >= most:
                    association.abort()
                    return found
            if "Status" not in status:
                raise InputError(
                    "the connection broke off in the middle of a query, or no answer came in time"
                )
            if status.Status != _SUCCESS:
                raise InputError(f"the query failed (status 0x{status.Status:04X})")
        return found

    @contextmanager
    def _association(
        self, contexts: Sequence[PresentationContext], storing: Storing, roles: Sequence[Any] = ()
    ) -> Iterator[Association]:
        """An association that offers the first context, released or aborted at the end."""
        model = contexts[0].abstract_syntax
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's quote what they warn of
            opened = self._node.associate(
                self.peer.host,
                self.peer.port,
                contexts=list(contexts),
                ae_title=self.peer.ae_title,
                ext_neg=list(roles),
                tls_args=None if self._tls is None else (self._tls, self.peer.host),
                evt_handlers=storing.handlers(),
            )
            storing.waiting = opened
            try:
                storing.check()
                if any(one.abstract_syntax == model for one in opened.rejected_contexts):
                    raise InputError(f"it offers no {_SERVICES.get(model)}")
                if not opened.is_established:
                    raise InputError(self._why(opened))
                yield opened
            except BaseException:
                opened.abort()
                raise
            if opened.is_established:
                opened.release()

    def _why(self, association: Association) -> str:
        """Why there is no association; the library does not tell what it tried."""
        if association.is_rejected:
            answer = association.acceptor.primitive
            return f"it rejects the association ({str(getattr(answer, 'reason_str', '')).lower()})"
        try:
            with socket.create_connection((self.peer.host, self.peer.port), CONNECT_SECONDS) as plain:
                if self._tls is not None:
                    self._tls.wrap_socket(plain, server_hostname=self.peer.host).close()
        except OSError as error:
            return f"cannot be reached ({reason_of(error)})"
        return "it breaks off when it is asked for an association"


_SERVICES: dict[UID | None, str] = {
    _FIND: "C-FIND",
    _GET: "C-GET: try --retrieve move",
    _MOVE: "C-MOVE: try --retrieve get",
}


def _dataset(query: Mapping[str, str]) -> Dataset:
    dataset = Dataset()
    if not all(value.isascii() for value in query.values()):
        dataset.SpecificCharacterSet = "ISO_IR 192"
    for keyword, value in query.items():
        setattr(dataset, keyword, value)
    return dataset


def _text(answer: Dataset, keyword: str) -> str:
    """An element of what somebody else has encoded, which is decoded when it is asked for."""
    try:
        value = answer.get(keyword)
        return "" if value is None else str(value).strip(" \0")
    except Exception as error:
        raise InputError(f"its answer cannot be understood ({keyword})") from error


def _uid(answer: Dataset, keyword: str) -> str:
    uid = _text(answer, keyword)
    if not is_uid(uid):
        raise InputError(f"its answer holds no valid {keyword}")
    return uid


def _series(uid: str, answer: Dataset) -> ArchivedSeries:
    count = _text(answer, "NumberOfSeriesRelatedInstances")
    return ArchivedSeries(uid, _text(answer, "Modality"), int(count) if count.isdecimal() else None)
