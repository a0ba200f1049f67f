"""The catalogue of sources: what each one was trained on, where its file is and what input it expects."""

from __future__ import annotations

import dataclasses
import os
from functools import cache
from importlib import resources
from pathlib import Path

import yaml

from srcmatters.errors import InputError, did_you_mean
from srcmatters.sources.entry import Entry, entry_from
from srcmatters.sources.source_file import read_source_entry

_CATALOGUE = "catalogue.yaml"
#: Where the bundle that makes sources writes them: ``<folder>/<name>/<name>.safetensors``.
OWN_SOURCES = Path("mlruns") / "sources"
#: The network of the one entry that fits every network: random initialisation.
ANY_NETWORK = "any"


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
    entries: dict[str, Entry] = {}
    for path in _own_files():
        try:
            entry = read_source_entry(path)
        except InputError:
            continue
        if entry is not None:
            entries.setdefault(path.stem, dataclasses.replace(entry, name=path.stem))
    return tuple(entries.values())


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
