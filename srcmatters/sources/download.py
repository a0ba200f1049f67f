"""Download a file: resumed where it was cut off, verified before it gets its name."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import requests
from tqdm import tqdm
from urllib3.exceptions import NewConnectionError

from srcmatters.errors import InputError
from srcmatters.files import sha256_of

#: No network here holds half a gigabyte; what claims more than this is not read.
LARGEST_WEIGHTS = 4 * 2**30

_ATTEMPTS = 6
#: Seconds before the second attempt; doubled before each further one.
FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 20.0
#: Seconds to connect, and between two pieces of data.
_TIMEOUT = (10.0, 60.0)
#: What a broken connection loses at most.
BLOCK = 1 << 16


class _Interrupted(Exception):
    """The connection broke or the server is busy; another attempt may go further."""


@dataclass
class _Partial:
    """What a cut-off download left: the data, and which version of the file it belongs to."""

    path: Path

    @property
    def about(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")

    def resumable(self, address: str) -> tuple[int, str | None, int | None]:
        """Bytes that are here, the validator of their version, and the size of the whole; 0 if useless."""
        try:
            about = json.loads(self.about.read_text())
            size = self.path.stat().st_size
            validator, whole = about["validator"], about["size"]
        except (OSError, ValueError, KeyError, TypeError):
            return 0, None, None
        usable = size and validator and about.get("address") == address and (whole is None or size < whole)
        return (size, validator, whole) if usable else (0, None, None)

    def describe(self, address: str, validator: str | None, size: int | None) -> None:
        self.about.write_text(json.dumps({"address": address, "validator": validator, "size": size}))

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.about.unlink(missing_ok=True)


def download(
    address: str, target: Path, sha256: str | None, put_by_hand: str, largest: int = LARGEST_WEIGHTS
) -> str:
    """Download a file to ``target``, which exists only once it is whole and verified.

    The data go to ``<target>.partial``. A broken connection is taken up where it broke, now or in a later
    call, if the server still has that version (ETag or date, by ``If-Range``); otherwise from the beginning.

    Args:
        address: http or https.
        target: where the file shall be; its folder exists, and the caller holds its lock.
        sha256: the hash or its first digits; None: unknown. What Hugging Face announces is checked as well.
        put_by_hand: the end of an error message: where a person can put the file.
        largest: bytes at most.

    Returns:
        SHA-256 of the file.

    Raises:
        InputError: offline, not found, a web page, too large, no room, or another hash than expected; nothing
            stays. Or too many broken connections; what came stays, to be resumed.
    """
    partial = _Partial(target.with_name(f"{target.name}.partial"))
    announced: set[str] = set() if sha256 is None else {sha256}
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(min(FIRST_PAUSE * 2 ** (attempt - 1), _LONGEST_PAUSE))
        try:
            announced |= _attempt(address, partial, largest)
            break
        except _Interrupted as error:
            reason = error
        except InputError as error:
            partial.remove()
            raise InputError(f"{error}; {put_by_hand}") from error
        except OSError as error:
            raise InputError(f"{partial.path}: cannot be written ({error.strerror or error})") from error
    else:
        raise InputError(f"{address}: {reason} in {_ATTEMPTS} attempts; start again, or {put_by_hand}")
    return _accept(address, partial, target, announced)


def looks_like_a_page(start: bytes) -> bool:
    """Whether these first bytes of a file are those of HTML or XML."""
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return text.startswith((b"<!doctype html", b"<html", b"<?xml", b"<head", b"<body"))


def _accept(address: str, partial: _Partial, target: Path, expected: set[str]) -> str:
    digest = sha256_of(partial.path)
    with partial.path.open("rb") as file:
        page = looks_like_a_page(file.read(512))
    wrong = [sha256 for sha256 in sorted(expected) if not digest.startswith(sha256)]
    if page or wrong:
        partial.remove()
        if page:
            raise InputError(f"{address}: gives a web page instead of the file {target.name}")
        raise InputError(
            f"{address}: the SHA-256 of what was downloaded is {digest}, expected {wrong[0]}; it was deleted"
        )
    partial.path.replace(target)
    partial.about.unlink(missing_ok=True)
    return digest


def _attempt(address: str, partial: _Partial, largest: int) -> set[str]:
    """One request that begins or goes on with a download; the hashes that the server announced."""
    here, validator, whole = partial.resumable(address)
    headers = {"Accept-Encoding": "identity"}
    if validator:
        headers |= {"Range": f"bytes={here}-", "If-Range": validator}
    try:
        with requests.get(address, headers=headers, stream=True, timeout=_TIMEOUT) as response:
            _check_status(address, response, partial)
            if response.status_code == 206 and not _goes_on(response, here, whole):
                partial.remove()
                raise _Interrupted("the server resumes another file")
            here = here if response.status_code == 206 else 0
            size = _size(response, here)
            _check_size(address, size, here, partial, largest)
            partial.describe(address, _validator(response), size)
            _save(response, partial.path, here, size, largest, address)
    except requests.RequestException as error:
        if _offline(error):
            raise InputError(
                f"{address}: cannot be reached ({urlsplit(address).hostname}: offline?)"
            ) from error
        if isinstance(
            error, (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
        ):
            raise _Interrupted("the connection broke") from error
        raise InputError(f"{address}: cannot be downloaded ({error})") from error
    return _announced(response)


def _check_status(address: str, response: requests.Response, partial: _Partial) -> None:
    status = response.status_code
    if status == 416 or status == 429 or status >= 500:
        if status == 416:  # the file has become shorter than what is here
            partial.remove()
        raise _Interrupted(f"the server answered {status} {response.reason}")
    if status not in (200, 206):
        raise InputError(f"{address}: the server answered {status} {response.reason}")
    if address.startswith("https:") and not response.url.startswith("https:"):
        raise InputError(f"{address}: leads to {response.url}, which is not encrypted")
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise InputError(f"{address}: gives a web page instead of a file")


def _goes_on(response: requests.Response, here: int, whole: int | None) -> bool:
    """Whether a partial answer begins where our data end, in a file of the same size."""
    stated = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if stated is None or int(stated[1]) != here:
        return False
    return whole is None or stated[2] == "*" or int(stated[2]) == whole


def _size(response: requests.Response, here: int) -> int | None:
    length = response.headers.get("Content-Length", "")
    return here + int(length) if length.isdecimal() else None


def _check_size(address: str, size: int | None, here: int, partial: _Partial, largest: int) -> None:
    if size is not None and size > largest:
        raise InputError(f"{address}: has {size} bytes, expected at most {largest}")
    free = shutil.disk_usage(partial.path.parent).free
    if size is not None and size - here > free:
        raise InputError(f"{address}: needs {size - here} bytes, {partial.path.parent} has {free} left")


def _validator(response: requests.Response) -> str | None:
    """What names this version of the file in ``If-Range``: a strong ETag, or the date of its last change."""
    etag = response.headers.get("ETag", "")
    if etag.startswith('"'):
        return etag
    return response.headers.get("Last-Modified")


def _announced(response: requests.Response) -> set[str]:
    """Hugging Face says the SHA-256 of a large file before it redirects to where the file is."""
    etags = (answer.headers.get("X-Linked-Etag", "").strip('"') for answer in (*response.history, response))
    return {etag for etag in etags if re.fullmatch(r"[0-9a-f]{64}", etag)}


def _save(
    response: requests.Response, path: Path, here: int, size: int | None, largest: int, address: str
) -> None:
    bar = tqdm(total=size, initial=here, unit="B", unit_scale=True, desc=path.stem, leave=False, disable=None)
    with path.open("ab" if here else "wb") as file, bar:
        for block in _blocks(response):
            here += len(block)
            if here > largest:
                raise InputError(f"{address}: has more than the {largest} bytes that are taken at most")
            file.write(block)
            bar.update(len(block))
    if size is not None and here != size:
        raise _Interrupted(f"the connection ended after {here} of {size} bytes")


def _blocks(response: requests.Response) -> Iterator[bytes]:
    return response.iter_content(BLOCK)


def _offline(error: requests.RequestException) -> bool:
    cause = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(error, requests.exceptions.ProxyError) or isinstance(cause, NewConnectionError)
