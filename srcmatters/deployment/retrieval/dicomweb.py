"""An archive that speaks DICOMweb: QIDO-RS to find, WADO-RS to get."""

from __future__ import annotations

import ssl
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from dicomweb_client.web import DICOMwebClient
from pydicom.datadict import tag_for_keyword
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from srcmatters.deployment.retrieval.connection_errors import reason_of
from srcmatters.deployment.retrieval.options import is_uid
from srcmatters.deployment.retrieval.study_files import Allowance, StudyFiles
from srcmatters.errors import InputError

CONNECT_SECONDS = 10.0
_PAGE = 1000  # series or instances of one answer; a server may give fewer
_MOST = 100_000  # series or instances of anything
_CHUNK = 2**20
#: As it is stored: what the archive would decode and encode again for us is no longer what it holds.
_DICOM = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_JSON_TYPES = ("application/dicom+json", "application/json")
_DICOM_TYPES = ("multipart/related", "application/dicom")
_STATUSES = {
    401: "it wants a login (401), expected one in ~/.netrc or a token in SRCMATTERS_DICOMWEB_TOKEN",
    403: "it does not let this login read that (403)",
    404: "it knows no such thing (404), expected the address of a DICOMweb service",
}


class _Session(requests.Session):
    """HTTP whose answers are DICOM, come from where they were asked for, and are no larger than they may be.

    Args:
        verify: certificates of those who may sign the server's; True: what the system trusts.
        certificate: ours and its key.
        token: sent as Bearer; empty: whatever ~/.netrc holds for the host.
    """

    def __init__(self, verify: Path | None, certificate: tuple[Path, Path] | None, token: str) -> None:
        super().__init__()
        self.verify = str(verify) if verify else True
        self.cert = (str(certificate[0]), str(certificate[1])) if certificate else None
        if token:
            self.auth = partial(_bear, token)
        self.hooks["response"] = [self._checked]
        # Only a server that says it is busy is asked again.
        retry = Retry(
            connect=0, read=0, other=0, status=2, backoff_factor=0.5, status_forcelist=(429, 503, 504)
        )
        retry.raise_on_status = False
        retry.respect_retry_after_header = False  # it may ask for any time
        for scheme in ("http://", "https://"):
            self.mount(scheme, HTTPAdapter(max_retries=retry))
        self.admit: Callable[[int], None] = lambda count: None

    def request(self, method: str, url: str, *arguments: Any, **options: Any) -> requests.Response:  # type: ignore[override]
        # Said with every request: otherwise a variable of the environment has precedence.
        options["verify"] = options.get("verify") or self.verify
        url = url.replace("%2A", "*")  # a wildcard may stand as it is, and some servers want it so
        return super().request(method, url, *arguments, **options)

    def _checked(self, response: requests.Response, *_: Any, **__: Any) -> None:
        if response.is_redirect:
            parts = urlsplit(response.headers["location"])
            where = f"{parts.scheme}://{parts.hostname}" if parts.hostname else "another address"
            raise InputError(f"it redirects to {where}, expected the address of the DICOMweb service itself")
        if response.status_code == requests.codes.ok:
            content_type = response.headers.get("content-type", "nothing").partition(";")[0].strip().lower()
            accepted = str(response.request.headers["accept"])
            expected = _DICOM_TYPES if accepted == _DICOM else _JSON_TYPES
            if content_type not in expected:
                raise InputError(
                    f"it answered with {content_type[:40]!r}, expected {expected[0]}: a page to log in, or"
                    " another service?"
                )
        response.iter_content = partial(_admitted, response, self.admit)  # type: ignore[method-assign]


def _bear(token: str, request: requests.PreparedRequest) -> requests.PreparedRequest:
    request.headers["Authorization"] = f"Bearer {token}"
    return request


def _admitted(
    response: requests.Response, admit: Callable[[int], None], chunk_size: int = 1, *_: Any, **__: Any
) -> Iterator[bytes]:
    """What there is, as soon as there is some: a server that dawdles must not be waited for until a piece of
    ``chunk_size`` is full.
    """
    while chunk := response.raw.read1(chunk_size, decode_content=True):
        admit(len(chunk))
        yield chunk


class _Client(DICOMwebClient):
    """The client, and instances as they were sent: by itself it would decode them in this process."""

    def instances(self, url: str) -> Iterator[bytes]:
        """DICOM files of a series or an instance.

        Raises:
            InputError: the answer ends before its end.
        """
        with self._http_get(url, headers={"Accept": _DICOM}, stream=True) as response:
            if response.headers["content-type"].lower().startswith("application/dicom"):
                yield response.content  # against the standard, but there are servers that do it
                return
            end = _End(response.iter_content, response.headers["content-type"])
            response.iter_content = end.pass_on  # type: ignore[method-assign]
            yield from self._decode_multipart_message(response, stream=True)
            if not end.reached:
                raise InputError("the connection broke off in the middle of a series")


class _End:
    """Watches for the end of a multipart message, by which one that was cut can be told from a whole one."""

    def __init__(self, chunks: Callable[..., Iterator[bytes]], content_type: str) -> None:
        header = Message()
        header["content-type"] = content_type
        self._mark = f"--{header.get_boundary('')}--".encode()
        self._chunks, self._tail = chunks, b""

    def pass_on(self, *arguments: Any, **options: Any) -> Iterator[bytes]:
        for chunk in self._chunks(*arguments, **options):
            self._tail = (self._tail + chunk)[-256:]  # a boundary has at most 70 characters
            yield chunk

    @property
    def reached(self) -> bool:
        """Whether the boundary that ends the message was seen."""
        return self._mark in self._tail


