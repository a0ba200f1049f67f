"""What a study will cost, before it is run: cells, hours, disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from srcmatters.cohorts import open_cohort
from srcmatters.confounders import pair_of, sampled_column
from srcmatters.sources.constructor import is_own
from srcmatters.sources.network_facts import NETWORKS, check_network
from srcmatters.studies.cells import Cell, bundle_config
from srcmatters.studies.study_file import Study

_FLOAT = 4


@dataclass(frozen=True)
class Disk:
    """Estimated bytes.

    Args:
        images: decoded images in every state, kept in the cache for any later study.
        features: of frozen backbones, likewise.
        models: weights of fine-tuned networks, in the study's folder.
    """

    images: int
    features: int
    models: int


def estimate_disk(study: Study, cells: Sequence[Cell]) -> Disk | None:
    """Bytes that all cells of a study need, None for a bundle that does not say what it loads.

    Raises:
        InputError: a pair of confounders that no cell could be taught, or a case table that is not one.
    """
    config = bundle_config(study)
    if not {"case_table", "image_size", "network_def"} <= set(config):
        return None
    settings = {cell.cell_id: {**config, **cell.overrides} for cell in cells}
    first = settings[cells[0].cell_id]
    table = open_cohort(first["dataset_dir"], first["cases"], first.get("modality", "xray"))
    dims = int(config.get("spatial_dims", 2))
    images = features = models = 0
    seen: set[str] = set()
    for cell in cells:
        one = settings[cell.cell_id]
        states = 1 if one["confounder"] == "none" or sampled_column(one["confounder"], table) else 2
        states = 4 if pair_of(one["confounder"], one.get("confounder_args")) else states
        if cell.images not in seen:
            images += states * len(table) * int(one["image_size"]) ** dims * _FLOAT
        width, weights = _network_size(one["network"], str(one["source"]), dims)
        if study.depth == "screen" and cell.features not in seen:
            features += states * len(table) * width * _FLOAT
        if study.depth == "finetune" and not (cell.training and cell.training in seen):
            models += weights
        seen |= {cell.images, cell.features, cell.training}
    return Disk(images, features, models)


@cache
def _network_size(name: str, source: str, spatial_dims: int) -> tuple[int, int]:
    """Features before the head, and bytes of all weights."""
    if is_own(name):
        from srcmatters.sources import create_classifier

        network = create_classifier(name, source, spatial_dims)
        features = network[1].get_parameter(f"{network.head_path}.weight").shape[1]
        return features, sum(tensor.numel() for tensor in network.state_dict().values()) * _FLOAT
    check_network(name)
    facts = NETWORKS[name]
    return facts.features, facts.values[spatial_dims] * _FLOAT
