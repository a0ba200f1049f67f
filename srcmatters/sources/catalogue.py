"""The catalogue of sources: what each one was trained on, where its file is and what input it expects."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match

from srcmatters.errors import InputError, did_you_mean

_CATALOGUE = "catalogue.yaml"
_SCHEMA = "catalogue_schema.json"
#: Where the bundle that makes sources writes them: ``<folder>/<name>/<name>.safetensors``.
OWN_SOURCES = Path("mlruns") / "sources"
#: The network of the one entry that fits every network: random initialisation.
ANY_NETWORK = "any"


@dataclass(frozen=True)
class Entry:
    """What is known about one source for one network.

    Args:
        name: unique; the network is part of it ("imagenet-resnet50").
        source: what a study calls it ("imagenet").
        network: the network whose weights these are.
        spatial_dims: 2 or 3.
        channels: 1 or 3, of the image that the network takes.
        scheme: how the file names its tensors.
        trained_on: images, their number and labels, in words.
        licence: of the weights.
        citation: what to cite.
        normalisation: ``kind`` (fixed or zscore_positive), ``channel_order`` (RGB, BGR or grey) and, of a
            fixed one, ``mean`` and ``std`` per channel in that order, of images in [0, 1].
        location: where the file is: ``pip`` and ``file``, ``url``, ``huggingface`` with ``file`` and
            ``revision``, ``manual`` (a page) with ``file``, or ``file`` alone (on this machine). None: there
            is no file.
        sha256: of the file: 64 hexadecimal digits, or the first ones, 8 at least; None: none was published.
        notes: what a user has to know.
        training: of a source made here: data hash, classes, epochs, metrics, command.
    """

    name: str
    source: str
    network: str
    spatial_dims: int
    channels: int
    scheme: str
    trained_on: str
    licence: str
    citation: str
    normalisation: Mapping[str, Any]
    location: Mapping[str, Any] | None
    sha256: str | None
    notes: str = ""
    training: Mapping[str, Any] | None = None


def entry_from(content: object, origin: str) -> Entry:
    """An entry out of YAML or JSON, checked against the schema.

    Args:
        content: what the parser made of it.
        origin: file and place, for error messages.

    Raises:
        InputError: naming the origin, the field, what was got and what was expected.
    """
    error = best_match(_validator().iter_errors(content))
    if error is not None:
        raise InputError(f"{origin}: {_explain(error)}")
    assert isinstance(content, dict)
    return Entry(**content)


def entry_content(entry: Entry) -> dict[str, Any]:
    """The plain mapping that :func:`entry_from` takes; fields that say nothing are left out."""
    content = dataclasses.asdict(entry)
    return {name: value for name, value in content.items() if name not in ("notes", "training") or value}


@cache
def _validator() -> Draft202012Validator:
    text = resources.files(__package__).joinpath(_SCHEMA).read_text(encoding="utf-8")
    return Draft202012Validator(json.loads(text))


def _explain(error: ValidationError) -> str:
    """One line: jsonschema's own message prints the whole entry where a field in it is wrong."""
    field = ".".join(str(part) for part in error.absolute_path)
    if error.validator == "required":
        assert isinstance(error.instance, dict)
        missing = [name for name in error.validator_value if name not in error.instance]
        return f"{field + ': ' if field else ''}{', '.join(missing)} missing"
    if error.validator == "additionalProperties":
        assert isinstance(error.instance, dict)
        known = list(error.schema["properties"])
        extra = next(name for name in error.instance if name not in known)
        return f"{field + '.' if field else ''}{extra} is unknown{did_you_mean(str(extra), known)}"
    expected = error.schema.get("description", f"{error.validator} {error.validator_value}")
    return f"{field or 'entry'}: got {repr(error.instance)[:80]}, expected {expected}"


def read_catalogue(path: Path | None = None) -> tuple[Entry, ...]:
    """All entries that come with the package.

    Args:
        path: another catalogue; None: the packaged one.

    Raises:
        InputError: the file cannot be read, an entry or field is wrong (named), or a name is used twice.
    """
    return _packaged() if path is None else _read(path.name, _text(path))


@cache
def _packaged() -> tuple[Entry, ...]:
    text = resources.files(__package__).joinpath(_CATALOGUE).read_text(encoding="utf-8")
    return _read(_CATALOGUE, text)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error


def _read(file: str, text: str) -> tuple[Entry, ...]:
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{file}: not YAML ({' '.join(str(error).split())})") from error
    raw = content.get("entries") if isinstance(content, dict) else None
    if not isinstance(raw, list) or not raw:
        raise InputError(f"{file}: entries: expected a list of sources")
    entries = tuple(entry_from(item, f"{file}: {_called(item, place)}") for place, item in enumerate(raw))
    names: set[str] = set()
    pairs: set[tuple[str, str]] = set()
    for entry in entries:
        if entry.name in names or (entry.source, entry.network) in pairs:
            raise InputError(f"{file}: {entry.name}: name, or source and network, is used twice")
        names.add(entry.name)
        pairs.add((entry.source, entry.network))
    return entries