@dataclass(frozen=True)
class ArchivedSeries:
    """A series as an archive describes it.

    Args:
        uid: Series Instance UID.
        modality: empty where the archive does not say.
        instances: how many it holds; None where the archive does not say.
    """

    uid: str
    modality: str
    instances: int | None


class DicomWebArchive:
    """Finds and gets studies by DICOMweb.

    Whatever goes wrong is an :class:`InputError` in one line, which quotes nothing of what the server has
    sent about a patient.

    Args:
        url: of the service, without credentials: ``https://host/dicom-web``.
        seconds: that an answer, or all of a study, may take.
        token: sent as Bearer; empty: Basic from ~/.netrc if that knows the host.
        authority: PEM file of those who may sign the server's certificate; None: what the system trusts.
        certificate: PEM files of our certificate and its key.
    """

    def __init__(
        self,
        url: str,
        seconds: float,
        token: str = "",
        authority: Path | None = None,
        certificate: tuple[Path, Path] | None = None,
    ) -> None:
        self.name = url.rstrip("/")
        self.seconds = seconds
        self._session = _Session(authority, certificate, token)
        self._client = _Client(
            self.name, self._session, timeout=(CONNECT_SECONDS, seconds), chunk_size=_CHUNK
        )
        self._client.set_http_retry_params(retry=False)  # urllib3 does
        self._client.host = urlsplit(self.name).netloc  # it would send the name of the host without the port

    def find_studies(self, keys: Mapping[str, str], most: int) -> list[str]:
        """Study Instance UIDs that match, at most one more than ``most``."""
        search = partial(self._client.search_for_studies, search_filters=dict(keys))
        return list(self._pages(search, "StudyInstanceUID", most + 1))[: most + 1]

    def find_series(self, study: str) -> list[ArchivedSeries]:
        """The series of a study."""
        fields = ("Modality", "NumberOfSeriesRelatedInstances")
        search = partial(self._client.search_for_series, study, fields=fields)
        series = self._pages(search, "SeriesInstanceUID", _PAGE)
        return [_series(uid, entry) for uid, entry in series.items()]

    def count_instances(self, study: str, series: str) -> int:
        """How many instances a series holds."""
        search = partial(self._client.search_for_instances, study, series)
        return len(self._pages(search, "SOPInstanceUID", _PAGE))

    def fetch(self, study: str, series: str, files: StudyFiles) -> None:
        """Get all instances of a series."""
        with self._asking(files):
            for content in self._client.instances(f"{self.name}/studies/{study}/series/{series}"):
                files.add(content)

    def _pages(
        self, search: Callable[..., list[Any]], keyword: str, size: int
    ) -> dict[str, Mapping[str, Any]]:
        """UID -> description: all that a server has, which may give it in portions."""
        entries: dict[str, Mapping[str, Any]] = {}
        with self._asking(Allowance(self.seconds)):
            while len(entries) < _MOST:
                # One that ignores the offset says the same again, and that is the end, too.
                page = search(limit=size, offset=len(entries) or None)
                fresh = {uid: entry for entry in page if (uid := _uid(entry, keyword)) not in entries}
                entries |= fresh
                if not fresh or (keyword == "StudyInstanceUID" and len(entries) >= size):
                    return entries
        raise InputError(f"it describes more than {_MOST} items")

    @contextmanager
    def _asking(self, allowance: Allowance) -> Iterator[None]:
        """Say what goes wrong in one line, without the address of a query, which holds what was asked for."""
        self._session.admit = allowance.admit
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        except InputError:
            raise
        except requests.HTTPError as error:
            status = getattr(error.response, "status_code", 0)
            raise InputError(_STATUSES.get(status, f"it answered with HTTP status {status}")) from error
        except (requests.exceptions.ChunkedEncodingError, urllib3.exceptions.ProtocolError) as error:
            raise InputError("the connection broke off in the middle of an answer") from error
        except requests.exceptions.JSONDecodeError as error:
            raise InputError("its answer is no JSON, expected DICOM JSON") from error
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise InputError(f"cannot be reached ({reason_of(error)})") from error
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
            raise InputError(f"its answer cannot be understood ({type(error).__name__})") from error


def _value(entry: Mapping[str, Any], keyword: str) -> Any:
    """First value of an element of DICOM JSON; None where there is none."""
    values = entry.get(f"{tag_for_keyword(keyword):08X}", {}).get("Value") or [None]
    return values[0]


def _uid(entry: Mapping[str, Any], keyword: str) -> str:
    uid = str(_value(entry, keyword) or "")
    if not is_uid(uid):
        raise InputError(f"its answer holds no valid {keyword}")
    return uid


def _series(uid: str, entry: Mapping[str, Any]) -> ArchivedSeries:
    count = str(_value(entry, "NumberOfSeriesRelatedInstances") or "")
    modality = str(_value(entry, "Modality") or "")
    return ArchivedSeries(uid, modality, int(count) if count.isdecimal() else None)


def has_login(url: str) -> bool:
    """Whether ~/.netrc holds a login for the host."""
    return requests.utils.get_netrc_auth(url) is not None


def check_authority(path: Path) -> None:
    """Refuse a file that holds no certificates.

    Raises:
        InputError: naming ``--tls-ca``.
    """
    try:
        ssl.create_default_context(cafile=str(path))
    except ssl.SSLError as error:
        raise InputError(f"--tls-ca {path}: not PEM certificates ({error.reason})") from error
    except OSError as error:
        raise InputError(f"--tls-ca {path}: cannot be read ({error.strerror})") from error
