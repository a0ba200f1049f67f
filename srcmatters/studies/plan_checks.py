"""What is wrong with a whole study, as far as its file and case table say: no MONAI, nothing is fetched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from srcmatters.cohorts import CaseChoice, choose_cases, control_labels, open_cohort
from srcmatters.confounders import confounder_summaries, is_pair, pair_of, sampled_column
from srcmatters.errors import InputError, did_you_mean
from srcmatters.evaluation.analysis_plan import AnalysisPlan
from srcmatters.sources.catalogue import find_entry
from srcmatters.sources.constructor import is_own, read_constructor
from srcmatters.sources.network_facts import check_network, check_pooling
from srcmatters.studies.cells import Cell, bundle_config
from srcmatters.studies.study_file import Study
from srcmatters.training.settings import check_settings

# Settings that a bundle need not have; those that it has are checked.
_OF_THE_SPLIT = ("confounder", "confounder_args", "p_art", "p_neg", "train_size", "fold", "num_folds",
                 "validation_folds", "seed", "assignment", "protocol", "control")  # fmt: skip


def check_plan(study: Study, cells: Sequence[Cell]) -> None:
    """Refuse settings, splits, sources and networks that no cell could do anything about.

    Args:
        study: they belong to.
        cells: those that are going to run.

    Raises:
        InputError: what the bundle itself would say in each of its cells, with the nearest names.
    """
    AnalysisPlan.from_mapping(study.analysis)
    config = bundle_config(study)
    settings = cell_settings(config, cells)
    for one in settings:
        check_settings(one)
        _check_tested(one.get("tested"))
    adaptations = {str(one["adaptation"]) for one in settings if "adaptation" in one}
    if study.depth == "screen" and (len(adaptations) > 1 or adaptations - {"full", "linear"}):
        raise InputError(
            f"adaptation: got {', '.join(sorted(adaptations))} at depth screen, which fits the head alone;"
            " expected none, or --depth finetune"
        )
    if "network_def" in config:
        for source, network, pooling in {
            (one["source"], one["network"], one.get("pooling")): None for one in settings
        }:
            _check_source(source, network, pooling)
    if "case_table" in config:
        _check_splits(settings)


def cell_settings(config: Mapping[str, Any], cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """Of each cell the settings that have a value, not an expression that only the bundle can evaluate."""

    def evaluated(value: Any) -> bool:
        return isinstance(value, str) and value[:1] in ("$", "@", "%")

    plain = {name: value for name, value in config.items() if not evaluated(value)}
    return [{**plain, **cell.overrides} for cell in cells]


def _check_tested(tested: Any) -> None:
    names = [tested] if isinstance(tested, str) else tested or []
    for name in names:
        if name not in confounder_summaries():
            hint = did_you_mean(str(name), confounder_summaries(), "confounders such as [tag, noise]")
            raise InputError(f"tested: {name!r} is unknown{hint}")


def _check_source(source: str, network: str, pooling: str | None) -> None:
    if is_own(network):
        read_constructor(network)
        return
    check_network(network)
    find_entry(source, network)
    if pooling is not None:
        check_pooling(network, pooling)


def _check_splits(settings: Sequence[Mapping[str, Any]]) -> None:
    first = settings[0]
    cases = open_cohort(first["dataset_dir"], first["cases"], first.get("modality", "xray"))
    seen = set()
    for one in settings:
        split = {name: one[name] for name in _OF_THE_SPLIT if name in one}
        key = repr(split if is_pair(one["confounder"]) else {**split, "p_art": 0})
        if key in seen:  # whether there are enough cases does not depend on p_art
            continue
        seen.add(key)
        labelled = control_labels(cases, one.get("control", "none"), one["seed"], one["fold"])
        others = {name: value for name, value in split.items() if name != "confounder"}
        pair = pair_of(one["confounder"], one.get("confounder_args"))
        choose_cases(labelled, CaseChoice(sampled_column(one["confounder"], cases), pair=pair, **others))
