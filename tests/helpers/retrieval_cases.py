"""Archives of our own, which answer as they should or as no archive should, and predictions from them."""

from __future__ import annotations

import csv
import json
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from click.testing import CliRunner, Result
from prediction_cases import write_bundle, write_radiographs
from pydicom import Dataset, dcmread

from srcmatters.deployment.predict_command import predict

BOUNDARY = b"the-boundary"
NAME, PATIENT = "Zweistein^Quendolin", "QX-774411"  # planted


class Stock:
    """A bundle, and a radiograph in each of some studies, with identifiers to be looked for.

    Args:
        folder: new.
        studies: how many.
    """

    def __init__(self, folder: Path, studies: int = 2) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.bundle = write_bundle(folder / "bundle")
        self.films = write_radiographs(folder / "films", studies)
        self.datasets = [dcmread(film) for film in self.films]
        for film, dataset in zip(self.films, self.datasets, strict=True):
            dataset.PatientName, dataset.PatientID = NAME, PATIENT
            dataset.save_as(film, enforce_file_format=True)
        self.studies = [str(dataset.StudyInstanceUID) for dataset in self.datasets]

    def of_study(self, study: str) -> list[Dataset]:
        """Its instances."""
        return [dataset for dataset in self.datasets if dataset.StudyInstanceUID == study]

    def content(self, dataset: Dataset) -> bytes:
        """The file of an instance."""
        return self.films[self.datasets.index(dataset)].read_bytes()


class Answering(BaseHTTPRequestHandler):
    """A request that a :class:`WebArchive` answers."""

    archive: WebArchive

    def do_GET(self) -> None:
        """Answer, in the way that was planned for the level or in the right one."""
        self.close_connection = True
        path = urlsplit(self.path)
        self.query = {key: values[0] for key, values in parse_qs(path.query).items()}
        parts = path.path.strip("/").split("/")[1:]  # after /dicom-web
        level = ("studies", "series", "instances")[(len(parts) - 1) // 2 if len(parts) != 4 else 2]
        self.parts = parts
        self.archive.requests.append((level, self.path, self.headers.get("Authorization", "")))
        try:
            self.archive.plans.get(level, getattr(self.archive, level))(self)
        except OSError:
            self.archive.hung_up.set()  # the client has had enough

    def send(self, content: bytes, kind: str, status: int = 200, **headers: str) -> None:
        """An answer as it should be."""
        self.send_response(status)
        headers = {"Content-Type": kind, "Content-Length": str(len(content))} | headers
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def send_json(self, entries: Sequence[dict[str, Any]]) -> None:
        """An answer to a query, as far as limit and offset ask for it."""
        first = int(self.query.get("offset", 0))
        page = entries[first : first + int(self.query.get("limit", len(entries)))]
        self.send(json.dumps(page).encode(), "application/dicom+json")

    def begin_parts(self, **headers: str) -> None:
        """Header of a multipart answer that ends with the connection."""
        self.send_response(200)
        kind = f'multipart/related; type="application/dicom"; boundary="{BOUNDARY.decode()}"'
        self.send_header("Content-Type", kind)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


Plan = Callable[[Answering], None]


class WebArchive:
    """A DICOMweb archive of a stock on loopback.

    Args:
        stock: what it holds.
        tls: None: http.
        plans: "studies", "series" or "instances" -> how requests of that level are answered instead.
    """

    def __init__(self, stock: Stock, tls: ssl.SSLContext | None = None, **plans: Plan) -> None:
        self.stock, self.plans = stock, plans
        self.requests: list[tuple[str, str, str]] = []
        self.hung_up = threading.Event()
        handler = type("Handler", (Answering,), {"archive": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self._server.server_address[1]}/dicom-web"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def studies(self, request: Answering) -> None:
        """QIDO-RS of studies; only StudyInstanceUID is matched."""
        study_uid = request.query.get("StudyInstanceUID")
        uids = [uid for uid in self.stock.studies if study_uid in (None, uid)]
        request.send_json([element("0020000D", "UI", uid) for uid in uids])

    def series(self, request: Answering) -> None:
        """QIDO-RS of the series of a study."""
        request.send_json(self.describe(request.parts[1]))

    def describe(self, study: str, extra: int = 0) -> list[dict[str, Any]]:
        """What it says of the series of a study; ``extra`` instances that it does not have."""
        held = self.stock.of_study(study)
        counts = Counter((str(one.SeriesInstanceUID), str(one.Modality)) for one in held)
        return [
            element("0020000E", "UI", uid)
            | element("00080060", "CS", modality)
            | element("00201209", "IS", count + extra)
            for (uid, modality), count in counts.items()
        ]

    def instances(self, request: Answering) -> None:
        """WADO-RS of a series."""
        content = multipart([self.stock.content(one) for one in self.stock.of_study(request.parts[1])])
        request.send(content, f'multipart/related; type="application/dicom"; boundary={BOUNDARY.decode()}')

    def request_counts(self) -> Counter[str]:
        """Level -> number of requests."""
        return Counter(level for level, *_ in self.requests)

    def close(self) -> None:
        """Hang up."""
        self._server.shutdown()
        self._server.server_close()


def element(tag: str, representation: str, value: Any) -> dict[str, Any]:
    """An element of DICOM JSON."""
    return {tag: {"vr": representation, "Value": [value]}}


def multipart(files: Sequence[bytes], end: bytes = b"--\r\n") -> bytes:
    """Files as WADO-RS sends them."""
    parts = [b"\r\n--" + BOUNDARY + b"\r\nContent-Type: application/dicom\r\n\r\n" + file for file in files]
    return b"".join(parts) + b"\r\n--" + BOUNDARY + end


def run(stock: Stock, server: Any, *arguments: object) -> Result:
    """`srcmatters predict BUNDLE --from SERVER ...`; without conditions: everything there."""
    options = [str(argument) for argument in arguments]
    if not {"--study", "--query"} & set(options):
        options += ["--query", "PatientID=*"]
    return CliRunner().invoke(predict, [str(stock.bundle), "--from", server.url, *options])


def rows(result: Result) -> list[dict[str, str]]:
    """The table that was printed."""
    assert result.exit_code == 0, result.exception
    return list(csv.DictReader(StringIO(result.stdout)))


def answers(result: Result) -> dict[str, tuple[str, str, str]]:
    """Hash or UID of a study -> probability, status, reasons."""
    return {row["study"]: (row["probability"], row["status"], row["reasons"]) for row in rows(result)}


def error(result: Result) -> str:
    """The one line of a mistake."""
    assert result.exit_code == 1 and isinstance(result.exception, ValueError), result.exception
    line = str(result.exception)
    assert "\n" not in line and not result.stdout
    return line
