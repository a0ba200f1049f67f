"""Ask the networks of a study what their features encode and which regions they read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from srcmatters.audit.check import AuditPlan, Evidence
from srcmatters.audit.checks.attributes import attribute_columns
from srcmatters.audit.checks.regions import Regions
from srcmatters.audit.doors import open_model
from srcmatters.audit.doors.model import Model
from srcmatters.audit.doses import Dosed, dosed
from srcmatters.audit.image_changes import image_changes
from srcmatters.audit.regions.masks import disease_column
from srcmatters.audit.state_scores import State
from srcmatters.audit.study.network_groups import NetworkGroup, network_groups
from srcmatters.audit.study.pooled_runs import PooledRuns
from srcmatters.cohorts import open_cohort
from srcmatters.confounders import known_confounders
from srcmatters.errors import InputError
from srcmatters.evaluation.attribute_encoding import attribute_encoding
from srcmatters.evaluation.attribute_groups import AttributeGroups, attribute_groups
from srcmatters.files import foreign_text
from srcmatters.reports.network_checks import NetworkChecks, read_network_checks, write_network_checks
from srcmatters.runs.file_names import CONFIG, WEIGHTS
from srcmatters.runs.finished_runs import read_results
from srcmatters.runs.trusted_configuration import evaluated

#: What can be asked.
ATTRIBUTES, REGIONS = "attributes", "regions"
CHECKS = (ATTRIBUTES, REGIONS)
_NO_WEIGHTS = f"regions: the runs kept no {WEIGHTS} (save_model: true keeps it)"
Encoded = dict[str, list[dict[str, Any]]]


def ask_study(
    folder: Path,
    checks: Sequence[str] = CHECKS,
    *,
    dataset_dir: str | None = None,
    trust: bool = False,
    device: str = "cpu",
    batch_size: int = 32,
    num_workers: int = 0,
    write: Callable[[str], None] = lambda _: None,
) -> Path:
    """Measure what the networks encode and where they look, and keep it in the study's folder.

    What was measured before on the same weights, images and code is not measured again. It is kept after
    every group of networks, so that an interrupted command goes on where it was.

    Args:
        folder: of a study, or of finished runs.
        checks: of :data:`CHECKS`.
        dataset_dir: where the images are; None: where the runs had them.
        trust: build networks of one's own, and evaluate configurations with code of their own.
        device: of the networks.
        batch_size: inputs per forward pass.
        num_workers: processes that decode.
        write: prints a line.

    Raises:
        InputError: no run, no case table, or a network that fails; in one line.
    """
    waiting = {one.title: one for one in read_network_checks(folder)}
    groups = list(network_groups(read_results(folder).cells))
    kept: list[NetworkChecks] = []
    for group in groups:
        cases = _case_table(group, dataset_dir)
        asking = _Asking(group, cases, trust, device, batch_size, num_workers)
        fresh = asking.nothing(group.key(cases))
        known = waiting.pop(fresh.title, fresh)
        known = known if known.key == fresh.key else fresh
        for name in checks:
            if name not in known.asked:
                write(f"{known.title}: {name} ...")
                known = asking.asked(known, name)
        kept.append(known)
        write_network_checks(folder, [*kept, *waiting.values()])
        write(f"{known.title}: {_summary(known)}")
    return write_network_checks(folder, kept)  # without what was kept of runs that are gone


def _summary(one: NetworkChecks) -> str:
    parts = [f"attributes encoded: {', '.join(one.encoded)}"] if one.encoded else []
    parts += [f"regions: {', '.join(str(row['subject']) for row in one.regions)}"] if one.regions else []
    return "; ".join([*parts, *one.left_out]) or "nothing to ask"


def _case_table(group: NetworkGroup, dataset_dir: str | None) -> pd.DataFrame:
    """The case table that the runs name in their configuration, which is read as data."""
    import yaml

    file = group.folders[0] / CONFIG
    try:
        config = yaml.safe_load(foreign_text(file))
        place, name, modality = config["dataset_dir"], config.get("cases", "cases.csv"), config["modality"]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise InputError(
            f"{file}: its dataset_dir and modality cannot be read ({error}), expected those of a run"
        ) from error
    return open_cohort(dataset_dir or str(place), str(name), str(modality))


class _Asking:
    """One group of networks and its cases."""

    def __init__(
        self,
        group: NetworkGroup,
        cases: pd.DataFrame,
        trust: bool,
        device: str,
        batch_size: int,
        num_workers: int,
    ) -> None:
        self.group, self.cases, self.trust, self.device = group, cases, trust, device
        self.batch_size, self.num_workers = batch_size, num_workers

        self._saved = [folder for folder in group.folders if (folder / WEIGHTS).is_file()]
        self._pooled: PooledRuns | None = None

    def nothing(self, key: str) -> NetworkChecks:
        """The group before anything was asked."""
        group = self.group
        names = (group.setup, group.source, group.label, group.p_art, group.lowest)
        return NetworkChecks(key, *names, len(self._saved) or 1, 0)

    def asked(self, known: NetworkChecks, name: str) -> NetworkChecks:
        """What was known, with one more check."""
        known = replace(known, asked=[*known.asked, name])
        if name == ATTRIBUTES and not self.group.lowest:
            return known  # encoded attributes are those of networks that learnt without correlation
        if not self._saved:
            return self._frozen(known) if name == ATTRIBUTES else replace(known, left_out=[_NO_WEIGHTS])
        pooled = self._opened_runs()
        known = replace(known, cases=len(pooled.images))
        if name == ATTRIBUTES:
            return replace(known, encoded=_encoded_by_runs(pooled))
        return replace(known, regions=_regions(pooled, self._state()))

    def _opened_runs(self) -> PooledRuns:
        if self._pooled is None:
            models = [self._opened(folder) for folder in self._saved]
            self._pooled = PooledRuns(models, self.cases, self._state(), self.batch_size, self.num_workers)
        return self._pooled

    def _opened(self, folder: Path) -> Model:
        return open_model(str(folder), trust=self.trust, tracking_uri="", device=self.device)

    def _state(self) -> tuple[State, Dosed] | None:
        """The confounder of the runs; None of those without, and of one that is sampled from the patients."""
        name = self.group.confounder
        if name not in known_confounders():
            return None
        return State(name), dosed(name, 1.0, self.group.arguments)

    def _frozen(self, known: NetworkChecks) -> NetworkChecks:
        """Features of the frozen network, the same in all folds: of every case."""
        (features,) = evaluated(self.group.folders[0], "features", trust=self.trust)
        cases = features.cache.cases
        return replace(
            known, runs=1, cases=len(cases), encoded=_encoded(features.state("clean"), cases, None)
        )


def _encoded_by_runs(pooled: PooledRuns) -> Encoded:
    features = pooled.features()
    if features is None:
        return {}
    return _encoded(features["features"], pooled.images.cases.iloc[features["rows"]], features["runs"])


def _encoded(features: np.ndarray, cases: pd.DataFrame, runs: np.ndarray | None) -> Encoded:
    """By column a probe for each label."""
    labels, patients = cases["label"].to_numpy(dtype=int), cases["patient_id"].to_numpy().astype(str)
    encoded: Encoded = {}
    for column in attribute_columns(cases):
        groups = attribute_groups(cases[column], patients)
        if isinstance(groups, AttributeGroups):
            probes = attribute_encoding(features, labels, patients, groups, runs=runs)
            encoded[column] = [asdict(one) for one in probes]
    return {column: rows for column, rows in encoded.items() if rows}


def _regions(pooled: PooledRuns, state: tuple[State, Dosed] | None) -> list[dict[str, Any]]:
    """The audit's check on the pooled runs; see :class:`srcmatters.audit.checks.regions.Regions`."""
    evidence = Evidence(
        pooled.scores,
        AuditPlan(),
        score_images=pooled.changed,
        region=pooled.images.region,
        disease=disease_column(pooled.images.cases),
        changes={} if state is None else image_changes(pooled.images, pooled.contract, dict([state])),
    )
    return [
        {
            "subject": one.subject,
            "text": one.text,
            "value": one.value,
            "low": one.low,
            "high": one.high,
            "interventions": list(one.details.get("interventions", ())),
        }
        for one in Regions().run(evidence)
        if "interventions" in one.details
    ]
