"""Settings that say where things are on one machine: they stay there, and no result depends on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Paths and addresses, of bundles and of study files. They may hold the name of a person, project or server,
#: and an address a password: nothing that leaves a run's own folder (MLflow, reports, exports) has them.
PLACES = frozenset(
    {
        "bundle",
        "bundle_root",
        "cache_dir",
        "cases",
        "checkpoint_dir",
        "ckpt",
        "dataset_dir",
        "output_dir",
        "source_dir",
        "tracking_uri",
        "trainings_dir",
    }
)
#: What else says how a run was carried out and recorded, and nothing about what it computes.
BOOKKEEPING = PLACES | {
    "experiment_name",
    "log_images",
    "num_workers",
    "parent_run_id",
    "run_tags",
    "save_model",
    "system_metrics",
}
LEFT_OUT = "left out"


def places_left_out(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same settings with a word in the place of every path and address.

    Args:
        values: by the names of a configuration or study file.
    """
    return {name: LEFT_OUT if name in PLACES else value for name, value in values.items()}
