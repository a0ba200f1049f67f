"""What is wrong with a whole study is said once, before hundreds of cells say it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from srcmatters.cohorts import CaseChoice, choose_cases, control_labels, open_cohort
from srcmatters.confounders import is_pair, pair_of, sampled_column
from srcmatters.evaluation.analysis_plan import AnalysisPlan
from srcmatters.preprocessing import confounder_place, create_image_confounder
from srcmatters.sources import create_classifier, is_own, load_source
from srcmatters.studies.cells import Cell, bundle_config
from srcmatters.studies.study_file import Study
from srcmatters.studies.study_sources import study_sources
from srcmatters.training import check_settings

# Settings that a bundle need not have; those that it has are checked.
_OF_THE_SPLIT = ("confounder", "confounder_args", "p_art", "p_neg", "train_size", "fold", "num_folds",
                 "validation_folds", "seed", "assignment", "protocol", "control")  # fmt: skip


def check_study(study: Study, cells: Sequence[Cell]) -> None:
    """Refuse what no cell could do anything about: settings, the case table, splits, confounders, sources.

    Images are not opened here, that is the first cell's work. A source that has to be fetched is fetched now,
    once.

    Args:
        study: they belong to.
        cells: those that are going to run.

    Raises:
        InputError: what the bundle itself would say in each of its cells.
    """
    AnalysisPlan.from_mapping(study.analysis)
    config = bundle_config(study)
    settings = [{**_plain(config), **cell.overrides} for cell in cells]
    for one in settings:
        check_settings(one)
    if "case_table" in config:
        _check_cases(settings)
    for source, network in study_sources(config, cells):
        if is_own(network):
            create_classifier(network, source, int(config.get("spatial_dims", 2)))
        else:
            load_source(source, network, int(config.get("spatial_dims", 2)))


def _check_cases(settings: Sequence[Mapping[str, Any]]) -> None:
    first = settings[0]
    cases = open_cohort(first["dataset_dir"], first["cases"], first.get("modality", "xray"))
    seen = set()
    for one in settings:
        split_settings = {name: one[name] for name in _OF_THE_SPLIT if name in one}
        key = repr(split_settings if is_pair(one["confounder"]) else {**split_settings, "p_art": 0})
        if key in seen:  # whether there are enough cases does not depend on p_art
            continue
        seen.add(key)
        labelled = control_labels(cases, one.get("control", "none"), one["seed"], one["fold"])
        others = {name: value for name, value in split_settings.items() if name != "confounder"}
        pair = pair_of(one["confounder"], one.get("confounder_args"))
        choose_cases(labelled, CaseChoice(sampled_column(one["confounder"], cases), pair=pair, **others))
        confounder = create_image_confounder(
            one["confounder"], cases, one["protocol"], one["seed"], **one.get("confounder_args", {})
        )
        if "unit" in one:
            confounder_place(confounder, one["unit"])


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with a value, not an expression that only the bundle can evaluate."""

    def evaluated(value: Any) -> bool:
        return isinstance(value, str) and value[:1] in ("$", "@", "%")

    return {name: value for name, value in config.items() if not evaluated(value)}
