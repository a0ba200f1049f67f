"""What is wrong with a whole study is said once, before hundreds of cells say it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from srcmatters.cohorts import open_cohort
from srcmatters.preprocessing import confounder_place, create_image_confounder
from srcmatters.sources import create_classifier, is_own, load_source
from srcmatters.studies.cells import Cell, bundle_config
from srcmatters.studies.plan_checks import cell_settings, check_plan
from srcmatters.studies.study_file import Study


def check_study(study: Study, cells: Sequence[Cell]) -> None:
    """Refuse what no cell could do anything about: the plan's mistakes, confounders, sources.

    Images are not opened here, that is the first cell's work. A source that has to be fetched is fetched now,
    once.

    Args:
        study: they belong to.
        cells: those that are going to run.

    Raises:
        InputError: what the bundle itself would say in each of its cells.
    """
    check_plan(study, cells)
    config = bundle_config(study)
    settings = cell_settings(config, cells)
    if "case_table" in config:
        check_confounders(settings)
    if "network_def" not in config:
        return
    for source, network in {(one["source"], one["network"]): None for one in settings}:
        if is_own(network):
            create_classifier(network, source, int(config.get("spatial_dims", 2)))
        else:
            load_source(source, network, int(config.get("spatial_dims", 2)))


def check_confounders(settings: Sequence[Mapping[str, Any]]) -> None:
    """Refuse confounders that cannot be made with their parameters; of a bundle with a case table."""
    first = settings[0]
    cases = open_cohort(first["dataset_dir"], first["cases"], first.get("modality", "xray"))
    seen = set()
    for one in settings:
        arguments = one.get("confounder_args", {})
        key = repr((one["confounder"], arguments, one["protocol"], one["seed"], one.get("unit")))
        if key in seen:
            continue
        seen.add(key)
        confounder = create_image_confounder(
            one["confounder"], cases, one["protocol"], one["seed"], **arguments
        )
        if "unit" in one:
            confounder_place(confounder, one["unit"])
