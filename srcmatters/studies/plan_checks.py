"""The sources and networks of a study, checked by name: without MONAI, and without fetching any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from srcmatters.sources.catalogue import find_entry
from srcmatters.sources.constructor import is_own, read_constructor
from srcmatters.sources.network_facts import check_network
from srcmatters.studies.cells import Cell, bundle_config
from srcmatters.studies.study_file import Study


def check_sources(study: Study, cells: Sequence[Cell]) -> None:
    """Refuse sources and networks that do not exist, without fetching any.

    Raises:
        InputError: naming the nearest ones.
    """
    for source, network in study_sources(bundle_config(study), cells):
        if is_own(network):
            read_constructor(network)
            continue
        check_network(network)
        find_entry(source, network)


def study_sources(config: Mapping[str, Any], cells: Sequence[Cell]) -> list[tuple[str, str]]:
    """(source, network) of the cells of a bundle that has a network."""
    if "network_def" not in config:
        return []
    both = [{**config, **cell.overrides} for cell in cells]
    return list(dict.fromkeys((one["source"], one["network"]) for one in both))