def _called(item: object, place: int) -> str:
    name = item.get("name") if isinstance(item, dict) else None
    return name if isinstance(name, str) else f"entry {place + 1}"


def own_sources() -> tuple[Entry, ...]:
    """Sources made here: source files in ``mlruns/sources/<name>/`` and in ``$SRCMATTERS_WEIGHTS``.

    A file that cannot be read is left out; it is an error only when it is asked for.
    """
    from srcmatters.sources.source_file import read_source_entry

    found: dict[str, Entry] = {}
    for path in _own_files():
        try:
            entry = read_source_entry(path)
        except InputError:
            continue
        if entry is not None:
            found.setdefault(path.stem, dataclasses.replace(entry, name=path.stem))
    return tuple(found.values())


def _own_files() -> list[Path]:
    files = [path for path in sorted(OWN_SOURCES.glob("*/*.safetensors")) if path.stem == path.parent.name]
    mirror = os.environ.get("SRCMATTERS_WEIGHTS")
    return files + (sorted(Path(mirror).glob("*.safetensors")) if mirror else [])


def known_sources(network: str | None = None) -> list[str]:
    """What ``--source`` takes by name: of one network, or of all.

    Args:
        network: only sources that have weights for it; None: all.
    """
    entries = [*read_catalogue(), *own_sources()]
    fitting = [entry for entry in entries if network is None or entry.network in (network, ANY_NETWORK)]
    packaged = len(read_catalogue())
    own = {entry.name for entry in entries[packaged:]}
    return list(dict.fromkeys(entry.name if entry.name in own else entry.source for entry in fitting))


def find_entry(source: str | Path, network: str) -> Entry | None:
    """The entry that ``--source`` and ``--network`` mean.

    Looked for in this order: a source of the catalogue with this network ("imagenet"), a name in it
    ("imagenet-resnet50"), a file, a source made here by the name of its file (``mlruns/sources``,
    ``$SRCMATTERS_WEIGHTS``). The location of a source file is its own path.

    Args:
        source: name or path.
        network: name of the network that will take the weights.

    Returns:
        The entry. None, and only then, if ``source`` is a file that holds no entry: somebody's weights, of
        which nothing is known but the file. The entry of "random" has no location and the network asked for.

    Raises:
        InputError: nothing of that name (with the nearest ones), a source that has no weights for this
            network (with those it has), or a source file that is damaged.
    """
    entries = read_catalogue()
    of_source = [entry for entry in entries if entry.source == str(source)]
    for entry in of_source:
        if entry.network in (network, ANY_NETWORK):
            return dataclasses.replace(entry, network=network)
    named = [entry for entry in entries if entry.name == str(source)]
    if of_source or named:
        return _of_network([*named, *of_source], source, network)
    return _find_file(source, network)


def named_entry(name: str, network: str | None = None) -> Entry:
    """The entry of a name, for which no network has to be said where there is only one.

    Args:
        name: of an entry, of a source with weights for one network, or of a source or source file made here.
        network: picks among the networks of a source.

    Raises:
        InputError: nothing of that name, or a source with several networks (named) and none given.
    """
    if network is not None:
        entry = find_entry(name, network)
    else:
        fitting = [entry for entry in read_catalogue() if name in (entry.name, entry.source)]
        if len({entry.network for entry in fitting}) > 1 and all(entry.name != name for entry in fitting):
            networks = ", ".join(entry.network for entry in fitting)
            raise InputError(f"{name}: has weights for several networks, expected --network {networks}")
        entry = fitting[0] if fitting else _find_file(name, None)
    if entry is None:
        raise InputError(f"{name}: a weight file without an entry, expected a source")
    return entry


def _find_file(source: str | Path, network: str | None) -> Entry | None:
    from srcmatters.sources.source_file import read_source_entry

    own = {path.stem: path for path in reversed(_own_files())}
    path = Path(source) if Path(source).is_file() else own.get(str(source))
    if path is None:
        near = did_you_mean(str(source), [*known_sources(), *(entry.name for entry in read_catalogue())])
        if "expected one of" in near:
            near = f", expected one of: {', '.join(known_sources(network))}"
        raise InputError(f"source: {source} is neither a known source nor a weight file{near}")
    entry = read_source_entry(path)
    return None if entry is None else _of_network([entry], source, network or entry.network)


def _of_network(entries: list[Entry], source: str | Path, network: str) -> Entry:
    for entry in entries:
        if entry.network == network:
            return entry
    existing = ", ".join(dict.fromkeys(entry.network for entry in entries))
    raise InputError(f"source: {source} has no weights for {network}, expected --network {existing}")
